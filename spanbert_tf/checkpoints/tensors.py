"""Tensors of a checkpoint to the variables of a model and back, by the conversion table."""

import logging
import os
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints.conversion_table import (
    DROPPED,
    MLM_COPIES,
    MLM_PREFIX,
    OLD_NAMES,
    PREFIX,
    Row,
)
from spanbert_tf.checkpoints.hugging_face import is_float
from spanbert_tf.foreign_files import CheckpointError, check_finite

_log = logging.getLogger(__name__)

Tensors = dict[str, np.ndarray]


def write_tensors(tensors: Tensors, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a `.safetensors` file.

    Raises:
        OSError: It cannot be written, such as on a full disk.
    """
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def known_tensors(tensors: Tensors, folder: Any, *, with_head: bool) -> Tensors:
    """Gives keys their present names, and drops what the table of dropped keys names.

    Args:
        tensors: The checkpoint's, by their keys.
        folder: Where it is, for messages.
        with_head: Whether to keep the masked language model's head.

    Raises:
        CheckpointError: A tensor stands there twice.
    """
    kept: Tensors = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        dropped = [row for pattern, row in DROPPED.items() if re.fullmatch(pattern, name)]
        if dropped and not (with_head and name.startswith(MLM_PREFIX)):
            reason, level = dropped[0]
            _log.log(level, "%s: %s is dropped: %s", folder, key, reason)
            continue
        for old, new in OLD_NAMES.items():
            name = re.sub(rf"{re.escape(old)}$", new, name)
        if name in kept:
            raise CheckpointError(f"{folder} holds {name} twice, under an old and a new name")
        kept[name] = tensor
    return kept


def drop_copies(head: Tensors, encoder: Tensors, folder: Any) -> None:
    """Drops those tensors of a head that are others under a second name.

    Args:
        head: Tensors of the masked language model's head; changed.
        encoder: Tensors of the encoder.
        folder: Where they are, for messages.

    Raises:
        CheckpointError: They are not the same.
    """
    for key, original in MLM_COPIES.items():
        copy = head.pop(key, None)
        if copy is None:
            continue
        # `copy` itself where only the second name is written.
        known = encoder[original] if original in encoder else head.setdefault(original, copy)
        if not np.array_equal(copy, known):
            raise CheckpointError(f"{folder}: expected {key} to equal {original}, but it does not")


def assign(model: keras.layers.Layer, table: list[Row], tensors: Tensors, what: str) -> None:
    """Gives a model's variables the values of a checkpoint's tensors.

    Args:
        model: A `SpanBertBackbone`, or a head of one.
        table: A row for each variable of the model.
        tensors: The checkpoint's, by their present keys; all are needed, and no others.
        what: What is not there if they are not right, for the message.

    Raises:
        CheckpointError: Tensors are missing, unknown, of another shape or kind, NaN or infinite.
    """
    variables = [getattr(_owner(model, row), row.attribute) for row in table]
    _check_complete(model, {id(variable) for variable in variables})
    expected = dict(_expected_shapes(table, variables))
    problems = [f"missing: {key} {expected[key]}" for key in expected if key not in tensors]
    problems += [f"unknown: {key} {tensors[key].shape}" for key in tensors if key not in expected]
    for key in expected.keys() & tensors.keys():
        tensor = tensors[key]
        if tensor.shape != expected[key] or not is_float(tensor):
            got = f"{tensor.dtype} {tensor.shape}"
            problems.append(f"{key}: expected float {expected[key]}, got {got}")
    if problems:
        raise CheckpointError(f"{what}:\n  " + "\n  ".join(sorted(problems)))
    check_finite(tensors.items(), "the checkpoint")
    for row, variable in zip(table, variables, strict=True):
        variable.assign(row.to_keras([tensors[key] for key in row.keys]).astype("float32"))


def _owner(model: Any, row: Row) -> Any:
    match = re.fullmatch(r"transformer_layers\.(\d+)\.(.+)", row.owner)
    if match:
        return attrgetter(match[2])(model.transformer_layers[int(match[1])])
    return attrgetter(row.owner)(model) if row.owner else model


def _expected_shapes(
    table: list[Row], variables: list[Any]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    for row, variable in zip(table, variables, strict=True):
        *outer, last = variable.shape
        shape = (*outer, last // len(row.keys))
        for key in row.keys:
            yield key, shape[::-1] if row.transposed else shape


def foreign_tensors(model: keras.layers.Layer, table: list[Row]) -> Tensors:
    """Makes a checkpoint's tensors, float32, of a model's variables; undoes `assign`.

    Args:
        model: A `SpanBertBackbone`, or a head of one.
        table: A row for each variable of the model.

    Raises:
        CheckpointError: The model is quantized, or has a variable that no row has.
    """
    tensors: Tensors = {}
    written: set[int] = set()
    for row in table:
        owner = _owner(model, row)
        if getattr(owner, "quantization_mode", None):
            raise CheckpointError(
                f"{row.owner} is quantized to {owner.quantization_mode}; expected the backbone as "
                f"it was before `quantize`"
            )
        # With LoRA the attribute is no variable but the kernel and its adapter, merged.
        variable = getattr(owner, row.attribute)
        merged = owner.weights if getattr(owner, "lora_enabled", False) else []
        written.update(map(id, [variable, *merged]))
        value = keras.ops.convert_to_numpy(variable).astype("float32")
        tensors.update(zip(row.keys, row.to_foreign(value), strict=True))
    _check_complete(model, written)
    return tensors


def _check_complete(model: keras.layers.Layer, converted: set[int]) -> None:
    if left := [v.path for v in own_weights(model) if id(v) not in converted]:
        raise CheckpointError(f"these variables are in no row of the conversion table: {left}")


def own_weights(model: keras.layers.Layer) -> list[Any]:
    """A backbone's variables, or a head's without the token embedding it is tied to."""
    if isinstance(model, SpanBertBackbone):
        return model.weights
    tied = {id(variable) for variable in model.token_embedding.weights}
    return [variable for variable in model.weights if id(variable) not in tied]
