"""Files and folders that are written whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INCOMPLETE = ".incomplete-"  # How the names of what is not whole begin.


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yields a new folder beside `path` that takes the name `path` once the body is done.

    Whatever ends the body early (an exception, a full disk, Ctrl-C) removes the new folder and
    leaves what was at `path` as it was.  A process that is killed leaves a hidden folder
    `.incomplete-*` beside `path`, and never half of one under its name; killed between the two
    renames of an overwrite, it leaves the old folder whole under `.replaced-*`.

    Args:
        path: The folder to make.  Its parents are made too; a symbolic link is followed.
        overwrite: Whether a folder that exists is replaced.

    Yields:
        The temporary folder to write into, empty.

    Raises:
        FileExistsError: `path` exists, before or after the body, and `overwrite` is false.
        NotADirectoryError: `path` is a file: that is never replaced.

    Example:
        with atomic_folder("presets/mine") as folder:
            (folder / "config.json").write_text("{}")
    """
    final = Path(path).resolve()
    _refuse_existing(final, overwrite)
    final.parent.mkdir(parents=True, exist_ok=True)
    # `mkdir`, not `tempfile`: the folder shall have the permissions of any other new folder.
    temporary = final.parent / f"{INCOMPLETE}{secrets.token_hex(8)}"
    temporary.mkdir()
    try:
        yield temporary
        _flush_to_disk(temporary)
        _refuse_existing(final, overwrite)
        _move_into_place(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a new name beside `path`; what the body writes there takes the name `path`.

    Whatever ends the body early leaves `path` as it was.
    """
    temporary = path.with_name(f"{INCOMPLETE}{secrets.token_hex(8)}-{path.name}")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_existing(final: Path, overwrite: bool) -> None:
    if final.exists() and not final.is_dir():
        raise NotADirectoryError(f"{final} is a file; expected a new folder's name")
    if final.exists() and not overwrite:
        raise FileExistsError(f"{final} exists; choose another name or pass overwrite=True")


def _flush_to_disk(folder: Path) -> None:
    # A rename can reach the disk before the data it names does.
    for parent, _, names in os.walk(folder):
        for name in [*names, "."]:
            entry = os.path.join(parent, name)
            if os.path.islink(entry):
                continue
            _flush(entry)


def _flush(path: str | os.PathLike[str]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_into_place(temporary: Path, final: Path) -> None:
    if not final.exists():
        temporary.rename(final)
        return
    replaced = final.parent / f".replaced-{secrets.token_hex(8)}"
    final.rename(replaced)
    try:
        temporary.rename(final)
    except BaseException:
        replaced.rename(final)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
