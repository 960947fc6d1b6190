"""The decoder against its formula in NumPy, and step by step against all at once."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import erf, softmax

from spanbert_tf.layers.attention import MASKED_SCORE, attention_bias, causal_attention_bias
from spanbert_tf.layers.decoder import DecoderLayer
from spanbert_tf.layers.text_decoder import TextDecoder
from tests.layer_checks import as_numpy, check_layer, randomize
from tests.layers.test_transformer import layer_norm

B, T, S, HEADS, HIDDEN, INTERMEDIATE, PIECES = 2, 5, 7, 2, 14, 11, 13
MASK = np.array([[1, 1, 1, 0, 0, 0, 0], [1] * 7])


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def make_layer(**kwargs: Any) -> DecoderLayer:
    return DecoderLayer(HEADS, INTERMEDIATE, dropout=0.1, **kwargs)


@pytest.fixture(scope="module")
def memory_bias() -> np.ndarray:
    return as_numpy(attention_bias(MASK))


def test_causal_bias():
    m = np.float32(MASKED_SCORE)
    np.testing.assert_array_equal(
        as_numpy(causal_attention_bias(3))[0, 0], [[0, m, m], [0, 0, m], [0, 0, 0]]
    )


def test_layer(memory_bias: np.ndarray, tmp_path: Path):
    bias = np.repeat(as_numpy(causal_attention_bias(T)), B, axis=0)
    inputs = (normal(B, T, HIDDEN), bias, normal(B, S, HIDDEN, seed=2), memory_bias)
    check_layer(make_layer, inputs, tmp_path, bfloat16_tolerance=0.1)


def split(x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)


def attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
    query, key, value = map(split, (query, key, value))
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(HIDDEN // HEADS)
    mixed = softmax(np.where(seen, scores, -np.inf), axis=-1) @ value
    return mixed.transpose(0, 2, 1, 3).reshape(*query.transpose(0, 2, 1, 3).shape[:2], HIDDEN)


def test_equals_the_formula(memory_bias: np.ndarray):
    layer = make_layer()
    layer.build((None, None, HIDDEN))
    randomize(layer)
    x, memory = normal(B, T, HIDDEN), normal(B, S, HIDDEN, seed=2)
    w = {v.path.split("/", 1)[-1]: as_numpy(v) for v in layer.weights}

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return layer_norm(x, w[f"{name}/gamma"], w[f"{name}/beta"])

    qkv = np.split(dense("attention/qkv_dense", x), 3, axis=-1)
    y = attend(*qkv, seen=np.tril(np.ones((T, T), bool)))
    x1 = norm("attention_layer_norm", x + dense("attention/output_dense", y))
    query = dense("cross_attention/query_dense", x1)
    kv = np.split(dense("cross_attention/key_value_dense", memory), 2, axis=-1)
    y = attend(query, *kv, seen=MASK[:, None, None].astype(bool))
    x2 = norm("cross_attention_layer_norm", x1 + dense("cross_attention/output_dense", y))
    inner = dense("intermediate_dense", x2)
    inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
    expected = norm("output_layer_norm", x2 + dense("output_dense", inner))

    found = layer(x, causal_attention_bias(T), memory, memory_bias)
    np.testing.assert_allclose(as_numpy(found), expected, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_steps_give_what_all_at_once_does(memory_bias: np.ndarray, dtype: str):
    """Three beams of two rows, of which each has its own pieces."""
    embedding = keras.layers.ReversibleEmbedding(PIECES, HIDDEN, dtype=dtype)
    decoder = TextDecoder(embedding, 2, HEADS, INTERMEDIATE, max_length=T + 2, dtype=dtype)
    decoder.build((None, None))
    randomize(decoder)
    k = 3
    ids = np.random.default_rng(5).integers(0, PIECES, (B, k, T)).astype("int32")
    memory = tf.cast(normal(B, S, HIDDEN, seed=2), decoder.compute_dtype)

    flat, repeated = ids.reshape(B * k, T), np.repeat(as_numpy(memory), k, axis=0)
    states = decoder(flat, repeated, np.repeat(memory_bias, k, axis=0))
    whole = as_numpy(decoder.logits(tf.reshape(states, (-1, HIDDEN)))).reshape(B, k, T, PIECES)

    @tf.function(input_signature=[tf.TensorSpec([None, k, T], tf.int32)])
    def by_steps(ids: tf.Tensor) -> tf.Tensor:
        seen, caches = decoder.keys_and_values(memory), decoder.caches(tf.shape(ids)[0] * k, T + 2)
        logits = []
        for place in range(T):
            step, caches = decoder.step(ids[..., place], place, caches, seen, memory_bias)
            logits.append(step)
        return tf.stack(logits, axis=2)

    steps = by_steps(ids).numpy()
    assert whole.dtype == steps.dtype == "float32"
    if dtype == "float32":
        np.testing.assert_allclose(steps, whole, atol=1e-4)
        return
    # Rounded to 8 bits at each layer, both are about as far from what is exact.
    exact_embedding = keras.layers.ReversibleEmbedding(PIECES, HIDDEN)
    exact = TextDecoder(exact_embedding, 2, HEADS, INTERMEDIATE, max_length=T + 2)
    exact.build((None, None))
    exact.set_weights(decoder.get_weights())
    repeated = repeated.astype("float32")
    states = exact(flat, repeated, np.repeat(memory_bias, k, axis=0))
    logits = as_numpy(exact.logits(tf.reshape(states, (-1, HIDDEN)))).reshape(whole.shape)
    errors = [np.abs(found - logits).mean() for found in (steps, whole)]
    assert errors[0] < 1.5 * errors[1] < 0.1 * np.abs(logits).mean(), errors


def test_sizes_are_checked():
    embedding = keras.layers.ReversibleEmbedding(PIECES, HIDDEN)
    for sizes, message in (((0, 2, 8, 4), "num_layers"), ((1, 2, 8, 0), "max_length")):
        with pytest.raises(ValueError, match=f"{message} must be at least 1; received 0"):
            TextDecoder(embedding, *sizes)
    decoder = TextDecoder(embedding, 1, 3, 8, 4)
    with pytest.raises(ValueError, match="hidden_dim must be a multiple of num_heads"):
        decoder.build((None, None))
