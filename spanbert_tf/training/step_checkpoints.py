"""A pretraining run's checkpoints on disk: one folder each, checked when it is read.

step-00001000/tensors.safetensors   weights, optimizer and random state
step-00001000/checkpoint.json       step, place in the corpus, figures, SHA-256 of the tensors
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from spanbert_tf.atomic_files import atomic_folder, remove_folder, tidy
from spanbert_tf.checkpoints.tensors import write_tensors
from spanbert_tf.data.corpus.shards import file_sha256

_PREFIX = "step-"
_RECORD = "checkpoint.json"
_TENSORS = "tensors.safetensors"


class DamagedCheckpoint(ValueError):
    """A checkpoint does not hold what was written."""


class StepCheckpoints:
    """The last checkpoints of a run.

    Each is written under another name and renamed, so that one that has its name is whole, and
    those before it are deleted only then.

    Args:
        folder: Where they are; nothing else goes there.
        keep: How many to keep.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints that there are, ascending."""
        names = (path.name.removeprefix(_PREFIX) for path in self.folder.glob(f"{_PREFIX}*"))
        return sorted(int(name) for name in names if name.isdigit())

    def save(self, step: int, tensors: dict[str, np.ndarray], record: dict[str, Any]) -> None:
        """Writes a checkpoint and deletes those that are too many.

        Args:
            step: Its number; one that has it is replaced.
            tensors: What `restore` gives back.
            record: What it gives back beside them, as JSON can hold it.

        Raises:
            OSError: It could not be written, such as on a full disk; those before it stay.
        """
        try:
            with atomic_folder(self._path(step), overwrite=True) as folder:
                write_tensors(tensors, folder / _TENSORS)
                checksum = {"sha256": file_sha256(folder / _TENSORS)}
                (folder / _RECORD).write_text(json.dumps({**record, **checksum}), "utf-8")
        except OSError as error:
            error.add_note(f"The checkpoint of step {step} was not written; {self._those_left()}")
            raise
        for old in self.steps[: -self.keep]:
            remove_folder(self._path(old))

    def restore(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Reads the last checkpoint that is whole.

        One that is damaged is left out with a warning.

        Returns:
            Its tensors and record; `None` if there is none.

        Raises:
            DamagedCheckpoint: There are some, but all are damaged.
        """
        defects = []
        for step in reversed(self.steps):
            try:
                return self._read(step)
            except DamagedCheckpoint as error:
                defects.append(str(error))
                warnings.warn(f"left out a damaged checkpoint: {error}", stacklevel=2)
        if defects:
            raise DamagedCheckpoint(
                f"none of the checkpoints in {self.folder} can be used: {'; '.join(defects)}"
            )
        return None

    def clean(self) -> None:
        """Ends what a process that was killed left half done; see `tidy`."""
        tidy(self.folder)

    def _path(self, step: int) -> Path:
        return self.folder / f"{_PREFIX}{step:08d}"

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        path = self._path(step)
        try:
            record = json.loads((path / _RECORD).read_text("utf-8"))
            found = file_sha256(path / _TENSORS)
            if found != record["sha256"]:
                raise DamagedCheckpoint(
                    f"{path / _TENSORS}: its SHA-256 is {found}, but {record['sha256']} was written"
                )
            return load_file(path / _TENSORS), record
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, DamagedCheckpoint):
                raise
            raise DamagedCheckpoint(f"{path}: cannot be read: {error!r}") from error

    def _those_left(self) -> str:
        steps = self.steps
        return f"that of step {steps[-1]} is kept." if steps else "there is none before it."
