"""Labels that people give, as the numbers that networks learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.texts import as_str


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
    if labels.ndim == 1 and labels.dtype.kind == "f":
        # 0.5 would be taken for 0, and no number for whatever the cast gives.
        broken = np.flatnonzero(~np.equal(labels, np.round(labels)) | ~np.isfinite(labels))
        if broken.size:
            raise ValueError(
                f"`y`[{broken[0]}] must be a label from 0 to {num_classes - 1}, "
                f"but is {labels[broken[0]]}."
            )
        y = labels = labels.astype(np.int64)
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if wrong.size:
            raise ValueError(
                f"`y`[{wrong[0]}] must be a label from 0 to {num_classes - 1}, "
                f"but is {labels[wrong[0]]}."
            )
    return y


def number_label_sets(y: Any, num_classes: int, class_names: Sequence[str] | None) -> Any:
    """Makes rows of 0 and 1 of the labels of texts that may have several, or none.

    Args:
        y: Of each text a list of names; or numbers `[rows, num_classes]`, 1 at the classes that it
            has and 0 elsewhere.
        num_classes: Number of classes.
        class_names: Names of the classes, or `None`.

    Returns:
        float32 `[rows, num_classes]`.

    Raises:
        ValueError: A label is unknown, or `y` is of another form.
    """
    if y is None:
        return None
    if tf.is_tensor(y) and not tf.executing_eagerly():
        if y.dtype == tf.string or y.shape.rank != 2:
            raise ValueError(
                f"labels in a data set must be rows of {num_classes} numbers, 0 or 1, but are {y}."
            )
        return tf.cast(y, tf.float32)
    rows = y if isinstance(y, list | tuple) else np.asarray(y).tolist()
    if all(isinstance(row, list | tuple) and all(_is_name(item) for item in row) for row in rows):
        return _matrix_of_names(rows, num_classes, class_names)
    matrix = np.asarray(y)
    if matrix.dtype.kind not in "biuf" or matrix.shape[1:] != (num_classes,):
        raise ValueError(
            f"`y` must be a list of names for each text, or numbers of the shape "
            f"({len(rows)}, {num_classes}), but is {y!r:.200}."
        )
    wrong = np.flatnonzero(~np.isin(matrix, (0, 1)).all(axis=1))
    if wrong.size:
        raise ValueError(f"`y`[{wrong[0]}] must be made of 0 and 1, but is {matrix[wrong[0]]}.")
    return matrix.astype(np.float32)


def _is_name(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _matrix_of_names(
    rows: Sequence[Any], num_classes: int, class_names: Sequence[str] | None
) -> np.ndarray:
    names = [name for row in rows for name in row]
    places = [place for place, row in enumerate(rows) for _ in row]
    matrix = np.zeros((len(rows), num_classes), np.float32)
    if names:
        matrix[places, _number_names(names, class_names, places)] = 1
    return matrix


def _number_names(
    labels: list[Any], class_names: Sequence[str] | None, places: Sequence[int] | None = None
) -> np.ndarray:
    """Numbers of names; `places` tells which row of `y` each is of, if not its own."""
    if class_names is None:
        raise ValueError(
            f"`y` holds names, such as {labels[0]!r}, but the classifier knows none: pass "
            "`class_names` where it is made."
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    names = list(map(as_str, labels))
    for row, name in enumerate(names):
        if name not in numbers:
            known = ", ".join(map(repr, class_names))
            row = row if places is None else places[row]
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
