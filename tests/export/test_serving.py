"""Exported classifiers: the labels and probabilities of the Keras model, without the package."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export.serving import ServedTask, export_classifier
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifier

TEXTS = ["A fine film.", "the plot was very, very dull and the music loud", ""]
NAMES = ["négatif", "positif", "ni l'un"]

# Nearly all of them wait for the exports and for the fresh process.
pytestmark = pytest.mark.slow

Arrays = dict[str, np.ndarray]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def close(expected: np.ndarray) -> object:
    return pytest.approx(expected, rel=0, abs=1e-6)


def test_probabilities_are_those_of_the_classifier(
    in_fresh_process: Arrays, classifier: SpanBertTextClassifier
):
    expected = softmax(classifier.predict(TEXTS, verbose=0))
    assert np.ptp(expected) > 0.05
    assert in_fresh_process["classifier_probabilities"] == close(expected)
    assert in_fresh_process["classifier_called"] == close(expected)
    assert in_fresh_process["classifier_score"] == close(expected.max(axis=-1))
    labels = [label.decode() for label in in_fresh_process["classifier_label"]]
    assert labels == [NAMES[best] for best in expected.argmax(axis=-1)]


def test_pairs_have_a_signature(in_fresh_process: Arrays, classifier: SpanBertTextClassifier):
    expected = softmax(classifier.predict((TEXTS, TEXTS[::-1]), verbose=0))
    assert in_fresh_process["classifier_pairs"] == close(expected)


def test_no_texts_give_no_labels(in_fresh_process: Arrays):
    assert in_fresh_process["classifier_of_nothing"].shape == (0,)


def test_task_and_class_names_are_an_asset(in_fresh_process: Arrays):
    assert json.loads(str(in_fresh_process["task"])) == {
        "task": "text-classification",
        "decoder": {"class_names": NAMES},
    }


def test_served_classifier_answers_as_the_classifier(
    models: Path, classifier: SpanBertTextClassifier
):
    served = ServedTask(models / "classifier" / "1")
    for texts, pairs in [(TEXTS, None), (TEXTS, TEXTS[::-1])]:
        expected = classifier.classify(texts if pairs is None else (texts, pairs))
        answers = served.classify(texts if pairs is None else (texts, pairs))
        assert [answer.label for answer in answers] == [answer.label for answer in expected]
        for answer, wanted in zip(answers, expected, strict=True):
            assert answer.score == pytest.approx(wanted.score, abs=1e-6)
            assert answer.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
    assert served.classify([]) == []


def test_its_variables_are_the_weights(models: Path, classifier: SpanBertTextClassifier):
    assert len(classifier.variables) > len(classifier.weights)  # There are seeds of dropout.
    reader = tf.train.load_checkpoint(str(models / "classifier" / "1" / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("variables/")]
    values = {name.split("/")[1]: reader.get_tensor(name) for name in names}
    assert len(values) == len(classifier.weights)
    for number, weight in enumerate(classifier.weights):
        np.testing.assert_array_equal(values[str(number)], weight)


def test_nothing_is_traced_for_each_number_of_texts(models: Path):
    served = ServedTask(models / "classifier" / "1")
    for count in range(4):
        served.classify(TEXTS[:1] * count)
    assert served._model.__call__.experimental_get_tracing_count() == 0


def test_classes_without_names_are_numbered(
    tmp_path: Path, backbone: SpanBertBackbone, classifier: SpanBertTextClassifier
):
    numbered = SpanBertTextClassifier(
        backbone, 2, classifier.preprocessor, activation="softmax", pooling="mean"
    )
    export_classifier(numbered, tmp_path / "1")
    (answer,) = ServedTask(tmp_path / "1").classify(["a fine film"])
    expected = numbered.predict(["a fine film"], verbose=0)[0]
    assert list(answer.probabilities) == ["0", "1"]
    assert np.array(list(answer.probabilities.values())) == close(expected)


def test_existing_folder_is_kept(models: Path, classifier: SpanBertTextClassifier):
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export_classifier(classifier, models / "classifier" / "1")


def test_classifier_of_features_is_refused(tmp_path: Path, backbone: SpanBertBackbone):
    with pytest.raises(ValueError, match="no preprocessor"):
        export_classifier(SpanBertTextClassifier(backbone, 2), tmp_path / "1")


def test_other_activation_is_refused(
    tmp_path: Path, backbone: SpanBertBackbone, classifier: SpanBertTextClassifier
):
    several = SpanBertTextClassifier(backbone, 2, classifier.preprocessor, activation="relu")
    with pytest.raises(ValueError, match=r"None, softmax or sigmoid.*received 'relu'"):
        export_classifier(several, tmp_path / "1")


def test_folder_without_classifier_is_named(models: Path):
    with pytest.raises(FileNotFoundError, match=r"preprocessor.*no exported task"):
        ServedTask(models / "preprocessor" / "1")
