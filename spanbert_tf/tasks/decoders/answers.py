"""The best spans of windows to the answers of questions.

Letters: b questions of a batch, r rows, k best spans of a row and answers of a question, n spans.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.texts import as_str
from spanbert_tf.features import ANSWER_SCORES, ANSWER_SPANS, NO_ANSWER_SCORES
from spanbert_tf.layers.span_scoring import NEVER
from spanbert_tf.models.decoding import Decoder

_FIELDS = {"answer": "", "score": -1.0, "start": -1, "end": -1}  # and what is past the last one
NO_ANSWER_SCORE = "no_answer_score"


@dataclass(frozen=True)
class Answer:
    """One answer of a question, as Hugging Face's pipelines give it.

    Attributes:
        answer: Its characters in the context; empty where the context has no answer.
        score: Its probability, 0 to 1; those of all spans of the context and of no answer sum up
            to 1.
        start: Its first character.
        end: The character after its last one; with `start` 0 where there is no answer.
    """

    answer: str
    score: float
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.answer or '(no answer)'}  {self.score:.3f}  ({self.start}-{self.end})"


@dataclass(frozen=True)
class AnswerDecoder(Decoder):
    """Joins the windows of a context, and makes answers of the best spans.

    A softmax fixes logits but for a number that each window is free to choose, so logits of two
    windows do not compare.  What compares is how much likelier a span is than "no answer" in its
    own window, the odds, and by them spans are ranked.  If one window at most has the answer, and
    each window judges for itself, then the odds of all spans of all windows, and 1 for no answer,
    are in proportion to their probabilities; of a context with one window these are the products of
    both softmaxes.  A span that several windows see counts once, where its odds are best.

    Attributes:
        null_threshold: Log odds that an answer needs not to be "no answer"; `None`: there always is
            an answer in a context that has a piece.  "No answer" comes first then, with its
            probability, and the spans after it.
        max_answers: The most answers of a question; as many does a SavedModel give, or 2.
        top_k: So many are given: one as an `Answer`, several as a list of them.

    Raises:
        ValueError: `top_k` is not from 1 to `max_answers`.
    """

    null_threshold: float | None = None
    max_answers: int = 10
    top_k: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.max_answers:
            raise ValueError(
                f"`top_k` must be from 1 to {self.max_answers}, the task's `max_answers`, but is "
                f"{self.top_k}."
            )

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[Any]:
        """The answers of each question, of what the network's `decode` gave of each row."""
        records, count = np.asarray(rows.records), len(columns[1])
        row_of, place = np.nonzero(decoded[ANSWER_SCORES.name] > NEVER / 2)
        odds = decoded[ANSWER_SCORES.name][row_of, place].astype("float64")
        pieces = decoded[ANSWER_SPANS.name][row_of, place]
        pieces += np.asarray(rows.places["starts"].row_starts())[row_of, None]
        starts = np.asarray(rows.places["starts"].values)[pieces[:, 0]]
        ends = np.asarray(rows.places["ends"].values)[pieces[:, 1]]
        record = records[row_of]

        # The best first, and each span once.
        order = np.lexsort((ends, starts, -odds, record))
        spans = np.stack([record, starts, ends], axis=1)[order]
        _, firsts = np.unique(spans, axis=0, return_index=True)
        order = order[np.sort(firsts)]

        none = decoded[NO_ANSWER_SCORES.name].astype("float64")
        shift = np.zeros(count)  # the highest exponent, so that none overflows
        np.maximum.at(shift, records, -none)
        total = np.exp(-shift)
        np.add.at(total, records, np.exp(-none - shift[records]) - np.exp(-shift)[records])

        found: list[list[Answer]] = [[] for _ in range(count)]
        refused = np.ones(count, bool)
        for span in order:
            number = record[span]
            if not found[number]:
                threshold = self.null_threshold
                refused[number] = threshold is not None and odds[span] < threshold
            if len(found[number]) < self.top_k:
                probability = np.exp(odds[span] - shift[number]) / total[number]
                context = as_str(columns[1][number])
                start, end = int(starts[span]), int(ends[span])
                found[number].append(Answer(context[start:end], float(probability), start, end))
        for number in np.flatnonzero(refused):
            nothing = Answer("", float(np.exp(-shift[number]) / total[number]), 0, 0)
            found[number] = [nothing, *found[number]][: self.top_k]
        return self._as_asked(found)

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """`answer`, string, `score`, float32, `start` and `end`, int32, all `[b, k]`; one more.

        That is `no_answer_score`, float32 `[b]`, the probability that there is none.  The best
        answer comes first, k is 2 at least; past a question's last one strings are empty and
        numbers -1.
        """
        count = tf.size(columns[1])
        found = tf.where(decoded[ANSWER_SCORES.name] > NEVER / 2)
        odds = tf.gather_nd(decoded[ANSWER_SCORES.name], found)
        pieces = tf.cast(tf.gather_nd(decoded[ANSWER_SPANS.name], found), tf.int64)
        pieces += tf.gather(rows.places["starts"].row_starts(), found[:, 0])[:, None]
        starts = tf.gather(rows.places["starts"].values, pieces[:, 0])
        ends = tf.gather(rows.places["ends"].values, pieces[:, 1])
        record = tf.gather(rows.records, found[:, 0])

        none = decoded[NO_ANSWER_SCORES.name]
        shift = tf.maximum(tf.math.unsorted_segment_max(-none, rows.records, count), 0.0)
        evidence = tf.exp(-none - tf.gather(shift, rows.records))
        evidence -= tf.exp(-tf.gather(shift, rows.records))
        total = tf.exp(-shift) + tf.math.unsorted_segment_sum(evidence, rows.records, count)

        # No answer is one more span, of characters 0 to 0: above all others or not there.
        best = tf.math.unsorted_segment_max(odds, record, count)
        threshold = max(NEVER / 2, -np.inf if self.null_threshold is None else self.null_threshold)
        refused = tf.where(best < threshold)[:, 0]
        nothing = tf.zeros_like(refused, tf.int32)
        record = tf.concat([tf.cast(refused, tf.int32), record], axis=0)
        starts, ends = (tf.concat([nothing, of], axis=0) for of in (starts, ends))
        exponents = tf.concat([tf.zeros_like(refused, tf.float32), odds], axis=0)
        scores = tf.exp(exponents - tf.gather(shift, record)) / tf.gather(total, record)
        ranks = tf.concat([tf.fill(tf.shape(refused), tf.float32.max), odds], axis=0)

        # The best first, and each span once.
        order = tf.argsort(ranks, direction="DESCENDING", stable=True)
        order = tf.gather(order, tf.argsort(tf.gather(record, order), stable=True))
        record, starts, ends, scores = (
            tf.gather(of, order) for of in (record, starts, ends, scores)
        )
        width = tf.cast(tf.reduce_max(ends, axis=0) + 1, tf.int64)
        keys = (tf.cast(record, tf.int64) * width + tf.cast(starts, tf.int64)) * width
        unique, number = tf.unique(keys + tf.cast(ends, tf.int64))
        most = max(self.max_answers, 2)
        firsts = tf.math.unsorted_segment_min(tf.range(tf.size(number)), number, tf.size(unique))
        by_record = tf.RaggedTensor.from_value_rowids(
            firsts,
            tf.gather(tf.cast(record, tf.int64), firsts),
            tf.cast(count, tf.int64),
            validate=False,
        )[:, :most]
        record, starts, ends, scores = (
            tf.gather(of, by_record.values) for of in (record, starts, ends, scores)
        )
        text = tf.strings.substr(
            tf.gather(columns[1], record), starts, ends - starts, unit="UTF8_CHAR"
        )
        values = {"answer": text, "score": scores, "start": starts, "end": ends}
        served = {
            name: by_record.with_values(values[name]).to_tensor(padding, shape=[None, most])
            for name, padding in _FIELDS.items()
        }
        return {**served, NO_ANSWER_SCORE: tf.exp(-shift) / total}

    def served(self, outputs: dict[str, np.ndarray]) -> list[Any]:
        """The answers of each question.

        Raises:
            ValueError: No answer shall come first, whatever the odds, and the export is of a
                version that did not tell its probability.
        """
        found = [
            [
                Answer(text.decode(), float(score), int(start), int(end))
                for text, score, start, end in zip(*row, strict=True)
                if start >= 0
            ]
            for row in zip(*(outputs[name] for name in _FIELDS), strict=True)
        ]
        if self.null_threshold == math.inf:
            if NO_ANSWER_SCORE not in outputs:
                raise ValueError(
                    "the SavedModel does not tell how likely there is no answer: export its preset "
                    "again"
                )
            for number, none in enumerate(outputs[NO_ANSWER_SCORE]):
                spans = [answer for answer in found[number] if answer.end]
                found[number] = [Answer("", float(none), 0, 0), *spans]
        return self._as_asked([answers[: self.top_k] for answers in found])

    def _as_asked(self, found: list[list[Answer]]) -> list[Any]:
        return [answers[0] for answers in found] if self.top_k == 1 else found


def odds_of_none(answers: Sequence[Answer]) -> tuple[str, float]:
    """The best span's text, and the log odds of no answer against it.

    Args:
        answers: No answer and after it the best span, if there is one: what a decoder gives whose
            `null_threshold` is infinite.
    """
    none, *spans = answers
    if not spans:
        return "", -NEVER
    least = np.finfo("float64").tiny
    odds = np.log(max(none.score, least)) - np.log(max(spans[0].score, least))
    return spans[0].answer, float(odds)
