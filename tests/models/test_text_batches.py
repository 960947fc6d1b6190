"""What `fit` takes: texts, labels, weights and sources in every form that Keras' users give."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertBackbone, SpanBertTextClassifier
from spanbert_tf.data.batching.labels import class_weights, number_labels, takes_one_hot
from spanbert_tf.models.batch_sources import parts_of_batch
from spanbert_tf.models.optimizers import build_optimizer
from spanbert_tf.models.text_batches import text_columns
from tests.tasks.test_text_classifier import VOCABULARY, fit, make_preprocessor, make_texts

NAMES = ["negative", "positive"]


def make_classifier() -> SpanBertTextClassifier:
    """Without dropout, so that losses can be computed by hand."""
    backbone = SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 24, dropout=0.0, max_sequence_length=32)
    return SpanBertTextClassifier(
        backbone, preprocessor=make_preprocessor(), class_names=NAMES, dropout=0.0
    )


class Batches(keras.utils.PyDataset):
    """Six batches of four texts, as people write them."""

    def __init__(self, texts: list[str], labels: Any) -> None:
        super().__init__()
        self.texts, self.labels, self.begun, self.epochs = texts, labels, 0, 0

    def __len__(self) -> int:
        return len(self.texts) // 4

    def __getitem__(self, number: int) -> Any:
        at = slice(4 * number, 4 * number + 4)
        return self.texts[at], self.labels[at]

    def on_epoch_begin(self) -> None:
        self.begun += 1

    def on_epoch_end(self) -> None:
        self.epochs += 1


@pytest.fixture(scope="module")
def classifier() -> Any:
    """One for all tests, which change its weights; eager, so that nothing is traced."""
    keras.utils.set_random_seed(0)
    classifier = make_classifier()
    classifier.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return classifier


@pytest.fixture(scope="module")
def texts_and_labels() -> tuple[list[str], list[int]]:
    return make_texts(24)


def loss_of(classifier: Any, *data: Any, **options: Any) -> float:
    """The loss of an epoch that changes nothing."""
    return fit(classifier, *data, **options).history["loss"][0]


# The weights of classes.


@pytest.mark.parametrize(
    "given",
    [
        {"negative": 0.5, "positive": 3.0},
        {0: 0.5, 1: 3.0},
        {0: 0.5, "positive": 3.0},
        np.array([0.5, 3.0]),
        [0.5, 3],
    ],
)
def test_class_weight_in_every_form(given: Any):
    np.testing.assert_array_equal(class_weights(given, 2, NAMES), [0.5, 3.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"neutral": 1.0},
            r"has the class 'neutral'; expected one of 'negative', 'positive', 0, 1",
        ),
        ({2: 1.0}, "has the class 2"),
        ([1.0], "or 2 numbers, one for each class"),
        ([[1.0, 2.0]], "or 2 numbers"),
        ("balanced", "or 2 numbers"),
        ({0: -1.0}, "must be numbers from 0 on"),
        ([1.0, np.nan], "must be numbers from 0 on"),
        ({0: np.inf}, "must be numbers from 0 on"),
    ],
)
def test_class_weight_that_is_none(given: Any, message: str):
    with pytest.raises(ValueError, match=message):
        class_weights(given, 2, NAMES)


@pytest.mark.slow
def test_class_weights_weigh(classifier: Any, texts_and_labels: Any):
    """Keras' mean: of the losses times the weights of their classes, over all texts."""
    texts, numbers = texts_and_labels
    logits = classifier.predict(texts, verbose=0)
    losses = -np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[range(24), numbers]
    expected = (losses * np.array([0.5, 3.0])[numbers]).mean()
    named = [NAMES[number] for number in numbers]
    for labels, given in ((numbers, {"positive": 3, "negative": 0.5}), (named, [0.5, 3.0])):
        np.testing.assert_allclose(
            loss_of(classifier, texts, labels, class_weight=given), expected, rtol=1e-5
        )
    # With weights of the texts both count; in a data set Keras weighs.
    weights = np.linspace(0, 1, 24)
    both = loss_of(classifier, texts, numbers, sample_weight=weights, class_weight=[0.5, 3.0])
    np.testing.assert_allclose(
        both, (losses * np.array([0.5, 3.0])[numbers] * weights).mean(), rtol=1e-5
    )
    dataset = tf.data.Dataset.from_tensor_slices((texts, numbers)).batch(4)
    given = {"positive": 3.0, "negative": 0.5}
    np.testing.assert_allclose(
        loss_of(classifier, dataset, batch_size=None, class_weight=given), expected, rtol=1e-5
    )


# Labels in the form that the loss takes.


