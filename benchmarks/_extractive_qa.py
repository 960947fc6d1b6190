"""Extractive question answering as a judge of encoders: the recipe, from files to EM and F1.

`extractive_qa.py` states the recipe and is its command line.

Letters: b batch, s sequence, w windows.
"""

import json
import re
import string
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer
from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.features import PADDING_MASK, SEGMENT_IDS
from spanbert_tf.models.optimizers import build_optimizer, default_optimizer, resolve_jit_compile
from spanbert_tf.training.schedules import WarmUpLinearDecay

TRAIN_FILE, TEST_FILE = "new_wiki_v1.0.json", "squad2_articles.json"
WINDOW = 256  # tokens, special ones counted
OVERLAP = 96  # pieces of the context
MOST_QUESTION_PIECES = 64
LONGEST_ANSWER = 30  # pieces
SPECIAL_TOKENS = 3  # [CLS] question [SEP] context [SEP]
NUM_BUCKETS = 64
TRAIN_BATCH, PREDICTION_BATCH = 32, 64
LEARNING_RATE = 1e-4
WARMUP = 0.1  # of all steps
DROPOUT = 0.1


@dataclass(frozen=True)
class Question:
    """One question and what people answered.

    Attributes:
        text: The question.
        context: The paragraph that holds the answers.
        answers: Text of each answer and the index of its first character in `context`.
    """

    text: str
    context: str
    answers: tuple[tuple[str, int], ...]

    @property
    def target(self) -> tuple[int, int]:
        """The characters to learn: of the answer that most people gave, of equals the first."""
        text, begin = Counter(self.answers).most_common(1)[0][0]
        return begin, begin + len(text)


@dataclass(frozen=True)
class EncodedQuestions:
    """Questions as rows of token ids, one a window; see `encode`.

    Attributes:
        questions: The questions.
        numbers: int64 `[w]`, the question of each window.
        segments: Ids of the question and of the window's pieces, each int32 `[w, (s)]`.
        characters: int64 `[w, 2]` each: begin and end in the context of each piece of a window.
        targets: int64 `[w, 2]`, positions in the row of the answer's first and last piece; those
            of [CLS], 0, where the window does not hold the whole answer.
        special_tokens: Ids, as `BucketedBatches` names them.
    """

    questions: list[Question]
    numbers: np.ndarray
    segments: tuple[tf.RaggedTensor, tf.RaggedTensor]
    characters: list[np.ndarray]
    targets: np.ndarray
    special_tokens: dict[str, int]

    def batches(self, **options: Any) -> BucketedBatches:
        """Makes batches of like length; options are those of `BucketedBatches`."""
        options = {"num_buckets": NUM_BUCKETS, **self.special_tokens, **options}
        return BucketedBatches(self.segments, self.targets, sequence_length=WINDOW, **options)


@dataclass(frozen=True)
class Judgement:
    """What an encoder reached under one seed.

    Attributes:
        exact_match: Percentage of the test questions.
        f1: Mean over the test questions, in percent.
        seconds: Of training and of prediction, first steps and their tracing counted.
        tokens_per_second: Of training, padding not counted.
        loss: Mean over the epoch.
    """

    exact_match: float
    f1: float
    seconds: tuple[float, float]
    tokens_per_second: float
    loss: float


