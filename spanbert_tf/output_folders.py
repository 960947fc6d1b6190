"""The folders that commands and exporters write: where they may be, and what they may replace.

A folder is known as this package's by what is in it.  A marker would say who made a folder, but not
that all in it is still ours, and earlier versions wrote none.
"""

import errno
import math
import os
import pwd
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import INCOMPLETE, atomic_folder, refuse_existing, tidy, user_path

AnyPath = str | os.PathLike[str]

# Files that only a model or a run has: at least one of them is in what is replaced.
_OF_MODELS = (
    *("saved_model.pb", "litert.json", "adapter.json", "*.weights.h5", "*.weights.json"),
    *("model.safetensors", "run.json", "checkpoint.json", "events.out.tfevents.*"),
    "text_index.*",
)
# What else is written beside them, and the folders within.
_FILES = (
    *_OF_MODELS,
    *("config.json", "task.json", "tokenizer.json", "preprocessor.json", "metadata.json"),
    *("vocab.txt", "vocabulary.txt", "tokenizer_config.json", "encoder.json", "metrics.json"),
    *("modules.json", "sentence_bert_config.json"),  # Of sentence-transformers.
    *("classes.json", "state.json"),  # Of earlier versions.
    *("fingerprint.pb", "variables.index", "variables.data-*", "network.tflite"),
    *("tf_serving_warmup_requests", "adapter.safetensors", "tensors.safetensors"),
    *("may_replace", f"{INCOMPLETE}*"),
)
_FOLDERS = (
    *("assets", "tokenizer", "variables", "adapter", "epochs", "best-*", "step-*", "last"),
    *("1_Pooling", "2_Dense", "2_Normalize", "3_Normalize", "assets.extra"),
    *("train", "validation", f"{INCOMPLETE}*", ".replaced-*"),
)


@contextmanager
def output_folder(path: AnyPath, overwrite: bool = False, size: int = 0) -> Iterator[Path]:
    """Yields a new folder that takes the name `path` once the body is done; all exporters' way.

    Args:
        path: See `atomic_folder`.
        overwrite: Whether a model or a run that is there is replaced; nothing else ever is.
        size: Bytes that are about to be written.

    Yields:
        The temporary folder to write into, empty.

    Raises:
        FileExistsError, NotADirectoryError, ValueError: See `check_outputs`.
        OSError: The disk has no room for `size` bytes, or writing failed; a note says what is kept.
    """
    check_outputs([path], overwrite)
    check_room(path, size)
    kept = "; what was there is kept" if user_path(path).exists() else ""
    try:
        with atomic_folder(path, overwrite) as folder:
            yield folder
            check_outputs([path], overwrite)  # Something may have come meanwhile.
    except OSError as error:
        error.add_note(f"{path} was not written{kept}.")
        raise


def check_outputs(
    outputs: Sequence[AnyPath], overwrite: bool, inputs: Iterable[AnyPath | None] = ()
) -> None:
    """Refuses folders to write, before anything is done; repairs what was half replaced.

    Args:
        outputs: The folders.
        overwrite: Whether models and runs that are there may be replaced.
        inputs: What is read for them.  What is no path of this machine, such as the handle of a
            model on a hub, is left out.

    Raises:
        ValueError: One is, holds or lies in an input or another output, or is or holds the working
            folder or the home folder.
        FileExistsError: One exists and `overwrite` is false, or holds what this package did not
            write.
        NotADirectoryError: One is a file, or lies in one.
        PermissionError: One cannot be made.
    """
    check_places(outputs, inputs)
    for output in outputs:
        final = user_path(output).resolve()
        tidy(final.parent)
        refuse_existing(final, overwrite)
        if final.exists():
            refuse_foreign(final)


def check_places(outputs: Sequence[AnyPath], inputs: Iterable[AnyPath | None] = ()) -> None:
    """Refuses what to write, files too, by its place alone; see `check_outputs`."""
    finals = [user_path(output).resolve() for output in outputs]
    read = [user_path(each).resolve() for each in inputs if each is not None]
    others = [(path, "which is read") for path in read if path.exists()]
    homes = {Path.cwd(), *_homes()}
    for final in finals:
        for home in homes:
            if home.is_relative_to(final):
                raise ValueError(
                    f"{final} cannot be written, as it {_relation(final, home)}: expected a folder "
                    "of its own for the output"
                )
        for other, what in others:
            relation = _relation(final, other)
            if relation:
                raise ValueError(
                    f"{final} cannot be written, as it {relation}, {what}: choose another name"
                )
        others.append((final, "which is written too"))
        _refuse_unwritable(final)


def refuse_foreign(folder: Path) -> None:
    """Refuses to replace or delete a folder that holds what this package did not write.

    Raises:
        FileExistsError: It does, or it is no model and no run, though it is not empty.
    """
    files: list[str] = []
    for parent, folders, names in os.walk(folder):
        files += names
        known_as = [(name, _FOLDERS) for name in folders] + [(name, _FILES) for name in names]
        for name, known in known_as:
            if not _matches(name, known):
                raise FileExistsError(
                    f"{folder} exists and is not replaced, as it holds what spanbert_tf did not "
                    f"write, such as {os.path.join(parent, name)}; choose another name"
                )
    if any(folder.iterdir()) and not any(_matches(name, _OF_MODELS) for name in files):
        raise FileExistsError(
            f"{folder} exists and is not replaced, as it is no model that spanbert_tf wrote; "
            "choose another name"
        )


def check_room(path: AnyPath, size: int) -> None:
    """Refuses to begin what the disk has no room for.

    Args:
        path: What is to be written.
        size: Its bytes.

    Raises:
        OSError: Fewer are free (`errno.ENOSPC`).
    """
    free = shutil.disk_usage(_nearest(user_path(path).resolve())).free
    if free < size:
        raise OSError(
            errno.ENOSPC,
            f"the disk has no room for {path}: it takes {size / 1e6:,.0f} MB, and "
            f"{free / 1e6:,.0f} MB are free; nothing was written",
        )


def size_of_weights(weights: Iterable[Any]) -> int:
    """The most bytes that variables take on a disk, at four a number."""
    return 4 * sum(math.prod(weight.shape) for weight in weights)


def size_of_files(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _homes() -> list[Path]:
    homes = [os.path.expanduser("~")]
    with suppress(KeyError):  # Users without an entry, as in some containers.
        homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    return [Path(home).resolve() for home in homes]


def _relation(final: Path, other: Path) -> str:
    """How a place is to another, in words; empty if they are apart."""
    if final == other:
        return f"is {other}" if final.is_dir() else f"is the file {other}"
    if other.is_relative_to(final):
        return f"holds {other}"
    return f"lies in {other}" if final.is_relative_to(other) else ""


def _refuse_unwritable(final: Path) -> None:
    parent = _nearest(final.parent)
    if not parent.is_dir():
        raise NotADirectoryError(f"{final} cannot be made, as {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{final} cannot be made, as {parent} may not be written to")


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest of its parents that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
