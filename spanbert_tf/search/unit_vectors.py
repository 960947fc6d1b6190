"""Texts to vectors of length 1, by whatever encodes them; products of such are cosines.

Letters: n texts, d width.
"""

import os
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from spanbert_tf.handles import Handle


@runtime_checkable
class Embedder(Protocol):
    """What makes vectors of texts: a `LiteRTEncoder`, for one."""

    def encode_text(self, texts: Any) -> Any:
        """Encodes a list of `n` strings: numbers `[n, d]`."""


AnyEmbedder = Embedder | str | os.PathLike[str] | Handle


def as_embedder(embedder: AnyEmbedder) -> Embedder:
    """The embedder itself, or the one behind a handle; see `load_embedder`.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(embedder, Embedder):
        return embedder
    if not isinstance(embedder, str | os.PathLike | Handle):
        raise TypeError(
            "`embedder` must have a method `encode_text`, or be the handle of a model, but is "
            f"{embedder!r:.80}."
        )
    from spanbert_tf.export.task_loading import load_embedder

    loaded: Any = load_embedder(embedder)  # A task takes its methods on when it is loaded.
    return loaded


def encode(embedder: Embedder, texts: Sequence[str]) -> np.ndarray:
    """Encodes texts: float32 `[n, d]`, each of length 1.

    Raises:
        ValueError: The embedder does not give a vector for each text, or one is NaN, infinite
            or 0.
    """
    vectors = np.asarray(embedder.encode_text(list(texts)))
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ValueError(
            f"expected a vector for each of {len(texts)} texts, but `encode_text` gave an array of "
            f"shape {vectors.shape}."
        )
    return normalize(vectors, "text")


def normalize(vectors: Any, what: str = "row") -> np.ndarray:
    """Scales vectors to length 1: float32 `[n, d]`.

    Unlike `metrics.similarity.unit_rows` it refuses what has no direction: in an index that would
    be near to nothing, and NaN would spoil the order.

    Args:
        vectors: Numbers `[n, d]`.
        what: What messages call the thing that a vector is of.

    Raises:
        ValueError: They are no such array, or a vector is NaN, infinite or 0.
    """
    exact = np.asarray(vectors, np.float64)
    if exact.ndim != 2:
        raise ValueError(f"expected vectors as an array [n, d], got the shape {exact.shape}.")
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    # Of what is not finite the length is not, either.
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        is_zero = lengths[bad[0], 0] == 0
        raise ValueError(
            f"the vector of {what} {bad[0]} {'is 0 and' if is_zero else 'is NaN or infinite: it'} "
            "has no direction to compare."
        )
    return (exact / lengths).astype(np.float32)
