"""Figures of coreference, as the reference scorer of CoNLL counts them, version 8.01, and LEA.

Sources: MUC: Vilain et al., 1995; B-cubed: Bagga and Baldwin, 1998; CEAF: Luo, 2005; BLANC: Luo et
al., 2014, which extends it to mentions that a system finds itself; LEA: Moosavi and Strube, 2016;
the scorer, and their average: Pradhan et al., 2014.

Nothing is added to or taken from either side so that it has the mentions of the other (as Cai and
Strube, 2010, do): a mention that only one side has ("twinless") is right nowhere, and counts.

Letters: k gold clusters, r predicted ones.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np

Span = tuple[int, int]  # first character, the one after the last
Clusters = Sequence[Sequence[Span]]

METRICS = ("mentions", "muc", "b_cubed", "ceaf_e", "ceaf_m", "blanc", "lea")
AVERAGED = ("muc", "b_cubed", "ceaf_e")

_Counts = dict[str, np.ndarray]  # of each metric what `_figures` reads


def coreference_scores(
    predicted: Sequence[Clusters], gold: Sequence[Clusters], singletons: bool = True
) -> dict[str, float]:
    """Scores clusters of mentions.

    Figures are of all documents together: numerators and denominators are added up.  A mention is
    right if its borders are.  Of a mention that is predicted more than once, only the first
    occurrence counts if the gold clusters have it; else all do, as in the reference scorer.

    Args:
        predicted: Of each document the clusters that were found, each a list of mentions: first
            character and the one after the last.
        gold: Of each document the clusters that are there.
        singletons: Whether clusters of one mention count, on both sides.  OntoNotes has none, and
            its figures are those without.

    Returns:
        `conll_f1`, the mean F1 of MUC, B-cubed and CEAF-e; and `*_f1`, `*_precision` and `*_recall`
        of each of `METRICS`: of `mentions`, in whatever cluster; `muc`, of links; `b_cubed`, of
        mentions by the parts of clusters that they share; `ceaf_e` and `ceaf_m`, of clusters that
        are matched best one to one, by Dice's coefficient and by mentions; `blanc`, the mean of
        pairs that corefer and pairs that do not; `lea`, of links, weighted by the sizes of
        clusters.  From 0 to 1; 0 where there is nothing to be right.

    Raises:
        ValueError: The numbers of documents differ; or a mention is no span, or is twice in the
            gold clusters of a document.
    """
    if len(predicted) != len(gold):
        raise ValueError(
            f"Expected as many documents in `predicted` as in `gold`, found {len(predicted)} and "
            f"{len(gold)}."
        )
    totals: _Counts = {name: np.zeros(8 if name == "blanc" else 4) for name in METRICS}
    for number, (found, there) in enumerate(zip(predicted, gold, strict=True)):
        response = _spans("predicted", number, found, singletons)
        key = _spans("gold", number, there, singletons)
        repeated = [span for span, times in Counter(_flat(key)).items() if times > 1]
        if repeated:
            raise ValueError(
                f"Document {number}: expected each mention once in `gold`, found {repeated[0]} in "
                "more places."
            )
        for name, counts in _count(key, response).items():
            totals[name] += counts
    figures: dict[str, float] = {}
    for name, counts in totals.items():
        figures |= _blanc_figures(counts) if name == "blanc" else _figures(name, *counts)
    conll = sum(figures[f"{name}_f1"] for name in AVERAGED) / len(AVERAGED)
    return {"conll_f1": conll, **figures}


def _spans(role: str, number: int, clusters: Clusters, singletons: bool) -> list[list[Span]]:
    """Checks and copies clusters, without those that do not count."""
    copied = []
    for cluster in clusters:
        mentions: list[Any] = [tuple(mention) for mention in cluster]
        for mention in mentions:
            if len(mention) != 2 or not 0 <= mention[0] < mention[1]:
                raise ValueError(
                    f"Document {number}: expected mentions with 0 <= start < end in `{role}`, "
                    f"found {mention}."
                )
        if len(set(mentions)) > (not singletons):
            copied.append(mentions)
    return copied


def _flat(clusters: Iterable[Iterable[Any]]) -> list[Any]:
    return [mention for cluster in clusters for mention in cluster]


def _count(key: list[list[Span]], response: list[list[Span]]) -> _Counts:
    """Counts one document.

    Returns:
        Of each metric numerator and denominator of recall, then of precision; of BLANC for pairs
        that corefer, then for the others.
    """
    cluster_of = {mention: number for number, cluster in enumerate(key) for mention in cluster}
    response = _without_repeated(response, cluster_of)
    shared = np.zeros((len(key), len(response)))  # [k, r], mentions that two clusters share
    for column, cluster in enumerate(response):
        for mention in cluster:
            if mention in cluster_of:
                shared[cluster_of[mention], column] += 1
    there, found = (np.array([len(one) for one in side], float) for side in (key, response))
    right = shared.sum()
    by_size = np.divide(shared, there[:, None]), np.divide(shared, found)
    links = np.maximum(shared - 1, 0).sum()
    matched = _best_matching(shared)
    alike = _best_matching(2 * shared / (there[:, None] + found))
    return {
        "mentions": np.array([right, len(cluster_of), right, len(set(_flat(response)))]),
        "muc": np.array([links, (there - 1).sum(), links, (found - 1).sum()]),
        "b_cubed": np.array(
            [(by_size[0] * shared).sum(), there.sum(), (by_size[1] * shared).sum(), found.sum()]
        ),
        "ceaf_e": np.array([alike, len(key), alike, len(response)]),
        "ceaf_m": np.array([matched, there.sum(), matched, found.sum()]),
        "blanc": _blanc_counts(shared, there, found, response),
        "lea": np.array(
            [_lea(shared, there, found), there.sum(), _lea(shared.T, found, there), found.sum()]
        ),
    }


def _without_repeated(response: list[list[Span]], cluster_of: dict[Span, int]) -> list[list[Span]]:
    """Takes out what was predicted before, of mentions that the gold clusters have."""
    seen: set[Span] = set()
    kept = []
    for cluster in response:
        first = []
        for mention in cluster:
            if mention not in seen:
                first.append(mention)
            if mention in cluster_of:
                seen.add(mention)
        kept.append(first)
    return [cluster for cluster in kept if cluster]


def _best_matching(gains: np.ndarray) -> float:
    """The largest sum of gains, `[k, r]`, of clusters that are matched one to one."""
    # Only here, for it takes long to import.
    from scipy.optimize import linear_sum_assignment

    # Most clusters share nothing with any other side's, and need not be matched.
    gains = gains[gains.any(1)][:, gains.any(0)]
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return float(gains[rows, columns].sum())


def _pairs(sizes: Any) -> Any:
    """How many pairs there are of so many."""
    return sizes * (sizes - 1) / 2


def _blanc_counts(
    shared: np.ndarray, there: np.ndarray, found: np.ndarray, response: list[list[Span]]
) -> np.ndarray:
    """Counts pairs of mentions that are in one cluster, and those that are in two."""
    corefer = _pairs(shared).sum()
    # Of all pairs of shared mentions those that are in one cluster on neither side.
    others = _pairs(shared.sum()) + corefer
    others -= _pairs(shared.sum(0)).sum() + _pairs(shared.sum(1)).sum()
    key_links, links = _pairs(there).sum(), _pairs(found).sum()
    key_others, other_links = _pairs(there.sum()) - key_links, _pairs(found.sum()) - links
    mentions = _flat(response)
    if len(set(mentions)) < len(mentions):
        # A pair counts once on each side, wherever its mentions are repeated.
        links = len(_different(pair for one in response for pair in combinations(one, 2)))
        other_links = len(
            _different(pair for two in combinations(response, 2) for pair in product(*two))
        )
    return np.array(
        [corefer, key_links, corefer, links, others, key_others, others, other_links], float
    )


def _different(pairs: Iterable[tuple[Any, ...]]) -> set[Hashable]:
    return {tuple(sorted(pair)) for pair in pairs}


def _lea(shared: np.ndarray, sizes: np.ndarray, other_sizes: np.ndarray) -> float:
    """Adds up the parts of the links of clusters that the other side has, times their sizes.

    The link of a singleton is one to itself, which the other side has if it is a singleton there.

    Args:
        shared: `[k, r]`, mentions that two clusters share.
        sizes: `[k]`, of the clusters.
        other_sizes: `[r]`, of the other side's.
    """
    alone = shared @ (other_sizes == 1)
    links = np.where(sizes == 1, alone, _pairs(shared).sum(1))
    return float((sizes * links / np.maximum(_pairs(sizes), 1)).sum())


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _f1(precision: float, recall: float) -> float:
    return _ratio(2 * precision * recall, precision + recall)


def _figures(
    name: str, recalled: float, there: float, right: float, found: float
) -> dict[str, float]:
    precision, recall = _ratio(right, found), _ratio(recalled, there)
    return {
        f"{name}_f1": _f1(precision, recall),
        f"{name}_precision": precision,
        f"{name}_recall": recall,
    }


def _blanc_figures(counts: np.ndarray) -> dict[str, float]:
    """The mean of both kinds of pairs; of one kind, if the gold clusters have no other."""
    kinds = [_figures("blanc", *of) for of in (counts[:4], counts[4:]) if of[1]]
    names = _figures("blanc", 0, 0, 0, 0)
    return {name: sum(of[name] for of in kinds) / max(len(kinds), 1) for name in names}
