"""The best spans of two logits a token, against a search of all pairs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import ops

from spanbert_tf.layers.span_scoring import NEVER, best_spans


def test_the_example():
    start, end = np.array([[0, 3, 1]], "float32"), np.array([[2, 0, 2]], "float32")
    scores, firsts, lasts = map(np.array, best_spans(start, end, 2, 2))
    assert scores.tolist() == [[5, 3]]
    assert [firsts.tolist(), lasts.tolist()] == [[[1, 1]], [[2, 1]]]


@settings(max_examples=60)
@given(st.data(), st.integers(1, 3), st.integers(1, 7), st.integers(1, 9), st.integers(1, 6))
def test_equal_a_search_of_all_pairs(data: st.DataObject, b: int, s: int, longest: int, k: int):
    logits = arrays.arrays(np.float32, (b, s), elements=st.integers(-3, 3))
    allowed = data.draw(arrays.arrays(bool, (b, s)))
    start, end = (np.where(allowed, data.draw(logits), np.float32(NEVER)) for _ in range(2))
    scores, firsts, lasts = map(np.array, best_spans(start, end, longest, k))
    assert scores.shape == firsts.shape == lasts.shape == (b, k)
    for row in range(b):
        pairs = [
            (-(start[row, i] + end[row, j]), i, j)
            for i in np.flatnonzero(allowed[row])
            for j in np.flatnonzero(allowed[row])
            if 0 <= j - i < longest
        ]
        expected = sorted(pairs)[:k]
        found = scores[row] > NEVER / 2
        assert found.sum() == len(expected)
        found_pairs = zip(-scores[row, found], firsts[row, found], lasts[row, found], strict=True)
        assert list(found_pairs) == expected


def test_memory_is_linear_in_the_length():
    """A row of 20,000 tokens, of which all pairs would take 1.6 GB."""
    logits = ops.convert_to_tensor(np.zeros((1, 20_000), "float32"))
    scores, firsts, _ = best_spans(logits, logits, 30, 5)
    assert np.array(scores).tolist() == [[0] * 5]
    assert np.array(firsts).tolist() == [[0] * 5]
