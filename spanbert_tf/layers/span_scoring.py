"""Scores of spans, in a band beside each first token: memory is linear in the length.

Letters: b batch, s sequence, H hidden, l longest span, w width of a band, k spans of a row or rows
of a block, n blocks of a row.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.kernels.elementwise import Dropout, LayerNormalization, exact_gelu
from spanbert_tf.layers.kernels.gathering import take_values

Shape = tuple[int | None, ...]

NEVER = -1e9  # Logit of a token that no span may begin or end with; the sum of two stays finite.
LEAST_BLOCK = 32  # Vectors of a block: smaller products are slow.


def best_spans(
    start_logits: Any, end_logits: Any, max_length: int, num_spans: int
) -> tuple[Any, Any, Any]:
    """Finds each row's spans with the highest sums of a first token's and a last token's logit.

        start_logits [0, 3, 1], end_logits [2, 0, 2], max_length 2, num_spans 2
            -> scores [5, 3], tokens 1 to 2 and 1 to 1

    Ends are looked for in a band beside each start, so that memory is linear in the length:
    `[b, s, l]`, where all pairs would be `[b, s, s]`.

    Args:
        start_logits: float32 `[b, s]`, of being a span's first token; `NEVER` where none begins.
        end_logits: float32 `[b, s]`, of being its last.
        max_length: The most tokens of a span, `l`.
        num_spans: How many are wanted, `k`.

    Returns:
        The sums, float32 `[b, k]`, the highest first and of equals the earliest start, then the
        shortest; and first and last token, int32 `[b, k]` each.  Where a row has fewer spans than
        `k`, the sums of the others are below `NEVER / 2`, and their tokens mean nothing.
    """
    length = ops.shape(start_logits)[1]
    # `expand_dims`, as LiteRT has no slices with new axes.
    sums = ops.expand_dims(start_logits, 2) + banded_values(end_logits, max_length, fill=NEVER)
    flat = ops.reshape(sums, (-1, length * max_length))
    # A short row has fewer spans than are wanted.
    flat = ops.pad(flat, ((0, 0), (0, num_spans)), constant_values=2 * NEVER)
    scores, places = ops.top_k(flat, num_spans)
    places = ops.cast(places, "int32")
    firsts = places // max_length
    return scores, firsts, firsts + places % max_length


def banded_products(left: Any, right: Any, width: int, first: int = 0) -> Any:
    """Multiplies each vector with those of a band beside it, `left[i] . right[i + first + d]`.

        left [1, 2, 3], right [1, 10, 100], width 2 -> [[1, 10], [20, 200], [300, 0]]

    Blocks of vectors are multiplied with two blocks each, which is twice the arithmetic that the
    band needs, in products of a size that CPUs are fast at.  Of a block's product `[k, 2k]` the
    band begins one column later in each row; with one column more in each row it stands upright.

    Args:
        left: float `[b, s, H]`.
        right: float `[b, s, H]`.
        width: How many products of each vector, `w`.
        first: The place of the first of them: 0, or `-width` for those before it.

    Returns:
        float `[b, s, w]`, 0 where the band is beyond the row.
    """
    batch, length, hidden = ops.shape(left)
    hidden = left.shape[-1]
    k = max(width, LEAST_BLOCK)
    n = (length + k - 1) // k
    left = ops.concatenate([left, ops.zeros((batch, n * k - length, hidden), left.dtype)], axis=1)
    before = ops.zeros((batch, -first, hidden), right.dtype)
    after = ops.zeros((batch, (n + 1) * k - length + first, hidden), right.dtype)
    right = ops.concatenate([before, right, after], axis=1)
    blocks = ops.reshape(right, (batch, n + 1, k, hidden))
    pairs = ops.concatenate([blocks[:, :-1], blocks[:, 1:]], axis=2)
    products = ops.matmul(
        ops.reshape(left, (batch, n, k, hidden)), ops.transpose(pairs, (0, 1, 3, 2))
    )
    flat = ops.reshape(products, (batch, n, 2 * k * k))
    flat = ops.concatenate([flat, ops.zeros((batch, n, k), flat.dtype)], axis=2)
    upright = ops.reshape(flat, (batch, n * k, 2 * k + 1))
    return upright[:, :length, :width]


def banded_values(values: Any, width: int, first: int = 0, fill: Any = 0) -> Any:
    """Lays the values of a band beside each place, `values[i + first + d]`.

        values [5, 6, 7], width 2 -> [[5, 6], [6, 7], [7, 0]]

    Args:
        values: `[b, s]`.
        width: How many, `w`.
        first: See `banded_products`.
        fill: What is beyond the row.

    Returns:
        `[b, s, w]`, of the dtype of the values.
    """
    batch, length = ops.shape(values)
    before = ops.full((batch, -first), fill, values.dtype)
    after = ops.full((batch, width + first), fill, values.dtype)
    places = ops.expand_dims(ops.arange(length), 1) + ops.arange(width)
    return ops.take(ops.concatenate([before, values, after], axis=1), places, axis=1)


def best_candidates(scores: Any, block_size: int, count: int) -> Any:
    """Chooses the spans with the best scores in each block of first tokens.

    Args:
        scores: float `[b, s, l]`, of the spans of 1 to l tokens that begin at each token.
        block_size: Tokens of a block.
        count: Spans of a block.

    Returns:
        The spans' places among `s * l`, int32 `[b, n * count]`, ascending: by the first token, then
        by the length.  A block with fewer spans has other places too, also the last one of all,
        several times; `NEVER` is their score.
    """
    batch, length = ops.shape(scores)[:2]
    width = scores.shape[2]
    n = (length + block_size - 1) // block_size
    beyond = ops.full((batch, (n * block_size - length) * width), 2 * NEVER, scores.dtype)
    flat = ops.concatenate([ops.reshape(scores, (batch, length * width)), beyond], axis=1)
    flat = ops.reshape(flat, (batch, n, block_size * width))
    _, places = ops.top_k(flat, min(count, block_size * width), sorted=False)
    places = ops.sort(ops.cast(places, "int32"), axis=-1)
    first = ops.reshape(ops.arange(n, dtype="int32") * (block_size * width), (1, -1, 1))
    places = ops.reshape(places + first, (batch, -1))
    return ops.minimum(places, length * width - 1)


def span_ends(places: Any, scores: Any) -> tuple[Any, Any]:
    """First and last token of spans, int32 `[b, m]` each.

    Args:
        places: int32 `[b, m]`, as `best_candidates` gives them.
        scores: `[b, s, l]`, what they are places of.
    """
    length, width = ops.shape(scores)[1], scores.shape[2]
    firsts = places // width
    # Not by the remainder, for which LiteRT has no operation.
    return firsts, ops.minimum(firsts + (places - firsts * width), length - 1)


def values_of_spans(places: Any, values: Any) -> Any:
    """What spans have, `[b, m]`.

    Args:
        places: int32 `[b, m]`, as `best_candidates` gives them.
        values: `[b, s, l]`, of all spans.
    """
    return take_values(ops.reshape(values, (ops.shape(values)[0], -1)), places)


def small_values() -> keras.initializers.Initializer:
    """BERT's initializer of kernels."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


