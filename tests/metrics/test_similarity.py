"""Figures of vectors, against brute force and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from spanbert_tf.metrics import similarity
from spanbert_tf.metrics.similarity import figures_of_ranks, ranks_of_positives, spearman

# Few values, so that many are equal.
NUMBERS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=7, max_size=7)


@given(left=NUMBERS, right=NUMBERS)
def test_spearman_is_scipys(left: list[float], right: list[float]):
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert spearman(left, right) == 0
    else:
        assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic)


def rank_by_hand(number: int, anchors, positives, texts, topics) -> int:
    """Counts the different texts that come before the right one, one at a time."""

    def cosine(text: str) -> float:
        other = positives[texts.index(text)]
        lengths = np.linalg.norm(anchors[number]) * np.linalg.norm(other)
        return float(anchors[number] @ other / lengths)

    others = {
        text
        for text, topic in zip(texts, topics, strict=True)
        if text != texts[number] and not (topic and topic == topics[number])
    }
    return 1 + sum(cosine(text) >= cosine(texts[number]) for text in others)


@pytest.mark.parametrize("block", [2, 1024])
def test_ranks_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch, block: int):
    monkeypatch.setattr(similarity, "_BLOCK", block)
    generator = np.random.default_rng(0)
    anchors = generator.standard_normal((7, 5)).astype("float32")
    texts = ["a", "b", "a", "c", "d", "e", "f"]
    of_text = {text: generator.standard_normal(5).astype("float32") for text in texts}
    positives = np.array([of_text[text] for text in texts])
    topics = ["", "x", "", "x", "y", "", "y"]
    expected = [rank_by_hand(n, anchors, positives, texts, topics) for n in range(7)]
    assert len(set(expected)) > 2
    assert ranks_of_positives(anchors, positives, texts, topics).tolist() == expected
    without = [rank_by_hand(n, anchors, positives, texts, [""] * 7) for n in range(7)]
    assert ranks_of_positives(anchors, positives, texts, [""] * 7).tolist() == without != expected


def test_vectors_that_are_all_alike_find_nothing():
    ones = np.ones((3, 2), "float32")
    ranks = ranks_of_positives(ones, ones, ["a", "b", "c"], ["", "", ""])
    assert ranks.tolist() == [3, 3, 3]
    assert figures_of_ranks(ranks) == {"recall_at_1": 0, "mrr": pytest.approx(1 / 3)}
    # One text alone is found.
    assert ranks_of_positives(ones, ones, ["a", "a", "a"], ["", "", ""]).tolist() == [1, 1, 1]
    assert figures_of_ranks(np.array([1, 2, 4])) == pytest.approx(
        {"recall_at_1": 1 / 3, "mrr": 1.75 / 3}
    )
