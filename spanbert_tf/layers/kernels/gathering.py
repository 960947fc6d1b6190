"""Rows of states at given positions.

Letters: b batch, s sequence, p positions, H hidden.
"""

from typing import Any

from keras import ops


def take_positions(x: Any, positions: Any) -> Any:
    """Picks some positions of each row.

    Args:
        x: `[b, s, H]`.
        positions: int `[b, p]`, in `[0, s)`.

    Returns:
        `[b, p, H]`, of the dtype of `x`.

    Example:
        `[[[5], [6], [7]]]` at `[[2, 0]]` is `[[[7], [5]]]`.
    """
    batch, length, hidden = ops.shape(x)
    count = ops.shape(positions)[1]
    # One lookup in flat rows: of all forms of it, the one whose gradient is a plain sum of rows.
    first = ops.arange(batch, dtype=positions.dtype)[:, None] * length
    rows = ops.take(ops.reshape(x, (-1, hidden)), ops.reshape(first + positions, (-1,)), axis=0)
    return ops.reshape(rows, (-1, count, hidden))


def take_values(x: Any, positions: Any) -> Any:
    """Picks some values of each row.

    Args:
        x: `[b, s]`.
        positions: int `[b, p]`, in `[0, s)`.

    Returns:
        `[b, p]`, of the dtype of `x`.

    Example:
        `[[5, 6, 7]]` at `[[2, 0]]` is `[[7, 5]]`.
    """
    batch, length = ops.shape(x)
    first = ops.expand_dims(ops.arange(batch, dtype=positions.dtype) * length, 1)
    flat = ops.take(ops.reshape(x, (-1,)), ops.reshape(first + positions, (-1,)), axis=0)
    return ops.reshape(flat, (-1, ops.shape(positions)[1]))
