"""Low-rank adapters (LoRA, Hu et al., 2022) merged into the kernels they adapt."""

from typing import Any

import keras
import numpy as np

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.keras_internals import all_layers


def lora_layers(model: keras.layers.Layer) -> list[Any]:
    """Lists the layers that `enable_lora` has given an adapter."""
    return [layer for layer in all_layers(model) if getattr(layer, "lora_enabled", False)]


def merge_lora(model: Any) -> Any:
    """Makes a model that computes the same without adapters, for what knows none of them.

    Args:
        model: A task or a `SpanBertBackbone`; it stays as it is.

    Returns:
        One of the same class, with weights of its own and all of them trainable; the model itself
        if no layer of its encoder is adapted.

    Raises:
        ValueError: The encoder is quantized.
    """
    backbone = getattr(model, "backbone", model)
    if not lora_layers(backbone):
        return model
    merged = _merged_backbone(backbone)
    return merged if backbone is model else with_backbone(model, merged)


def with_backbone(task: Any, backbone: SpanBertBackbone) -> Any:
    """Makes a task of the same head, with weights of its own, on an encoder of the same width."""
    other = type(task).from_config(
        {**task.get_config(), "backbone": backbone, "preprocessor": task.preprocessor}
    )
    for new, old in zip(head_weights(other), head_weights(task), strict=True):
        new.assign(old)
    return other


def head_weights(task: Any) -> list[Any]:
    """The weights of a task that are not its encoder's, trainable or not."""
    of_encoder = {id(weight) for weight in task.backbone.weights}
    return [weight for weight in task.weights if id(weight) not in of_encoder]


def _merged_backbone(backbone: SpanBertBackbone) -> SpanBertBackbone:
    values = {weight.path: weight for weight in backbone.weights}
    for layer in lora_layers(backbone):
        if layer.quantization_mode:
            raise ValueError(
                f"{layer.path} is quantized to {layer.quantization_mode}; merge its adapter before "
                f"`quantize`"
            )
        kernel = next(weight for weight in layer.weights if weight.name == "kernel")
        values[kernel.path] = _merged_kernel(layer, kernel)
    merged = SpanBertBackbone.from_config(backbone.get_config())
    for weight in merged.weights:
        weight.assign(values[weight.path])
    return merged


def _merged_kernel(layer: Any, kernel: Any) -> np.ndarray:
    # Not `layer.kernel`, which is rounded to the compute dtype.
    kernel, a, b = (
        keras.ops.convert_to_numpy(weight).astype("float32")
        for weight in (kernel, layer.lora_kernel_a, layer.lora_kernel_b)
    )
    return kernel + layer.lora_alpha / layer.lora_rank * (a @ b)
