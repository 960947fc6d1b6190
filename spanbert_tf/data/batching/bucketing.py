"""Length buckets: which padded lengths to use, which rows share a batch, what padding costs.

Pure functions of numpy arrays; `pipeline.py` turns their plans into data sets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spanbert_tf.features import PADDING_MASK

# A bucket's leftover rows make a batch of their own if they fill this part of the token budget.
# Fewer move up to the next bucket: a batch of a handful of rows is slow and its gradient noisy.
LEAST_FILL = 0.25

# Rows are sorted by length within stretches of this many batches: enough for little padding, few
# enough for new neighbours each epoch.
SORTED_BATCHES = 100


@dataclass(frozen=True)
class PaddingReport:
    """What padding costs over some batches.

    Attributes:
        tokens: Tokens that are not padding.
        padded_tokens: Tokens computed on, padding counted.
        batches: Number of batches.
        shapes: Number of different batch shapes, each of which XLA compiles once.
    """

    tokens: int
    padded_tokens: int
    batches: int
    shapes: int

    @property
    def waste(self) -> float:
        """The share of the computed tokens that is padding, 0 to 1."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0

    def __str__(self) -> str:
        return (
            f"{self.waste:.1%} padding ({self.tokens:,} of {self.padded_tokens:,} tokens used), "
            f"{self.batches:,} batches, {self.shapes} shapes"
        )


@dataclass(frozen=True)
class BatchPlan:
    """Which rows make up each batch of an epoch, in order, and how long they are padded.

    Attributes:
        rows: int64 `[rows]`, row numbers, batch after batch.  Of packed rows: int64 `[blocks]`,
            numbers of the blocks, row after row.
        splits: int64 `[batches + 1]`; batch i holds `rows[splits[i]:splits[i + 1]]`, or those
            packed rows.
        lengths: int32 `[batches]`, padded lengths.
        row_splits: int64 `[rows + 1]`; packed row j holds `rows[row_splits[j]:row_splits[j + 1]]`.
            `None`: rows are not packed.
    """

    rows: np.ndarray
    splits: np.ndarray
    lengths: np.ndarray
    row_splits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def report(self, row_lengths: np.ndarray) -> PaddingReport:
        """Counts the padding of the plan, given the length of each row or block, int `[rows]`."""
        sizes = np.diff(self.splits)
        return PaddingReport(
            tokens=int(row_lengths[self.rows].sum()),
            padded_tokens=int((sizes * self.lengths).sum()),
            batches=len(self),
            shapes=len(set(zip(sizes.tolist(), self.lengths.tolist(), strict=True))),
        )


