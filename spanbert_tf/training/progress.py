"""How far an epoch is, where no progress bar is seen."""

from collections.abc import Callable
from typing import Any

import keras

LINES = 10
FEWEST_STEPS = 2 * LINES  # Of a shorter epoch its own line is enough.


class EpochLines(keras.callbacks.Callback):
    """Writes a line at each tenth of an epoch's steps.

    Args:
        write: Takes the lines.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self.write = write
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes its line, but at the end, where Keras has its own."""
        steps, done = self.params.get("steps") or 0, batch + 1
        if steps < FEWEST_STEPS or done % (steps // LINES) or done > steps - steps // LINES:
            return
        self.write(
            f"epoch {self.epoch + 1} of {self.params['epochs']}, step {done:,} of {steps:,}: "
            f"loss {float(logs['loss']):.4f}"
        )
