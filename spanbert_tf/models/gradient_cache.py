"""Gradients of a loss over a whole batch, in the memory of a part of it.

Letters: r rows of a batch, m rows of a part, p parts, d numbers of a vector.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from spanbert_tf.data.batching.rows import trimmed
from spanbert_tf.models.random_state import seed_generators


def cached_step(model: Any, data: Any, part: int) -> dict[str, Any]:
    """A training step that has a part of the batch in memory at a time.

    Args:
        model: A compiled network whose output is vectors `[r, d]`.
        data: A batch, see `keras.utils.unpack_x_y_sample_weight`.
        part: See `cached_gradients`.

    Returns:
        The metrics by name, as `keras.Model.train_step` gives them.
    """
    if model.losses or len(model.metrics) > 1:
        raise ValueError("`micro_batch_size` takes neither regularizers nor metrics of `compile`.")
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    loss, gradients = cached_gradients(
        model,
        x,
        lambda vectors: model.compute_loss(x, y, vectors, weights),
        part,
        model.optimizer.scale_loss,
    )
    model.optimizer.apply(gradients, model.trainable_variables)
    tracker = next(metric for metric in model.metrics if metric.name == "loss")
    tracker.update_state(loss, sample_weight=tf.shape(next(iter(x.values())))[0])
    return model.get_metrics_result()


def cached_gradients(
    model: keras.Model,
    features: dict[str, tf.Tensor],
    loss_of: Callable[[tf.Tensor], tf.Tensor],
    part: int,
    scaled: Callable[[tf.Tensor], tf.Tensor],
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Computes the loss of a batch of vectors and its gradients (GradCache, Gao et al., 2021).

    The network runs over parts of the batch and keeps the vectors alone; the loss has a gradient by
    each vector; then it runs over each part again, with the same dropout, which takes these
    gradients on to the variables.  What comes out are the gradients of the whole batch, at a third
    more of computing.

    Args:
        model: A network whose output is vectors `[r, d]`.
        features: The encoder's, int32 `[r, s]`.
        loss_of: The loss of vectors `[r, d]`, a scalar.
        part: Rows that the network has at a time, m.
        scaled: What the optimizer makes of a loss before it is differentiated.

    Returns:
        The loss, not scaled, and a gradient for each of `model.trainable_variables`.
    """
    rows = tf.shape(tf.nest.flatten(features)[0])[0]
    parts = -(-rows // part)
    part = -(-rows // parts)  # As even as can be.
    # Parts of one shape: what the last one lacks are copies of a row, which have no say in a loss.
    places = tf.range(parts * part)
    places = tf.reshape(tf.where(places < rows, places, 0), [parts, part])

    def run(number: tf.Tensor) -> tf.Tensor:
        taken = {name: tf.gather(of, places[number]) for name, of in features.items()}
        return tf.cast(model(trimmed(taken), training=True), tf.float32)

    generators = [generator.value for generator in seed_generators(model)]
    before = [tf.identity(state) for state in generators]
    vectors = tf.map_fn(run, tf.range(parts), fn_output_signature=tf.float32, parallel_iterations=1)
    vectors = tf.reshape(vectors, [parts * part, model.output.shape[-1]])
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = loss_of(vectors[:rows])
        of_tape = scaled(loss)
    upstream = tf.reshape(tape.gradient(of_tape, vectors), [parts, part, -1])

    with tf.control_dependencies([vectors]):
        for state, value in zip(generators, before, strict=True):
            state.assign(value)
    variables = [variable.value for variable in model.trainable_variables]

    def add(number: tf.Tensor, *sums: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            product = tf.reduce_sum(run(number) * upstream[number])
        gradients = tape.gradient(product, variables, unconnected_gradients="zero")
        dense = map(tf.convert_to_tensor, gradients)
        added = (total + of for total, of in zip(sums, dense, strict=True))
        return number + 1, *added

    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    _, *sums = tf.while_loop(
        lambda number, *_: number < parts,
        add,
        (tf.constant(0), *zeros),
        parallel_iterations=1,
    )
    return loss, sums
