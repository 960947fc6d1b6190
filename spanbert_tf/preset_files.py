"""The files of a Keras preset, checked before and after KerasHub makes a model of them.

KerasHub makes a new head where the file of its weights is missing, leaves out what a weights' file
has beyond the model, and builds whatever sizes a config has.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import h5py
import keras

from spanbert_tf.foreign_files import (
    CheckpointError,
    Schema,
    check,
    check_finite,
    check_size,
    flag,
    integer,
    or_null,
    rate,
    read_json,
    reading,
    table,
    text,
)
from spanbert_tf.keras_internals import preset_file

CONFIG_FILE = "config.json"
TASK_FILE = "task.json"
WEIGHTS_FILE = "model.weights.h5"
SHARDS_FILE = "model.weights.json"
TASK_WEIGHTS_FILE = "task.weights.h5"

_OBJECT: Schema = {"class_name": text(required=True), "config": table(required=True)}
# Arguments of `SpanBertBackbone`, as presets, SavedModels and adapters hold them.
BACKBONE: Schema = {
    "vocabulary_size": integer(1, required=True),
    "num_layers": integer(1, required=True),
    "num_heads": integer(1, required=True),
    "hidden_dim": integer(1, required=True),
    "intermediate_dim": integer(1, required=True),
    "dropout": rate(),
    "max_sequence_length": integer(1),
    "num_segments": integer(1),
    "attention": text(),
    "block_size": integer(1),
    "neighbors": integer(0, 1),
    "global_first_token": flag(),
    "long_positions": or_null(text()),
}


def implied_weights(config: dict[str, Any]) -> int:
    """How many numbers the weights of a `SpanBertBackbone` are.

    Args:
        config: Its arguments, checked by `BACKBONE`.
    """
    hidden, inner = config["hidden_dim"], config["intermediate_dim"]
    rows = config["vocabulary_size"] + config.get("max_sequence_length", 512)
    rows += config.get("num_segments", 2)
    layer = hidden * (4 * hidden + 2 * inner + 9) + inner
    return hidden * (rows + 2) + config["num_layers"] * layer


def check_preset(
    preset: str,
    load_weights: bool,
    class_name: str,
    has_head: Callable[[Mapping[str, Any]], bool] | None = None,
) -> None:
    """Checks a preset of a `SpanBertBackbone`, or of a task on it, before it is built.

    Args:
        preset: Its folder or handle.
        load_weights: Whether its weights are wanted.
        class_name: Name of the class that is made of it.
        has_head: Whether an object of that class has a head with weights, by its config.  `None`:
            they are not wanted.

    Raises:
        CheckpointError: A file is damaged; its sizes are other than those of its weights; or the
            head's weights are missing.
    """
    path = preset_file(preset, CONFIG_FILE)
    if path is None or not path.is_file():
        return  # KerasHub says what is missing.
    config = read_json(path)
    if config.get("class_name") != "SpanBertBackbone":
        return  # Nor is it for us to say what another encoder's file holds.
    check(config, _OBJECT, path)
    check(config["config"], BACKBONE, path)
    if load_weights:
        found = sum(_count(os.fspath(file)) for file in _weight_files(preset))
        check_size(implied_weights(config["config"]), found, path)
    task_path = preset_file(preset, TASK_FILE)
    if task_path is None or not task_path.is_file():
        return
    task = read_json(task_path, _OBJECT)
    # Of a task of another class the encoder alone is taken, as of a preset without one.
    if has_head is None or not load_weights or task["class_name"] != class_name:
        return
    if has_head(task["config"]) and preset_file(preset, TASK_WEIGHTS_FILE) is None:
        raise CheckpointError(
            f"{preset} has {TASK_FILE}, but not {TASK_WEIGHTS_FILE}, the weights of its head: the "
            "copy is not complete.  SpanBertBackbone.from_preset loads the encoder alone"
        )


def with_policy(preset: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Adds a preset's dtype to arguments, which KerasHub would forget if it is one for each layer.

    A quantized encoder has a map of policies, without which its weights do not fit.

    Args:
        preset: Handle or name of a preset.
        arguments: What `from_preset` was given; its `dtype` is one that is asked for, or `None`.

    Returns:
        The arguments; of a quantized preset `dtype` is the saved map, with the one asked for in the
        place of the policy that was quantized.
    """
    dtype = arguments.get("dtype")
    file = preset_file(preset, CONFIG_FILE)
    config = read_json(file) if file is not None and file.is_file() else {}
    saved = config.get("config", {}).get("dtype")
    if not isinstance(saved, dict) or saved.get("class_name") != "DTypePolicyMap":
        return {**arguments, "dtype": dtype}
    if dtype is not None:
        name = keras.dtype_policies.get(dtype).name
        saved["config"]["default_policy"] = name
        for policy in saved["config"]["policy_map"].values():
            policy["config"]["source_name"] = name
    return {**arguments, "dtype": saved}


def reading_preset(preset: str, arguments: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Names the preset in errors that KerasHub has with it, see `foreign_files.reading`.

    Its own are clear where it raises a `ValueError` or an `OSError`, and a `TypeError` may be due
    to arguments of the caller.
    """
    passing = (
        (ValueError, OSError)
        if not arguments.keys() - {"dtype"}
        else (ValueError, OSError, TypeError)
    )
    return reading(preset, "a Keras preset", passing)


def check_weights(preset: str, model: Any, head: Sequence[Any] = ()) -> None:
    """Checks the weights of a model that was made of a preset.

    Args:
        preset: The preset's folder or handle.
        model: The backbone.
        head: Variables of the task's head that the preset has.

    Raises:
        CheckpointError: The preset has more weights than the model, or one is NaN or infinite.
    """
    sizes = [(_weight_files(preset), model.weights)]
    if head and (path := preset_file(preset, TASK_WEIGHTS_FILE)) is not None:
        sizes.append(([path], head))
    for files, variables in sizes:
        found = sum(len(_shapes(os.fspath(file))) for file in files)
        if found > len(variables):
            raise CheckpointError(
                f"{files[0]} has {found} weights, but the model that {CONFIG_FILE} describes has "
                f"{len(variables)}: they do not belong together"
            )
        check_finite(((v.path, v) for v in variables), preset)


def _weight_files(preset: str) -> list[Any]:
    whole = preset_file(preset, WEIGHTS_FILE)
    if whole is not None:
        return [whole]
    index = preset_file(preset, SHARDS_FILE)
    if index is None:
        raise CheckpointError(f"{preset} has neither {WEIGHTS_FILE} nor {SHARDS_FILE}: no weights")
    names: set[str] = set()
    with reading(index, "an index of weights"):
        for files in read_json(index)["weight_map"].values():
            names.update([files] if isinstance(files, str) else files)
        if any(os.path.basename(name) != name for name in names):
            raise CheckpointError(f"{index} lists files that are not in its folder")
    shards = [preset_file(preset, name) for name in sorted(names)]
    if None in shards:
        raise CheckpointError(f"{index} lists files that are missing: the copy is not complete")
    return shards


def _shapes(path: str) -> list[tuple[int, ...]]:
    """Shapes of the tensors of a weights' file; their values are not read."""
    shapes: list[tuple[int, ...]] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            shapes.append(item.shape)

    with reading(path, "a file of Keras weights"), h5py.File(path) as file:
        file.visititems(visit)
    return shapes


def _count(path: str) -> int:
    return sum(map(math.prod, _shapes(path)))
