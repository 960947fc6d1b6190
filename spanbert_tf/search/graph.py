"""Approximate search: a graph over vectors, by usearch, whose neighbours are likely the nearest.

HNSW (Malkov and Yashunin, 2018): a search walks along edges to ever nearer vectors and looks at
some thousands of a million.  It proposes candidates, which the store of the vectors scores anew.

Letters: n vectors, d width, q queries, c candidates.
"""

from pathlib import Path
from typing import Any

import numpy as np

from spanbert_tf.foreign_files import CheckpointError, reading
from spanbert_tf.search.vector_store import Arrays, VectorStore

# Edges of a vector, and how far the search for them goes when it is added.
_CONNECTIVITY, _EXPANSION = 16, 128
# The more candidates, the less is missed, and the longer a search takes.
_CANDIDATES_A_HIT, _FEWEST_CANDIDATES = 4, 128
_VECTORS_A_CALL = 2**16


class Graph:
    """A graph over the vectors of a store, in the order of its rows.

    It holds vectors of its own, an eighth bit or a byte for each number: signs where the store has
    signs, else int8.

    Args:
        store: The vectors; those that are there are added.

    Raises:
        ModuleNotFoundError: usearch is not installed.
    """

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._has_bits = "bits" in store.arrays()
        words = getattr(store, "words", 0)
        self._width = words * 64 if self._has_bits else store.width
        self._index = require_usearch().Index(
            ndim=self._width,
            metric="hamming" if self._has_bits else "cos",
            dtype="b1" if self._has_bits else "i8",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION,
        )
        for _, arrays in store.blocks(_VECTORS_A_CALL):
            self.append(arrays)

    def __len__(self) -> int:
        return len(self._index)

    def append(self, arrays: Arrays) -> None:
        """Adds rows that a store's `pack` made."""
        for begin in range(0, len(next(iter(arrays.values()))), _VECTORS_A_CALL):
            part = {name: of[begin : begin + _VECTORS_A_CALL] for name, of in arrays.items()}
            vectors = self._vectors(part)
            self._index.add(np.arange(len(self), len(self) + len(vectors)), vectors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds vectors near to queries; see `VectorStore.search`."""
        store = self._store
        count = min(max(_CANDIDATES_A_HIT * k, _FEWEST_CANDIDATES), len(self))
        asked = self._vectors(store.pack(queries)) if self._has_bits else queries
        matches = self._index.search(asked, count)
        keys = np.atleast_2d(matches.keys).astype(np.int64)
        # usearch may find fewer than it is asked for, such as in a graph that fell apart.
        counts = getattr(matches, "counts", [len(matches)])
        if min(counts) < min(k, len(self)):
            return store.search(queries, k)
        return store.best_of(queries, keys[:, : min(counts)], k)

    def write(self, path: Path) -> None:
        """Writes a file."""
        self._index.save(str(path))

    def read(self, path: Path) -> None:
        """Reads the file that `write` wrote.

        Raises:
            CheckpointError: It is damaged, or of other vectors than the store's.
        """
        with reading(path, "a graph of usearch"):
            self._index.load(str(path))
        if (len(self), self._index.ndim) != (len(self._store), self._width):
            raise CheckpointError(
                f"{path}: expected a graph over {len(self._store)} vectors of width {self._width}, "
                f"got one over {len(self)} of width {self._index.ndim}"
            )

    def _vectors(self, arrays: Arrays) -> np.ndarray:
        return arrays["bits"].view(np.uint8) if self._has_bits else self._store.unpack(arrays)


def require_usearch() -> Any:
    """Imports usearch's `index`.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        from usearch import index
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"approximate search needs the module {error.name!r}: "
            "pip install 'spanbert-tf[search]'",
            name=error.name,
        ) from error
    return index
