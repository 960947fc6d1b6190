"""Text generation: texts in, others out, as in translation and summaries.

Letters: b batch, s source pieces, o target pieces, k beams of a row, H hidden, V target vocabulary.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from functools import lru_cache, partial
from typing import Any

import keras
import numpy as np
from keras import ops
from keras_hub.models import Seq2SeqLM

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.target_texts import target_ids, too_long
from spanbert_tf.data.readers.lines import AnySource, DataError
from spanbert_tf.data.readers.text_pairs import TextPair, read_sources, read_text_pairs
from spanbert_tf.features import GENERATED_IDS, GENERATED_SCORES, TARGET_IDS, Feature
from spanbert_tf.layers.next_pieces import BeamSearch, Search
from spanbert_tf.layers.text_decoder import TextDecoder
from spanbert_tf.metrics.generation import FIGURES, require_scorers
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.reward_learning import LearnsByReward
from spanbert_tf.models.seq_2_seq_lm_preprocessor import SpanBertSeq2SeqLMPreprocessor
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.models.text_generation_settings import (
    USES,
    PairFiles,
    TextAsking,
    TextGeneration,
)
from spanbert_tf.models.text_writing import text_losses, write_texts
from spanbert_tf.models.warm_start import go_on_with_decoder, start_decoder
from spanbert_tf.settings import AskedColumns
from spanbert_tf.tasks.decoders.generated_texts import TextWriter, WritesTexts
from spanbert_tf.tokenization.normalization import SPECIAL_TOKENS
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer
from spanbert_tf.tokenization.vocabulary import read_vocabulary

__all__ = ["SpanBertSeq2SeqLM", "SpanBertSeq2SeqLMPreprocessor", "TextGeneration"]

SOURCE_STATES = "source_states"
# Arguments that are kept as they are.
_KEPT = (
    *("target_length", "target_lowercase", "label_smoothing", "use"),
    *("reward", "cross_entropy", "reward_seed"),
)


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertSeq2SeqLM(WritesTexts, LearnsByReward, SpanBertTask, Seq2SeqLM):
    """Writes a text from another one, by a decoder on the encoder.

    The decoder's layers are as wide as the encoder's.  Its embedding of pieces also gives the
    logits, and is the encoder's own where both texts share a vocabulary.

    `fit` takes texts and for each the one to write.

    Args:
        backbone: A `SpanBertBackbone`, with dense or bucketed attention.
        preprocessor: A `SpanBertSeq2SeqLMPreprocessor`, or `None` for features that are
            preprocessed already, and a `target_vocabulary`.
        num_layers: Layers of the decoder.
        target_length: Most word pieces of a text that is written, its end among them.
        target_vocabulary: The word pieces of texts that are written; `None`: the encoder's.
        target_lowercase: Whether, with a vocabulary of their own, they are in lower case.
        label_smoothing: Part of the probability that training gives to all pieces alike (Szegedy et
            al., 2016).
        dropout: Rate of dropout in the decoder.
        search: How texts are searched, a `Search` or its settings; `None`: piece by piece the best.
        use: `"translation"` or `"summarization"`, for `translate` or `summarize`; `None`: neither.
        reward: The figure by which `fit` goes on from a trained model: `"rouge_l"`, `"chrf"` or
            `"bleu"`, see `LearnsByReward`; TensorFlow alone.  `None`: it learns the given texts.
        cross_entropy: With a `reward`, the part of the loss that the given texts still have.
        reward_seed: Seed of the texts that are drawn for it.
        **kwargs: `name`, `trainable`, `compile`.

    Returns:
        `source_states`, float `[b, s, H]`: the encoder's, from which texts are written.

    Raises:
        ValueError: Backbone and preprocessor do not fit, or a number is out of range.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertSeq2SeqLMPreprocessor

    task = "text2text-generation"
    verb = "generate"
    more_verbs = ("translate", "summarize")
    settings_cls = TextGeneration
    reading_cls = PairFiles
    training_file = "translations.tsv"
    asking_cls = TextAsking
    decoder_cls = TextWriter
    decoded = (GENERATED_IDS, GENERATED_SCORES)
    figures = FIGURES
    has_loop = True
    token_budget = 1024  # Each text has as many rows of caches as there are beams.

    def __init__(
        self,
        backbone: SpanBertBackbone,
        preprocessor: Any = None,
        num_layers: int = 3,
        target_length: int = 128,
        target_vocabulary: Sequence[str] | None = None,
        target_lowercase: bool = False,
        label_smoothing: float = 0.1,
        dropout: float = 0.1,
        search: Search | dict[str, Any] | None = None,
        use: str | None = None,
        reward: str | None = None,
        cross_entropy: float = 0.0,
        reward_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"`label_smoothing` must be from 0 to below 1, but is {label_smoothing}."
            )
        if use not in (None, *USES):
            raise ValueError(f"`use` must be one of {USES}, or None, but is {use!r}.")
        check_fit(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.target_length = target_length
        self.target_vocabulary = None if target_vocabulary is None else tuple(target_vocabulary)
        self.target_lowercase = target_lowercase
        self.label_smoothing = label_smoothing
        self.use = use
        self.search = search if isinstance(search, Search) else Search(**(search or {}))
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        embedding = backbone.token_embedding
        if self.target_vocabulary is not None:
            embedding = keras.layers.ReversibleEmbedding(
                len(self.target_vocabulary),
                backbone.hidden_dim,
                embeddings_initializer=initializer,
                dtype=backbone.dtype_policy,
                name="target_embedding",
            )
        self.text_decoder = TextDecoder(
            embedding,
            num_layers,
            backbone.num_heads,
            backbone.intermediate_dim,
            target_length,
            dropout,
            keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=backbone.dtype_policy,
            name="text_decoder",
        )
        self.text_decoder.build((None, None))
        # The decoder is no part of this network: it reads what is to be written, or has written.
        states = backbone(backbone.input)["sequence_output"]
        self.set_reward(reward, cross_entropy, reward_seed)
        super().__init__(inputs=backbone.input, outputs={SOURCE_STATES: states}, **kwargs)

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[TextPair]:
        """Reads texts and what they shall become, see `read_text_pairs`."""
        return read_text_pairs(path, **vars(reading or PairFiles()))

    @classmethod
    def read_asked(cls, path: AnySource, reading: Any = None) -> Columns:
        """Reads texts, see `read_sources`."""
        of = reading or AskedColumns()
        return [read_sources(path, of.text_column, of.delimiter, of.quoting)]

    @classmethod
    def name_columns(cls, path: AnySource, reading: AskedColumns) -> AskedColumns:
        """They have the same names in all files."""
        return reading

    @classmethod
    def head_arguments(cls, records: Sequence[TextPair], settings: Any) -> dict[str, Any]:
        """What settings say of the decoder."""
        require_scorers()  # Before hours of training, not after the first epoch.
        vocabulary = settings.target_vocabulary
        names = ("target_length", "target_lowercase", "label_smoothing", "dropout", "use")
        learned = {"reward": settings.reward, "cross_entropy": settings.cross_entropy}
        return {
            **({**learned, "reward_seed": settings.seed} if settings.reward else {}),
            "num_layers": settings.decoder_layers,
            "target_vocabulary": vocabulary and list(read_vocabulary(vocabulary)),
            "search": {of.name: getattr(settings, of.name) for of in fields(BeamSearch)},
            **{name: getattr(settings, name) for name in names},
        }

    def begin_with(self, trained: Callable[[], Any], settings: Any) -> None:
        """To learn by a reward, goes on with the trained decoder; else begins with the encoder."""
        if settings.reward is not None:
            found = trained()
            go_on_with_decoder(self, getattr(found, "model", found))
        elif settings.warm_start and self.target_vocabulary is None:
            start_decoder(self.text_decoder, self.backbone)

    def target_tokenizer(self) -> SpanBertTokenizer:
        """What makes pieces of texts to be written.

        Raises:
            ValueError: There is neither a `target_vocabulary` nor a preprocessor.
        """
        if self.target_vocabulary is not None:
            return _tokenizer_of(self.target_vocabulary, self.target_lowercase)
        if self.preprocessor is None:
            raise ValueError("the pieces of texts to write need a preprocessor's tokenizer.")
        return self.preprocessor.tokenizer

    def columns_of(self, records: Sequence[TextPair]) -> tuple[Columns, Any]:
        """The texts, and what they shall become."""
        return [[record.source for record in records]], [record.target for record in records]

    def check_records(self, records: Sequence[TextPair]) -> None:
        """Refuses texts to write that the decoder has no places for."""
        most = self.target_length - 1
        targets = [record.target for record in records]
        wrong = too_long(targets, self.target_tokenizer(), most)
        if len(wrong):
            first = records[wrong[0]]
            raise DataError(
                f"{first.path}, line {first.line}: expected a target of at most {most} word "
                f"pieces, one fewer than `target_length`, found more; {len(wrong)} such in all."
            )

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """`y` as `fit` takes it: the text to write from each."""
        tokenizer, count = self.target_tokenizer(), len(columns[0])
        ids = target_ids(y, count, tokenizer, tokenizer.sep_token_id, self.target_length)
        return {TARGET_IDS: ids}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean over pieces of their cross-entropy, smoothed in training.

        With a `reward` what is learned is a drawn text, see `reward_losses`.
        """
        losses_of = partial(
            text_losses,
            self.text_decoder,
            y_pred[SOURCE_STATES],
            x,
            start_id=self.target_tokenizer().cls_token_id,
            training=training,
        )
        if training and self.reward is not None:
            losses = self.reward_losses(x, y, losses_of)
        else:
            losses = losses_of(y, smoothing=self.label_smoothing if training else 0.0)
        counts = ops.sum(ops.cast(y >= 0, losses.dtype), axis=1)
        return self.mean_loss(losses, counts, sample_weight)

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """The texts that the task's own search finds."""
        return self.decode_by(self.decoder, outputs, features)

    def decode_by(
        self, decoder: TextWriter, outputs: Any, features: dict[str, Any]
    ) -> dict[str, Any]:
        """The texts that a search finds, see `write_texts`."""
        ids, scores = self.write(decoder, outputs, features)
        return {GENERATED_IDS.name: ids, GENERATED_SCORES.name: scores}

    def write(
        self, search: Search, outputs: Any, features: dict[str, Any], number: Any = None
    ) -> tuple[Any, Any]:
        """Pieces and scores of the texts that a search finds or draws, see `write_texts`."""
        tokenizer = self.target_tokenizer()
        return write_texts(
            self.text_decoder,
            outputs[SOURCE_STATES],
            features,
            search,
            start_id=tokenizer.cls_token_id,
            end_id=tokenizer.sep_token_id,
            never_ids=self.never_ids,
            number=number,
        )

    @property
    def never_ids(self) -> np.ndarray:
        """True at pieces that no text has, bool `[V]`: special tokens, and rows without a piece."""
        tokenizer = self.target_tokenizer()
        pieces = tokenizer.get_vocabulary()
        never = np.ones(self.text_decoder.token_embedding.input_dim, bool)
        never[: len(pieces)] = np.isin(pieces, SPECIAL_TOKENS)
        never[tokenizer.sep_token_id] = False
        return never

    @property
    def decoder(self) -> TextWriter:
        """What searches texts and writes them out."""
        vocabulary = self.target_tokenizer().get_vocabulary()
        return TextWriter(**asdict(self.search), vocabulary=tuple(vocabulary), use=self.use)

    @property
    def scored_decoder(self) -> TextWriter:
        """Gives the best text of each source."""
        return replace(self.decoder, num_answers=1)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Configures training; see `SpanBertTask.compile`.

        Raises:
            ValueError: A `sampler` is given, as for other KerasHub tasks.
        """
        if "sampler" in kwargs:
            raise ValueError(
                "`sampler` is not used: how texts are searched or drawn is said by `search` or to "
                "`generate`, such as top_k=5"
            )
        self.supports_jit = self.reward is None  # Python scores texts.
        super().compile(*args, **{"weighted_metrics": None, **kwargs})

    def get_config(self) -> dict[str, Any]:
        vocabulary = self.target_vocabulary
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _KEPT},
            "num_layers": self.text_decoder.num_layers,
            "target_vocabulary": vocabulary and list(vocabulary),
            "dropout": self.text_decoder.dropout,
            "search": asdict(self.search),
        }


@lru_cache(maxsize=2)
def _tokenizer_of(vocabulary: tuple[str, ...], lowercase: bool) -> SpanBertTokenizer:
    """No attribute, which Keras would save; it takes seconds to make."""
    return SpanBertTokenizer(vocabulary, lowercase)
