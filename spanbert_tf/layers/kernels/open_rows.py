"""A loop over rows that end one by one, in which those that have ended cost nothing more.

Letters: b rows.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# Rows that have ended leave once they are so many, so that moving the others pays.
ENDED_PART = 0.25


def repeat_while_open(
    is_open: Callable[[Any], Any],
    body: Callable[[Any, Any, Any], tuple[Any, Any]],
    kept: Any,
    state: Any,
    length: int,
) -> Any:
    """Repeats a step for each row until the row ends.

    All tensors have rows first: b, or some of each row, side by side.

    Args:
        is_open: From `kept` to bool `[b]`: rows that have not ended.
        body: From the number of steps before, `kept` and `state` to the next of both.  Of a row
            that has ended it may be called or not: it must not change what is read of its `kept`.
        kept: Structure of tensors, which the caller needs.
        state: Structure of what the steps need beside them; with TensorFlow, axes that are empty
            at first may grow.
        length: The most steps.

    Returns:
        `kept`, with each row as it was when it ended, or some steps later.
    """
    loop = _leaving if keras.backend.backend() == "tensorflow" else _staying
    return loop(is_open, body, kept, state, length)


def _staying(is_open: Any, body: Any, kept: Any, state: Any, length: int) -> Any:
    """All rows stay until the last has ended: shapes are fixed."""

    def goes_on(place: Any, kept: Any, state: Any) -> Any:
        return ops.logical_and(place < length, ops.any(is_open(kept)))

    def step(place: Any, kept: Any, state: Any) -> Any:
        return place + 1, *body(place, kept, state)

    start = ops.zeros((), "int32")
    return ops.while_loop(goes_on, step, (start, kept, state))[1]


def _leaving(is_open: Any, body: Any, kept: Any, state: Any, length: int) -> Any:
    """Rounds of steps, each of the rows that were open when it began."""
    import tensorflow as tf

    def goes_on(place: Any, rows: Any, *_: Any) -> Any:
        return tf.logical_and(place < length, tf.size(rows) > 0)

    def round_of_steps(place: Any, rows: Any, kept: Any, state: Any, result: Any) -> Any:
        enough = (1 - ENDED_PART) * tf.cast(tf.size(rows), tf.float32)

        def has_enough(place: Any, kept: Any, state: Any) -> Any:
            count = tf.math.count_nonzero(is_open(kept), dtype=tf.int32)
            return tf.logical_and(place < length, tf.cast(count, tf.float32) > enough)

        def step(place: Any, kept: Any, state: Any) -> Any:
            return place + 1, *body(place, kept, state)

        place, kept, state = tf.while_loop(has_enough, step, (place, kept, state))
        result = tf.nest.map_structure(
            lambda of_all, of_some: tf.tensor_scatter_nd_update(of_all, rows[:, None], of_some),
            result,
            kept,
        )
        still = tf.cast(tf.where(is_open(kept))[:, 0], tf.int32)

        def stay(x: Any) -> Any:
            of_each = tf.shape(x)[0] // tf.size(rows)
            return tf.gather(x, tf.reshape(still[:, None] * of_each + tf.range(of_each), [-1]))

        kept, state = tf.nest.map_structure(stay, (kept, state))
        return place, tf.gather(rows, still), kept, state, result

    rows = tf.range(tf.shape(is_open(kept))[0])
    begin = (tf.constant(0), rows, kept, state, kept)
    # The number of rows changes.
    shapes = tf.nest.map_structure(
        lambda x: tf.TensorShape([None, *(size or None for size in x.shape[1:])]), begin[1:4]
    )
    whole = tf.nest.map_structure(lambda x: x.shape, kept)
    invariants = (tf.TensorShape([]), *shapes, whole)
    return tf.while_loop(goes_on, round_of_steps, begin, shape_invariants=invariants)[4]
