"""Folders that are written part by part, and gone on with by the call that began them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import INCOMPLETE
from spanbert_tf.data.readers.lines import DataError

MANIFEST = "manifest.json"


def open_folder(
    folder: Path, what: str, differences: Callable[[], list[str]], begin: Callable[[], None]
) -> None:
    """Makes such a folder, or checks that what is there may be gone on with.

    One that has a manifest and nothing else, as after a first try that failed, is begun anew.

    Args:
        folder: The folder, which has a file `MANIFEST` from its first moment on.
        what: What it holds, such as "a corpus".
        differences: Lists in words how what is there was made in another way, by its manifest.
        begin: Writes the manifest.

    Raises:
        DataError: The folder holds something else, or the same made in another way, or cannot be
            written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot make the folder: {error}.") from error
    names = [path.name for path in folder.iterdir() if not path.name.startswith(INCOMPLETE)]
    if MANIFEST in names:
        found = differences()
        if found and len(names) > 1:
            raise DataError(
                f"{folder}: holds {what} that was made in another way: {'; '.join(found)}. "
                "Choose another folder, or remove this one."
            )
        if found:
            with writing(folder):
                begin()
    elif names:
        raise DataError(
            f"{folder}: expected a new folder or {what}, but there is no {MANIFEST} among its "
            f"{len(names)} files, such as {min(names)!r}."
        )
    else:
        with writing(folder):
            begin()


def differences_of(there: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Lists in words which values differ: of what is there, and of what shall be made now."""
    return [
        f"{name} is {there[name]!r} there, {now[name]!r} now"
        for name in there
        if there[name] != now[name]
    ]


@contextmanager
def writing(folder: Path, what: str = "", parts: str = "parts") -> Iterator[None]:
    """Says of what cannot be written that the parts that are finished stay.

    Args:
        folder: The folder.
        what: A file in it, for the message.
        parts: What its parts are called.

    Raises:
        DataError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        problem = f"cannot write {what}" if what else "cannot be written"
        raise DataError(
            f"{folder}: {problem}: {error}. The {parts} that are finished stay: once there is "
            "room, the same call goes on where this one stopped."
        ) from error
