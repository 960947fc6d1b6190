"""The transformer layer against its formula in NumPy."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf

from spanbert_tf.layers.attention import attention_bias
from spanbert_tf.layers.transformer import TransformerLayer, exact_gelu
from tests.layer_checks import as_numpy, check_layer, randomize

B, S, HEADS, HIDDEN, INTERMEDIATE = 2, 5, 2, 14, 11


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((B, S, HIDDEN)).astype("float32")


@pytest.fixture
def bias() -> np.ndarray:
    return as_numpy(attention_bias(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])))


def make_layer(**kwargs):
    return TransformerLayer(HEADS, INTERMEDIATE, dropout=0.1, **kwargs)


def layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    centered = x - x.mean(-1, keepdims=True)
    return gamma * centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-12) + beta


def test_layer(x: np.ndarray, bias: np.ndarray, tmp_path: Path):
    assert check_layer(make_layer, (x, bias), tmp_path, bfloat16_tolerance=0.1).shape == x.shape


def test_equals_the_formula(x: np.ndarray, bias: np.ndarray):
    layer = make_layer()
    layer.build(x.shape)
    randomize(layer)
    attended = as_numpy(layer.attention(x, bias))
    _, _, _, _, gamma_1, beta_1, w_1, b_1, w_2, b_2, gamma_2, beta_2 = layer.get_weights()
    y = layer_norm(x + attended, gamma_1, beta_1)
    inner = y @ w_1 + b_1
    inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
    expected = layer_norm(y + inner @ w_2 + b_2, gamma_2, beta_2)
    np.testing.assert_allclose(as_numpy(layer(x, bias)), expected, atol=1e-5)


def test_gelu_is_the_exact_one():
    x = np.linspace(-4, 4, 101, dtype="float32")
    np.testing.assert_allclose(
        as_numpy(exact_gelu(x)), x * (1 + erf(x / np.sqrt(2))) / 2, atol=1e-6
    )


def test_layer_norm_keeps_tiny_differences():
    """With an epsilon of 1e-3 or 1e-5 a vector of spread 1e-4 would nearly vanish."""
    layer = TransformerLayer(HEADS, INTERMEDIATE, kernel_initializer="zeros")
    x = 1e-4 * np.random.default_rng(0).standard_normal((1, 2, HIDDEN)).astype("float32")
    output = as_numpy(layer(x, np.zeros((1, 1, 1, 2), "float32")))
    np.testing.assert_allclose(output.std(-1), 1, atol=1e-3)
