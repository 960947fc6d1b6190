"""Figures of classification, of one class a text or of several; as metrics too, for `compile`.

Letters: b batch, c classes.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

FIGURES = ("accuracy", "precision", "recall", "f1")
LABEL_SET_FIGURES = ("micro_f1", "macro_f1", "micro_precision", "micro_recall", "exact_match")


def class_figures(gold: np.ndarray, predicted: np.ndarray, num_classes: int) -> dict[str, float]:
    """Scores predicted classes, as the metrics of `classification_metrics` do.

    Args:
        gold: int `[n]`, the right classes.
        predicted: int `[n]`; -1: none of the classes.
        num_classes: Number of classes, at least 2.

    Returns:
        `accuracy`, `precision`, `recall` and `f1`.  Of two classes the second is the positive one;
        of more they are means over all classes.  One that was never predicted, or never there,
        scores 0.
    """
    hits = np.bincount(gold[gold == predicted], minlength=num_classes)
    found = np.bincount(predicted[predicted >= 0], minlength=num_classes)
    there = np.bincount(gold, minlength=num_classes)
    scores = {
        "precision": hits / np.maximum(found, 1),
        "recall": hits / np.maximum(there, 1),
        "f1": 2 * hits / np.maximum(found + there, 1),
    }
    figures = {name: of[1] if num_classes == 2 else of.mean() for name, of in scores.items()}
    return {"accuracy": float(hits.sum() / max(len(gold), 1))} | {
        name: float(value) for name, value in figures.items()
    }


def _class_numbers(y_true: Any, num_classes: int) -> Any:
    """Makes int `[b]` of labels `[b]`, `[b, 1]` or one-hot `[b, c]`."""
    if len(y_true.shape) == 2 and y_true.shape[1] == num_classes:
        return ops.argmax(y_true, axis=-1)
    return ops.cast(ops.reshape(y_true, (-1,)), "int32")


class ClassMetric(keras.metrics.FBetaScore):
    """Counts true and false positives and false negatives of each class.

    Keras' own precision and recall take neither integer labels nor logits, and do not average.

    Args:
        num_classes: Number of classes c.
        class_id: The class to score.  `None`: the unweighted mean over all classes ("macro").
        name: Name of the metric.
        dtype: dtype of the counts.

    Call arguments:
        y_true: int `[b]` or `[b, 1]`, in `[0, c)`; or one-hot `[b, c]`.
        y_pred: float `[b, c]`, logits or probabilities; the largest decides.
        sample_weight: float `[b]`, or `None`.

    Returns:
        A scalar from 0 to 1.  A class that was never predicted, or never there, scores 0, as
        scikit-learn scores it with `labels=range(c)` and `zero_division=0`.
    """

    def __init__(
        self,
        num_classes: int,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(average=None, name=name, dtype=dtype)
        if class_id is not None and not 0 <= class_id < num_classes:
            raise ValueError(f"`class_id` must be in [0, {num_classes}), but is {class_id}.")
        self.num_classes = num_classes
        self.class_id = class_id
        # Keras would wait for the first batch, and TensorFlow trace the training step twice.
        self._build((None, num_classes), (None, num_classes))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts a batch."""
        labels = _class_numbers(y_true, self.num_classes)
        super().update_state(
            ops.one_hot(labels, self.num_classes, dtype=self.dtype),
            ops.one_hot(ops.argmax(y_pred, axis=-1), self.num_classes, dtype=self.dtype),
            sample_weight,
        )

    def scores(self) -> Any:
        """The score of each class, float `[c]`."""
        raise NotImplementedError

    def result(self) -> Any:
        """The score of `class_id`, or the mean of all."""
        scores = self.scores()
        return ops.mean(scores) if self.class_id is None else scores[self.class_id]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the class."""
        return {
            "num_classes": self.num_classes,
            "class_id": self.class_id,
            "name": self.name,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable("spanbert_tf")
class ClassPrecision(ClassMetric):
    """Of what was given a class, the part that has it.  Takes what `ClassMetric` takes."""

    def scores(self) -> Any:
        """The precision of each class, float `[c]`."""
        return ops.divide_no_nan(self.true_positives, self.true_positives + self.false_positives)


@keras.saving.register_keras_serializable("spanbert_tf")
class ClassRecall(ClassMetric):
    """Of what has a class, the part that was given it.  Takes what `ClassMetric` takes."""

    def scores(self) -> Any:
        """The recall of each class, float `[c]`."""
        return ops.divide_no_nan(self.true_positives, self.true_positives + self.false_negatives)


@keras.saving.register_keras_serializable("spanbert_tf")
class ClassF1Score(ClassMetric):
    """The harmonic mean of precision and recall.  Takes what `ClassMetric` takes."""

    def scores(self) -> Any:
        """The F1 score of each class, float `[c]`."""
        wrong = self.false_positives + self.false_negatives
        return ops.divide_no_nan(2 * self.true_positives, 2 * self.true_positives + wrong)


@keras.saving.register_keras_serializable("spanbert_tf")
class ClassAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """The part of all that was given the right class.  Takes what `ClassMetric` takes."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Counts a batch."""
        labels = _class_numbers(y_true, y_pred.shape[-1])
        return super().update_state(labels, y_pred, sample_weight)


