"""What a task's `fit`, `evaluate` and `predict` make of texts and labels in memory."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.data.pipeline import BucketedBatches


def text_columns(x: Any) -> list[list[Any]] | None:
    """Lists the texts of each segment.

    Args:
        x: Strings `[rows]` as a list, array or tensor, or a tuple of such.

    Returns:
        One list of `rows` texts a segment; `None` for what is not in memory, such as a data set.
    """
    columns = []
    for column in x if isinstance(x, tuple) else (x,):
        if tf.is_tensor(column) and tf.executing_eagerly():
            column = column.numpy()
        if hasattr(column, "__array__"):
            column = np.asarray(column, object).tolist()
        if not isinstance(column, list):
            return None
        columns.append(column)
    return columns


def encode_labels(y: Any, num_classes: int, class_names: Sequence[str] | None) -> Any:
    """Numbers labels that are names, and checks those that are numbers already.

    Args:
        y: Labels `[rows]`, names or integers; anything else is handed through.
        num_classes: Number of classes.
        class_names: Names of the classes, or `None`.

    Returns:
        int32 `[rows]` for names, else `y`.

    Raises:
        ValueError: A label is unknown, or there are names in a data set or without `class_names`.
    """
    if y is None:
        return None
    if tf.is_tensor(y) and not tf.executing_eagerly():
        if y.dtype == tf.string:
            raise ValueError("labels in a data set must be integers, but are strings.")
        return y
    labels = np.asarray(y)
    if labels.ndim == 1 and labels.dtype.kind in "USOT":
        return _number_names(labels.tolist(), class_names)
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if wrong.size:
            raise ValueError(
                f"`y`[{wrong[0]}] must be a label from 0 to {num_classes - 1}, "
                f"but is {labels[wrong[0]]}."
            )
    return y


def _number_names(labels: list[Any], class_names: Sequence[str] | None) -> np.ndarray:
    if class_names is None:
        raise ValueError(
            f"`y` holds names, such as {labels[0]!r}, but the classifier knows none: pass "
            "`class_names` where it is made."
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    names = [label.decode() if isinstance(label, bytes) else label for label in labels]
    for row, name in enumerate(names):
        if name not in numbers:
            known = ", ".join(map(repr, class_names))
            raise ValueError(f"`y`[{row}] must be one of {known}, but is {name!r}.")
    return np.array([numbers[name] for name in names], np.int32)


def split_rows(
    columns: list[list[Any]], y: Any, sample_weight: Any, part: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Parts the last rows from the others, as the `validation_split` of Keras does.

    Args:
        columns: As `text_columns` gives them.
        y: Labels `[rows]`, or `None`.
        sample_weight: Weights `[rows]`, or `None`.
        part: The part of the rows that is parted, 0 to 1.

    Returns:
        `(columns, y, sample_weight)` to train on, and `(x, y, sample_weight)` to validate on.

    Raises:
        ValueError: One of the two would be empty.
    """
    rows = len(columns[0])
    at = int(rows * (1 - part))
    if not 0 < at < rows:
        raise ValueError(f"`validation_split={part}` of {rows} texts leaves one side empty.")
    kept, parted = slice(0, at), slice(at, rows)

    def rows_of(values: Any, of: slice) -> Any:
        return None if values is None else np.asarray(values)[of]

    return (
        ([column[kept] for column in columns], rows_of(y, kept), rows_of(sample_weight, kept)),
        (
            tuple(column[parted] for column in columns),
            rows_of(y, parted),
            rows_of(sample_weight, parted),
        ),
    )


class EpochNumber(keras.callbacks.Callback):
    """Tells batches which epoch comes next, so that a resumed run sees the order it would have.

    Args:
        batches: What the model is trained on.
    """

    def __init__(self, batches: BucketedBatches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.epoch = epoch


def with_callback(callbacks: Any, callback: keras.callbacks.Callback) -> Any:
    """Adds a callback to those that `fit` was given, in any of the forms that Keras takes."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(callback)
        return callbacks
    return [*keras.tree.flatten(callbacks or []), callback]


def global_seed() -> int:
    """Draws a seed as Keras' own layers do: `keras.utils.set_random_seed` decides it."""
    state = keras.random.SeedGenerator().state
    return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(state))[0])
