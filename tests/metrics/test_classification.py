"""Precision, recall and F1 of integer labels against scikit-learn."""

import keras
import numpy as np
import pytest

from spanbert_tf.metrics.classification import (
    ClassF1Score,
    ClassPrecision,
    ClassRecall,
    classification_metrics,
)

METRICS = {"precision": ClassPrecision, "recall": ClassRecall, "f1": ClassF1Score}


def scikit_learn(labels, predicted, weights, num_classes: int, average: str) -> dict[str, float]:
    oracle = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    return dict(
        zip(
            METRICS,
            oracle.precision_recall_fscore_support(
                labels,
                predicted,
                labels=None if average == "binary" else range(num_classes),
                sample_weight=weights,
                average=average,
                zero_division=0,
            ),
            strict=False,
        )
    )


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn_over_batches(num_classes: int, weighted: bool):
    generator = np.random.default_rng(num_classes)
    labels = generator.integers(0, num_classes, 53)
    logits = generator.normal(size=(53, num_classes)) + np.eye(num_classes)[labels]
    weights = generator.uniform(size=53) if weighted else None
    average = "binary" if num_classes == 2 else "macro"
    expected = scikit_learn(labels, logits.argmax(-1), weights, num_classes, average)
    expected["accuracy"] = np.average(labels == logits.argmax(-1), weights=weights)
    for metric in classification_metrics(num_classes):
        for rows in np.array_split(np.arange(53), 4):
            weight = None if weights is None else weights[rows]
            metric.update_state(labels[rows][:, None], logits[rows], weight)
        assert float(metric.result()) == pytest.approx(expected[metric.name], abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_absent_classes_score_zero(name: str):
    metric = METRICS[name](3)
    metric.update_state(np.array([0, 0]), np.array([[1.0, 0, 0], [0, 1, 0]]))
    expected = scikit_learn([0, 0], [0, 1], None, 3, "macro")[name]
    assert float(metric.result()) == pytest.approx(expected)


def test_a_tie_or_all_zero_logits_are_one_prediction():
    # Keras' own F1Score would count a tie for both classes, and zeros for none.
    metric = ClassRecall(2, class_id=0)
    metric.update_state(np.array([0, 0]), np.zeros((2, 2)))
    assert float(metric.result()) == 1.0


@pytest.mark.parametrize("name", METRICS)
def test_starts_anew_and_survives_its_config(name: str):
    metric = METRICS[name](2, class_id=1, name=name)
    metric.update_state(np.array([1]), np.array([[0.0, 1.0]]))
    assert float(metric.result()) == 1.0
    metric.reset_state()
    assert float(metric.result()) == 0.0
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.get_config() == metric.get_config()


def test_class_id_must_exist():
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        ClassF1Score(2, class_id=2)
