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
    """-log of the own text's share, over the candidates that are no text of the record's."""
    own = np.exp(vectors[0, number] @ vectors[1, number] / at)
    total = own
    for place in range(1, len(vectors)):
        for other in range(vectors.shape[1]):
            if numbers[other, place] not in numbers[number, :2]:
                total += np.exp(vectors[0, number] @ vectors[place, other] / at)
    return -np.log(own / total)


@pytest.mark.parametrize("texts", [2, 3])
def test_ranking_leaves_equal_texts_out(vectors: np.ndarray, texts: int):
    numbers = np.arange(RECORDS * texts).reshape(RECORDS, texts).astype("int32")
    numbers[3, 1] = numbers[0, 1]  # Two records have one positive,
    numbers[2, 1] = numbers[1, 0]  # the positive of one is another's anchor.
    of_texts = vectors[:texts]
    expected = [ranking_loss(of_texts, numbers, n, 0.1) for n in range(RECORDS)]
    losses = np.asarray(ranking_losses(of_texts, numbers, 0.1))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    others = np.arange(RECORDS * texts).reshape(RECORDS, texts).astype("int32")
    differ = np.abs(np.asarray(ranking_losses(of_texts, others, 0.1)) - losses) > 1e-6
    assert differ.tolist() == [True, True, False, True, False]

    both = np.asarray(ranking_losses(of_texts, numbers, 0.1, symmetric=True))
    back = [ranking_loss(vectors[1::-1], numbers[:, 1::-1], n, 0.1) for n in range(RECORDS)]
    np.testing.assert_allclose(both, (np.array(expected) + back) / 2, rtol=1e-5)


def test_a_batch_of_one_pair_has_nothing_to_tell_apart(vectors: np.ndarray):
    numbers = np.array([[0, 1]], "int32")
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
