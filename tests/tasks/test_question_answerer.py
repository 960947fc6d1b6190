"""Question answering: windows, the best spans of all of them, and the same in every format."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer, load_task
from spanbert_tf.cli.main import main
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.questions import Question
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from spanbert_tf.features import ANSWER_SCORES, ANSWER_SPANS, NO_ANSWER_SCORES
from spanbert_tf.layers.span_scoring import NEVER
from spanbert_tf.models.graphs import asked_once
from spanbert_tf.models.text_batches import TOKEN_BUDGET
from spanbert_tf.tasks.decoders.answers import Answer, AnswerDecoder
from spanbert_tf.tasks.question_answerer import (
    QuestionAnswering,
    SpanBertQuestionAnswerer,
    SpanBertQuestionAnswererPreprocessor,
)
from spanbert_tf.training import finetune
from tests.layer_checks import randomize
from tests.served_tensors import CApi, assert_same_tensors

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{x}" for x in LETTERS)]
VOCABULARY += [".", ",", "?", "😀", "中", "文"]
QUESTIONS = ["a b?", "who", "", "c d", "e", "中"]
CONTEXTS = [
    "ada met bo in c.",
    "",
    "abc",
    "😀 éa b́c, 中文 d",
    " ".join(f"{a}{b} {c}" for a in "abcd" for b in "efg" for c in "hij"),
    "a" * 150 + " b",
]


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(VOCABULARY, lowercase=True)


def make_backbone() -> SpanBertBackbone:
    keras.utils.set_random_seed(0)
    return SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 32, max_sequence_length=24)


@pytest.fixture(scope="module")
def answerer(tokenizer: SpanBertTokenizer) -> SpanBertQuestionAnswerer:
    """One of random weights, which reads windows of 16 tokens."""
    answerer = SpanBertQuestionAnswerer(
        make_backbone(),
        SpanBertQuestionAnswererPreprocessor(tokenizer, sequence_length=16, doc_stride=4),
        max_answer_length=5,
        max_answers=4,
    )
    randomize(answerer, seed=3)
    return answerer


def assert_same(found: list[Any], expected: list[Any], atol: float = 1e-5) -> None:
    found, expected = (
        [one for of in sides for one in (of if isinstance(of, list) else [of])]
        for sides in (found, expected)
    )
    assert [(one.answer, one.start, one.end) for one in found] == [
        (one.answer, one.start, one.end) for one in expected
    ]
    np.testing.assert_allclose(
        [one.score for one in found], [one.score for one in expected], atol=atol
    )


def test_answers_are_characters_of_the_context_given(answerer: SpanBertQuestionAnswerer):
    answers = answerer.answer(QUESTIONS, CONTEXTS, top_k=4)
    assert [len(one) for one in answers] == [4, 1, 1, 4, 4, 3]
    for context, of_question in zip(CONTEXTS, answers, strict=True):
        for one in of_question:
            assert context[one.start : one.end] == one.answer
        scores = [one.score for one in of_question]
        assert scores == sorted(scores, reverse=True)
        assert 0 < sum(scores) <= 1 + 1e-6
    # An empty context has no answer, and so has an empty question.
    assert answers[1] == answers[2] == [Answer("", 1.0, 0, 0)]
    assert_same([answerer.answer(QUESTIONS[0], CONTEXTS[0])], answers[0][:1])


def test_many_questions_are_answered_as_few(answerer: SpanBertQuestionAnswerer):
    """By the decoder in NumPy over sorted batches, and by that in the graph."""
    few = answerer.answer(QUESTIONS, CONTEXTS, top_k=3)
    assert_same(answerer.answer(QUESTIONS * 2, CONTEXTS * 2, top_k=3), few * 2)


def test_scores_are_softmaxes_of_all_windows(answerer: SpanBertQuestionAnswerer):
    """Of a context of one window the product of both; of several the odds, as all spans add up."""
    for question, context in ((QUESTIONS[3], CONTEXTS[3]), (QUESTIONS[4], CONTEXTS[4])):
        rows = answerer.preprocessor.rows(tf.constant([question]), tf.constant([context]))
        features = answerer.preprocessor.pack(rows)
        outputs = answerer(features, training=False)
        starts, ends = (np.array(outputs[name], "float64") for name in outputs)
        first, last = (rows.places[name].to_list() for name in ("starts", "ends"))
        before = int(rows.segments[0].row_lengths()[0]) + 2
        total, odds = 1.0, {}
        for row in range(len(starts)):
            products = np.exp(starts[row][:, None] + ends[row] - starts[row, 0] - ends[row, 0])
            total += products.sum() - 1
            for i in range(len(first[row])):
                for j in range(i, min(i + 5, len(first[row]))):
                    span = first[row][i], last[row][j]
                    odds[span] = max(odds.get(span, 0), products[i + before, j + before])
        best = sorted(odds, key=odds.get, reverse=True)[:4]
        found = answerer.answer([question], [context], top_k=4)[0]
        assert [(one.start, one.end) for one in found] == best
        expected = [odds[span] / total for span in best]
        np.testing.assert_allclose([one.score for one in found], expected, rtol=1e-4)


def test_a_question_is_before_each_window(answerer: SpanBertQuestionAnswerer):
    preprocessor = answerer.preprocessor
    rows = preprocessor.rows(tf.constant(QUESTIONS), tf.constant(CONTEXTS))
    features = preprocessor.pack(rows)
    asked = preprocessor.tokenizer(QUESTIONS).to_list()
    for row, record in enumerate(rows.records.numpy()):
        segments = features["segment_ids"].numpy()[row]
        ids = features["token_ids"].numpy()[row]
        length = len(asked[record])
        assert ids[1 : 1 + length].tolist() == asked[record]
        assert segments[: length + 2].tolist() == [0] * (length + 2)
        assert segments.sum() == len(rows.segments[1][row]) + 1
    counts = np.bincount(rows.records.numpy())
    lengths = preprocessor.tokenizer(CONTEXTS).row_lengths().numpy()
    lengths[2] = 0  # Its question is empty.
    room = np.array([16 - 3 - len(of) for of in asked])
    step = room - np.minimum(4, room // 2)
    np.testing.assert_array_equal(counts, 1 + np.maximum(-(-(lengths - room) // step), 0))


@settings(max_examples=60)
@given(st.data())
def test_both_decoders_join_windows_alike(data: st.DataObject):
    """Any spans of any windows, and any threshold: NumPy and TensorFlow give the same answers."""
    contexts = data.draw(st.lists(st.text("ab é中😀", max_size=12), min_size=1, max_size=3))
    counts = [data.draw(st.integers(1, 3)) for _ in contexts]
    records = np.repeat(np.arange(len(contexts)), counts)
    places: dict[str, list] = {"starts": [], "ends": []}
    spans, scores = np.zeros((len(records), 3, 2), "int32"), np.full((len(records), 3), 2 * NEVER)
    odds = iter(data.draw(st.permutations(range(3 * len(records)))))
    for row, record in enumerate(records):
        length = len(contexts[record])
        begin = data.draw(st.integers(0, length))
        places["starts"].append(list(range(begin, length)))
        places["ends"].append(list(range(begin + 1, length + 1)))
        for place in range(data.draw(st.integers(0, 3)) if begin < length else 0):
            first = data.draw(st.integers(0, length - begin - 1))
            spans[row, place] = first, data.draw(st.integers(first, length - begin - 1))
            scores[row, place] = next(odds) / 2 - 2
    rows = Rows(
        (),
        tf.constant(records, tf.int32),
        tf.constant(len(contexts)),
        places={
            name: tf.ragged.constant(of, tf.int32, ragged_rank=1) for name, of in places.items()
        },
    )
    none = -np.log1p(np.exp(scores).sum(axis=1)) - 0.1
    decoded = {
        ANSWER_SPANS.name: spans,
        ANSWER_SCORES.name: scores.astype("float32"),
        NO_ANSWER_SCORES.name: none.astype("float32"),
    }
    threshold = data.draw(st.sampled_from([None, -math.inf, -1.25, 0.75, math.inf]))
    decoder = AnswerDecoder(threshold, max_answers=5, top_k=data.draw(st.integers(1, 5)))
    expected = decoder.answers(decoded, rows, [[""] * len(contexts), contexts])
    served = decoder.serve(
        {name: tf.constant(of) for name, of in decoded.items()},
        rows,
        [tf.constant(contexts), tf.constant(contexts)],
    )
    shapes = {name: of.shape for name, of in served.items()}
    assert shapes.pop("no_answer_score") == len(contexts)
    assert set(shapes.values()) == {(len(contexts), 5)}
    assert_same(decoder.served({name: of.numpy() for name, of in served.items()}), expected)


def test_no_answer_is_what_the_threshold_says():
    rows = Rows(
        (),
        tf.constant([0, 0]),
        tf.constant(1),
        places={
            "starts": tf.ragged.constant([[0, 1], [1, 2]], tf.int32),
            "ends": tf.ragged.constant([[1, 2], [2, 3]], tf.int32),
        },
    )
    decoded = {
        ANSWER_SPANS.name: np.array([[[1, 1]], [[0, 0]]]),  # the same character
        ANSWER_SCORES.name: np.array([[0.0], [1.0]]),
        NO_ANSWER_SCORES.name: np.log([0.5, 0.2]),
    }
    total = 1 + (2 - 1) + (5 - 1)
    expected = Answer("b", pytest.approx(math.e / total), 1, 2)
    for threshold, answers in (
        (None, [expected]),
        (1.0, [expected]),
        (1.1, [Answer("", pytest.approx(1 / total), 0, 0), expected]),
    ):
        decoder = AnswerDecoder(threshold, top_k=3)
        assert decoder.answers(decoded, rows, [["?"], ["abc"]]) == [answers]
    assert str(Answer("", 0.5, 0, 0)) == "(no answer)  0.500  (0-0)"


@pytest.mark.slow
def test_exports_answer_the_same(
    answerer: SpanBertQuestionAnswerer,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    c_api: CApi,
):
    """Beside it, what the command line answers; all in one, as exports take long."""
    monkeypatch.setattr(answerer, "null_threshold", -0.5)
    expected = answerer.answer(QUESTIONS, CONTEXTS, top_k=4)
    assert {one[0].answer == "" for one in expected} == {True, False}
    export_task(answerer, tmp_path / "1")
    export_litert(answerer, tmp_path / "lite")
    answerer.save_to_preset(str(tmp_path / "preset"))
    tensors = []
    for name in ("1", "lite", "preset"):
        task = load_task(tmp_path / name)
        tensors.append(task.answer_tensors((QUESTIONS, CONTEXTS)))
        assert task.task == "question-answering"
        assert_same(task.answer(QUESTIONS, CONTEXTS, top_k=4), expected)
        assert_same(task((QUESTIONS * 2, CONTEXTS * 2)), [one[0] for one in expected] * 2)
        assert_same([task(QUESTIONS[0], CONTEXTS[0])], [expected[0][0]])
        with pytest.raises(TypeError, match="contexts"):
            task(QUESTIONS)
        with pytest.raises(ValueError, match="`top_k` must be from 1 to 4"):
            task(QUESTIONS, CONTEXTS, top_k=5)
        with pytest.raises(ValueError, match="a question has more than 9 word pieces"):
            task("a " * 10, "b")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    outputs = served(question=tf.constant(QUESTIONS), context=tf.constant(CONTEXTS))
    for of_format in tensors:
        assert_same_tensors(of_format, outputs)
    assert_same_tensors(c_api(tmp_path / "1", question=QUESTIONS, context=CONTEXTS), outputs, 1e-5)
    none = outputs.pop("no_answer_score").numpy()
    np.testing.assert_allclose(
        [of[0].score for of in expected if not of[0].answer],
        [score for score, of in zip(none, expected, strict=True) if not of[0].answer],
        atol=1e-5,
    )
    assert {name: tuple(of.shape) for name, of in outputs.items()} == dict.fromkeys(
        ("answer", "score", "start", "end"), (len(QUESTIONS), 4)
    )

    table = tmp_path / "asked.tsv"
    table.write_text(f"context\tquestion\n{CONTEXTS[0]}\t{QUESTIONS[0]}\n", "utf-8")
    for words in ([QUESTIONS[0], CONTEXTS[0]], ["--input", str(table)]):
        assert main(["predict", str(tmp_path / "1"), *words, "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found.pop("text") == QUESTIONS[0]
        assert_same([Answer(**found)], [expected[0][0]])
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "1"), "Who?"])
    assert "give question and context in turn; there are 1" in capsys.readouterr().err


def test_a_long_context_is_read_in_steps(answerer: SpanBertQuestionAnswerer):
    """Of more windows than a step has: what is served equals what is batched."""
    generator = np.random.default_rng(0)
    context = " ".join(generator.choice(LETTERS, 2 * TOKEN_BUDGET // 3))
    rows = answerer.preprocessor.rows(tf.constant(["a b"]), tf.constant([context]))
    assert len(rows.records) * 16 > TOKEN_BUDGET
    served = answerer.answer("a b", context, top_k=4)
    batched = answerer.answer(["a b"], [context], top_k=4, batch_size=50)
    assert_same([served], batched)
    assert served[0].end - served[0].start < 11


def make_questions(count: int, seed: int = 0, unanswerable: bool = True) -> list[Question]:
    """Contexts of letters; the question's letter stands once before the answer, or not at all."""
    generator = np.random.default_rng(seed)
    questions = []
    for number in range(count):
        letters = generator.permutation(LETTERS[:8]).tolist()
        asked = letters.pop() if unanswerable and number % 3 == 0 else letters[3]
        context = " ".join(letters)
        answers = ()
        if asked in letters:
            at = context.index(asked) + 2
            answers = ((context[at], at),)
        questions.append(Question(asked, context, answers, str(number), number, "made.json"))
    return questions


