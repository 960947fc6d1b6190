"""Extractive question answering: a question and a context in, the context's answer out.

Letters: b batch, s sequence, r rows, p pieces of a row, k best answers of a row.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops
from keras_hub.models import Task

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.answers import answer_tokens, checked_spans
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.lines import AnySource, DataError
from spanbert_tf.data.readers.questions import Question, read_asked, read_questions
from spanbert_tf.features import (
    ANSWER_SCORES,
    ANSWER_SPANS,
    ANSWER_TOKENS,
    NO_ANSWER_SCORES,
    PADDING_MASK,
    SEGMENT_IDS,
    Feature,
)
from spanbert_tf.layers.span_scoring import NEVER, best_spans
from spanbert_tf.metrics.answers import answer_figures, answer_report, is_exact
from spanbert_tf.metrics.reports import Report
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.question_preprocessor import (
    SPECIAL_TOKENS,
    SpanBertQuestionAnswererPreprocessor,
)
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.task_definition import LOGITS
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.setting_fields import NOT_BELOW_0, Settings, at_least, setting
from spanbert_tf.settings import AskedColumns, Asking, FineTuning
from spanbert_tf.tasks.decoders.answers import Answer, AnswerDecoder, odds_of_none


@dataclass(frozen=True)
class QuestionAnswering(FineTuning):
    """How a question answerer is fine-tuned."""

    sequence_length: int = setting(256, int, "most tokens of a row", at_least(SPECIAL_TOKENS + 2))
    doc_stride: int = setting(
        96, int, "word pieces that windows share of a context longer than a row", NOT_BELOW_0
    )
    max_answer_length: int = setting(30, int, "most word pieces of an answer", at_least(1))


@dataclass(frozen=True)
class QuestionFiles(Settings):
    """How files of questions are read: they say all of themselves."""


@dataclass(frozen=True)
class QuestionAsking(Asking):
    """How a question answerer is asked."""

    top_k: int = setting(1, int, "answers of each question, the best first", at_least(1))


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertQuestionAnswerer(SpanBertTask, Task):
    """Answers questions by a span of their context, of any length, or says that it has no answer.

    One dense layer gives each token of the context two logits, of being the answer's first and its
    last; those of [CLS] are for no answer (Devlin et al., 2019).  Windows that do not hold the
    whole answer learn that they have none.  `AnswerDecoder` says how the windows of a context are
    compared.

    `fit` takes `(questions, contexts)`, and for each question `(start, end)`, the answer's
    characters in the context, or `None` where there is no answer.

    Args:
        backbone: A `SpanBertBackbone`.
        preprocessor: A `SpanBertQuestionAnswererPreprocessor`, or `None` for features that are
            preprocessed already.
        max_answer_length: The most word pieces of an answer.
        max_answers: The most answers that can be asked for; as many does a SavedModel give.
        null_threshold: Log odds that the best span needs not to be "no answer": 0, where it must be
            likelier than that.  `None`: there always is an answer.  Fine-tuning chooses it on the
            validation data where some questions have no answer.
        dropout: Rate of dropout before the logits.
        **kwargs: `name`, `trainable`, `compile`.

    Returns:
        `start_logits` and `end_logits`, float32 `[b, s]`; `NEVER` at the tokens that are neither
        [CLS] nor of the context.

    Raises:
        ValueError: Backbone and preprocessor do not fit each other, or an argument is below 1.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertQuestionAnswererPreprocessor

    task = "question-answering"
    verb = "answer"
    settings_cls = QuestionAnswering
    reading_cls = QuestionFiles
    training_file = "questions.json"
    asking_cls = QuestionAsking
    signatures: ClassVar = {"serving_default": ("question", "context")}
    asked = ("question", "context")
    blank = ("?", "")
    decoder_cls = AnswerDecoder
    decoded = (ANSWER_SPANS, ANSWER_SCORES, NO_ANSWER_SCORES)
    figures = ("f1", "exact_match")
    teaching = LOGITS

    def __init__(
        self,
        backbone: SpanBertBackbone,
        preprocessor: Any = None,
        max_answer_length: int = 30,
        max_answers: int = 10,
        null_threshold: float | None = None,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        for name, value in (("max_answer_length", max_answer_length), ("max_answers", max_answers)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        check_fit(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.max_answer_length = max_answer_length
        self.max_answers = max_answers
        self.null_threshold = null_threshold
        self.dropout = dropout
        self.output_dropout = keras.layers.Dropout(
            dropout, dtype=backbone.dtype_policy, name="output_dropout"
        )
        self.output_dense = keras.layers.Dense(
            2,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="logits",
        )
        inputs = backbone.input
        logits = self.output_dense(self.output_dropout(backbone(inputs)["sequence_output"]))
        places = ops.cumsum(ops.ones_like(inputs[PADDING_MASK.name]), axis=1)
        allowed = ops.logical_or(of_context(inputs), places < 2)  # [CLS] is the first.
        super().__init__(
            inputs=inputs,
            outputs={
                name: ops.where(allowed, logits[:, :, side], NEVER)
                for side, name in enumerate(("start_logits", "end_logits"))
            },
            **kwargs,
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[Question]:
        """Reads questions with their answers, see `read_questions`."""
        return read_questions(path)

    @classmethod
    def read_asked(cls, path: AnySource, reading: Any = None) -> Columns:
        """Reads questions and contexts, see `readers.questions.read_asked`."""
        of = reading or AskedColumns()
        return read_asked(path, of.text_column, of.pair_column, of.delimiter, of.quoting)

    @classmethod
    def name_columns(cls, path: AnySource, reading: AskedColumns) -> AskedColumns:
        """They have the same names in all files."""
        return reading

    @classmethod
    def head_arguments(cls, records: Sequence[Question], settings: Any) -> dict[str, Any]:
        """What settings say of the head, and whether there may be no answer."""
        answered = [bool(record.answers) for record in records]
        if not any(answered):
            where = records[0].path if records else "no questions"
            raise DataError(f"{where}: expected questions with answers, found none.")
        return {
            "max_answer_length": settings.max_answer_length,
            "null_threshold": None if all(answered) else 0.0,
            "dropout": settings.dropout,
        }

    @classmethod
    def preprocessor_arguments(cls, settings: Any) -> dict[str, Any]:
        """How long rows are, and what windows share."""
        return {"sequence_length": settings.sequence_length, "doc_stride": settings.doc_stride}

    @classmethod
    def strata(cls, records: Sequence[Question]) -> np.ndarray:
        """Whether each question has an answer."""
        return np.array([bool(record.answers) for record in records], np.int32)

    def columns_of(self, records: Sequence[Question]) -> tuple[Columns, Any]:
        """The questions and the contexts, and the answer of each to learn."""
        columns = [[of.question for of in records], [of.context for of in records]]
        return columns, [record.target for record in records]

    def check_records(self, records: Sequence[Question]) -> None:
        """Refuses questions that are empty, or too long for a row."""
        if not records:
            return
        questions = [record.question for record in records]
        limit = self.preprocessor.most_question_pieces
        lengths = self.preprocessor.tokenizer.tokenize(questions).row_lengths().numpy()
        wrong = np.flatnonzero((lengths > limit) | (lengths == 0))
        if len(wrong):
            first = records[wrong[0]]
            raise DataError(
                f"{first.place}: expected a question of 1 to {limit} word pieces, three quarters "
                f"of a row of {self.preprocessor.sequence_length}, found {lengths[wrong[0]]}; "
                f"{len(wrong)} such in all."
            )

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """`y` as `fit` takes it: of each question `(start, end)` or `None`."""
        return {ANSWER_TOKENS: answer_tokens(rows, checked_spans(y, columns[1]))}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean over rows of the cross-entropies of first and last token, halved."""
        losses = 0.5 * sum(
            ops.sparse_categorical_crossentropy(y[:, side], y_pred[name], from_logits=True)
            for side, name in enumerate(("start_logits", "end_logits"))
        )
        return self.mean_loss(losses, sample_weight=sample_weight)

    def compared_logits(self, outputs: Any, features: dict[str, Any]) -> tuple[Any, Any]:
        """Those of the first and of the last token of the answer."""
        return ops.stack([outputs["start_logits"], outputs["end_logits"]], axis=1), None

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """The best spans of each row, as pieces of its context, and their odds against none."""
        start, end = outputs["start_logits"], outputs["end_logits"]
        none = start[:, 0] + end[:, 0]
        total = ops.logsumexp(start, axis=1) + ops.logsumexp(end, axis=1)
        is_context = of_context(features)
        first, last = (ops.where(is_context, logits, NEVER) for logits in (start, end))
        scores, firsts, lasts = best_spans(first, last, self.max_answer_length, self.max_answers)
        tokens, segments = features[PADDING_MASK.name], features[SEGMENT_IDS.name]
        before = ops.reshape(ops.sum(tokens * (1 - segments), axis=1), (-1, 1, 1))
        return {
            ANSWER_SPANS.name: ops.stack([firsts, lasts], axis=2) - before,
            ANSWER_SCORES.name: scores - ops.reshape(none, (-1, 1)),
            NO_ANSWER_SCORES.name: none - total,
        }

    @property
    def decoder(self) -> AnswerDecoder:
        """What joins windows to answers."""
        return AnswerDecoder(self.null_threshold, self.max_answers)

    @property
    def scored_decoder(self) -> AnswerDecoder:
        """Gives no answer and then the best one, of each question: what thresholds are set by."""
        return AnswerDecoder(math.inf, max(self.decoder.max_answers, 2), 2)

    def given(
        self, answers: Sequence[Sequence[Answer]], records: Sequence[Question]
    ) -> list[Answer]:
        """The best answer of each question, or none where that is likelier by the threshold."""
        threshold, told = self.decoder.null_threshold, []
        for answer in answers:
            _, odds = odds_of_none(answer)
            refused = len(answer) < 2 or (threshold is not None and odds > -threshold)
            told.append(answer[0] if refused else answer[1])
        return told

    def score(self, answers: Sequence[Any], records: Sequence[Question]) -> dict[str, float]:
        """Exact match and F1, see `metrics.answers.answer_figures`."""
        texts, none = zip(*map(odds_of_none, answers), strict=True)
        threshold = self.decoder.null_threshold
        highest = math.inf if threshold is None else -threshold
        return answer_figures(texts, [*map(_gold, records)], none, highest)

    def report(self, answers: Sequence[Any], records: Sequence[Question]) -> Report:
        """The questions that have an answer and those that have none."""
        has_answer = [bool(record.answers) for record in records]
        return answer_report(self.score(answers, records), has_answer)

    @classmethod
    def gold_of(cls, record: Question) -> list[str]:
        """What people answered; nothing where there is no answer."""
        return _gold(record)

    def is_right(self, answer: Answer, record: Question) -> bool:
        """Whether it is what one of them answered, as SQuAD's exact match has it."""
        return is_exact(answer.answer, _gold(record))

    def tune(self, answers: Sequence[Any], records: Sequence[Question]) -> None:
        """Sets the threshold of no answer to that of the highest F1, if there may be no answer."""
        if self.null_threshold is not None and not all(record.answers for record in records):
            self.null_threshold = -self.score(answers, records)["best_f1_threshold"]

    def answer(
        self, questions: Any, contexts: Any, top_k: int = 1, batch_size: int | None = None
    ) -> Any:
        """Answers questions.

        Args:
            questions: A string, or a list of strings.
            contexts: What each is about: a string, or as many strings, of any length.
            top_k: How many answers of each question.
            batch_size: Rows in a batch.  `None`: as many as have 8,192 tokens.

        Returns:
            An `Answer` for a string, a list of them for several questions, in their order; with
            `top_k` above 1 a list of so many at most, the best first, in place of each.

        Raises:
            TypeError: A text is not a string.
            ValueError: There are not as many contexts as questions, or a question is longer than
                three quarters of a row.
        """
        return self.answer_texts((questions, contexts), batch_size, top_k=top_k)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_answer_length": self.max_answer_length,
            "max_answers": self.max_answers,
            "null_threshold": self.null_threshold,
            "dropout": self.dropout,
        }


def _gold(record: Question) -> list[str]:
    return [text for text, _ in record.answers]


def of_context(features: dict[str, Any]) -> Any:
    """Whether each token is one of the context, bool `[b, s]`: its [SEP], the last, is not."""
    has_next = ops.pad(features[PADDING_MASK.name][:, 1:], ((0, 0), (0, 1)))
    return features[SEGMENT_IDS.name] * has_next > 0
