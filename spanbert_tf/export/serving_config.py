"""Files by which TensorFlow Serving serves exported models, and joins requests to batches."""

import os
from pathlib import Path

from spanbert_tf.atomic_files import atomic_file
from spanbert_tf.handles import SAVED_MODEL_FILE

CONFIG_FILES = MODELS_FILE, BATCHING_FILE = ("models.config", "batching_parameters")
_MODELS = "model_config_list {\n"
_MAX_BATCH_SIZE, _BATCH_TIMEOUT_MS = 32, 1.0


def served_folders(model: Path) -> list[Path]:
    """All models beside one, itself among them.

    Args:
        model: The folder of a model's version, `<models>/<name>/<version>`.

    Returns:
        Their folders `<models>/<name>`, absolute, by name.

    Raises:
        ValueError: It is no such folder.
    """
    version = model.absolute()
    if not version.name.isdecimal() or len(version.parents) < 2:
        raise ValueError(
            f"{model}: expected a folder NAME/VERSION, such as {model}/1, as TensorFlow Serving "
            "serves"
        )
    models = version.parents[1]
    found = {
        path.parents[1]
        for path in models.glob(f"*/*/{SAVED_MODEL_FILE}")
        if path.parent.name.isdecimal()
    }
    return sorted(found | {version.parent})


def write_serving_config(
    model: Path,
    folder: Path,
    max_batch_size: int = _MAX_BATCH_SIZE,
    batch_timeout_ms: float = _BATCH_TIMEOUT_MS,
) -> None:
    """Writes `models.config`, of a model and all beside it, and `batching_parameters`.

        tensorflow_model_server --enable_batching --model_config_file=FOLDER/models.config
            --batching_parameters_file=FOLDER/batching_parameters

    Args:
        model: The folder of a model's version, `<models>/<name>/<version>`.
        folder: Where the files go.
        max_batch_size: Texts of a batch.
        batch_timeout_ms: Milliseconds that a text waits for others.

    Raises:
        ValueError: See `served_folders`.
    """
    configs = [
        f"  config {{\n    name: {_quoted(path.name)}\n    base_path: {_quoted(str(path))}\n"
        '    model_platform: "tensorflow"\n  }\n'
        for path in served_folders(model)
    ]
    files = {
        MODELS_FILE: f"{_MODELS}{''.join(configs)}}}\n",
        BATCHING_FILE: _batching(max_batch_size, batch_timeout_ms),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with atomic_file(folder / name) as file:
            file.write_text(text, "utf-8")


def is_own(file: Path) -> bool:
    """Whether nothing is lost if `write_serving_config` replaces a file.

    That is so of a list of models, which it makes anew of the folders; and of parameters of batches
    that are those that it writes, but not where somebody has tuned them.
    """
    if not file.is_file():
        return False
    text = file.read_text("utf-8", "replace")
    if file.name == MODELS_FILE:
        return text.startswith(_MODELS)
    return text == _batching(_MAX_BATCH_SIZE, _BATCH_TIMEOUT_MS)


def _batching(max_batch_size: int, batch_timeout_ms: float) -> str:
    return (
        f"max_batch_size {{ value: {max_batch_size} }}\n"
        f"batch_timeout_micros {{ value: {round(1000 * batch_timeout_ms)} }}\n"
        f"num_batch_threads {{ value: {os.cpu_count() or 1} }}\n"
        "max_enqueued_batches { value: 100 }\n"
    )


def _quoted(text: str) -> str:
    """A string of a message in text form."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
