"""Candidates and their links to clusters of mentions.

Letters: b texts of a batch, r rows, n candidates of a row, m mentions of a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.features import ANTECEDENTS, LINK_SCORES, MENTION_SCORES, MENTION_SPANS
from spanbert_tf.layers.span_scoring import NEVER
from spanbert_tf.models.decoding import Decoder, NetworkFields

CERTAIN = 1e6  # Log odds of a mention that is known.
_FIELDS = {"start": -1, "end": -1, "cluster": -1, "score": -1.0, "link": -1.0}  # and past the last


class FoundMention(NamedTuple):
    """A mention, in characters of its text.

    Attributes:
        start: Its first character.
        end: The character after its last one.
        score: Probability that it is one.
        link: Probability of the link by which it joined its cluster; 1 of a cluster's first.
    """

    start: int
    end: int
    score: float
    link: float


# Of a text its clusters, by their first mentions, and of each its mentions, in order.
FoundClusters = list[list[FoundMention]]


class Candidates(NamedTuple):
    """What may be the mentions of a text, in the order of their first and last pieces.

    Attributes:
        spans: int `[n, 2]`, first character and the one after the last.
        scores: float `[n]`, log odds of being a mention.
        antecedents: int `[n]`, to which candidate each is best linked, or -1.
        links: float `[n]`, log odds of that link against none.
    """

    spans: np.ndarray
    scores: np.ndarray
    antecedents: np.ndarray
    links: np.ndarray

    def joined(self, mention_threshold: float, link_threshold: float) -> FoundClusters:
        """Joins mentions by their links, see `ClusterDecoder`; singletons are among the clusters.

        Args:
            mention_threshold: Log odds from which a candidate is a mention.
            link_threshold: Log odds above which a link is one.
        """
        kept = self.scores >= max(mention_threshold, NEVER / 2)
        is_linked = kept & (self.links > link_threshold) & (self.antecedents >= 0)
        is_linked &= kept[self.antecedents]
        roots = np.where(is_linked, self.antecedents, np.arange(len(kept)))
        while (roots != roots[roots]).any():
            roots = roots[roots]
        clusters: dict[int, list[FoundMention]] = {}
        chances, links = _sigmoid(self.scores), np.where(is_linked, _sigmoid(self.links), 1.0)
        for number in np.flatnonzero(kept).tolist():
            start, end = self.spans[number].tolist()
            mention = FoundMention(start, end, float(chances[number]), float(links[number]))
            clusters.setdefault(int(roots[number]), []).append(mention)
        return list(clusters.values())


class Joined(NamedTuple):
    """The clusters of a text, those of one mention among them, joined where the network ran."""

    clusters: FoundClusters


class CandidateDecoder(NetworkFields):
    """Gives the candidates themselves, from which thresholds are chosen.

    Of a SavedModel it gives what has been joined there already.
    """

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """The candidates of each text, of what the network's `decode` gave of each row."""
        of_text = []
        begins = rows.places["starts"].row_splits.numpy()
        starts, ends = (rows.places[name].values.numpy() for name in ("starts", "ends"))
        for row, begin in enumerate(begins[:-1]):
            scores = decoded[MENTION_SCORES.name][row]
            pieces = np.where((scores > NEVER / 2)[:, None], decoded[MENTION_SPANS.name][row], 0)
            if begins[row + 1] == begin:  # A text without a piece.
                spans = np.zeros_like(pieces)
            else:
                spans = np.stack([starts[begin + pieces[:, 0]], ends[begin + pieces[:, 1]]], 1)
            antecedents, links = (decoded[of.name][row] for of in (ANTECEDENTS, LINK_SCORES))
            of_text.append(Candidates(spans, scores, antecedents, links))
        return of_text

    def served(self, outputs: dict[str, np.ndarray]) -> list[Joined]:
        """The clusters of each text."""
        return [Joined(clusters) for clusters in _served(outputs)]


