"""Vectors of texts: what they are told as, and how they are compared and scored.

Letters: n texts or records, k texts of a record, r rows, d numbers of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.text_tuples import TextTuple, check_alike
from spanbert_tf.features import VECTORS
from spanbert_tf.metrics.reports import Report
from spanbert_tf.metrics.similarity import (
    RETRIEVAL_FIGURES,
    SCORE_FIGURES,
    figures_of_ranks,
    ranks_of_positives,
    spearman,
    unit_rows,
)
from spanbert_tf.models.decoding import Decoder
from spanbert_tf.models.text_batches import Columns

TEACHER_FIGURES = ("teacher_similarity",)


@dataclass(frozen=True)
class VectorDecoder(Decoder):
    """Gives the vector of each text; of records of several texts an array `[k, d]`.

    Attributes:
        width: Numbers of a vector, d.
        dimensions: How many of them are given, the first ones, as a vector of length 1.  `None`:
            all.
    """

    width: int
    dimensions: int | None = None

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[Any]:
        """Vectors, float32 `[d]` or `[k, d]` each."""
        return list(self._cut(decoded[VECTORS.name]))

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """`vectors`, float32 `[n, d]`, all of their numbers."""
        return {VECTORS.name: decoded[VECTORS.name]}

    def served(self, outputs: dict[str, np.ndarray]) -> list[Any]:
        """Vectors, float32 `[d]` each."""
        return list(self._cut(outputs[VECTORS.name]))

    def _cut(self, vectors: np.ndarray) -> np.ndarray:
        if self.dimensions is None:
            return np.asarray(vectors, np.float32)
        if not 1 <= self.dimensions <= self.width:
            raise ValueError(
                f"`dimensions` must be from 1 to {self.width}, the numbers of a vector, but is "
                f"{self.dimensions}."
            )
        return unit_rows(vectors[..., : self.dimensions])


@dataclass(frozen=True)
class Likeness:
    """How alike the texts of a record are.

    Attributes:
        similarity: Cosine of the two first texts; of a lone text that with its teacher's vector.
        rank: At which place the second text comes among the second texts of all records, the most
            similar to the first text at 1.  `None`: it is not asked for.
    """

    similarity: float
    rank: int | None = None


class ComparesVectors:
    """How an embedder is asked and scored: what needs its verb and its decoder alone."""

    figures: ClassVar[tuple[str, ...]] = (*RETRIEVAL_FIGURES, *SCORE_FIGURES, *TEACHER_FIGURES)
    decoder: Any
    answer_texts: Any

    @classmethod
    def figures_of(cls, head: dict[str, Any], records: Sequence[TextTuple] = ()) -> tuple[str, ...]:
        """Recall@1 and MRR of pairs, Spearman's of scores, the teacher's similarity of texts."""
        if not records:
            return cls.figures
        if records[0].score is not None:
            return SCORE_FIGURES
        return RETRIEVAL_FIGURES if len(records[0].texts) > 1 else TEACHER_FIGURES

    def encode_text(
        self, texts: Any, batch_size: int | None = None, dimensions: int | None = None
    ) -> np.ndarray:
        """Encodes texts as vectors of length 1.

        Args:
            texts: A list of strings, or one string.
            batch_size: Rows in a batch.  `None`: as many as have 8,192 tokens.
            dimensions: Give so many numbers of each vector, the first ones, as a vector of length
                1.  Good vectors of an embedder that was trained with such `dimensions`.

        Returns:
            float32 `[n, d]`, in the order of the texts; of one string `[d]`.

        Raises:
            TypeError: A text is not a string.
            ValueError: `dimensions` is more than a vector has.
        """
        vectors = self.answer_texts(texts, batch_size, dimensions=dimensions)
        if not isinstance(vectors, list):
            return vectors
        width = dimensions or self.decoder.width
        return np.stack(vectors) if vectors else np.zeros((0, width), np.float32)

    def similarity(self, left: Any, right: Any) -> Any:
        """Cosines of texts or vectors, -1 to 1.

            embedder.similarity("a fast car", ["a quick auto", "fresh bread"])  # [0.8, 0.1]

        Args:
            left: A string or a list of them, or vectors `[d]` or `[n, d]`.
            right: The same, m of them.

        Returns:
            float32 `[n, m]`, without the axes of what is a single string or vector.

        Raises:
            TypeError: A text is not a string.
            ValueError: Vectors have different numbers of numbers.
        """
        sides = [_as_vectors(side, self) for side in (left, right)]
        widths = [side.shape[-1] for side in sides]
        if widths[0] != widths[1]:
            raise ValueError(f"expected vectors of one width, got {widths[0]} and {widths[1]}.")
        return sides[0] @ sides[1].T

    def columns_of(self, records: Sequence[TextTuple]) -> tuple[Columns, Any]:
        """A column for each text of a record; the teacher's vectors, scores or topics."""
        check_alike(records)
        columns = [list(column) for column in zip(*(r.texts for r in records), strict=True)]
        if records[0].vectors is not None:
            vectors = np.stack([record.vectors for record in records])
            return columns, {"vectors": vectors, "topics": [record.topic for record in records]}
        if len(columns) < 2:
            raise DataError(
                f"{records[0].path}, line {records[0].line}: a text alone has nothing to be scored "
                "by; give pairs or scores, or a `teacher`."
            )
        if records[0].score is not None:
            return columns, np.array([record.score for record in records], np.float32)
        return columns, [record.topic for record in records]

    def given(self, answers: Sequence[Any], records: Sequence[TextTuple]) -> list[Likeness]:
        """How alike the texts of each record are, and the rank of a pair's second text."""
        vectors = unit_rows(answers).reshape(len(records), -1, self.decoder.width)
        first = vectors[:, 0]
        figures = ComparesVectors.figures_of({}, records)
        if figures == TEACHER_FIGURES:
            second = unit_rows([record.vectors[0] for record in records])
        else:
            second = vectors[:, 1]
        similarities = (first * second).sum(axis=1).tolist()
        if figures != RETRIEVAL_FIGURES:
            return [Likeness(similarity) for similarity in similarities]
        texts, topics = zip(*((r.texts[1], r.topic) for r in records), strict=True)
        ranks = ranks_of_positives(first, second, texts, topics).tolist()
        return [Likeness(*of) for of in zip(similarities, ranks, strict=True)]

    def score(self, answers: Sequence[Any], records: Sequence[TextTuple]) -> dict[str, float]:
        """What `figures_of` names for such records."""
        found = ComparesVectors.given(self, answers, records)
        figures = ComparesVectors.figures_of({}, records)
        similarities = [one.similarity for one in found]
        if figures == RETRIEVAL_FIGURES:
            return figures_of_ranks(np.array([one.rank for one in found]))
        if figures == SCORE_FIGURES:
            return {"spearman": spearman(similarities, [record.score for record in records])}
        return {"teacher_similarity": float(np.mean(similarities))}

    def report(self, answers: Sequence[Any], records: Sequence[TextTuple]) -> Report:
        """What the figures are of."""
        if ComparesVectors.figures_of({}, records) != RETRIEVAL_FIGURES:
            return Report()
        candidates = len({record.texts[1] for record in records})
        return Report(
            f"recall_at_1 and mrr are of each text's own second text, among {candidates:,} "
            "different ones"
        )

    @classmethod
    def gold_of(cls, record: TextTuple) -> Any:
        """The score, or the text that is to be found."""
        return record.score if record.score is not None else record.texts[:2][-1]

    def is_right(self, answer: Likeness, record: TextTuple) -> bool | None:
        """Whether a pair's second text comes first; a score is neither right nor wrong."""
        return None if answer.rank is None else answer.rank == 1


def _as_vectors(side: Any, embedder: Any) -> np.ndarray:
    items = np.asarray(side, object).ravel() if hasattr(side, "__array__") else side
    is_text = isinstance(side, str | bytes) or all(isinstance(one, str | bytes) for one in items)
    return embedder.encode_text(side) if is_text else unit_rows(side)
