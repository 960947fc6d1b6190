"""Interests by clustering, and places in proportion to their weights."""

import numpy as np
import pytest

from spanbert_tf import TextIndex, find_interests, recommend
from spanbert_tf.search.recommendation import Interest, recency_weights
from tests.search.embedders import WordVectors

# Three directions, each with two vectors near to it.
READ = np.array([[9, 1, 0], [9, 0, 1], [0, 9, 1], [1, 9, 0], [0, 1, 9], [1, 0, 9.0]])
ITEMS = [f"{word} {n}" for word in ("snow", "film", "goal") for n in "abcdef"]


def test_recency_halves():
    assert recency_weights([0, 30, 60], half_life=30).tolist() == [1, 0.5, 0.25]
    with pytest.raises(ValueError, match="`half_life` must be above 0, but is 0"):
        recency_weights([1], 0)


def test_interests_are_the_clusters_with_the_weight_of_theirs():
    interests = find_interests(READ, [1, 1, 5, 1, 2, 2])
    assert [interest.rows for interest in interests] == [(2, 3), (4, 5), (0, 1)]
    assert [interest.weight for interest in interests] == pytest.approx([6 / 12, 4 / 12, 2 / 12])
    units = READ / np.linalg.norm(READ, axis=1, keepdims=True)
    expected = 5 * units[2] + units[3]
    assert interests[0].vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
    assert interests[0].vector.dtype == np.float32


def test_there_are_no_more_than_most():
    assert len(find_interests(READ, most=2)) == 2
    assert len(find_interests(READ, most=1)) == 1
    assert [of.rows for of in find_interests(READ, most=1)] == [(0, 1, 2, 3, 4, 5)]
    assert len(find_interests(READ, most=6, least_similarity=0.999)) == 6
    assert len(find_interests(READ, least_similarity=-1)) == 1


def test_one_text_or_several_alike_are_one_interest():
    for vectors in (READ[:1], np.repeat(READ[:1], 4, axis=0)):
        (interest,) = find_interests(vectors)
        assert interest.weight == pytest.approx(1)
        assert interest.vector == pytest.approx(READ[0] / np.linalg.norm(READ[0]), abs=1e-6)


def test_what_counts_nothing_is_no_interest():
    assert [of.rows for of in find_interests(READ, [1, 1, 0, 0, 0, 2])] == [(0, 1), (4, 5)]


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (READ[:0], {}, "expected vectors of what was read, got none"),
        (READ, {"weights": [1, 2]}, "expected 6 weights from 0"),
        (READ, {"weights": [1, 1, 1, 1, 1, -1]}, "expected 6 weights from 0"),
        (READ, {"weights": [0] * 6}, "not all of them 0"),
        (READ, {"weights": [np.nan] * 6}, "expected 6 weights"),
        (READ, {"most": 0}, "`most` must be at least 1, but is 0"),
        ([[1.0, np.nan]], {}, "the vector of row 0 is NaN"),
    ],
)
def test_bad_interests(vectors: object, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        find_interests(vectors, **options)


@pytest.fixture(scope="module")
def index() -> TextIndex:
    index = TextIndex(WordVectors())
    index.add(ITEMS, ITEMS)
    return index


def interest(index: TextIndex, word: str, weight: float) -> Interest:
    return Interest(index.embedder.encode_text([word])[0], weight, ())


def test_places_are_in_proportion_to_weights(index: TextIndex):
    interests = [interest(index, "film", 0.3), interest(index, "snow", 0.7)]
    words = [hit.id.split()[0] for hit in recommend(index, interests, k=6)]
    # Snow has 0.7, and with each place 0.35, 0.233, 0.175, 0.14; film has 0.3, 0.15 and 0.1.
    assert words == ["snow", "snow", "film", "snow", "snow", "film"]


def test_what_was_read_is_left_out_and_nothing_comes_twice(index: TextIndex):
    interests = [interest(index, "snow", 0.5), interest(index, "snow", 0.5)]
    read = ["snow a", "snow b"]
    hits = recommend(index, interests, k=8, exclude=read)
    assert len({hit.id for hit in hits}) == 8
    assert not {hit.id for hit in hits} & set(read)
    assert {hit.id for hit in hits[:4]} == {f"snow {n}" for n in "cdef"}
    assert len(recommend(index, interests, k=99, exclude=read)) == len(ITEMS) - 2


def test_bad_recommendations(index: TextIndex):
    with pytest.raises(ValueError, match="expected interests, got none"):
        recommend(index, [])
    with pytest.raises(ValueError, match="`k` must be at least 1"):
        recommend(index, [interest(index, "snow", 1.0)], k=0, exclude=["snow a"])
    with pytest.raises(ValueError, match="width 40, but got vectors of width 3"):
        recommend(index, find_interests(READ))
