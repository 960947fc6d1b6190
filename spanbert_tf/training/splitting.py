"""Parts of a data set in which every class has its share."""

from typing import Any

import numpy as np


def stratified_folds(labels: Any, folds: int, seed: int) -> np.ndarray:
    """Deals rows to folds, class by class.

    Sizes of two folds differ by one row at most, and so do the numbers of a class's rows.

    Args:
        labels: int `[rows]`.
        folds: Number of folds, at least 2.
        seed: Seed of the order within a class.

    Returns:
        int64 `[rows]`, the fold of each row, in `[0, folds)`.

    Raises:
        ValueError: There are fewer than 2 folds, or fewer rows of a class than folds.
    """
    labels = np.asarray(labels)
    if folds < 2:
        raise ValueError(f"`folds` must be at least 2, but is {folds}.")
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < folds:
        rarest = classes[counts.argmin()]
        raise ValueError(
            f"{folds} folds need {folds} rows of each class, but class {rarest} has "
            f"{counts.min()}: use fewer folds."
        )
    dealt = np.empty(len(labels), np.int64)
    dealt[_by_class(labels, seed)] = np.arange(len(labels)) % folds
    return dealt


def stratified_split(labels: Any, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Parts rows in two, class by class; each class keeps a row in the first part.

    Args:
        labels: int `[rows]`.
        fraction: The share of the second part, above 0, 0.5 at most.
        seed: Seed of the choice.

    Returns:
        The rows of both parts, int64, ascending.  A class's share of the second part is within
        one row of `fraction`.

    Raises:
        ValueError: `fraction` is out of its range, or the second part would be empty.
    """
    labels = np.asarray(labels)
    if not 0 < fraction <= 0.5:
        raise ValueError(f"`fraction` must be above 0 and 0.5 at most, but is {fraction}.")
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = _by_class(labels, seed)
    order = order[counts[inverse[order]] > 1]  # A lone row of its class is needed for training.
    # Every (1 / fraction)-th row: at 0.5 or less no two in a row, so a pair is always parted.
    ticks = np.floor(np.arange(len(order) + 1) * fraction + 0.5)
    second = np.sort(order[np.diff(ticks) > 0])
    if not second.size:
        raise ValueError(
            f"{fraction} of {len(labels)} rows is not one row, as each class keeps one: hold out a "
            "larger part or nothing (0), or give validation data."
        )
    return np.setdiff1d(np.arange(len(labels)), second), second


def _by_class(labels: np.ndarray, seed: int) -> np.ndarray:
    """All rows, one class after the other, shuffled within each."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return order[np.argsort(labels[order], kind="stable")]
