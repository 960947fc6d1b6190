"""Strings and ids in any nesting of lists and tensors.

Letters: n strings, p pieces of one string.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def strings_from_python(strings: Any) -> Any:
    """A string tensor of Python or NumPy strings, ragged where their lists are."""
    try:
        if isinstance(strings, np.ndarray) and strings.dtype != object:
            strings = strings.astype(object)
        return tf.constant(strings, tf.string)
    except (TypeError, ValueError):
        try:
            return tf.ragged.constant(strings, tf.string)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected strings, or lists of them, got {strings!r:.200}") from error


def ids_from_python(ids: Any) -> Any:
    """An int32 tensor of ids in any form, ragged where their lists are."""
    if isinstance(ids, tf.RaggedTensor | tf.Tensor):
        return tf.cast(ids, tf.int32)
    if hasattr(ids, "shape"):
        return tf.constant(keras.ops.convert_to_numpy(ids), tf.int32)
    return tf.ragged.constant(ids, tf.int32)


def shaped_like(strings: Any, pieces: tf.Tensor, row_splits: tf.Tensor) -> Any:
    """Pieces of flat strings in the strings' own shape, with one axis more."""
    if strings.shape.rank == 0:
        return pieces
    rows = tf.RaggedTensor.from_row_splits(pieces, row_splits, validate=False)
    if isinstance(strings, tf.RaggedTensor):
        return strings.with_flat_values(rows.with_row_splits_dtype(strings.row_splits.dtype))
    for axis in range(strings.shape.rank - 1, 0, -1):
        shape = tf.shape(strings, tf.int64)
        rows = tf.RaggedTensor.from_uniform_row_length(
            rows, shape[axis], tf.reduce_prod(shape[:axis])
        )
    return rows
