"""The gradients that are written out are those of the plain operations; dropout's law."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.layers.kernels.elementwise import (
    Dropout,
    LayerNormalization,
    exact_gelu,
    fused,
    random_int16,
)
from tests.conftest import ROOT
from tests.layer_checks import as_numpy, randomize
from tests.layers.masking.threefry import threefry

SPEC = tf.TensorSpec([None], tf.float32)


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


def test_fused_is_one_xla_program_in_a_graph():
    double = fused(lambda x, factor: x * factor)
    x = tf.range(3.0)
    np.testing.assert_array_equal(double(x, 2.0), [0, 2, 4])
    step = tf.function(lambda x: double(double(x, 2.0), 3.0))
    np.testing.assert_array_equal(step(x), [0, 6, 12])
    operations = step.get_concrete_function(x).graph.get_operations()
    assert sum("_XlaMustCompile" in operation.node_def.attr for operation in operations) == 2


# Dropout.


@pytest.mark.parametrize("rate", [0.1, 0.37, 0.9])
def test_dropout_meets_its_rate(rate: float):
    layer = Dropout(rate, seed=1)
    x = tf.constant(np.random.default_rng(0).uniform(1, 2, (1000, 1000)), tf.float32)
    y = layer(x, training=True).numpy()
    kept = y != 0
    # Within five standard deviations, over all and over rows and columns.
    assert abs(kept.mean() - (1 - rate)) < 5 * (rate * (1 - rate) / x.shape.num_elements()) ** 0.5
    for axis in (0, 1):
        shares = kept.mean(axis)
        spread = (rate * (1 - rate) / 1000) ** 0.5
        assert abs(shares.std() / spread - 1) < 0.15
        assert np.abs(shares - (1 - rate)).max() < 5 * spread
    np.testing.assert_allclose(y[kept], (x.numpy() / (1 - rate))[kept], rtol=2e-4)


def test_dropout_is_drawn_anew_and_again_from_its_seed():
    x = tf.ones((50, 51))
    one, two = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    drawn = [as_numpy(one(x, training=True)) for _ in range(3)]
    graph = tf.function(lambda x: two(x, training=True))
    compiled = tf.function(lambda x: two(x, training=True), jit_compile=True)
    again = [as_numpy(run(x)) for run in (lambda x: two(x, training=True), graph, compiled)]
    np.testing.assert_array_equal(drawn, again)
    assert len(np.unique(np.reshape(drawn, (3, -1)), axis=0)) == 3
    assert abs(np.corrcoef(np.reshape(drawn, (3, -1)))[0, 1:]).max() < 0.1
    assert (as_numpy(Dropout(0.5, seed=4)(x, training=True)) != drawn[0]).any()


def test_dropout_rests_outside_training_and_at_rate_0():
    x = tf.random.stateless_normal((7, 3), (0, 1))
    np.testing.assert_array_equal(Dropout(0.5)(x), x)
    np.testing.assert_array_equal(Dropout(0.5)(x, training=False), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_gradient_of_dropout_is_its_mask(dtype: str):
    layer = Dropout(0.4, dtype=dtype)
    x = tf.ones((2, 5, 3, 7), layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(as_numpy(tape.gradient(y, x)), as_numpy(y))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 1003])
def test_random_int16_are_halves_of_threefry_words(size: int):
    seed = [-5, 2**31 - 1]
    drawn = random_int16(tf.zeros((size,), tf.bfloat16), tf.constant(seed, tf.int64)).numpy()
    draws = next(2**n for n in range(20) if 4 * 2**n >= size)
    expected = threefry(seed, np.arange(draws)).ravel().view("int16")[:size]
    np.testing.assert_array_equal(drawn, expected)
    any_size = tf.function(random_int16, input_signature=[SPEC, tf.TensorSpec([2], tf.int64)])
    drawn = any_size(tf.zeros((size,)), tf.constant(seed, tf.int64)).numpy()
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.slow
def test_equals_the_jax_backend(tmp_path: Path):
    pytest.importorskip("jax", reason="the JAX backend needs it")
    generator = np.random.default_rng(0)
    x, upstream = generator.normal(1, 2, (2, 3, 5, 7)).astype("float32")
    np.savez(tmp_path / "inputs.npz", x=x, upstream=upstream)
    source = (
        "import sys, jax, keras, numpy as np\n"
        "from spanbert_tf.layers.kernels.elementwise import Dropout, exact_gelu\n"
        "from spanbert_tf.layers.kernels.elementwise import LayerNormalization\n"
        "inputs = np.load(sys.argv[1])\n"
        "norm = LayerNormalization()\n"
        "norm.build((None, 7))\n"
        "def run(x, upstream):\n"
        "    x = norm(exact_gelu(Dropout(0.3, seed=5)(x, training=True), training=True), "
        "training=True)\n"
        "    return (x * upstream).sum(), x\n"
        "run = jax.jit(jax.grad(run, has_aux=True))\n"
        "gradient, outputs = run(inputs['x'], inputs['upstream'])\n"
        "np.savez(sys.argv[2], gradient=gradient, outputs=outputs)\n"
        "print(keras.backend.backend())\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", source, tmp_path / "inputs.npz", tmp_path / "outputs.npz"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.split() == ["jax"]
    norm = LayerNormalization()
    norm.build((None, 7))
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        dropped = Dropout(0.3, seed=5)(x, training=True)
        outputs = norm(exact_gelu(dropped, training=True), training=True)
    with np.load(tmp_path / "outputs.npz") as theirs:
        np.testing.assert_allclose(outputs, theirs["outputs"], atol=1e-5)
        gradient = tape.gradient(outputs, x, output_gradients=tf.constant(upstream))
        np.testing.assert_allclose(gradient, theirs["gradient"], atol=1e-4)
