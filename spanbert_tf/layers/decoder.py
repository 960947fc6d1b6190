"""One layer of a decoder: causal self-attention, attention to the encoder, a feed-forward network.

It reads a whole text at once where the text is known, as in training, and a piece at a time where
it is being written.  What self-attention has seen is then kept in a cache, and what the encoder's
states give is computed once.

Letters: b batch, t target pieces, s source pieces, k beams of a row, n rows of a cache (= b * k),
h heads, d width of a head, m places of a cache, H hidden.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.attention import AttentionHeads, MultiHeadSelfAttention, Shape, seen_bias
from spanbert_tf.layers.kernels.elementwise import Dropout, LayerNormalization, exact_gelu

# Keys and values, float `[n, h, m, d]` each of a cache, `[b, h, s, d]` of a source.
KeysAndValues = tuple[Any, Any]


@keras.saving.register_keras_serializable("spanbert_tf")
class CachedSelfAttention(MultiHeadSelfAttention):
    """Self-attention that can go on, a position at a time, from what it keeps of earlier ones.

    The arguments, the call and the weights are those of `MultiHeadSelfAttention`; its bias must be
    causal for both to agree.
    """

    def cache(self, rows: Any, places: int) -> KeysAndValues:
        """An empty cache of so many rows n, and up to so many places m."""
        shape = (rows, self.num_heads, 0 if _caches_grow() else places, self.head_dim)
        return ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)

    def step(self, x: Any, place: Any, cache: KeysAndValues) -> tuple[Any, KeysAndValues]:
        """Attends from one position of each row to it and those before.

        Args:
            x: float `[b, k, H]`, n rows.
            place: int scalar, the position.
            cache: Keys and values of the positions before.

        Returns:
            float `[b, k, H]`, and the cache with this position in it.
        """
        shape = ops.shape(x)
        qkv = self.qkv_dense(ops.reshape(x, (-1, self.hidden_dim)))
        query, key, value = self.split_heads(qkv, (ops.shape(qkv)[0], 1), 3)
        keys, values = (_written(*each, place) for each in zip(cache, (key, value), strict=True))
        is_seen = ops.arange(ops.shape(keys)[2], dtype="int32") <= ops.cast(place, "int32")
        mixed = self.attend(query, keys, values, seen_bias(is_seen)[None, None, None], False)
        mixed = self.output_dense(ops.reshape(mixed, (-1, self.hidden_dim)))
        return ops.reshape(mixed, shape), (keys, values)


def _caches_grow() -> bool:
    """Whether caches begin without a place and grow with each step: where shapes may change.

    Texts are mostly far shorter than they may be, so most of a cache of all places would be read,
    and moved with its beams, for nothing.
    """
    return keras.backend.backend() == "tensorflow"


def _written(cache: Any, new: Any, place: Any) -> Any:
    """A cache `[n, h, m, d]` with `[n, h, 1, d]` at one place, the next one if it grows."""
    if _caches_grow():
        return ops.concatenate([cache, new], axis=2)
    shape = ops.shape(cache)
    _, _, places, width = shape
    # As rows of one long list: no part of it but these is touched.
    flat = ops.reshape(cache, (-1, width))
    new = ops.reshape(new, (-1, width))
    first = ops.arange(ops.shape(new)[0], dtype="int32") * places
    rows = ops.expand_dims(first + ops.cast(place, "int32"), 1)
    return ops.reshape(ops.scatter_update(flat, rows, new), shape)


@keras.saving.register_keras_serializable("spanbert_tf")
class CrossAttention(AttentionHeads):
    """Attention of a text's pieces to the encoder's states of its source.

    Keys and values come from one matrix product, apart from the call: they are the same for every
    piece that is written.  Beams of one source are given as its pieces are, side by side.

    Args:
        num_heads, dropout, kernel_initializer: As for `MultiHeadSelfAttention`.

    Call arguments:
        x: float `[b, t, H]`.
        seen: What `keys_and_values` gave.
        bias: float32 `[b, 1, 1, s]`, see `attention_bias`.
        training: Whether dropout is active.

    Returns:
        float `[b, t, H]`.

    Raises:
        ValueError: The hidden width is not a multiple of `num_heads`.
    """

    def build(self, input_shape: Shape) -> None:
        self.build_heads(input_shape)
        self.query_dense = self.make_product(1, "query_dense")
        self.key_value_dense = self.make_product(2, "key_value_dense")
        self.build_output()

    def keys_and_values(self, memory: Any) -> KeysAndValues:
        """Keys and values of the encoder's states `[b, s, H]`."""
        shape = ops.shape(memory)[:2]
        both = self.key_value_dense(ops.reshape(memory, (-1, self.hidden_dim)))
        keys, values = self.split_heads(both, shape, 2)
        return keys, values

    def call(self, x: Any, seen: KeysAndValues, bias: Any, training: bool | None = None) -> Any:
        shape = ops.shape(x)
        query = self.query_dense(ops.reshape(x, (-1, self.hidden_dim)))
        (query,) = self.split_heads(query, shape[:2], 1)
        mixed = self.attend(query, *seen, bias, training)
        mixed = self.output_dense(ops.reshape(mixed, (-1, self.hidden_dim)))
        return ops.reshape(mixed, shape)

    def compute_output_shape(self, x_shape: Shape, seen_shape: Any, bias_shape: Shape) -> Shape:
        return x_shape


