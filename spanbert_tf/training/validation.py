"""What is done with the validation data of a fine-tuning run after each epoch."""

from collections.abc import Sequence
from typing import Any

import keras

from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.settings import FineTuning


class Validation(keras.callbacks.Callback):
    """Tunes and scores a task after each epoch; callbacks after it find `val_*` in the logs.

    Args:
        records: What to score it on.
        out_of_scope: Columns of texts that it should tell from the records, or `None`.
    """

    def __init__(self, records: Sequence[Any], out_of_scope: Columns | None = None) -> None:
        super().__init__()
        self.records = records
        self.out_of_scope = out_of_scope

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Scores."""
        figures = self.model.assess(self.records, tune=True, out_of_scope=self.out_of_scope)
        logs.update({f"val_{name}": value for name, value in figures.items()})

    def check(
        self, of: type[SpanBertTask], head: dict[str, Any], settings: FineTuning
    ) -> str | None:
        """Finds the key of the logs that tells which epoch is best.

        Args:
            of: The task's class.
            head: What the training data decides, see `SpanBertTask.head_arguments`.
            settings: How it is trained.

        Returns:
            The key; `None` without records.

        Raises:
            ValueError: There is no such figure, or something else needs records.
        """
        if self.out_of_scope is not None and not of.rejects(head):
            raise ValueError(
                "`out_of_scope` is for text-classification where each text has one label: "
                "elsewhere no answer is refused."
            )
        for name, given in (
            ("patience", settings.patience),
            ("out_of_scope", self.out_of_scope),
        ):
            if given is not None and not self.records:
                raise ValueError(f"`{name}` needs validation data, but there is none.")
        known = (*of.figures_of(head, self.records), "loss")
        name = (settings.monitor or known[0]).removeprefix("val_")
        if name not in known:
            raise ValueError(f"`monitor` must be one of {known}, but is {settings.monitor!r}.")
        return f"val_{name}" if self.records else None