@keras.saving.register_keras_serializable("spanbert_tf")
class BoundaryStates(keras.layers.Layer):
    """What begins and what ends at each token: a hidden layer for either.

    Args:
        dropout: Rate of dropout on the result.

    Call arguments:
        states: float `[b, s, H]`.
        training: Whether dropout is active.

    Returns:
        float `[b, s, 2 x H]`, of what begins and then of what ends.
    """

    def __init__(self, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout

    def build(self, states_shape: Shape) -> None:
        width: Any = states_shape[-1]
        self.width = width
        self.dense = keras.layers.Dense(
            2 * self.width,
            kernel_initializer=small_values(),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.layer_norm = LayerNormalization(dtype=self.dtype_policy, name="layer_norm")
        self.output_dropout = Dropout(self.dropout, dtype=self.dtype_policy, name="output_dropout")
        self.dense.build((None, self.width))
        self.layer_norm.build((None, self.width))

    def call(self, states: Any, training: bool | None = None) -> Any:
        length = ops.shape(states)[1]
        x = self.dense(ops.reshape(states, (-1, self.width)))
        x = ops.reshape(exact_gelu(x, training=training), (-1, self.width))
        x = self.output_dropout(self.layer_norm(x, training=training), training=training)
        return ops.reshape(x, (-1, length, 2 * self.width))

    def compute_output_shape(self, states_shape: Shape) -> Shape:
        return (*states_shape[:-1], 2 * self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dropout": self.dropout}


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanScores(keras.layers.Layer):
    """Scores every span of up to l tokens, by its first token, its last one, and both together.

    The last is bilinear in the states of both, as in Dozat and Manning (2017).

    Args:
        max_length: The most tokens of a span, l.
        dropout: Rate of dropout on the boundaries' states.
        prior: Log odds that a span has at the beginning: few of them are what is looked for.

    Call arguments:
        states: float `[b, s, H]`.
        allowed: int or bool `[b, s]`, true at the tokens that spans may begin, and end, with.
        training: Whether dropout is active.

    Returns:
        float32 `[b, s, l]`, of the spans of 1, 2, ... tokens that begin at each token; below
        `NEVER / 2` where `allowed` is false at one of a span's ends.
    """

    def __init__(
        self, max_length: int, dropout: float = 0.0, prior: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_length = max_length
        self.dropout = dropout
        self.prior = prior

    def build(self, states_shape: Shape, allowed_shape: Shape) -> None:
        width: Any = states_shape[-1]
        self.width = width
        dtype = self.dtype_policy
        self.boundaries = BoundaryStates(self.dropout, dtype=dtype, name="boundaries")
        self.boundaries.build(states_shape)
        self.bilinear = keras.layers.Dense(
            self.width,
            use_bias=False,
            kernel_initializer=small_values(),
            dtype=dtype,
            name="bilinear",
        )
        self.first_score = keras.layers.Dense(
            1,
            kernel_initializer=small_values(),
            bias_initializer=keras.initializers.Constant(self.prior),
            dtype=dtype,
            name="first_score",
        )
        self.last_score = keras.layers.Dense(
            1,
            use_bias=False,
            kernel_initializer=small_values(),
            dtype=dtype,
            name="last_score",
        )
        for dense in (self.bilinear, self.first_score, self.last_score):
            dense.build((None, self.width))

    def call(self, states: Any, allowed: Any, training: bool | None = None) -> Any:
        x = self.boundaries(states, training=training)
        first, last = x[..., : self.width], x[..., self.width :]
        scaled = self.bilinear(first) * ops.cast(self.width**-0.5, first.dtype)
        both = ops.cast(banded_products(scaled, last, self.max_length), "float32")
        never = ops.where(ops.cast(allowed, "bool"), 0.0, NEVER)
        firsts, lasts = (
            ops.cast(dense(of)[..., 0], "float32") + never
            for dense, of in ((self.first_score, first), (self.last_score, last))
        )
        return both + ops.expand_dims(firsts, 2) + banded_values(lasts, self.max_length, fill=NEVER)

    def compute_output_spec(self, states: Any, allowed: Any, training: bool | None = None) -> Any:
        return keras.KerasTensor((*states.shape[:-1], self.max_length), "float32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_length": self.max_length,
            "dropout": self.dropout,
            "prior": self.prior,
        }
