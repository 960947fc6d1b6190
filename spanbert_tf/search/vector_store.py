"""Vectors of length 1 in memory or in files, and the exact search among them.

Letters: n vectors, d width, w words of 64 bits, q queries, m rows of a block, c candidates, k hits.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from spanbert_tf.foreign_files import CheckpointError, reading
from spanbert_tf.search.top_scores import TopScores

# Scores of a block that are kept at a time, which bounds memory: 16 MB.
_SCORES = 2**22
_QUERIES = 256
# Of each hit so many candidates by their bits are scored anew: in between lie few that would be
# among the hits.
_CANDIDATES_A_HIT, _FEWEST_CANDIDATES = 8, 64
_BITS_A_WORD = 64
_COUNTS = np.array([number.bit_count() for number in range(2**16)], np.uint8)

Arrays = dict[str, np.ndarray]


class VectorStore:
    """Vectors of length 1 as float32, a form that subclasses make smaller.

    Arrays of `n` rows, by name, are all that it holds: in memory, or mapped from files, so that
    only what is read takes memory.

    Args:
        width: Numbers in a vector.
    """

    kind: ClassVar[str] = "float32"
    most_rows = 2**16  # Of a block, which need not fit into a cache: each is read but once.

    def __init__(self, width: int) -> None:
        self.width = width
        self._chunks: list[Arrays] = []

    def arrays(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """The dtype of each array, and the shape of its rows."""
        return {"float32": (np.float32, (self.width,))}

    def pack(self, vectors: np.ndarray) -> Arrays:
        """Makes arrays of vectors, float32 `[n, d]`, of length 1."""
        return {"float32": vectors}

    def unpack(self, arrays: Arrays) -> np.ndarray:
        """The vectors again, float32 `[n, d]`, near to what they were."""
        return arrays["float32"]

    def candidates(self, k: int) -> int:
        """How many rows the first pass chooses, of which `k` have the highest scores."""
        return k

    def prepared(self, queries: np.ndarray) -> Any:
        """What `block_scores` takes for queries, float32 `[q, d]`."""
        return queries

    def block_scores(self, queries: Any, arrays: Arrays) -> np.ndarray:
        """Scores of the first pass, float32 `[q, m]`; the higher, the nearer."""
        return queries @ arrays["float32"].T

    def append(self, arrays: Arrays) -> None:
        """Adds rows that `pack` made."""
        self._chunks.append(arrays)
        # Few chunks, however small the additions are, and each row is copied but few times.
        while len(self._chunks) > 1 and 2 * _rows(self._chunks[-1]) > _rows(self._chunks[-2]):
            last, before = self._chunks.pop(), self._chunks.pop()
            self._chunks.append({name: np.concatenate([before[name], last[name]]) for name in last})

    def __len__(self) -> int:
        return sum(map(_rows, self._chunks))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for chunk in self._chunks for array in chunk.values())

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the nearest of all vectors, equally near ones in the order of their rows.

        Args:
            queries: float32 `[q, d]`, of length 1.
            k: How many for each.

        Returns:
            Scores, float32 `[q, k]`, the highest first, and rows, int64 `[q, k]`; fewer columns
            where there are fewer vectors.
        """
        found = [
            self._search(queries[begin : begin + _QUERIES], min(k, len(self)))
            for begin in range(0, len(queries), _QUERIES)
        ]
        if not found:
            return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
        scores, rows = zip(*found, strict=True)
        return np.concatenate(scores), np.concatenate(rows)

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        candidates = min(self.candidates(k), len(self))
        best = TopScores(len(queries), candidates)
        prepared = self.prepared(queries)
        for begin, arrays in self.blocks(min(self.most_rows, max(_SCORES // len(queries), 1024))):
            best.update(self.block_scores(prepared, arrays), begin)
        if self.candidates(k) == k:
            return best.scores, best.rows
        return self.best_of(queries, best.rows, k)

    def best_of(
        self, queries: np.ndarray, candidates: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the nearest of some rows for each query; see `search`.

        Args:
            queries: float32 `[q, d]`, of length 1.
            candidates: int64 `[q, c]`, rows.
            k: How many for each, at most `c`.
        """
        rows = np.sort(candidates, axis=1)  # Then the order of rows decides between equals.
        pairs = zip(queries, rows, strict=True)
        scores = np.stack([self.vectors(of) @ query for query, of in pairs])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of some rows, float32 `[rows, d]`, near to what was added."""
        out = np.empty((len(rows), self.width), np.float32)
        begin = 0
        for chunk in self._chunks:
            end = begin + _rows(chunk)
            here = (rows >= begin) & (rows < end)
            out[here] = self.unpack({n: of[rows[here] - begin] for n, of in chunk.items()})
            begin = end
        return out

    def blocks(self, size: int) -> Iterator[tuple[int, Arrays]]:
        """Yields the number of a block's first row, and its arrays, of `size` rows at most."""
        first = 0
        for chunk in self._chunks:
            for begin in range(0, _rows(chunk), size):
                yield first + begin, {n: of[begin : begin + size] for n, of in chunk.items()}
            first += _rows(chunk)

    def write(self, folder: Path, prefix: str) -> list[str]:
        """Writes a file for each array, and gives their names."""
        names = []
        for name, (dtype, shape) in self.arrays().items():
            names.append(f"{prefix}{name}.npy")
            descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
            header = {"descr": descr, "fortran_order": False, "shape": (len(self), *shape)}
            # Not by a map: a disk that is full would end the process at a page, without an error.
            with (folder / names[-1]).open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for _, block in self.blocks(2**16):
                    file.write(np.ascontiguousarray(block[name], dtype).data)
        return names

    def read(self, folder: Path, prefix: str, count: int) -> None:
        """Maps the files that `write` wrote.

        Raises:
            CheckpointError: A file is damaged, or not of `count` vectors of this width.
        """
        chunk = {}
        for name, (dtype, shape) in self.arrays().items():
            path = folder / f"{prefix}{name}.npy"
            with reading(path, "an array of NumPy"):
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            expected = (count, *shape)
            if array.dtype != dtype or array.shape != expected:
                raise CheckpointError(
                    f"{path}: expected {np.dtype(dtype)} of shape {expected}, got {array.dtype} of "
                    f"shape {array.shape}"
                )
            chunk[name] = np.asarray(array)  # A plain view of the map: slices cost less.
        self._chunks = [chunk]


class Int8Store(VectorStore):
    """Vectors as int8, rounded, with a scale each by which they are of length 1 again."""

    kind = "int8"

    def __init__(self, width: int) -> None:
        super().__init__(width)
        # A block's float32 form stays in the cache.
        self.most_rows = max(2**19 // width, 256)

    def arrays(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """The dtype of each array, and the shape of its rows."""
        return {"int8": (np.int8, (self.width,)), "scales": (np.float32, ())}

    def pack(self, vectors: np.ndarray) -> Arrays:
        """Rounds to 127 steps of the largest number."""
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        numbers = np.rint(vectors * (127 / largest))
        scales = 1 / np.linalg.norm(numbers, axis=1)
        return {"int8": numbers.astype(np.int8), "scales": scales.astype(np.float32)}

    def unpack(self, arrays: Arrays) -> np.ndarray:
        """The rounded vectors."""
        return arrays["int8"].astype(np.float32) * arrays["scales"][:, None]

    def block_scores(self, queries: Any, arrays: Arrays) -> np.ndarray:
        """Cosines with the rounded vectors."""
        return queries @ arrays["int8"].astype(np.float32).T * arrays["scales"]


class BitStore(VectorStore):
    """The signs of vectors, a bit a number.

    Candidates are those of whose signs the fewest differ from the query's.  Their scores are
    products of the query's own numbers with their signs, about 0.8 times the cosine.
    """

    kind = "bits"
    most_rows = 2**14

    @property
    def words(self) -> int:
        """Words of 64 bits in a vector."""
        return -(-self.width // _BITS_A_WORD)

    def arrays(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """The dtype of each array, and the shape of its rows."""
        return {"bits": (np.uint64, (self.words,))}

    def pack(self, vectors: np.ndarray) -> Arrays:
        """Takes the signs: 1 is positive."""
        packed = np.zeros((len(vectors), self.words * 8), np.uint8)
        bits = np.packbits(vectors > 0, axis=1)
        packed[:, : bits.shape[1]] = bits
        return {"bits": packed.view(np.uint64)}

    def unpack(self, arrays: Arrays) -> np.ndarray:
        """Signs, of length 1 together."""
        packed = np.ascontiguousarray(arrays["bits"]).view(np.uint8)
        signs = np.unpackbits(packed, axis=1, count=self.width).astype(np.float32)
        return (2 * signs - 1) / np.float32(np.sqrt(self.width))

    def candidates(self, k: int) -> int:
        """Far more than `k`, as bits alone are a rough measure."""
        return max(_CANDIDATES_A_HIT * k, _FEWEST_CANDIDATES)

    def prepared(self, queries: np.ndarray) -> Any:
        """Signs of the queries, uint64 `[q, w, 1]`."""
        return self.pack(queries)["bits"][:, :, None]

    def block_scores(self, queries: Any, arrays: Arrays) -> np.ndarray:
        """Minus the number of signs that differ."""
        words = np.ascontiguousarray(arrays["bits"].T)  # [w, m]: sums over w are of whole rows.
        scores = np.empty((len(queries), words.shape[1]), np.float32)
        for row, query in zip(scores, queries, strict=True):
            differing = np.zeros(words.shape[1], np.uint16)
            for counts in count_bits(words ^ query):
                differing += counts
            np.negative(differing, out=row, dtype=np.float32)
        return scores


class BitsAndFloatsStore(BitStore):
    """Signs to choose candidates by, and float32 vectors for the scores of these."""

    kind = "bits+float32"

    def arrays(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """The dtype of each array, and the shape of its rows."""
        return {**super().arrays(), "float32": (np.float32, (self.width,))}

    def pack(self, vectors: np.ndarray) -> Arrays:
        """Takes the signs, and the vectors as they are."""
        return {**super().pack(vectors), "float32": vectors}

    def unpack(self, arrays: Arrays) -> np.ndarray:
        """The vectors as they were."""
        return arrays["float32"]


# By the names that `settings.VECTORS` lists.
STORES: dict[str, type[VectorStore]] = {
    store.kind: store for store in (VectorStore, Int8Store, BitStore, BitsAndFloatsStore)
}


def count_bits(words: np.ndarray) -> np.ndarray:
    """How many bits of each word are 1: uint8, of the same shape."""
    if hasattr(np, "bitwise_count"):  # NumPy 2.
        return np.bitwise_count(words)
    quarters = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 4)
    return _COUNTS[quarters].sum(axis=-1, dtype=np.uint8)


def _rows(chunk: Arrays) -> int:
    return len(next(iter(chunk.values())))
