"""Self-attention against the formula in NumPy."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from spanbert_tf.layers import attention
from spanbert_tf.layers.attention import (
    MASKED_SCORE,
    MultiHeadSelfAttention,
    attention_bias,
    packed_attention_bias,
)
from tests.conftest import HAS_ONEDNN_BFLOAT16
from tests.layer_checks import as_numpy, check_layer, randomize

# Letters: b batch, s sequence, h heads, d width of a head.  Primes, so that swapped axes fail.
B, S, H, D = 2, 5, 3, 7


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((B, S, H * D)).astype("float32")


@pytest.fixture
def mask() -> np.ndarray:
    return np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "int32")


def attention_by_formula(layer: MultiHeadSelfAttention, x: np.ndarray, mask: np.ndarray):
    """Softmax(q k' / sqrt(d)) v of each head by itself, in float64."""
    x = x.astype("float64")
    kernel, bias, output_kernel, output_bias = (w.astype("float64") for w in layer.get_weights())
    query, key, value = np.split(x @ kernel + bias, 3, axis=-1)
    heads = []
    for head in range(H):
        part = slice(head * D, (head + 1) * D)
        scores = np.einsum("bqd,bkd->bqk", query[..., part], key[..., part]) / np.sqrt(D)
        scores = np.where(mask[:, None, :] == 1, scores, -np.inf)
        heads.append(np.einsum("bqk,bkd->bqd", softmax(scores, axis=-1), value[..., part]))
    return np.concatenate(heads, axis=-1) @ output_kernel + output_bias


def make_layer(**kwargs):
    return MultiHeadSelfAttention(H, dropout=0.1, **kwargs)


def test_attention_bias():
    bias = as_numpy(attention_bias(np.array([[1, 1, 0], [0, 1, 1]])))
    assert bias.shape == (2, 1, 1, 3)
    expected = [[0, 0, MASKED_SCORE], [MASKED_SCORE, 0, 0]]
    np.testing.assert_array_equal(bias[:, 0, 0], np.float32(expected))
    np.testing.assert_array_equal(
        bias, as_numpy(attention_bias(np.array([[True, True, False], [False, True, True]])))
    )


def test_block_attention_bias():
    """Blocks of 2 and 3 tokens and two of padding; one of 4, one of 3."""
    bias = as_numpy(packed_attention_bias(np.array([[0, 1, 0, 1, 2, 0, 0], [0, 1, 2, 3, 0, 1, 2]])))
    assert bias.shape == (2, 1, 7, 7)
    for row, blocks in enumerate(([2, 3, 1, 1], [4, 3])):
        block = np.repeat(np.arange(len(blocks)), blocks)
        expected = np.where(block[:, None] == block, 0, MASKED_SCORE)
        np.testing.assert_array_equal(bias[row, 0], np.float32(expected))


def test_layer(x: np.ndarray, mask: np.ndarray, tmp_path: Path):
    output = check_layer(
        make_layer, (x, as_numpy(attention_bias(mask))), tmp_path, bfloat16_tolerance=0.2
    )
    assert output.shape == (B, S, H * D)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula(x: np.ndarray, mask: np.ndarray, seed: int):
    layer = make_layer()
    layer.build(x.shape)
    randomize(layer, seed)
    expected = attention_by_formula(layer, x, mask)
    output = as_numpy(layer(x, attention_bias(mask)))
    np.testing.assert_allclose(output, expected, atol=1e-4)


def test_padding_never_reaches_a_token(x: np.ndarray, mask: np.ndarray):
    layer = make_layer()
    bias = attention_bias(mask)
    output = as_numpy(layer(x, bias))
    changed = x.copy()
    changed[0, 3:] = 1e3
    again = as_numpy(layer(changed, bias))
    np.testing.assert_array_equal(again[mask == 1], output[mask == 1])
    assert (again[mask == 0] != output[mask == 0]).any()


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_all_padding_averages_evenly(x: np.ndarray, dtype: str):
    layer = make_layer(dtype=dtype)
    output = as_numpy(layer(x, attention_bias(np.zeros((B, S), "int32"))))
    assert np.isfinite(output).all()
    spread = output - output[:, :1]
    np.testing.assert_allclose(spread, 0, atol=1e-5 if dtype == "float32" else 0.02)


def test_softmax_in_bfloat16_is_that_in_float32_rounded(monkeypatch: pytest.MonkeyPatch):
    """Of rows so long that a sum in bfloat16 would be far off, some of them padded."""
    layer = make_layer(dtype="mixed_bfloat16")
    x = np.random.default_rng(4).standard_normal((B, 512, H * D)).astype("float32")
    bias = attention_bias(np.arange(512)[None] < np.array([[512], [300]]))
    attend = tf.function(layer)
    assert attention.softmax_sums_in_float32("bfloat16") == HAS_ONEDNN_BFLOAT16
    assert not attention.softmax_sums_in_float32("float16")
    output = as_numpy(attend(x, bias))
    monkeypatch.setattr(attention, "softmax_sums_in_float32", lambda dtype: False)
    expected = as_numpy(tf.function(layer)(x, bias))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(output, expected, rtol=0, atol=scale * 2**-7)


def test_a_wider_bias_masks_single_pairs(x: np.ndarray):
    """Each token attends to itself alone: the output is its own value, projected."""
    layer = make_layer()
    bias = np.where(np.eye(S) == 1, 0, MASKED_SCORE).astype("float32")[None, None]
    output = as_numpy(layer(x, bias))
    value = as_numpy(layer.qkv_dense(x))[..., 2 * H * D :]
    np.testing.assert_allclose(output, as_numpy(layer.output_dense(value)), atol=1e-5)


def test_dropout_acts_in_training_only(x: np.ndarray, mask: np.ndarray):
    layer = MultiHeadSelfAttention(H, dropout=0.5)
    bias = attention_bias(mask)
    resting = as_numpy(layer(x, bias))
    np.testing.assert_array_equal(resting, as_numpy(layer(x, bias, training=False)))
    assert (as_numpy(layer(x, bias, training=True)) != resting).any()


def test_kernels_start_differently():
    layer = MultiHeadSelfAttention(H, kernel_initializer=keras.initializers.TruncatedNormal())
    layer.build((None, None, H * D))
    kernel = as_numpy(layer.qkv_dense.kernel)
    assert (kernel[:, : H * D] != as_numpy(layer.output_dense.kernel)).any()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"multiple of num_heads.*hidden_dim=20, num_heads=3"):
        make_layer().build((None, None, 20))
