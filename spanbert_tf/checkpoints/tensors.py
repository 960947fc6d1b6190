"""Tensors of a checkpoint to the variables of a model and back, by the conversion table."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
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

# Keys by which to tell where in a checkpoint the encoder is.
_ANCHORS = ("embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight")
# What left-over keys look like, and what they most likely are.
_CAUSES = {
    r".*\b(crf|transitions)\b.*": "a conditional random field, of a fine-tuned tagger",
    r".*lora_.*": "adapters, without which the encoder is another one: merge them first",
    r".*(classifier|qa_outputs|logits|head|score|out_proj).*": "the head of a fine-tuned task",
    r"(coref_layer|span_|antecedent|genre|.*_scores).*": "the head of a coreference model",
}


def write_tensors(tensors: Tensors, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a `.safetensors` file.

    Raises:
        OSError: It cannot be written, such as on a full disk.
    """
    path.touch()
    mode = path.stat().st_mode  # Safetensors would leave it to its owner alone.
    try:
        save_file(tensors, path, metadata)
        path.chmod(mode)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def known_tensors(
    tensors: Tensors, folder: Any, *, with_head: bool, drop: Sequence[str] = ()
) -> Tensors:
    """Gives keys their present names, and drops what the table of dropped keys names.

    The modules around the encoder (`bert.`, `module.model.` ...) are told from the key of the token
    embedding, and left out of all names.

    Args:
        tensors: The checkpoint's, by their keys.
        folder: Where it is, for messages.
        with_head: Whether to keep the masked language model's head.
        drop: Patterns of further keys to drop, such as `crf.*`; `*` and `?` as in file names.

    Raises:
        CheckpointError: A tensor stands there twice, there are several encoders, or a pattern of
            `drop` fits no key.
    """
    tensors = _without(tensors, drop, folder)
    modules = _modules_around(tensors, folder)
    kept: Tensors = {}
    for key, tensor in tensors.items():
        name = _name_within(key, modules)
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


def _without(tensors: Tensors, drop: Sequence[str], folder: Any) -> Tensors:
    dropped: set[str] = set()
    for pattern in drop:
        fitting = [key for key in tensors if fnmatchcase(key, pattern)]
        if not fitting:
            raise CheckpointError(
                f"{folder} has no key that fits `drop` {pattern!r}; it has {_some(tensors)}"
            )
        _log.warning("%s: dropped by %r: %s", folder, pattern, _some(fitting))
        dropped.update(fitting)
    return {key: tensor for key, tensor in tensors.items() if key not in dropped}


def _modules_around(tensors: Tensors, folder: Any) -> list[str]:
    """Names of the modules within which the encoder is: `["module", "bert"]`."""
    for anchor in _ANCHORS:
        found = sorted(
            key.removesuffix(anchor)
            for key in tensors
            if key.endswith(anchor) and key.removesuffix(anchor)[-1:] in ("", ".")
        )
        if len(found) > 1 and found != ["", PREFIX]:
            raise CheckpointError(
                f"{folder} holds several encoders, under {', '.join(map(repr, found))}: give all "
                f"but one to `drop`, such as {found[0] + '*'!r}"
            )
        if found:
            return found[0].split(".")[:-1]
    return []


def _name_within(key: str, modules: list[str]) -> str:
    """A key without the modules around the encoder, as far as it is within them."""
    parts = key.split(".")
    within = 0
    while within < min(len(modules), len(parts) - 1) and parts[within] == modules[within]:
        within += 1
    return ".".join(parts[within:]).removeprefix(PREFIX)


def _some(keys: Any, most: int = 5) -> str:
    keys = sorted(keys)
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


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
    unknown = [key for key in tensors if key not in expected]
    problems += [f"unknown: {key} {tensors[key].shape}" for key in unknown]
    for key in expected.keys() & tensors.keys():
        tensor = tensors[key]
        if tensor.shape != expected[key] or not is_float(tensor):
            got = f"{tensor.dtype} {tensor.shape}"
            problems.append(f"{key}: expected float {expected[key]}, got {got}")
    if problems:
        advice = _advice(unknown, len(problems) > len(unknown))
        raise CheckpointError(f"{what}:\n  " + "\n  ".join(sorted(problems)) + advice)
    check_finite(tensors.items(), "the checkpoint")
    for row, variable in zip(table, variables, strict=True):
        variable.assign(row.to_keras([tensors[key] for key in row.keys]).astype("float32"))


def _advice(unknown: Sequence[str], is_another: bool) -> str:
    """What unknown keys are most likely, and how to go on without them."""
    causes = {}
    for key in unknown:
        for pattern, cause in _CAUSES.items():
            if re.fullmatch(pattern, key):
                causes[cause] = key
                break
    lines = [f"\n{key} looks like {cause}" for cause, key in causes.items()]
    if is_another:
        lines.append("\nan encoder of other sizes or another architecture, or one not whole")
    elif unknown:
        patterns = sorted({re.split(r"[./]", key)[0] + "*" for key in unknown})
        lines.append(
            f"\nto leave out what is unknown, give `drop` {' '.join(patterns)} (keys as they are "
            "in the file; `spanbert-tf convert` takes it too)"
        )
    return "".join(lines)


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
