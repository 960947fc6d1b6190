"""Texts with several labels, or none: files, training, thresholds, figures and every export."""

import itertools
import json
import operator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenizer,
    export_litert,
    export_task,
    load_task,
)
from spanbert_tf.cli.main import main
from spanbert_tf.data.batching.labels import number_label_sets
from spanbert_tf.data.readers.label_sets import encode_label_sets, label_strata
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.tables import Example, class_names_of, read_examples
from spanbert_tf.export.text_task import KerasTask
from spanbert_tf.metrics.classification import (
    LABEL_SET_FIGURES,
    LabelSetF1Score,
    best_thresholds,
    label_set_figures,
)
from spanbert_tf.settings import TextClassification
from spanbert_tf.tasks.decoders.classes import ClassDecoder, LabelSet
from tests.checkpoints.foreign_folders import write_checkpoint
from tests.served_tensors import CApi, assert_same_tensors

NAMES = ["money", "sport", "war"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *NAMES, "so", "it", "is", "not"]


def make_texts(rows: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Texts with the names of their labels among other words."""
    generator = np.random.default_rng(seed)
    labels = [[name for name in NAMES if generator.random() < 0.4] for _ in range(rows)]
    others = [generator.choice(["so", "it", "is"], 3).tolist() for _ in labels]
    words = map(operator.add, labels, others)
    return [" ".join(generator.permutation(of)) for of in words], labels


def make_classifier(**options: Any) -> SpanBertTextClassifier:
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(len(PIECES), 1, 2, 16, 24, dropout=0.0, max_sequence_length=16)
    preprocessor = SpanBertTextClassifierPreprocessor(SpanBertTokenizer(PIECES), 16)
    options = {"class_names": NAMES, "activation": "sigmoid", "pooling": "mean", **options}
    return SpanBertTextClassifier(backbone, preprocessor=preprocessor, **options)


@pytest.fixture(scope="module")
def trained() -> SpanBertTextClassifier:
    classifier = make_classifier(thresholds=[0.4, 0.5, 0.6])
    classifier.compile(keras.optimizers.Adam(1e-2))
    texts, labels = make_texts(160)
    classifier.fit(texts, labels, batch_size=16, epochs=40, verbose=0)
    return classifier


def sets(examples: Sequence[Example]) -> list[Any]:
    return [example.label for example in examples]


# Files.


def write(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder / name


def test_files_say_the_same_in_three_ways(tmp_path: Path):
    expected = [("sport", "money"), (), ("war",)]
    lines = [{"text": "a", "labels": of} for of in expected]
    path = write(tmp_path, "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert sets(read_examples(path)) == expected
    path = write(tmp_path, "a.tsv", "text\tlabel\na\tsport| money\nb\t\nc\twar\n")
    assert sets(read_examples(path, label_separator="|")) == expected
    path = write(tmp_path, "a.csv", "text,money,sport,war\na,1,1,0\nb,0,0,0\nc,0,False,1.0\n")
    columns = ["sport", "money", "war"]
    assert sets(read_examples(path, label_columns=columns)) == expected
    assert class_names_of(read_examples(path, label_columns=columns)) == sorted(columns)
    path = write(tmp_path, "b.csv", "text; money; sport; war\na;1;1;0\nb;0;0;0\nc;0;0;1\n")
    assert sets(read_examples(path, label_columns=["sport", " money", "war"])) == expected
    path = write(tmp_path, "b.jsonl", '{"text": "a", "sport": 1, "war": true, "money": 0}\n')
    assert sets(read_examples(path, label_columns=columns)) == [("sport", "war")]


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ({"label": ["a", 3.5]}, {}, "expected a label, a string or an integer, found 3.5"),
        ({"label": ["a", True]}, {}, "found True"),
        ({"label": ["a", " "]}, {}, "found ' '"),
        ({"label": ["a", "a "]}, {}, "a label stands twice"),
        ({"label": {"a": 1}}, {}, "expected a string under 'label'"),
        ({"a": 2}, {"label_columns": ["a"]}, "expected 0 or 1 in the column 'a', found 2"),
        ({"a": 1}, {"label_columns": ["a", "b"]}, "there is no column 'b'"),
    ],
)
def test_lines_that_are_no_sets_of_labels(
    line: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
):
    path = write(tmp_path, "a.jsonl", json.dumps({"text": "x", **line}))
    with pytest.raises(DataError, match=rf"a\.jsonl, line 1: .*{message}"):
        read_examples(path, **options)


def test_one_label_and_sets_of_them_are_not_mixed(tmp_path: Path):
    content = '{"text": "x", "label": ["a", "b"]}\n{"text": "x", "label": "a"}\n'
    examples = read_examples(write(tmp_path, "a.jsonl", content))
    with pytest.raises(DataError, match=r"line 2: expected a list of labels.*found 'a'"):
        SpanBertTextClassifier.head_arguments(examples, TextClassification())
    head = SpanBertTextClassifier.head_arguments(examples[:1], TextClassification(threshold=0.3))
    assert head == {
        **{"class_names": ["a", "b"], "pooling": "cls", "dropout": 0.1},
        **{"activation": "sigmoid", "thresholds": 0.3},
    }
    assert SpanBertTextClassifier.figures_of(head) == LABEL_SET_FIGURES
    with pytest.raises(DataError, match="unknown label 'b'; expected one of 'a', 'c'"):
        encode_label_sets(examples, ["a", "c"])


def test_strata_are_of_the_rarest_label():
    labels = [("a",)] * 20 + [("a", "b")] * 12 + [("c",)] * 3 + [()] * 11
    strata = label_strata([Example("x", None, of, 1) for of in labels])
    assert len(set(strata[:20])) == len(set(strata[20:32])) == len(set(strata[35:])) == 1
    assert len({strata[0], strata[20], strata[35]}) == 3
    assert set(strata[32:35]) == {strata[0]}  # Too few to be dealt by themselves.


# Labels in memory.


def test_labels_are_names_or_rows_of_0_and_1():
    expected = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    for y in (
        [["money", "war"], [], ["sport"]],
        (("war", "money"), (), ("sport",)),
        np.array(expected),
        np.array(expected, bool),
        np.array(expected, "float32"),
        expected,
    ):
        np.testing.assert_array_equal(number_label_sets(y, 3, NAMES), expected)
    assert number_label_sets(None, 3, NAMES) is None
    assert number_label_sets([[], []], 3, None).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([["money"], ["peace"]], r"`y`\[1\] must be one of 'money'.*but is 'peace'"),
        (["money", "war"], "a list of names for each text"),
        ([0, 1], "a list of names for each text"),
        ([[1, 0], [0, 1]], r"numbers of the shape \(2, 3\)"),
        ([[1, 0, 0.5], [0, 1, 0]], r"`y`\[0\] must be made of 0 and 1"),
        ([[1, 0, 0], [0, np.nan, 0]], r"`y`\[1\] must be made of 0 and 1"),
    ],
)
def test_other_labels_are_refused(y: Any, message: str):
    with pytest.raises(ValueError, match=message):
        number_label_sets(y, 3, NAMES)
    if np.ndim(y) and not isinstance(y[0], str):
        with pytest.raises(ValueError, match="the classifier knows none"):
            number_label_sets([["money"]], 3, None)


# Figures.

# Of each text three classes that it has, and three that it is given.
MATRICES = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=12)


@given(MATRICES)
@settings(max_examples=60, derandomize=True)
def test_figures_are_those_of_scikit_learn(rows: list[list[bool]]):
    oracle = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    gold, predicted = np.split(np.array(rows), 2, axis=1)
    figures = label_set_figures(gold, predicted)
    assert tuple(figures) == LABEL_SET_FIGURES
    options = {"zero_division": 0}
    assert figures == pytest.approx(
        {
            "micro_f1": oracle.f1_score(gold, predicted, average="micro", **options),
            "macro_f1": oracle.f1_score(gold, predicted, average="macro", **options),
            "micro_precision": oracle.precision_score(gold, predicted, average="micro", **options),
            "micro_recall": oracle.recall_score(gold, predicted, average="micro", **options),
            "exact_match": oracle.accuracy_score(gold, predicted),
        }
    )
    for average in ("micro", "macro"):
        metric = LabelSetF1Score([0.25, 0.5, 0.75], average)
        for part in np.array_split(np.arange(len(gold)), 3):
            if len(part):
                metric.update_state(gold[part], np.where(predicted[part], [0.3, 0.5, 0.8], 0.2))
        assert float(metric.result()) == pytest.approx(figures[f"{average}_f1"], abs=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9])), max_size=9))
@settings(max_examples=60, derandomize=True)
def test_thresholds_are_the_best_there_are(rows: list[tuple[bool, float]]):
    gold = np.array([there for there, _ in rows], bool)
    scores = np.array([score for _, score in rows], "float32")
    (threshold,) = best_thresholds(gold[:, None], scores[:, None])
    assert 0 < threshold < 1

    def f1(at: float) -> float:
        return label_set_figures(gold[:, None], scores[:, None] >= at)["micro_f1"]

    assert f1(threshold) == pytest.approx(max(map(f1, (0.05, 0.15, 0.3, 0.6, 0.8))))


# The classifier.


def test_it_learns_answers_and_is_scored(trained: SpanBertTextClassifier):
    texts, labels = make_texts(60, seed=1)
    answers = trained.classify(texts)
    probabilities = trained.predict(texts, verbose=0)
    np.testing.assert_allclose(
        [list(answer.probabilities.values()) for answer in answers], probabilities, atol=1e-5
    )
    for answer in answers:  # The most probable first.
        ordered = sorted(answer.labels, key=answer.probabilities.__getitem__, reverse=True)
        assert list(answer.labels) == ordered
    records = [Example(a, None, tuple(b), 1) for a, b in zip(texts, labels, strict=True)]
    figures = trained.assess(records)
    assert set(figures) == {*LABEL_SET_FIGURES, "loss"}
    found = [sorted(answer.labels) for answer in answers]
    exact = np.mean([a == b for a, b in zip(found, labels, strict=True)])
    assert figures["exact_match"] == pytest.approx(exact)
    assert figures["micro_f1"] > 0.9
    rows = encode_label_sets(records, NAMES)
    evaluated = trained.evaluate(texts, rows, return_dict=True, verbose=0)
    assert set(evaluated) == {"loss", "micro_f1", "macro_f1"}
    assert evaluated["loss"] == pytest.approx(figures["loss"], rel=1e-3)
    assert evaluated["micro_f1"] == pytest.approx(figures["micro_f1"])
    assert str(LabelSet(("war",), {"money": 0.1, "war": 0.9})) == "war 0.900"
    assert str(LabelSet((), {"money": 0.1})) == "-"


def test_thresholds_decide(trained: SpanBertTextClassifier, tmp_path: Path):
    trained.save_to_preset(str(tmp_path / "preset"))
    classifier = SpanBertTextClassifier.from_preset(tmp_path / "preset")
    assert classifier.thresholds == (0.4, 0.5, 0.6)
    (before,) = classifier.classify(["so it is"])
    assert before.labels == ()
    texts, labels = make_texts(40, seed=2)
    # The other way round, texts without a name have its label.
    tuned = classifier.tune_thresholds(texts, [[*NAMES]] * len(texts))
    assert classifier.thresholds == tuned
    assert max(tuned) < 0.5
    assert sorted(classifier.classify(["so it is"])[0].labels) == NAMES
    assert classifier.tune_thresholds(texts, labels) != tuned
    with pytest.raises(ValueError, match="has thresholds"):
        make_classifier(activation=None).tune_thresholds(texts, labels)
    renewed = SpanBertTextClassifier.from_preset(tmp_path / "preset", num_classes=5)
    assert (renewed.thresholds, renewed.is_multi_label) == ((0.5,) * 5, True)


@pytest.mark.parametrize("thresholds", [0, 1, [0.5], [0.5, 0.5, 1.5], float("nan")])
def test_thresholds_that_do_not_fit(thresholds: Any):
    with pytest.raises(ValueError, match="`thresholds` must be one number between 0 and 1, or 3"):
        make_classifier(thresholds=thresholds)


def test_only_thresholds_that_nobody_gave_are_tuned():
    texts, labels = make_texts(24)
    records = [Example(*of, n) for n, of in enumerate(zip(texts, [None] * 24, labels, strict=True))]
    records = [replace(of, label=tuple(of.label)) for of in records]
    classifier = make_classifier()
    assert classifier.thresholds == (0.5, 0.5, 0.5)
    before = classifier.assess(records)
    tuned = classifier.assess(records, tune=True)
    gold = encode_label_sets(records, NAMES) > 0
    expected = best_thresholds(gold, classifier.predict(texts, verbose=0))
    assert classifier.thresholds == pytest.approx(tuple(expected))
    assert classifier.assess(records) == tuned
    assert tuned["macro_f1"] > before["macro_f1"]
    given = make_classifier(thresholds=0.5)
    given.assess(records, tune=True)
    assert given.thresholds == (0.5, 0.5, 0.5)
    # A preset's are given.
    again = SpanBertTextClassifier.from_config(classifier.get_config())
    assert (again.thresholds, again.tunes_thresholds) == (classifier.thresholds, False)


def test_a_data_set_has_rows_of_0_and_1(trained: SpanBertTextClassifier):
    texts, labels = make_texts(8)
    rows = number_label_sets(labels, 3, NAMES)
    dataset = tf.data.Dataset.from_tensor_slices((texts, rows)).batch(4)
    figures = trained.evaluate(dataset, return_dict=True, verbose=0)
    expected = trained.evaluate(texts, labels, return_dict=True, verbose=0)
    assert figures == pytest.approx(expected, rel=1e-4)


def test_decoders_in_numpy_and_in_the_graph_are_one():
    decoder = ClassDecoder(("a", "b", "c"), (0.2, 0.5, 0.9))
    assert ClassDecoder.from_json(json.loads(json.dumps(decoder.to_json()))) == decoder
    rows = np.array(list(itertools.product([0.1, 0.2, 0.5, 0.95], repeat=3)), "float32")
    served = decoder.serve({"probabilities": tf.constant(rows)}, None, ())  # type: ignore[arg-type]
    names = [[name.decode() for name in row if name] for row in served["labels"].numpy()]
    answers = decoder.answers({"probabilities": rows}, None, ())
    assert names == [list(answer.labels) for answer in answers]
    assert served["labels"].shape == (len(rows), 3)
    for row in served["labels"].numpy().tolist():  # Nothing follows an empty name.
        assert not any(row[row.index(b"") :] if b"" in row else [])


@pytest.mark.slow
def test_exports_answer_as_the_classifier(
    trained: SpanBertTextClassifier, tmp_path: Path, c_api: CApi
):
    texts, _ = make_texts(12, seed=3)
    expected = trained.classify(texts)
    export_task(trained, tmp_path / "served")
    export_litert(trained, tmp_path / "lite")
    for name in ("served", "lite"):
        task = load_task(tmp_path / name)
        for few in (texts, texts[:2]):
            for answer, wanted in zip(task(few), expected, strict=False):
                assert answer.labels == wanted.labels
                assert answer.probabilities == pytest.approx(wanted.probabilities, abs=1e-5)
    outputs = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"](
        text=tf.constant(["war is money"])
    )
    assert set(outputs) == {"labels", "probabilities"}
    found = c_api(tmp_path / "served", text=["war is money"])
    assert_same_tensors(found, outputs, atol=1e-5)
    labels = [name.decode() for name in outputs["labels"].numpy()[0] if name]
    assert labels == list(trained.classify("war is money").labels)


@pytest.mark.slow
def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    data = tmp_path / "train.tsv"
    data.write_text("text\tlabel\n" + "w1 w4\tyes|odd\nw2 w5\tno\nw4\t\n" * 8)
    words = ["finetune", "--train", str(data), "--encoder", str(checkpoint)]
    words += ["--output", str(tmp_path / "run"), "--label-separator", "|", "--threshold", "0.4"]
    fast = ["--epochs", "1", "--batch-size", "8", "--sequence-length", "8", "--json"]
    assert main(words + fast) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["validation"]) == {*LABEL_SET_FIGURES, "loss"}
    preset = tmp_path / "run" / "classifier"
    words = ["evaluate", str(preset), "--data", str(data), "--label-separator", "|", "--json"]
    assert main(words) == 0
    assert set(LABEL_SET_FIGURES) < set(json.loads(capsys.readouterr().out))
    for model in (preset, tmp_path / "run" / "saved_model" / "1"):
        assert main(["predict", str(model), "w1 w4", "--json"]) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        assert set(answer) == {"text", "labels", "probabilities"}
        above = {name for name, value in answer["probabilities"].items() if value >= 0.4}
        assert set(answer["labels"]) == above


def test_texts_out_of_scope_are_refused_before_any_is_answered(monkeypatch: pytest.MonkeyPatch):
    classifier = make_classifier()
    records = [Example("so it is", None, ("sport",), 1)]

    def encode(*_: Any) -> None:
        raise AssertionError("something was answered")

    monkeypatch.setattr(classifier, "encode", encode)
    for task in (classifier, KerasTask(classifier)):
        with pytest.raises(ValueError, match="several labels or none here"):
            task.answer_records(records, out_of_scope=[["it"]])


def test_what_is_tuned_in_the_model_is_told_by_its_task():
    classifier = make_classifier(thresholds=1e-6)
    task = KerasTask(classifier)
    assert set(task("so").labels) == set(NAMES)
    classifier.thresholds = (0.999, 0.999, 0.999)
    assert task.decoder == classifier.decoder
    record = Example("so", None, (), 1)
    assessed = task.answer_records([record])
    (told,) = task.given(assessed.answers, [record])
    assert told.labels == task("so").labels == ()