@pytest.mark.parametrize(
    ("loss", "answer"),
    [
        (keras.losses.CategoricalCrossentropy(label_smoothing=0.1), True),
        (keras.losses.KLDivergence(), True),
        ("categorical_crossentropy", True),
        (keras.losses.categorical_focal_crossentropy, True),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), False),
        ("sparse_categorical_crossentropy", False),
        (keras.losses.MeanSquaredError(), None),
        (lambda y_true, y_pred: 0.0, None),
        ("no such loss", None),
        (None, None),
    ],
)
def test_what_a_loss_takes(loss: Any, answer: bool | None):
    assert takes_one_hot(loss) is answer


@pytest.mark.parametrize("labels", [[1, 0], [[1], [0]], ["positive", "negative"], np.eye(2)[::-1]])
def test_labels_in_every_form(labels: Any):
    np.testing.assert_array_equal(number_labels(labels, 2, NAMES, one_hot=False), [1, 0])
    np.testing.assert_array_equal(number_labels(labels, 2, NAMES, one_hot=True), [[0, 1], [1, 0]])


@pytest.mark.parametrize("row", [[0.5, 0.5], [1, 1], [0, 0], [np.nan, 1], [2, -1]])
def test_parts_of_classes_are_refused_where_the_loss_takes_numbers(row: list):
    with pytest.raises(ValueError, match=r"`y`\[1\] must be a class's number, or 1 for one class"):
        number_labels([[0, 1], row], 2, NAMES, one_hot=False)


@pytest.mark.slow
def test_label_smoothing_with_automatic_metrics(texts_and_labels: Any):
    texts, numbers = texts_and_labels
    classifier = make_classifier()
    classifier.compile(
        keras.optimizers.SGD(0.0),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics="auto",
        run_eagerly=True,
    )
    logits = classifier.predict(texts, verbose=0)
    one_hot = np.eye(2)[numbers]
    smooth = one_hot * 0.9 + 0.05
    expected = -(smooth * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean()
    accuracy = (logits.argmax(1) == numbers).mean()
    dataset = tf.data.Dataset.from_tensor_slices((texts, numbers)).batch(4)
    for data in ((texts, one_hot), (texts, numbers), (texts, np.array(NAMES)[numbers]), (dataset,)):
        options = {"batch_size": None} if len(data) == 1 else {}
        history = fit(classifier, *data, **options).history
        np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)
        np.testing.assert_allclose(history["accuracy"], [accuracy])
        assert {"precision", "recall", "f1"} <= set(history)


def test_one_hot_labels_with_the_automatic_loss(classifier: Any, texts_and_labels: Any):
    texts, numbers = texts_and_labels
    expected = loss_of(classifier, texts, numbers)
    np.testing.assert_allclose(loss_of(classifier, texts, np.eye(2)[numbers]), expected, rtol=1e-5)
    np.testing.assert_allclose(
        loss_of(classifier, texts, [[number] for number in numbers], validation_split=0.0),
        expected,
        rtol=1e-5,
    )


# Sources of batches.


@pytest.mark.slow
def test_a_py_dataset_of_strings(classifier: Any, texts_and_labels: Any):
    texts, numbers = texts_and_labels
    expected = loss_of(classifier, texts, numbers)
    for labels in ([NAMES[number] for number in numbers], np.array(numbers)[:, None]):
        source = Batches(texts, labels)
        history = fit(
            classifier, source, batch_size=None, epochs=2, validation_data=Batches(texts, labels)
        ).history
        np.testing.assert_allclose(history["loss"], [expected] * 2, rtol=1e-5)
        np.testing.assert_allclose(history["val_loss"], [expected] * 2, rtol=1e-5)
        assert source.begun >= source.epochs == 2  # Keras may look into an epoch more.
    figures = classifier.evaluate(Batches(texts, numbers), return_dict=True, verbose=0)
    np.testing.assert_allclose(figures["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        classifier.predict(Batches(texts, numbers), verbose=0),
        classifier.predict(texts, verbose=0),
        atol=1e-5,
    )
    given = {"negative": 0.5, "positive": 3.0}
    np.testing.assert_allclose(
        loss_of(classifier, Batches(texts, numbers), batch_size=None, class_weight=given),
        loss_of(classifier, texts, numbers, class_weight=given),
        rtol=1e-5,
    )


@pytest.mark.slow
def test_a_generator_of_strings(classifier: Any, texts_and_labels: Any):
    texts, numbers = texts_and_labels
    expected = loss_of(classifier, texts, numbers)

    def batches() -> Any:
        while True:
            for at in range(0, 24, 4):
                yield np.array(texts[at : at + 4]), np.array(numbers[at : at + 4])

    history = fit(
        classifier,
        batches(),
        batch_size=None,
        epochs=2,
        steps_per_epoch=6,
        validation_data=batches(),
        validation_steps=6,
    ).history
    np.testing.assert_allclose(history["loss"], [expected] * 2, rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], [expected] * 2, rtol=1e-5)
    lists = ([texts[at : at + 4]] for at in range(0, 24, 4))
    predicted = classifier.predict(lists, steps=6, verbose=0)
    np.testing.assert_allclose(predicted, classifier.predict(texts, verbose=0), atol=1e-5)
    pairs = ((list(zip(texts, texts, strict=True)), numbers) for _ in range(2))
    assert np.isfinite(loss_of(classifier, pairs, batch_size=None, steps_per_epoch=2))
    with pytest.raises(ValueError, match="expected batches of texts, but there is none"):
        fit(classifier, iter(()), batch_size=None)
    with pytest.raises(ValueError, match=r"`y`\[0\] must be one of 'negative', 'positive'"):
        fit(classifier, iter([(["a"], ["neutral"])]), batch_size=None)


