"""Labels that people give, as the numbers that networks learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def number_labels(y: Any, num_classes: int, class_names: Sequence[str] | None) -> Any:
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


def number_tensor(name: str, values: Any, rows: int) -> tf.Tensor:
    """Makes a tensor of labels or weights, one for each row.

    Args:
        name: What messages call them.
        values: Numbers `[rows, ...]`.
        rows: How many rows there are.

    Raises:
        ValueError: They are no numbers, or not as many as there are rows.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"`{name}` must be numbers, but is of dtype {array.dtype}; "
            "`readers.tables.encode_labels` numbers labels that are strings."
        )
    if array.shape[:1] != (rows,):
        raise ValueError(f"`{name}` has the shape {array.shape}, but there are {rows} rows.")
    return tf.constant(array)
