"""One layer of the encoder: self-attention and a feed-forward network, post-norm as in BERT.

Letters: b batch, s sequence, p positions, H hidden, I intermediate.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.attention import MultiHeadSelfAttention, Shape
from spanbert_tf.layers.elementwise import Dropout, LayerNormalization, exact_gelu
from spanbert_tf.layers.gathering import take_positions


@keras.saving.register_keras_serializable("spanbert_tf")
class TransformerLayer(keras.layers.Layer):
    """A post-norm transformer encoder layer (Devlin et al., 2019).

    Args:
        num_heads: Number of attention heads; divides the hidden width.
        intermediate_dim: Width of the feed-forward network's inner layer.
        dropout: Rate of dropout on attention probabilities and on both sublayers' outputs.
        kernel_initializer: Initializer of the kernels.

    Call arguments:
        x: float `[b, s, H]`.
        bias: float32 `[b, 1, 1, s]`, see `spanbert_tf.layers.attention.attention_bias`.
        positions: int `[b, p]`, the positions whose output is wanted.  `None`: all of them.
        training: Whether dropout is active.

    Returns:
        float `[b, s, H]`; with `positions` `[b, p, H]`, those rows of it, at little more than
        their part of the cost.
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        hidden_dim = input_shape[-1]
        self.hidden_dim = hidden_dim
        initializer = keras.initializers.serialize(self.kernel_initializer)
        dtype = self.dtype_policy
        self.attention = MultiHeadSelfAttention(
            self.num_heads, self.dropout, initializer, dtype=dtype, name="attention"
        )
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
        }