@pytest.mark.parametrize(
    ("batch", "parts"),
    [
        (["a", "b"], (["a", "b"], None, None)),
        ([("a", "b"), ("c", "d")], ([("a", "b"), ("c", "d")], None, None)),
        ([(["a"], ["b"]), [1]], ((["a"], ["b"]), [1], None)),
        ((["a"], [1]), (["a"], [1], None)),
        ([["a"], [1], [0.5]], (["a"], [1], [0.5])),
        ({"x": 1}, ({"x": 1}, None, None)),
    ],
)
def test_parts_of_a_batch(batch: Any, parts: Any):
    assert parts_of_batch(batch) == parts
    with pytest.raises(ValueError, match="got 4 parts"):
        parts_of_batch((["a"], 1, 2, 3))


# Pairs.


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "b"), ("c", "d")],
        [["a", "b"], ["c", "d"]],
        np.array([["a", "b"], ["c", "d"]]),
        tf.constant([["a", "b"], ["c", "d"]]),
        (["a", "c"], ["b", "d"]),
        (np.array(["a", "c"]), ("b", "d")),
    ],
)
def test_pairs_in_every_form(pairs: Any, classifier: Any):
    columns = text_columns(pairs)
    if isinstance(pairs, tuple) and isinstance(pairs[1], tuple):
        assert columns is None  # Neither a list nor an array.
        return
    strings = [[t.decode() if isinstance(t, bytes) else t for t in column] for column in columns]
    assert strings == [["a", "c"], ["b", "d"]]
    assert len(classifier.classify(pairs)) == 2
    np.testing.assert_allclose(
        classifier.predict(pairs, verbose=0),
        classifier.predict((["a", "c"], ["b", "d"]), verbose=0),
        atol=1e-6,
    )


def test_one_column_of_rows_and_rows_that_differ(classifier: Any):
    assert text_columns(np.array([["a"], ["b"]])) == [["a", "b"]]
    for rows in ([("a", "b"), ("c",)], [("a", "b"), "c"]):
        with pytest.raises(ValueError, match=r"`x`\[1\] must hold 2 texts, as the first does"):
            classifier.predict(rows, verbose=0)
    with pytest.raises(TypeError, match=r"`texts`\[0\] must be a string, but is 1"):
        classifier.predict([[1, 2], [3, 4]], verbose=0)


# Quantization, and files of Keras.


@pytest.mark.slow
def test_a_quantized_classifier_travels(tmp_path: Path):
    classifier = make_classifier()
    texts, _ = make_texts(6)
    features = classifier.preprocessor(texts)
    exact = np.asarray(classifier(features))
    classifier.quantize("int8")
    quantized = np.asarray(classifier(features))
    assert 0 < np.abs(quantized - exact).max() < 0.1
    assert classifier.pooled_dense.quantization_mode == "int8"
    answers = classifier.classify(texts)
    classifier.save_to_preset(str(tmp_path / "preset"))
    build_optimizer(classifier)  # As `fit` does; Keras warns of a file without its state.
    classifier.save(tmp_path / "k.keras")
    again = type(classifier).from_preset(tmp_path / "preset")
    for other in (again, keras.models.load_model(tmp_path / "k.keras")):
        np.testing.assert_array_equal(other(features), quantized)
        assert other.classify(texts) == answers
    backbone = type(classifier.backbone).from_preset(str(tmp_path / "preset"))
    np.testing.assert_array_equal(
        backbone(features)["sequence_output"], classifier.backbone(features)["sequence_output"]
    )
    # A dtype takes the place of the one that was quantized.
    low = type(classifier).from_preset(tmp_path / "preset", dtype="bfloat16")
    assert low.backbone.transformer_layers[0].output_dense.compute_dtype == "bfloat16"
    np.testing.assert_allclose(low(features), quantized, atol=0.05)


def test_only_what_is_asked_for_is_quantized():
    classifier = make_classifier()
    classifier.quantize("int8", filters="pooled")
    modes = {layer.name: layer.quantization_mode for layer in classifier.layers}
    assert modes["pooled_dense"] == "int8"
    assert classifier.backbone.transformer_layers[0].output_dense.quantization_mode is None
