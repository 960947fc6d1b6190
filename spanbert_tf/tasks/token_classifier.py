"""Token classification: strings in, named entities with their characters out.

Letters: b batch, s sequence, H hidden, t tags, r rows, p pieces of a row, e entities of a text.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from keras_hub.models import Task

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.rows import Rows, with_special_tokens
from spanbert_tf.data.readers.entities import EntitySpan, TaggedText, read_entities
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.tag_numbers import legal_moves, numbered_spans, tag_words
from spanbert_tf.features import TAG_SCORES, TAGS, WORD_STARTS, Feature
from spanbert_tf.layers.crf import LinearChainCRF
from spanbert_tf.metrics.entities import EntityReport, Span, entity_report, same_entities
from spanbert_tf.metrics.reports import Report
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.task_definition import LOGITS, OF_TEACHER
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.models.token_classifier_preprocessor import SpanBertTokenClassifierPreprocessor
from spanbert_tf.setting_fields import NOT_BELOW_0, Settings, setting
from spanbert_tf.settings import FineTuning
from spanbert_tf.tasks.decoders.entities import Entity, EntityDecoder

__all__ = [
    "SpanBertTokenClassifier",
    "SpanBertTokenClassifierPreprocessor",
    "TokenClassification",
]


@dataclass(frozen=True)
class TokenClassification(FineTuning):
    """How a token classifier is fine-tuned."""

    crf: bool = setting(False, bool, "learn which tag follows which, by a conditional random field")
    overlap: int | None = setting(
        None,
        int,
        "tokens that windows share of a text which is longer than a row; None: 32, or half of a "
        "short row",
        NOT_BELOW_0,
    )


@dataclass(frozen=True)
class EntityColumns(Settings):
    """Where a file has its words and tags, or texts and spans; `None`: it is found."""

    text_column: str | None = setting(None, str, "key of the text, or of its words, in JSON lines")
    label_column: str | None = setting(None, str, "key of the spans, or of the tags, in JSON lines")
    word_column: int | None = setting(None, int, "column of the words, from 0, of a CoNLL file")
    tag_column: int | None = setting(
        None, int, "column of the tags, from 0, or -1 for the last, of a CoNLL file"
    )
    repair_tags: bool = setting(
        False, bool, "take an I- tag that continues nothing for the beginning of an entity"
    )


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTokenClassifier(SpanBertTask, Task):
    """Finds named entities and other spans that do not overlap.

    Each word is tagged at its first piece, with the tags B- and I- of each type and O; a path of
    tags never breaks their rules, see `LinearChainCRF`.  Texts of any length are read whole: in
    windows that overlap, or by a backbone of `attention="bucketed"` and
    `long_positions="restart"` with a preprocessor of a long `sequence_length`.

    `fit` takes texts and for each its entities: `(start, end, label)` in characters of the text, or
    `EntitySpan`s, which do not overlap.

    Args:
        backbone: A `SpanBertBackbone`.
        entity_groups: Names of the types of entities.
        preprocessor: A `SpanBertTokenClassifierPreprocessor`, or `None` for features that are
            preprocessed already.
        crf: Whether moves from tag to tag have learned scores.
        dropout: Rate of dropout before the tags' logits.
        **kwargs: `name`, `trainable`, `compile`.

    Returns:
        `logits`, float32 `[b, s, t]`; `tags`, int32 `[b, s]`, the best path, 0 where no word
        begins; and `tag_scores`, float32 `[b, s]`, their probabilities.

    Raises:
        ValueError: `entity_groups` is empty or has a name twice, or backbone and preprocessor do
            not fit each other.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertTokenClassifierPreprocessor

    task = "token-classification"
    verb = "find_entities"
    settings_cls = TokenClassification
    reading_cls = EntityColumns
    training_file = "entities.conll"
    extra_inputs = (WORD_STARTS,)
    decoder_cls = EntityDecoder
    decoded = (TAGS, TAG_SCORES)
    figures = ("f1", "precision", "recall", "lenient_f1")
    teaching = LOGITS
    taught_classes = "entity_groups"
    taught_alike = ("has_crf",)

    def __init__(
        self,
        backbone: SpanBertBackbone,
        entity_groups: Sequence[str],
        preprocessor: Any = None,
        crf: bool = False,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if not entity_groups or len(set(entity_groups)) < len(entity_groups):
            raise ValueError(
                f"`entity_groups` must be one or more different names, but are {entity_groups!r}."
            )
        check_fit(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.entity_groups = tuple(entity_groups)
        self.has_crf = crf
        self.dropout = dropout
        num_tags = 2 * len(entity_groups) + 1
        self.output_dropout = keras.layers.Dropout(
            dropout, dtype=backbone.dtype_policy, name="output_dropout"
        )
        self.output_dense = keras.layers.Dense(
            num_tags,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="logits",
        )
        starts, moves = legal_moves(len(entity_groups))
        self.tag_path = LinearChainCRF(
            num_tags, starts, moves, crf, dtype="float32", name="tag_path"
        )
        word_starts = keras.Input((None,), dtype=WORD_STARTS.dtype, name=WORD_STARTS.name)
        states = backbone(backbone.input)["sequence_output"]
        logits = self.output_dense(self.output_dropout(states))
        tags, scores = self.tag_path(logits, word_starts)
        super().__init__(
            inputs={**backbone.input, WORD_STARTS.name: word_starts},
            outputs={"logits": logits, TAGS.name: tags, TAG_SCORES.name: scores},
            **kwargs,
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[TaggedText]:
        """Reads texts with their entities, see `read_entities`."""
        reading = reading or EntityColumns()
        return read_entities(path, **vars(reading))

    @classmethod
    def head_arguments(cls, records: Sequence[TaggedText], settings: Any) -> dict[str, Any]:
        """The types of entities, and what settings say of the head."""
        groups = sorted({entity.label for record in records for entity in record.entities})
        if not groups:
            where = records[0].path if records else "no texts"
            raise DataError(f"{where}: expected texts with entities, found none.")
        return {"entity_groups": groups, "crf": settings.crf, "dropout": settings.dropout}

    @classmethod
    def preprocessor_arguments(cls, settings: Any) -> dict[str, Any]:
        """How long rows are, and what they share."""
        return {"sequence_length": settings.sequence_length, "overlap": settings.overlap}

    def columns_of(self, records: Sequence[TaggedText]) -> tuple[Columns, Any]:
        """The texts, and their entities."""
        known = self.decoder.entity_groups
        for record in records:
            for entity in record.entities:
                if entity.label not in known:
                    raise DataError(
                        f"{record.path}, line {record.line}: unknown entity type "
                        f"{entity.label!r}; expected one of {', '.join(known)}."
                    )
        return [[record.text for record in records]], [record.entities for record in records]

    @classmethod
    def answered(cls, columns: Columns, answers: Sequence[Any]) -> list[TaggedText]:
        """Texts with the entities that were found."""
        found = [tuple(EntitySpan(*span) for span in _found(answer)) for answer in answers]
        return [
            TaggedText(text, spans, None, number, OF_TEACHER)
            for number, (text, spans) in enumerate(zip(*columns, found, strict=True), start=1)
        ]

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """`y` as `fit` takes it: the entities of each text."""
        if len(y) != len(columns[0]):
            raise ValueError(
                f"`y` has entities of {len(y)} texts, but there are {len(columns[0])}."
            )
        numbers = {group: number for number, group in enumerate(self.entity_groups)}
        spans = [numbered_spans(number, of, numbers) for number, of in enumerate(y)]
        starts, ends, words = (rows.places[name] for name in ("starts", "ends", "word_starts"))
        splits = starts.row_splits.numpy()
        places = [each.flat_values.numpy() for each in (starts, ends, words)]
        tags = np.zeros(len(places[0]), np.int32)
        for row, record in enumerate(rows.records.numpy()):
            of_row = slice(splits[row], splits[row + 1])
            start, end, is_word = (place[of_row] for place in places)
            tags[of_row] = tag_words(start, end, is_word, spans[record])
        ragged = tf.RaggedTensor.from_row_splits(tags, starts.row_splits)
        return {TAGS: with_special_tokens([ragged])}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean over words of the cross-entropy of tags, or of paths of tags."""
        logits, words = y_pred["logits"], ops.cast(x[WORD_STARTS.name], "float32")
        if self.has_crf:
            losses = -self.tag_path.log_likelihood(logits, y, words)
        else:
            losses = ops.sparse_categorical_crossentropy(y, logits, from_logits=True)
            losses = ops.sum(losses * words, axis=1)
        return self.mean_loss(losses, ops.sum(words, axis=1), sample_weight)

    def score(self, answers: Sequence[Any], records: Sequence[Any]) -> dict[str, float]:
        """Precision, recall and F1 of whole entities, see `metrics.entities`."""
        return _report(answers, records).figures()

    def report(self, answers: Sequence[Any], records: Sequence[Any]) -> Report:
        """Each type of entities."""
        return _report(answers, records).by_type()

    @classmethod
    def gold_of(cls, record: TaggedText) -> list[dict[str, Any]]:
        """The entities, as answers name their fields."""
        return [
            {"entity_group": label, "word": record.text[start:end], "start": start, "end": end}
            for start, end, label in _gold(record)
        ]

    def is_right(self, answer: Sequence[Entity], record: TaggedText) -> bool:
        """Whether all entities were found, and no others."""
        return same_entities(_gold(record), _found(answer), record.words)

    def compared_logits(self, outputs: Any, features: dict[str, Any]) -> tuple[Any, Any]:
        """Those of the tags of each word, at its first piece."""
        return outputs["logits"], features[WORD_STARTS.name]

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """The tags and their probabilities, which the network decides."""
        return {of.name: outputs[of.name] for of in self.decoded}

    @property
    def decoder(self) -> EntityDecoder:
        """What joins words to entities."""
        return EntityDecoder(self.entity_groups)

    def find_entities(self, x: Any, batch_size: int | None = None) -> Any:
        """Finds the entities of texts.

        Args:
            x: A string, or a list of strings, of any length.
            batch_size: Rows in a batch.  `None`: as many as have 8,192 tokens.

        Returns:
            A list of `Entity` for a string, a list of such for several, in their order.
        """
        return self.answer_texts(x, batch_size)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "entity_groups": list(self.entity_groups),
            "crf": self.has_crf,
            "dropout": self.dropout,
        }


def _gold(record: TaggedText) -> list[Span]:
    return [(entity.start, entity.end, entity.label) for entity in record.entities]


def _found(answer: Sequence[Entity]) -> list[Span]:
    return [(entity.start, entity.end, entity.entity_group) for entity in answer]


def _report(answers: Sequence[Any], records: Sequence[TaggedText]) -> EntityReport:
    words = [record.words for record in records]
    return entity_report([*map(_gold, records)], [*map(_found, answers)], words)