def default_buckets(max_length: int) -> tuple[int, ...]:
    """Gives the padded lengths to use where the lengths of the data are not known.

    Multiples of 8, two an octave (8, 12, 16, 24, 32, 48, ...) up to `max_length`: a batch is at
    most a half longer than its longest row, for 13 shapes up to 512.
    """
    if max_length < 1:
        raise ValueError(f"`max_length` must be positive, but is {max_length}.")
    powers = [8 << exponent for exponent in range(max_length.bit_length())]
    ladder = sorted({*powers, *(power * 3 // 2 for power in powers)})
    return (*(length for length in ladder if length < max_length), max_length)


def choose_bucket_boundaries(
    lengths: Sequence[int] | np.ndarray,
    num_buckets: int = 16,
    multiple_of: int = 1,
    max_length: int | None = None,
) -> tuple[int, ...]:
    """Chooses the padded lengths with the least padding, exactly.

    Each row is padded to the first boundary that is not below its length.  A boundary that is no
    row's length can be lowered to one at no cost, so the lengths that occur are the candidates;
    the best choice of k of them that ends at a given candidate is found from those of k - 1.
    Lengths above 512 are taken to nine bits, at most 0.4 % too long, which bounds the candidates.

    Args:
        lengths: Tokens of each row, `[rows]`, special tokens counted.
        num_buckets: The most boundaries to use.
        multiple_of: Boundaries are multiples of this, `max_length` excepted.
        max_length: Where longer rows are cut.  `None`: they are not.

    Returns:
        The boundaries, ascending, the last at or above every (cut) length.

    Raises:
        ValueError: There are no lengths, or an argument is below 1.
    """
    lengths = np.asarray(lengths, np.int64)
    if lengths.size == 0 or lengths.min() < 1:
        raise ValueError("`lengths` must be one or more positive numbers.")
    for name, value in (("num_buckets", num_buckets), ("multiple_of", multiple_of)):
        if value < 1:
            raise ValueError(f"`{name}` must be positive, but is {value}.")
    multiples = multiple_of << np.maximum(np.frexp((lengths - 1) / multiple_of)[1] - 9, 0)
    rounded = -(-lengths // multiples) * multiples
    if max_length is not None:
        rounded = np.minimum(rounded, max_length)
    candidates, counts = np.unique(rounded, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])  # rows at or below the i-th boundary
    total = len(candidates)

    # step[i, j]: tokens computed on for the rows above the first i candidates up to the j-th.
    ends = np.arange(1, total + 1)
    step = (below[ends] - below[:-1, None]) * candidates[ends - 1].astype(np.float64)
    step[np.arange(total)[:, None] >= ends] = np.inf
    cost = step[0]
    previous = []
    for _ in range(1, min(num_buckets, total)):
        through = np.concatenate([[0], cost[:-1]])[:, None] + step
        previous.append(through.argmin(axis=0))
        cost = through.min(axis=0)
    chosen = [total - 1]
    for best in reversed(previous):
        last = best[chosen[-1]]
        if last == 0:
            break
        chosen.append(last - 1)
    return tuple(int(candidates[number]) for number in reversed(chosen))


def plan_batches(
    lengths: np.ndarray,
    boundaries: Sequence[int],
    *,
    token_budget: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    epoch: int = 0,
    drop_remainder: bool = False,
) -> BatchPlan:
    """Plans one epoch: a pure function of its arguments, each row in one batch.

    With `token_budget`, rows are drawn from one bucket at a time, and a batch holds as many as
    the budget allows at the bucket's length (at least one).  The few rows left in a bucket move
    up to the next.  With `batch_size`, each batch holds that many rows of like length.

    Args:
        lengths: int `[rows]`, tokens of each row.
        boundaries: Padded lengths to use, ascending; the last is at or above every length.
        token_budget: The most tokens in a batch, padding counted.
        batch_size: Rows in a batch.  One of the two must be given, the other `None`.
        seed: Seed of the order, which differs from epoch to epoch.  `None`: shortest rows first,
            rows of a bucket in the order they came, every epoch.
        epoch: Number of the epoch.
        drop_remainder: Leave out the rows that are left at the end and do not fill a batch.

    Returns:
        The plan.  Its batch shapes are the same in each epoch for `token_budget`.

    Raises:
        ValueError: Not exactly one of `token_budget` and `batch_size` is given, it is not
            positive, or a row is longer than the last boundary.
    """
    limit = token_budget if batch_size is None else batch_size
    if (token_budget is None) == (batch_size is None) or limit is None or limit < 1:
        raise ValueError(
            "give either `token_budget` or `batch_size`, a positive number; they came as "
            f"{token_budget} and {batch_size}."
        )
    if lengths.max(initial=0) > boundaries[-1]:
        raise ValueError(
            f"the longest row has {lengths.max()} tokens, more than the last of the "
            f"`boundaries`, {boundaries[-1]}."
        )
    generator = None if seed is None else np.random.default_rng([seed, epoch])
    order = np.arange(len(lengths))
    if generator is not None:
        generator.shuffle(order)
    if token_budget is not None:
        buckets = np.searchsorted(boundaries, lengths)
        batches = _fill_budget(order, buckets, boundaries, token_budget, drop_remainder)
    else:
        batches = _sort_stretches(order, lengths, limit, generator is not None, drop_remainder)
    if generator is not None:
        batches = [batches[number] for number in generator.permutation(len(batches))]
    longest = [lengths[rows].max() for rows in batches]
    return BatchPlan(
        rows=np.concatenate([np.empty(0, np.int64), *batches]),
        splits=np.cumsum([0, *map(len, batches)]),
        lengths=np.asarray(boundaries, np.int32)[np.searchsorted(boundaries, longest)],
    )


def plan_packed_batches(
    lengths: np.ndarray, row_length: int, *, token_budget: int, seed: int, epoch: int = 0
) -> BatchPlan:
    """Plans one epoch of rows that hold several blocks: a pure function of its arguments.

    Blocks, the longest first, go into the row that they fill best (best-fit decreasing, at most
    11/9 of the fewest rows and one more; Johnson, 1973).  Which of several blocks of a length goes
    where, and the order of rows, differ from epoch to epoch.

    Args:
        lengths: int `[blocks]`, tokens of each block, at least 1.
        row_length: The length of all rows, at or above every length.
        token_budget: The most tokens in a batch, padding counted; it holds one row at least.
        seed: Seed of the order.
        epoch: Number of the epoch.

    Returns:
        The plan.

    Raises:
        ValueError: A block is longer than `row_length`, or `token_budget` is not positive.

    Example:
        Blocks of 7, 2, 5 and 3 tokens in rows of 8 make up the rows 7, and 5 and 3, and 2.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    order = order[np.argsort(-lengths[order], kind="stable")]
    rows = _best_fit(order, lengths, row_length)
    # Rows of one length are left to be put in order and dealt out.
    plan = plan_batches(
        np.full(len(rows), row_length),
        (row_length,),
        token_budget=token_budget,
        seed=int(generator.integers(2**31)),
    )
    in_order = [rows[row] for row in plan.rows]
    return BatchPlan(
        rows=np.concatenate([np.empty(0, np.int64), *in_order]),
        splits=plan.splits,
        lengths=plan.lengths,
        row_splits=np.cumsum([0, *map(len, in_order)]),
    )


def measure_padding(dataset: Iterable) -> PaddingReport:
    """Counts the padding of batches by iterating them.

    Args:
        dataset: Batches of features, or tuples that start with features, that have a
            `padding_mask` `[b, s]`.
    """
    tokens = padded_tokens = batches = 0
    shapes = set()
    for batch in dataset:
        features = batch[0] if isinstance(batch, tuple) else batch
        mask = np.asarray(features[PADDING_MASK.name])
        tokens += int(mask.sum())
        padded_tokens += mask.size
        batches += 1
        shapes.add(mask.shape)
    return PaddingReport(tokens, padded_tokens, batches, len(shapes))


def _fill_budget(
    order: np.ndarray,
    buckets: np.ndarray,
    boundaries: Sequence[int],
    token_budget: int,
    drop_remainder: bool,
) -> list[np.ndarray]:
    """Cuts the rows of each bucket into batches as large as the budget allows."""
    by_bucket = order[np.argsort(buckets[order], kind="stable")]
    ends = np.cumsum(np.bincount(buckets, minlength=len(boundaries)))
    sizes = [max(1, token_budget // boundary) for boundary in boundaries]
    batches, begin = [], 0
    for end, size, next_size in zip(ends, sizes, [*sizes[1:], 1], strict=True):
        while end - begin >= size:
            batches.append(by_bucket[begin : begin + size])
            begin += size
        # Rows that would fill a batch of the next bucket have nothing to gain there.
        enough = min(LEAST_FILL * size, next_size)
        if end - begin >= enough and not drop_remainder:
            batches.append(by_bucket[begin:end])
            begin = end
    return batches


def _best_fit(order: np.ndarray, lengths: np.ndarray, row_length: int) -> list[list[int]]:
    """Puts each block, in order, into the row with the least room that is enough for it."""
    if lengths.max(initial=0) > row_length:
        raise ValueError(
            f"the longest block has {lengths.max()} tokens, more than `row_length`, {row_length}."
        )
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(row_length)]  # rows by the tokens they lack
    rooms = 0  # bit i is set if there are rows that lack i tokens
    for block, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        enough = rooms >> length << length
        if enough:
            room = (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = row_length, len(rows)
            rows.append([])
        rows[row].append(block)
        left = room - length
        with_room[left].append(row)
        rooms |= 1 << left
    return rows


def _sort_stretches(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, in_stretches: bool, drop: bool
) -> list[np.ndarray]:
    """Sorts stretches of rows by length and cuts them into batches of one size."""
    stretch = SORTED_BATCHES * batch_size if in_stretches else max(1, len(order))
    batches = []
    for begin in range(0, len(order), stretch):
        rows = order[begin : begin + stretch]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    if drop and batches and len(batches[-1]) < batch_size:
        batches.pop()
    return batches
