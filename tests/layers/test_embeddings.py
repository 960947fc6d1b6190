"""Position and segment embeddings against plain indexing."""

from pathlib import Path

import numpy as np
import pytest

from spanbert_tf.layers.embeddings import PositionAndSegmentEmbedding
from tests.layer_checks import as_numpy, check_layer, randomize

B, S, HIDDEN, POSITIONS, SEGMENTS = 2, 5, 7, 11, 3


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
    with pytest.raises(ValueError, match=r"max_sequence_length=11.*received 12.*truncate"):
        make_layer()(tokens, np.zeros((1, POSITIONS + 1), "int32"))
