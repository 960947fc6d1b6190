"""How well vectors tell which texts belong together.

Letters: n records, m candidates, d numbers of a vector.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

RETRIEVAL_FIGURES = ("recall_at_1", "mrr")
SCORE_FIGURES = ("spearman",)

_BLOCK = 1024  # Rows whose similarities to all candidates are in memory at a time.


def unit_rows(vectors: Any) -> np.ndarray:
    """Vectors `[..., d]` of length 1, float32; 0 stays 0.

    As a network and its figures need it: of any shape, and no vector stops them.  What people give
    to be searched is checked by `search.unit_vectors.normalize`.
    """
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


def ranks_of_positives(
    anchors: np.ndarray,
    positives: np.ndarray,
    texts: Sequence[str],
    topics: Sequence[str],
) -> np.ndarray:
    """At which place each anchor's positive comes, the most similar first, among all positives.

    A text that is the positive of several records is one candidate.  Among equals the right one
    comes last, so that vectors which are all alike find nothing.

    Args:
        anchors: float `[n, d]`.
        positives: float `[n, d]`.
        texts: The positives' texts.
        topics: What each record is about: positives of the same topic as a record's are neither
            right nor wrong, and left out.  `""`: nothing that is named.

    Returns:
        int64 `[n]`, from 1.
    """
    _, first, own = np.unique(np.asarray(texts, object), return_index=True, return_inverse=True)
    anchors, candidates = unit_rows(anchors), unit_rows(positives)[first]
    _, numbers = np.unique(np.asarray(topics, object), return_inverse=True)
    numbers = np.where(np.asarray([bool(topic) for topic in topics]), numbers, -1)
    ranks = np.empty(len(anchors), np.int64)
    for begin in range(0, len(anchors), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        similarities = anchors[block] @ candidates.T
        of_own = np.take_along_axis(similarities, own[block, None], axis=1)
        about = numbers[block, None]
        is_counted = (numbers[first][None, :] != about) | (about < 0)
        np.put_along_axis(is_counted, own[block, None], False, axis=1)
        ranks[block] = 1 + ((similarities >= of_own) & is_counted).sum(axis=1)
    return ranks


def figures_of_ranks(ranks: np.ndarray) -> dict[str, float]:
    """Recall@1 and the mean reciprocal rank, of places from 1."""
    return {"recall_at_1": float(np.mean(ranks == 1)), "mrr": float(np.mean(1 / ranks))}


def spearman(left: Any, right: Any) -> float:
    """Spearman's rank correlation of numbers `[n]`; 0 where those of a side are all equal."""
    ranks = np.stack([rankdata(left), rankdata(right)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1)
    return float(ranks[0] @ ranks[1] / lengths.prod()) if lengths.all() else 0.0
