"""The fused update is Keras' AdamW, as the plain one is."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.models.optimizers import SparingAdamW

SETTINGS = {
    "learning_rate": 0.1,
    "weight_decay": 0.3,
    "epsilon": 1e-8,
    "global_clipnorm": 1.0,
}


def train(optimizer: keras.optimizers.Optimizer, *, graph: bool) -> list[np.ndarray]:
    """Three steps over an embedding, whose gradient is sparse, and a bias."""
    table = keras.Variable(np.arange(10, 25, dtype="float32").reshape(5, 3) / 10, name="table")
    bias = keras.Variable(np.ones(3, "float32"), name="bias")
    optimizer.build([table, bias])

    def step(rows: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            x = tf.gather(table.value, rows) + bias.value
            loss = tf.reduce_sum(x**3)
        gradients = tape.gradient(loss, [table.value, bias.value])
        assert isinstance(gradients[0], tf.IndexedSlices)
        if not isinstance(optimizer, SparingAdamW):
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        optimizer.apply(gradients)

    step = tf.function(step) if graph else step
    for rows in ([1, 3, 1], [0, 0, 0], [4, 2, 1]):
        step(tf.constant(rows))
    return [table.numpy(), bias.numpy(), optimizer.iterations.numpy()]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"global_clipnorm": None},
        {"amsgrad": True},
        {"global_clipnorm": None, "clipnorm": 0.5},
        {"global_clipnorm": None, "clipvalue": 0.5},
        {"gradient_accumulation_steps": 2},
        {"beta_1": 0.0},
    ],
    ids=str,
)
def test_fused_and_plain_updates_are_those_of_keras(changed: dict[str, Any]):
    settings = {**SETTINGS, **changed}
    expected = keras.optimizers.AdamW(**settings)
    expected.exclude_from_weight_decay(var_names=["bias"])
    expected = train(expected, graph=False)
    for graph in (False, True):
        for ours, theirs in zip(
            train(SparingAdamW(**settings), graph=graph), expected, strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_gradient_of_an_embedding_is_not_made_in_full():
    optimizer = SparingAdamW(**SETTINGS)
    table = keras.Variable(np.ones((50, 3), "float32"), name="table")
    optimizer.build([table])

    def step(rows: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table.value, rows) ** 2)
        optimizer.apply(tape.gradient(loss, [table.value]))

    graph = tf.function(step).get_concrete_function(tf.TensorSpec([None], tf.int32)).graph
    outputs = [tensor for op in graph.get_operations() for tensor in op.outputs]
    assert not [tensor.name for tensor in outputs if tuple(tensor.shape or ()) == (50, 3)]


def test_fused_update_is_one_xla_program():
    optimizer = SparingAdamW(**SETTINGS)
    variable = keras.Variable(np.ones(3, "float32"), name="kernel")
    optimizer.build([variable])
    step = tf.function(lambda gradient: optimizer.apply([gradient]))
    graph = step.get_concrete_function(tf.TensorSpec([3])).graph
    compiled = [op for op in graph.get_operations() if "_XlaMustCompile" in op.node_def.attr]
    assert len(compiled) == 1


def test_variable_without_gradient_stays():
    optimizer = SparingAdamW(**SETTINGS)
    variables = [keras.Variable(np.ones(3, "float32"), name=name) for name in ("used", "unused")]
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="unused"):
        tf.function(lambda gradient: optimizer.apply([gradient, None]))(tf.constant([9.0, 0, 0]))
    assert variables[0].numpy()[0] < 1
    np.testing.assert_array_equal(variables[1], np.ones(3))
    assert optimizer.global_clipnorm == SETTINGS["global_clipnorm"]
