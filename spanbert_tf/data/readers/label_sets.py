"""Texts that have several labels, or none: how files say it, and labels as rows of 0 and 1.

- A list in JSON lines: `{"text": "...", "labels": ["sport", "money"]}`.
- One column whose labels stand side by side: `sport|money`, with the separator that is named.
- A column a label, 1 where the text has it: `toxic` and `insult` of `text,toxic,insult`.

Letters: n examples, c classes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from spanbert_tf.data.readers.lines import DataError, quote

Labels = tuple[str, ...]

_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True, "": False}


def labels_of_value(value: Any, separator: str | None) -> Any:
    """Makes a tuple of labels of what a file has for them.

    Args:
        value: What it has.
        separator: What parts labels in a string; `None`: a string is one label.

    Returns:
        A tuple of strings for a list, or for a string where there is a separator; else `value`.

    Raises:
        ValueError: A list has what is no label, or one twice.
    """
    if isinstance(value, str) and separator is not None:
        value = [part for part in value.split(separator) if part.strip()]
    if not isinstance(value, list):
        return value
    names = []
    for item in value:
        if type(item) not in (str, int) or not str(item).strip():  # `type`: True is an int.
            raise ValueError(f"expected a label, a string or an integer, found {item!r:.80}")
        names.append(str(item).strip())
    if len(set(names)) < len(names):
        raise ValueError(f"a label stands twice in {names!r:.80}")
    return tuple(names)


def labels_of_columns(record: dict[str, Any], columns: Sequence[str]) -> Labels:
    """Names the columns that say 1.

    Raises:
        ValueError: A column is missing, or says neither 0 nor 1.
    """
    names = []
    values = {name.strip(): value for name, value in record.items()}
    for name in map(str.strip, columns):
        if name not in values:
            raise ValueError(f"there is no column {name!r}")
        shown = str(values[name]).strip().lower()
        if shown not in _FLAGS:
            raise ValueError(f"expected 0 or 1 in the column {name!r}, found {values[name]!r:.80}")
        names += [name] if _FLAGS[shown] else []
    return tuple(names)


def label_sets_of(examples: Iterable[Any]) -> list[Labels]:
    """The labels of examples, of those with one label too."""
    labels = [() if example.label is None else example.label for example in examples]
    return [of if isinstance(of, tuple) else (of,) for of in labels]


def are_label_sets(examples: Sequence[Any]) -> bool:
    """Whether examples may have several labels each.

    Raises:
        DataError: Some may, and others have one.
    """
    several = [isinstance(example.label, tuple) for example in examples]
    if any(several) and not all(several):
        lone = examples[several.index(False)]
        raise DataError(
            f"{lone.path}, line {lone.line}: expected a list of labels, which others have, found "
            f"{quote(lone.label)}."
        )
    return any(several)


def encode_label_sets(examples: Sequence[Any], class_names: Sequence[str]) -> np.ndarray:
    """Labels of examples as rows of 0 and 1: float32 `[n, c]`.

    Raises:
        DataError: A label is not among `class_names`.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    matrix = np.zeros((len(examples), len(class_names)), np.float32)
    for row, labels in enumerate(label_sets_of(examples)):
        for label in labels:
            if label not in numbers:
                raise unknown_label(examples[row], label, class_names)
            matrix[row, numbers[label]] = 1
    return matrix


def unknown_label(example: Any, label: object, class_names: Sequence[str]) -> DataError:
    """Says that an example has a label which is no class."""
    known = ", ".join(map(quote, class_names[:10]))
    known += f" and {len(class_names) - 10} more" if len(class_names) > 10 else ""
    return DataError(
        f"{example.path}, line {example.line}: unknown label {quote(label)}; expected one of "
        f"{known}."
    )


def label_strata(examples: Sequence[Any], fewest: int = 10) -> np.ndarray:
    """Numbers the kinds of examples of which each part of the data shall have its share.

    The kind of an example is its label; of several the rarest, so that rare labels come into every
    part.

    Args:
        examples: The examples.
        fewest: Of sets of labels, kinds of fewer examples are counted to the largest one.

    Returns:
        int64 `[n]`.
    """
    label_sets = label_sets_of(examples)
    count = {name: 0 for labels in label_sets for name in labels}
    for labels in label_sets:
        for name in labels:
            count[name] += 1
    rarest = [
        min(labels, key=lambda name: (count[name], name), default="") for labels in label_sets
    ]
    _, kinds, sizes = np.unique(rarest, return_inverse=True, return_counts=True)
    if not are_label_sets(examples):
        return kinds
    return np.where(sizes[kinds] < fewest, np.argmax(sizes), kinds)
