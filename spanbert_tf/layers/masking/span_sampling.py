"""Which pieces of each row are masked: spans of words, drawn until a budget is spent.

The law is a loop over one row; here all rows are worked on at once, and many draws at a time, with
the very outcome of the loop.  Few operations matter more than small ones: a batch is small, and
TensorFlow takes longer to start most of them than to run them.

Letters: b batch, s sequence, k draws, r draws of a round, g given spans of a row.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from keras import ops

from spanbert_tf.layers.masking.random_bits import below, unsigned

# From numbers of draws, int32 `[b, r]`, to starts and ends of spans, int32 `[b, r]`.
Draw = Callable[[Any], tuple[Any, Any]]


def budget_fraction(budget: float) -> Fraction:
    """The share of pieces to mask as a fraction of small whole numbers, 0.15 as 3/20.

    Counting in whole numbers, `ceil(budget * n)` is the same whatever the float dtype.
    """
    return Fraction(budget).limit_denominator(1000)


def share_of(count: Any, budget: float) -> Any:
    """`ceil(budget * count)` of an int, or of an int32 tensor of any shape."""
    share = budget_fraction(budget)
    return (count * share.numerator + (share.denominator - 1)) // share.denominator


def draws_for(length: Any, budget: float) -> Any:
    """How many draws `sample_spans` may need for rows of a length.

    Draws that mask one piece each take n * ln(1 / (1 - budget)) on average; longer spans take
    fewer.  This is six standard deviations more, or further up.
    """
    return 64 + math.ceil(1000 * 1.25 * -math.log1p(-budget)) * length // 1000


def length_distribution(p: float, max_words: int) -> np.ndarray:
    """Probabilities of spans of 1, 2, ... words: geometric, cut off and scaled up to a sum of 1.

    Args:
        p: Probability that a span ends after a word, above 0 and below 1.
        max_words: The longest span.

    Returns:
        float64 `[max_words]`.
    """
    probabilities = p * (1 - p) ** np.arange(max_words)
    return probabilities / probabilities.sum()


def row_numbers(values: Any) -> Any:
    """The number of each row of a batch: int32 `[b, 1]`."""
    return ops.expand_dims(ops.arange(ops.shape(values)[0], dtype="int32"), 1)


def at(values: Any, positions: Any, row_starts: Any) -> Any:
    """Looks up each row's values, `[b, s]`, at its positions, int32 `[b, r]`, from 0 below s.

    `row_starts`, int32 `[b, 1]`, is the row's number times s.  Callers keep it: in a graph of any
    shapes each size asked for is an operation or three.
    """
    return ops.take(values, positions + row_starts)


def searched(ascending: Any, values: Any, side: str) -> Any:
    """`ops.searchsorted` of values of any shape, as int32: TensorFlow's takes rank 1 alone."""
    found = ops.searchsorted(
        ops.convert_to_tensor(ascending), ops.reshape(values, (-1,)), side=side
    )
    return ops.reshape(ops.cast(found, "int32"), ops.shape(values))


class RunningCount:
    """How many marks each row has up to each position, and where a count is first reached.

    Args:
        marks: int32 `[b, s]`, at least 0.
        rows: int32 `[b, 1]`, see `row_numbers`.
        length: The size s.
        largest: The largest mark; and how far beyond a row's count `first_at` may ask.
    """

    def __init__(self, marks: Any, rows: Any, length: Any, largest: int = 1) -> None:
        self.counts = ops.cumsum(marks, axis=1)
        # All rows make one ascending line, as `searchsorted` searches but one.
        self.row_starts = rows * length
        self._offsets = rows * ((length + 1) * largest + 1)
        self._line = ops.reshape(self.counts + self._offsets, (-1,))

    def first_at(self, counts: Any) -> Any:
        """Positions where counts, int32 `[b, r]`, are first reached; s where they never are."""
        return searched(self._line, counts + self._offsets, "left") - self.row_starts


def first_pieces(maskable: Any, word_starts: Any) -> Any:
    """Marks the first maskable piece of each word, bool `[b, s]`.

    Args:
        maskable: bool `[b, s]`.
        word_starts: bool `[b, s]`, true at the first piece of a word.  A maskable piece that
            follows one that is not starts a word, too.
    """
    follows = ops.pad(maskable[:, :-1], ((0, 0), (1, 0)))
    in_word = ops.logical_and(follows, ops.logical_not(word_starts))
    return ops.logical_and(maskable, ops.logical_not(in_word))