def read_questions(path: Path, count: int | None = None, seed: int = 0) -> list[Question]:
    """Reads the answerable questions of a file in SQuAD's format, 1.1 or 2.0.

    Args:
        path: The file.
        count: How many to take, at random.  `None`: all, in the order of the file.
        seed: Seed of the choice.
    """
    questions = [
        Question(
            qa["question"],
            paragraph["context"],
            tuple((answer["text"], answer["answer_start"]) for answer in qa["answers"]),
        )
        for article in json.loads(path.read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
        if qa["answers"] and not qa.get("is_impossible", False)
    ]
    if count is None:
        return questions
    chosen = np.random.default_rng(seed).permutation(len(questions))[:count]
    return [questions[number] for number in chosen]


def cut_windows(length: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Cuts a context into windows; each begins `overlap` pieces before the last one's end.

        10 pieces, room for 5, overlap 2 -> [0, 5), [3, 8), [6, 10)

    Returns:
        First piece of each window and the piece behind its last.
    """
    begins = range(0, max(length - overlap, 1), room - overlap)
    return [(begin, min(begin + room, length)) for begin in begins]


def answer_pieces(characters: np.ndarray, begin: int, end: int) -> tuple[int, int] | None:
    """Finds the pieces of an answer: those that share a character with it.

    Args:
        characters: int `[s, 2]`, begin and end of each piece, ascending.
        begin: The answer's first character.
        end: The character behind its last.

    Returns:
        The first piece and the last, or `None` where no piece has any of these characters.
    """
    first = int(np.searchsorted(characters[:, 1], begin, side="right"))
    last = int(np.searchsorted(characters[:, 0], end, side="left")) - 1
    return (first, last) if first <= last else None


def encode(questions: list[Question], tokenizer: SpanBertTokenizer) -> EncodedQuestions:
    """Tokenises each question and each context once and cuts the contexts into windows."""
    contexts = list(dict.fromkeys(question.context for question in questions))
    numbers = {context: number for number, context in enumerate(contexts)}
    tokenized = tokenizer.tokenize_with_offsets(contexts, unit="character")
    splits = tokenized.token_ids.row_splits.numpy()[1:-1]
    context_ids = np.split(tokenized.token_ids.values.numpy(), splits)
    characters = np.split(
        np.stack([tokenized.starts.values.numpy(), tokenized.ends.values.numpy()], axis=1), splits
    )
    question_ids = tokenizer([question.text for question in questions])[:, :MOST_QUESTION_PIECES]
    question_lengths = question_ids.row_lengths().numpy()

    rows, pieces, places, targets = [], [], [], []
    for row, question in enumerate(questions):
        context = numbers[question.context]
        before = int(question_lengths[row]) + SPECIAL_TOKENS - 1  # positions before the context's
        room = WINDOW - before - 1
        answer = answer_pieces(characters[context], *question.target)
        for begin, end in cut_windows(len(context_ids[context]), room, OVERLAP):
            whole = answer is not None and begin <= answer[0] and answer[1] < end
            rows.append(row)
            pieces.append(context_ids[context][begin:end])
            places.append(characters[context][begin:end])
            targets.append([place - begin + before for place in answer] if whole else [0, 0])
    windows = tf.RaggedTensor.from_row_lengths(np.concatenate(pieces), [len(p) for p in pieces])
    return EncodedQuestions(
        questions,
        np.array(rows),
        (tf.gather(question_ids, rows), windows),
        places,
        np.array(targets),
        {
            "start_token_id": tokenizer.cls_token_id,
            "end_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )


def span_model(backbone: SpanBertBackbone) -> keras.Model:
    """Puts the plain head on a copy of an encoder: two logits a token, from one dense layer.

    The copy has the recipe's dropout, as encoders may have been pretrained with any.

    Returns:
        A model from the encoder's inputs to logits float32 `[b, 2, s]`: how likely a token is the
        answer's first, and its last.
    """
    encoder = SpanBertBackbone.from_config({**backbone.get_config(), "dropout": DROPOUT})
    encoder.set_weights(backbone.get_weights())
    inputs = encoder.input
    dense = keras.layers.Dense(
        2,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        dtype="float32",
        name="span_logits",
    )
    logits = ops.transpose(dense(encoder(inputs)["sequence_output"]), (0, 2, 1))
    padding = 1.0 - ops.cast(inputs[PADDING_MASK.name], "float32")
    return keras.Model(inputs, logits - 1e9 * padding[:, None, :])


def judge(
    backbone: SpanBertBackbone,
    train: EncodedQuestions,
    test: EncodedQuestions,
    seed: int = 0,
    learning_rate: float = LEARNING_RATE,
) -> Judgement:
    """Fine-tunes a copy of an encoder for one epoch and tests it.

    Args:
        backbone: The encoder.
        train: Questions to learn, encoded with the encoder's vocabulary.
        test: Questions to answer, encoded likewise.
        seed: Seed of the head, of dropout and of the order of the batches.
        learning_rate: The peak.
    """
    keras.utils.set_random_seed(seed)
    batches = train.batches(batch_size=TRAIN_BATCH, seed=seed)
    steps = len(batches.plan())
    model = span_model(backbone)
    model.compile(
        default_optimizer(WarmUpLinearDecay(learning_rate, steps, round(WARMUP * steps))),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=resolve_jit_compile("auto"),
    )
    build_optimizer(model)
    begun = time.perf_counter()
    history = model.fit(batches.dataset(), shuffle=False, verbose=0)
    trained = time.perf_counter()
    answers = predict(model, test)
    predicted = time.perf_counter()
    exact_match, f1 = score(answers, test.questions)
    return Judgement(
        exact_match,
        f1,
        (trained - begun, predicted - trained),
        float(batches.lengths.sum()) / (trained - begun),
        history.history["loss"][0],
    )


def predict(model: keras.Model, questions: EncodedQuestions) -> list[str]:
    """Answers each question by the best span of all its windows, as it stands in the context."""
    batches = questions.batches(batch_size=PREDICTION_BATCH)
    plan = batches.plan()
    best = np.full(len(questions.questions), -np.inf)
    answers = [""] * len(questions.questions)
    question_lengths = questions.segments[0].row_lengths().numpy()
    row_batches = np.split(plan.rows, plan.splits[1:-1])
    for rows, (features, _) in zip(row_batches, batches.dataset(), strict=True):
        logits = model.predict_on_batch(features)
        allowed = features[SEGMENT_IDS.name].numpy() == 1
        # The context's [SEP], the last of a row, is of its segment.
        allowed[np.arange(len(rows)), batches.lengths[rows] - 1] = False
        scores, *spans = best_spans(logits[:, 0], logits[:, 1], allowed)
        spans = np.stack(spans, axis=1) - question_lengths[rows, None] - (SPECIAL_TOKENS - 1)
        for row, span_score, (first, last) in zip(rows, scores, spans, strict=True):
            number = questions.numbers[row]
            if span_score > best[number]:
                best[number] = span_score
                places = questions.characters[row]
                context = questions.questions[number].context
                answers[number] = context[places[first, 0] : places[last, 1]]
    return answers


def best_spans(
    first_logits: np.ndarray,
    last_logits: np.ndarray,
    allowed: np.ndarray,
    longest: int = LONGEST_ANSWER,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds each row's span with the highest sum of two logits.

    Args:
        first_logits: float `[b, s]`, of being a span's first token.
        last_logits: float `[b, s]`, of being its last.
        allowed: bool `[b, s]`, which tokens a span may begin and end with.
        longest: The most tokens of a span.

    Returns:
        The sum, float `[b]`, -infinity without an allowed token; the span's first token and its
        last, int64 `[b]` each.  Of equals, the shortest and then the first.
    """
    first_logits = np.where(allowed, first_logits, -np.inf)
    last_logits = np.where(allowed, last_logits, -np.inf)
    rows = np.arange(len(allowed))
    score, first, last = np.full(len(rows), -np.inf), np.zeros_like(rows), np.zeros_like(rows)
    for more in range(min(longest, allowed.shape[1])):
        sums = first_logits[:, : allowed.shape[1] - more] + last_logits[:, more:]
        begins = sums.argmax(axis=1)
        better = sums[rows, begins] > score
        score = np.where(better, sums[rows, begins], score)
        first, last = np.where(better, begins, first), np.where(better, begins + more, last)
    return score, first, last


def normalized(text: str) -> str:
    """Normalises an answer as SQuAD does.

    In this order: lower case; ASCII punctuation is taken out, not replaced; the words a, an and
    the become spaces; runs of white space become one space, and none is left at the ends.
    """
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def word_f1(answer: str, expected: str) -> float:
    """The F1 of the words of two normalised answers, as multisets: 0 if they share none."""
    words, expected_words = (
        Counter(normalized(answer).split()),
        Counter(normalized(expected).split()),
    )
    shared = (words & expected_words).total()
    return 2 * shared / (words.total() + expected_words.total()) if shared else 0.0


def score(answers: Sequence[str], questions: Iterable[Question]) -> tuple[float, float]:
    """Scores answers as SQuAD 1.1 does: by what each reaches at best against people's answers.

    Returns:
        Exact match and F1, means in percent.
    """
    figures = []
    for answer, question in zip(answers, questions, strict=True):
        expected = {text for text, _ in question.answers}
        matches = any(normalized(answer) == normalized(text) for text in expected)
        figures.append((matches, max(word_f1(answer, text) for text in expected)))
    exact_match, f1 = 100 * np.mean(figures, axis=0)
    return float(exact_match), float(f1)
