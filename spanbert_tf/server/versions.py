"""Where the versions of a model are, and whether they have changed.

TensorFlow Serving's layout is `NAME/1`, `NAME/2`, ...: a folder that has such folders is watched.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spanbert_tf.atomic_files import user_path
from spanbert_tf.handles import without_revision

_NAME = re.compile(r"[A-Za-z0-9_.-]+")

# Of each file its path, size and time of change.
Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Source:
    """A model to serve.

    Attributes:
        name: By which clients know it.
        handle: The folder that has its versions, or the one version's folder or handle.
        number: Of the one version; `None`: there are versions in the folder.
    """

    name: str
    handle: str
    number: int | None

    def versions(self) -> list[tuple[int, str]]:
        """Number and place of each version, the newest first."""
        if self.number is not None:
            return [(self.number, self.handle)]
        return sorted(_folders_of_versions(self.handle), reverse=True)

    def __str__(self) -> str:
        return self.handle


def read_source(argument: str) -> Source:
    """Reads what the command line names: `HANDLE` or `NAME=HANDLE`.

    Without a name it is that of the folder, of `reviews` and `reviews/1` the same.

    Raises:
        ValueError: The name has other characters than letters, digits, `_`, `-` and `.`.
    """
    name, separator, handle = argument.partition("=")
    if not separator or "/" in name:  # No name: the sign belongs to the folder's.
        name, handle = "", argument
    path = Path(os.path.abspath(user_path(without_revision(handle))))
    number: int | None = 1
    if _folders_of_versions(handle):
        number = None
    elif path.name.isdecimal():
        number, path = int(path.name), path.parent
    if not name:
        name = path.name
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{argument}: expected a name of letters, digits, '_', '-' and '.' for the model, got "
            f"{name!r}; give NAME=MODEL"
        )
    return Source(name, handle, number)


def read_sources(arguments: Sequence[str]) -> list[Source]:
    """Reads several.

    Raises:
        ValueError: As `read_source`, or two have one name.
    """
    sources = [read_source(argument) for argument in arguments]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two models have the name {name!r}; give NAME=MODEL")
    return sources


def fingerprint(place: str) -> Fingerprint:
    """What changes as long as files are written into a folder; of what is no folder nothing."""
    files = []
    for parent, _, names in os.walk(user_path(place)):
        for name in names:
            path = os.path.join(parent, name)
            try:
                of = os.stat(path)
            except OSError:  # It is gone already, or a link to nothing.
                continue
            files.append((path, of.st_size, of.st_mtime_ns))
    return tuple(sorted(files))


def _folders_of_versions(handle: str) -> list[tuple[int, str]]:
    try:
        entries = [*os.scandir(user_path(handle))]
    except OSError:  # It is none of this machine's folders, or gone.
        return []
    return [(int(of.name), of.path) for of in entries if of.name.isdecimal() and of.is_dir()]
