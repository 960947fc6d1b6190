"""Interests of a reader from what was read, and texts that fit them.

One vector for all that a reader likes lies between the interests and near to none, so that there
are several, found by clustering, each with a weight, as in PinnerSage (Pal et al., 2020).

Letters: n texts that were read, d width, k recommendations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import cut_tree, fcluster, linkage

from spanbert_tf.search.text_index import Hit, TextIndex
from spanbert_tf.search.unit_vectors import normalize


@dataclass(frozen=True, eq=False)
class Interest:
    """What a reader likes.

    Attributes:
        vector: float32 `[d]`, of length 1.
        weight: Its part of all interests, which sum to 1.
        rows: Which of the texts belong to it.
    """

    vector: np.ndarray
    weight: float
    rows: tuple[int, ...]


def recency_weights(ages: Any, half_life: float) -> np.ndarray:
    """Weights of things by their age: half for each half-life that has passed.

        [0, 30, 60] days, half-life 30 -> [1, 0.5, 0.25]

    Args:
        ages: Numbers `[n]`, of any unit.
        half_life: Of the same unit.

    Raises:
        ValueError: `half_life` is not positive.
    """
    if not half_life > 0:
        raise ValueError(f"`half_life` must be above 0, but is {half_life}.")
    return 0.5 ** (np.asarray(ages, np.float64) / half_life)


def find_interests(
    vectors: Any, weights: Any = None, most: int = 5, least_similarity: float = 0.5
) -> list[Interest]:
    """Groups what was read into interests.

    Clusters grow by joining the two of the highest mean cosine (average linkage), as long as that
    is not below `least_similarity`, and further while they are more than `most`.

    Args:
        vectors: Numbers `[n, d]`, of what was read; `TextIndex.vectors_of` gives them.
        weights: Numbers `[n]`, how much each counts, as by `recency_weights`.  `None`: all alike.
        most: How many interests there may be.
        least_similarity: The mean cosine at which clusters are one interest.  What is near depends
            on the encoder: some give any two texts a cosine of 0.4.

    Returns:
        The interests, that of the most weight first.

    Raises:
        ValueError: There are no vectors, or one is NaN, infinite or 0; there are not as many
            weights, or one is negative, or all are 0; or `most` is below 1.
    """
    units = normalize(vectors)
    counted = np.ones(len(units)) if weights is None else np.asarray(weights, np.float64)
    if not len(units):
        raise ValueError("expected vectors of what was read, got none.")
    if counted.shape != (len(units),) or not (counted >= 0).all() or not 0 < counted.sum() < np.inf:
        raise ValueError(
            f"expected {len(units)} weights from 0, not all of them 0, got {counted!r:.200}."
        )
    if most < 1:
        raise ValueError(f"`most` must be at least 1, but is {most}.")
    counted = counted / counted.sum()
    numbers = np.ones(1, int)
    if len(units) > 1:
        tree = linkage(units, method="average", metric="cosine")
        numbers = fcluster(tree, 1 - least_similarity, criterion="distance")
        if numbers.max() > most:
            numbers = cut_tree(tree, most)[:, 0] + 1
    interests = []
    for number in range(1, numbers.max() + 1):
        rows = np.flatnonzero(numbers == number)
        weight = float(counted[rows].sum())
        if weight > 0:
            vector = normalize(counted[rows] @ units[rows][None], "interest")[0]
            interests.append(Interest(vector, weight, tuple(rows.tolist())))
    return sorted(interests, key=lambda interest: (-interest.weight, interest.rows))


def recommend(
    index: TextIndex,
    interests: Sequence[Interest],
    k: int = 10,
    exclude: Iterable[str | int] = (),
) -> list[Hit]:
    """Ranks texts for a reader.

    Each interest has places in proportion to its weight, by the highest averages (D'Hondt): the
    next place is that of the interest whose weight through one more than its places is highest, and
    goes to the text that is nearest to it and not placed yet.

    Args:
        index: The texts.
        interests: As `find_interests` gives them.
        k: How many texts.
        exclude: Ids of texts that are left out, such as those that were read.

    Returns:
        At most `k` hits, the best first; the score of each is its nearness to its interest.

    Raises:
        ValueError: `k` is not positive, there are no interests, or they have another width than the
            index.
    """
    if not interests:
        raise ValueError("expected interests, got none.")
    if k < 1:
        raise ValueError(f"`k` must be at least 1, but is {k}.")
    taken = set(exclude)
    found = index.search_vectors(np.stack([of.vector for of in interests]), k + len(taken))
    waiting = [iter(hits) for hits in found]
    averages = [of.weight for of in interests]
    places = [1] * len(interests)
    ranked: list[Hit] = []
    while len(ranked) < k and max(averages) > 0:
        number = averages.index(max(averages))
        hit = next((hit for hit in waiting[number] if hit.id not in taken), None)
        if hit is None:  # It has no more texts.
            averages[number] = 0.0
            continue
        taken.add(hit.id)
        ranked.append(hit)
        places[number] += 1
        averages[number] = interests[number].weight / places[number]
    return ranked
