"""Probabilities of classes -> the class of a text, or those that it has of several.

Letters: b texts of a batch, r rows, c classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.features import PROBABILITIES
from spanbert_tf.metrics.reports import NONE_OF_THESE
from spanbert_tf.models.decoding import Decoder


@dataclass(frozen=True)
class Prediction:
    """The answer for one text that has one class.

    Attributes:
        label: Name of the most probable class; `None` where that is less probable than an answer
            needs to be.
        score: The probability of the most probable class, 0 to 1.
        probabilities: The probability of each class by name, in the order of the classes.
    """

    label: str | None
    score: float
    probabilities: dict[str, float]

    def __str__(self) -> str:
        return f"{self.label or NONE_OF_THESE}  {self.score:.3f}"


@dataclass(frozen=True)
class Candidate:
    """One of the most probable classes of a text.

    Attributes:
        label: Its name; `None` where the first is less probable than an answer needs to be.
        score: Its probability, 0 to 1; of `None` that of the first.
    """

    label: str | None
    score: float

    def __str__(self) -> str:
        return f"{self.label or NONE_OF_THESE}  {self.score:.3f}"


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
        top_k: So many of the most probable classes are told: 1 as a `Prediction` or a `LabelSet`,
            more as a list of `Candidate`s.
        min_score: The probability that the most probable class needs, else the text has none of
            them: the label, or the first of several candidates, is `None`.  `None`: it needs none.

    Raises:
        ValueError: `top_k` is not from 1 to the number of classes, `min_score` is not from 0 to 1,
            or there are thresholds, by which a text may have no class, and a `min_score`.
    """

    class_names: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None
    top_k: int = 1
    min_score: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= len(self.class_names):
            raise ValueError(
                f"`top_k` must be from 1 to {len(self.class_names)}, the number of classes, but is "
                f"{self.top_k}."
            )
        check_min_score(self.min_score, self.thresholds)

    def answers(
        self, decoded: dict[str, Any], rows: Rows | None, columns: Sequence[Sequence[str]]
    ) -> list[Any]:
        """One `Prediction` a text, or with thresholds a `LabelSet`, of float32 `[r, c]`."""
        return [self._answer(row) for row in decoded[PROBABILITIES.name]]

    def anew(self, answers: Sequence[Any]) -> list[Any]:
        """The answers that this decoder makes where another one made these of the same numbers."""
        # As float32, which they were.
        return [
            self._answer(np.array([*answer.probabilities.values()], np.float32))
            for answer in answers
        ]

    def _answer(self, row: np.ndarray) -> Prediction | LabelSet | list[Candidate]:
        best = row.max()
        is_none = self.min_score is not None and best < np.float32(self.min_score)
        order = np.argsort(-row, kind="stable")
        if self.top_k > 1:
            first = [Candidate(None, float(best))] if is_none else []
            others = [Candidate(self.class_names[of], float(row[of])) for of in order[: self.top_k]]
            return [*first, *others][: self.top_k]
        probabilities = dict(zip(self.class_names, row.tolist(), strict=True))
        if self.thresholds is None:
            label = None if is_none else self.class_names[order[0]]
            return Prediction(label, float(best), probabilities)
        # As the graph compares them.
        is_there = row >= np.asarray(self.thresholds, np.float32)
        labels = tuple(self.class_names[number] for number in order if is_there[number])
        return LabelSet(labels, probabilities)

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Dense tensors of float32 `[b, c]`.

        Returns:
            `probabilities`, float32 `[b, c]`; and `label`, string `[b]`, with `score`, float32
            `[b]`; the label is empty where the score is below `min_score`.  With thresholds instead
            `labels`, string `[b, c]`: the names of the classes that a text has, the most probable
            first, then empty strings.
        """
        probabilities = decoded[PROBABILITIES.name]
        names = tf.constant(self.class_names)
        if self.thresholds is None:
            label, score = tf.argmax(probabilities, axis=-1), tf.reduce_max(probabilities, axis=-1)
            label = tf.gather(names, label)
            if self.min_score is not None:
                label = tf.where(score < tf.constant(self.min_score, tf.float32), "", label)
            return {
                "label": label,
                "score": score,
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
        """The fields that are not as they are by default."""
        defaults = asdict(ClassDecoder(self.class_names))
        fields = {n: x for n, x in super().to_json().items() if x != defaults[n]}
        return {"class_names": self.class_names, **fields}


def numbers_of(answers: Sequence[Prediction], class_names: Sequence[str]) -> np.ndarray:
    """The classes that answers name: int `[n]`; -1 where one has none."""
    numbers = {name: number for number, name in enumerate(class_names)} | {None: -1}
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


def check_min_score(min_score: float | None, thresholds: Any) -> None:
    """Checks the probability that an answer needs.

    Raises:
        ValueError: It is not from 0 to 1, or there are thresholds too.
    """
    if min_score is None:
        return
    if thresholds is not None:
        raise ValueError(
            "`min_score` is for classes that exclude one another; where a text may have several, "
            "`thresholds` say whether it has none."
        )
    if not 0 <= min_score <= 1:
        raise ValueError(f"`min_score` must be from 0 to 1, or None, but is {min_score!r}.")


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
