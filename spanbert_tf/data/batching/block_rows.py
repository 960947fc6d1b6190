"""Blocks of a corpus -> rows for pretraining: one block a row, padded, or several joined.

Letters: b batch, s sequence, k blocks, t masked pieces of a row, v the vocabulary.
"""

from collections.abc import Sequence

import tensorflow as tf

from spanbert_tf.data.batching.packing import pack_segments
from spanbert_tf.data.corpus.blocks import starts_word
from spanbert_tf.features import (
    ENCODER_FEATURES,
    MASK_POSITIONS,
    MASK_WEIGHTS,
    MASKED_LM_FEATURES,
    PADDING_MASK,
    POSITION_IDS,
    SPAN_BOUNDARIES,
    SPAN_FEATURES,
    SPAN_WEIGHTS,
    TOKEN_IDS,
    WORD_STARTS,
)

TARGET_SLOTS = 8  # Rows of joined blocks have slots in a multiple of this: few shapes.

Features = dict[str, tf.Tensor]


def block_rows(blocks: tf.RaggedTensor, length: tf.Tensor, vocabulary: Sequence[str]) -> Features:
    """Makes a row of each block: `[CLS] block [SEP]`, padded.

    Args:
        blocks: int32 `[k, (pieces)]`, ids.
        length: Padded length s of the rows, at least that of any block and 2.
        vocabulary: `[v]` word pieces, special tokens among them.

    Returns:
        `token_ids`, `segment_ids`, `padding_mask` and `word_starts`, int32 `[k, s]`.
    """
    cls, sep, pad = (vocabulary.index(token) for token in ("[CLS]", "[SEP]", "[PAD]"))
    features = pack_segments(
        [blocks], sequence_length=length, start_token_id=cls, end_token_id=sep, pad_token_id=pad
    )
    is_start = tf.constant(starts_word(vocabulary), tf.int32)
    starts = tf.gather(is_start, features[TOKEN_IDS.name])
    features[WORD_STARTS.name] = starts * features[PADDING_MASK.name]
    return features


def join_blocks(
    features: dict[str, tf.Tensor],
    blocks_a_row: tf.Tensor,
    *,
    sequence_length: int,
    pad_token_id: int,
) -> dict[str, tf.Tensor]:
    """Joins rows of one block each, masked or not, into rows of several.

    Targets move with their blocks.  A row has as many slots for them as the fullest row needs,
    rounded up to a multiple of `TARGET_SLOTS`.

        token_ids  CLS 5 MASK SEP PAD   mask_positions  2 0  ->  CLS 5 MASK SEP CLS MASK SEP PAD
                   CLS MASK SEP PAD PAD                 1 0                               2 5

    Args:
        features: Of each block, padded: any of the encoder's features, `word_starts` and those
            that `SpanMasking` adds; `padding_mask` always.
        blocks_a_row: int `[b]`, how many of the blocks each row takes, in order, at least 1.
        sequence_length: The length s of the rows; no row takes more tokens.
        pad_token_id: Id that fills a row's end.

    Returns:
        The same features of the rows, and `position_ids`, int32 `[b, s]`: each token's place in
        its block.
    """
    tokens = features[PADDING_MASK.name] > 0
    rows = tf.repeat(tf.range(tf.size(blocks_a_row)), blocks_a_row)  # [k]
    lengths = tf.math.count_nonzero(tokens, axis=1, dtype=tf.int32)
    begins = tf.cumsum(lengths, exclusive=True)
    firsts = tf.cumsum(tf.cast(blocks_a_row, tf.int32), exclusive=True)
    shift = (begins - tf.gather(tf.gather(begins, firsts), rows))[:, None]

    def join(values: tf.Tensor, used: tf.Tensor, width: int | None, pad: int = 0) -> tf.Tensor:
        counts = tf.math.count_nonzero(used, axis=1)
        ragged = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(values, used), tf.math.segment_sum(counts, rows), validate=False
        )
        dense = ragged.to_tensor(pad)  # Its argument `shape` does not always pad.
        most = tf.shape(dense)[1]
        slots = tf.maximum(-(-most // TARGET_SLOTS), 1) * TARGET_SLOTS if width is None else width
        beside = [[0, 0], [0, slots - most], *[[0, 0]] * (values.shape.rank - 2)]
        dense = tf.pad(dense, beside, constant_values=pad)
        return tf.ensure_shape(dense, [None, width, *values.shape[2:]])

    places = tf.broadcast_to(tf.range(tf.shape(tokens)[1]), tf.shape(tokens))
    features = features | {POSITION_IDS.name: places}
    joined = {}
    for feature in (*ENCODER_FEATURES, WORD_STARTS, POSITION_IDS):
        if feature.name in features:
            pad = pad_token_id if feature.pad_value is None else feature.pad_value
            joined[feature.name] = join(features[feature.name], tokens, sequence_length, pad)
    if MASK_WEIGHTS.name in features:
        features[MASK_POSITIONS.name] += shift
        features[SPAN_BOUNDARIES.name] += shift[:, None]
        is_target = features[MASK_WEIGHTS.name] > 0
        is_span = features[SPAN_WEIGHTS.name][:, :, 0] > 0
        for group, used in ((MASKED_LM_FEATURES, is_target), (SPAN_FEATURES, is_span)):
            for feature in group:
                joined[feature.name] = join(features[feature.name], used, None)
    return joined