def sample_spans(
    maskable: Any,
    word_starts: Any,
    bits: tuple[Any, Any],
    *,
    budget: float = 0.15,
    p: float = 0.2,
    max_words: int = 10,
    by_word: bool = False,
    given_spans: Any = None,
    given_bits: Any = None,
) -> tuple[Any, Any]:
    """Draws spans in each row until `ceil(budget * n)` of its n maskable pieces are masked.

    A draw is a length in words, from `length_distribution`, and a piece, uniform among the n,
    which is moved back to its word's first piece.  A draw whose first piece is masked already
    counts for nothing: both are drawn anew, so lengths are unbiased.  Otherwise its words are
    masked from the left to the right, up to the next piece that is not maskable.  Pieces that
    are masked already do not count again.  The last span ends where the budget is spent, be it
    inside a word.

    A row's outcome depends on its own pieces and bits alone.  Should the bits not suffice, the
    leftmost pieces make up the rest of the budget.

    Args:
        maskable: bool `[b, s]`; s is 16,384 at most.
        word_starts: bool `[b, s]`, see `first_pieces`.
        bits: Two of int32 `[b, k]`, random bits of each draw; `draws_for` says how many suffice.
        budget: The share of maskable pieces to mask, above 0 and below 1.
        p: See `length_distribution`.
        max_words: See `length_distribution`.
        by_word: Draw words uniformly; words of more pieces are not drawn more often.
        given_spans: int32 `[b, g, 2]`, `[start, end)` of spans to draw, without replacement, before
            all others; those with `end <= start` are padding.  Other spans are drawn when a row
            has no more of them.
        given_bits: int32 `[b, g]`, random bits that put the given spans in order.

    Returns:
        `masked`, bool `[b, s]`, and `draws`, int32 `[b, s]`: the number of the draw that masked a
        piece, where it is masked.
    """
    rows, length = row_numbers(maskable), ops.shape(maskable)[1]
    word_marks = ops.cast(first_pieces(maskable, word_starts), "int32")
    piece_counts = RunningCount(ops.cast(maskable, "int32"), rows, length)
    most_draws = ops.shape(bits[0])[1]
    # What is not maskable counts as so many words that no span can pass it.
    passable = ops.where(maskable, word_marks, max_words)
    draw = _drawn_spans(
        bits,
        most_draws,
        RunningCount(passable, rows, length, max_words),
        RunningCount(word_marks, rows, length) if by_word else piece_counts,
        length_distribution(p, max_words),
        rows,
        length,
    )
    if given_spans is not None:
        draw = _given_spans_first(draw, given_spans, given_bits, maskable, rows, length)
        most_draws = most_draws + ops.shape(given_bits)[1]

    goal = share_of(piece_counts.counts[:, -1:], budget)  # [b, 1]
    # About as many as a row of one-piece words needs: rarely is there a second round.
    mean_words = float(length_distribution(p, max_words) @ np.arange(1, max_words + 1))
    draws_a_round = 8 + share_of(length, 1.25 * budget / mean_words)
    row_starts = piece_counts.row_starts
    draws = _first_draws(draw, maskable, goal, row_starts, most_draws, draws_a_round, length)

    # Pieces in the order in which they are masked; the first ones are.
    places = draws * length + ops.arange(length, dtype="int32")
    most = share_of(length, budget)
    first_places = -ops.top_k(-places, most)[0]  # ascending
    last = at(first_places, ops.maximum(goal - 1, 0), rows * most)
    return ops.logical_and(maskable, places <= last), draws


def _drawn_spans(
    bits: tuple[Any, Any],
    draws: Any,
    words: RunningCount,
    anchors: RunningCount,
    probabilities: np.ndarray,
    rows: Any,
    length: Any,
) -> Draw:
    """Makes the function that gives the draws which the bits, `[b, draws]`, make."""
    thresholds = np.round(np.cumsum(probabilities)[:-1] * 2**24).astype("int32")
    count = anchors.counts[:, -1:]
    row_draws = rows * draws

    def draw(numbers: Any) -> tuple[Any, Any]:
        numbers = ops.minimum(numbers, draws - 1)
        anchor = anchors.first_at(below(at(bits[0], numbers, row_draws), count) + 1)
        word = at(words.counts, ops.minimum(anchor, length - 1), words.row_starts)
        more: Any = 1
        if thresholds.size:
            # Whole numbers on both sides: no backend rounds them its own way.
            more += searched(thresholds, unsigned(at(bits[1], numbers, row_draws), 24), "right")
        return words.first_at(word), words.first_at(word + more)

    return draw


