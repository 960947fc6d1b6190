"""Every task, in every format that it has, is scored by the same code to the same figures."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenizer,
    export_litert,
    export_task,
    load_task,
)
from spanbert_tf.data.readers.entities import EntitySpan, TaggedText
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.tables import Example
from spanbert_tf.tasks.decoders.answers import Answer, AnswerDecoder
from spanbert_tf.tasks.question_answerer import (
    SpanBertQuestionAnswerer,
    SpanBertQuestionAnswererPreprocessor,
)
from tests.layer_checks import randomize
from tests.tasks import test_question_answerer as questions
from tests.tasks import test_relation_extractor as relations
from tests.tasks import test_token_classifier as tags

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"[unused{n}]" for n in range(12))]
VOCABULARY += [*LETTERS, *(f"##{letter}" for letter in LETTERS), ".", ",", "?", "😀", "中", "文"]
TEXTS = [" ".join(LETTERS[n : n + 1 + n % 5]) for n in range(20)]
FORMATS = ("preset", "saved_model", "litert")


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(VOCABULARY, lowercase=True)


def make_text_classifier(tokenizer: SpanBertTokenizer, **options: Any) -> SpanBertTextClassifier:
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 32, max_sequence_length=24)
    preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, sequence_length=16)
    classifier = SpanBertTextClassifier(
        backbone, preprocessor=preprocessor, class_names=["x", "y", "z"], **options
    )
    randomize(classifier, seed=4)
    return classifier


def make_answerer(tokenizer: SpanBertTokenizer, max_answers: int) -> SpanBertQuestionAnswerer:
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 32, max_sequence_length=24)
    preprocessor = SpanBertQuestionAnswererPreprocessor(tokenizer, 16, doc_stride=4)
    answerer = SpanBertQuestionAnswerer(
        backbone, preprocessor, max_answers=max_answers, null_threshold=0.3
    )
    randomize(answerer, seed=3)
    return answerer


def labelled(labels: list[Any]) -> list[Example]:
    pairs = enumerate(zip(TEXTS, labels, strict=False), start=2)
    return [Example(text, None, label, line, "dev.tsv") for line, (text, label) in pairs]


def tagged() -> list[TaggedText]:
    spans = [
        (EntitySpan(0, 3, "PER"), EntitySpan(8, 10, "LOC")),
        (),
        (),
        (EntitySpan(0, 1, "PER"),),
    ]
    return [
        TaggedText(text, of, None, line, "dev.jsonl")
        for line, (text, of) in enumerate(zip(tags.TEXTS, spans, strict=False), start=1)
    ]


def make(kind: str, tokenizer: SpanBertTokenizer) -> tuple[Any, list[Any]]:
    """A task of random weights, and records."""
    one_label = labelled(["x", "y", "z", "y"] * 5)
    made: dict[str, Any] = {
        "one label": lambda: (make_text_classifier(tokenizer, min_score=0.5), one_label),
        "label sets": lambda: (
            make_text_classifier(tokenizer, activation="sigmoid", thresholds=[0.4, 0.5, 0.6]),
            labelled([("x",), (), ("y", "z"), ("z",)] * 5),
        ),
        "entities": lambda: (
            tags.make_classifier(SpanBertTokenizer(tags.VOCABULARY, lowercase=True)),
            tagged(),
        ),
        "relations": lambda: (
            relations.make_extractor(
                SpanBertTokenizer(relations.VOCABULARY, lowercase=True), negative="no_relation"
            ),
            relations._records(["knows", "owns", "owns", "knows", "no_relation", "owns"]),
        ),
        "questions": lambda: (make_answerer(tokenizer, 4), questions.make_questions(24)),
        "one answer": lambda: (make_answerer(tokenizer, 1), questions.make_questions(24)),
    }
    return made[kind]()


def write(task: Any, folder: Path) -> None:
    task.save_to_preset(str(folder / "preset"))
    export_task(task, folder / "saved_model")
    export_litert(task, folder / "litert")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["one label", "label sets", "entities", "relations", "questions", "one answer"]
)
def test_all_formats_reach_the_same(kind: str, tokenizer: SpanBertTokenizer, tmp_path: Path):
    model, records = make(kind, tokenizer)
    write(model, tmp_path)
    expected = model.assess(records)
    loss = expected.pop("loss")
    told = model.given(model.answer_records(records).answers, records)
    right = [model.is_right(*of) for of in zip(told, records, strict=True)]
    reports = []
    for name in FORMATS:
        task = load_task(tmp_path / name)
        assessed = task.answer_records(records)
        figures = dict(assessed.figures)
        if name == "preset":
            assert figures.pop("loss") == pytest.approx(loss, rel=1e-5)
        assert figures == pytest.approx(expected, rel=1e-4, abs=1e-5), name
        assert task.assess(records) == assessed.figures
        reports.append(task.report(assessed.answers, records).to_json())
        answers = task.given(assessed.answers, records)
        assert [task.is_right(*of) for of in zip(answers, records, strict=True)] == right
    assert reports[0] == reports[1] == reports[2]
    # What people are told is what the verb answers.
    columns, _ = model.columns_of(records)
    asked = model.answer_texts(tuple(columns), batch_size=4)
    assert list(map(str, asked)) == list(map(str, told))


@pytest.mark.slow
def test_texts_of_no_class_are_told_in_all_formats(tokenizer: SpanBertTokenizer, tmp_path: Path):
    model, records = make("one label", tokenizer)
    write(model, tmp_path)
    outside = [["k l m", "z y", "f a"]]
    inside = [answer.score for answer in model.classify([record.text for record in records])]
    scores = [answer.score for answer in model.classify(outside[0])]
    wins = [(a > b) + (a == b) / 2 for a in inside for b in scores]
    for name in FORMATS:
        figures = load_task(tmp_path / name).assess(records, out_of_scope=outside)
        assert figures["out_of_scope_auroc"] == pytest.approx(np.mean(wins))
        rejected = np.mean(np.array(scores) < 0.5)
        assert figures["rejected_out_of_scope"] == pytest.approx(rejected)
    assert load_task(tmp_path / "saved_model").decoder.min_score == 0.5


@pytest.mark.slow
def test_records_of_another_task_are_named(tokenizer: SpanBertTokenizer, tmp_path: Path):
    model, _ = make("one label", tokenizer)
    export_task(model, tmp_path / "1")
    task = load_task(tmp_path / "1")
    with pytest.raises(DataError, match=r"dev\.tsv, line 2: unknown label 'w'"):
        task.assess(labelled(["w", "x"]))
    with pytest.raises(DataError, match=r"dev\.tsv, line 2: unknown label"):
        task.assess(labelled([("w",)]))


def test_exports_of_a_version_that_does_not_tell_of_no_answer():
    outputs = {
        "answer": np.array([[b"a", b""]]),
        "score": np.array([[0.5, -1]]),
        "start": np.array([[0, -1]]),
        "end": np.array([[1, -1]]),
    }
    assert AnswerDecoder(0.0).served(outputs) == [Answer("a", 0.5, 0, 1)]
    with pytest.raises(ValueError, match="export its preset again"):
        AnswerDecoder(float("inf"), top_k=2).served(outputs)
