"""The forms for oneDNN's kernels get those kernels, and give what the plain forms give."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.layers.kernels.elementwise import LayerNormalization
from spanbert_tf.layers.kernels.onednn import (
    BFLOAT16_ROUNDING,
    portable_graphs,
    softmax_sums_in_float32,
)
from tests.conftest import HAS_ONEDNN, HAS_ONEDNN_BFLOAT16
from tests.layer_checks import as_numpy, randomize

WIDTH = 12


def make_layer(dtype: str) -> LayerNormalization:
    layer = LayerNormalization(epsilon=1e-6, dtype=dtype)
    layer.build((None, WIDTH))
    randomize(layer)
    return layer


def traced(layer: LayerNormalization, *shape: int | None) -> tf.types.experimental.ConcreteFunction:
    spec = tf.TensorSpec((*shape, WIDTH), layer.compute_dtype)
    return tf.function(layer, input_signature=[spec], autograph=False).get_concrete_function()


def operations(function: tf.types.experimental.ConcreteFunction) -> set[str]:
    return {operation.type for operation in function.graph.get_operations()}


def numpy_layer_norm(layer: LayerNormalization, x: np.ndarray) -> np.ndarray:
    x = x.astype("float64")
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon)
    return normal * layer.gamma.numpy() + layer.beta.numpy()


@pytest.mark.parametrize("shape", [(0,), (1,), (500,), (3, 70), (2, 3, 5)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 3 * BFLOAT16_ROUNDING)]
)
def test_layer_norm_of_one_pass_is_layer_norm(dtype: str, tolerance: float, shape: tuple[int, ...]):
    layer = make_layer(dtype)
    function = traced(layer, *(None for _ in shape))
    expected = HAS_ONEDNN if dtype == "float32" else HAS_ONEDNN_BFLOAT16
    assert ("FusedBatchNormV3" in operations(function)) == expected
    generator = np.random.default_rng(0)
    # Rows of every size, far from zero.
    x = generator.normal(3, 1, (*shape, WIDTH)) * 10 ** generator.uniform(-2, 2, (*shape, 1))
    x = tf.cast(x, layer.compute_dtype)
    expected = numpy_layer_norm(layer, as_numpy(x))
    error = np.abs(as_numpy(function(x)) - expected) / (1 + np.abs(expected))
    assert error.max(initial=0) < tolerance


def test_layer_norm_of_one_pass_has_the_gradient_of_layer_norm():
    layer = make_layer("float32")
    x = tf.constant(np.random.default_rng(0).normal(2, 3, (50, WIDTH)), tf.float32)

    def gradients(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(layer(x)))
        return tape.gradient(loss, [x, *(weight.value for weight in layer.weights)])

    spec = tf.TensorSpec((None, WIDTH))
    one_pass = tf.function(gradients, input_signature=[spec], autograph=False)
    assert ("FusedBatchNormV3" in operations(one_pass.get_concrete_function())) == HAS_ONEDNN
    for ours, theirs in zip(one_pass(x), gradients(x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["mixed_float16", "float64"])
def test_layer_norm_of_other_dtypes_is_plain(dtype: str):
    assert "FusedBatchNormV3" not in operations(traced(make_layer(dtype), None))


def test_layer_norm_gives_the_same_whether_its_rows_are_known_beforehand():
    """By a model's first call they are, by later ones they may not be."""
    layer = make_layer("float32")
    x = tf.constant(np.random.default_rng(0).normal(2, 3, (50, WIDTH)), tf.float32)
    np.testing.assert_array_equal(traced(layer, 50)(x), traced(layer, None)(x))
    compiled = tf.function(layer, jit_compile=True, autograph=False)(x)
    np.testing.assert_allclose(compiled, layer(x), rtol=1e-5, atol=1e-5)


def test_graphs_for_elsewhere_are_plain():
    with portable_graphs():
        assert "FusedBatchNormV3" not in operations(traced(make_layer("float32"), None))
        assert not softmax_sums_in_float32("bfloat16")


@pytest.mark.slow
def test_kernels_of_tensorflow_alone_are_not_taken_for_those_of_onednn():
    program = (
        "import tensorflow as tf\n"
        "from spanbert_tf.layers.kernels.onednn import normalizes_in_one_pass\n"
        "from spanbert_tf.layers.kernels.onednn import softmax_sums_in_float32\n"
        "tf.function(lambda: print(normalizes_in_one_pass('float32'))).get_concrete_function()\n"
        "print(softmax_sums_in_float32('bfloat16'))"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert outcome.stdout.split() == ["False", "False"]
