"""Encoders without the feed-forward neurons that matter least.

Letters: b batch, s sequence, H hidden, I intermediate, L layers, k neurons that are kept.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.layers.kernels.onednn import portable_graphs
from spanbert_tf.models.graphs import Graphs
from spanbert_tf.models.lora import merge_lora, with_backbone
from spanbert_tf.models.recorded_calls import recorded_calls
from spanbert_tf.models.text_batches import text_columns


def prune(task: Any, intermediate_dim: int, x: Any, y: Any, batch_size: int | None = None) -> Any:
    """Makes a task whose encoder has fewer neurons in each layer's feed-forward network.

        smaller = spanbert_tf.prune(classifier, 768, texts, labels)
        smaller.fit(texts, labels, epochs=1)  # to make up for what is gone

    In each layer those are kept that matter most, see `neuron_importance`; before it is trained,
    the smaller task answers as the whole one would with zeros in the place of all others.

    Args:
        task: A task with a preprocessor.  It stays as it is; an adapter (LoRA) is merged.
        intermediate_dim: How many neurons each layer keeps.
        x: Texts to tell by which matter, as for `fit`; a few thousand are enough.
        y: What is right of them, as for `fit`.
        batch_size: Rows in a batch.  `None`: as many as have 8,192 tokens.

    Returns:
        A task of the same class with weights of its own.

    Raises:
        ValueError: There are not so many neurons; the encoder is quantized; `x` is not in memory;
            or Keras' backend is not TensorFlow.
    """
    task = merge_lora(task)
    layers, have = task.backbone.transformer_layers, task.backbone.intermediate_dim
    if any(layer.intermediate_dense.quantization_mode for layer in layers):
        raise ValueError("the encoder is quantized: prune it before `quantize`")
    if not 1 <= intermediate_dim <= have:
        raise ValueError(
            f"`intermediate_dim` must be from 1 to {have}, the encoder's, but is "
            f"{intermediate_dim}."
        )
    importance = neuron_importance(task, x, y, batch_size)
    # In the order that they had, which changes nothing.
    kept = np.sort(np.argsort(-importance, axis=1, kind="stable")[:, :intermediate_dim], axis=1)
    return with_backbone(task, with_neurons(task.backbone, kept))


def neuron_importance(task: Any, x: Any, y: Any, batch_size: int | None = None) -> np.ndarray:
    """By how much the loss would change, about, if a neuron gave 0, summed over tokens.

    |activation x gradient| is the first term of the loss as a series in the activation (Molchanov
    et al., 2017), as Michel et al. (2019) have it of attention's heads.

    Args:
        task: As for `prune`.
        x: As for `prune`.
        y: As for `prune`.
        batch_size: As for `prune`.

    Returns:
        float32 `[L, I]`.

    Raises:
        ValueError: As `prune`.
    """
    if keras.config.backend() != "tensorflow":
        raise ValueError("neurons are pruned under TensorFlow's backend alone")
    columns = text_columns(x)
    if columns is None or not columns[0]:
        raise ValueError("expected texts in memory as `x`, one at least")

    products = [layer.output_dense for layer in task.backbone.transformer_layers]

    def of_batch(x: Any, y: Any) -> Any:
        # What each product that leads out of a feed-forward network is given: `[b * s, I]`.
        with portable_graphs(), recorded_calls(products, lambda given, _: given) as neurons:
            with tf.GradientTape() as tape:
                outputs = task(x, training=False)
                loss = task.compute_loss(x, y, outputs, None, training=False)
            gradients = tape.gradient(loss, neurons)
        rows = tf.cast(tf.shape(next(iter(x.values())))[0], "float32")
        return rows * tf.stack(
            [
                tf.reduce_sum(tf.abs(tf.cast(of * gradient, "float32")), axis=0)
                for of, gradient in zip(neurons, gradients, strict=True)
            ]
        )

    batches = task.batches_of(task.encode(columns, y), batch_size).dataset()
    graphs, variables = Graphs(), task.variables
    of_batches = [graphs.call("batch", of_batch, variables, *batch).numpy() for batch in batches]
    return np.sum(of_batches, axis=0)


def with_neurons(backbone: SpanBertBackbone, kept: np.ndarray) -> SpanBertBackbone:
    """Makes an encoder of some of another's feed-forward neurons.

    Args:
        backbone: It stays as it is; neither adapted nor quantized.
        kept: int `[L, k]`, the numbers of each layer's neurons.

    Returns:
        One with weights of its own, whose outputs are those of the other with zeros in place of
        what its other neurons give.
    """
    smaller = type(backbone).from_config(
        {**backbone.get_config(), "intermediate_dim": kept.shape[1]}
    )
    values = {weight.path: keras.ops.convert_to_numpy(weight) for weight in backbone.weights}
    for layer, numbers in zip(backbone.transformer_layers, kept, strict=True):
        inner, outer = layer.intermediate_dense, layer.output_dense
        for weight, axis in ((inner.kernel, 1), (inner.bias, 0), (outer.kernel, 0)):
            values[weight.path] = np.take(values[weight.path], numbers, axis=axis)
    for weight in smaller.weights:
        weight.assign(values[weight.path])
    return smaller
