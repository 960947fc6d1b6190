"""Blocks joined into rows against joining them one by one."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.batching.block_rows import TARGET_SLOTS, block_rows, join_blocks
from spanbert_tf.layers.masking.span_masking import SpanMasking

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c", "##d", "e", "f", "g"]
PAD, CLS, SEP, MASK = 0, 2, 3, 4
MASKING = SpanMasking(len(PIECES), MASK, [0, 1, 2, 3], budget=0.4, max_targets=3)
JOIN = tf.function(
    lambda features, a_row: join_blocks(features, a_row, sequence_length=24, pad_token_id=PAD),
    reduce_retracing=True,
)


def as_arrays(features):
    return {name: tensor.numpy() for name, tensor in features.items()}


def test_blocks_are_set_between_special_tokens():
    features = as_arrays(block_rows(tf.ragged.constant([[5, 7], []], tf.int32), 5, PIECES))
    assert features["token_ids"].tolist() == [[CLS, 5, 7, SEP, PAD], [CLS, SEP, PAD, PAD, PAD]]
    assert features["padding_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert features["word_starts"].tolist() == [[1, 1, 0, 1, 0], [1, 1, 0, 0, 0]]
    assert not features["segment_ids"].any()


def test_the_example_of_the_docstring():
    features = {
        "token_ids": tf.constant([[CLS, 5, MASK, SEP, PAD], [CLS, MASK, SEP, PAD, PAD]]),
        "padding_mask": tf.constant([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]),
        "mask_positions": tf.constant([[2, 0], [1, 0]]),
        "mask_ids": tf.constant([[6, 0], [9, 0]]),
        "mask_weights": tf.constant([[1.0, 0], [1, 0]]),
        "span_boundaries": tf.constant([[[1, 3], [0, 0]], [[0, 2], [0, 0]]]),
        "span_ids": tf.constant([[[6, 0], [0, 0]], [[9, 0], [0, 0]]]),
        "span_weights": tf.constant([[[1.0, 0], [0, 0]], [[1, 0], [0, 0]]]),
    }
    rows = as_arrays(join_blocks(features, tf.constant([2]), sequence_length=8, pad_token_id=PAD))
    assert rows["token_ids"].tolist() == [[CLS, 5, MASK, SEP, CLS, MASK, SEP, PAD]]
    assert rows["padding_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 1, 0]]
    assert rows["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 0]]
    assert rows["mask_positions"].tolist() == [[2, 5, 0, 0, 0, 0, 0, 0]]
    assert rows["mask_ids"].tolist() == [[6, 9, 0, 0, 0, 0, 0, 0]]
    assert rows["mask_weights"].tolist() == [[1, 1, 0, 0, 0, 0, 0, 0]]
    assert rows["span_boundaries"].tolist() == [[[1, 3], [4, 6], *[[0, 0]] * 6]]
    assert rows["span_ids"].tolist() == [[[6, 0], [9, 0], *[[0, 0]] * 6]]
    assert rows["span_weights"].tolist() == [[[1, 0], [1, 0], *[[0, 0]] * 6]]


def one_by_one(features, blocks_a_row):
    """What each row holds, without padding and unused slots."""
    rows, block = [], 0
    for count in blocks_a_row:
        row = {name: [] for name in (*features, "position_ids")}
        for number in range(block, block + count):
            of_block = {name: values[number] for name, values in features.items()}
            shift = len(row["token_ids"])
            length = of_block["padding_mask"].sum()
            row["position_ids"] += range(length)
            for name in ("token_ids", "segment_ids", "padding_mask"):
                row[name] += of_block[name][:length].tolist()
            for name in ("mask_positions", "mask_ids", "mask_weights"):
                of_block[name] = of_block[name][of_block["mask_weights"] == 1]
            for name in ("span_boundaries", "span_ids", "span_weights"):
                of_block[name] = of_block[name][features["span_weights"][number][:, 0] == 1]
            for name in ("mask_positions", "span_boundaries"):
                of_block[name] = of_block[name] + shift
            for name in set(of_block) - {"token_ids", "segment_ids", "padding_mask"}:
                row[name] += of_block[name].tolist()
        rows.append(row)
        block += count
    return rows


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=3), min_size=1, max_size=5),
    st.integers(0, 2**31 - 1),
)
def test_rows_hold_their_blocks_in_order(lengths, seed):
    """A block of no tokens is a row of padding, as workers get to fill their part."""
    generator = np.random.default_rng(seed)
    flat = [length for row in lengths for length in row]
    blocks = tf.ragged.constant(
        [generator.integers(5, len(PIECES), length).tolist() for length in flat],
        tf.int32,
        ragged_rank=1,
    )
    features = block_rows(blocks, max(flat) + 2, PIECES)
    gone = generator.random(len(flat)) < 0.1
    features = {name: tf.where(gone[:, None], 0, values) for name, values in features.items()}
    seeds = np.stack([np.full(len(flat), seed), np.arange(len(flat))], axis=1).astype("int32")
    features = MASKING(features, seed=seeds)
    blocks_a_row = [len(row) for row in lengths]
    rows = as_arrays(JOIN(features, tf.constant(blocks_a_row)))
    expected = one_by_one(as_arrays(features), blocks_a_row)
    assert {values.shape[0] for values in rows.values()} == {len(lengths)}
    assert {rows[name].shape[1] for name in ("token_ids", "position_ids")} == {24}
    slots = max(1, *(len(row["mask_ids"]) for row in expected))
    assert rows["mask_ids"].shape[1] == -(-slots // TARGET_SLOTS) * TARGET_SLOTS
    for number, row in enumerate(expected):
        for name, values in row.items():
            found = rows[name][number]
            assert found[: len(values)].tolist() == values
            assert not found[len(values) :].any()
