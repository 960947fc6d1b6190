"""Exact search in blocks, against all products at once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.search import vector_store
from spanbert_tf.search.top_scores import TopScores
from spanbert_tf.search.unit_vectors import normalize
from spanbert_tf.search.vector_store import STORES, VectorStore, count_bits
from spanbert_tf.settings import VECTORS
from tests.search.embedders import clustered_vectors

WIDTH = 70  # More than a word of bits, and no multiple of 8.
VECTORS_IN_STORE = clustered_vectors(700, WIDTH)
QUERIES = clustered_vectors(9, WIDTH, seed=1)


def nearest(scores: np.ndarray, k: int) -> np.ndarray:
    """Rows of the highest scores, of equal ones the first: int `[q, k]`."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def assert_same(found: tuple, expected: tuple) -> None:
    """The same rows, with the same scores but for the order in which they are summed."""
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)


def make_store(kind: str, parts: int = 5) -> VectorStore:
    store = STORES[kind](WIDTH)
    for part in np.array_split(VECTORS_IN_STORE, parts):
        store.append(store.pack(part))
    return store


@given(
    values=st.lists(st.integers(-3, 3), min_size=1, max_size=30),
    k=st.integers(1, 5),
    size=st.integers(1, 8),
)
def test_top_scores_of_blocks_are_those_of_all(values: list[int], k: int, size: int):
    scores = np.array([values, values[::-1], [0] * len(values)], np.float32)
    k = min(k, len(values))
    best = TopScores(3, k)
    for begin in range(0, len(values), size):
        best.update(scores[:, begin : begin + size], begin)
    np.testing.assert_array_equal(best.rows, nearest(scores, k))
    np.testing.assert_array_equal(best.scores, np.take_along_axis(scores, best.rows, 1))


def test_kinds_are_those_of_the_settings():
    assert tuple(STORES) == VECTORS


@pytest.mark.parametrize("queries", [1, 9])
def test_float32_is_exact(queries: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(VectorStore, "most_rows", 64)
    monkeypatch.setattr(vector_store, "_QUERIES", 4)
    store = make_store("float32")
    scores, rows = store.search(QUERIES[:queries], 7)
    expected = QUERIES[:queries].astype(float) @ VECTORS_IN_STORE.T.astype(float)
    np.testing.assert_array_equal(rows, nearest(expected, 7))
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, 1), atol=1e-6)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


def test_int8_scores_are_near_and_of_vectors_of_length_1():
    store = make_store("int8")
    scores, rows = store.search(QUERIES, 700)
    expected = np.take_along_axis(QUERIES @ VECTORS_IN_STORE.T, rows, 1)
    assert np.abs(scores - expected).max() < 0.01
    assert np.abs(scores - expected).max() > 1e-5  # They are rounded.
    kept = store.vectors(np.arange(700))
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-6)
    (found, _) = store.search(kept[:3], 1)
    np.testing.assert_allclose(found[:, 0], 1, atol=1e-6)


def test_bits_choose_by_signs_that_differ_and_score_by_the_query(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vector_store.BitStore, "most_rows", 100)
    store = make_store("bits")
    scores, rows = store.search(QUERIES, 3)
    differ = ((QUERIES[:, None] > 0) != (VECTORS_IN_STORE > 0)).sum(axis=2)
    estimates = QUERIES @ np.where(VECTORS_IN_STORE > 0, 1, -1).T / np.sqrt(WIDTH)
    for query, of in enumerate(nearest(-differ, 64)):  # Candidates, though three are asked for.
        best = sorted(of, key=lambda row, query=query: (-estimates[query, row], row))[:3]
        assert rows[query].tolist() == best
        np.testing.assert_allclose(scores[query], estimates[query, best], atol=1e-6)


def test_bits_with_vectors_score_by_these():
    store = make_store("bits+float32")
    noise = np.random.default_rng(2).standard_normal((100, WIDTH))
    queries = normalize(VECTORS_IN_STORE[:100] + 0.02 * noise)
    scores, rows = store.search(queries, 5)
    cosines = queries @ VECTORS_IN_STORE.T
    np.testing.assert_allclose(scores, np.take_along_axis(cosines, rows, 1), atol=1e-6)
    assert (np.diff(scores) <= 0).all()
    exact = nearest(cosines, 5)
    found = np.mean([np.isin(a, b).mean() for a, b in zip(exact, rows, strict=True)])
    assert found > 0.9


@pytest.mark.parametrize("kind", VECTORS)
def test_one_addition_or_many_and_files_are_the_same(kind: str, tmp_path: Path):
    at_once, store = make_store(kind, parts=1), make_store(kind, parts=100)
    assert len(store._chunks) < 10
    assert_same(store.search(QUERIES, 4), at_once.search(QUERIES, 4))

    names = store.write(tmp_path, "v.")
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < store.nbytes + 500
    again = STORES[kind](WIDTH)
    again.read(tmp_path, "v.", 700)
    assert again.nbytes == store.nbytes
    assert_same(again.search(QUERIES, 4), at_once.search(QUERIES, 4))
    again.append(again.pack(QUERIES))  # What is mapped is added to.
    assert (again.search(QUERIES[-1:], 1)[1] == 708).all()
    with pytest.raises(CheckpointError, match=r"expected .* of shape \(699"):
        STORES[kind](WIDTH).read(tmp_path, "v.", 699)


@pytest.mark.parametrize("kind", VECTORS)
def test_more_are_asked_for_than_there_are(kind: str):
    store = STORES[kind](WIDTH)
    store.append(store.pack(VECTORS_IN_STORE[:3]))
    scores, rows = store.search(QUERIES, 10)
    assert scores.shape == rows.shape == (9, 3)
    assert (np.sort(rows, axis=1) == [0, 1, 2]).all()
    assert [of.shape for of in store.search(QUERIES[:0], 2)] == [(0, 2)] * 2


def test_sizes():
    sizes = {kind: make_store(kind).nbytes / 700 for kind in VECTORS}
    assert sizes == {"float32": 280, "int8": 74, "bits": 16, "bits+float32": 296}


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2))
def test_bits_are_counted_with_any_numpy(numbers: list[int]):
    words = np.array([numbers], np.uint64)
    expected = [[number.bit_count() for number in numbers]]
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(np, "bitwise_count", raising=False)
        assert count_bits(words).tolist() == expected
    assert count_bits(words).tolist() == expected


def test_lengths_become_1():
    vectors = np.array([[3, 4], [1e30, 0]])
    np.testing.assert_allclose(normalize(vectors), [[0.6, 0.8], [1, 0]])
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        normalize([1, 2])
    for bad, why in ((np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (0, "is 0")):
        with pytest.raises(ValueError, match=rf"vector of text 1 .*{why}"):
            normalize([[1, 1], [bad, 0]], "text")
