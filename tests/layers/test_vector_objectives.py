"""Losses of vectors, against loops over single texts."""

import numpy as np
import pytest

from spanbert_tf.layers.vector_objectives import (
    distillation_losses,
    ranking_losses,
    similarity_losses,
    unit_vectors,
)

TEXTS, RECORDS, WIDTH = 3, 5, 7


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((TEXTS, RECORDS, WIDTH)).astype("float32")
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def ranking_loss(vectors: np.ndarray, numbers: np.ndarray, number: int, at: float) -> float:
    """-log of the own text's share, over the candidates that do not belong to the record."""
    own = np.exp(vectors[0, number] @ vectors[1, number] / at)
    total = own
    for place in range(1, len(vectors)):
        for other in range(vectors.shape[1]):
            belongs = numbers[other, place] in numbers[number, :2]
            if place == 1:
                belongs |= numbers[other, 0] == numbers[number, 0]
                belongs |= numbers[other, -1] == numbers[number, -1]
            if not belongs:
                total += np.exp(vectors[0, number] @ vectors[place, other] / at)
    return -np.log(own / total)


def different(texts: int) -> np.ndarray:
    """Numbers of texts and topics that are all different."""
    return np.arange(RECORDS * (texts + 1)).reshape(RECORDS, texts + 1).astype("int32")


@pytest.mark.parametrize("texts", [2, 3])
def test_ranking_leaves_equal_texts_out(vectors: np.ndarray, texts: int):
    numbers = different(texts)
    numbers[3, 1] = numbers[0, 1]  # Two records have one positive,
    numbers[2, 1] = numbers[1, 0]  # the positive of one is another's anchor.
    of_texts = vectors[:texts]
    expected = [ranking_loss(of_texts, numbers, n, 0.1) for n in range(RECORDS)]
    losses = np.asarray(ranking_losses(of_texts, numbers, 0.1))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    others = np.asarray(ranking_losses(of_texts, different(texts), 0.1))
    differ = np.abs(others - losses) > 1e-6
    assert differ.tolist() == [True, True, False, True, False]

    both = np.asarray(ranking_losses(of_texts, numbers, 0.1, symmetric=True))
    turned = numbers[:, [1, 0, -1]]
    back = [ranking_loss(vectors[1::-1], turned, n, 0.1) for n in range(RECORDS)]
    np.testing.assert_allclose(both, (np.array(expected) + back) / 2, rtol=1e-5)


@pytest.mark.parametrize("column", [0, -1], ids=["anchor", "topic"])
def test_second_texts_of_one_anchor_or_topic_are_no_negatives(vectors: np.ndarray, column: int):
    numbers = different(TEXTS)
    numbers[4, column] = numbers[1, column]
    expected = [ranking_loss(vectors, numbers, n, 0.1) for n in range(RECORDS)]
    losses = np.asarray(ranking_losses(vectors, numbers, 0.1))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    differ = np.abs(np.asarray(ranking_losses(vectors, different(TEXTS), 0.1)) - losses) > 1e-6
    assert differ.tolist() == [False, True, False, False, True]


def test_a_batch_of_one_pair_has_nothing_to_tell_apart(vectors: np.ndarray):
    numbers = np.array([[0, 1, 2]], "int32")
    assert np.asarray(ranking_losses(vectors[:2, :1], numbers, 0.05)) == pytest.approx(0, abs=1e-6)


def test_cosines_are_to_be_the_scores_and_the_teachers_vectors(vectors: np.ndarray):
    scores = np.linspace(0, 1, RECORDS).astype("float32")
    cosines = np.array([a @ b for a, b in zip(vectors[0], vectors[1], strict=True)])
    losses = np.asarray(similarity_losses(vectors[:2], scores))
    np.testing.assert_allclose(losses, (cosines - scores) ** 2, atol=1e-6)

    teachers = 3 * np.random.default_rng(1).standard_normal((RECORDS, TEXTS, WIDTH))
    expected = [
        np.mean([1 - vectors[k, n] @ of / np.linalg.norm(of) for k, of in enumerate(teachers[n])])
        for n in range(RECORDS)
    ]
    losses = np.asarray(distillation_losses(vectors, teachers.astype("float32")))
    np.testing.assert_allclose(losses, expected, atol=1e-6)


def test_vectors_become_as_long_as_one():
    long = np.array([[3.0, 4.0], [0.0, 0.0]], "float16")
    unit = np.asarray(unit_vectors(long))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0]], atol=1e-6)
    assert unit.dtype == np.float32
