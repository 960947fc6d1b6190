"""What makes answers that people read of a network's numbers.

Letters: b texts of a batch, r rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass
from dataclasses import fields as dataclass_fields
from types import UnionType
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows

_D = TypeVar("_D", bound="Decoder")


class NetworkFields:
    """What a network decides by, of all that makes answers of it.

    Attributes:
        in_network: Names of the fields by which the network decides: a graph of it, and so an
            export, has them fixed.
    """

    in_network: ClassVar[tuple[str, ...]] = ()

    def of_network(self) -> dict[str, Any]:
        """The fields by which the network decides."""
        return {name: getattr(self, name) for name in self.in_network}


@dataclass(frozen=True)
class Decoder(NetworkFields, ABC):
    """Turns what a task's network decided into answers; its fields travel with each export.

    It is written twice: `answers` in NumPy, for Keras and LiteRT, and `serve` in TensorFlow
    operations, for SavedModels.  Both give the same answers.

    Attributes:
        lists: Names of the tensors of `serve` that are as wide as the longest list of their batch,
            and what each holds past a text's last item.
    """

    lists: ClassVar[Mapping[str, Any]] = {}

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
        """Makes a decoder of what `to_json` gave; undoes it.

        Raises:
            ValueError: The fields are not those of the class, or of other types.
        """
        types = get_type_hints(cls)
        expected = {field.name: types[field.name] for field in dataclass_fields(cls)}
        needed = [field.name for field in dataclass_fields(cls) if field.default is MISSING]
        values = {name: _frozen(value) for name, value in fields.items()}
        wrong = [f"{name} is missing" for name in needed if name not in values]
        wrong += [f"{name} is unknown" for name in values if name not in expected]
        wrong += [
            f"{name}: expected {expected[name]}, got {value!r:.80}"
            for name, value in values.items()
            if name in expected and not _is_of(value, expected[name])
        ]
        if wrong:
            raise ValueError(f"what makes answers ({cls.__name__}) is damaged: {'; '.join(wrong)}")
        return cls(**values)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value, of JSON, is of the type that a field is annotated with."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is_of(value, one) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        return len(kinds) == len(value) and all(map(_is_of, value, kinds))
    if kind is float:
        return type(value) in (int, float)
    return kind is Any or type(value) is (origin or kind)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
