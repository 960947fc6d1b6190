"""The settings of a run, each with its explanation.  Imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

MONITORS = ("val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1")
POOLINGS = ("cls", "mean")


def _setting(default: Any, of: type, explanation: str, choices: Sequence[str] = ()) -> Any:
    metadata = {"type": of, "help": explanation} | ({"choices": choices} if choices else {})
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class FineTuning:
    """How a classifier is fine-tuned.

    Each field explains itself to the command line: `field.metadata`, of `dataclasses.fields`, has
    its `type`, `help` and, where they are few, its `choices`.

    Raises:
        ValueError: A setting is out of its range.
    """

    epochs: int = _setting(3, int, "passes over the training texts")
    batch_size: int = _setting(32, int, "texts in a training step")
    learning_rate: float = _setting(5e-5, float, "highest learning rate, reached after the warm-up")
    warmup_proportion: float = _setting(
        0.1, float, "part of the steps in which the learning rate rises; it falls in the others"
    )
    weight_decay: float = _setting(
        0.01, float, "decoupled weight decay; biases and layer norms have none"
    )
    clip_norm: float = _setting(1.0, float, "largest norm of a step's gradients")
    sequence_length: int = _setting(128, int, "most tokens of a text that are read")
    pooling: str = _setting(
        "cls", str, "what stands for a text: the state of its [CLS], or the mean state", POOLINGS
    )
    dropout: float = _setting(0.1, float, "part of the head's inputs dropped in training")
    seed: int = _setting(0, int, "seed of all that is random: the same seed, the same model")
    validation_fraction: float = _setting(
        0.1, float, "part of the training texts held out if there is no validation file"
    )
    monitor: str = _setting("val_accuracy", str, "what makes an epoch the best", MONITORS)
    patience: int | None = _setting(
        None, int, "stop after this many epochs without a better one; None: go on"
    )
    dtype: str | None = _setting(
        None, str, "dtype policy of the network, such as mixed_bfloat16; None: the encoder's"
    )

    def __post_init__(self) -> None:
        checks = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "warmup_proportion": (0 <= self.warmup_proportion < 1, "from 0 to below 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or above"),
            "clip_norm": (self.clip_norm > 0, "above 0"),
            "sequence_length": (self.sequence_length >= 3, "at least 3"),
            "pooling": (self.pooling in POOLINGS, f"one of {POOLINGS}"),
            "dropout": (0 <= self.dropout < 1, "from 0 to below 1"),
            "seed": (0 <= self.seed < 2**32, "from 0 to below 2 ** 32"),
            "validation_fraction": (0 <= self.validation_fraction <= 0.5, "from 0 to 0.5"),
            "monitor": (self.monitor in MONITORS, f"one of {MONITORS}"),
            "patience": (self.patience is None or self.patience >= 1, "at least 1, or None"),
        }
        for setting in fields(self):
            fits, expected = checks.get(setting.name, (True, ""))
            if not fits:
                value = getattr(self, setting.name)
                raise ValueError(f"`{setting.name}` must be {expected}, but is {value!r}.")
