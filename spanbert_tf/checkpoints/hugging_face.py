"""The files of a Hugging Face checkpoint: where they are, and what they hold.  No model here.

A checkpoint is a folder with `config.json`, weights (`model.safetensors` or `pytorch_model.bin`,
whole or in parts listed by `*.index.json`) and a vocabulary (`vocab.txt` or `tokenizer.json`).
"""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import load_file

from spanbert_tf.atomic_files import user_path
from spanbert_tf.foreign_files import CheckpointError, read_json, reading, table

HUB_PREFIX = "hf://"
CONFIG_FILE = "config.json"
SAFETENSORS_FILE = "model.safetensors"
TORCH_FILE = "pytorch_model.bin"
VOCABULARY_FILE = "vocab.txt"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"

# Of sentence-transformers: what its models are made of, and how many tokens of a text they read.
MODULES_FILE = "modules.json"
SENTENCES_FILE = "sentence_bert_config.json"
PROMPTS_FILE = "config_sentence_transformers.json"
PRESET_TASK_FILE = "task.json"  # Beside a preset's config.json, if it is that of a task.

SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_SMALL_FILES = [
    *(CONFIG_FILE, VOCABULARY_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE),
    *("added_tokens.json", "special_tokens_map.json", MODULES_FILE, SENTENCES_FILE),
    PROMPTS_FILE,
]
_SAFETENSORS_PATTERNS = ["model*.safetensors", f"{SAFETENSORS_FILE}.index.json"]
_MODULE_PATTERNS = ["?_*/config.json", "?_*/model.safetensors"]
_TORCH_PATTERNS = ["pytorch_model*.bin", f"{TORCH_FILE}.index.json"]
# What `save_to_preset` of KerasHub writes; weights are whole, or in parts that a `.json` lists.
_PRESET_PATTERNS = [
    *(CONFIG_FILE, PRESET_TASK_FILE, TOKENIZER_FILE, "preprocessor.json", "metadata.json"),
    *("model.weights.h5", "model.weights.json", "model_*.weights.h5", "task.weights.h5"),
    "assets/*",
]
# Weights in forms that are not read, and what they are of.
_OTHER_WEIGHTS = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "model.onnx": "ONNX"}
_FLOAT_DTYPES = {"float64", "float32", "float16", "bfloat16"}


def locate(source: str | os.PathLike[str]) -> Path:
    """Finds the folder of a checkpoint, and downloads it first if it is on the Hub.

    Args:
        source: A folder, or `hf://user/repo`, or `hf://user/repo@revision`; the oldest models have
            no user: `hf://bert-base-cased`.

    Returns:
        The folder.  Of weights in both forms, only the safetensors are downloaded; of a Keras
        preset, which may stand there too, all of its files.

    Raises:
        FileNotFoundError: There is no such folder, repository or revision, or the repository holds
            neither a checkpoint nor a preset.
        PermissionError: The repository is gated and this machine has no access to it.
        ConnectionError: The Hub cannot be reached, and the cache does not hold the files.
        CheckpointError: The handle is malformed.
    """
    source = os.fspath(source)
    if source.startswith(HUB_PREFIX):
        return _download(source)
    folder = user_path(source)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {source}; a handle on the Hub starts with {HUB_PREFIX}")
    return folder


def _download(handle: str) -> Path:
    match = re.fullmatch(r"((?:[\w.-]+/)?[\w.-]+)(?:@(\S+))?", handle.removeprefix(HUB_PREFIX))
    if not match:
        raise _malformed(handle)
    repo, revision = match.groups()
    try:
        return _files_of(handle, repo, revision)
    except HFValidationError as error:
        raise _malformed(handle) from error
    except GatedRepoError as error:
        raise PermissionError(
            f"{handle} is gated: accept its terms at https://huggingface.co/{repo}, then log in "
            f"with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{handle}: no repository {repo!r} on the Hub, or a private one of someone else's"
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"{handle}: {repo!r} has no revision {revision!r}") from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise ConnectionError(
            f"{handle}: the Hub cannot be reached and the cache does not hold the files; "
            f"download the repository elsewhere and pass its folder ({error})"
        ) from error


def _malformed(handle: str) -> CheckpointError:
    return CheckpointError(
        f"expected hf://user/repo, hf://repo or hf://user/repo@revision, got {handle!r}"
    )


