"""Scores of rankings, against scikit-learn and figures worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from spanbert_tf.metrics.retrieval import (
    mean_reciprocal_rank,
    ndcg_at,
    recall_at,
    retrieval_figures,
)

# Two queries: of the first, 7 is second of three and 8 was not found; of the second, 1 is first.
RANKINGS = [[5, 7, 9], [1, 2, 3]]
RELEVANT = [{7, 8}, {1}]


def test_figures_by_hand():
    assert retrieval_figures(RANKINGS, RELEVANT, k=2) == pytest.approx(
        {
            "recall@1": (0 + 1) / 2,
            "recall@2": (1 / 2 + 1) / 2,
            "mrr@2": (1 / 2 + 1) / 2,
            # At rank 2 the gain is 1 / log2(3); at best it were 1 + 1 / log2(3).
            "ndcg@2": (1 / math.log2(3) / (1 + 1 / math.log2(3)) + 1) / 2,
        }
    )
    assert mean_reciprocal_rank(RANKINGS, RELEVANT, k=1) == 0.5
    assert list(retrieval_figures(RANKINGS, RELEVANT, k=1)) == ["recall@1", "mrr@1", "ndcg@1"]


def test_ids_may_be_anything_and_rankings_short_or_empty():
    rankings, relevant = [["a", "b"], []], [{"b": 2.0, "c": 0.0}, {"a"}]
    assert recall_at(rankings, relevant, k=10) == 0.5
    assert mean_reciprocal_rank(rankings, relevant) == 0.25
    assert ndcg_at(rankings, relevant, k=10) == pytest.approx(1 / math.log2(3) / 2)


@given(
    grades=st.lists(st.integers(0, 3), min_size=2, max_size=9).filter(any),
    k=st.integers(1, 10),
    seed=st.integers(0, 99),
)
def test_graded_rankings_score_as_those_of_scikit_learn(grades: list[int], k: int, seed: int):
    scores = np.random.default_rng(seed).permutation(len(grades))  # All different.
    ranking = np.argsort(-scores).tolist()
    expected = ndcg_score([grades], [scores], k=k)
    assert ndcg_at([ranking], [dict(enumerate(grades))], k) == pytest.approx(expected)


@given(right=st.integers(0, 6), seed=st.integers(0, 99))
def test_with_one_relevant_the_reciprocal_rank_is_the_average_precision(right: int, seed: int):
    scores = np.random.default_rng(seed).permutation(7)
    truth = np.arange(7) == right
    expected = label_ranking_average_precision_score([truth], [scores])
    ranking = np.argsort(-scores).tolist()
    assert mean_reciprocal_rank([ranking], [{right}]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rankings", "relevant", "k", "message"),
    [
        ([], [], 1, "found 0 rankings"),
        ([[1]], [{1}, {2}], 1, "found 1 rankings and what is relevant to 2 queries"),
        ([[1], [2]], [{1}, set()], 1, "query 1: nothing is relevant"),
        ([[1]], [{1: 0.0}], 1, "query 0: nothing is relevant"),
        ([[1]], [{1: 1.0, 2: -1.0}], 1, "query 0: grades must be numbers from 0"),
        ([[1]], [{1: math.nan}], 1, "query 0: grades must be numbers from 0"),
        ([[1, 2, 1]], [{2}], 1, "query 0: an id is ranked twice"),
        ([[1]], [{1}], 0, "`k` must be at least 1, but is 0"),
    ],
)
def test_bad_input_is_named(rankings: list, relevant: list, k: int, message: str):
    with pytest.raises(ValueError, match=message):
        retrieval_figures(rankings, relevant, k)