@dataclass(frozen=True)
class ClusterDecoder(Decoder):
    """Joins mentions to clusters: each to the one before it that it is best linked to.

    Attributes:
        mention_threshold: Log odds from which a candidate is a mention.
        link_threshold: Log odds, against a link to none, above which a mention is linked to another
            mention.
        singletons: Whether clusters of one mention are given.
    """

    mention_threshold: float = 0.0
    link_threshold: float = 0.0
    singletons: bool = True

    lists: ClassVar = _FIELDS

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[FoundClusters]:
        """The clusters of each text, of what the network's `decode` gave of each row."""
        candidates = CandidateDecoder().answers(decoded, rows, columns)
        thresholds = self.mention_threshold, self.link_threshold
        return [self.wanted(of_text.joined(*thresholds)) for of_text in candidates]

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Mentions in their order, those of clusters of one among them, all `[b, m]`.

        `start` and `end`, int32, are characters; `cluster`, int32, numbers each text's clusters
        from 0 in the order of their first mentions; `score` and `link`, float32, are those of
        `FoundMention`.  Past a text's last mention all are -1.
        """
        scores = decoded[MENTION_SCORES.name]
        count, width = tf.unstack(tf.shape(scores))
        first = tf.range(count)[:, None] * width
        kept = scores >= max(self.mention_threshold, NEVER / 2)
        flat_kept = tf.reshape(kept, [-1])
        antecedents, links = decoded[ANTECEDENTS.name], decoded[LINK_SCORES.name]
        targets = first + tf.maximum(antecedents, 0)
        is_linked = kept & (links > self.link_threshold) & (antecedents >= 0)
        is_linked &= tf.gather(flat_kept, targets)
        places = tf.range(count * width)
        roots = tf.where(tf.reshape(is_linked, [-1]), tf.reshape(targets, [-1]), places)
        # Each round halves how far a root is.
        (roots,) = tf.while_loop(
            lambda roots: tf.reduce_any(roots != tf.gather(roots, roots)),
            lambda roots: (tf.gather(roots, roots),),
            (roots,),
        )
        is_first = tf.reshape(flat_kept & (roots == places), tf.shape(kept))
        numbers = tf.reshape(tf.cumsum(tf.cast(is_first, tf.int32), axis=1) - 1, [-1])

        found = tf.where(flat_kept)[:, 0]
        row = tf.cast(found, tf.int32) // tf.maximum(width, 1)
        pieces = tf.gather(tf.reshape(decoded[MENTION_SPANS.name], [-1, 2]), found)
        pieces += tf.gather(tf.cast(rows.places["starts"].row_starts(), tf.int32), row)[:, None]
        link = tf.where(tf.reshape(is_linked, [-1]), tf.sigmoid(tf.reshape(links, [-1])), 1.0)
        values = {
            "start": tf.gather(rows.places["starts"].values, pieces[:, 0]),
            "end": tf.gather(rows.places["ends"].values, pieces[:, 1]),
            "cluster": tf.gather(numbers, tf.gather(roots, found)),
            "score": tf.gather(tf.sigmoid(tf.reshape(scores, [-1])), found),
            "link": tf.gather(link, found),
        }
        return {
            name: tf.RaggedTensor.from_value_rowids(
                of, tf.cast(row, tf.int64), tf.cast(count, tf.int64), validate=False
            ).to_tensor(_FIELDS[name])
            for name, of in values.items()
        }

    def served(self, outputs: dict[str, np.ndarray]) -> list[FoundClusters]:
        """The clusters of each text."""
        return [self.wanted(clusters) for clusters in _served(outputs)]

    def wanted(self, clusters: FoundClusters) -> FoundClusters:
        """Without those of one mention, unless these are given."""
        return [of for of in clusters if self.singletons or len(of) > 1]


class GivenMentions(NamedTuple):
    """Joins mentions that are given, each of which is kept.

    Attributes:
        decoder: How they are joined.
        spans: Of each text its mentions in their order, int `[m, 2]`, first character and the one
            after the last.
    """

    decoder: ClusterDecoder
    spans: Sequence[np.ndarray]

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[FoundClusters]:
        """The clusters of each text, of the antecedents and links of its row."""
        answers = []
        for row, spans in enumerate(self.spans):
            of_links = (decoded[of.name][row][: len(spans)] for of in (ANTECEDENTS, LINK_SCORES))
            candidates = Candidates(spans, np.full(len(spans), CERTAIN), *of_links)
            answers.append(
                self.decoder.wanted(candidates.joined(CERTAIN, self.decoder.link_threshold))
            )
        return answers


def _served(outputs: dict[str, np.ndarray]) -> list[FoundClusters]:
    answers = []
    for row in zip(*(outputs[name].tolist() for name in _FIELDS), strict=True):
        clusters: dict[int, list[FoundMention]] = {}
        for start, end, cluster, score, link in zip(*row, strict=True):
            if start >= 0:
                clusters.setdefault(cluster, []).append(FoundMention(start, end, score, link))
        answers.append(list(clusters.values()))
    return answers


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -80, None)))
