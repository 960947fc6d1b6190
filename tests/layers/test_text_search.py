"""Searching against every text that there is; drawing against probabilities."""

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from spanbert_tf.layers.next_pieces import NEVER, Search, drawn_pieces, repeated_pieces
from spanbert_tf.layers.text_search import PAST, search_texts

START, END, BANNED, V = 0, 1, 2, 6
ROWS, LENGTH = 3, 4
NEVER_IDS = np.isin(np.arange(V), (START, BANNED))


def table(seed: int = 0) -> np.ndarray:
    """Logits of the next piece by row, place and last two pieces: texts have a memory."""
    return 2 * np.random.default_rng(seed).standard_normal((ROWS, LENGTH, V, V, V))


def run(search: Search, logits: np.ndarray, empty: Any = (), length: int = LENGTH) -> Any:
    """Searches in a graph; caches remember the piece before the last, and move with their text."""
    weights = tf.constant(logits, tf.float32)
    is_empty = np.isin(np.arange(ROWS), empty)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.bool)])
    def graph(is_empty: tf.Tensor) -> Any:
        count, k = tf.shape(is_empty)[0], search.num_beams

        def step(last: tf.Tensor, place: tf.Tensor, caches: Any, row: tf.Tensor) -> Any:
            before = tf.reshape(caches[0], (-1, k))
            row = tf.tile(row[:, None], (1, k))
            at = tf.stack([row, tf.fill(tf.shape(row), place), before, last], axis=-1)
            return tf.gather_nd(weights, at), [tf.reshape(last, (-1, 1))]

        caches = [tf.zeros((count * k, 1), tf.int32)]
        keys = tf.range(count)
        ids = {"start_id": START, "end_id": END, "never_ids": NEVER_IDS}
        return search_texts(step, caches, keys, is_empty, keys, search, length=length, **ids)

    ids, scores = graph(is_empty)
    return ids.numpy(), scores.numpy()


def all_texts(logits: np.ndarray, search: Search, length: int = LENGTH) -> list[tuple[float, Any]]:
    """Every text of a row, of at most so many pieces, with its score, the best first."""
    found = []
    for size in range(1, length + 1):
        for text in itertools.product(range(V), repeat=size):
            if END in text[:-1] or {START, BANNED} & set(text):
                continue
            if text[-1] != END and size < length:
                continue
            n, body = search.no_repeat_ngram, text
            grams = [body[i : i + n] for i in range(len(body) - n + 1)]
            if n and len(grams) > len(set(grams)):
                continue
            if text[-1] == END and size <= search.min_length:
                continue
            total, before, last = 0.0, START, START
            for place, piece in enumerate(text):
                total += log_softmax(logits[place, before, last])[piece]
                before, last = last, piece
            found.append((total / ((5 + size) / 6) ** search.length_penalty, text))
    return sorted(found, reverse=True)


def texts_of(ids: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(piece for piece in text if piece != PAST) for text in ids.tolist()]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length_penalty": 0.0},
        {"length_penalty": 2.0},
        {"min_length": 2},
        {"no_repeat_ngram": 1},
        {"no_repeat_ngram": 2, "length_penalty": 1.0},
    ],
)
def test_a_wide_beam_finds_the_best_of_all_texts(options: dict[str, Any]):
    search = Search(num_beams=70, num_answers=5, **options)
    logits = table()
    ids, scores = run(search, logits)
    for row in range(ROWS):
        best = all_texts(logits[row], search)[:5]
        assert texts_of(ids[row, :5]) == [text for _, text in best]
        np.testing.assert_allclose(scores[row, :5], [score for score, _ in best], rtol=1e-4)


def test_a_narrow_beam_is_that_of_the_definition():
    """In plain Python: two texts go on, what ends is kept, until none of the two can catch up."""
    search = Search(num_beams=2, num_answers=2, length_penalty=0.6)
    for seed in range(4):
        logits = table(seed)
        ids, scores = run(search, logits)
        for row in range(ROWS):
            alive, ended = [(0.0, ())], []
            for place in range(LENGTH):
                longer = []
                for total, text in alive:
                    before, last = (START, START, *text)[-2:]
                    steps = log_softmax(logits[row, place, before, last])
                    allowed = [piece for piece in range(V) if not NEVER_IDS[piece]]
                    longer += [(total + steps[piece], (*text, piece)) for piece in allowed]
                longer = sorted(longer, reverse=True)[:4]
                penalty = ((6 + place) / 6) ** 0.6
                ended += [(total / penalty, text) for total, text in longer if text[-1] == END]
                alive = [of for of in longer if of[1][-1] != END][:2]
            ended += [(total / penalty, text) for total, text in alive]
            best = sorted(ended, reverse=True)[:2]
            assert texts_of(ids[row]) == [text for _, text in best]
            np.testing.assert_allclose(scores[row], [score for score, _ in best], rtol=1e-4)


