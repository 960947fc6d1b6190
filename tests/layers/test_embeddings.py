"""Position and segment embeddings against plain indexing."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.layers.embeddings import PositionAndSegmentEmbedding
from tests.layer_checks import as_numpy, check_layer, randomize

B, S, HIDDEN, POSITIONS, SEGMENTS = 2, 5, 7, 11, 3
TOO_LONG = (
    r"max_sequence_length=11.*received.*12.*truncate.*long_positions=.*restart.*extend_positions"
)


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((B, S, HIDDEN)).astype("float32")


@pytest.fixture
def segment_ids() -> np.ndarray:
    return np.array([[0, 0, 1, 1, 2], [0, 1, 2, 0, 0]], "int32")


def make_layer(**kwargs):
    return PositionAndSegmentEmbedding(POSITIONS, SEGMENTS, dropout=0.1, **kwargs)


def test_layer(tokens: np.ndarray, segment_ids: np.ndarray, tmp_path: Path):
    check_layer(make_layer, (tokens, segment_ids), tmp_path)


def test_equals_indexing(tokens: np.ndarray, segment_ids: np.ndarray):
    layer = make_layer()
    layer.build(tokens.shape, segment_ids.shape)
    randomize(layer)
    positions, segments, gamma, beta = layer.get_weights()
    total = tokens + positions[np.arange(S)] + segments[segment_ids]
    centered = total - total.mean(-1, keepdims=True)
    expected = gamma * centered / centered.std(-1, keepdims=True) + beta
    np.testing.assert_allclose(as_numpy(layer(tokens, segment_ids)), expected, atol=1e-5)


def test_positions_that_are_given(tokens: np.ndarray, segment_ids: np.ndarray):
    """A row may then be longer than there are positions."""
    position_ids = np.array([[0, 1, 0, 1, 2], [0, 10, 3, 0, 0]], "int32")
    layer = make_layer()
    layer.build(tokens.shape, segment_ids.shape)
    randomize(layer)
    output = as_numpy(layer(tokens, segment_ids, position_ids))
    moved = tokens + layer.get_weights()[0][position_ids] - layer.get_weights()[0][np.arange(S)]
    np.testing.assert_allclose(output, as_numpy(layer(moved, segment_ids)), atol=1e-5)
    row = np.arange(POSITIONS + 4, dtype="int32")[None] % POSITIONS
    long = layer(np.zeros((1, POSITIONS + 4, HIDDEN), "float32"), np.zeros_like(row), row)
    np.testing.assert_allclose(long[:, POSITIONS:], long[:, :4], atol=1e-5)


def test_longest_input_uses_every_position():
    layer = make_layer()
    tokens = np.zeros((1, POSITIONS, HIDDEN), "float32")
    output = as_numpy(layer(tokens, np.zeros((1, POSITIONS), "int32")))
    assert len(np.unique(output.round(6), axis=1)[0]) == POSITIONS


def test_input_past_the_last_position_is_an_error():
    tokens = np.zeros((1, POSITIONS + 1, HIDDEN), "float32")
    with pytest.raises(ValueError, match=TOO_LONG):
        make_layer()(tokens, np.zeros((1, POSITIONS + 1), "int32"))


def test_a_length_known_only_later_is_checked_too():
    layer = make_layer()
    signature = [tf.TensorSpec((None, None, HIDDEN)), tf.TensorSpec((None, None), tf.int32)]
    graph = tf.function(lambda *x: layer(*x), input_signature=signature)
    compiled = tf.function(lambda *x: layer(*x), input_signature=signature, jit_compile=True)
    longest = np.zeros((2, POSITIONS, HIDDEN), "float32"), np.zeros((2, POSITIONS), "int32")
    for function in (graph, compiled):
        np.testing.assert_allclose(function(*longest), layer(*longest), atol=1e-5)
    longer = np.zeros((2, POSITIONS + 1, HIDDEN), "float32"), np.zeros((2, POSITIONS + 1), "int32")
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){TOO_LONG}"):
        graph(*longer)
    # XLA drops the check and meets the shapes, which do not fit.
    with pytest.raises(tf.errors.InvalidArgumentError):
        compiled(*longer)


@pytest.mark.parametrize("length", [1, POSITIONS, POSITIONS + 1, 3 * POSITIONS + 2])
def test_positions_restart(length: int, tmp_path: Path):
    """As if the positions were given, and the same as without the rule where all are trained."""
    tokens = np.random.default_rng(0).standard_normal((2, length, HIDDEN)).astype("float32")
    segment_ids = np.zeros((2, length), "int32")

    def make_restarting(**kwargs) -> PositionAndSegmentEmbedding:
        return make_layer(long_positions="restart", **kwargs)

    check_layer(make_restarting, (tokens, segment_ids), tmp_path)
    restarting, layer = make_restarting(), make_layer()
    for each in (restarting, layer):
        each.build(tokens.shape, segment_ids.shape)
    randomize(restarting)
    layer.set_weights(restarting.get_weights())
    output = as_numpy(restarting(tokens, segment_ids))
    places = np.tile(np.arange(length, dtype="int32") % POSITIONS, (2, 1))
    np.testing.assert_allclose(output, as_numpy(layer(tokens, segment_ids, places)), atol=1e-5)
    if length <= POSITIONS:
        np.testing.assert_allclose(output, as_numpy(layer(tokens, segment_ids)), atol=1e-5)


@pytest.mark.parametrize("rule", [None, "restart"])
def test_no_token_is_an_error(rule: str | None):
    layer = make_layer(long_positions=rule)
    with pytest.raises(ValueError, match="at least one token; received 0"):
        layer(np.zeros((1, 0, HIDDEN), "float32"), np.zeros((1, 0), "int32"))


def test_an_unknown_rule_is_an_error():
    with pytest.raises(ValueError, match=r"long_positions must be None or 'restart'.*'extend'"):
        make_layer(long_positions="extend")
