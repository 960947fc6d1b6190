"""Token, position and segment embeddings.

Letters: b batch, s sequence, H hidden.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.attention import Shape
from spanbert_tf.layers.elementwise import Dropout, LayerNormalization


@keras.saving.register_keras_serializable("spanbert_tf")
class PositionAndSegmentEmbedding(keras.layers.Layer):
    """Adds position and segment embeddings to token embeddings, then layer norm and dropout.

    The token embedding stays a layer of its own, as output heads are tied to it.

    Args:
        max_sequence_length: Number of trained positions; longer input is an error.
        num_segments: Number of segments a row may have.
        dropout: Rate of dropout on the result.
        embeddings_initializer: Initializer of both tables.

    Call arguments:
        tokens: float `[b, s, H]`, embedded tokens.
        segment_ids: int `[b, s]`, in `[0, num_segments)`.
        position_ids: int `[b, s]`, in `[0, max_sequence_length)`.  `None`: 0, 1, 2, ...
        training: Whether dropout is active.

    Returns:
        float `[b, s, H]`.

    Raises:
        ValueError: Without `position_ids`, a static sequence length is larger than
            `max_sequence_length`.
    """

    def __init__(
        self,
        max_sequence_length: int,
        num_segments: int = 2,
        dropout: float = 0.0,
        embeddings_initializer: Any = "uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_sequence_length = max_sequence_length
        self.num_segments = num_segments
        self.dropout = dropout
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)

    def build(self, tokens_shape: Shape, segment_ids_shape: Shape) -> None:
        hidden_dim = tokens_shape[-1]
        initializer = keras.initializers.serialize(self.embeddings_initializer)
        self.position_embeddings = self.add_weight(
            name="position_embeddings",
            shape=(self.max_sequence_length, hidden_dim),
            initializer=keras.initializers.get(initializer),
        )
        self.segment_embeddings = self.add_weight(
            name="segment_embeddings",
            shape=(self.num_segments, hidden_dim),
            initializer=keras.initializers.get(initializer),
        )
        self.layer_norm = LayerNormalization(dtype=self.dtype_policy, name="layer_norm")
        self.layer_norm.build(tokens_shape)
        self.output_dropout = Dropout(self.dropout, dtype=self.dtype_policy, name="output_dropout")

    def call(
        self,
        tokens: Any,
        segment_ids: Any,
        position_ids: Any = None,
        training: bool | None = None,
    ) -> Any:
        positions = self._positions(ops.shape(tokens)[1], position_ids)
        # Segments by a product, not a lookup: the gradient of a lookup scatters every token into
        # the same two rows, one after the other.
        segments = ops.matmul(
            ops.one_hot(segment_ids, self.num_segments, dtype=self.compute_dtype),
            ops.convert_to_tensor(self.segment_embeddings),
        )
        x = self.layer_norm(tokens + positions + segments, training=training)
        return self.output_dropout(x, training=training)

    def _positions(self, length: Any, position_ids: Any) -> Any:
        """Embeddings of the positions, `[1, s, H]` or `[b, s, H]`."""
        table = ops.convert_to_tensor(self.position_embeddings)
        if position_ids is not None:
            return ops.take(table, position_ids, axis=0)
        if isinstance(length, int) and length > self.max_sequence_length:
            raise ValueError(
                f"a sequence may have at most max_sequence_length={self.max_sequence_length} "
                f"tokens; received {length}: truncate it or split the text"
            )
        return table[None, :length]

    def compute_output_shape(
        self,
        tokens_shape: Shape,
        segment_ids_shape: Shape,
        position_ids_shape: Shape | None = None,
    ) -> Shape:
        return tokens_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_sequence_length": self.max_sequence_length,
            "num_segments": self.num_segments,
            "dropout": self.dropout,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }
