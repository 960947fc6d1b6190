"""Adapters: a fine-tuned task as a few megabytes beside the encoder it was trained on.

adapter.json          the task, what makes answers, the head, LoRA's rank, and which encoder
adapter.safetensors   LoRA's factors, the encoder's other trained variables, and the head's weights

Several of them may stand on one encoder in memory: its frozen weights are there once.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors.numpy import load_file

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints.tensors import write_tensors
from spanbert_tf.export.encoder_identity import EncoderIdentity, identify, locate, sha256_of_pieces
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.export.text_task import DESCRIPTION, description_of
from spanbert_tf.foreign_files import (
    Schema,
    check,
    check_size,
    integer,
    list_of,
    or_null,
    read_json,
    reading,
    table,
    text,
)
from spanbert_tf.handles import AnyHandle, Handle, Kind, find
from spanbert_tf.keras_internals import share_variables
from spanbert_tf.models.lora import head_weights, lora_layers
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.output_folders import output_folder
from spanbert_tf.preset_files import BACKBONE, implied_weights
from spanbert_tf.ready_models import ADAPTER_FILE
from spanbert_tf.tasks import task_class
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

TENSORS_FILE = "adapter.safetensors"
DTYPES = ("float32", "float16")

# A handle, or an encoder in memory.
AnyEncoder = AnyHandle | tuple[SpanBertBackbone, SpanBertTokenizer]

# What the encoder in memory, or Keras, decides where the adapter is loaded.
_NOT_THE_NETWORK = ("name", "trainable", "dtype")
_NOT_THE_HEAD = ("name", "backbone", "preprocessor")

_DESCRIPTION: Schema = {
    **DESCRIPTION,
    **{name: table(required=True) for name in ("config", "preprocessor", "lora", "encoder")},
}
_LORA: Schema = {
    "rank": integer(1, required=True),
    "layers": list_of(str, "names", required=True),
    "variables": list_of(str, "paths", required=True),
}
_IDENTITY: Schema = {
    **{name: text(required=True) for name in ("handle", "dtype", "sha256", "vocabulary")},
    "name": or_null(text()),
    "config": table(required=True),
}


def save_adapter(
    task: SpanBertTask,
    path: str | os.PathLike[str],
    encoder: AnyHandle | EncoderIdentity,
    overwrite: bool = False,
    dtype: str = "float32",
) -> None:
    """Writes what a task has learned beside its encoder: all but the frozen weights.

        backbone, tokenizer = spanbert_tf.load_backbone("saved_models/spanbert_base/1")
        backbone.enable_lora(16)
        ...  # a task on it, trained
        spanbert_tf.save_adapter(task, "adapters/reviews", "saved_models/spanbert_base/1")

    Args:
        task: A task with a preprocessor, on a backbone with `enable_lora`.
        path: The folder to make.
        encoder: The handle of the encoder that the backbone was before.  It is loaded, to see that
            it is the one.
        overwrite: Whether a folder that exists is replaced.  Until the new one is complete, the
            old one stays.
        dtype: `"float32"`, or `"float16"`: half the size, at a loss of exactness.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false, or see `output_folder`.
        ValueError: The task has no preprocessor or no adapter, or one of different ranks; a frozen
            weight is not the encoder's; a value is infinite or no number, in float16 for one; or
            `dtype` is unknown.
        FileNotFoundError, ConnectionError, ImportError, OSError: As `load_backbone`.
    """
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {DTYPES}, but is {dtype!r}.")
    description = description_of(task)
    lora = _lora_of(task.backbone)
    if not isinstance(encoder, EncoderIdentity):
        encoder = _checked_encoder(task, encoder, lora["variables"])
    preprocessor = task.preprocessor.get_config()
    rows = [*task.preprocessor.row_settings, "buckets"]
    config = task.backbone.get_config()
    description |= {
        "config": _without(task.get_config(), _NOT_THE_HEAD),
        "preprocessor": {name: preprocessor[name] for name in rows},
        "lora": lora,
        "encoder": {**asdict(encoder), "config": _without(config, _NOT_THE_NETWORK)},
    }
    with np.errstate(over="ignore"):  # Infinity is refused below.
        tensors = {
            name: np.ascontiguousarray(keras.ops.convert_to_numpy(variable).astype(dtype))
            for name, variable in _variables(task, lora["variables"]).items()
        }
    _refuse(_not_finite(tensors), f"the adapter cannot be written as {dtype}")
    size = sum(tensor.nbytes for tensor in tensors.values())
    with output_folder(path, overwrite, size) as folder:
        write_tensors(tensors, folder / TENSORS_FILE)
        text = json.dumps(description, indent=2, ensure_ascii=False)
        (folder / ADAPTER_FILE).write_text(f"{text}\n", "utf-8")


def load_adapter(handle: AnyHandle, encoder: AnyEncoder | None = None) -> Any:
    """Loads a task that `save_adapter` wrote, on its encoder.

        backbone, tokenizer = spanbert_tf.load_backbone("saved_models/spanbert_base/1")
        reviews = spanbert_tf.load_adapter("adapters/reviews", (backbone, tokenizer))
        entities = spanbert_tf.load_adapter("adapters/entities", (backbone, tokenizer))

    Both share the memory of the backbone's weights, which neither changes: what `fit` trains in
    them is their own.  Weights that are assigned to the backbone change in both.

    Args:
        handle: The adapter's folder.
        encoder: The handle of its encoder, or a backbone and its tokenizer in memory.  `None`: what
            the adapter names; a relative path is tried from here and from the adapter's folder, and
            the default encoder if it has the name.

    Returns:
        The task; `merge_lora` makes one of it that needs no other's memory.

    Raises:
        FileNotFoundError: There is no adapter, or its encoder is not found.
        ValueError: The encoder is another than the adapter was trained on, or the adapter is
            damaged.
        ConnectionError, ImportError, OSError: As `load_backbone`.
    """
    found = find(handle)
    if found.kind is not Kind.ADAPTER:
        raise ValueError(f"{found.source} is a {found.kind}; expected an {Kind.ADAPTER}")
    folder = Path(found.path)
    description = _read_description(folder)
    tensors = _read_tensors(folder / TENSORS_FILE)
    of = task_class(description["task"])
    lora, rows = description["lora"], description["preprocessor"]
    head, network = description["config"], dict(description["encoder"])
    config = network.pop("config")
    identity = EncoderIdentity(**network)
    names, rank, layers = lora["variables"], lora["rank"], lora["layers"]
    base, tokenizer = _encoder_of(identity, folder, encoder)
    check_size(implied_weights(config), base.count_params(), folder / ADAPTER_FILE)
    frozen = {w.path: w for w in base.weights if w.path not in names}
    # One that nobody else has is adapted itself; others have their own settings, such as attention.
    is_ours = not isinstance(encoder, tuple)
    if is_ours and _without(base.get_config(), _NOT_THE_NETWORK) == config:
        backbone = base
    else:
        backbone = SpanBertBackbone.from_config({**config, "dtype": base.dtype_policy})
    backbone.enable_lora(rank, layers)
    share_variables(backbone, frozen)
    with reading(folder / ADAPTER_FILE, f"an adapter for {of.task}", passing=(ValueError,)):
        task = of(backbone, preprocessor=of.preprocessor_cls(tokenizer, **rows), **head)
    left = [w.path for w in backbone.weights if w.path not in names and w.path not in frozen]
    _refuse([f"missing: encoder/{path}" for path in left], f"{folder} is damaged")
    _assign(_variables(task, names), tensors, folder)
    return task


def encoder_of(adapter: Handle) -> Handle:
    """Finds the encoder that an adapter names, to be loaded once for several adapters.

    Raises:
        FileNotFoundError: The encoder is not found.
        ValueError: The adapter is damaged.
        ConnectionError, ImportError, OSError: See `spanbert_tf.handles.find`.
    """
    network = dict(_read_description(Path(adapter.path))["encoder"])
    del network["config"]
    return locate(EncoderIdentity(**network), Path(adapter.path))


def _read_description(folder: Path) -> dict[str, Any]:
    description = read_json(folder / ADAPTER_FILE, _DESCRIPTION)
    check(description["lora"], _LORA, folder / ADAPTER_FILE)
    check(description["encoder"], _IDENTITY, folder / ADAPTER_FILE)
    check(description["encoder"]["config"], BACKBONE, folder / ADAPTER_FILE)
    return description


def _lora_of(backbone: SpanBertBackbone) -> dict[str, Any]:
    """Rank, names of the adapted layers, and paths of all variables that may have been trained."""
    adapted = lora_layers(backbone)
    sizes = {(layer.lora_rank, layer.lora_alpha) for layer in adapted}
    if not adapted:
        raise ValueError("the task has no adapter: call `backbone.enable_lora(rank)` before it")
    if len(sizes) > 1 or any(rank != alpha for rank, alpha in sizes):
        raise ValueError(
            f"expected layers adapted by `backbone.enable_lora(rank)`; received layers of several "
            f"ranks, or of an alpha of their own: (rank, alpha) of {sorted(sizes)}"
        )
    trained = {id(variable) for variable in backbone.trainable_variables}
    # Those of adapted layers though they may be frozen by now.
    trained |= {id(w) for layer in adapted for w in layer.weights if w.name != "kernel"}
    return {
        "rank": adapted[0].lora_rank,
        "layers": sorted({layer.name for layer in adapted}),
        "variables": [weight.path for weight in backbone.weights if id(weight) in trained],
    }


def _checked_encoder(task: SpanBertTask, handle: AnyHandle, trained: list[str]) -> EncoderIdentity:
    """Identifies an encoder, if the task's frozen weights are those that it has."""
    backbone, tokenizer = load_backbone(handle, task.backbone.variable_dtype)
    identity = identify(handle, backbone, tokenizer)
    own = sha256_of_pieces(task.preprocessor.tokenizer)
    problems = [] if identity.vocabulary == own else ["the vocabulary"]
    frozen = {w.path: w for w in task.backbone.weights if w.path not in trained}
    for weight in backbone.weights:
        if weight.path not in frozen:
            if weight.path not in trained:
                problems.append(weight.path)
            continue
        ours, theirs = map(keras.ops.convert_to_numpy, (frozen.pop(weight.path), weight))
        if not np.array_equal(ours, theirs):
            problems.append(weight.path)
    what = f"the task was not adapted from the encoder {identity}, which differs in"
    _refuse([*problems, *frozen], what)
    return identity


def _encoder_of(
    identity: EncoderIdentity, adapter: Path, encoder: AnyEncoder | None
) -> tuple[SpanBertBackbone, SpanBertTokenizer]:
    """The adapter's encoder, if it is the one that it was trained on."""
    if isinstance(encoder, tuple):
        handle, loaded = None, encoder
    else:
        handle = locate(identity, adapter) if encoder is None else find(encoder)
        loaded = load_backbone(handle)
    came = identify(handle, *loaded, dtype=identity.dtype)
    if not identity.fits(came):
        raise ValueError(
            f"{adapter} is an adapter of another encoder: expected {identity}, got {came}"
        )
    return loaded


def _variables(task: SpanBertTask, paths: list[str]) -> dict[str, Any]:
    """An adapter's variables, by the names that it writes them under."""
    of_encoder = {weight.path: weight for weight in task.backbone.weights}
    variables = {f"encoder/{path}": of_encoder.get(path) for path in paths}
    for number, weight in enumerate(head_weights(task)):
        # Numbered: Keras counts the layers of a process in the paths of some heads.
        variables[f"head/{number}/{weight.name}"] = weight
    return variables


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is an adapter without {path.name}")
    with reading(path, "a safetensors file"):
        tensors = load_file(path)
    _refuse(_not_finite(tensors), f"{path} is damaged")
    return tensors


def _assign(variables: dict[str, Any], tensors: dict[str, np.ndarray], folder: Path) -> None:
    """Gives every variable its tensor; all are needed, and no others."""
    problems = [f"missing: {name}" for name in variables if name not in tensors]
    problems += [f"unknown: {name}" for name in tensors if name not in variables]
    for name in variables.keys() & tensors.keys():
        variable, tensor = variables[name], tensors[name]
        if variable is None:
            problems.append(f"unknown: {name}")
        elif tuple(variable.shape) != tensor.shape:
            problems.append(f"{name}: expected {tuple(variable.shape)}, got {tensor.shape}")
    _refuse(problems, f"{folder} is damaged")
    for name, variable in variables.items():
        variable.assign(tensors[name].astype("float32"))


def _not_finite(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Says which tensors hold what no adapter does."""
    problems = []
    for name, tensor in tensors.items():
        if tensor.dtype.name not in DTYPES:
            problems.append(f"{name}: expected {' or '.join(DTYPES)}, got {tensor.dtype}")
        elif not np.isfinite(tensor).all():
            problems.append(f"{name}: infinite, or no number")
    return problems


def _refuse(problems: list[str], what: str) -> None:
    if problems:
        raise ValueError(f"{what}:\n  " + "\n  ".join(sorted(problems)))


def _without(config: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}
