"""The one check that every layer passes, without special cases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def randomize(model: Any, seed: int = 0, scale: float = 0.5) -> None:
    """Gives every weight random values: zero biases and unit scales hide mistakes."""
    generator = np.random.default_rng(seed)
    model.set_weights(
        [
            w + scale * generator.standard_normal(w.shape).astype(w.dtype)
            for w in model.get_weights()
        ]
    )


def as_numpy(value: Any) -> np.ndarray:
    """A tensor as float32, bfloat16 ones too."""
    return np.asarray(tf.cast(value, "float32"))


def check_layer(
    make_layer: Callable[..., Any],
    inputs: tuple[np.ndarray, ...],
    folder: Path,
    *,
    tolerance: float = 2e-5,
    bfloat16_tolerance: float = 0.05,
) -> np.ndarray:
    """Runs a layer through everything that Keras may do with it.

    Args:
        make_layer: Makes a layer of fixed settings from Keras's own arguments (`dtype`, `name`).
        inputs: What the layer is called with, by position; batch first.
        folder: A temporary folder.
        tolerance: Largest difference of eager, graph and XLA.
        bfloat16_tolerance: Largest mean difference of mixed bfloat16 and float32.

    Returns:
        The layer's output, with the weights of `randomize`.
    """
    layer = make_layer(name="checked")
    layer(*inputs)
    randomize(layer)
    eager = as_numpy(layer(*inputs))
    assert np.isfinite(eager).all()
    assert eager.shape == tuple(layer.compute_output_shape(*(x.shape for x in inputs)))

    _check_compiled(layer, inputs, eager, tolerance)
    _check_bfloat16(make_layer, layer, inputs, eager, bfloat16_tolerance)
    _check_config(layer)
    _check_saving(layer, inputs, eager, folder)
    _check_gradients(layer, inputs)
    return eager


def _check_compiled(layer: Any, inputs: tuple, eager: np.ndarray, tolerance: float) -> None:
    dynamic = [tf.TensorSpec([None] * x.ndim, x.dtype) for x in inputs]
    graph = tf.function(lambda *x: layer(*x, training=False), input_signature=dynamic)
    compiled = tf.function(lambda *x: layer(*x, training=False), jit_compile=True)
    np.testing.assert_allclose(as_numpy(graph(*inputs)), eager, atol=tolerance, rtol=0)
    np.testing.assert_allclose(as_numpy(compiled(*inputs)), eager, atol=tolerance, rtol=0)


def _check_bfloat16(
    make_layer: Callable[..., Any],
    layer: Any,
    inputs: tuple,
    expected: np.ndarray,
    tolerance: float,
) -> None:
    mixed = make_layer(dtype="mixed_bfloat16")
    mixed(*inputs)
    mixed.set_weights(layer.get_weights())
    output = mixed(*inputs)
    assert output.dtype == tf.bfloat16
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    assert np.abs(as_numpy(output) - expected).mean() < tolerance


def _check_config(layer: Any) -> None:
    serialized = keras.saving.serialize_keras_object(layer)
    assert serialized["registered_name"] == f"spanbert_tf>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(serialized)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


def _check_saving(layer: Any, inputs: tuple, eager: np.ndarray, folder: Path) -> None:
    tensors = [keras.Input((None, *x.shape[2:]), dtype=x.dtype.name) for x in inputs]
    model = keras.Model(tensors, layer(*tensors))
    model.save(folder / "model.keras")
    again = keras.models.load_model(folder / "model.keras")
    assert [v.path for v in again.weights] == [v.path for v in model.weights]
    np.testing.assert_array_equal(as_numpy(again(list(inputs))), as_numpy(model(list(inputs))))
    np.testing.assert_allclose(as_numpy(again(list(inputs))), eager, atol=1e-6)


def _check_gradients(layer: Any, inputs: tuple) -> None:
    floats = [tf.convert_to_tensor(x) for x in inputs]
    sources = [x for x in floats if x.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        output = layer(*floats, training=True)
        # Not the plain sum: a layer norm's output sums to a constant.
        weights = np.cos(np.arange(np.prod(output.shape), dtype="float32"))
        loss = tf.reduce_sum(output * weights.reshape(output.shape))
    variables = [variable.value for variable in layer.trainable_variables]
    assert variables
    for gradient in tape.gradient(loss, variables + sources):
        assert gradient is not None
        assert np.isfinite(as_numpy(gradient)).all()