def _files_of(handle: str, repo: str, revision: str | None) -> Path:
    """Downloads what loading needs: the first files tell which others those are."""
    # A pattern's `*` matches slashes too, and sub-folders hold other models' files.
    top = ["*/*"]
    folder = _snapshot(repo, revision, [*_SMALL_FILES, *_SAFETENSORS_PATTERNS], top)
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"{handle} holds neither a Keras preset nor a Hugging Face checkpoint: it has no "
            f"{CONFIG_FILE}"
        )
    if is_preset(read_config(folder)):
        return _snapshot(repo, revision, _PRESET_PATTERNS, [])
    if (folder / MODULES_FILE).is_file():
        _snapshot(repo, revision, _MODULE_PATTERNS, [])
    if list(folder.glob("*.safetensors")):
        return folder
    return _snapshot(repo, revision, [*_SMALL_FILES, *_TORCH_PATTERNS], top)


def _snapshot(repo: str, revision: str | None, patterns: list[str], ignored: list[str]) -> Path:
    return Path(
        huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=patterns, ignore_patterns=ignored
        )
    )


def read_config(folder: Path, name: str = CONFIG_FILE) -> dict[str, Any]:
    """Reads `config.json`, or what is in its place, of a checkpoint's folder.

    Raises:
        FileNotFoundError: There is none.
        CheckpointError: It is not a JSON object.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"no {name} in {folder}")
    return read_json(path)


def is_preset(config: dict[str, Any]) -> bool:
    """Whether a `config.json` is that of a Keras preset, not of a Hugging Face checkpoint."""
    return "registered_name" in config


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """Reads the weights of a checkpoint's folder, the safetensors rather than the `.bin`.

    No file is ever unpickled into anything but tensors.

    Returns:
        Arrays by their foreign keys, in the dtype of the file (bfloat16 of a `.bin`: as float32).

    Raises:
        FileNotFoundError: There are no weights, or a part of them is missing.
        CheckpointError: A file is truncated, no weights file, holds what no checkpoint holds, or
            the same key twice.
        ModuleNotFoundError: A `.bin` file needs PyTorch, which is not installed.
    """
    for name, read in [(SAFETENSORS_FILE, _read_safetensors), (TORCH_FILE, _read_torch)]:
        tensors: dict[str, np.ndarray] = {}
        for path in _parts(folder, name):
            part = read(path)
            if twice := sorted(tensors.keys() & part.keys()):
                raise CheckpointError(f"{path} holds what another part holds too: {twice}")
            tensors.update(part)
        if tensors:
            return tensors
    found = sorted(path.name for path in folder.iterdir())
    others = "; ".join(
        f"{name} holds weights of {library}, which are not read: save them by `save_pretrained` "
        f"as {SAFETENSORS_FILE}"
        for name, library in _OTHER_WEIGHTS.items()
        if name in found
    )
    raise FileNotFoundError(
        f"no weights in {folder}: expected {SAFETENSORS_FILE}, {TORCH_FILE} or a checkpoint of "
        f"TensorFlow 1 (bert_model.ckpt.index and its data), found {found}"
        + (f".  {others}" if others else "")
    )


def _parts(folder: Path, name: str) -> list[Path]:
    if (folder / name).is_file():
        return [folder / name]
    index = folder / f"{name}.index.json"
    if not index.is_file():
        return []
    listed = read_json(index, {"weight_map": table(required=True)})["weight_map"].values()
    if not all(isinstance(part, str) for part in listed):
        raise CheckpointError(f"{index}: expected the name of a file for each tensor")
    parts = sorted(set(listed))
    for part in parts:
        # A name only: an index shall not reach outside of its folder.
        if os.path.basename(part) != part or not (folder / part).is_file():
            raise FileNotFoundError(f"{index} lists {part!r}, which is not in its folder")
    return [folder / part for part in parts]


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with reading(path, "a safetensors file of floats"):
        return load_file(path)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading {path} needs PyTorch: pip install torch, or get the checkpoint as "
            f"{SAFETENSORS_FILE}",
            name="torch",
        ) from error
    try:
        with reading(path, "a PyTorch file", passing=(pickle.UnpicklingError,)):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or a pickle of more than tensors: refused, as loading it could "
            f"run code of its author's ({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise CheckpointError(
            f"{path}: expected a dictionary of tensors by their names, got {state!r:.200}"
        )
    # NumPy has no bfloat16; float32 holds all of its values.
    with reading(path, "a PyTorch file of floats"):
        return {
            key: (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
            for key, value in state.items()
        }


def is_float(array: np.ndarray) -> bool:
    """Tells whether an array holds plain floats, `ml_dtypes.bfloat16` among them."""
    return array.dtype.name in _FLOAT_DTYPES
