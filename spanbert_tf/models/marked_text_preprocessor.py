"""Strings with two entities each -> rows in which the entities are marked.

Letters: b texts, s sequence, t types of entities, m marks of an entity.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras_hub.models import Preprocessor

from spanbert_tf.data.batching.entity_marks import Spans, mark_entities, read_spans
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.lines import quote
from spanbert_tf.features import ENTITY_STARTS
from spanbert_tf.models.text_preprocessor import TextPreprocessor, keep_buckets
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

# How many marks an entity has.
MARKINGS = {"around": 2, "types": 1}

_UNUSED = re.compile(r"\[unused\d+\]")


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertRelationExtractorPreprocessor(TextPreprocessor, Preprocessor):
    """Turns texts, each with two entities, into what the encoder takes, the entities marked.

    Marks are pieces `[unused...]` of the vocabulary, the first ones, which BERT's vocabularies have
    for such ends: so they are part of any preset, and their embeddings of the encoder.  With
    `marking="around"` an entity stands between two marks; with `"types"` one mark stands in its
    place, as in SpanBERT's recipe for TACRED.  Marks of head and tail are others, and those of each
    type of entities; an entity of another type, or of none, has marks of its own.

    Texts that are too long are cut around their entities, see `mark_entities`.

    Args:
        tokenizer: A `SpanBertTokenizer`.
        sequence_length: The most tokens of a row, special tokens and marks counted.
        marking: `"around"` or `"types"`.
        entity_types: Names of the types of entities, t of them.
        buckets: See `TextPreprocessor`.
        **kwargs: `name` and other arguments of a Keras layer.

    Call arguments:
        x: Three columns: texts, heads and tails, entities as `"0:3"`, first character and the one
            after the last, or `"0:3:PER"`, with their type.

    Returns:
        The encoder's features, and `entity_starts`, int32 `[b, 2]`.

    Raises:
        ValueError: `marking` is unknown, or the vocabulary has too few pieces `[unused...]`; an
            entity is not within its text, or the two of a text have more than a row's tokens or,
            with `"types"`, share characters.  In a graph the last are TensorFlow's errors.
    """

    row_settings: ClassVar = ("sequence_length", "marking", "entity_types")

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = 512,
        marking: str = "around",
        entity_types: Sequence[str] = (),
        buckets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if marking not in MARKINGS:
            raise ValueError(f"`marking` must be one of {(*MARKINGS,)}, but is {marking!r}.")
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.marking = marking
        self.entity_types = tuple(entity_types)
        self.buckets = keep_buckets(buckets)
        if tokenizer.vocabulary is not None:  # In a preset it comes later.
            self.marks()

    def marks(self) -> np.ndarray:
        """Ids of the marks, int32 `[t + 1, 2, m]`: without a type, and then of each type.

        Raises:
            ValueError: The vocabulary has too few pieces `[unused...]`.
        """
        shape = (len(self.entity_types) + 1, 2, MARKINGS[self.marking])
        pieces = self.tokenizer.get_vocabulary()
        ids = [number for number, piece in enumerate(pieces) if _UNUSED.fullmatch(piece)]
        if len(ids) < np.prod(shape):
            raise ValueError(
                f"marks for {len(self.entity_types)} types of entities, and for those without, "
                f"need {np.prod(shape)} pieces [unused...], but the vocabulary has {len(ids)}."
            )
        return np.array(ids[: np.prod(shape)], np.int32).reshape(shape)

    def rows(self, *columns: tf.Tensor) -> Rows:
        """Makes a row of each text with its two entities: three columns, string `[b]`."""
        if len(columns) != 3:
            raise ValueError(f"expected three columns, texts, heads and tails; got {len(columns)}.")
        text = columns[0]
        head, tail = map(read_spans, columns[1:])
        length = tf.strings.length(text, unit="UTF8_CHAR")
        for span in (head, tail):
            outside = (span.starts >= span.ends) | (span.ends > length)
            _refuse(outside, "an entity is empty, or is not within its text", columns)
        if self.marking == "types":
            overlap = (head.starts < tail.ends) & (tail.starts < head.ends)
            _refuse(overlap, "entities share characters, and types cannot replace both", columns)
        room = self.sequence_length - 2
        table = tf.constant(self.marks())
        marks = [
            tf.gather(table[:, n], self._types_of(span)) for n, span in enumerate((head, tail))
        ]
        pieces = self.tokenizer.tokenize_with_offsets(text, unit="character")
        marked = mark_entities(pieces, head, tail, tf.stack(marks, 1), room)
        _refuse(marked.lengths > room, f"two entities have more than {room} tokens", columns)
        starts = marked.entity_starts + 1  # [CLS] comes before.
        return Rows.one_each([marked.token_ids], inputs={ENTITY_STARTS: starts})

    def _types_of(self, spans: Spans) -> tf.Tensor:
        """Numbers of the entities' types, from 1, int64 `[b]`; 0 for any other."""
        matches = spans.types[:, None] == tf.constant(["", *self.entity_types])
        return tf.argmax(tf.cast(matches, tf.int32), axis=1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sequence_length": self.sequence_length,
            "marking": self.marking,
            "entity_types": list(self.entity_types),
            "buckets": self.buckets and list(self.buckets),
        }


def _refuse(wrong: tf.Tensor, message: str, columns: Sequence[tf.Tensor]) -> None:
    """Raises an error that shows the first of the rows, bool `[b]`, that are wrong.

    A `ValueError`; but in a graph TensorFlow's own, once it runs.
    """
    if not tf.executing_eagerly():
        shown = [tf.boolean_mask(column, wrong)[:1] for column in columns]
        tf.debugging.Assert(~tf.reduce_any(wrong), [message, *shown])
    elif np.any(wrong):
        text, *spans = (column.numpy()[np.argmax(wrong)].decode() for column in columns)
        raise ValueError(f"{message}: {' and '.join(spans)} of {quote(text)}")
