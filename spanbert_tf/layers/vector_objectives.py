"""What vectors of texts learn: to be near those that mean the same, and far from all others.

Letters: b records of a batch, k texts of a record, n candidates, d numbers of a vector.
"""

from typing import Any

from keras import ops

_NEVER = -1e9  # In place of the logit of what is no candidate.


def unit_vectors(vectors: Any) -> Any:
    """Vectors of length 1, float32, of any; 0 stays 0."""
    return ops.normalize(ops.cast(vectors, "float32"), axis=-1, order=2, epsilon=1e-12)


def ranking_losses(vectors: Any, numbers: Any, temperature: float, symmetric: bool = False) -> Any:
    """Cross-entropy of each record's second text among all texts of a batch but the first ones.

    Multiple negatives ranking (Henderson et al., 2017), which is InfoNCE (van den Oord et al.,
    2018) with the batch for negatives: the logit of a candidate is its cosine through the
    temperature.  No negatives of a record are texts that are equal to its own, and the second texts
    of what has its first text or its topic.

    Args:
        vectors: float32 `[k, b, d]`, of length 1: of the first texts, the second ones, and, if k is
            above 2, of texts that are negatives, above all to the first text of their record.
        numbers: int `[b, k + 1]`, a number for each text and one for the record's topic, the same
            where they are equal.
        temperature: What cosines are divided by.
        symmetric: Whether the first texts are also to be found among themselves by the second ones;
            the loss is the mean of both.

    Returns:
        float32 `[b]`.
    """
    losses = _ranking_losses(vectors, numbers, temperature)
    if not symmetric:
        return losses
    turned = ops.concatenate([ops.flip(numbers[:, :2], axis=1), numbers[:, -1:]], axis=1)
    backwards = _ranking_losses(ops.stack([vectors[1], vectors[0]]), turned, temperature)
    return (losses + backwards) / 2


def _ranking_losses(vectors: Any, numbers: Any, temperature: float) -> Any:
    first, second = vectors[0], vectors[1]
    candidates = ops.reshape(vectors[1:], (-1, vectors.shape[-1]))
    texts, topics = numbers[:, :-1], numbers[:, -1]
    # Negatives of their own are there to be told from their record's first text and topic.
    none = ops.full_like(ops.reshape(texts[:, 2:], (-1,)), -1)
    of_candidates = ops.reshape(ops.transpose(texts[:, 1:]), (1, -1))
    firsts_of_candidates = ops.concatenate([texts[:, 0], none])[None]
    topics_of_candidates = ops.concatenate([topics, none])[None]
    is_equal = (
        ops.equal(of_candidates, texts[:, :1])
        | ops.equal(of_candidates, texts[:, 1:2])
        | ops.equal(firsts_of_candidates, texts[:, :1])
        | ops.equal(topics_of_candidates, topics[:, None])
    )
    places = ops.arange(ops.shape(candidates)[0])
    is_own = ops.equal(places[None, :], ops.arange(ops.shape(first)[0])[:, None])
    logits = ops.matmul(first, ops.transpose(candidates)) / temperature
    logits = ops.where(ops.logical_and(is_equal, ops.logical_not(is_own)), _NEVER, logits)
    return ops.logsumexp(logits, axis=1) - ops.sum(first * second, axis=1) / temperature


def similarity_losses(vectors: Any, similarities: Any) -> Any:
    """Squares of what the cosines of pairs are wrong by.

    Args:
        vectors: float32 `[2, b, d]`, of length 1.
        similarities: float `[b]`, what the cosines should be.

    Returns:
        float32 `[b]`.
    """
    cosines = ops.sum(vectors[0] * vectors[1], axis=1)
    return ops.square(cosines - ops.cast(similarities, "float32"))


def distillation_losses(vectors: Any, teachers: Any) -> Any:
    """How far vectors are from those of a teacher: 1 less the cosine, the mean over texts.

    Args:
        vectors: float32 `[k, b, d]`, of length 1.
        teachers: float `[b, k, d]`, of any length.

    Returns:
        float32 `[b]`.
    """
    cosines = ops.sum(vectors * ops.swapaxes(unit_vectors(teachers), 0, 1), axis=2)
    return ops.mean(1.0 - cosines, axis=0)
