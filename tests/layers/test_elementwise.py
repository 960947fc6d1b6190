"""The gradients that are written out are those of the plain operations."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.layers.elementwise import LayerNormalization, exact_gelu
from tests.layer_checks import randomize


def value_and_gradients(function: Any, *tensors: tf.Tensor) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
        loss = tf.reduce_sum(tf.sin(value))
    return [value.numpy(), *(gradient.numpy() for gradient in tape.gradient(loss, tensors))]


def test_gelu_in_training_is_gelu():
    x = tf.constant(np.linspace(-9, 9, 1001), tf.float32)
    trained = value_and_gradients(lambda x: exact_gelu(x, training=True), x)
    plain = value_and_gradients(exact_gelu, x)
    for ours, theirs in zip(trained, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 5, 7)])
def test_layer_norm_in_training_is_layer_norm(shape: tuple[int, ...]):
    layer = LayerNormalization(epsilon=1e-3)
    layer.build((None, 7))
    randomize(layer)
    x = tf.constant(np.random.default_rng(0).normal(2, 3, (3, *shape)), tf.float32)

    def run(training: bool) -> list[np.ndarray]:
        weights = layer.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(tf.sin(y))
        gradients = tape.gradient(loss, [x, *(weight.value for weight in weights)])
        return [y.numpy(), *(gradient.numpy() for gradient in gradients)]

    for ours, theirs in zip(run(training=True), run(training=False), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_layer_norm_of_half_precision_is_computed_in_float32():
    layer = LayerNormalization(dtype="mixed_bfloat16")
    x = keras.ops.cast(1000 + np.arange(12).reshape(1, 12), "bfloat16")
    for training in (True, False):
        y = layer(x, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
        assert abs(float(keras.ops.std(keras.ops.cast(y, "float32"))) - 1) < 0.01
