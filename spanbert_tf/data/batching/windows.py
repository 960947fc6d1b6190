"""Long texts as windows that overlap, planned in one place for training, prediction and serving.

Letters: n texts, w windows, p pieces.
"""

from typing import NamedTuple

import tensorflow as tf


class Windows(NamedTuple):
    """Windows of texts, one text's after the other's; positions count pieces of the whole text.

    A window owns the pieces that are nearer to its middle than to that of another one, so that
    each piece has one owner, which sees as much on both of its sides as can be.

    Attributes:
        texts: int32 `[w]`, the text that each is of, ascending.
        begins: int32 `[w]`, its first piece.
        ends: int32 `[w]`, the piece after its last.
        owned_begins: int32 `[w]`, the first piece that it owns.
        owned_ends: int32 `[w]`, the piece after the last that it owns.
    """

    texts: tf.Tensor
    begins: tf.Tensor
    ends: tf.Tensor
    owned_begins: tf.Tensor
    owned_ends: tf.Tensor


def plan_windows(lengths: tf.Tensor, room: int | tf.Tensor, overlap: int | tf.Tensor) -> Windows:
    """Plans windows that cover texts, the last one of a text as full as the others.

        a text of 10 pieces, room for 6, an overlap of 2 -> pieces 0 to 5 and 4 to 9,
        of which the first owns 0 to 4 and the second 5 to 9

    Args:
        lengths: int32 `[n]`, pieces of each text; one of none has one empty window.
        room: Pieces that a window holds, at least 1; a number or int32 `[n]`.
        overlap: Pieces that neighbors share at least, below `room`; a number or int32 `[n]`.

    Returns:
        The windows.
    """
    room = tf.broadcast_to(tf.cast(room, tf.int32), tf.shape(lengths))
    step = room - tf.cast(overlap, tf.int32)
    beyond = tf.maximum(lengths - room, 0)  # pieces that the first window leaves
    counts = 1 - (-beyond // step)
    texts = tf.repeat(tf.range(tf.size(lengths)), counts)
    number = tf.ragged.range(counts).flat_values
    begins = tf.minimum(number * tf.gather(step, texts), tf.gather(beyond, texts))
    length = tf.gather(lengths, texts)
    ends = tf.minimum(begins + tf.gather(room, texts), length)
    is_last = number == tf.gather(counts, texts) - 1
    # Where the overlap with the next one is halved.
    seams = (tf.roll(begins, -1, 0) + ends) // 2
    owned_ends = tf.where(is_last, length, seams)
    owned_begins = tf.where(number == 0, 0, tf.roll(owned_ends, 1, 0))
    return Windows(texts, begins, ends, owned_begins, owned_ends)


def cut_windows(values: tf.RaggedTensor, windows: Windows) -> tf.RaggedTensor:
    """Cuts what there is of each piece into windows.

    Args:
        values: `[n, (p)]`.
        windows: As `plan_windows` gives them.

    Returns:
        `[w, (p)]`, of the same dtype.
    """
    starts = tf.gather(tf.cast(values.row_starts(), tf.int32), windows.texts)
    sources = tf.ragged.range(starts + windows.begins, starts + windows.ends)
    return sources.with_values(tf.gather(values.values, sources.values))
