"""An embedder without a network: a text's vector is the sum of its words' random vectors."""

import zlib
from collections.abc import Sequence

import numpy as np


class WordVectors:
    """Texts that share words are near to one another.

    Args:
        width: Numbers in a vector.
        seed: Embedders of different seeds have nothing in common.
    """

    def __init__(self, width: int = 40, seed: int = 0) -> None:
        self.width = width
        self.seed = seed
        self.calls = 0

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        assert isinstance(texts, list)
        self.calls += 1
        return np.stack([self._vector(text) for text in texts]).astype(np.float32)

    def _vector(self, text: str) -> np.ndarray:
        words = text.lower().replace(".", " ").split()
        seeds = [(self.seed, zlib.crc32(word.encode("utf-8", "replace"))) for word in ["", *words]]
        draws = [np.random.default_rng(seed).standard_normal(self.width) for seed in seeds]
        return 0.1 * draws[0] + 3 * sum(draws[1:], np.zeros(self.width))


class Constant:
    """Gives the same array whatever the texts, for what an encoder should not give."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return self.array


def clustered_vectors(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Vectors as those of texts lie, near to some others: float32 `[count, width]`, length 1."""
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((count // 20 + 1, width))
    noise = generator.standard_normal((count, width))
    vectors = centers[generator.integers(len(centers), size=count)] + 0.5 * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
