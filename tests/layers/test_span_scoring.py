"""Spans by two logits a token, and in bands beside their first tokens, against all pairs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import ops

from spanbert_tf.layers.span_scoring import (
    LEAST_BLOCK,
    NEVER,
    BoundaryStates,
    SpanScores,
    banded_products,
    banded_values,
    best_candidates,
    best_spans,
    span_ends,
    values_of_spans,
)
from tests.layer_checks import check_layer, randomize


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


def test_the_examples_of_bands():
    left, right = np.array([[[1], [2], [3]]], "float32"), np.array([[[1], [10], [100]]], "float32")
    assert np.array(banded_products(left, right, 2)).tolist() == [[[1, 10], [20, 200], [300, 0]]]
    values = np.array([[5, 6, 7]], "int32")
    assert np.array(banded_values(values, 2)).tolist() == [[[5, 6], [6, 7], [7, 0]]]
    assert np.array(banded_values(values, 2, -2, 9)).tolist() == [[[9, 9], [9, 5], [5, 6]]]


@pytest.mark.parametrize("width", [1, 2, 7, LEAST_BLOCK, LEAST_BLOCK + 5])
@pytest.mark.parametrize("length", [1, 5, LEAST_BLOCK, LEAST_BLOCK + 1, 3 * LEAST_BLOCK - 1])
@pytest.mark.parametrize("is_before", [False, True])
def test_bands_equal_the_plain_product(width: int, length: int, is_before: bool):
    generator = np.random.default_rng(width * length)
    left, right = generator.standard_normal((2, 3, length, 5)).astype("float32")
    first = -width if is_before else 0
    plain = np.zeros((3, length, width), "float32")
    values = np.full((3, length, width), -7.0, "float32")
    for i in range(length):
        for d in range(width):
            j = i + first + d
            if 0 <= j < length:
                plain[:, i, d] = (left[:, i] * right[:, j]).sum(axis=1)
                values[:, i, d] = right[:, j, 0]
    found = np.array(banded_products(left, right, width, first))
    np.testing.assert_allclose(found, plain, atol=1e-5)
    np.testing.assert_array_equal(banded_values(right[:, :, 0], width, first, -7.0), values)


STATES = np.random.default_rng(0).standard_normal((2, 7, 6)).astype("float32")
ALLOWED = np.array([[0, 1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0, 0]], "int32")


def test_boundary_states_pass_every_check(tmp_path: Path):
    states = check_layer(lambda **kwargs: BoundaryStates(0.3, **kwargs), (STATES,), tmp_path)
    assert states.shape == (2, 7, 12)


def test_span_scores_equal_the_plain_sums():
    """Start, end and both together, of each pair; nothing for padding, [CLS] and [SEP]."""
    layer = SpanScores(3, prior=-5.0)
    layer(STATES, ALLOWED)
    assert float(layer.first_score.bias[0]) == -5
    randomize(layer)
    first, last = np.split(np.array(layer.boundaries(STATES), "float64"), 2, axis=2)
    (of_first, bias), of_last = layer.first_score.get_weights(), layer.last_score.get_weights()[0]
    kernel = layer.bilinear.get_weights()[0]
    found = np.array(layer(STATES, ALLOWED))
    assert found.shape == (2, 7, 3)
    for b in range(2):
        for i in range(7):
            for d in range(3):
                if i + d < 7 and ALLOWED[b, i] and ALLOWED[b, i + d]:
                    score = first[b, i] @ kernel @ last[b, i + d] / np.sqrt(6)
                    score += first[b, i] @ of_first[:, 0] + bias[0] + last[b, i + d] @ of_last[:, 0]
                    assert found[b, i, d] == pytest.approx(score, abs=1e-4)
                else:
                    assert found[b, i, d] < NEVER / 2


@settings(max_examples=40)
@given(
    st.integers(1, 3), st.integers(1, 11), st.integers(1, 4), st.integers(1, 5), st.integers(1, 9)
)
def test_candidates_are_the_best_of_each_block(b: int, s: int, width: int, block: int, count: int):
    scores = np.random.default_rng(s * width + b).permutation(b * s * width).astype("float32")
    scores = scores.reshape(b, s, width)
    scores[:, -1, -1] = NEVER
    places = np.array(best_candidates(scores, block, count))
    firsts, lasts = map(np.array, span_ends(places, scores))
    values = np.array(values_of_spans(places, scores))
    for row in range(b):
        expected = []
        for begin in range(0, s, block):
            spans = [
                (-scores[row, i, d], i, d)
                for i in range(begin, min(begin + block, s))
                for d in range(width)
            ]
            expected += sorted((i, i + d) for _, i, d in sorted(spans)[:count])
        there = values[row] > NEVER / 2
        found = list(zip(firsts[row, there], lasts[row, there], strict=True))
        assert found == [
            (i, min(j, s - 1)) for i, j in expected if scores[row, i, j - i] > NEVER / 2
        ]
        assert (np.diff(places[row]) >= 0).all()
