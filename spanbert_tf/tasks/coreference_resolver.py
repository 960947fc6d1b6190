"""Coreference: texts in, clusters of the mentions that refer to the same out.

Letters: b batch, s sequence, l longest mention, m mentions of a row, n candidates, w window.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops
from keras_hub.models import Task

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.chunks import LEAST_CHUNK, ChunkBatches
from spanbert_tf.data.batching.mentions import given_mention_tokens, mention_tokens
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.coreference import CoreferenceText, read_coreference
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.features import (
    ANTECEDENTS,
    GOLD_MENTIONS,
    LINK_SCORES,
    MENTION_SCORES,
    MENTION_SPANS,
    PADDING_MASK,
    TOKEN_IDS,
    Feature,
)
from spanbert_tf.layers.antecedent_links import (
    AntecedentLinks,
    antecedent_losses,
    clusters_of_spans,
)
from spanbert_tf.layers.span_scoring import (
    NEVER,
    SpanScores,
    best_candidates,
    span_ends,
    values_of_spans,
)
from spanbert_tf.models.answering import answer_rows
from spanbert_tf.models.document_preprocessor import SpanBertCoreferenceResolverPreprocessor
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.setting_fields import Settings, setting
from spanbert_tf.settings import Asking, CoreferenceResolution
from spanbert_tf.tasks.decoders.clustering import FIGURES, CoreferenceScoring, JoinsClusters
from spanbert_tf.tasks.decoders.coreference import CERTAIN, ClusterDecoder, GivenMentions
from spanbert_tf.tasks.decoders.resolved_text import html_page

PRIOR = -5.0  # Log odds of a mention, of all spans: without it the first losses are hundreds.
CANDIDATE_BLOCK = 512  # tokens


@dataclass(frozen=True)
class CoreferenceFiles(Settings):
    """How files of coreference are read."""

    speakers: bool = setting(
        False, bool, "write the name of the speaker before each turn, where the file tells it"
    )
    repair_clusters: bool = setting(
        False, bool, "take a mention that is in two clusters for one of the first"
    )


@dataclass(frozen=True)
class CoreferenceAsking(Asking):
    """How a coreference resolver is asked."""

    singletons: bool | None = setting(
        None, bool, "give mentions that nothing else refers to, too; default: as it was trained"
    )


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertCoreferenceResolver(JoinsClusters, SpanBertTask, Task):
    """Finds what refers to the same in texts of any length, at a cost linear in it.

    The whole text goes through the encoder.  Every span of up to l tokens has a score of being a
    mention; the best of each part of the text are candidates; each is scored with those before it,
    within a window, and is linked to the best one if that is likelier than none.  Both learn from
    random chunks of documents, the mentions that are known being among the candidates.

    `fit` takes texts, and for each its clusters: lists of mentions `(start, end)`, characters.

    Args:
        backbone: A `SpanBertBackbone`; for texts longer than its positions one of
            `attention="bucketed"` and `long_positions="restart"`.
        preprocessor: A `SpanBertCoreferenceResolverPreprocessor`, or `None` for features that are
            preprocessed already.
        max_mention_length: The most word pieces of a mention, l.
        candidates: Candidates of each 512 tokens.
        window: How many candidates before it each may be linked to, w.
        singletons: Whether clusters of one mention are given unless asked otherwise.
        mention_threshold: Log odds from which a candidate is a mention.  Fine-tuning chooses it and
            the next one on the validation data.
        link_threshold: Log odds, against none, above which a mention is linked to another.
        chunk_length: Tokens of a chunk, in training.
        chunks: Chunks of a document in an epoch.
        dropout: Rate of dropout on the states that scores are made of.
        **kwargs: `name`, `trainable`, `compile`.

    Returns:
        `span_scores`, float32 `[b, s, l]`, log odds of the spans of 1 to l tokens that begin at
        each token; and `link_states`, `[b, s, 2H]`, of which the layer `antecedents` makes links.

    Raises:
        ValueError: Backbone and preprocessor do not fit each other, or a number is too small.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertCoreferenceResolverPreprocessor

    task = "coreference-resolution"
    verb = "resolve"
    settings_cls = CoreferenceResolution
    reading_cls = CoreferenceFiles
    training_file = "coreference.conll"
    asking_cls = CoreferenceAsking
    scoring_cls = CoreferenceScoring
    decoder_cls = ClusterDecoder
    decoded = (MENTION_SPANS, MENTION_SCORES, ANTECEDENTS, LINK_SCORES)
    figures = FIGURES
    page_of = staticmethod(html_page)
    default_batch_size = 1

    def __init__(
        self,
        backbone: SpanBertBackbone,
        preprocessor: Any = None,
        max_mention_length: int = 32,
        candidates: int = 160,
        window: int = 256,
        singletons: bool = True,
        mention_threshold: float = 0.0,
        link_threshold: float = 0.0,
        chunk_length: int = 1024,
        chunks: int = 2,
        dropout: float = 0.3,
        **kwargs: Any,
    ) -> None:
        check_fit(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.max_mention_length = max_mention_length
        self.candidates = candidates
        self.window = window
        self.singletons = singletons
        self.mention_threshold = mention_threshold
        self.link_threshold = link_threshold
        self.chunk_length = chunk_length
        self.chunks = chunks
        self.dropout = dropout
        for name in ("max_mention_length", "candidates", "window", "chunk_length", "chunks"):
            least = LEAST_CHUNK if name == "chunk_length" else 1
            if getattr(self, name) < least:
                raise ValueError(
                    f"`{name}` must be at least {least}, but is {getattr(self, name)}."
                )
        of_both = {"dropout": dropout, "dtype": backbone.dtype_policy}
        self.mentions = SpanScores(max_mention_length, prior=PRIOR, name="mentions", **of_both)
        self.antecedents = AntecedentLinks(
            window, max_mention_length, name="antecedents", **of_both
        )
        inputs = backbone.input
        mask = inputs[PADDING_MASK.name]
        # All but [CLS], the first, and [SEP], the last.
        has_next = ops.pad(mask[:, 1:], ((0, 0), (0, 1)))
        is_piece = ops.logical_and(has_next > 0, ops.cumsum(ops.ones_like(mask), axis=1) > 1)
        states = backbone(inputs)["sequence_output"]
        super().__init__(
            inputs=inputs,
            outputs={
                "span_scores": self.mentions(states, is_piece),
                "link_states": self.antecedents(states),
            },
            **kwargs,
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[CoreferenceText]:
        """Reads texts with their clusters, see `read_coreference`."""
        return read_coreference(path, **vars(reading or CoreferenceFiles()))

    @classmethod
    def head_arguments(cls, records: Sequence[CoreferenceText], settings: Any) -> dict[str, Any]:
        """Whether there are clusters of one mention, and what settings say of the head."""
        sizes = {len(cluster) for record in records for cluster in record.clusters}
        if not sizes:
            where = records[0].path if records else "no texts"
            raise DataError(f"{where}: expected texts with clusters, found none.")
        names = ("max_mention_length", "window", "chunk_length", "chunks", "dropout")
        return {"singletons": 1 in sizes, **{name: getattr(settings, name) for name in names}}

    @classmethod
    def with_new_head(
        cls, backbone: Any, tokenizer: Any, head: dict[str, Any], settings: Any
    ) -> Any:
        """Makes a resolver, with the encoder's embeddings frozen unless settings say otherwise."""
        if settings.train_embeddings and settings.lora_rank is not None:
            raise ValueError(
                "`train_embeddings` trains weights of the encoder, which `lora_rank` leaves as "
                "they are: give one of the two."
            )
        for layer in (backbone.token_embedding, backbone.embeddings):
            layer.trainable = settings.train_embeddings
        return super().with_new_head(backbone, tokenizer, head, settings)

    def rows_an_epoch(self, columns: Columns) -> int:
        """Chunks of all documents."""
        return len(columns[0]) * self.chunks

    def columns_of(self, records: Sequence[CoreferenceText]) -> tuple[Columns, Any]:
        """The texts, and their clusters."""
        return [[record.text for record in records]], [record.clusters for record in records]

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """`y` as `fit` takes it: the clusters of each text."""
        limits = self.max_mention_length, self.preprocessor.most_pieces
        return {GOLD_MENTIONS: mention_tokens(rows, y, columns[0], *limits)}

    def training_batches(self, rows: Rows, batch_size: int, seed: int | None) -> ChunkBatches:
        """Random chunks of the documents."""
        return ChunkBatches(
            rows,
            tokenizer=self.preprocessor.tokenizer,
            chunk_length=min(self.chunk_length, self.preprocessor.sequence_length),
            chunks=self.chunks,
            batch_size=batch_size,
            seed=seed,
        )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Cross-entropy of all spans, and of the mentions' antecedents, a mention that is known."""
        scores = y_pred["span_scores"]
        clusters = clusters_of_spans(y, scores)
        is_known = ops.cast(clusters > 0, "float32")
        losses = ops.sum(ops.softplus(scores) - scores * is_known, axis=(1, 2))

        preferred = ops.stop_gradient(scores) + CERTAIN * is_known
        places = best_candidates(preferred, CANDIDATE_BLOCK, self.candidates)
        links = self._links(x, y_pred, *_of_spans(places, scores))
        losses += ops.sum(antecedent_losses(links, values_of_spans(places, clusters)), axis=1)

        counts = ops.sum(is_known, axis=(1, 2))
        return self.mean_loss(losses, counts, sample_weight, least=1.0)

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """The candidates of each row, and the one that each is best linked to."""
        scores = outputs["span_scores"]
        places = best_candidates(scores, CANDIDATE_BLOCK, self.candidates)
        firsts, lasts, chances = _of_spans(places, scores)
        return {
            MENTION_SPANS.name: ops.stack([firsts, lasts], axis=2) - 1,  # [CLS]
            MENTION_SCORES.name: chances,
            **self._best_links(self._links(features, outputs, firsts, lasts, chances)),
        }

    def _links(
        self, features: dict[str, Any], outputs: Any, firsts: Any, lasts: Any, chances: Any
    ) -> Any:
        """Scores of mentions with those before them, float32 `[b, n, w]`."""
        token_ids = ops.cast(features[TOKEN_IDS.name], "int32")
        return self.antecedents.links(outputs["link_states"], token_ids, firsts, lasts, chances)

    def _best_links(self, links: Any) -> dict[str, Any]:
        best, before = (of[..., 0] for of in ops.top_k(links, 1))  # LiteRT lacks `ops.argmax`.
        numbers = ops.arange(ops.shape(best)[1], dtype="int32")
        antecedents = numbers + ops.cast(before, "int32") - self.window
        return {
            ANTECEDENTS.name: ops.where(best > NEVER / 2, antecedents, -1),
            LINK_SCORES.name: best,
        }

    def _given_links(self, features: dict[str, Any], mentions: Any) -> dict[str, Any]:
        """The best link of each of the mentions `[b, m, 3]`, see `given_mention_tokens`."""
        mentions = ops.pad(mentions, ((0, 0), (0, 1), (0, 0)), constant_values=-1)  # one at least
        firsts, lasts = (ops.maximum(mentions[..., side], 0) for side in range(2))
        chances = ops.where(mentions[..., 0] < 0, NEVER, CERTAIN)
        outputs = self(features, training=False)
        return self._best_links(self._links(features, outputs, firsts, lasts, chances))

    def answer_texts(
        self, x: Any, batch_size: int | None = None, mentions: Any = None, **options: Any
    ) -> Any:
        """Answers for texts, see `SpanBertTask.answer_texts`; `mentions` as for `resolve`."""
        if mentions is None:
            return super().answer_texts(x, batch_size, **options)
        columns, is_one = self.columns_asked(x)
        if not columns[0] and not mentions:
            return []
        mentions = [mentions] if is_one else mentions
        rows = self.encode(columns)
        tokens = given_mention_tokens(rows, mentions, columns[0], self.preprocessor.most_pieces)
        orders = np.split(tokens.values.numpy()[:, 2], tokens.row_splits.numpy()[1:-1])
        spans = [
            np.array(of_text, int).reshape(-1, 2)[order]
            for of_text, order in zip(mentions, orders, strict=True)
        ]

        def run(batch: Any) -> dict[str, np.ndarray]:
            links = self.run_in_graph("given", self._given_links, *batch)
            return {name: ops.convert_to_numpy(of) for name, of in links.items()}

        answers = answer_rows(
            rows.with_targets({GOLD_MENTIONS: tokens}),
            columns,
            lambda rows: self.batches_of(rows, batch_size),
            run,
            (ANTECEDENTS, LINK_SCORES),
            GivenMentions(replace(self.decoder, **options), spans),
        )
        return answers[0] if is_one else answers

    def get_config(self) -> dict[str, Any]:
        names = (
            *("max_mention_length", "candidates", "window", "singletons", "mention_threshold"),
            *("link_threshold", "chunk_length", "chunks", "dropout"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _of_spans(places: Any, scores: Any) -> tuple[Any, Any, Any]:
    """First token, last token and score of spans, `[b, n]` each; see `best_candidates`."""
    return *span_ends(places, scores), values_of_spans(places, scores)
