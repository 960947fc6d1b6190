"""Token segments -> what an encoder takes: `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, padded.

What takes tensors is made of TensorFlow's core operations, so that it may sit in a SavedModel that
is served where no extra operations are installed.  Letters: b batch, s sequence, n segments.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from spanbert_tf.features import PADDING_MASK, SEGMENT_IDS, TOKEN_IDS


def trim_segments(
    segments: Sequence[tf.RaggedTensor], budget: int | tf.Tensor
) -> list[tf.RaggedTensor]:
    """Cuts the ends of segments so that each row's segments have `budget` tokens at most.

    The budget is dealt out one token at a time, to the first segment, the second, and round
    again, past segments that have no more: the longest one is cut first.

        [[1, 2, 3, 4]] and [[5, 6]] with a budget of 5 -> [[1, 2, 3]] and [[5, 6]]

    Args:
        segments: Integers `[b, (s)]`, one ragged tensor a segment.
        budget: Tokens for all the segments of a row together, at least 0.

    Returns:
        The segments, cut: int32 `[b, (s)]`.
    """
    segments = [_as_ragged(segment) for segment in segments]
    kept = kept_lengths([_row_lengths(segment) for segment in segments], budget)
    trimmed = []
    for segment, lengths in zip(segments, kept, strict=True):
        starts = tf.cast(segment.row_starts(), tf.int32)
        sources = tf.ragged.range(starts, starts + lengths)
        trimmed.append(sources.with_values(tf.gather(segment.values, sources.values)))
    return trimmed


def kept_lengths(lengths: Sequence[tf.Tensor], budget: int | tf.Tensor) -> list[tf.Tensor]:
    """Says how many tokens of each segment `trim_segments` keeps.

    Dealing tokens round by round fills all segments to one level, the highest `t` for which the
    sum of min(length, t) is within the budget.  That sum is the least, over k, of the k shortest
    lengths in full and t for each of the others; hence the closed form for `t`.  What is left
    after the last full round goes to the first segments that still have tokens.

    Args:
        lengths: int32 `[b]`, one tensor a segment.
        budget: Tokens a row may keep, at least 0.

    Returns:
        int32 `[b]`, one tensor a segment.
    """
    count = len(lengths)
    if count == 1:
        return [tf.minimum(lengths[0], budget)]
    stacked = tf.stack(lengths)  # [n, b]
    shortest = tf.cumsum(tf.sort(stacked, axis=0), axis=0, exclusive=True)
    others = tf.range(count, 0, -1)[:, None]
    level = tf.reduce_max((budget - shortest) // others, axis=0)
    kept = tf.minimum(stacked, level)
    has_more = tf.cast(stacked > level, tf.int32)
    spare = budget - tf.reduce_sum(kept, axis=0)
    kept += has_more * tf.cast(tf.cumsum(has_more, axis=0) <= spare, tf.int32)
    return tf.unstack(kept, num=count)


def pack_segments(
    segments: Sequence[tf.RaggedTensor],
    *,
    sequence_length: int | tf.Tensor,
    start_token_id: int,
    end_token_id: int,
    pad_token_id: int,
    buckets: Sequence[int] | None = None,
) -> dict[str, tf.Tensor]:
    """Joins the segments of each row with special tokens and pads the rows.

        [[5, 6]] and [[7]] with a sequence length of 7 -> token_ids   CLS 5 6 SEP 7 SEP PAD
                                                          segment_ids   0 0 0   0 1   1   0
                                                          padding_mask  1 1 1   1 1   1   0

    Args:
        segments: Integers `[b, (s)]`, one ragged tensor a segment (usually one or two).  Ragged
            `[b, (words), (pieces)]` is taken too.  A row may be empty: `CLS SEP`.
        sequence_length: The most tokens a row may have, special tokens counted.  Longer rows are
            cut as `trim_segments` cuts them.
        start_token_id: Id of the token before the first segment.
        end_token_id: Id of the token after each segment.
        pad_token_id: Id that fills a row's end.
        buckets: Padded lengths to choose from: the batch is as long as the first of them that
            holds its longest row.  `sequence_length` counts as one of them.  `None`: the batch
            is always `sequence_length` long, which then is its static shape.

    Returns:
        `token_ids`, `segment_ids` and `padding_mask`, each int32 `[b, length]`.

    Raises:
        ValueError: There is no segment, `sequence_length` has no room for the special tokens, or
            a bucket is not positive.
    """
    special_tokens = len(segments) + 1
    _check(special_tokens, sequence_length, buckets)
    segments = [_as_ragged(segment) for segment in segments]
    kept = kept_lengths(
        [_row_lengths(segment) for segment in segments], sequence_length - special_tokens
    )
    length = sequence_length
    if buckets is not None:
        longest = tf.reduce_max(tf.add_n(kept)) + special_tokens
        fitting = tf.constant([*buckets], tf.int32)
        fitting = tf.where(fitting >= longest, fitting, sequence_length)
        length = tf.minimum(tf.reduce_min(fitting), sequence_length)

    # Each position looks up its own token: fewer and cheaper operations than joining ragged rows.
    position = tf.range(length)[None, :]  # [1, s]
    token_ids = tf.where(position == 0, start_token_id, pad_token_id)
    segment_ids = tf.zeros_like(position)
    begin = tf.ones_like(kept[0])[:, None]  # [b, 1]: where the segment's first token goes
    for number, (segment, count) in enumerate(zip(segments, kept, strict=True)):
        end = begin + count[:, None]
        inside = (position >= begin) & (position < end)
        source = tf.cast(segment.row_starts(), tf.int32)[:, None] + position - begin
        # One more value, so that there is something to look up when every row is empty.
        values = tf.concat([segment.values, [pad_token_id]], axis=0)
        found = tf.gather(values, tf.where(inside, source, 0))
        token_ids = tf.where(inside, found, token_ids)
        token_ids = tf.where(position == end, end_token_id, token_ids)
        in_segment = (position >= begin) & (position <= end)
        segment_ids = tf.where(in_segment, number, segment_ids)
        begin = end + 1
    return {
        TOKEN_IDS.name: token_ids,
        SEGMENT_IDS.name: segment_ids,
        PADDING_MASK.name: tf.cast(position < begin, tf.int32),
    }


def concatenate_padded(parts: Sequence[np.ndarray], pad_value: float | None = 0) -> np.ndarray:
    """Joins arrays `[b, ...]` along their first axis, the smaller ones padded at their ends."""
    largest = np.max([part.shape[1:] for part in parts], axis=0)
    return np.concatenate(
        [
            np.pad(
                part,
                [(0, 0), *((0, int(gap)) for gap in largest - part.shape[1:])],
                constant_values=pad_value or 0,
            )
            for part in parts
        ]
    )


def _as_ragged(segment: tf.RaggedTensor) -> tf.RaggedTensor:
    """Makes a segment int32 `[b, (s)]`, whether it came as that, by words or dense."""
    if not isinstance(segment, tf.RaggedTensor):
        segment = tf.RaggedTensor.from_tensor(segment)
    if segment.shape.rank != 2:
        segment = segment.merge_dims(1, -1)
    # A row length that all rows share would be kept by `with_values`, and its values dense.
    return tf.RaggedTensor.from_row_splits(
        tf.cast(segment.values, tf.int32), segment.row_splits, validate=False
    )


def _row_lengths(segment: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(segment.row_lengths(), tf.int32)


def _check(
    special_tokens: int, sequence_length: int | tf.Tensor, buckets: Sequence[int] | None
) -> None:
    """Refuses arguments that would give rows without their special tokens."""
    if special_tokens < 2:
        raise ValueError("`segments` must hold at least one segment, but is empty.")
    if not tf.is_tensor(sequence_length) and sequence_length < special_tokens:
        raise ValueError(
            f"`sequence_length` must have room for {special_tokens} special tokens, "
            f"but is {sequence_length}."
        )
    if buckets is not None and (not buckets or min(buckets) < 1):
        raise ValueError(f"`buckets` must be positive lengths, but came as {list(buckets)}.")
