"""Texts that a decoder finds likely: the best next piece, samples, or a beam of texts.

Pure functions of what a decoder gives for a next piece, in `keras.ops`, so that Keras and
SavedModels find the same.

Letters: b batch, k texts that are followed for a row, t places of a text, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from spanbert_tf.layers.kernels.gathering import take_positions, take_values
from spanbert_tf.layers.kernels.open_rows import repeat_while_open
from spanbert_tf.layers.next_pieces import (
    NEVER,
    Search,
    best_pieces,
    drawn_pieces,
    repeated_pieces,
)

PAST = -1  # In the place of a piece, after a text's end.

# From the last pieces, int32 `[b, k]`, their place, caches and sources to logits `[b, k, V]` and
# caches.
Step = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def search_texts(
    step: Step,
    caches: Any,
    sources: Any,
    is_empty: Any,
    keys: Any,
    search: Search,
    *,
    length: int,
    start_id: int,
    end_id: int,
    never_ids: np.ndarray,
) -> tuple[Any, Any]:
    """Finds or draws texts.

    Args:
        step: What gives the next piece's logits.
        caches: What it is called with first; tensors of `b * k` rows.
        sources: What it is called with always; tensors of `b` rows.
        is_empty: bool `[b]`, rows whose text is empty, whatever the decoder says.
        keys: int32 `[b]`, by which texts of rows are drawn differently.
        search: How to search.
        length: Places t: the most pieces of a text, its end among them.
        start_id: What stands before a text.
        end_id: What ends it.
        never_ids: bool `[V]`, true at pieces that no text has.

    Returns:
        int32 `[b, k, t]`, the pieces of `search.num_beams` texts, the best first, with their end,
        then `PAST`; and their scores, float32 `[b, k]`.  Where there are fewer texts, scores are
        `NEVER` and texts without a piece.
    """
    size = len(never_ids)

    def next_scores(last: Any, place: Any, caches: Any, of: Any, ids: Any) -> tuple[Any, Any]:
        """Log probabilities `[b, k, V]`, `NEVER` where a piece must not come, and caches."""
        logits, caches = step(last, place, caches, of)
        scores = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        scores = ops.where(never_ids, NEVER, scores)
        if search.min_length:
            is_early = ops.logical_and(np.arange(size) == end_id, place < search.min_length)
            scores = ops.where(is_early, NEVER, scores)
        if search.no_repeat_ngram:
            repeats = repeated_pieces(ids, place, search.no_repeat_ngram, size)
            scores = ops.where(repeats, NEVER, scores)
        return scores, caches

    find = _follow if search.draws or search.num_beams == 1 else _search_beams
    places = (length, start_id, end_id)
    return find(next_scores, caches, (sources, keys), is_empty, search, *places)


def _follow(
    next_scores: Any,
    caches: Any,
    of_rows: Any,
    is_empty: Any,
    search: Search,
    length: int,
    start_id: int,
    end_id: int,
) -> tuple[Any, Any]:
    """Texts that go on with a piece at a time, each on its own."""
    k = search.num_beams
    shape = (ops.shape(is_empty)[0], k)

    def is_open(kept: Any) -> Any:
        _, _, done = kept
        return ops.logical_not(ops.all(done, axis=1))

    def body(place: Any, kept: Any, state: Any) -> Any:
        ids, total, done = kept
        last, caches, (sources, keys) = state
        scores, caches = next_scores(last, place, caches, sources, ids)
        piece = drawn_pieces(scores, place, keys, search) if search.draws else best_pieces(scores)
        flat = ops.reshape(scores, (-1, ops.shape(scores)[-1]))
        own = ops.reshape(take_values(flat, ops.reshape(piece, (-1, 1))), ops.shape(piece))
        total = ops.where(done, total, total + own)
        ids = _with_piece(ids, place, ops.where(done, PAST, piece))
        done = ops.logical_or(done, piece == end_id)
        return (ids, total, done), (piece, caches, (sources, keys))

    kept = (
        ops.full((*shape, length), PAST, "int32"),
        ops.zeros(shape, "float32"),
        ops.logical_or(is_empty[:, None], ops.zeros(shape, "bool")),
    )
    state = (ops.full(shape, start_id, "int32"), caches, of_rows)
    ids, total, _ = repeat_while_open(is_open, body, kept, state, length)
    pieces = ops.sum(ops.cast(ids != PAST, "int32"), axis=-1)
    scores = _of_length(total, pieces, search)
    scores, order = ops.top_k(scores, k)
    ids = take_positions(ids, ops.cast(order, "int32"))
    return _without_never(ids, scores)


def _search_beams(
    next_scores: Any,
    caches: Any,
    of_rows: Any,
    is_empty: Any,
    search: Search,
    length: int,
    start_id: int,
    end_id: int,
) -> tuple[Any, Any]:
    """The best texts that a beam of unfinished ones leads to.

    The `num_beams` likeliest texts that have not ended go on; those that end are kept apart by
    their scores, untouched by what follows.  A row is done once no text that goes on can reach the
    score of the worst of as many that have ended, however long it becomes: all scores are at or
    below 0, and only shrink toward 0 by the penalty.
    """
    k = search.num_beams
    shape = (ops.shape(is_empty)[0], k)
    none = ops.full((*shape, length), PAST, "int32")
    never = ops.full(shape, NEVER, "float32")
    # At first there is one text, the empty one; of an empty row, it is the answer.
    one = ops.where(np.arange(k) == 0, 0.0, never)
    is_empty = is_empty[:, None]
    most = np.full((), length, "int32")

    def is_open(kept: Any) -> Any:
        _, alive, _, ended = kept
        bound = _of_length(alive, most, search)
        return ops.max(bound, axis=1) > ops.min(ended, axis=1)

    def body(place: Any, kept: Any, state: Any) -> Any:
        ids, alive, texts, ended = kept
        last, caches, (sources, keys) = state
        scores, caches = next_scores(last, place, caches, sources, ids)
        size = ops.shape(scores)[-1]
        totals = ops.reshape(alive[..., None] + scores, (-1, k * size))
        # Twice as many as there are beams: half of them at most end here.
        totals, found = ops.top_k(totals, 2 * k)
        found = ops.cast(found, "int32")
        parents, pieces = found // size, found % size
        longer = _with_piece(take_positions(ids, parents), place, pieces)
        ends = pieces == end_id

        of_length = _of_length(totals, place + 1, search)
        candidates = ops.concatenate([ended, ops.where(ends, of_length, NEVER)], axis=1)
        ended, order = ops.top_k(candidates, k)
        texts = ops.concatenate([texts, longer], axis=1)
        texts = take_positions(texts, ops.cast(order, "int32"))

        alive, order = ops.top_k(ops.where(ends, 2 * NEVER, totals), k)
        order = ops.cast(order, "int32")
        parents = take_values(parents, order)
        caches = keras.tree.map_structure(lambda cache: _reordered(cache, parents), caches)
        kept = (take_positions(longer, order), alive, texts, ended)
        return kept, (take_values(pieces, order), caches, (sources, keys))

    kept = (
        none,
        ops.where(is_empty, NEVER, one),
        none,
        ops.where(is_empty, one, never),
    )
    state = (ops.full(shape, start_id, "int32"), caches, of_rows)
    ids, alive, texts, ended = repeat_while_open(is_open, body, kept, state, length)
    # What has not ended is cut; of rows that are done it is never among the best.
    scores = ops.concatenate([ended, _of_length(alive, most, search)], axis=1)
    scores, order = ops.top_k(scores, k)
    texts = ops.concatenate([texts, ids], axis=1)
    return _without_never(take_positions(texts, ops.cast(order, "int32")), scores)


def _of_length(total: Any, pieces: Any, search: Search) -> Any:
    """Scores of log probabilities, `NEVER` where they are of what cannot be."""
    penalty = ((5.0 + ops.cast(pieces, "float32")) / 6.0) ** search.length_penalty
    return ops.where(total > NEVER / 2, total / penalty, NEVER)


def _without_never(ids: Any, scores: Any) -> tuple[Any, Any]:
    return ops.where((scores > NEVER / 2)[..., None], ids, PAST), scores


def _with_piece(ids: Any, place: Any, pieces: Any) -> Any:
    """Texts `[b, n, t]` with pieces `[b, n]` at one place."""
    is_place = ops.arange(ids.shape[-1], dtype="int32") == place
    return ops.where(is_place, pieces[..., None], ids)


def _reordered(cache: Any, parents: Any) -> Any:
    """Rows `[b * k, ...]` in the order of `parents`, int `[b, k]`."""
    shape = ops.shape(cache)
    batch, k = ops.shape(parents)
    rows = ops.arange(batch, dtype="int32")[:, None] * k + parents
    return ops.reshape(ops.take(cache, ops.reshape(rows, (-1,)), axis=0), shape)
