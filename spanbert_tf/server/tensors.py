"""What a signature gives, parted by texts and joined again.

Letters: b texts, w width of the lists of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ServedTensors:
    """Arrays of a batch, of which a slice is what the texts of the slice alone would have given.

    Attributes:
        arrays: `[b, ...]` by name; strings are bytes, of dtype object.
        lists: Names of the arrays that are as wide as the batch's longest list, `[b, w]`, and what
            each holds past a text's last item; see `Decoder.lists`.
    """

    arrays: dict[str, np.ndarray]
    lists: Mapping[str, Any]

    def __getitem__(self, texts: slice) -> "ServedTensors":
        arrays = {name: array[texts] for name, array in self.arrays.items()}
        is_item = [arrays[name] != _filling(fill) for name, fill in self.lists.items()]
        if is_item:
            # No wider than the longest list of these texts.
            columns = np.flatnonzero(np.any(is_item, axis=(0, 1)))
            width = columns[-1] + 1 if columns.size else 0
            arrays |= {name: arrays[name][:, :width] for name in self.lists}
        return ServedTensors(arrays, self.lists)

    @staticmethod
    def join(parts: Sequence["ServedTensors"]) -> "ServedTensors":
        """What the texts of all parts, one at least, would have given together."""
        lists = parts[0].lists
        arrays = {}
        for name in parts[0].arrays:
            of_parts = [part.arrays[name] for part in parts]
            if name in lists:
                width = max(array.shape[1] for array in of_parts)
                of_parts = [_widened(array, width, lists[name]) for array in of_parts]
            arrays[name] = np.concatenate(of_parts)
        return ServedTensors(arrays, lists)


def _widened(array: np.ndarray, width: int, fill: Any) -> np.ndarray:
    padding = [(0, 0), (0, width - array.shape[1])]
    return np.pad(array, padding, constant_values=_filling(fill))


def _filling(fill: Any) -> Any:
    return fill.encode() if isinstance(fill, str) else fill
