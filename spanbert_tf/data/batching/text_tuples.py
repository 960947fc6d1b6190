"""Batches of records of several texts that are read each on its own, such as pairs.

Letters: n records, b records of a batch, k texts of a record, s sequence, d numbers of a vector.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.labels import number_tensor
from spanbert_tf.data.batching.pipeline import BucketedBatches, packed_lengths
from spanbert_tf.data.batching.rows import Rows, trimmed
from spanbert_tf.data.batching.texts import as_str
from spanbert_tf.features import SIMILARITIES, TEACHER_VECTORS, TEXT_NUMBERS, Feature


class TupleBatches(BucketedBatches):
    """Records whose segments are texts of their own, and the batches that they make.

    A batch of `b` records has `k * b` rows: the first text of each record, then the second of each,
    and so on.  Labels are a dictionary, with a row a record.  Records are of like length where
    their longest texts are.  All else is as in `BucketedBatches`.
    """

    keeps_names = True

    @classmethod
    def from_rows(
        cls, rows: Rows, *, token_budget: int | None = None, **options: Any
    ) -> BucketedBatches:
        """Makes batches of records; `token_budget` counts the tokens of all their texts."""
        if token_budget is not None:
            options["token_budget"] = max(token_budget // len(rows.segments), 1)
        return super().from_rows(rows, **options)

    def row_lengths(self, sequence_length: int) -> np.ndarray:
        """Tokens of the longest text of each record, int64 `[records]`."""
        lengths = [packed_lengths([segment], sequence_length) for segment in self.segments]
        return np.max(lengths, axis=0)

    def pack(self, segments: Sequence[tf.RaggedTensor], length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes the encoder's features, int32 `[k * b, s]`."""
        return super().pack([tf.concat(segments, axis=0)], length)

    def outputs_of_rows(
        self, outputs: Iterable[dict[str, np.ndarray]], specs: Sequence[Feature]
    ) -> dict[str, Any]:
        """Parts what a network gave for each batch into arrays `[records, k, ...]`.

        Of one text a record into arrays `[records, ...]`.
        """
        texts = len(self.segments)
        if texts == 1:
            return super().outputs_of_rows(outputs, specs)
        by_record = (
            {
                name: np.moveaxis(rows.reshape(texts, -1, *rows.shape[1:]), 0, 1)
                for name, rows in batch.items()
            }
            for batch in outputs
        )
        return super().outputs_of_rows(by_record, specs)


def targets_of_tuples(
    columns: Sequence[Sequence[str]], y: Any, width: int
) -> dict[Feature, tf.Tensor]:
    """What is to be learned from records of texts.

    Args:
        columns: The texts, a list for each of the k texts of a record.
        y: Topics, strings `[n]`, `""` for none: texts of one topic are no negatives of one another.
            Or scores of pairs `[n]`, -1 to 1.  Or vectors `[n, k, d]`, of single texts `[n, d]`; or
            a dictionary of such `vectors` and `topics`.
        width: Numbers of a vector, d.

    Returns:
        Numbers of texts and of their topic, the same for equal ones, int32 `[n, k + 1]`; scores,
        float32 `[n]`; or vectors and, where k is above 1, numbers.

    Raises:
        ValueError: `y` is none of these, or not of so many records.
    """
    count, texts = len(columns[0]), len(columns)
    topics = [""] * count
    if isinstance(y, Mapping):
        y, topics = y["vectors"], y.get("topics", topics)
    y = np.asarray(y)
    if y.dtype.kind not in "biuf":
        if y.shape != (count,):
            raise ValueError(f"`y` has the shape {y.shape}, but there are {count} records.")
        if texts < 2:
            raise ValueError("a text alone teaches nothing: give pairs, or vectors as `y`.")
        return {TEXT_NUMBERS: _numbers_of_texts(columns, y.tolist())}
    if y.ndim == 1:
        if texts != 2 or not np.all(np.abs(y) <= 1):
            raise ValueError(f"expected scores from -1 to 1, of pairs, as `y`, got {y!r:.80}.")
        return {SIMILARITIES: number_tensor("y", y.astype("float32"), count)}
    y = y[:, None] if y.ndim == 2 else y
    if y.ndim != 3 or y.shape[1] != texts:
        raise ValueError(f"expected vectors [{count}, {texts}, {width}] as `y`, got {y.shape}.")
    check_width("`y`", y, width)
    targets = {TEACHER_VECTORS: number_tensor("y", y.astype("float32"), count)}
    return targets | ({TEXT_NUMBERS: _numbers_of_texts(columns, topics)} if texts > 1 else {})


def parts_of_targets(y: Any) -> tuple[Any, Any, Any]:
    """Numbers of texts, scores and vectors, `None` each where it is missing, of a batch's targets.

    Raises:
        ValueError: They are not what `targets_of_tuples` makes.
    """
    if y is None:
        raise ValueError("a text alone teaches nothing: give pairs, or vectors as `y`.")
    names = [of.name for of in (TEXT_NUMBERS, SIMILARITIES, TEACHER_VECTORS)]
    if not isinstance(y, Mapping) or not y.keys() <= {*names}:
        raise ValueError(
            f"expected `y` of features as a dictionary with {', '.join(names)}, got {y!r:.80}; of "
            "strings in memory it is made by itself."
        )
    numbers, scores, vectors = map(y.get, names)
    return numbers, scores, vectors


def texts_a_record(y: Any) -> int:
    """How many texts a record of a batch has, by its targets: k.

    Raises:
        ValueError: As `parts_of_targets`.
    """
    numbers, scores, vectors = parts_of_targets(y)
    if numbers is not None:
        return numbers.shape[1] - 1
    return vectors.shape[1] if scores is None else 2


def trimmed_columns(features: dict[str, tf.Tensor], count: int) -> list[dict[str, tf.Tensor]]:
    """The first texts of a batch's records, the second ones ..., each as long as its longest."""
    parts = {name: tf.split(of, count) for name, of in features.items()}
    return [trimmed({name: of[number] for name, of in parts.items()}) for number in range(count)]


def check_width(where: str, vectors: np.ndarray, width: int) -> None:
    """Checks that a teacher's vectors `[..., d]` have as many numbers as those to be learned.

    Raises:
        ValueError: They have not.
    """
    found = vectors.shape[-1]
    if found != width:
        raise ValueError(
            f"{where}: the teacher's vectors have {found} numbers, and those to be learned {width}:"
            f" `projection_dim` must be {found}."
        )


def _numbers_of_texts(columns: Sequence[Sequence[str]], topics: Sequence[str]) -> tf.Tensor:
    """Numbers texts and topics, the same where they are equal: int32 `[n, k + 1]`.

    A record without a topic has one of its own.
    """
    known: dict[Any, int] = {}
    numbers = [
        [known.setdefault(of, len(known)) for of in (*map(as_str, texts), (topic or row,))]
        for row, (*texts, topic) in enumerate(zip(*columns, topics, strict=True))
    ]
    return tf.constant(numbers, tf.int32)
