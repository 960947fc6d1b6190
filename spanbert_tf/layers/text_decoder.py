"""A decoder of texts: embeddings, decoder layers, and logits of each next piece.

Letters: b batch, t target pieces, s source pieces, k beams of a row, H hidden, V vocabulary.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.attention import Shape, causal_attention_bias
from spanbert_tf.layers.decoder import DecoderLayer, KeysAndValues
from spanbert_tf.layers.embeddings import tied_logits
from spanbert_tf.layers.kernels.elementwise import Dropout, LayerNormalization


@keras.saving.register_keras_serializable("spanbert_tf")
class TextDecoder(keras.layers.Layer):
    """A stack of decoder layers whose embedding also gives the logits (Press and Wolf, 2017).

    Args:
        token_embedding: Embedding of V pieces, H wide; the encoder's own where both share a
            vocabulary.
        num_layers: Number of decoder layers.
        num_heads: Number of attention heads; divides H.
        intermediate_dim: Width of the feed-forward networks' inner layers.
        max_length: Number of positions: the most pieces t.
        dropout: Rate of all dropout layers.
        kernel_initializer: Initializer of the kernels and of the embedding of positions.

    Call arguments:
        token_ids: int `[b, t]`, the piece before each that is predicted.
        memory: float `[b, s, H]`, the encoder's states.
        memory_bias: float32 `[b, 1, 1, s]`, see `attention_bias`.
        training: Whether dropout is active.

    Returns:
        float `[b, t, H]`, final states; `logits` makes logits of them.

    Raises:
        ValueError: `num_layers` or `max_length` is below 1, or `num_heads` does not divide H.
    """

    def __init__(
        self,
        token_embedding: keras.layers.ReversibleEmbedding,
        num_layers: int,
        num_heads: int,
        intermediate_dim: int,
        max_length: int,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("num_layers", num_layers), ("max_length", max_length)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1; received {value}")
        self.token_embedding = token_embedding
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.max_length = max_length
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        hidden_dim = self.token_embedding.output_dim
        initializer = keras.initializers.serialize(self.kernel_initializer)
        dtype = self.dtype_policy
        if not self.token_embedding.built:
            self.token_embedding.build(input_shape)
        self.position_embeddings = self.add_weight(
            name="position_embeddings",
            shape=(self.max_length, hidden_dim),
            initializer=keras.initializers.get(initializer),
        )
        self.embedding_layer_norm = LayerNormalization(dtype=dtype, name="embedding_layer_norm")
        self.embedding_layer_norm.build((None, hidden_dim))
        self.embedding_dropout = Dropout(self.dropout, dtype=dtype, name="embedding_dropout")
        self.decoder_layers = [
            DecoderLayer(
                self.num_heads,
                self.intermediate_dim,
                self.dropout,
                initializer,
                dtype=dtype,
                name=f"decoder_layer_{i}",
            )
            for i in range(self.num_layers)
        ]
        for layer in self.decoder_layers:
            layer.build((None, None, hidden_dim))
        self.logits_bias = self.add_weight(
            name="logits_bias",
            shape=(self.token_embedding.input_dim,),
            initializer="zeros",
            autocast=False,  # It is added in float32.
        )

    def call(
        self, token_ids: Any, memory: Any, memory_bias: Any, training: bool | None = None
    ) -> Any:
        length = ops.shape(token_ids)[1]
        positions = ops.convert_to_tensor(self.position_embeddings)[None, :length]
        x = self._embedded(token_ids, positions, training)
        bias = causal_attention_bias(length)
        for layer in self.decoder_layers:
            x = layer(x, bias, memory, memory_bias, training=training)
        return x

    def logits(self, states: Any) -> Any:
        """Logits of the next piece, float32 `[n, V]`, of states `[n, H]`."""
        return tied_logits(states, self.token_embedding, self.logits_bias)

    def keys_and_values(self, memory: Any) -> list[KeysAndValues]:
        """What each layer takes of the encoder's states `[b, s, H]`, for `step`."""
        return [layer.cross_attention.keys_and_values(memory) for layer in self.decoder_layers]

    def caches(self, rows: Any, places: int) -> list[KeysAndValues]:
        """Empty caches, for `step`, of so many rows (= b * k) and places."""
        return [layer.attention.cache(rows, places) for layer in self.decoder_layers]

    def step(
        self,
        token_ids: Any,
        place: Any,
        caches: list[KeysAndValues],
        seen: list[KeysAndValues],
        memory_bias: Any,
    ) -> tuple[Any, list[KeysAndValues]]:
        """Logits of the next piece of each beam, as the call and `logits` give them.

        Args:
            token_ids: int `[b, k]`, the last piece of each beam.
            place: int scalar, its position.
            caches: What `caches`, or the step before, gave.
            seen: What `keys_and_values` gave.
            memory_bias: As for the call.

        Returns:
            float32 `[b, k, V]`, and the caches with this position in them.
        """
        shape = ops.shape(token_ids)
        position = ops.take(ops.convert_to_tensor(self.position_embeddings), place, axis=0)
        x = self._embedded(token_ids, position, training=False)
        written = []
        for layer, cache, of_source in zip(self.decoder_layers, caches, seen, strict=True):
            x, cache = layer.step(x, place, cache, of_source, memory_bias)
            written.append(cache)
        logits = self.logits(ops.reshape(x, (-1, self.token_embedding.output_dim)))
        return ops.reshape(logits, (*shape, self.token_embedding.input_dim)), written

    def _embedded(self, token_ids: Any, positions: Any, training: bool | None) -> Any:
        x = self.token_embedding(token_ids)
        x = x + ops.cast(positions, x.dtype)
        x = self.embedding_layer_norm(x, training=training)
        return self.embedding_dropout(x, training=training)

    def compute_output_shape(
        self, token_ids_shape: Shape, memory_shape: Shape, memory_bias_shape: Shape
    ) -> Shape:
        return (*token_ids_shape, self.token_embedding.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "token_embedding": keras.saving.serialize_keras_object(self.token_embedding),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "max_length": self.max_length,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        embedding = keras.saving.deserialize_keras_object(config["token_embedding"])
        return cls(**{**config, "token_embedding": embedding})
