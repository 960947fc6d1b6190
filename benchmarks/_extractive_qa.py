"""Question answering as a judge of encoders: one recipe, by the task of this package.

`extractive_qa.py` states the recipe and is its command line.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf import SpanBertQuestionAnswererPreprocessor, SpanBertTokenizer
from spanbert_tf.data.batching.answers import answer_tokens, checked_spans
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.questions import Question
from spanbert_tf.features import ANSWER_TOKENS
from spanbert_tf.tasks.question_answerer import QuestionAnswering
from spanbert_tf.training import finetune

TRAIN_FILE, TEST_FILE = "new_wiki_v1.0.json", "squad2_articles.json"
WINDOW, STRIDE = 256, 96  # tokens, special ones counted; pieces of the context that windows share
BATCH_SIZE = 32
LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Judgement:
    """What an encoder reached under one seed.

    Attributes:
        figures: On the test questions, see `answer_figures`, and `loss`.
        loss: Mean over the epoch.
        seconds: Of training and of prediction, first steps and their tracing counted.
        tokens_per_second: Of training, padding not counted.
    """

    figures: dict[str, float]
    loss: float
    seconds: tuple[float, float]
    tokens_per_second: float


class Clock(keras.callbacks.Callback):
    """Seconds of training, without what `finetune` does before and after it."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts."""
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops."""
        self.seconds = time.perf_counter() - self.begun


def sample(questions: list[Question], count: int | None, seed: int = 0) -> list[Question]:
    """So many questions at random, in their order; all of them if `count` is `None`."""
    chosen = np.random.default_rng(seed).permutation(len(questions))[:count]
    return [questions[number] for number in sorted(chosen)]


def columns_of(questions: Sequence[Question]) -> list[list[str]]:
    """The questions, and their contexts."""
    return [[one.question for one in questions], [one.context for one in questions]]


def encode(questions: Sequence[Question], tokenizer: SpanBertTokenizer) -> Rows:
    """Makes the rows that the recipe trains on, with the tokens of their answers."""
    columns = columns_of(questions)
    preprocessor = SpanBertQuestionAnswererPreprocessor(tokenizer, WINDOW, STRIDE)
    rows = preprocessor.rows(*(tf.constant(column) for column in columns))
    spans = checked_spans([question.target for question in questions], columns[1])
    return rows.with_targets({ANSWER_TOKENS: answer_tokens(rows, spans)})


def judge(
    encoder: str | os.PathLike[str],
    train: list[Question],
    test: list[Question],
    *,
    validation: Sequence[Question] = (),
    seed: int = 0,
    learning_rate: float = LEARNING_RATE,
    dtype: str | None = None,
) -> Judgement:
    """Fine-tunes an encoder for one epoch and tests it.

    Args:
        encoder: What `load_backbone` takes.
        train: Questions to learn.
        test: Questions to answer.
        validation: Questions to choose the threshold of no answer on.
        seed: Seed of the head, of dropout and of the order of the batches.
        learning_rate: The peak.
        dtype: Dtype policy.
    """
    settings = QuestionAnswering(
        epochs=1,
        batch_size=BATCH_SIZE,
        learning_rate=learning_rate,
        sequence_length=WINDOW,
        doc_stride=STRIDE,
        validation_fraction=0,
        seed=seed,
        dtype=dtype,
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = finetune(
            settings,
            train,
            task="question-answering",
            encoder=encoder,
            output=Path(folder) / "preset",
            callbacks=[clock],
            verbose=0,
        )
    model = run.model
    if validation:
        model.assess(validation, tune=True)
    begun = time.perf_counter()
    figures = model.assess(test)
    seconds = clock.seconds, time.perf_counter() - begun
    columns, y = model.columns_of(train)
    tokens = model.batches_of(model.encode(columns, y)).lengths.sum()
    return Judgement(figures, run.history[0]["loss"], seconds, float(tokens) / clock.seconds)
