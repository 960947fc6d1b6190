"""The highest scores of many, kept while the scores come a block at a time.

Letters: q queries, m rows of a block, k kept.
"""

import numpy as np

_FIRST = 1024  # Columns of the first block that are looked at before the others.


class TopScores:
    """The `k` highest scores of each query; of equal ones those of the first rows.

    A block costs one comparison a score and little more: once the first blocks are seen, few scores
    are higher than the lowest that is kept.

    Args:
        queries: How many.
        k: How many to keep for each, at most as many as there will be scores.

    Attributes:
        scores: float32 `[q, k]`, the highest first; -inf where no score has come yet.
        rows: int64 `[q, k]`, their rows.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.scores = np.full((queries, k), -np.inf, np.float32)
        self.rows = np.full((queries, k), -1, np.int64)

    def update(self, scores: np.ndarray, begin: int) -> None:
        """Takes the scores of the next block.

        Args:
            scores: float32 `[q, m]`.
            begin: Number of its first row.
        """
        k = self.scores.shape[1]
        first = max(8 * k, _FIRST)
        if self.rows[0, -1] < 0 and scores.shape[1] > first:
            # Nothing is kept yet that most scores would fall short of: begin with a few.
            self.update(scores[:, :first], begin)
            scores, begin = scores[:, first:], begin + first
        # `ravel` of what is contiguous copies nothing, and finds what is true faster than rows do.
        places = np.flatnonzero((scores > self.scores[:, -1:]).ravel())
        queries, columns = np.divmod(places, scores.shape[1])
        starts = np.searchsorted(queries, np.arange(len(scores) + 1))
        for query in np.unique(queries):
            of_query = columns[starts[query] : starts[query + 1]]
            found = scores[query, of_query]
            if len(found) > k:  # Those that cannot stay; equals of the lowest may.
                is_high = found >= np.partition(found, -k)[-k]
                of_query, found = of_query[is_high], found[is_high]
            all_scores = np.concatenate([self.scores[query], found])
            all_rows = np.concatenate([self.rows[query], of_query + begin])
            order = np.argsort(-all_scores, kind="stable")[:k]
            self.scores[query], self.rows[query] = all_scores[order], all_rows[order]