@pytest.mark.slow
def test_finetune_learns_and_keeps_the_threshold(
    tokenizer: SpanBertTokenizer, tmp_path: Path, capsys: Any
):
    make_backbone().save_to_preset(str(tmp_path / "encoder"))
    tokenizer.save_to_preset(str(tmp_path / "encoder"))
    options = QuestionAnswering(
        epochs=10,
        batch_size=8,
        learning_rate=2e-2,
        sequence_length=20,
        doc_stride=5,
        max_answer_length=3,
        dropout=0.0,
    )
    result = finetune(
        options,
        make_questions(480),
        make_questions(60, seed=1),
        task="question-answering",
        test=make_questions(60, seed=2),
        encoder=tmp_path / "encoder",
        output=tmp_path / "preset",
        saved_model=tmp_path / "saved_model" / "1",
        verbose=0,
    )
    assert result.test["f1"] > 70
    assert result.validation["f1"] == pytest.approx(result.validation["best_f1"], abs=2)
    assert result.validation["best_f1"] > 70
    threshold = result.model.null_threshold
    assert threshold == pytest.approx(-result.validation["best_f1_threshold"])
    answers = {name: load_task(tmp_path / name) for name in ("preset", "saved_model/1")}
    assert {task.decoder.null_threshold for task in answers.values()} == {threshold}
    test = make_questions(30, seed=3)
    asked = [[one.question for one in test], [one.context for one in test]]
    assert_same(answers["preset"](*asked), answers["saved_model/1"](*asked), atol=1e-4)

    data = tmp_path / "test.jsonl"
    data.write_text(
        "".join(
            json.dumps(
                {
                    "question": one.question,
                    "context": one.context,
                    "answers": {
                        "text": [text for text, _ in one.answers],
                        "answer_start": [start for _, start in one.answers],
                    },
                }
            )
            + "\n"
            for one in make_questions(60, seed=2)
        )
    )
    assert main(["evaluate", str(tmp_path / "preset"), "--data", str(data), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["f1"] == pytest.approx(result.test["f1"])
    assert figures["texts"] == 60


def test_the_threshold_is_tuned_only_where_there_may_be_no_answer(
    answerer: SpanBertQuestionAnswerer, monkeypatch: pytest.MonkeyPatch
):
    records = make_questions(12)
    figures = answerer.assess(records, tune=True)
    assert answerer.null_threshold is None
    assert {"f1", "exact_match", "has_answer_f1", "no_answer_f1", "best_f1", "loss"} <= set(figures)
    monkeypatch.setattr(answerer, "null_threshold", 0.0)
    tuned = answerer.assess(records, tune=True)
    assert answerer.null_threshold == -tuned["best_f1_threshold"] != 0
    assert tuned["f1"] == pytest.approx(tuned["best_f1"])
    assert tuned["best_f1"] == figures["best_f1"]
    assert tuned["best_f1"] > figures["f1"] - 1e-9
    assert answerer.decoder.null_threshold == answerer.null_threshold
    # What is answered agrees with what was scored.
    answers = answerer.answer(*answerer.columns_of(records)[0])
    right = [
        one.answer in [text for text, _ in record.answers] or not (one.answer or record.answers)
        for one, record in zip(answers, records, strict=True)
    ]
    assert 100 * np.mean(right) == pytest.approx(tuned["exact_match"])
    # Without a question that has no answer there is nothing to tune by.
    answerer.assess([record for record in records if record.answers], tune=True)
    assert answerer.null_threshold == -tuned["best_f1_threshold"]
    head = SpanBertQuestionAnswerer.head_arguments
    assert head(records, QuestionAnswering())["null_threshold"] == 0
    assert head(records[1:3], QuestionAnswering())["null_threshold"] is None


def test_loss_is_the_mean_of_both_cross_entropies(answerer: SpanBertQuestionAnswerer):
    columns = [["a", "b", "c"], ["d e f", "g h", "i j k"]]
    rows = answerer.encode(columns, [(2, 5), None, (0, 1)], sample_weight=[1.0, 2.0, 0.5])
    features, targets, weights = answerer.batches_of(rows).only_batch()
    order = answerer.batches_of(answerer.encode(columns)).plan().rows
    assert np.array(targets)[np.argsort(order)].tolist() == [[4, 5], [0, 0], [3, 3]]
    outputs = answerer(features, training=False)
    losses = 0
    for side, name in enumerate(("start_logits", "end_logits")):
        logits = np.array(outputs[name], "float64")
        picked = np.take_along_axis(logits, np.array(targets)[:, side : side + 1], 1)[:, 0]
        losses += (np.log(np.exp(logits).sum(1)) - picked) / 2
    plain = answerer.compute_loss(features, targets, outputs, None, training=False)
    assert float(plain) == pytest.approx(losses.mean(), rel=1e-5)
    weighed = answerer.compute_loss(features, targets, outputs, weights, training=False)
    assert float(weighed) == pytest.approx(np.average(losses, weights=weights), rel=1e-5)


def test_texts_that_are_counted_are_tokenized_once(
    tokenizer: SpanBertTokenizer, monkeypatch: pytest.MonkeyPatch
):
    """`fit` takes the rows that were counted, of the same texts; other texts have other rows."""
    preprocessor = SpanBertQuestionAnswererPreprocessor(tokenizer, sequence_length=16, doc_stride=4)
    answerer = SpanBertQuestionAnswerer(make_backbone(), preprocessor)
    answerer.compile()
    calls = []
    make_rows = preprocessor.rows
    monkeypatch.setattr(
        preprocessor, "rows", lambda *columns: calls.append(columns) or make_rows(*columns)
    )
    columns, y = answerer.columns_of(make_questions(8))
    for _ in range(2):
        counted = answerer.rows_an_epoch(columns)
        assert len(calls) == 1
        answerer.fit(tuple(columns), y, epochs=1, batch_size=counted, verbose=0)
        assert len(calls) == 1
        answerer.fit(tuple(columns), y, epochs=1, batch_size=counted, verbose=0)
        assert len(calls) == 2
        calls.clear()
    others, _ = answerer.columns_of(make_questions(4, seed=1))
    answerer.rows_an_epoch(columns)
    assert answerer.encode(others).num_records == 4


def test_training_names_the_question_that_does_not_fit(
    tokenizer: SpanBertTokenizer, answerer: SpanBertQuestionAnswerer, tmp_path: Path
):
    """Counting an epoch's windows, which would stop at it without a name, comes after."""
    answerer.backbone.save_to_preset(str(tmp_path / "encoder"))
    tokenizer.save_to_preset(str(tmp_path / "encoder"))
    with pytest.raises(DataError, match=r"train.json, question 'q7': expected .* found 10"):
        finetune(
            QuestionAnswering(sequence_length=16, doc_stride=4, validation_fraction=0),
            [Question("a " * 10, "b", (("b", 0),), "q7", 1, "train.json")],
            task="question-answering",
            encoder=tmp_path / "encoder",
            output=tmp_path / "preset",
            verbose=0,
        )


def test_what_does_not_fit_is_refused(
    tokenizer: SpanBertTokenizer, answerer: SpanBertQuestionAnswerer
):
    with pytest.raises(ValueError, match="there are 1 and 2"):
        answerer.answer(["a"], ["b", "c"])
    with pytest.raises(TypeError, match="must be a string, but is 3"):
        answerer.answer(["a"], [3])
    with pytest.raises(ValueError, match="a question has more than 9 word pieces, three quarters"):
        answerer.answer("a " * 10, "b")
    with asked_once(), pytest.raises(ValueError, match="a question has more than 9 word pieces"):
        answerer.answer("a " * 10, "b")
    with pytest.raises(ValueError, match="a question has more than 9 word pieces"):
        answerer.answer(["a " * 10] * 9, ["b"] * 9)
    assert answerer.answer("a " * 9, "b").answer == "b"
    record = Question("a " * 10, "b", (("b", 0),), "q7", 1, "train.json")
    with pytest.raises(DataError, match=r"train.json, question 'q7': expected .* found 10; 2 such"):
        answerer.check_records([record, replace(record, question="\u200b")])
    with pytest.raises(DataError, match=r"made\.json: expected questions with answers, found none"):
        SpanBertQuestionAnswerer.head_arguments(make_questions(1), QuestionAnswering())
    for options, message in (
        ({"doc_stride": -1}, "`doc_stride` must be 0 or above"),
        ({"sequence_length": 4}, "`sequence_length` must be at least 5"),
    ):
        with pytest.raises(ValueError, match=message):
            SpanBertQuestionAnswererPreprocessor(tokenizer, **options)
    with pytest.raises(ValueError, match="`max_answers` must be at least 1"):
        SpanBertQuestionAnswerer(make_backbone(), max_answers=0)
