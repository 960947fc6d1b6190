"""Probabilities of classes -> the class of a text, or those that it has of several.

Letters: b texts of a batch, r rows, c classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.features import PROBABILITIES
from spanbert_tf.models.decoding import Decoder


@dataclass(frozen=True)
class Prediction:
    """The answer for one text that has one class.

    Attributes:
        label: Name of the most probable class.
        score: Its probability, 0 to 1.
        probabilities: The probability of each class by name, in the order of the classes.
    """

    label: str
    score: float
    probabilities: dict[str, float]

    def __str__(self) -> str:
        return f"{self.label}  {self.score:.3f}"


@dataclass(frozen=True)
class LabelSet:
    """The answer for one text that may have several classes, or none.

    Attributes:
        labels: Names of the classes that it has, the most probable first.
        probabilities: The probability of each class by name, in the order of the classes.  They do
            not add up to 1.
    """

    labels: tuple[str, ...]
    probabilities: dict[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{name} {self.probabilities[name]:.3f}" for name in self.labels) or "-"


@dataclass(frozen=True)
class ClassDecoder(Decoder):
    """Names the most probable class, or all that are probable enough.

    Attributes:
        class_names: Names of the classes, in the order of their probabilities.
        thresholds: The probability from which a text has each class, of classes that do not exclude
            one another.  `None`: they do.
    """

    class_names: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None

    def answers(
        self, decoded: dict[str, Any], rows: Rows | None, columns: Sequence[Sequence[str]]
    ) -> list[Any]:
        """One `Prediction` a text, or with thresholds a `LabelSet`, of float32 `[r, c]`."""
        return [self._answer(row) for row in decoded[PROBABILITIES.name]]

    def _answer(self, row: np.ndarray) -> Prediction | LabelSet:
        probabilities = dict(zip(self.class_names, row.tolist(), strict=True))
        if self.thresholds is None:
            label = max(probabilities, key=probabilities.__getitem__)
            return Prediction(label, probabilities[label], probabilities)
        # As the graph compares them.
        is_there = row >= np.asarray(self.thresholds, np.float32)
        order = np.argsort(-row, kind="stable")
        labels = tuple(self.class_names[number] for number in order if is_there[number])
        return LabelSet(labels, probabilities)

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Dense tensors of float32 `[b, c]`.

        Returns:
            `probabilities`, float32 `[b, c]`; and `label`, string `[b]`, with `score`, float32
            `[b]`.  With thresholds instead `labels`, string `[b, c]`: the names of the classes that
            a text has, the most probable first, then empty strings.
        """
        probabilities = decoded[PROBABILITIES.name]
        names = tf.constant(self.class_names)
        if self.thresholds is None:
            return {
                "label": tf.gather(names, tf.argmax(probabilities, axis=-1)),
                "score": tf.reduce_max(probabilities, axis=-1),
                PROBABILITIES.name: probabilities,
            }
        ordered = tf.argsort(probabilities, axis=-1, direction="DESCENDING", stable=True)
        is_there = probabilities >= tf.constant(self.thresholds, tf.float32)
        # Those that it has before the others, in this order.
        last = tf.cast(~tf.gather(is_there, ordered, batch_dims=1), tf.int32)
        ordered = tf.gather(ordered, tf.argsort(last, axis=-1, stable=True), batch_dims=1)
        labels = tf.where(tf.gather(is_there, ordered, batch_dims=1), tf.gather(names, ordered), "")
        return {"labels": labels, PROBABILITIES.name: probabilities}

    def served(self, outputs: dict[str, np.ndarray]) -> list[Any]:
        """One answer a text."""
        return self.answers({PROBABILITIES.name: outputs[PROBABILITIES.name]}, None, ())

    def to_json(self) -> dict[str, Any]:
        """The fields; thresholds where there are any."""
        fields = super().to_json()
        return fields if self.thresholds else {"class_names": fields["class_names"]}


def numbers_of(answers: Sequence[Prediction], class_names: Sequence[str]) -> np.ndarray:
    """The classes that answers name: int `[n]`."""
    numbers = {name: number for number, name in enumerate(class_names)}
    return np.array([numbers[answer.label] for answer in answers])


def sets_of(answers: Sequence[LabelSet], class_names: Sequence[str]) -> np.ndarray:
    """The classes that answers name: bool `[n, c]`."""
    return np.array([[name in answer.labels for name in class_names] for answer in answers])


def threshold_of_each(thresholds: float | Sequence[float], num_classes: int) -> tuple[float, ...]:
    """A threshold for each class, of one for all or a list.

    Raises:
        ValueError: They are not as many as there are classes, or not between 0 and 1.
    """
    if isinstance(thresholds, Sequence):
        listed = [float(of) for of in thresholds]
    else:
        listed = [float(thresholds)] * num_classes
    if len(listed) != num_classes or not all(0 < of < 1 for of in listed):
        raise ValueError(
            f"`thresholds` must be one number between 0 and 1, or {num_classes} of them, but are "
            f"{thresholds!r:.200}."
        )
    return tuple(listed)


def checked_number(num_classes: int | None, class_names: Sequence[str] | None) -> int:
    """The number of classes, if their names fit it.

    Raises:
        ValueError: There are fewer than 2, or names are not as many or not different.
    """
    if num_classes is None or num_classes < 2:
        raise ValueError(f"`num_classes` must be at least 2, but is {num_classes}.")
    if class_names is not None and (
        len(class_names) != num_classes or len(set(class_names)) != num_classes
    ):
        raise ValueError(
            f"`class_names` must be {num_classes} different names, but are {list(class_names)}."
        )
    return num_classes
