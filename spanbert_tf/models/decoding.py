"""What makes answers that people read of a network's numbers.

Letters: b texts of a batch, r rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows

_D = TypeVar("_D", bound="Decoder")


@dataclass(frozen=True)
class Decoder(ABC):
    """Turns what a task's network decided into answers; its fields travel with each export.

    It is written twice: `answers` in NumPy, for Keras and LiteRT, and `serve` in TensorFlow
    operations, for SavedModels.  Both give the same answers.
    """

    @abstractmethod
    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[Any]:
        """Makes an answer for each text.

        Args:
            decoded: By name, arrays `[r, ...]`, or of what has a number for each token lists of
                `r` arrays `[tokens]`, see `BucketedBatches.outputs_of_rows`.
            rows: The rows, and which text each is of.
            columns: The texts.
        """

    @abstractmethod
    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Makes dense tensors `[b, ...]` of which `served` makes answers.

        Args:
            decoded: By name, tensors `[r, ...]`, padded to the batch's length.
            rows: As for `answers`.
            columns: string `[b]`, each.
        """

    @abstractmethod
    def served(self, outputs: dict[str, np.ndarray]) -> list[Any]:
        """Makes an answer for each text of what `serve` gave."""

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)

    @classmethod
    def from_json(cls: type[_D], fields: dict[str, Any]) -> _D:
        """Makes a decoder of what `to_json` gave; undoes it."""
        return cls(**{name: _frozen(value) for name, value in fields.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
