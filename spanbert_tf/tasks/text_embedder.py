"""Text embeddings: strings in, vectors out that are near where texts mean the same.

Letters: b records of a batch, k texts of a record, r rows, H hidden, d numbers of a vector.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops
from keras_hub.models import TextEmbedder

from spanbert_tf.atomic_files import user_path
from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.text_tuples import (
    TupleBatches,
    check_width,
    parts_of_targets,
    targets_of_tuples,
    texts_a_record,
    trimmed_columns,
)
from spanbert_tf.data.readers.text_tuples import (
    TextTuple,
    check_learnable,
    read_span_pairs,
    read_text_tuples,
    with_vectors,
)
from spanbert_tf.features import VECTORS, Feature
from spanbert_tf.layers.vector_objectives import (
    distillation_losses,
    ranking_losses,
    similarity_losses,
    unit_vectors,
)
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.gradient_cache import cached_step
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.task_definition import ANSWERS
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.models.text_embedder_preprocessor import SpanBertTextEmbedderPreprocessor
from spanbert_tf.setting_fields import ABOVE_0, PART, Range, at_least, setting
from spanbert_tf.settings import POOLINGS, AskedColumns, Asking, FineTuning
from spanbert_tf.tasks.decoders.vectors import ComparesVectors, VectorDecoder

__all__ = ["SpanBertTextEmbedder", "SpanBertTextEmbedderPreprocessor"]

# What of the settings are arguments of the embedder.
_OF_HEAD = (
    *("projection_dim", "pooling", "dropout", "temperature", "symmetric", "teacher_weight"),
    "micro_batch_size",
)


def _are_numbers(text: str) -> bool:
    parts = text.split(",")
    return all(part.strip().isdecimal() and int(part) > 0 for part in parts)


@dataclass(frozen=True)
class TextEmbedding(FineTuning):
    """How a text embedder is fine-tuned."""

    batch_size: int = setting(
        64,
        int,
        "records in a training step: of pairs each is told from the texts of all others",
        at_least(1),
    )
    dropout: float = setting(
        0.0, float, "part of a text's numbers dropped in training before the projection", PART
    )
    pooling: str = setting(
        "mean", str, "what stands for a text: the mean state, or that of [CLS]", choices=POOLINGS
    )
    projection_dim: int | None = setting(
        None, int, "numbers of a vector, by a linear layer; None: the encoder's width", at_least(1)
    )
    temperature: float = setting(
        0.05, float, "what cosines of pairs are divided by before the softmax", ABOVE_0
    )
    symmetric: bool = setting(False, bool, "of pairs also find the first texts by the second ones")
    dimensions: str | None = setting(
        None,
        str,
        "numbers with commas between them, such as 64,128: as many first numbers of a vector are "
        "to be good vectors too (Matryoshka)",
        Range("numbers above 0 with commas between them, such as 64,128", _are_numbers),
    )
    teacher_weight: float = setting(
        1.0, float, "what the loss of the teacher's vectors counts; beside pairs 10 or so", ABOVE_0
    )
    micro_batch_size: int | None = setting(
        None,
        int,
        "texts that the network has at a time, for batches larger than memory, to the same "
        "gradients; None: all of a batch",
        at_least(1),
    )


@dataclass(frozen=True)
class EmbeddingFiles(AskedColumns):
    """How files of texts that belong together are read."""

    negative_column: str | None = setting(
        None, str, "column of texts that do not mean the same as the first"
    )
    score_column: str | None = setting(None, str, "column of how alike two texts are")
    highest_score: float = setting(1.0, float, "the score of texts that mean the same", ABOVE_0)
    span_characters: int = setting(
        400, int, "most characters of the spans that are drawn from a folder's texts", at_least(4)
    )


@dataclass(frozen=True)
class EmbeddingAsking(Asking):
    """How a text embedder is asked."""

    dimensions: int | None = setting(
        None, int, "numbers of each vector, the first ones; default: all", at_least(1)
    )


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTextEmbedder(ComparesVectors, SpanBertTask, TextEmbedder):
    """Encodes texts as vectors of length 1, whose products are cosines.

    A text's vector is the mean of the encoder's final states, padding excluded, if asked for
    through a linear layer, and scaled to length 1.

        embedder.fit((anchors, positives))              # multiple negatives ranking
        embedder.fit((anchors, positives, negatives))   # the same with negatives of their own
        embedder.fit((anchors, positives), topics)      # those of one topic are no negatives
        embedder.fit((texts, others), scores)           # cosines are to be the scores, -1 to 1
        embedder.fit(texts, vectors)                    # cosines to a teacher's vectors are to be 1

    A teacher's vectors may also be given with pairs or triplets, `[texts, k, d]`: both losses are
    added, the second times `teacher_weight`.  `{"vectors": ..., "topics": ...}` gives topics too.

    Args:
        backbone: A `SpanBertBackbone`.
        preprocessor: A `SpanBertTextEmbedderPreprocessor`, or `None` for features that are
            preprocessed already.
        projection_dim: Numbers of a vector, by a linear layer.  `None`: the encoder's width, and no
            layer.
        pooling: `"mean"`, or `"cls"`, see `SpanBertBackbone.pooled_states`.
        dropout: Rate of dropout on the pooled states.
        temperature: What cosines are divided by, in training by pairs; 0.05 is a scale of 20.
        symmetric: Whether the loss of pairs is the mean of both directions.
        dimensions: Numbers of prefixes of a vector: the loss of pairs is the sum of those of each
            of them and of the whole vector (Matryoshka, Kusupati et al., 2022).
        teacher_weight: What the loss of a teacher's vectors is multiplied by.
        micro_batch_size: Rows that the network has at a time in training, see `cached_step`;
            TensorFlow alone.  `None`: all of a batch.
        **kwargs: `name`, `trainable`, `compile`.

    Returns:
        float32 `[b, d]`, of length 1.

    Raises:
        ValueError: `pooling` is unknown, one of `dimensions` is more than d, there is a
            `micro_batch_size` under another backend, or backbone and preprocessor do not fit.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertTextEmbedderPreprocessor

    task = "text-embedding"
    verb = "encode_text"
    more_verbs = ("similarity",)
    settings_cls = TextEmbedding
    reading_cls = EmbeddingFiles
    training_file = "pairs.tsv"
    asking_cls = EmbeddingAsking
    apart = ("text", "pair", "negative")
    decoder_cls = VectorDecoder
    decoded = (VECTORS,)
    batches_cls = TupleBatches
    default_batch_size = 64
    teaching = ANSWERS

    def __init__(
        self,
        backbone: SpanBertBackbone,
        preprocessor: Any = None,
        projection_dim: int | None = None,
        pooling: str = "mean",
        dropout: float = 0.0,
        temperature: float = 0.05,
        symmetric: bool = False,
        dimensions: Sequence[int] = (),
        teacher_weight: float = 1.0,
        micro_batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_fit(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.projection_dim = projection_dim
        self.pooling = pooling
        self.dropout = dropout
        self.temperature = temperature
        self.symmetric = symmetric
        self.dimensions = tuple(sorted({*dimensions}))
        self.teacher_weight = teacher_weight
        self.micro_batch_size = micro_batch_size
        self._texts_a_record = 1  # Within a step of training it may be more.
        if self.dimensions and self.dimensions[-1] > self.width:
            most = f"{self.width} at most, the numbers of a vector"
            raise ValueError(f"`dimensions` must be {most}, but are {self.dimensions}.")
        if micro_batch_size is not None and keras.config.backend() != "tensorflow":
            raise ValueError("`micro_batch_size` is for TensorFlow's backend alone.")
        inputs = backbone.input
        x = backbone.pooled_states(inputs, pooling)
        x = keras.layers.Dropout(dropout, dtype="float32", name="pooled_dropout")(x)
        self.projection: Any = None
        if projection_dim is not None:
            self.projection = keras.layers.Dense(projection_dim, dtype="float32", name="projection")
            x = self.projection(x)
        unit = keras.layers.UnitNormalization(dtype="float32", name="unit_normalization")
        super().__init__(inputs=inputs, outputs=unit(x), **kwargs)

    @classmethod
    def has_head(cls, config: Mapping[str, Any]) -> bool:
        """Whether there is a projection."""
        return config.get("projection_dim") is not None

    @property
    def width(self) -> int:
        """Numbers of a vector, d."""
        return self.projection_dim or self.backbone.hidden_dim

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[TextTuple]:
        """Reads texts that belong together, or of a folder pairs of spans of one document.

        See `read_text_tuples` and `read_span_pairs`.
        """
        options = dict(vars(reading or EmbeddingFiles()))
        characters = options.pop("span_characters")
        if user_path(path).is_dir():
            return read_span_pairs(path, characters)
        return read_text_tuples(path, **options)

    @classmethod
    def taught(cls, records: Sequence[TextTuple], teacher: Any) -> list[TextTuple]:
        """The records, with a teacher's vector of each text."""
        return with_vectors(records, teacher.encode_text)

    @classmethod
    def head_arguments(cls, records: Sequence[TextTuple], settings: Any) -> dict[str, Any]:
        """What settings say of the network and of its losses."""
        check_learnable(records)
        if len(records[0].texts) < 2 and settings.dimensions:
            raise ValueError("`dimensions` are learned from pairs: of texts alone there are none.")
        widths = () if settings.dimensions is None else settings.dimensions.split(",")
        head = {name: getattr(settings, name) for name in _OF_HEAD}
        return {**head, "dimensions": [*map(int, widths)]}

    def check_records(self, records: Sequence[TextTuple]) -> None:
        """Refuses vectors of a teacher that are wider or narrower than those to be learned."""
        for record in records:
            if record.vectors is not None:
                check_width(f"{record.path}, line {record.line}", record.vectors, self.width)

    def encode(self, columns: Columns, y: Any = None, sample_weight: Any = None) -> Rows:
        """Makes a row of each record, with a segment for each of its texts; `y` as for `fit`."""
        if len(columns) > len(self.apart):
            raise ValueError(f"expected one text to three at a time, got {len(columns)}.")
        if y is None and len(columns) > 1:
            y = [""] * len(columns[0])
        return super().encode(columns, y, sample_weight)

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """`y` as `fit` takes it: topics, scores or vectors."""
        return targets_of_tuples(columns, y, self.width)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean over records of the losses of what `y` has: numbers, scores, vectors."""
        numbers, scores, teachers = parts_of_targets(y)
        records = ops.shape(next(iter(y.values())))[0]
        vectors = ops.reshape(y_pred, (-1, records, self.width))
        losses = 0.0
        for width in sorted({*self.dimensions, self.width}):
            part = vectors if width == self.width else unit_vectors(vectors[..., :width])
            if scores is not None:
                losses += similarity_losses(part, scores)
            if numbers is not None:
                losses += ranking_losses(part, numbers, self.temperature, self.symmetric)
        if teachers is not None:
            losses += self.teacher_weight * distillation_losses(vectors, teachers)
        return self.mean_loss(losses, sample_weight=sample_weight)

    def train_step(self, *args: Any) -> Any:
        """A step of training, as the backend's trainer has it; see also `cached_step`."""
        if self.micro_batch_size is not None:
            return cached_step(self, args[0], self.micro_batch_size)
        # Elsewhere, and under XLA, shapes are fixed before anybody sees how long the texts are.
        if keras.config.backend() == "tensorflow" and not self.jit_compile:
            _, y, _ = keras.utils.unpack_x_y_sample_weight(args[0])
            self._texts_a_record = texts_a_record(y)
        try:
            return super().train_step(*args)
        finally:
            self._texts_a_record = 1

    def call(self, inputs: dict[str, Any], training: Any = None, mask: Any = None) -> Any:
        """The vectors, float32 `[r, d]`.

        In training the first texts of all records are padded to the longest of them alone, and so
        are the second ones: questions are not as long as what answers them.
        """
        embed = super().call
        if self._texts_a_record == 1:
            return embed(inputs, training=training, mask=mask)
        columns = trimmed_columns(inputs, self._texts_a_record)
        return ops.concatenate([embed(column, training=training) for column in columns])

    def predict(self, x: Any = None, batch_size: int | None = None, **kwargs: Any) -> Any:
        if isinstance(x, tuple) and len(x) > 1:
            raise ValueError(f"`predict` takes a list of texts, but got {len(x)} columns of them.")
        return super().predict(x, batch_size, **kwargs)

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """The vectors, float32 `[r, d]`."""
        return {VECTORS.name: outputs}

    @property
    def decoder(self) -> VectorDecoder:
        """What gives vectors."""
        return VectorDecoder(self.width)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _OF_HEAD},
            "dimensions": list(self.dimensions),
        }
