"""One layer of the encoder: self-attention and a feed-forward network, post-norm as in BERT.

Letters: b batch, s sequence, p positions, H hidden, I intermediate.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.attention import MultiHeadSelfAttention, Shape
from spanbert_tf.layers.bucketed_attention import BucketedSelfAttention, check_blocks
from spanbert_tf.layers.kernels.elementwise import Dropout, LayerNormalization, exact_gelu
from spanbert_tf.layers.kernels.gathering import take_positions
from spanbert_tf.settings import ATTENTIONS


@keras.saving.register_keras_serializable("spanbert_tf")
class TransformerLayer(keras.layers.Layer):
    """A post-norm transformer encoder layer (Devlin et al., 2019).

    Args:
        num_heads: Number of attention heads; divides the hidden width.
        intermediate_dim: Width of the feed-forward network's inner layer.
        dropout: Rate of dropout on attention probabilities and on both sublayers' outputs.
        kernel_initializer: Initializer of the kernels.
        attention: `"dense"`, or `"bucketed"` for long texts: see `BucketedSelfAttention`.  The
            weights are the same.
        block_size: Tokens in a block of bucketed attention.
        neighbors: Blocks that a token sees on each side of its own, 0 or 1.
        global_first_token: Whether the first token sees all tokens and all see it.

    Call arguments:
        x: float `[b, s, H]`.
        bias: float32 `[b, 1, 1, s]`, see `spanbert_tf.layers.attention.attention_bias`.
        positions: int `[b, p]`, the positions whose output is wanted.  `None`: all of them.
        training: Whether dropout is active.

    Returns:
        float `[b, s, H]`; with `positions` `[b, p, H]`, those rows of it, at little more than
        their part of the cost.

    Raises:
        ValueError: An unknown `attention`; `block_size` or `neighbors` out of range.
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        attention: str = "dense",
        block_size: int = 64,
        neighbors: int = 1,
        global_first_token: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {ATTENTIONS}; received {attention!r}")
        check_blocks(block_size, neighbors)
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.attention_kind = attention
        self.block_size = block_size
        self.neighbors = neighbors
        self.global_first_token = global_first_token

    def build(self, input_shape: Shape) -> None:
        hidden_dim = input_shape[-1]
        self.hidden_dim = hidden_dim
        initializer = keras.initializers.serialize(self.kernel_initializer)
        dtype = self.dtype_policy
        self.attention = self._make_attention(initializer)
        self.attention_layer_norm = LayerNormalization(dtype=dtype, name="attention_layer_norm")
        self.intermediate_dense = keras.layers.Dense(
            self.intermediate_dim,
            kernel_initializer=keras.initializers.get(initializer),
            dtype=dtype,
            name="intermediate_dense",
        )
        self.output_dense = keras.layers.Dense(
            hidden_dim,
            kernel_initializer=keras.initializers.get(initializer),
            dtype=dtype,
            name="output_dense",
        )
        self.output_layer_norm = LayerNormalization(dtype=dtype, name="output_layer_norm")
        self.hidden_dropout = Dropout(self.dropout, dtype=dtype, name="hidden_dropout")

        self.attention.build(input_shape)
        self.attention_layer_norm.build((None, hidden_dim))
        self.intermediate_dense.build((None, hidden_dim))
        self.output_dense.build((None, self.intermediate_dim))
        self.output_layer_norm.build((None, hidden_dim))

    def _make_attention(self, initializer: Any) -> MultiHeadSelfAttention:
        common = {"dtype": self.dtype_policy, "name": "attention"}
        if self.attention_kind == "dense":
            return MultiHeadSelfAttention(self.num_heads, self.dropout, initializer, **common)
        return BucketedSelfAttention(
            self.num_heads,
            self.dropout,
            initializer,
            block_size=self.block_size,
            neighbors=self.neighbors,
            global_first_token=self.global_first_token,
            **common,
        )

    def call(self, x: Any, bias: Any, positions: Any = None, training: bool | None = None) -> Any:
        attended = self.attention(x, bias, positions, training=training)
        if positions is not None:
            x = take_positions(x, positions)
        length = ops.shape(x)[1]
        # From here on tokens do not see each other: flat [b * s, H] keeps the products at rank 2.
        x = ops.reshape(x, (-1, self.hidden_dim))
        attended = ops.reshape(attended, (-1, self.hidden_dim))
        attended = self.hidden_dropout(attended, training=training)
        x = self.attention_layer_norm(x + attended, training=training)
        y = exact_gelu(self.intermediate_dense(x), training=training)
        y = self.hidden_dropout(self.output_dense(y), training=training)
        x = self.output_layer_norm(x + y, training=training)
        return ops.reshape(x, (-1, length, self.hidden_dim))

    def compute_output_shape(
        self, x_shape: Shape, bias_shape: Shape, positions_shape: Shape | None = None
    ) -> Shape:
        return x_shape if positions_shape is None else (*positions_shape, x_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "attention": self.attention_kind,
            "block_size": self.block_size,
            "neighbors": self.neighbors,
            "global_first_token": self.global_first_token,
        }
