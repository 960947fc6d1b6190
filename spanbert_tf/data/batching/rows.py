"""Rows: what a task makes of its records before they are grouped into batches.

Letters: r rows, p pieces of a row, without special tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from spanbert_tf.features import PADDING_MASK, Feature


@dataclass(frozen=True)
class Rows:
    """Rows of word pieces, what goes with them, and the records that they are of.

    Made of TensorFlow operations alone, within graphs too, so that training, prediction and
    SavedModels share what makes them.

    Attributes:
        segments: int32 `[r, (p)]`, one ragged tensor a segment.
        records: int32 `[r]`, ascending: the record that each row is of.  A record whose text is
            long may have several rows; each has one at least.
        num_records: How many records there are, int32 scalar.
        inputs: What the network takes beside the encoder's features.  Of a feature with a number
            for each token (`[b, s]` in `features.py`) ragged `[r, (tokens)]`, special tokens among
            them; of others `[r, ...]`.
        targets: What the network is to learn, in the same form; empty in prediction.
        sample_weight: Numbers `[r]`, or `None`.
        places: What a decoder needs to know of each piece, ragged `[r, (p)]`, by name.
    """

    segments: tuple[tf.RaggedTensor, ...]
    records: tf.Tensor
    num_records: tf.Tensor
    inputs: dict[Feature, Any] = field(default_factory=dict)
    targets: dict[Feature, Any] = field(default_factory=dict)
    sample_weight: Any = None
    places: dict[str, tf.RaggedTensor] = field(default_factory=dict)

    @classmethod
    def one_each(cls, segments: Sequence[tf.RaggedTensor], **others: Any) -> "Rows":
        """Makes rows of which each is a record."""
        count = segments[0].nrows(tf.int32)
        return cls(tuple(segments), tf.range(count), count, **others)

    def with_targets(self, targets: dict[Feature, Any], sample_weight: Any = None) -> "Rows":
        """The same rows, with what is to be learned from them."""
        return replace(self, targets=targets, sample_weight=sample_weight)


def trimmed(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The encoder's features, int32 `[r, s]`, without the padding that all of their rows have."""
    longest = tf.reduce_max(tf.reduce_sum(features[PADDING_MASK.name], axis=1))
    return {name: of[:, :longest] for name, of in features.items()}


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """Joins rows of records that follow one another; targets come later.

    Args:
        parts: One at least, all of the same form.

    Returns:
        The rows of all parts, their records numbered on.
    """
    if len(parts) == 1:
        return parts[0]
    records, before = [], tf.constant(0)
    for part in parts:
        records.append(part.records + before)
        before += part.num_records
    return Rows(
        tuple(tf.concat(s, axis=0) for s in zip(*(part.segments for part in parts), strict=True)),
        tf.concat(records, axis=0),
        before,
        {name: tf.concat([p.inputs[name] for p in parts], axis=0) for name in parts[0].inputs},
        places={
            name: tf.concat([p.places[name] for p in parts], axis=0) for name in parts[0].places
        },
    )


def with_special_tokens(segments: Sequence[tf.RaggedTensor], fill: int = 0) -> tf.RaggedTensor:
    """Puts a number where each row's special tokens will stand.

        [[5, 6]] and [[7]] -> [[0, 5, 6, 0, 7, 0]]

    Args:
        segments: `[r, (p)]`, a number for each piece of each segment.
        fill: The number for [CLS] and each [SEP].

    Returns:
        `[r, (tokens)]`.
    """
    special = tf.fill([segments[0].nrows(), 1], tf.cast(fill, segments[0].dtype))
    parts = [special]
    for segment in segments:
        parts += [segment, special]
    return tf.concat(parts, axis=1)


def gather_rows(
    values: dict[Feature, Any], rows: tf.Tensor, length: int | tf.Tensor
) -> dict[str, tf.Tensor]:
    """Takes what there is of some rows, padded to one shape.

    Args:
        values: Tensors `[rows, ...]`, dense or ragged.
        rows: int64 `[b]`, the rows to take.
        length: Where those that have a number for each token end; others end with the longest.

    Returns:
        Dense tensors `[b, ...]` by the names of the features.
    """
    gathered = {}
    for feature, of_rows in values.items():
        taken = tf.gather(of_rows, rows)
        if isinstance(taken, tf.RaggedTensor):
            shape = tf.stack([-1, length]) if feature.is_of_tokens else None
            taken = taken.to_tensor(feature.pad_value, shape=shape)
        gathered[feature.name] = taken
    return gathered
