"""Tables behind the figures, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from spanbert_tf.metrics.answers import answer_figures, answer_report, is_exact
from spanbert_tf.metrics.classification import class_figures, label_set_figures
from spanbert_tf.metrics.entities import entity_report, same_entities
from spanbert_tf.metrics.relations import macro_f1, relation_report
from spanbert_tf.metrics.reports import NONE_OF_THESE, Report, class_report, label_set_report

NAMES = ["a", "bb", "c", "never"]


def columns(report: Report, names: list[str]) -> np.ndarray:
    return np.array([[*report.rows[name].values()] for name in names]).T


def test_classes_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    gold, predicted = (generator.choice(NAMES[:3], 200).tolist() for _ in range(2))
    report = class_report(gold, predicted, NAMES)
    assert list(report.rows) == NAMES
    expected = sklearn_metrics.precision_recall_fscore_support(
        gold, predicted, labels=NAMES, zero_division=0
    )
    np.testing.assert_allclose(columns(report, NAMES), expected)
    matrix = sklearn_metrics.confusion_matrix(gold, predicted, labels=NAMES)
    wrong = {
        (NAMES[i], NAMES[j]): count for (i, j), count in np.ndenumerate(matrix) if i != j and count
    }
    found = {(of["gold"], of["predicted"]): of["count"] for of in report.confusions}
    assert found == wrong
    counts = [of["count"] for of in report.confusions]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("names", [NAMES[:2], NAMES[:3]])
def test_the_average_that_is_named_is_that_of_the_figures(names: list[str]):
    generator = np.random.default_rng(1)
    gold, predicted = (generator.integers(0, len(names), 60) for _ in range(2))
    figures = class_figures(gold, predicted, len(names))
    report = class_report([names[n] for n in gold], [names[n] for n in predicted], names)
    for figure in ("precision", "recall", "f1"):
        of_classes = [report.rows[name][figure] for name in names]
        if len(names) == 2:
            assert "those of the class 'bb'" in report.averages
            assert figures[figure] == pytest.approx(of_classes[1])
        else:
            assert "means over the 3 classes" in report.averages
            assert figures[figure] == pytest.approx(np.mean(of_classes))


def test_texts_without_a_class_are_wrong():
    report = class_report(["a", "a", "bb"], ["a", None, None], NAMES[:3])
    assert report.confusions == [
        {"gold": "a", "predicted": NONE_OF_THESE, "count": 1},
        {"gold": "bb", "predicted": NONE_OF_THESE, "count": 1},
    ]
    assert report.rows["a"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }
    figures = class_figures(np.array([0, 0, 1]), np.array([0, -1, -1]), 3)
    assert figures["accuracy"] == pytest.approx(1 / 3)
    assert figures["recall"] == pytest.approx(0.5 / 3)
    assert figures["precision"] == pytest.approx(1 / 3)


def test_label_sets_are_those_of_scikit_learn():
    generator = np.random.default_rng(2)
    gold, predicted = (generator.random((50, 3)) < 0.4 for _ in range(2))
    report = label_set_report(gold, predicted, NAMES[:3])
    expected = sklearn_metrics.precision_recall_fscore_support(gold, predicted, zero_division=0)
    np.testing.assert_allclose(columns(report, NAMES[:3]), expected)
    macro = np.mean([row["f1"] for row in report.rows.values()])
    assert label_set_figures(gold, predicted)["macro_f1"] == pytest.approx(macro)
    assert report.to_json()["confusions"] is None


def test_relations_are_those_that_macro_f1_is_over():
    names = ["Other", "Own(e1,e2)", "Own(e2,e1)", "Part(e1,e2)"]
    generator = np.random.default_rng(3)
    gold, predicted = (generator.choice(names, 80).tolist() for _ in range(2))
    report = relation_report(gold, predicted, "Other")
    assert list(report.rows) == ["Own", "Part", "Other"]
    mean = np.mean([report.rows[name]["f1"] for name in ("Own", "Part")])
    assert mean == pytest.approx(macro_f1(gold, predicted, "Other"))
    assert sum(row["support"] for row in report.rows.values()) == 80
    assert {"Own(e1,e2)", "Own(e2,e1)"} <= {of["gold"] for of in report.confusions}
    assert "without 'Other'" in report.averages


def test_entities_by_type():
    gold = [[(0, 3, "PER")], [(0, 2, "LOC"), (4, 6, "PER")]]
    found = [[(0, 3, "PER")], [(0, 2, "PER")]]
    report = entity_report(gold, found).by_type()
    assert report.rows["PER"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert report.rows["LOC"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


@pytest.mark.parametrize(
    ("found", "words", "same"),
    [
        ([(0, 5, "PER")], [(0, 5), (6, 8)], True),
        # Where in its last word an entity ends does not matter.
        ([(0, 4, "PER")], [(0, 5), (6, 8)], True),
        ([(0, 4, "PER")], None, False),
        ([(0, 5, "LOC")], [(0, 5), (6, 8)], False),
        ([(0, 8, "PER")], [(0, 5), (6, 8)], False),
        ([], [(0, 5), (6, 8)], False),
        ([(0, 5, "PER"), (6, 8, "PER")], [(0, 5), (6, 8)], False),
    ],
)
def test_entities_are_the_same_where_their_score_is_whole(
    found: list, words: list | None, same: bool
):
    gold = [(0, 5, "PER")]
    assert same_entities(gold, found, words) is same
    assert (entity_report([gold], [found], [words]).overall.f1 == 1) is same
    assert same_entities([], [], words)


def test_questions_with_and_without_an_answer():
    answers, gold = ["The cat", "", "dog", "x"], [["cat"], [], [], ["dog", "x y"]]
    figures = answer_figures(answers, gold)
    report = answer_report(figures, [bool(of) for of in gold])
    assert report.rows["has_answer"]["support"] == report.rows["no_answer"]["support"] == 2
    assert report.rows["no_answer"]["f1"] == 50
    assert report.rows["has_answer"]["exact_match"] == 50
    right = [is_exact(*of) for of in zip(answers, gold, strict=True)]
    assert right == [True, True, False, False]
    assert 100 * np.mean(right) == figures["exact_match"]
    assert is_exact("，北京。", ["北京"])  # noqa: RUF001
    assert is_exact("", ["the"])  # Nothing is left of it.
    # Where every question has an answer there is nothing to tell apart.
    assert answer_report(answer_figures(["a"], [["a"]]), [True]).rows == {}


def test_what_people_see():
    pairs = {("a", "a"): 1200, ("a", "bb"): 3, ("bb", "a"): 12}
    rows = {
        "a": {"precision": 0.5, "support": 1203},
        "bb": {"precision": 0.25, "support": 12},
    }
    assert str(Report("by class", "class", rows, pairs)).splitlines() == [
        "by class",
        "",
        "class  precision  support",
        "a         0.5000    1,203",
        "bb        0.2500       12",
        "",
        "right  answered  times",
        "bb     a            12",
        "a      bb            3",
    ]
    many = {(str(n), "x"): n for n in range(1, 14)}
    lines = str(Report(pairs=many)).splitlines()
    assert lines[-1] == "and 3 confusions more, see --json"
    assert len(lines) == 1 + 10 + 1
    assert str(Report()) == ""
