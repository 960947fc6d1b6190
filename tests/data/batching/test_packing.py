"""Packing against TensorFlow Text's own trimmer and against a list-by-list reading."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.batching.packing import pack_segments, trim_segments

CLS, SEP, PAD = 101, 102, 0
SPECIAL = {"start_token_id": CLS, "end_token_id": SEP, "pad_token_id": PAD}

rows = st.lists(st.integers(3, 9), max_size=7)


@st.composite
def batches(draw, most_segments=3):
    """Some segments, each a list of rows, all with the same number of rows."""
    batch = draw(st.integers(1, 4))
    count = draw(st.integers(1, most_segments))
    return [draw(st.lists(rows, min_size=batch, max_size=batch)) for _ in range(count)]


def ragged(segments):
    return [tf.ragged.constant(segment, tf.int32, ragged_rank=1) for segment in segments]


def packed_by_hand(segments, length):
    """One row at a time, in plain Python, from segments that need no trimming."""
    token_ids, segment_ids, mask = [], [], []
    for parts in zip(*segments, strict=True):
        tokens, numbers = [CLS], [0]
        for number, part in enumerate(parts):
            tokens += [*part, SEP]
            numbers += [number] * (len(part) + 1)
        padding = length - len(tokens)
        token_ids.append(tokens + [PAD] * padding)
        segment_ids.append(numbers + [0] * padding)
        mask.append([1] * len(tokens) + [0] * padding)
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": mask}


@settings(max_examples=150)
@given(batches(), st.integers(1, 20))
def test_trimming_equals_the_round_robin_trimmer(segments, budget):
    expected = tf_text.RoundRobinTrimmer(budget).trim(ragged(segments))
    for ours, theirs in zip(trim_segments(ragged(segments), budget), expected, strict=True):
        assert ours.to_list() == theirs.to_list()


def test_trimming_in_integers():
    first, second = trim_segments(ragged([[[1, 2, 3, 4]], [[5, 6]]]), 5)
    assert first.to_list() == [[1, 2, 3]]
    assert second.to_list() == [[5, 6]]


def test_trimming_to_nothing():
    assert [part.to_list() for part in trim_segments(ragged([[[1], []], [[2], [3]]]), 0)] == [
        [[], []],
        [[], []],
    ]


def test_packing_in_integers():
    packed = pack_segments(ragged([[[5, 6]], [[7]]]), sequence_length=7, **SPECIAL)
    assert packed["token_ids"].numpy().tolist() == [[CLS, 5, 6, SEP, 7, SEP, PAD]]
    assert packed["segment_ids"].numpy().tolist() == [[0, 0, 0, 0, 1, 1, 0]]
    assert packed["padding_mask"].numpy().tolist() == [[1, 1, 1, 1, 1, 1, 0]]
    assert {value.dtype for value in packed.values()} == {tf.int32}


@settings(max_examples=100)
@given(batches(), st.integers(4, 30))
def test_packing_equals_a_row_by_row_reading(segments, length):
    budget = length - len(segments) - 1
    trimmed = ragged(segments)
    if budget > 0:
        trimmed = tf_text.RoundRobinTrimmer(budget).trim(trimmed)
        trimmed = [segment.to_list() for segment in trimmed]
    else:
        trimmed = [[[] for _ in segment] for segment in segments]
    expected = packed_by_hand(trimmed, length)
    packed = pack_segments(ragged(segments), sequence_length=length, **SPECIAL)
    for name, values in expected.items():
        np.testing.assert_array_equal(packed[name], values)


@settings(max_examples=50)
@given(batches(2), st.sets(st.integers(1, 40), min_size=1, max_size=4))
def test_a_batch_is_as_long_as_the_first_bucket_that_fits(segments, buckets):
    longest = max(1 + sum(len(part) + 1 for part in row) for row in zip(*segments, strict=True))
    expected = min([b for b in buckets if longest <= b <= 11], default=11)
    packed = pack_segments(ragged(segments), sequence_length=11, buckets=sorted(buckets), **SPECIAL)
    whole = pack_segments(ragged(segments), sequence_length=11, **SPECIAL)
    for name, values in packed.items():
        assert values.shape[1] == expected
        np.testing.assert_array_equal(values, whole[name][:, :expected])


def test_empty_strings_and_no_rows():
    packed = pack_segments(ragged([[[], []]]), sequence_length=3, buckets=[2], **SPECIAL)
    assert packed["token_ids"].numpy().tolist() == [[CLS, SEP], [CLS, SEP]]
    assert packed["padding_mask"].numpy().tolist() == [[1, 1], [1, 1]]
    nothing = tf.RaggedTensor.from_row_splits(tf.constant([], tf.int32), [0])
    assert pack_segments([nothing], sequence_length=3, **SPECIAL)["token_ids"].shape == (0, 3)


def test_words_int64_and_dense_segments():
    words = tf.ragged.constant([[[5, 6], [7]], [[8]]], tf.int64)
    dense = tf.constant([[1, 2], [3, 4]])
    packed = pack_segments([words, dense], sequence_length=8, **SPECIAL)
    assert packed["token_ids"].numpy().tolist() == [
        [CLS, 5, 6, 7, SEP, 1, 2, SEP],
        [CLS, 8, SEP, 3, 4, SEP, PAD, PAD],
    ]
    assert trim_segments([dense], 1)[0].to_list() == [[1], [3]]


def test_static_shapes_and_core_operations_only():
    spec = tf.RaggedTensorSpec([5, None], tf.int32)

    @tf.function(input_signature=[spec, spec])
    def pack(first, second):
        return (
            pack_segments([first, second], sequence_length=13, **SPECIAL),
            pack_segments([first, second], sequence_length=13, buckets=[7], **SPECIAL),
            trim_segments([first, second], 3)[0].to_tensor(),
        )

    concrete = pack.get_concrete_function()
    for values in concrete.structured_outputs[0].values():
        assert values.shape == (5, 13)
    for values in concrete.structured_outputs[1].values():
        assert values.shape.as_list() == [5, None]
    graphs = [concrete.graph.as_graph_def()]
    operations = {node.op for graph in graphs for node in graph.node}
    operations |= {node.op for f in graphs[0].library.function for node in f.node_def}
    operations = {name for name in operations if not name.startswith("__")}
    foreign = sorted(name for name in operations if not hasattr(tf.raw_ops, name))
    assert not foreign


def test_inside_a_saved_model_and_tf_data(tmp_path):
    segments = ragged([[[5], [6, 7, 8, 9]], [[], [3, 3]]])
    expected = pack_segments(segments, sequence_length=6, buckets=[4], **SPECIAL)

    module = tf.Module()
    spec = tf.RaggedTensorSpec([None, None], tf.int32)
    module.pack = tf.function(
        lambda a, b, length: pack_segments([a, b], sequence_length=length, buckets=[4], **SPECIAL),
        input_signature=[spec, spec, tf.TensorSpec([], tf.int32)],
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path)).pack(*segments, tf.constant(6))

    dataset = tf.data.Dataset.from_tensor_slices(tuple(segments)).ragged_batch(2)
    dataset = dataset.map(
        lambda a, b: pack_segments([a, b], sequence_length=6, buckets=[4], **SPECIAL)
    )
    mapped = next(iter(dataset))
    for name, values in expected.items():
        np.testing.assert_array_equal(loaded[name], values)
        np.testing.assert_array_equal(mapped[name], values)


def test_a_single_row_equals_its_row_in_a_batch():
    segments = ragged([[[5, 4, 3], [6]]])
    together = pack_segments(segments, sequence_length=6, **SPECIAL)
    alone = pack_segments([segments[0][1:]], sequence_length=6, **SPECIAL)
    np.testing.assert_array_equal(alone["token_ids"], together["token_ids"][1:])


@pytest.mark.parametrize(
    ("segments", "arguments", "message"),
    [
        ([], {"sequence_length": 8}, "at least one segment"),
        ([[[1]], [[2]]], {"sequence_length": 2}, "room for 3 special tokens, but is 2"),
        ([[[1]]], {"sequence_length": 8, "buckets": []}, "`buckets` must be positive"),
        ([[[1]]], {"sequence_length": 8, "buckets": [0, 4]}, r"came as \[0, 4\]"),
    ],
)
def test_wrong_arguments(segments, arguments, message):
    with pytest.raises(ValueError, match=message):
        pack_segments(ragged(segments), **arguments, **SPECIAL)
