"""A fine-tuning run's folder on disk: written after each epoch, taken up again after a stop."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spanbert_tf.atomic_files import atomic_folder, remove_folder, tidy
from spanbert_tf.output_folders import (
    check_room,
    output_folder,
    size_of_files,
    size_of_weights,
)
from spanbert_tf.training.model_state import assign_state, state_of
from spanbert_tf.training.step_checkpoints import StepCheckpoints

EPOCHS = "epochs"  # Weights, optimizer and random state at the end of the last whole epoch.
RECORD = "run.json"
# An empty file: what stands in the output folders is this run's, or it was told to replace it.
MAY_REPLACE = "may_replace"


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
    def may_replace(self) -> bool:
        """Whether the run may replace what is in its output folders."""
        return (self.folder / MAY_REPLACE).exists()

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
        """Makes the folder, or takes up the run that is in it.  Trains nothing, changes no model.

        Args:
            resume: Whether there must be a run to take up.
            overwrite: Whether another run, which is in the folder, may be thrown away; and, without
                `resume`, this one too.

        Raises:
            FileExistsError: There is a run of something else, or no run but other files.
            FileNotFoundError: There is no run to take up.
            DamagedCheckpoint: The state that is there cannot be read.
            ValueError: The run to take up was made of something else.
        """
        tidy(self.folder.parent)
        record = self.folder / RECORD
        if resume and not record.exists():
            raise FileNotFoundError(f"{self.folder} holds no run to resume.")
        # A run that was killed in its first epoch has nothing to take up.
        nothing_kept = record.exists() and not self._states.steps
        if resume or (record.exists() and not overwrite and not nothing_kept):
            self._take_up(record, resume)
            return
        may_replace = overwrite or self.may_replace
        with output_folder(self.folder, overwrite=overwrite or nothing_kept) as folder:
            text = json.dumps(self.run, indent=2, ensure_ascii=False)
            (folder / RECORD).write_text(text, "utf-8")
            if may_replace:
                (folder / MAY_REPLACE).touch()

    def _take_up(self, record: Path, resume: bool) -> None:
        try:
            refuse_differences(json.loads(record.read_text("utf-8")), self.run, self.folder)
        except ValueError as error:
            if resume:
                raise
            raise FileExistsError(
                f"{error}\nChoose another name, or pass overwrite=True to throw that run, which "
                "was stopped, away."
            ) from None
        self._states.clean()
        found = self._states.restore()
        if found is not None:
            self._tensors, kept = found
            self.history, self.finished = kept["history"], kept["finished"]

    def restore(self, model: keras.Model) -> None:
        """Puts the last state into a model that is compiled as it was."""
        if not self.history:
            return
        model.optimizer.build(model.trainable_variables)
        assign_state(model, self._tensors)
        self._tensors = {}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Says of errors, while the outputs are written, what is kept, see `training_is_kept`.

        Until the run is over, it may replace what it has written of them.
        """
        (self.folder / MAY_REPLACE).touch()
        with training_is_kept(self.folder):
            yield

    def remove(self) -> None:
        """Deletes the folder."""
        remove_folder(self.folder)

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks that there is room, and tells early stopping, which begins anew, what has been."""
        weights = size_of_weights(self.model.weights)
        state = weights + 2 * size_of_weights(self.model.trainable_weights)  # Adam's moments
        # The last and the best, until the next are whole.
        check_room(self.folder, 2 * (weights + state) - size_of_files(self.folder))
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
                before = f"{self.folder} has those before it" if epoch else "nothing is kept"
                error.add_note(f"Epoch {epoch + 1} could not be kept; {before}.")
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
                remove_folder(other)


@contextmanager
def training_is_kept(folder: Path) -> Iterator[None]:
    """Adds to errors, while a run's outputs are written, that it need not be trained again."""
    try:
        yield
    except OSError as error:
        error.add_note(f"The training is done and kept in {folder}: resume the run to write it.")
        raise


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
