"""Rankings of a search against what is relevant: recall, reciprocal rank and nDCG.

A query has a ranking, ids with the best first, and what is relevant to it: a set of ids, all
equally so, or a dictionary of their grades, numbers of which 0 is not relevant.  All figures are
means over the queries, as trec_eval has them.
"""

from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np

Ranking = Sequence[Hashable]
Relevant = Set[Any] | Mapping[Any, float]


def retrieval_figures(
    rankings: Sequence[Ranking], relevant: Sequence[Relevant], k: int = 10
) -> dict[str, float]:
    """Scores rankings: `recall@1`, `recall@k`, `mrr@k` and `ndcg@k` by these names.

    Args:
        rankings: Ids for each query, the best first.
        relevant: What is relevant to each.
        k: How many of each ranking count.

    Raises:
        ValueError: See `recall_at`.
    """
    figures = {f"recall@{n}": recall_at(rankings, relevant, n) for n in sorted({1, k})}
    figures[f"mrr@{k}"] = mean_reciprocal_rank(rankings, relevant, k)
    return figures | {f"ndcg@{k}": ndcg_at(rankings, relevant, k)}


def recall_at(rankings: Sequence[Ranking], relevant: Sequence[Relevant], k: int) -> float:
    """The part of what is relevant that is among the first `k`.

        [5, 7, 9] of {7, 8}, k = 2 -> 0.5

    Args:
        rankings: Ids for each query, the best first.
        relevant: What is relevant to each.
        k: How many of each ranking count.

    Raises:
        ValueError: There is no query, or not as many of both; to one nothing is relevant, or an id
            is ranked twice, or a grade is negative or no number; or `k` is not positive.
    """
    found = [
        sum(grade > 0 for grade in ranked) / sum(grade > 0 for grade in ideal)
        for ranked, ideal in _grades(rankings, relevant, k)
    ]
    return float(np.mean(found))


def mean_reciprocal_rank(
    rankings: Sequence[Ranking], relevant: Sequence[Relevant], k: int | None = None
) -> float:
    """One through the rank of the first that is relevant; 0 where none is.

        [5, 7, 9] of {7, 8} -> 1 / 2

    Args:
        rankings: Ids for each query, the best first.
        relevant: What is relevant to each.
        k: How many of each ranking count; `None`: all.

    Raises:
        ValueError: See `recall_at`.
    """
    first = [
        next((1 / rank for rank, grade in enumerate(ranked, 1) if grade > 0), 0.0)
        for ranked, _ in _grades(rankings, relevant, k)
    ]
    return float(np.mean(first))


def ndcg_at(rankings: Sequence[Ranking], relevant: Sequence[Relevant], k: int) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002).

    The sum of grade / log2(rank + 1) over the first `k`, through that of the best ranking there is.

    Args:
        rankings: Ids for each query, the best first.
        relevant: What is relevant to each; grades are gains as they are.
        k: How many of each ranking count.

    Raises:
        ValueError: See `recall_at`.
    """
    parts = [
        _discounted(ranked) / _discounted(ideal[:k])
        for ranked, ideal in _grades(rankings, relevant, k)
    ]
    return float(np.mean(parts))


def _discounted(grades: Sequence[float]) -> float:
    return float(np.sum(np.asarray(grades, float) / np.log2(np.arange(len(grades)) + 2)))


def _grades(
    rankings: Sequence[Ranking], relevant: Sequence[Relevant], k: int | None
) -> list[tuple[list[float], list[float]]]:
    """For each query the grades of the first `k`, and all there are, the highest first."""
    if len(rankings) != len(relevant) or not len(rankings):
        raise ValueError(
            f"expected as many rankings as queries, at least one; found {len(rankings)} rankings "
            f"and what is relevant to {len(relevant)} queries."
        )
    if k is not None and k < 1:
        raise ValueError(f"`k` must be at least 1, but is {k}.")
    pairs = []
    for number, (ranking, of_query) in enumerate(zip(rankings, relevant, strict=True)):
        grades = of_query if isinstance(of_query, Mapping) else dict.fromkeys(of_query, 1.0)
        if not all(0 <= grade < np.inf for grade in grades.values()):
            raise ValueError(f"query {number}: grades must be numbers from 0, got {grades!r:.200}.")
        if not any(grades.values()):
            raise ValueError(f"query {number}: nothing is relevant to it, so it has no score.")
        if len(set(ranking)) < len(ranking):
            raise ValueError(f"query {number}: an id is ranked twice.")
        ranked = [float(grades.get(each, 0)) for each in ranking[:k]]
        pairs.append((ranked, sorted(map(float, grades.values()), reverse=True)))
    return pairs