def _given_spans_first(
    draw: Draw, given_spans: Any, given_bits: Any, maskable: Any, rows: Any, length: Any
) -> Draw:
    """Makes the function that gives the given spans in random order and then `draw`'s."""
    starts, ends = given_spans[..., 0], given_spans[..., 1]
    given = ends > starts
    order = ops.argsort(ops.where(given, unsigned(given_bits, 24), 2**24), axis=1)
    order = ops.cast(order, "int32")

    # A span ends where something follows that is not maskable, at its start if it is there.
    obstacles = RunningCount(ops.cast(ops.logical_not(maskable), "int32"), rows, length)
    inside = ops.clip(starts, 0, length - 1)
    passed = at(obstacles.counts, inside, obstacles.row_starts)
    ends = ops.minimum(ends, obstacles.first_at(passed + 1))
    ends = ops.where(at(maskable, inside, obstacles.row_starts), ends, starts)
    spans = ops.shape(order)[1]
    row_spans, last = rows * spans, spans - 1
    starts, ends = at(starts, order, row_spans), at(ends, order, row_spans)
    count = ops.sum(ops.cast(given, "int32"), axis=1, keepdims=True)

    def draw_given_first(numbers: Any) -> tuple[Any, Any]:
        drawn_starts, drawn_ends = draw(ops.maximum(numbers - count, 0))
        is_given, numbers = numbers < count, ops.minimum(numbers, last)
        return (
            ops.where(is_given, at(starts, numbers, row_spans), drawn_starts),
            ops.where(is_given, at(ends, numbers, row_spans), drawn_ends),
        )

    return draw_given_first


def _first_draws(
    draw: Draw,
    maskable: Any,
    goal: Any,
    row_starts: Any,
    most_draws: Any,
    draws_a_round: Any,
    length: Any,
) -> Any:
    """Numbers the draw that first masks each piece, until each row has `goal` masked pieces.

    Returns:
        int32 `[b, s]`: `most_draws` at pieces that no draw masks, one more at those not maskable.
    """
    positions = ops.arange(length, dtype="int32")
    in_round = ops.arange(draws_a_round, dtype="int32")

    def is_unfinished(draws: Any, drawn: Any) -> Any:
        masked = ops.sum(ops.cast(draws < most_draws, "int32"), axis=1, keepdims=True)
        return ops.any(ops.logical_and(masked < goal, drawn < most_draws))

    def round_of_draws(draws: Any, drawn: Any) -> tuple[Any, Any]:
        numbers = drawn + in_round  # [b, r]
        starts, ends = draw(numbers)
        free = at(draws, ops.minimum(starts, length - 1), row_starts) >= most_draws
        counting, settled = _counting(starts, ends, free, in_round)
        ends = ops.where(counting, ends, 0)
        covered = ops.logical_and(starts[:, :, None] <= positions, ends[:, :, None] > positions)
        first = ops.min(ops.where(covered, numbers[:, :, None], most_draws), axis=1)
        draws = ops.where(maskable, ops.minimum(draws, first), draws)
        return draws, drawn + settled

    draws = ops.where(maskable, most_draws, most_draws + 1)
    return ops.while_loop(is_unfinished, round_of_draws, (draws, ops.zeros_like(goal)))[0]


def _counting(starts: Any, ends: Any, free: Any, index: Any) -> tuple[Any, Any]:
    """Says which draws count: those whose start no draw that counts before them has masked.

    Taking all of them to count, some come out as not counting; taking those out, some of the rest
    come back; and so on.  Each time the first draw that changes, and all before it, are right.
    Draws after it are left for the next round.

    Args:
        starts: int32 `[b, r]`.
        ends: int32 `[b, r]`.
        free: bool `[b, r]`, whether the start was unmasked before all of them.
        index: int32 `[r]`, from 0.

    Returns:
        bool `[b, r]`, and int32 `[b, 1]`, the number of draws that are settled, at least 1.
    """
    # [b, r, r]: whether an earlier draw (last axis) would mask the start of a later one.
    start = starts[:, :, None]
    covers = ops.logical_and(starts[:, None] <= start, ends[:, None] > start)
    covers = ops.logical_and(covers, index[:, None] > index)

    previous = counting = free
    for _ in range(3):  # Of a row of 512 pieces 99 in 100 come out right.
        previous = counting
        masked = ops.any(ops.logical_and(covers, previous[:, None]), axis=2)
        counting = ops.logical_and(free, ops.logical_not(masked))
    changes = ops.cast(ops.not_equal(counting, previous), "int32")
    settled = ops.equal(ops.cumsum(changes, axis=1), changes)
    settled_draws = ops.sum(ops.cast(settled, "int32"), axis=1, keepdims=True)
    return ops.logical_and(counting, settled), settled_draws
