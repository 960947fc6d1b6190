"""Negatives found by search, against cosines of all texts."""

import numpy as np
import pytest

from spanbert_tf.search.hard_negatives import mine_negatives
from tests.search.embedders import WordVectors

ANCHORS = ["river bank water", "money bank loan", "river bank water", "snow"]
POSITIVES = ["the river bank", "the bank gave a loan", "water of a river", "ice and snow"]
CORPUS = [
    *POSITIVES,
    *("a river of money", "loan", "water", "snow in the river", "river bank water", "nothing"),
]


def cosine(one: str, other: str) -> float:
    a, b = WordVectors().encode_text([one, other])
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("count", [1, 3])
def test_the_nearest_that_do_not_belong(count: int):
    mined = mine_negatives(WordVectors(), ANCHORS, POSITIVES, CORPUS, count)
    expected = []
    for anchor, positive in zip(ANCHORS, POSITIVES, strict=True):
        known = {p for a, p in zip(ANCHORS, POSITIVES, strict=True) if a == anchor} | {anchor}
        bound = 0.95 * cosine(anchor, positive)
        others = sorted(set(CORPUS) - known, key=lambda text: -cosine(anchor, text))
        hard = [text for text in others if cosine(anchor, text) <= bound]
        expected += [(anchor, positive, text) for text in hard[:count]]
    assert len(expected) > count
    assert [*zip(*mined, strict=True)] == expected


def test_positives_are_the_corpus_if_there_is_no_other():
    _, _, negatives = mine_negatives(WordVectors(), ANCHORS, POSITIVES)
    assert negatives
    assert set(negatives) <= set(POSITIVES)
    assert mine_negatives(WordVectors(), ["snow"], ["ice and snow"]) == ([], [], [])


def test_bad_pairs_are_named():
    with pytest.raises(ValueError, match="got 1 anchors and 2 positives"):
        mine_negatives(WordVectors(), ["a"], ["b", "c"])
    with pytest.raises(ValueError, match="got 0 anchors and 0 positives"):
        mine_negatives(WordVectors(), [], [])
    with pytest.raises(ValueError, match="but are 0, 50 and "):
        mine_negatives(WordVectors(), ["a"], ["b"], count=0)
    with pytest.raises(TypeError):
        mine_negatives(WordVectors(), [1], ["b"])
