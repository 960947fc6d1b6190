"""Which candidates are mentions and which links are links, by data whose clusters are known."""

from collections.abc import Callable, Sequence

import numpy as np

from spanbert_tf.data.readers.coreference import CoreferenceText
from spanbert_tf.metrics.coreference import coreference_scores
from spanbert_tf.tasks.decoders.coreference import Candidates

FIGURES = (
    *("conll_f1", "conll_f1_without_singletons", "mentions_f1", "muc_f1", "b_cubed_f1"),
    *("ceaf_e_f1", "lea_f1"),
)

_MENTION_THRESHOLDS = np.linspace(-3, 3, 25)
_LINK_THRESHOLDS = np.linspace(-2, 2, 9)

Span = tuple[int, int]


def figures_of(
    answers: Sequence[Candidates],
    records: Sequence[CoreferenceText],
    thresholds: tuple[float, float],
    singletons: bool,
) -> dict[str, float]:
    """The figures that `FIGURES` lists, of what candidates are joined to.

    Args:
        answers: The candidates of each text.
        records: The texts, and their clusters.
        thresholds: Of mentions and of links, see `Candidates.clusters`.
        singletons: Whether clusters of one mention count; without them `conll_f1` is that of
            clusters of two mentions at least, too.
    """
    predicted = [_clusters(of_text, thresholds) for of_text in answers]
    gold = [record.clusters for record in records]
    figures = coreference_scores(predicted, gold, singletons)
    others = figures if not singletons else coreference_scores(predicted, gold, False)
    figures = {**figures, "conll_f1_without_singletons": others["conll_f1"]}
    return {name: figures[name] for name in FIGURES}


def best_thresholds(
    answers: Sequence[Candidates], records: Sequence[CoreferenceText], singletons: bool
) -> tuple[float, float]:
    """Chooses the threshold of mentions by their F1, and then that of links by CoNLL F1.

    Of thresholds that are as good the one nearest to 0 is taken.

    Args:
        answers: The candidates of each text.
        records: The texts, and their clusters.
        singletons: Whether clusters of one mention count.

    Returns:
        The thresholds, log odds.
    """
    gold = [record.clusters for record in records]
    scores, is_right, known = [np.empty(0)], [np.empty(0, bool)], 0
    for of_text, clusters in zip(answers, gold, strict=True):
        mentions = {tuple(mention) for cluster in clusters for mention in cluster}
        scores.append(of_text.scores)
        is_right.append(np.array([tuple(span) in mentions for span in of_text.spans.tolist()]))
        known += len(mentions)
    all_scores, right = np.concatenate(scores), np.concatenate(is_right)

    def mention_f1(threshold: float) -> float:
        found = all_scores >= threshold
        return float(2 * (found & right).sum() / max(found.sum() + known, 1))

    mention_threshold = _best(_MENTION_THRESHOLDS, mention_f1)

    def conll_f1(threshold: float) -> float:
        predicted = [_clusters(of_text, (mention_threshold, threshold)) for of_text in answers]
        return coreference_scores(predicted, gold, singletons)["conll_f1"]

    return mention_threshold, _best(_LINK_THRESHOLDS, conll_f1)


def _best(values: np.ndarray, figure: Callable[[float], float]) -> float:
    return float(max(values.tolist(), key=lambda value: (figure(value), -abs(value))))


def _clusters(candidates: Candidates, thresholds: tuple[float, float]) -> list[list[Span]]:
    found = candidates.clusters(*thresholds)
    return [[(mention.start, mention.end) for mention in cluster] for cluster in found]
