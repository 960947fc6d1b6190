"""Labels that people give, as the numbers that networks learn."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.texts import as_str

# Those that take a row of numbers for each text: classes, then functions.
_ONE_HOT_LOSSES = (
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.KLDivergence,
    keras.losses.categorical_crossentropy,
    keras.losses.categorical_focal_crossentropy,
    keras.losses.kl_divergence,
)


def number_labels(
    y: Any,
    num_classes: int,
    class_names: Sequence[str] | None,
    one_hot: bool | None = None,
) -> Any:
    """Numbers labels that are names, and checks those that are numbers already.

    Args:
        y: Labels `[rows]` or `[rows, 1]`, names or integers, or one-hot `[rows, num_classes]`;
            anything else is handed through.
        num_classes: Number of classes.
        class_names: Names of the classes, or `None`.
        one_hot: Whether they are wanted as one-hot rows, or as numbers; `None`: as they are.

    Returns:
        int32 `[rows]` for names, else `y`; or float32 `[rows, num_classes]`.

    Raises:
        ValueError: A label is unknown, or there are names in a data set or without `class_names`.
    """
    if y is None:
        return None
    if tf.is_tensor(y) and not tf.executing_eagerly():
        if y.dtype == tf.string:
            raise ValueError("labels in a data set must be integers, but are strings.")
        return _as_wanted(y, num_classes, one_hot)
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = y = labels[:, 0]
    if labels.ndim == 1 and labels.dtype.kind in "USOT":
        labels = y = _number_names(labels.tolist(), class_names)
    if labels.ndim == 1 and labels.dtype.kind in "iuf":
        _check_numbers(labels, num_classes)
        if labels.dtype.kind == "f":
            y = labels = labels.astype(np.int64)
    if labels.ndim == 2 and one_hot is False and labels.shape[1] == num_classes:
        _check_one_hot(labels)
    return _as_wanted(y if one_hot is None else labels, num_classes, one_hot)


def _as_wanted(y: Any, num_classes: int, one_hot: bool | None) -> Any:
    """Numbers as one-hot rows or the other way round, by the graph's operations if it is one's."""
    if one_hot is None:
        return y
    is_graph = tf.is_tensor(y)
    rank = y.shape.rank if is_graph else np.ndim(y)
    if one_hot and rank == 1 and (is_graph or y.dtype.kind in "iu"):
        return tf.one_hot(y, num_classes) if is_graph else np.eye(num_classes, dtype="float32")[y]
    if not one_hot and rank == 2 and y.shape[1] == num_classes:
        return tf.argmax(y, 1, tf.int32) if is_graph else np.argmax(y, 1).astype("int32")
    return y


def _check_numbers(labels: np.ndarray, num_classes: int) -> None:
    # 0.5 would be taken for 0, and no number for whatever the cast gives.
    is_right = (labels >= 0) & (labels < num_classes) & (labels == np.round(labels))
    wrong = np.flatnonzero(~is_right)
    if wrong.size:
        raise ValueError(
            f"`y`[{wrong[0]}] must be a label from 0 to {num_classes - 1}, "
            f"but is {labels[wrong[0]]}."
        )


def _check_one_hot(labels: np.ndarray) -> None:
    is_right = ((labels == 0) | (labels == 1)).all(1) & (labels.sum(1) == 1)
    wrong = np.flatnonzero(~is_right)
    if wrong.size:
        raise ValueError(
            f"`y`[{wrong[0]}] must be a class's number, or 1 for one class and 0 for the others, "
            f"but is {labels[wrong[0]].tolist()!r:.80}; parts of several classes need "
            "`loss=keras.losses.CategoricalCrossentropy(from_logits=True)`."
        )


def takes_one_hot(loss: Any) -> bool | None:
    """Whether a loss takes labels as one-hot rows, or as numbers; `None`: it is not known."""
    try:
        loss = keras.losses.get(loss)
    except (ValueError, TypeError):  # Keras says what is wrong with it.
        return None
    if isinstance(loss, _ONE_HOT_LOSSES[:3]) or loss in _ONE_HOT_LOSSES[3:]:
        return True
    is_sparse = isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
    return False if is_sparse or loss is keras.losses.sparse_categorical_crossentropy else None


def class_weights(
    given: Any, num_classes: int, class_names: Sequence[str] | None = None
) -> np.ndarray:
    """Lists the weight of each class.

    Args:
        given: A dictionary by the numbers or names of classes, of which those that are missing have
            the weight 1; or numbers `[num_classes]`.
        num_classes: Number of classes.
        class_names: Names of the classes, or `None`.

    Returns:
        float32 `[num_classes]`.

    Raises:
        ValueError: A class is unknown, there are not as many weights as classes, or one is below 0,
            infinite or no number.
    """
    weights = np.ones(num_classes, np.float32)
    if isinstance(given, Mapping):
        numbers = {name: number for number, name in enumerate(class_names or ())}
        known = [*numbers, *range(num_classes)]
        for key, weight in given.items():
            if key not in known:
                raise ValueError(
                    f"`class_weight` has the class {key!r}; expected one of "
                    f"{', '.join(map(repr, known[:10]))}{' ...' if len(known) > 10 else ''}."
                )
            weights[numbers.get(key, key)] = weight
    else:
        array = np.asarray(given)
        if array.shape != (num_classes,) or array.dtype.kind not in "iuf":
            raise ValueError(
                f"`class_weight` must be a dictionary, or {num_classes} numbers, one for each "
                f"class, but is {given!r:.80}."
            )
        weights = array.astype(np.float32)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"`class_weight` must be numbers from 0 on, but is {given!r:.80}.")
    return weights


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