def test_one_beam_takes_the_best_piece_each_time():
    search = Search(length_penalty=0.0)
    logits = table(3)
    ids, scores = run(search, logits)
    for row in range(ROWS):
        text, total = (), 0.0
        while len(text) < LENGTH and END not in text:
            before, last = (START, START, *text)[-2:]
            steps = np.where(NEVER_IDS, -np.inf, log_softmax(logits[row, len(text), before, last]))
            text, total = (*text, int(steps.argmax())), total + steps.max()
        assert texts_of(ids[row]) == [text]
        np.testing.assert_allclose(scores[row], [total], rtol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_empty_rows_have_an_empty_text_and_change_no_other(beams: int):
    search = Search(num_beams=beams)
    ids, scores = run(search, table(), empty=[1])
    expected_ids, expected_scores = run(search, table())
    assert texts_of(ids[1, :1]) == [()]
    assert scores[1, 0] == 0
    np.testing.assert_array_equal(ids[[0, 2]], expected_ids[[0, 2]])
    np.testing.assert_array_equal(scores[[0, 2]], expected_scores[[0, 2]])


def test_more_beams_than_texts():
    """Of one piece at most there are four texts."""
    ids, scores = run(Search(num_beams=5), table(), length=1)
    assert (scores[:, :4] > NEVER / 2).all()
    assert (scores[:, 4] == NEVER).all()
    assert (ids[:, 4] == PAST).all()


def test_the_loop_stops_when_all_rows_are_done():
    """A step past the end of the table would fail."""
    logits = table()[:, :2]
    logits[..., END] = 50.0
    for beams in (1, 2):
        ids, _ = run(Search(num_beams=beams), logits)
        assert [texts_of(row)[0] for row in ids] == [(END,)] * ROWS


def test_pieces_that_would_repeat():
    ids = np.array([[[5, 6, 7, 5, PAST], [5, 5, 5, 5, PAST]], [[1, 2, 3, 4, PAST]] * 2], "int32")
    for size, expected in ((1, {(0, 0): {5, 6, 7}, (0, 1): {5}}), (2, {(0, 0): {6}, (0, 1): {5}})):
        found = np.asarray(repeated_pieces(tf.constant(ids), 4, size, 8))
        for (row, beam), pieces in expected.items():
            assert set(np.flatnonzero(found[row, beam])) == pieces
    assert not np.asarray(repeated_pieces(tf.constant(ids), 4, 3, 8))[1].any()
    ended = np.array([[[5, 6, END, PAST, PAST, PAST]]], "int32")
    assert set(np.flatnonzero(repeated_pieces(tf.constant(ended), 5, 1, 8))) == {5, 6, END}
    assert not np.asarray(repeated_pieces(tf.constant(ended), 5, 2, 8)).any()
    assert not np.asarray(repeated_pieces(tf.constant(ids), 0, 2, 8)).any()
    assert not np.asarray(repeated_pieces(tf.constant(ids), 4, 6, 8)).any()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"temperature": 0.7}, [0, 1, 2, 3]),
        ({"top_k": 2}, [0, 1]),
        ({"top_p": 0.75}, [0, 1]),
        ({"top_p": 0.59}, [0]),  # At 0.6 itself rounding decides.
        ({"top_p": 0.05}, [0]),
        ({"top_k": 3, "top_p": 0.95, "temperature": 1.5}, [0, 1, 2]),
    ],
)
def test_pieces_are_drawn_by_their_probabilities(options: dict[str, Any], kept: list[int]):
    probabilities = np.array([0.6, 0.2, 0.15, 0.05])
    n = 20_000
    scores = tf.tile(tf.constant(np.log(probabilities), tf.float32)[None, None], (n, 2, 1))
    search = Search(num_beams=2, **options)
    drawn = np.asarray(drawn_pieces(scores, 3, tf.range(n), search))
    logits = np.full(4, -np.inf)
    logits[kept] = np.log(probabilities[kept]) / options.get("temperature", 1.0)
    shares = np.bincount(drawn.ravel(), minlength=4) / drawn.size
    np.testing.assert_allclose(shares, softmax(logits), atol=0.01)
    # Beams, places and seeds draw apart; the same of all, the same.
    assert abs((drawn[:, 0] == drawn[:, 1]).mean() - (softmax(logits) ** 2).sum()) < 0.02
    assert (np.asarray(drawn_pieces(scores, 3, tf.range(n), search)) == drawn).all()
    if len(kept) > 1:
        assert (np.asarray(drawn_pieces(scores, 4, tf.range(n), search)) != drawn).any()
        other = Search(num_beams=2, seed=2**31 - 1, **options)
        assert (np.asarray(drawn_pieces(scores, 3, tf.range(n), other)) != drawn).any()


def test_drawn_texts_are_the_same_for_a_row_in_any_batch():
    search = Search(num_beams=2, top_k=3, seed=4)
    ids, scores = run(search, table(1))
    again, _ = run(search, table(1), empty=[0])
    np.testing.assert_array_equal(again[1:], ids[1:])
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "`num_beams` must be at least 1, but is 0"),
        ({"num_answers": 2}, "`num_answers` must be at most `num_beams`, 1, but is 2"),
        ({"min_length": 9, "max_length": 4}, "`min_length` must be at most `max_length`, 4"),
        ({"top_p": 0.0}, "`top_p` must be above 0 and 1 at most, or None, but is 0.0"),
        ({"temperature": 0.0}, "`temperature` must be above 0"),
        ({"length_penalty": -1.0}, "`length_penalty` must be 0 or above"),
    ],
)
def test_settings_are_checked(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Search(**options)
