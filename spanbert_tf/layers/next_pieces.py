"""Which piece may come next in a text, and how it is drawn.

Letters: b batch, k texts that are followed for a row, t places of a text, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from spanbert_tf.layers.masking.random_bits import threefry_2x32, unsigned
from spanbert_tf.setting_fields import (
    ABOVE_0,
    NOT_BELOW_0,
    PART_ABOVE_0,
    Settings,
    at_least,
    below,
    setting,
)

# Log probability of what cannot be.  Sums of it stay finite.
NEVER = -1e9


@dataclass(frozen=True)
class BeamSearch(Settings):
    """How the likeliest text is searched."""

    num_beams: int = setting(
        1,
        int,
        "texts that are followed at a time, or drawn; 1: piece by piece the best",
        at_least(1),
    )
    length_penalty: float = setting(
        0.6, float, "how much longer texts are favoured among the found ones", NOT_BELOW_0
    )
    no_repeat_ngram: int = setting(
        0, int, "no so many pieces in a row come twice in a text; 0: they may", NOT_BELOW_0
    )
    min_length: int = setting(0, int, "fewest pieces of a text", NOT_BELOW_0)


@dataclass(frozen=True)
class Search(BeamSearch):
    """How texts are searched, or drawn if one of `temperature`, `top_k` and `top_p` is given.

    A text's score is its log probability over `((5 + n) / 6) ** length_penalty`, n being the number
    of its pieces, the end among them (Wu et al., 2016).

    Raises:
        ValueError: A setting is out of its range; more answers than beams are wanted, or a text
            shall have more pieces than it may.
    """

    max_length: int | None = setting(
        None,
        int,
        "most pieces of a text, its end among them; None: as many as there are places",
        at_least(1),
    )
    temperature: float | None = setting(
        None, float, "draw texts, by logits over this: above 1 they differ more", ABOVE_0
    )
    top_k: int | None = setting(
        None, int, "draw texts, each piece of so many, the likeliest", at_least(1)
    )
    top_p: float | None = setting(
        None,
        float,
        "draw texts, each piece of the fewest that have this probability together",
        PART_ABOVE_0,
    )
    seed: int = setting(
        0,
        int,
        "seed of texts that are drawn: the same for a text, the same answer",
        below(2**31, "2 ** 31"),
    )
    num_answers: int = setting(1, int, "answers for each text, the best first", at_least(1))

    def __post_init__(self) -> None:
        super().__post_init__()
        for small, large in (("num_answers", "num_beams"), ("min_length", "max_length")):
            least, most = getattr(self, small), getattr(self, large)
            if most is not None and least > most:
                raise ValueError(f"`{small}` must be at most `{large}`, {most}, but is {least}.")

    @property
    def draws(self) -> bool:
        """Whether texts are drawn."""
        return any(of is not None for of in (self.temperature, self.top_k, self.top_p))


def best_pieces(scores: Any) -> Any:
    """The piece of the highest score, int32 `[b, k]`."""
    # Keras' `argmax` passes over its input several times.
    return ops.cast(ops.top_k(scores, 1)[1][..., 0], "int32")


def repeated_pieces(ids: Any, place: Any, size: int, vocabulary_size: int) -> Any:
    """Which next pieces would make a text have as many pieces in a row twice.

    Args:
        ids: int32 `[b, k, t]`, texts up to a place.
        place: int scalar, the place of the next piece.
        size: How many pieces in a row.
        vocabulary_size: V.

    Returns:
        bool `[b, k, V]`.

    Example:
        After `5 6 7 5`, 6 would repeat `5 6`.
    """
    batch, k, length = ops.shape(ids)
    count = max(length - size + 1, 0)
    starts = np.arange(count)
    is_same = ops.broadcast_to(starts + size - 1 < place, (batch, k, count))
    for offset in range(size - 1):
        at = ops.maximum(place - (size - 1) + offset, 0)
        own = ops.take(ids, at, axis=2)
        is_same = ops.logical_and(is_same, ids[..., offset : offset + count] == own[..., None])
    after = ids[..., size - 1 :]
    # A text that has ended has places without a piece.
    after = ops.where(ops.logical_and(is_same, after >= 0), after, vocabulary_size)
    rows = ops.arange(batch * k, dtype="int32")[:, None] + ops.zeros((1, count), "int32")
    places = ops.stack([ops.reshape(rows, (-1,)), ops.reshape(after, (-1,))], axis=1)
    counts = ops.scatter(places, ops.ones_like(places[:, 0]), (batch * k, vocabulary_size + 1))
    return ops.reshape(counts[:, :vocabulary_size] > 0, (batch, k, vocabulary_size))


def drawn_pieces(scores: Any, place: Any, keys: Any, search: Search) -> Any:
    """Draws pieces by their probabilities: a pure function of key, seed, beam and place.

    Args:
        scores: Log probabilities, float32 `[b, k, V]`; they need not sum to 1.
        place: int scalar.
        keys: int32 `[b]`.
        search: Temperature, `top_k` (Fan et al., 2018), `top_p` (Holtzman et al., 2020), seed.

    Returns:
        int32 `[b, k]`.
    """
    _, k, size = scores.shape
    scores = scores / (search.temperature or 1.0)
    if search.top_k is not None:
        least = ops.top_k(scores, min(search.top_k, size))[0][..., -1:]
        scores = ops.where(scores < least, NEVER, scores)
    if search.top_p is not None:
        ordered = ops.top_k(scores, size)[0]
        shares = ops.softmax(ordered, axis=-1)
        is_needed = ops.cumsum(shares, axis=-1) - shares < search.top_p
        least = ops.min(ops.where(is_needed, ordered, ordered[..., :1]), axis=-1, keepdims=True)
        scores = ops.where(scores < least, NEVER, scores)
    # The Gumbel-max trick: the highest of scores and such noise is drawn by its probability.
    texts = ops.cast(place, "int32") * k + np.arange(k, dtype="int32")[:, None]
    key = (keys[:, None, None], ops.convert_to_tensor(search.seed, "int32"))
    words, _ = threefry_2x32(key, (np.arange(size, dtype="int32"), texts))
    share = (ops.cast(unsigned(words, 24), "float32") + 0.5) * 2.0**-24
    return best_pieces(scores - ops.log(-ops.log(share)))
