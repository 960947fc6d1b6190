"""Runs that are stopped at each border of their stages as SIGKILL would, within this process."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest


class Killed(BaseException):
    """Ends a run; what it tidies up on its way is undone."""


class Borders:
    """Kills a run at the first rename that was not met before.

    All that a run writes gets its name by a rename, and is hidden by one before it is deleted, so
    that these are all the states of the disk that matter; half-written files have a test of their
    own, of `atomic_folder`.

    Args:
        root: Folder of all that the run writes.
        patch: Replaces `Path.rename` as long as it lasts.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.snapshot = root.with_name(f"{root.name}-snapshot")
        self.seen: list[str] = []
        rename = Path.rename

        def kill_after(path: Path, target: Path) -> Path:
            renamed = rename(path, target)
            names = (re.sub("[0-9a-f]{16}", "*", Path(each).name) for each in (path, target))
            border = " -> ".join(names)
            # What is renamed on the way out of a killed run is undone with the rest.
            if border not in self.seen and not self.snapshot.exists():
                self.seen.append(border)
                shutil.copytree(self.root, self.snapshot)
                raise Killed
            return renamed

        patch.setattr(Path, "rename", kill_after)

    def run(self, start: Callable[[], Any]) -> Any:
        """Starts a run again until it ends by itself."""
        while True:
            try:
                return start()
            except Killed:
                shutil.rmtree(self.root)
                os.rename(self.snapshot, self.root)


def contents(folder: Path) -> dict[str, Any]:
    """Files below a folder, hidden ones too, and what is in those that are made alike each time."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            # Keras counts the layers of a process in their names.
            found[name] = json.loads(re.sub(r'_\d+(?=")', "", path.read_text()))
            found[name].pop("date_saved", None)
        elif path.suffix == ".h5":
            arrays: dict[str, Any] = {}
            with h5py.File(path) as file:
                file.visititems(
                    lambda key, item, arrays=arrays: arrays.update(
                        {key: item[()].tolist()} if isinstance(item, h5py.Dataset) else {}
                    )
                )
            found[name] = arrays
        else:
            found[name] = None
    return found
