"""Classifiers as SavedModels: text in, labels out, in TF Serving or any TensorFlow program.

Letters: b batch, c classes.
"""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from spanbert_tf.export.saved_model import saved_model_folder
from spanbert_tf.models.text_classifier import (
    Prediction,
    SpanBertTextClassifier,
    named_predictions,
)

CLASSES_FILE = "classes.json"

_TEXT = tf.TensorSpec([None], tf.string, "text")
_PAIR = tf.TensorSpec([None], tf.string, "pair")


def export_classifier(
    classifier: SpanBertTextClassifier, path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Writes a classifier as a SavedModel that takes text.

    It is used without this package: by TF Serving, or after `tf.saved_model.load(path)` in a
    process that has imported `tensorflow` and `tensorflow_text`.  It has

    - the signature `serving_default`: `text`, string `[b]`, to `label`, string `[b]`, its
      probability `score`, float32 `[b]`, and all `probabilities`, float32 `[b, c]`,
    - the signature `pairs`: the same from `text` and `pair`, both string `[b]`,
    - `__call__(text)` and `__call__(text, pair)`, which give the same dict,
    - the names of the classes, in the order of `probabilities`, in `assets/classes.json`, also as
      `classes_file`.  Classes without names are numbered from `"0"`.

    Each batch is padded as the classifier's preprocessor pads: to the smallest of its buckets that
    holds the longest text.  Curl asks TF Serving like this:

        curl -d '{"inputs": {"text": ["A fine film."]}}' localhost:8501/v1/models/reviews:predict

    Args:
        classifier: A classifier with a preprocessor.
        path: The folder to make.  TF Serving wants `<name>/<version>`, such as
            `saved_models/reviews/1`.
        overwrite: Whether a folder that exists is replaced.  Until the new one is complete, the
            old one stays.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
        ValueError: The classifier has no preprocessor, or its activation gives neither logits nor
            probabilities; or the graph has an operation that TF Serving lacks.
    """
    check_classifier(classifier)
    names = classifier.names_of_classes
    with saved_model_folder(path, overwrite) as folder, tempfile.TemporaryDirectory() as assets:
        root = tf.train.Checkpoint()
        root.__call__ = tf.function(_classify_function(classifier, names), autograph=False)
        root.variables = [variable.value for variable in classifier.variables]
        classes = Path(assets) / CLASSES_FILE
        classes.write_text(json.dumps(names, ensure_ascii=False), "utf-8")
        root.classes_file = tf.saved_model.Asset(str(classes))
        signatures = {
            "serving_default": root.__call__.get_concrete_function(_TEXT),
            "pairs": root.__call__.get_concrete_function(_TEXT, _PAIR),
        }
        tf.saved_model.save(root, str(folder), signatures=signatures)


def check_classifier(classifier: SpanBertTextClassifier) -> None:
    """Raises `ValueError` if a classifier cannot take text or name classes."""
    if classifier.preprocessor is None:
        raise ValueError("the classifier has no preprocessor, so it cannot take text")
    if classifier.activation not in (keras.activations.linear, keras.activations.softmax):
        raise ValueError(
            f"expected a classifier whose activation is None or softmax, as its classes exclude "
            f"one another; received {keras.activations.serialize(classifier.activation)!r}"
        )


def _classify_function(
    classifier: SpanBertTextClassifier, names: Sequence[str]
) -> Callable[..., dict[str, tf.Tensor]]:
    """Makes a function of strings from a classifier and its preprocessor."""

    def classify(text: tf.Tensor, pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        features = classifier.preprocessor(text if pair is None else (text, pair))
        probabilities = tf.cast(classifier(features, training=False), tf.float32)
        if classifier.activation is keras.activations.linear:
            probabilities = tf.nn.softmax(probabilities)
        return {
            "label": tf.gather(tf.constant(names), tf.argmax(probabilities, axis=-1)),
            "score": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
        }

    return classify


class ServedClassifier:
    """An exported classifier, to be asked from Python.

    Args:
        path: The SavedModel's folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Registers the operations without which the SavedModel does not load.
        import tensorflow_text  # noqa: F401

        classes = Path(path) / "assets" / CLASSES_FILE
        if not classes.is_file():
            raise FileNotFoundError(f"{path} is no exported classifier: it lacks {classes}")
        self.class_names = json.loads(classes.read_text("utf-8"))
        self._model = tf.saved_model.load(str(path))

    def classify(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Names the class of each text, with probabilities.

        Args:
            texts: The texts.
            pairs: Their second texts, for a classifier of pairs.

        Returns:
            One answer a text, in their order.
        """
        columns = [texts] if pairs is None else [texts, pairs]
        answers = self._model(*(tf.constant(list(column), tf.string) for column in columns))
        return named_predictions(answers["probabilities"].numpy(), self.class_names)


def load_served(path: str | os.PathLike[str]) -> ServedClassifier:
    """Loads what `export_classifier` wrote.

    Args:
        path: The SavedModel's folder.

    Returns:
        The classifier.

    Raises:
        FileNotFoundError: There is no exported classifier.
    """
    return ServedClassifier(path)