@keras.saving.register_keras_serializable("spanbert_tf")
class DecoderLayer(keras.layers.Layer):
    """A post-norm transformer decoder layer (Vaswani et al., 2017).

    Beside the attention to the encoder it is a `TransformerLayer`, so that it can start from the
    weights of one (Rothe et al., 2020).

    Args:
        num_heads: Number of attention heads; divides the hidden width.
        intermediate_dim: Width of the feed-forward network's inner layer.
        dropout: Rate of dropout on attention probabilities and on the sublayers' outputs.
        kernel_initializer: Initializer of the kernels.

    Call arguments:
        x: float `[b, t, H]`.
        bias: float32 `[b, 1, t, t]` or `[1, 1, t, t]`, see `causal_attention_bias`.
        memory: float `[b, s, H]`, the encoder's states.
        memory_bias: float32 `[b, 1, 1, s]`, see `attention_bias`.
        training: Whether dropout is active.

    Returns:
        float `[b, t, H]`.

    Raises:
        ValueError: The hidden width is not a multiple of `num_heads`.
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
        of_attention = (self.num_heads, self.dropout, initializer)
        self.attention = CachedSelfAttention(*of_attention, dtype=dtype, name="attention")
        self.cross_attention = CrossAttention(*of_attention, dtype=dtype, name="cross_attention")
        self.intermediate_dense, self.output_dense = (
            keras.layers.Dense(
                width,
                kernel_initializer=keras.initializers.get(initializer),
                dtype=dtype,
                name=name,
            )
            for width, name in (
                (self.intermediate_dim, "intermediate_dense"),
                (hidden_dim, "output_dense"),
            )
        )
        self.attention_layer_norm, self.cross_attention_layer_norm, self.output_layer_norm = (
            LayerNormalization(dtype=dtype, name=f"{name}_layer_norm")
            for name in ("attention", "cross_attention", "output")
        )
        self.hidden_dropout = Dropout(self.dropout, dtype=dtype, name="hidden_dropout")

        for layer in (self.attention, self.cross_attention):
            layer.build(input_shape)
        for layer in (
            *(self.attention_layer_norm, self.cross_attention_layer_norm, self.output_layer_norm),
            self.intermediate_dense,
        ):
            layer.build((None, hidden_dim))
        self.output_dense.build((None, self.intermediate_dim))

    def call(
        self, x: Any, bias: Any, memory: Any, memory_bias: Any, training: bool | None = None
    ) -> Any:
        attended = self.attention(x, bias, training=training)
        seen = self.cross_attention.keys_and_values(memory)
        return self._after_self_attention(x, attended, seen, memory_bias, training)

    def step(
        self, x: Any, place: Any, cache: KeysAndValues, seen: KeysAndValues, memory_bias: Any
    ) -> tuple[Any, KeysAndValues]:
        """What the call gives at one position, of `[b, k, H]`; see `CachedSelfAttention.step`.

        Args:
            x: float `[b, k, H]`.
            place: int scalar, the position.
            cache: Of `attention`.
            seen: The `keys_and_values` of `cross_attention`.
            memory_bias: float32 `[b, 1, 1, s]`.

        Returns:
            float `[b, k, H]`, and the cache with this position in it.
        """
        attended, cache = self.attention.step(x, place, cache)
        return self._after_self_attention(x, attended, seen, memory_bias, False), cache

    def _after_self_attention(
        self, x: Any, attended: Any, seen: KeysAndValues, memory_bias: Any, training: bool | None
    ) -> Any:
        shape = ops.shape(x)

        def flat(y: Any) -> Any:
            return ops.reshape(y, (-1, self.hidden_dim))

        def added(x: Any, y: Any, norm: Any) -> Any:
            return norm(x + self.hidden_dropout(y, training=training), training=training)

        x = added(flat(x), flat(attended), self.attention_layer_norm)
        looked = self.cross_attention(ops.reshape(x, shape), seen, memory_bias, training=training)
        x = added(x, flat(looked), self.cross_attention_layer_norm)
        y = self.output_dense(exact_gelu(self.intermediate_dense(x), training=training))
        return ops.reshape(added(x, y, self.output_layer_norm), shape)

    def compute_output_shape(
        self, x_shape: Shape, bias_shape: Shape, memory_shape: Shape, memory_bias_shape: Shape
    ) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
