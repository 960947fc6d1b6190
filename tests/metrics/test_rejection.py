"""Rejection by score, against brute force and scikit-learn."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from spanbert_tf.metrics.rejection import area_under_roc, best_min_score, rejection_figures

# Few values, so that many are equal.
SCORES = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12)


@given(inside=SCORES, outside=SCORES)
def test_area_is_the_share_of_pairs_in_order(inside: list[float], outside: list[float]):
    pairs = [(a > b) + (a == b) / 2 for a in inside for b in outside]
    area = area_under_roc(np.array(inside), np.array(outside))
    assert area == pytest.approx(np.mean(pairs))
    truth = [1] * len(inside) + [0] * len(outside)
    assert area == pytest.approx(roc_auc_score(truth, inside + outside))


@example(inside=[0.0] * 5 + [0.125] * 6 + [0.25], outside=[0.0, 0.125])
@given(inside=SCORES, outside=SCORES)
def test_no_other_score_parts_them_better(inside: list[float], outside: list[float]):
    def accuracy(lowest: float) -> float:
        kept = np.mean([score >= lowest for score in inside])
        return (kept + np.mean([score < lowest for score in outside])) / 2

    min_score, reached = best_min_score(np.array(inside), np.array(outside))
    assert 0 <= min_score <= 1
    assert reached == pytest.approx(accuracy(min_score))
    assert reached == pytest.approx(max(map(accuracy, np.linspace(0, 1.01, 300))))
    # Of equals the lowest: the fewest are rejected.
    assert all(accuracy(x) < reached for x in (0.0, *inside, *outside) if x < min_score)


def test_it_is_halfway_and_holds_in_float32():
    assert best_min_score(np.array([0.75, 0.5]), np.array([0.25, 0.0])) == (0.375, 1.0)
    assert best_min_score(np.array([0.25]), np.array([0.5])) == (0.0, 0.5)
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    min_score, accuracy = best_min_score(np.array([high]), np.array([low]))
    assert accuracy == 1
    assert low < np.float32(min_score) <= high


def test_figures():
    assert rejection_figures(np.array([0.9, 0.6, 0.2]), np.array([0.5, 0.1])) == pytest.approx(
        {
            "out_of_scope_auroc": 5 / 6,
            "out_of_scope_balanced_accuracy": (2 / 3 + 1) / 2,
            "out_of_scope_min_score": 0.55,
        }
    )
    with pytest.raises(ValueError, match="found 0 and 1"):
        rejection_figures(np.array([]), np.array([0.5]))
