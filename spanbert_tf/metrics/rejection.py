"""How well scores tell what belongs to a classifier's classes from what belongs to none.

Letters: n texts that belong to a class, m that do not.
"""

import numpy as np

FIGURES = ("out_of_scope_auroc", "out_of_scope_balanced_accuracy", "out_of_scope_min_score")


def rejection_figures(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    """Scores the rejection of what has a low score.

    Args:
        inside: float `[n]`, scores of what belongs to a class.
        outside: float `[m]`, scores of what does not.

    Returns:
        `out_of_scope_auroc`, see `area_under_roc`; `out_of_scope_min_score`, the score that best
        parts the two, see `best_min_score`; and `out_of_scope_balanced_accuracy`, which that
        reaches.

    Raises:
        ValueError: One of the two is empty.
    """
    if not len(inside) or not len(outside):
        raise ValueError(
            f"expected texts that belong to a class and such that do not, found {len(inside)} and "
            f"{len(outside)}."
        )
    min_score, accuracy = best_min_score(inside, outside)
    return dict(zip(FIGURES, (area_under_roc(inside, outside), accuracy, min_score), strict=True))


def area_under_roc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The probability that one of the ones has a higher score than one of the others.

    Where both have the same it counts half.  By the sum of ranks (Mann and Whitney, 1947).
    """
    _, place, counts = np.unique(
        np.concatenate([inside, outside]), return_inverse=True, return_counts=True
    )
    # Ranks from 1; those of equal scores are their mean.
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n, m = len(inside), len(outside)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def best_min_score(inside: np.ndarray, outside: np.ndarray) -> tuple[float, float]:
    """Finds the score below which to reject, of the highest balanced accuracy.

    That is the mean of the part of `inside` that is kept and the part of `outside` that is not.

    Returns:
        The score, halfway between two that there are, the lowest of the best ones; 0 where it is
        best to reject nothing.  And the accuracy.
    """
    inside, outside = (np.asarray(scores, np.float32) for scores in (inside, outside))
    scores = np.unique(np.concatenate([inside, outside]))
    # Of each score: what is lower than it is rejected.
    kept = len(inside) - np.searchsorted(np.sort(inside), scores)
    rejected = np.searchsorted(np.sort(outside), scores)
    hits = kept * len(outside) + rejected * len(inside)  # Integers, of which equals are equal.
    best = int(np.argmax(hits))
    accuracy = float(hits[best] / (2 * len(inside) * len(outside)))
    if best == 0:
        return 0.0, accuracy
    halfway = (scores[best - 1] + scores[best]) / 2
    # Of two float32 side by side it is one of them.
    return float(halfway if halfway > scores[best - 1] else scores[best]), accuracy
