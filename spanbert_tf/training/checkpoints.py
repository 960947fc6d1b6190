"""A fine-tuning run's folder on disk: written after each epoch, taken up again after a stop."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spanbert_tf.atomic_files import atomic_folder
from spanbert_tf.training.model_state import assign_state, state_of
from spanbert_tf.training.step_checkpoints import StepCheckpoints

EPOCHS = "epochs"  # Weights, optimizer and random state at the end of the last whole epoch.


class Interrupted(Exception):
    """A run was stopped by the user, and can be taken up again.

    Attributes:
        checkpoint: Folder of the run's state; `None` if it cannot be taken up again.
        epochs_done: Epochs that need not be trained again.
    """

    def __init__(self, message: str, checkpoint: Path | None = None, epochs_done: int = 0) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint
        self.epochs_done = epochs_done


class Checkpoint(keras.callbacks.Callback):
    """Keeps a run's last and best state on disk.

    Everything is written beside its place and renamed, so there is always a whole state.  A run
    that is taken up again ends with the weights that it would have had: besides weights and
    optimizer, the state of the random numbers is kept, and what early stopping knows follows
    from the history.

    Args:
        folder: Where the state goes.
        run: What the run is made of, as JSON: a run can only be taken up with the same.
        monitor: Key of the logs that tells which epoch is best.  `None`: the last one is.

    Attributes:
        history: Logs of each epoch.
        finished: Whether no epoch is left to train.
        write_best: Writes the model's preset into the folder that it is given, after each epoch
            that is the best so far.
    """

    def __init__(self, folder: Path, run: dict[str, Any], monitor: str | None) -> None:
        super().__init__()
        self.folder = folder
        self.run = run
        self.monitor = monitor
        self.history: list[dict[str, float]] = []
        self.finished = False
        self.write_best: Callable[[Path], None] = self._write_preset
        self.early_stopping: keras.callbacks.EarlyStopping | None = None
        self._states = StepCheckpoints(folder / EPOCHS, keep=1)
        self._tensors: dict[str, np.ndarray] = {}

    @property
    def best_epoch(self) -> int:
        """Index of the best epoch; among equals the one with the lowest validation loss."""
        if self.monitor is None:
            return len(self.history) - 1
        sign = -1 if self.monitor.endswith("loss") else 1
        ranks = [(sign * logs[self.monitor], -logs["val_loss"]) for logs in self.history]
        return ranks.index(max(ranks))

    @property
    def best_preset(self) -> Path:
        """Preset folder of the best epoch's model."""
        return self.folder / f"best-{self.best_epoch + 1}"

    def open(self, resume: bool, overwrite: bool) -> None:
        """Makes the folder, or reads what is in it.  Trains nothing and changes no model.

        Args:
            resume: Whether to take up the run that is in the folder.
            overwrite: Whether a run that is in the folder may be thrown away.

        Raises:
            FileExistsError: There is a run, and it is neither to be taken up nor thrown away.
            FileNotFoundError: There is no run to take up.
            DamagedCheckpoint: The state that is there cannot be read.
            ValueError: The run to take up was made of something else.
        """
        record = self.folder / "run.json"
        if resume:
            if not record.exists():
                raise FileNotFoundError(f"{self.folder} holds no run to resume.")
            refuse_differences(json.loads(record.read_text("utf-8")), self.run, self.folder)
            self._states.clean()
            found = self._states.restore()
            if found is not None:
                self._tensors, kept = found
                self.history, self.finished = kept["history"], kept["finished"]
            return
        # A run that was killed in its first epoch has nothing to resume.
        nothing_kept = record.exists() and not self._states.steps
        if self.folder.exists() and not (overwrite or nothing_kept):
            raise FileExistsError(
                f"{self.folder} holds a run that was stopped: resume it, or overwrite it."
            )
        with atomic_folder(self.folder, overwrite=overwrite or nothing_kept) as folder:
            text = json.dumps(self.run, indent=2, ensure_ascii=False)
            (folder / record.name).write_text(text, "utf-8")

    def restore(self, model: keras.Model) -> None:
        """Puts the last state into a model that is compiled as it was."""
        if not self.history:
            return
        model.optimizer.build(model.trainable_variables)
        assign_state(model, self._tensors)
        self._tensors = {}

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder)

    def on_train_begin(self, logs: Any = None) -> None:
        """Tells early stopping, which begins anew, what has been."""
        if self.early_stopping is not None:
            for epoch, epoch_logs in enumerate(self.history):
                self.early_stopping.on_epoch_end(epoch, epoch_logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the state."""
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"the loss of epoch {epoch + 1} is {logs['loss']}: a lower learning rate or a "
                "longer warm-up may help."
            )
        self.history.append(logs)
        self.finished = epoch + 1 >= self.params["epochs"] or self.model.stop_training
        try:
            self._write(epoch)
        except BaseException as error:
            self.history.pop()
            if isinstance(error, OSError):
                error.add_note(
                    f"epoch {epoch + 1} could not be kept; {self.folder} has those before it."
                )
            raise

    def _write_preset(self, folder: Path) -> None:
        self.model.save_to_preset(str(folder))

    def _write(self, epoch: int) -> None:
        best = self.best_preset
        if self.best_epoch == epoch:
            with atomic_folder(best, overwrite=True) as folder:
                self.write_best(folder)
        tensors = {name: np.asarray(value) for name, value in state_of(self.model).items()}
        record = {"history": self.history, "finished": self.finished}
        self._states.save(epoch + 1, tensors, record)
        for other in self.folder.glob("best-*"):
            if other != best:
                shutil.rmtree(other)


def refuse_existing(output: Path, overwrite: bool) -> None:
    """Refuses before any work what `atomic_folder` would refuse after it."""
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"{output} is a file; expected a new folder's name")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists; choose another name or pass overwrite=True")


def refuse_differences(then: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuses to take up a run that was made of something else, and lists what is."""
    then, now = _flat(then), _flat(json.loads(json.dumps(now)))
    differences = [
        f"  {name}: {then.get(name)!r} then, {now.get(name)!r} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    if differences:
        listed = "\n".join(differences)
        raise ValueError(f"the run in {folder} was made of something else:\n{listed}")


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Settings beside the other entries, all in one dictionary."""
    return {**record, **record["settings"], "settings": None}
