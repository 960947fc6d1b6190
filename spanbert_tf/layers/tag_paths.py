"""Paths of tags in a linear-chain conditional random field (Lafferty et al., 2001), as functions.

Masked positions are no part of a chain, wherever they stand: it goes from one unmasked position
straight to the next, as from the first piece of a word to the first piece of the next word.

The three functions share their arguments:

- scores: float `[b, s, t]`.
- mask: bool or int `[b, s]`, true at the positions of the chain.
- transitions: float `[t, t]`, the score of a column's tag after a row's.
- start, end: float `[t]`, scores of the first and the last tag of a chain.

Letters: b batch, s sequence, t tags, j and k the tags of two positions that follow each other.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# Steps that one turn of a loop takes.  TensorFlow's graphs copy all outputs of a loop at each turn,
# which costs more than the arithmetic of a single step.  JAX writes them in place: there single
# steps are several times as fast, and compile sooner.
CHUNK = 8 if keras.config.backend() == "tensorflow" else 1
# The lowest transition in sums over paths, from the highest: its exp() is above 0 in float32.
LOWEST_TRANSITION = -80.0


def crf_log_likelihood(
    scores: Any, tags: Any, mask: Any, transitions: Any, start: Any, end: Any
) -> Any:
    """The log-likelihood of paths: their scores less that of all paths together.

    Args:
        scores: Scores of tags; shapes of what is not described here stand above.
        tags: int `[b, s]`, in `[0, t)` where the mask is true; elsewhere anything.
        mask: Positions of the chain.
        transitions: Scores of moves.  One more than 80 below the highest counts as 80 below it in
            the sum over all paths.
        start: Scores of first tags.
        end: Scores of last tags.

    Returns:
        float32 `[b]`; 0 for a row without any position.
    """
    emissions, is_joined = _emissions(scores, mask, start, end)
    # All paths of a row make equally many moves: a constant less for each changes nothing.
    transitions = ops.cast(transitions, "float32")
    transitions = transitions - ops.stop_gradient(ops.max(transitions))
    partition = _log_partition(emissions, transitions, is_joined)

    mask = ops.cast(mask, "bool")
    tags = ops.where(mask, ops.cast(tags, "int32"), 0)
    num_tags = transitions.shape[0]
    is_tag = ops.one_hot(ops.transpose(tags), num_tags, axis=1, dtype="float32")  # [s, t, b]
    gold = ops.sum(emissions * is_tag, axis=(0, 1))

    # The chain's tags side by side, from the left.
    length = ops.shape(tags)[1]
    place = ops.arange(length, dtype="int32")
    order = ops.argsort(ops.where(mask, place, place + length), axis=1)
    tags = ops.take_along_axis(tags, order, axis=1)
    moves = ops.take(ops.reshape(transitions, (-1,)), tags[:, :-1] * num_tags + tags[:, 1:])
    count = ops.sum(ops.cast(mask, "int32"), axis=1)
    gold = gold + ops.sum(ops.where(place[1:] < count[:, None], moves, 0.0), axis=1)
    return ops.where(count > 0, gold - partition, 0.0)


def viterbi(scores: Any, mask: Any, transitions: Any, start: Any, end: Any) -> Any:
    """The path of the highest score (Viterbi, 1967); one of them where several are equally high.

    Returns:
        int32 `[b, s]`, tags; 0 where the mask is false.

    Example:
        Scores `[[[0, 1], [5, 0], [3, 0]]]`, mask `[[1, 0, 1]]`, transitions `[[0, 0], [-9, 0]]` and
        zeros at both ends give `[[0, 0, 0]]`; without transitions they give `[[1, 0, 0]]`.
    """
    emissions, is_joined = _emissions(scores, mask, start, end)
    transitions = ops.cast(transitions, "float32")

    def step(best: Any, emission: Any, is_joined: Any) -> tuple[Any, Any]:
        reached = ops.max(best[:, None] + transitions[..., None], axis=0)
        return ops.where(is_joined, reached, best) + emission, best

    best, before = _scan(step, ops.zeros_like(emissions[0]), (emissions, is_joined))

    # Back through the same sums, from tag to tag: one path, however many are equally high.
    def step_back(tag: Any, before: Any, is_joined: Any) -> tuple[Any, Any]:
        previous = _highest(before + ops.take(transitions, tag, axis=1))
        return ops.where(is_joined, previous, tag), tag

    inputs = (before, ops.squeeze(is_joined, axis=1))
    _, tags = _scan(step_back, _highest(best), inputs, reverse=True)
    return ops.where(ops.cast(mask, "bool"), ops.transpose(tags), 0)


def _highest(scores: Any) -> Any:
    """The first tag of the highest score, int32 `[b]`; `ops.argmax` does not run in LiteRT."""
    num_tags = scores.shape[0]
    tags = ops.arange(num_tags, dtype="int32")[:, None]
    is_less = scores < ops.max(scores, axis=0, keepdims=True)
    return ops.min(ops.where(is_less, num_tags - 1, tags), axis=0)


def tag_probabilities(scores: Any, mask: Any, transitions: Any, start: Any, end: Any) -> Any:
    """The probability of each tag over all paths, by sums forward and backward.

    No gradient passes through it.  Transitions are limited as in `crf_log_likelihood`.

    Returns:
        float32 `[b, s, t]`, of sum 1 over the tags; 0 where the mask is false.
    """
    scores, transitions, start, end = map(ops.stop_gradient, (scores, transitions, start, end))
    emissions, is_joined = _emissions(scores, mask, start, end)
    transitions = ops.cast(transitions, "float32")
    factors = _factors(transitions - ops.max(transitions))
    _, last, before, inverse = _forward(emissions, factors, is_joined)
    probabilities = _backward(last, before, inverse, factors, is_joined)
    probabilities = ops.transpose(probabilities, (2, 0, 1))
    return ops.where(ops.expand_dims(ops.cast(mask, "bool"), 2), probabilities, 0.0)


def _emissions(scores: Any, mask: Any, start: Any, end: Any) -> tuple[Any, Any]:
    """Makes rows ready for a scan, positions first and rows last.

    Returns:
        Scores with those of both ends, float32 `[s, t, b]`, 0 at masked positions; and whether a
        position of the chain follows another, bool `[s, 1, b]`.
    """
    scores = ops.transpose(ops.cast(scores, "float32"), (1, 2, 0))
    # A constant less for all tags of a position changes no path, and keeps sums small.
    scores = scores - ops.stop_gradient(ops.max(scores, axis=1, keepdims=True))
    mask = ops.expand_dims(ops.transpose(ops.cast(mask, "bool")), 1)
    count = ops.cumsum(ops.cast(mask, "int32"), axis=0)
    start, end = (ops.cast(at_end, "float32")[:, None] for at_end in (start, end))
    scores = scores + ops.where(count == 1, start, 0.0) + ops.where(count == count[-1:], end, 0.0)
    return ops.where(mask, scores, 0.0), ops.logical_and(mask, count > 1)


def _scan(
    step: Callable[..., tuple[Any, Any]], carry: Any, inputs: tuple[Any, ...], reverse: bool = False
) -> tuple[Any, Any]:
    """Does what `ops.scan` does, which does not run in LiteRT with batches of any size.

    Args:
        step: Of the carry and a position of each input; it gives the next carry and an output, both
            of the carry's shape and dtype.  Inputs of 0 must leave the carry as it is.
        carry: The first carry.
        inputs: `[s, ...]` each.
        reverse: Whether it goes from the last position to the first.

    Returns:
        The last carry, and the outputs `[s, ...]`.
    """
    length = ops.shape(inputs[0])[0]
    turns = (length + CHUNK - 1) // CHUNK
    blocks = []
    for x in inputs:
        rest = ops.shape(x)[1:]
        x = ops.flip(x, axis=0) if reverse else x
        x = ops.concatenate([x, ops.zeros((CHUNK - 1, *rest), x.dtype)], axis=0)
        blocks.append(ops.reshape(x[: turns * CHUNK], (turns, CHUNK, *rest)))

    def turn(i: Any, outputs: Any, carry: Any) -> tuple[Any, Any, Any]:
        chunk = []
        for position in zip(*(ops.unstack(block[i], CHUNK) for block in blocks), strict=True):
            carry, output = step(carry, *position)
            chunk.append(output)
        at = ops.reshape(i, (1, 1))
        return i + 1, ops.scatter_update(outputs, at, ops.stack(chunk)[None]), carry

    shape = ops.shape(carry)
    outputs = ops.zeros((turns, CHUNK, *shape), carry.dtype)
    _, outputs, carry = ops.while_loop(lambda i, *_: i < turns, turn, (0, outputs, carry))
    outputs = ops.reshape(outputs, (turns * CHUNK, *shape))[:length]
    return carry, ops.flip(outputs, axis=0) if reverse else outputs


def _factors(transitions: Any) -> Any:
    """Factors `[j, k, 1]` of transitions `[t, t]`, of which the highest is 0."""
    return ops.exp(ops.maximum(transitions, LOWEST_TRANSITION))[..., None]


def _forward(emissions: Any, factors: Any, is_joined: Any) -> tuple[Any, Any, Any, Any]:
    """Sums over the paths up to each position.

    States are logarithms, relative to the highest of the position before: small at any length.
    The product with the factors is no matrix product, which accelerators round to fewer digits.

    Returns:
        The log-partition `[b]`; probabilities of the last tag `[t, b]`; before each position the
        weight of the paths to a tag, `[s, j, b]`, from 0 to 1; and 1 over the weight of those that
        move on to a tag, `[s, k, b]`, or 0 where none does.
    """

    def step(state: Any, emission: Any, is_joined: Any) -> tuple[Any, Any]:
        weights = ops.exp(state - ops.max(state, axis=0, keepdims=True))
        reached = ops.log(ops.sum(weights[:, None] * factors, axis=0))
        reached = ops.where(is_joined, reached, state)
        return reached + emission, reached

    nothing = ops.zeros_like(emissions[:1])
    last, reached = _scan(step, nothing[0], (emissions, is_joined))
    before = ops.concatenate([nothing, (reached + emissions)[:-1]], axis=0)
    highest = ops.max(before, axis=1, keepdims=True)
    total = ops.logsumexp(last, axis=0) + ops.sum(ops.where(is_joined, highest, 0.0), axis=(0, 1))
    inverse = ops.where(is_joined, ops.exp(-reached), 0.0)
    return total, ops.softmax(last, axis=0), ops.exp(before - highest), inverse


def _backward(last: Any, before: Any, inverse: Any, factors: Any, is_joined: Any) -> Any:
    """Probabilities `[s, t, b]` of tags, from those of the tags after them; not where masked."""

    def step(after: Any, before: Any, inverse: Any, is_joined: Any) -> tuple[Any, Any]:
        probabilities = before * ops.sum(factors * (after * inverse), axis=1)
        return ops.where(is_joined, probabilities, after), after

    return _scan(step, last, (before, inverse, is_joined), reverse=True)[1]


@ops.custom_gradient
def _log_partition(emissions: Any, transitions: Any, is_joined: Any) -> Any:
    """The score of all paths together `[b]`, whose gradient is how likely each tag and move is."""
    factors = _factors(transitions)
    total, last, before, inverse = _forward(emissions, factors, is_joined)

    def gradient(*args: Any, upstream: Any = None) -> Any:
        (upstream,) = keras.tree.flatten(args if upstream is None else upstream)
        probabilities = _backward(last, before, inverse, factors, is_joined) * upstream
        moves = factors[..., 0] * ops.einsum("sjb,skb->jk", before, inverse * probabilities)
        return probabilities, moves, None

    return total, gradient
