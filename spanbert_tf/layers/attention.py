"""Multi-head self-attention.

Letters: b batch, s sequence, p positions, h heads, d width of a head, H hidden (= h * d).
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from spanbert_tf.layers.kernels.elementwise import Dropout
from spanbert_tf.layers.kernels.gathering import take_positions
from spanbert_tf.layers.kernels.onednn import softmax_sums_in_float32
from spanbert_tf.layers.kernels.products import matmul_transposed

Shape = tuple[int | None, ...]

# Half of float32's lowest value: added to a score it stays finite, so that a row which is all
# padding averages evenly instead of becoming NaN.
MASKED_SCORE = float(np.finfo("float32").min) / 2


def attention_bias(padding_mask: Any) -> Any:
    """Turns a padding mask into what is added to attention scores, once for all layers.

    Args:
        padding_mask: int or bool `[b, s]`, true at a token.

    Returns:
        float32 `[b, 1, 1, s]`: 0 at a token, `MASKED_SCORE` at padding.

    Example:
        `[[1, 1, 0]]` gives `[[[[0.0, 0.0, MASKED_SCORE]]]]`.
    """
    return seen_bias(ops.cast(ops.expand_dims(padding_mask, (1, 2)), "bool"))


def packed_attention_bias(position_ids: Any) -> Any:
    """Makes what is added to attention scores for rows of blocks that do not see each other.

    Args:
        position_ids: int `[b, s]`, a token's place in its block, which begins at each 0.

    Returns:
        float32 `[b, 1, s, s]`: 0 within a block, `MASKED_SCORE` elsewhere.  Padding has the
        place 0 throughout: each sees itself alone, and nothing sees it.

    Example:
        `[[0, 1, 0]]` gives `[[[[0.0, 0.0, m], [0.0, 0.0, m], [m, m, 0.0]]]]`, m being
        `MASKED_SCORE`.
    """
    block = ops.cumsum(ops.cast(ops.equal(position_ids, 0), "int32"), axis=1)
    return seen_bias(ops.equal(block[:, None, :, None], block[:, None, None, :]))


def causal_attention_bias(length: Any) -> Any:
    """Makes what is added to attention scores so that no position sees a later one.

    Args:
        length: Positions s, an int or an int32 scalar.

    Returns:
        float32 `[1, 1, s, s]`: 0 at what a position sees, itself among it, else `MASKED_SCORE`.

    Example:
        2 gives `[[[[0.0, m], [0.0, 0.0]]]]`, m being `MASKED_SCORE`.
    """
    places = ops.arange(length, dtype="int32")
    return seen_bias(places[None, None, :, None] >= places)


def finite_bias(bias: Any, dtype: str) -> Any:
    """The bias in the scores' dtype.

    Under mixed float16 Keras casts it on its way into a layer, to minus infinity.
    """
    return ops.maximum(ops.cast(bias, dtype), MASKED_SCORE)


def seen_bias(is_seen: Any) -> Any:
    """What is added to attention scores of what is seen and of what is not, float32, of bools."""
    return ops.where(is_seen, ops.zeros((), "float32"), ops.full((), MASKED_SCORE, "float32"))


class AttentionHeads(keras.layers.Layer):
    """What all kinds of multi-head attention share: the products, and what heads make of them.

    Args:
        num_heads: Number of heads; divides the hidden width.
        dropout: Rate of dropout on the attention probabilities.
        kernel_initializer: Initializer of the kernels.
    """

    def __init__(
        self,
        num_heads: int,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build_heads(self, input_shape: Shape) -> None:
        """Sets the widths."""
        hidden_dim: Any = input_shape[-1]  # The only axis whose size is known for sure.
        if hidden_dim % self.num_heads:
            raise ValueError(
                f"hidden_dim must be a multiple of num_heads; "
                f"received hidden_dim={hidden_dim}, num_heads={self.num_heads}"
            )
        self.hidden_dim = hidden_dim
        self.head_dim = hidden_dim // self.num_heads

    def build_output(self) -> None:
        """Makes what follows the products of the inputs."""
        self.output_dense = self.make_product(1, "output_dense")
        self.probability_dropout = Dropout(
            self.dropout, dtype=self.dtype_policy, name="probability_dropout"
        )

    def make_product(self, parts: int, name: str) -> keras.layers.Dense:
        """Makes a product that gives so many times H numbers of each H."""
        # Serialised, as one initializer object would give every kernel the same values.
        initializer = keras.initializers.serialize(self.kernel_initializer)
        dense = keras.layers.Dense(
            parts * self.hidden_dim,
            kernel_initializer=keras.initializers.get(initializer),
            dtype=self.dtype_policy,
            name=name,
        )
        # Rank 2: a product over flat tokens is one kernel call, with its bias fused in graph mode.
        dense.build((None, self.hidden_dim))
        return dense

    def attend(self, query: Any, key: Any, value: Any, bias: Any, training: bool | None) -> Any:
        """Queries `[b, h, p, d]`, keys and values `[b, h, s, d]` give `[b, p, h, d]`."""
        query = query * ops.cast(self.head_dim**-0.5, query.dtype)
        scores = matmul_transposed(query, key)  # [b, h, p, s]
        probabilities = self.probabilities(scores, bias, training)
        return ops.transpose(ops.matmul(probabilities, value), (0, 2, 1, 3))

    def probabilities(self, scores: Any, bias: Any, training: bool | None) -> Any:
        """Scores `[b, h, p, s]` to what is taken of each value, of their dtype."""
        dtype = scores.dtype
        if scores.shape[-1] == 1:  # Keras warns of a softmax over one.
            return self.probability_dropout(ops.ones_like(scores), training=training)
        if training or not softmax_sums_in_float32(dtype):
            scores = ops.cast(scores, keras.backend.result_type(dtype, "float32"))
        probabilities = ops.softmax(scores + finite_bias(bias, scores.dtype), axis=-1)
        return self.probability_dropout(ops.cast(probabilities, dtype), training=training)

    def split_heads(self, x: Any, shape: tuple[Any, Any], parts: int) -> Any:
        """Parts `[b * s, parts * H]` into tensors `[b, h, s, d]`, `shape` being b and s."""
        x = ops.reshape(x, (*shape, parts, self.num_heads, self.head_dim))
        return ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), parts)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("spanbert_tf")
class MultiHeadSelfAttention(AttentionHeads):
    """Scaled dot-product self-attention over dense scores (Vaswani et al., 2017).

    Query, key and value come from one matrix product.  Softmax sums in float32 at least, whatever
    the compute dtype.

    Args:
        num_heads: Number of heads; divides the hidden width.
        dropout: Rate of dropout on the attention probabilities.
        kernel_initializer: Initializer of both kernels.

    Call arguments:
        x: float `[b, s, H]`.
        bias: float32 `[b, 1, 1, s]` (or anything that broadcasts to `[b, h, s or p, s]`), see
            `attention_bias`.
        positions: int `[b, p]`, the positions that attend.  `None`: all of them.
        training: Whether dropout is active.

    Returns:
        float `[b, s, H]`; with `positions` `[b, p, H]`, those rows of it.

    Raises:
        ValueError: The hidden width is not a multiple of `num_heads`.
    """

    def build(self, input_shape: Shape) -> None:
        self.build_heads(input_shape)
        self.qkv_dense = self.make_product(3, "qkv_dense")
        self.build_output()

    def call(self, x: Any, bias: Any, positions: Any = None, training: bool | None = None) -> Any:
        batch, length = ops.shape(x)[:2]
        qkv = self.qkv_dense(ops.reshape(x, (-1, self.hidden_dim)))
        mixed = self.mix_values(qkv, (batch, length), bias, positions, training)
        if positions is not None:
            length = ops.shape(positions)[1]
        mixed = self.output_dense(ops.reshape(mixed, (-1, self.hidden_dim)))
        return ops.reshape(mixed, (batch, length, self.hidden_dim))

    def mix_values(
        self,
        qkv: Any,
        shape: tuple[Any, Any],
        bias: Any,
        positions: Any,
        training: bool | None,
    ) -> Any:
        """Mixes values by the attention that their tokens are given: what kinds of it differ in.

        Args:
            qkv: float `[b * s, 3 * H]`.
            shape: b and s.
            bias: See the class.
            positions: See the class.
            training: See the class.

        Returns:
            float `[b, s or p, h, d]`, or its last two axes in one.
        """
        batch, length = shape
        if positions is None:
            query, key, value = self.split_heads(qkv, shape, 3)
        else:
            attending, seen = ops.split(qkv, [self.hidden_dim], axis=-1)
            attending = ops.reshape(attending, (batch, length, self.hidden_dim))
            key, value = self.split_heads(seen, shape, 2)
            shape = (batch, ops.shape(positions)[1])
            (query,) = self.split_heads(take_positions(attending, positions), shape, 1)
        return self.attend(query, key, value, bias, training)

    def compute_output_shape(
        self, x_shape: Shape, bias_shape: Shape, positions_shape: Shape | None = None
    ) -> Shape:
        return x_shape if positions_shape is None else (*positions_shape, x_shape[-1])