def classification_metrics(num_classes: int) -> list[keras.metrics.Metric]:
    """Makes `accuracy`, `precision`, `recall` and `f1` for integer labels.

    Of two classes the second is the positive one, whose precision, recall and F1 are meant; of
    more, they are means over all classes.

    Args:
        num_classes: Number of classes, at least 2.
    """
    class_id = 1 if num_classes == 2 else None
    return [
        ClassAccuracy(name="accuracy"),
        ClassPrecision(num_classes, class_id, name="precision"),
        ClassRecall(num_classes, class_id, name="recall"),
        ClassF1Score(num_classes, class_id, name="f1"),
    ]


def label_set_figures(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Scores sets of labels, as scikit-learn does with `zero_division=0`.

    Args:
        gold: bool `[n, c]`, the classes that each text has.
        predicted: bool `[n, c]`.

    Returns:
        `micro_f1`, `micro_precision` and `micro_recall`, of all pairs of a text and a class;
        `macro_f1`, the mean of the classes' F1; and `exact_match`, the share of texts whose set is
        the right one.
    """
    hits = (gold & predicted).sum(axis=0)
    found, there = predicted.sum(axis=0), gold.sum(axis=0)
    total = hits.sum()
    figures = {
        "micro_f1": 2 * total / max(found.sum() + there.sum(), 1),
        "macro_f1": np.mean(2 * hits / np.maximum(found + there, 1)),
        "micro_precision": total / max(found.sum(), 1),
        "micro_recall": total / max(there.sum(), 1),
        "exact_match": (gold == predicted).all(axis=1).mean() if len(gold) else 0.0,
    }
    return {name: float(figures[name]) for name in LABEL_SET_FIGURES}


def best_thresholds(gold: np.ndarray, probabilities: np.ndarray) -> list[float]:
    """Finds for each class the threshold at which its F1 is the highest.

    Args:
        gold: bool `[n, c]`, the classes that each text has.
        probabilities: float `[n, c]`.

    Returns:
        One number a class, halfway between two probabilities; 0.5 for a class that no text has.
    """
    thresholds = []
    for there, scores in zip(gold.T, probabilities.T, strict=True):
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order]
        f1 = 2 * np.cumsum(there[order]) / (np.arange(1, len(order) + 1) + there.sum())
        # Texts of one probability have the class all together.
        following = np.append(ordered[1:], 0.0)
        f1 = np.where(ordered > following, f1, 0)
        if not there.any() or not len(order):
            thresholds.append(0.5)
            continue
        best = int(np.argmax(f1))
        thresholds.append(float((ordered[best] + following[best]) / 2))
    return thresholds


@keras.saving.register_keras_serializable("spanbert_tf")
class LabelSetF1Score(keras.metrics.F1Score):
    """F1 of sets of labels, with a threshold for each class.

    Args:
        thresholds: The probability from which a text has each class.
        average: `"micro"` or `"macro"`.
        name: Name of the metric.
        dtype: dtype of the counts.

    Call arguments:
        y_true: `[b, c]`, 1 at the classes that a text has.
        y_pred: float `[b, c]`, probabilities.
        sample_weight: float `[b]`, or `None`.
    """

    def __init__(
        self, thresholds: Any, average: str = "micro", name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(average=average, threshold=0.5, name=name, dtype=dtype)
        self.thresholds = tuple(thresholds)
        self._build((None, len(self.thresholds)), (None, len(self.thresholds)))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts a batch."""
        is_there = ops.cast(y_pred, "float32") >= np.asarray(self.thresholds, np.float32)
        super().update_state(y_true, ops.cast(is_there, self.dtype), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the class."""
        return {
            "thresholds": list(self.thresholds),
            "average": self.average,
            "name": self.name,
            "dtype": self.dtype,
        }


def label_set_metrics(thresholds: Any) -> list[keras.metrics.Metric]:
    """Makes `micro_f1` and `macro_f1` for labels as rows of 0 and 1.

    Args:
        thresholds: The probability from which a text has each class.
    """
    return [LabelSetF1Score(thresholds, of, name=f"{of}_f1") for of in ("micro", "macro")]
