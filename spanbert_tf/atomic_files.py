"""Files and folders that are written whole or not at all, by one process at a time.

What a process that was killed left half done, the next one that writes beside it ends: see `tidy`.
And paths as people give them: see `user_path`.
"""

import fcntl
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

INCOMPLETE = ".incomplete-"  # How the names of what is not whole begin.
_REPLACED = ".replaced-"  # And of what makes room for another.
# Earlier versions left out whose place it takes.
_LEFTOVER = re.compile(rf"({re.escape(INCOMPLETE)}|{re.escape(_REPLACED)})[0-9a-f]{{16}}(?:-(.+))?")


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as people write it: a leading `~` is the home folder, as it is to a shell."""
    return Path(os.path.expanduser(path))  # `Path.expanduser` fails where there is no such user.


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yields a new folder beside `path` that takes the name `path` once the body is done.

    Whatever ends the body early (an exception, a full disk, Ctrl-C) removes the new folder and
    leaves what was at `path` as it was.  A process that is killed leaves a hidden folder beside
    `path`, and never half of one under its name; killed between the two renames of an overwrite, it
    leaves the old folder whole under a hidden name, which `tidy` gives back.

    What the old folder holds is not looked at: `output_folders.output_folder` does.

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
    final = user_path(path).resolve()
    tidy(final.parent)
    refuse_existing(final, overwrite)
    final.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(final, is_folder=True) as temporary:
        yield temporary
        _flush_to_disk(temporary)
        refuse_existing(final, overwrite)
        _move_into_place(temporary, final)
        _flush(final.parent)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a new file beside `path`; what the body writes into it takes the name `path`.

    Whatever ends the body early leaves `path` as it was.
    """
    for other in path.parent.glob(f"{INCOMPLETE}*-{glob.escape(path.name)}"):
        _end(other)
    with _temporary(path, is_folder=False) as temporary:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)


@contextmanager
def locked(folders: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """Keeps other processes that do the same from writing folders while the body runs.

    Each lock is a hidden file beside its folder, removed in the end; that of a process that was
    killed locks nothing.

    Raises:
        BlockingIOError: Another process has one of them.
    """
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(_lock(user_path(folder).resolve()))
        yield


def remove_folder(path: Path) -> None:
    """Deletes a folder, if it is there; a process killed meanwhile leaves no part of it."""
    if path.exists():
        hidden = path.with_name(f"{INCOMPLETE}{secrets.token_hex(8)}-{path.name}")
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Ends what killed processes left half done in a folder.

    What is incomplete is deleted.  What had been moved aside and was not replaced is given its name
    back, and deleted if it was.  What a living process writes is left alone; so is all where the
    file system has no locks to tell.
    """
    with suppress(OSError):  # There is no such folder, or it is not ours to change.
        for path in [*folder.iterdir()]:
            if _LEFTOVER.fullmatch(path.name):
                _end(path)


def refuse_existing(final: Path, overwrite: bool) -> None:
    """Refuses a folder's name that is taken."""
    if final.exists() and not final.is_dir():
        raise NotADirectoryError(f"{final} is a file; expected a new folder's name")
    if final.exists() and not overwrite:
        raise FileExistsError(f"{final} exists; choose another name or pass overwrite=True")


def _end(path: Path) -> None:
    """Ends what `tidy` names, unless a living process has it."""
    match = _LEFTOVER.fullmatch(path.name)
    if match is None or path.is_symlink():
        return
    with _hold(path, wait=False) as held:
        if not held:
            return
        kind, name = match.groups()
        if kind == _REPLACED and name and not path.with_name(name).exists():
            path.rename(path.with_name(name))
        elif kind == INCOMPLETE or name:
            _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _temporary(final: Path, is_folder: bool) -> Iterator[Path]:
    """Makes a file or folder beside `final`, shown to be in use, and deletes what is left of it."""
    while True:
        path = final.with_name(f"{INCOMPLETE}{secrets.token_hex(8)}-{final.name}")
        # Not with `tempfile`: it shall have the permissions of any other that is new.
        path.mkdir() if is_folder else path.touch()
        with _hold(path):
            if not path.exists():  # Another process tidied up before it was held.
                continue
            try:
                yield path
            finally:
                _delete(path)
            return


@contextmanager
def _hold(path: Path, wait: bool = True) -> Iterator[bool]:
    """Shows other processes that a living one has a file or folder, under any name.

    Yields:
        Whether it has: it may be gone, or another's, or in a file system without locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        held = False
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        yield held
    finally:
        os.close(descriptor)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    path = folder.with_name(f".{folder.name}.lock")
    new_parents = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _open_lock(path, folder)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        for parent in new_parents:  # Those that nothing came into.
            with suppress(OSError):
                parent.rmdir()


def _open_lock(path: Path, folder: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise BlockingIOError(f"another process is at work on {folder}") from None
        except OSError:  # A file system without locks.
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # The one that had it has removed the file meanwhile.


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
    replaced = final.with_name(f"{_REPLACED}{secrets.token_hex(8)}-{final.name}")
    with _hold(final):  # Until the end, so that nobody gives it its name back.
        final.rename(replaced)
        try:
            temporary.rename(final)
        except BaseException:
            replaced.rename(final)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
