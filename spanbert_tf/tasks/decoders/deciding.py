"""How a text classifier decides by probabilities: its thresholds, tuned, and its figures.

Letters: n texts, m texts that belong to no class, c classes.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from spanbert_tf.data.batching.labels import number_label_sets, number_tensor
from spanbert_tf.data.readers.label_sets import encode_label_sets, label_sets_of
from spanbert_tf.data.readers.tables import Example, encode_labels
from spanbert_tf.metrics.classification import best_thresholds, class_figures, label_set_figures
from spanbert_tf.metrics.rejection import best_min_score, rejection_figures
from spanbert_tf.metrics.reports import Report, class_report, label_set_report
from spanbert_tf.tasks.decoders.classes import (
    ClassDecoder,
    LabelSet,
    Prediction,
    numbers_of,
    sets_of,
)


class DecidesClasses:
    """What `SpanBertTextClassifier` makes of probabilities; comes first among its bases.

    Attributes:
        thresholds: The probability from which a text has each class, where it may have several.
        tunes_thresholds: Whether `tune` chooses them.
        min_score: The probability that the most probable class needs; `None`: none.
    """

    activation: Any
    class_names: tuple[str, ...] | None
    num_classes: int
    thresholds: tuple[float, ...]
    tunes_thresholds: bool
    min_score: float | None

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have several classes, or none."""
        return self.activation is keras.activations.sigmoid

    @property
    def names_of_classes(self) -> list[str]:
        """`class_names`, or the classes' numbers where they have no names."""
        return list(self.class_names or map(str, range(self.num_classes)))

    @property
    def decoder(self) -> ClassDecoder:
        """What names the classes."""
        thresholds = self.thresholds if self.is_multi_label else None
        names = tuple(self.names_of_classes)
        return ClassDecoder(names, thresholds, min_score=self.min_score)

    def given(self, answers: Sequence[Any], records: Sequence[Any]) -> list[Any]:
        """The answers by the thresholds of now, as `tune` may have changed them."""
        return self.decoder.anew(answers)

    def score(self, answers: Sequence[Any], records: Sequence[Example]) -> dict[str, float]:
        """Accuracy, precision, recall and F1, or the figures of sets of labels.

        See `class_figures` and `label_set_figures` in `metrics.classification`.  A text whose label
        is `None` is wrong.
        """
        names, answers = self.decoder.class_names, self.decoder.anew(answers)
        if self.decoder.thresholds is not None:
            return label_set_figures(encode_label_sets(records, names) > 0, sets_of(answers, names))
        return class_figures(encode_labels(records, names), numbers_of(answers, names), len(names))

    def report(self, answers: Sequence[Any], records: Sequence[Example]) -> Report:
        """Each class, and the most frequent confusions, see `metrics.reports`."""
        names, answers = self.decoder.class_names, self.decoder.anew(answers)
        if self.decoder.thresholds is not None:
            gold = encode_label_sets(records, names) > 0
            return label_set_report(gold, sets_of(answers, names), names)
        labels = [str(record.label) for record in records]
        return class_report(labels, [answer.label for answer in answers], names)

    def has_confusions(self) -> bool:
        """Where classes exclude one another."""
        return self.decoder.thresholds is None

    @classmethod
    def gold_of(cls, record: Example) -> Any:
        """The label, or the list of them."""
        return list(record.label) if isinstance(record.label, tuple) else record.label

    def is_right(self, answer: Any, record: Example) -> bool:
        """Whether the label is right; of several, whether all are and none is missing."""
        if isinstance(answer, LabelSet):
            return set(answer.labels) == set(label_sets_of([record])[0])
        return answer.label == record.label

    def tune(self, answers: Sequence[Any], records: Sequence[Example]) -> None:
        """Sets the thresholds to those of the highest F1, unless they were given."""
        if self.is_multi_label and self.tunes_thresholds:
            gold = encode_label_sets(records, self.names_of_classes) > 0
            probabilities = [[*answer.probabilities.values()] for answer in answers]
            self.thresholds = tuple(best_thresholds(gold, np.array(probabilities, np.float32)))

    def tune_thresholds(self, x: Any, y: Any, batch_size: int | None = None) -> tuple[float, ...]:
        """Sets for each class the threshold at which its F1 is the highest.

        Args:
            x: Texts, as for `predict`, that the classifier was not trained on.
            y: Their labels, as for `fit`.
            batch_size: As for `predict`.

        Returns:
            `thresholds`.  Metrics have the old ones until `compile` is called again.

        Raises:
            ValueError: Classes exclude one another, or labels do not fit the texts.
        """
        if not self.is_multi_label:
            raise ValueError("only a classifier of activation='sigmoid' has thresholds")
        probabilities = self.predict(x, batch_size, verbose=0)  # type: ignore[attr-defined]
        numbers = number_label_sets(y, self.num_classes, self.class_names)
        gold = np.asarray(number_tensor("y", numbers, len(probabilities)))
        self.thresholds = tuple(best_thresholds(gold > 0, probabilities))
        return self.thresholds

    @classmethod
    def rejects(cls, head: dict[str, Any]) -> bool:
        """Whether classes exclude one another: else a text may have none of them anyway."""
        return head.get("activation") != "sigmoid"

    def check_rejection(self) -> None:
        """Refuses it where a text may have several classes, or none."""
        if self.decoder.thresholds is not None:
            raise ValueError(
                "texts may have several labels or none here; only where classes exclude one "
                "another are texts out of scope"
            )

    def rejection(
        self, answers: Sequence[Prediction], outside: Sequence[Prediction]
    ) -> dict[str, float]:
        """How well the best class's probability tells texts that belong to no class.

        See `metrics.rejection.rejection_figures`; with a `min_score` also the parts of both that it
        rejects, `rejected_in_scope` and `rejected_out_of_scope`.
        """
        self.check_rejection()
        scores = _scores(answers), _scores(outside)
        figures = rejection_figures(*scores)
        if self.decoder.min_score is not None:
            names = ("rejected_in_scope", "rejected_out_of_scope")
            lowest = np.float32(self.decoder.min_score)
            figures |= {n: float((of < lowest).mean()) for n, of in zip(names, scores, strict=True)}
        return figures

    def tune_rejection(self, answers: Sequence[Prediction], outside: Sequence[Prediction]) -> None:
        """Sets `min_score` to that of the best balanced accuracy."""
        self.min_score, _ = best_min_score(_scores(answers), _scores(outside))

    def tune_min_score(
        self, in_scope: Any, out_of_scope: Any, batch_size: int | None = None
    ) -> dict[str, float]:
        """Sets `min_score`, below which a text has none of the classes.

        Presets and exports keep it; `classify(..., min_score=...)` has another for one call.

        Args:
            in_scope: Texts that belong to a class, as for `classify`, and that the classifier was
                not trained on; several of them.
            out_of_scope: Texts that belong to none.
            batch_size: As for `predict`.

        Returns:
            See `rejection`.

        Raises:
            ValueError: A text may have several classes, or there are no texts.
        """
        if self.is_multi_label:
            raise ValueError("only where classes exclude one another has an answer a min_score")
        both = [
            self.answer_texts(x, batch_size)  # type: ignore[attr-defined]
            for x in (in_scope, out_of_scope)
        ]
        rejection_figures(*map(_scores, both))  # Refuses to tune on nothing.
        self.tune_rejection(*both)
        return self.rejection(*both)


def _scores(answers: Sequence[Prediction]) -> np.ndarray:
    """The best class's probability of each text: float32 `[n]`."""
    return np.array([answer.score for answer in answers], np.float32)
