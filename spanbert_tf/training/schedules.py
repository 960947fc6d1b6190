"""Learning rate schedules that Keras lacks."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("spanbert_tf")
class WarmUpLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to a peak, then falls linearly to 0: BERT's schedule (Devlin et al., 2019).

    The rate of step t, counted from 1, is `peak * t / warmup_steps` up to `warmup_steps` and
    `peak * (total_steps + 1 - t) / (total_steps + 1 - warmup_steps)` from there: BERT's a step
    earlier, so that neither the first step nor the last has rate 0.

        peak 1.0, 2 of 5 steps warm-up -> 0.5, 1.0, 0.75, 0.5, 0.25, 0

    Args:
        peak: The highest learning rate.
        total_steps: Steps of the whole run, at least 1; later steps have rate 0.
        warmup_steps: Steps of the rise, from 0 to `total_steps`.

    Raises:
        ValueError: The numbers of steps do not fit.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int = 0) -> None:
        super().__init__()
        if not 0 <= warmup_steps <= total_steps or total_steps < 1:
            raise ValueError(
                "expected 0 <= warmup_steps <= total_steps and at least one step in all, got "
                f"warmup_steps={warmup_steps} and total_steps={total_steps}."
            )
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        """Gives the learning rate of a step, counted from 0 as Keras counts."""
        number = ops.cast(step, "float32") + 1.0
        rise = number / max(self.warmup_steps, 1)
        fall = (self.total_steps + 1 - number) / (self.total_steps + 1 - self.warmup_steps)
        part = ops.where(number < self.warmup_steps, rise, ops.maximum(fall, 0.0))
        return self.peak * part

    def get_config(self) -> dict[str, Any]:
        """The arguments of the class."""
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
        }
