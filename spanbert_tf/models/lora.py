"""Low-rank adapters (LoRA, Hu et al., 2022) merged into the kernels they adapt."""

from typing import Any

import keras
import numpy as np

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.keras_internals import all_layers


def lora_layers(model: keras.layers.Layer) -> list[Any]:
    """Lists the layers that `enable_lora` has given an adapter."""
    return [layer for layer in all_layers(model) if getattr(layer, "lora_enabled", False)]


def adapt_to(backbone: SpanBertBackbone, other: SpanBertBackbone) -> None:
    """Sets adapters to what another encoder of the same shapes differs by, as far as rank allows.

    The factors of each kernel are those of the singular value decomposition of the difference,
    which no others of their rank come nearer to (Eckart and Young, 1936); biases are copied.

    Args:
        backbone: One with `enable_lora`; its adapters are overwritten.
        other: The encoder to come near to.

    Raises:
        ValueError: Their kernels differ in number or shape, or a rank is more than a kernel has.
    """
    adapted = lora_layers(backbone)
    theirs = {layer.path: layer for layer in all_layers(other)}
    for layer in adapted:
        of = theirs.get(layer.path)
        if of is None or of.kernel.shape != layer.kernel.shape:
            raise ValueError(
                f"expected an encoder of the same layers to adapt to, but its {layer.path} is "
                + ("missing" if of is None else f"{tuple(of.kernel.shape)}")
                + f", and here {tuple(layer.kernel.shape)}"
            )
        rank = layer.lora_rank
        if rank > min(layer.kernel.shape):
            raise ValueError(
                f"`lora_rank` must be {min(layer.kernel.shape)} at most, but is {rank}."
            )
    for layer in adapted:
        of = theirs[layer.path]
        left, values, right = np.linalg.svd(
            keras.ops.convert_to_numpy(of.kernel) - keras.ops.convert_to_numpy(_kernel_of(layer)),
            full_matrices=False,
        )
        # Half of each value to either side, so that both factors learn at the same pace.
        roots = np.sqrt(values[: layer.lora_rank] * layer.lora_rank / layer.lora_alpha)
        layer.lora_kernel_a.assign(left[:, : layer.lora_rank] * roots)
        layer.lora_kernel_b.assign(right[: layer.lora_rank] * roots[:, None])
        layer.bias.assign(of.bias)


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
        kernel = _kernel_of(layer)
        values[kernel.path] = _merged_kernel(layer, kernel)
    merged = SpanBertBackbone.from_config(backbone.get_config())
    for weight in merged.weights:
        weight.assign(values[weight.path])
    return merged


def _kernel_of(layer: Any) -> Any:
    """The kernel without the adapter, which `layer.kernel` is with it."""
    return next(weight for weight in layer.weights if weight.name == "kernel")


def _merged_kernel(layer: Any, kernel: Any) -> np.ndarray:
    # Not `layer.kernel`, which is rounded to the compute dtype.
    kernel, a, b = (
        keras.ops.convert_to_numpy(weight).astype("float32")
        for weight in (kernel, layer.lora_kernel_a, layer.lora_kernel_b)
    )
    return kernel + layer.lora_alpha / layer.lora_rank * (a @ b)
