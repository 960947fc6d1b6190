"""How a coreference resolver joins candidates: its thresholds, tuned, and its figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spanbert_tf.data.batching.texts import as_str
from spanbert_tf.data.batching.turns import join_turns
from spanbert_tf.data.readers.coreference import CoreferenceText
from spanbert_tf.metrics.coreference import coreference_scores
from spanbert_tf.metrics.reports import Report
from spanbert_tf.models.answering import Assessment, as_columns
from spanbert_tf.setting_fields import setting
from spanbert_tf.settings import Scoring
from spanbert_tf.tasks.decoders.coreference import (
    CandidateDecoder,
    Candidates,
    ClusterDecoder,
    FoundClusters,
    Joined,
)
from spanbert_tf.tasks.decoders.resolved_text import Cluster, ResolvedText

FIGURES = (
    *("conll_f1", "conll_f1_without_singletons", "mentions_f1", "muc_f1", "b_cubed_f1"),
    *("ceaf_e_f1", "lea_f1"),
)

_MENTION_THRESHOLDS = np.linspace(-3, 3, 25)
_LINK_THRESHOLDS = np.linspace(-2, 2, 9)

Span = tuple[int, int]
Answer = Candidates | Joined


@dataclass(frozen=True)
class CoreferenceScoring(Scoring):
    """How a coreference resolver is scored."""

    gold_mentions: bool = setting(
        False,
        bool,
        "take the mentions from the data and score how they are joined; not for exports, which "
        "find their mentions themselves",
    )


class JoinsClusters:
    """How `SpanBertCoreferenceResolver` is asked, and what it makes of candidates; its first base.

    Attributes:
        mention_threshold: Log odds from which a candidate is a mention.
        link_threshold: Log odds, against none, above which a mention is linked to another.
        singletons: Whether clusters of one mention are given, and count.
    """

    mention_threshold: float
    link_threshold: float
    singletons: bool
    answer_texts: Callable[..., Any]

    @property
    def decoder(self) -> ClusterDecoder:
        """What joins mentions to clusters."""
        return ClusterDecoder(self.mention_threshold, self.link_threshold, self.singletons)

    @property
    def scored_decoder(self) -> CandidateDecoder:
        """Gives the candidates of each text, by which thresholds are set."""
        return CandidateDecoder()

    def resolve(
        self,
        texts: Any,
        singletons: bool | None = None,
        batch_size: int | None = None,
        mentions: Any = None,
    ) -> Any:
        """Finds what refers to the same in texts.

            resolver.resolve("Ann met Bo. She gave him her book.")[0].mentions[0].text  # "Ann"
            resolver.resolve([{"speaker": "Ann", "text": "I'm off."}, {"text": "Bye."}])
            resolver.resolve("Ann met Bo. She left.", mentions=[(0, 3), (8, 10), (12, 15)])

        Args:
            texts: A string, or a list of strings, of any length.  In place of a string a
                conversation, see `join_turns`: a list of turns.
            singletons: Whether mentions that nothing else refers to are given, as clusters of one.
                `None`: as the resolver was trained.
            batch_size: Texts in a batch.  `None`: as many as have 8,192 tokens.
            mentions: The mentions, where they are known: `(start, end)`, characters, as many as
                there are; of several texts a list for each.  These and no others are linked, with
                a score of 1.  SavedModels and models for LiteRT find their mentions themselves.

        Returns:
            For a string a `ResolvedText`: a list of `Cluster`, by their first mentions, that knows
            its text and shows it in colours; for several a list of such.

        Raises:
            TypeError: A text is not a string.
            ValueError: A turn is of another form; a mention is not within its text, has no word
                piece or the same ones as another; or the model takes no mentions.
        """
        texts = join_turns(texts)
        given = {"singletons": singletons, "mentions": mentions}
        options = {name: value for name, value in given.items() if value is not None}
        answers = self.answer_texts(texts, batch_size, **options)
        columns, is_one = as_columns(texts)
        resolved = [
            ResolvedText.of_found(as_str(text), found)
            for text, found in zip(columns[0], [answers] if is_one else answers, strict=True)
        ]
        return resolved[0] if is_one else resolved

    def replace_pronouns(self, texts: Any) -> Any:
        """Texts, as for `resolve`, with names in the place of their pronouns.

        See `ResolvedText.replace_pronouns`.
        """
        resolved = self.resolve(texts, singletons=False)
        is_one = isinstance(resolved, ResolvedText)
        return resolved.replace_pronouns() if is_one else [of.replace_pronouns() for of in resolved]

    def given(
        self, answers: Sequence[Answer], records: Sequence[CoreferenceText]
    ) -> list[ResolvedText]:
        """The clusters of each text, by the thresholds of now."""
        joined = [_joined(of_text, _thresholds(self.decoder)) for of_text in answers]
        return [
            ResolvedText.of_found(record.text, self.decoder.wanted(clusters))
            for record, clusters in zip(records, joined, strict=True)
        ]

    def answer_records(
        self,
        records: Sequence[CoreferenceText],
        batch_size: int | None = None,
        tune: bool = False,
        out_of_scope: Any = None,
        gold_mentions: bool = False,
    ) -> Assessment:
        """Scores, see `SpanBertTask.answer_records`; of models in Keras alone.

        Args:
            records: Texts with their clusters.
            batch_size: As there.
            tune: As there; not with `gold_mentions`.
            out_of_scope: As there.
            gold_mentions: Whether the mentions of the records are joined, and none are found; there
                is no loss of that.

        Raises:
            ValueError: A mention that is given has no word piece, or those of another, see
                `resolve`; or both `tune` and `gold_mentions` are true.
        """
        if not gold_mentions:
            of_task: Any = super()
            return of_task.answer_records(records, batch_size, tune, out_of_scope)
        if tune:
            raise ValueError("`tune` is for mentions that are found: leave out `gold_mentions`")
        mentions = [[span for cluster in of.clusters for span in cluster] for of in records]
        texts = [record.text for record in records]
        found = self.answer_texts(texts, batch_size, mentions=mentions, singletons=True)
        answers = [Joined(clusters) for clusters in found]
        return Assessment(self.score(answers, records), answers)

    def score(
        self, answers: Sequence[Answer], records: Sequence[CoreferenceText]
    ) -> dict[str, float]:
        """The field's figures, see `metrics.coreference`, with and without singletons."""
        return figures_of(answers, records, _thresholds(self.decoder), self.decoder.singletons)

    def report(self, answers: Sequence[Answer], records: Sequence[CoreferenceText]) -> Report:
        """Precision, recall and F1 of each of the field's metrics."""
        predicted = [_clusters(of_text, _thresholds(self.decoder)) for of_text in answers]
        gold = [record.clusters for record in records]
        figures = coreference_scores(predicted, gold, self.decoder.singletons)
        rows: dict[str, dict[str, float]] = {}
        for name, value in figures.items():
            metric, _, part = name.rpartition("_")
            if metric != "conll":
                rows.setdefault(metric, {})[part] = value
        averages = "conll_f1: the mean of the F1 of MUC, B-cubed and CEAF-e."
        return Report(averages, "metric", rows)

    @classmethod
    def gold_of(cls, record: CoreferenceText) -> list[list[dict[str, Any]]]:
        """The mentions of each cluster, as answers name their fields."""
        return [
            [{"start": a, "end": b, "text": record.text[a:b]} for a, b in cluster]
            for cluster in record.clusters
        ]

    def is_right(self, answer: Sequence[Cluster], record: CoreferenceText) -> bool:
        """Whether the clusters are those of the text, all of them and no others.

        Clusters of one mention count where they are given.
        """
        found = [[(one.start, one.end) for one in of.mentions] for of in answer]
        ours, gold = (
            {frozenset(map(tuple, of)) for of in clusters if len(of) > 1 or self.decoder.singletons}
            for clusters in (found, record.clusters)
        )
        return ours == gold

    def tune(self, answers: Sequence[Candidates], records: Sequence[CoreferenceText]) -> None:
        """Sets both thresholds, see `best_thresholds`."""
        found = best_thresholds(answers, records, self.singletons)
        self.mention_threshold, self.link_threshold = found


def figures_of(
    answers: Sequence[Answer],
    records: Sequence[CoreferenceText],
    thresholds: tuple[float, float],
    singletons: bool,
) -> dict[str, float]:
    """The figures that `FIGURES` lists, of what candidates are joined to.

    Args:
        answers: The candidates of each text.
        records: The texts, and their clusters.
        thresholds: Of mentions and of links, see `Candidates.joined`.
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


def _thresholds(decoder: ClusterDecoder) -> tuple[float, float]:
    return decoder.mention_threshold, decoder.link_threshold


def _joined(answer: Answer, thresholds: tuple[float, float]) -> FoundClusters:
    return answer.clusters if isinstance(answer, Joined) else answer.joined(*thresholds)


def _clusters(answer: Answer, thresholds: tuple[float, float]) -> list[list[Span]]:
    found = _joined(answer, thresholds)
    return [[(mention.start, mention.end) for mention in cluster] for cluster in found]
