"""Random numbers as a pure function of what they are for: Threefry-2x32, a counter-based generator.

`tf.random.stateless_uniform` and `keras.random` take one seed a call, so the numbers of a row would
depend on where it stands in which batch.  Here each row brings its own key and counter, and they
come out the same on every backend.

Words of 32 bits travel as int32, negative ones too: it is the one type of integers that every Keras
backend adds, shifts and xors on every device.
"""

from typing import Any

import numpy as np
from keras import ops

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA

Words = tuple[Any, Any]


def threefry_2x32(key: Words, counter: Words) -> Words:
    """Scrambles counters under a key: Threefry-2x32 with 20 rounds (Salmon et al., 2011).

    Args:
        key: Two int32 tensors.
        counter: Two int32 tensors.  The four are of shapes that broadcast.

    Returns:
        Two int32 tensors of independent random bits.

    Example:
        The key `(0, 0)` and the counter `(0, 0)` give `(0x6B200159, 0x99BA4EFE)`.
    """
    keys = (*key, ops.bitwise_xor(ops.bitwise_xor(key[0], key[1]), PARITY))
    first, second = counter[0] + key[0], counter[1] + key[1]
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            first = first + second
            second = ops.bitwise_xor(_rotated_left(second, distance), first)
        first = first + keys[(group + 1) % 3]
        second = second + (keys[(group + 2) % 3] + (group + 1))
    return first, second


def _rotated_left(word: Any, distance: int) -> Any:
    # Shifted right, an int32 draws copies of its sign after it.
    low = ops.bitwise_and(ops.right_shift(word, 32 - distance), (1 << distance) - 1)
    return ops.bitwise_or(ops.left_shift(word, distance), low)


def unsigned(word: Any, bits: int) -> Any:
    """The top bits of random words, 31 at most, as a number: int32 from 0 below `2**bits`."""
    return ops.bitwise_and(ops.right_shift(word, 32 - bits), (1 << bits) - 1)


def below(word: Any, limit: Any) -> Any:
    """Turns random words into whole numbers that are uniform below a limit.

    The top 24 bits, all that a float32 holds, are scaled.  Each number is met by as many of the
    2**24 values as the next one, give or take one: probabilities are off by `limit / 2**24` of
    themselves at most, 3e-5 for a row of 512 pieces.

    Args:
        word: int32, random bits.
        limit: int32 that broadcasts with it, at least 1 and well below 2**24.

    Returns:
        int32, from 0 to `limit - 1`.
    """
    share = ops.cast(unsigned(word, 24), "float32") * 2.0**-24
    # The product of a limit and the largest share, 1 - 2**-24, never rounds up to the limit.
    return ops.cast(share * ops.cast(limit, "float32"), "int32")


def alias_table(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes a table from which numbers are drawn by weight in two look-ups (Walker, 1977).

    A uniform index stands for itself if a 24-bit number is below its limit, else for its alias.

    Args:
        weights: `[n]`, above 0.

    Returns:
        Limits, int32 `[n]`, from 0 to 2**24, and aliases, int32 `[n]`.
    """
    shares = weights / weights.sum() * len(weights)
    aliases = np.arange(len(weights))
    small, large = [list(np.flatnonzero(part)) for part in (shares < 1, shares >= 1)]
    while small and large:
        poor, rich = small.pop(), large[-1]
        aliases[poor] = rich
        shares[rich] -= 1 - shares[poor]
        if shares[rich] < 1:
            small.append(large.pop())
    shares[small + large] = 1  # What rounding left over.
    return np.round(shares * 2**24).astype("int32"), aliases.astype("int32")


def drawing_table(is_special: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Makes the table that `drawn_ids` draws random pieces by.

    Args:
        is_special: bool `[v]`, true at the pieces that are never drawn.
        weights: float `[v]`, how often each piece is drawn.  `None`: all alike.

    Returns:
        int32 `[ids, 3]`: an id, its limit and its alias, see `alias_table`.

    Raises:
        ValueError: The weights are not v numbers of at least 0, or all of them are 0.
    """
    share = np.where(is_special, 0.0, 1.0)
    if weights is not None:
        if weights.shape != share.shape:
            raise ValueError(
                f"`random_token_weights` must have the shape {list(share.shape)}; "
                f"received {list(weights.shape)}"
            )
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("`random_token_weights` must be finite and at least 0")
        share *= weights
    ids = np.flatnonzero(share)
    if not ids.size:
        raise ValueError("`random_token_weights` must leave a piece that is not special")
    limits, aliases = alias_table(share[ids])
    return np.stack([ids, limits, ids[aliases]], axis=1).astype("int32")


def drawn_ids(table: np.ndarray, word: Any, coin: Any) -> Any:
    """Draws ids by a `drawing_table` from two words of random bits each, int32 `[...]`."""
    found = ops.take(ops.convert_to_tensor(table), below(word, len(table)), axis=0)  # [..., 3]
    own_id, limit, alias_id = (found[..., column] for column in range(3))
    return ops.where(unsigned(coin, 24) < limit, own_id, alias_id)
