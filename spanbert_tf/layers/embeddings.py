"""Token, position and segment embeddings.

Letters: b batch, s sequence, H hidden, n states, V vocabulary.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.attention import Shape
from spanbert_tf.layers.kernels.elementwise import Dropout, LayerNormalization
from spanbert_tf.layers.kernels.products import matmul_transposed


def checked_ids(ids: Any, rows: int, name: str) -> Any:
    """Hands ids through if a table has rows for them: a lookup would give zeros, or other rows.

    Args:
        ids: int, any shape.
        rows: Number of the table's rows.
        name: What messages call them.

    Raises:
        ValueError: Some are out of `[0, rows)`.  In a TensorFlow graph a
            `tf.errors.InvalidArgumentError` when it runs.  What JAX traces is not checked.
    """
    if keras.utils.is_keras_tensor(ids):
        return ids
    head = f"{name} must be from 0 to {rows - 1}; received numbers from "
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        ids = tf.convert_to_tensor(ids)
        if not tf.executing_eagerly():
            # An empty tensor passes: of no numbers the least is the greatest there is.
            least, most = tf.reduce_min(ids), tf.reduce_max(ids)
            check = tf.debugging.Assert((least >= 0) & (most < rows), [head, least, "to", most])
            with tf.control_dependencies([check]):
                return tf.identity(ids)
    try:
        numbers = ops.convert_to_numpy(ids)
    except Exception:  # Of a tracer; each backend has an error of its own.
        return ids
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < rows):
        raise ValueError(f"{head}{numbers.min()} to {numbers.max()}")
    return ids


def tied_logits(x: Any, token_embedding: keras.layers.ReversibleEmbedding, bias: Any) -> Any:
    """Logits of all word pieces, by the embedding that reads them and a bias of their own.

    Args:
        x: float `[n, H]`.
        token_embedding: Embedding of V pieces, H wide.
        bias: float `[V]`.

    Returns:
        `[n, V]`, float32 at least.  The product is made in the dtype of `x`.
    """
    others = (
        token_embedding.quantization_mode,
        token_embedding.reverse_dtype,
        token_embedding.logit_soft_cap,
    )
    if token_embedding.tie_weights and not any(others):
        logits = matmul_transposed(x, ops.cast(token_embedding.embeddings, x.dtype))
    else:
        logits = token_embedding(x, reverse=True)
    dtype = keras.backend.result_type(logits.dtype, "float32")
    return ops.cast(logits, dtype) + ops.cast(bias, dtype)


@keras.saving.register_keras_serializable("spanbert_tf")
class CheckedIds(keras.layers.Layer):
    """Hands ids through if the table of the layer that follows has rows for them.

    Args:
        rows: Number of the table's rows.
        id_name: What messages call the ids.

    Call arguments, returns, raises: see `checked_ids`.
    """

    def __init__(self, rows: int, id_name: str, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "int32", **kwargs})
        self.rows = rows
        self.id_name = id_name

    def call(self, ids: Any) -> Any:
        return checked_ids(ids, self.rows, self.id_name)

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rows": self.rows, "id_name": self.id_name}


@keras.saving.register_keras_serializable("spanbert_tf")
class PositionAndSegmentEmbedding(keras.layers.Layer):
    """Adds position and segment embeddings to token embeddings, then layer norm and dropout.

    The token embedding stays a layer of its own, as output heads are tied to it.

    Args:
        max_sequence_length: Number of trained positions.
        num_segments: Number of segments a row may have.
        dropout: Rate of dropout on the result.
        embeddings_initializer: Initializer of both tables.
        long_positions: The rule for longer input.  `None`: it is an error.  `"restart"`: positions
            start again, `i` has the embedding of `i % max_sequence_length`.

    Call arguments:
        tokens: float `[b, s, H]`, embedded tokens.
        segment_ids: int `[b, s]`, in `[0, num_segments)`.
        position_ids: int `[b, s]`, in `[0, max_sequence_length)`.  `None`: 0, 1, 2, ...
        training: Whether dropout is active.

    Returns:
        float `[b, s, H]`.

    Raises:
        ValueError: Another rule; input of no token; ids out of their range; without `position_ids`
            and a rule, input longer than `max_sequence_length`.  In a TensorFlow graph that input,
            where it is known only when the graph runs, is a `tf.errors.InvalidArgumentError`.
    """

    def __init__(
        self,
        max_sequence_length: int,
        num_segments: int = 2,
        dropout: float = 0.0,
        embeddings_initializer: Any = "uniform",
        long_positions: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if long_positions not in (None, "restart"):
            raise ValueError(
                f"long_positions must be None or 'restart'; received {long_positions!r}"
            )
        self.max_sequence_length = max_sequence_length
        self.num_segments = num_segments
        self.dropout = dropout
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.long_positions = long_positions

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
        segment_ids = checked_ids(segment_ids, self.num_segments, "segment_ids")
        positions = self._positions(ops.shape(tokens)[1], position_ids)
        # Segments by a product, not a lookup: the gradient of a lookup scatters every token into
        # the same two rows, one after the other.
        segments = ops.matmul(
            ops.one_hot(segment_ids, self.num_segments, dtype=self.compute_dtype),
            ops.convert_to_tensor(self.segment_embeddings),
        )
        # In this order, as TensorFlow adds what has the same shape first, where it knows shapes: so
        # a batch of several rows has the same bits whether it does or not.
        x = self.layer_norm(tokens + segments + positions, training=training)
        return self.output_dropout(x, training=training)

    def _positions(self, length: Any, position_ids: Any) -> Any:
        """Embeddings of the positions, `[1, s, H]` or `[b, s, H]`."""
        table = ops.convert_to_tensor(self.position_embeddings)
        if position_ids is not None:
            position_ids = checked_ids(position_ids, self.max_sequence_length, "position_ids")
            return ops.take(table, position_ids, axis=0)
        if isinstance(length, int) and not length:
            raise ValueError("a sequence must have at least one token; received 0")
        if self.long_positions == "restart":
            # Repeated, not looked up: the gradient is a plain sum.
            times = (length + self.max_sequence_length - 1) // self.max_sequence_length
            return ops.tile(table, (times, 1))[None, :length]
        return table[None, : self._checked(length)]

    def _checked(self, length: Any) -> Any:
        error = (
            f"a sequence may have at most max_sequence_length={self.max_sequence_length} tokens; "
            f"received {{}}: truncate it, choose long_positions='restart', or give the backbone "
            f"more positions by extend_positions()"
        )
        if isinstance(length, int):
            if length > self.max_sequence_length:
                raise ValueError(error.format(length))
            return length
        # Only in TensorFlow's graphs is a length a tensor, and keras.ops has no such check.
        import tensorflow as tf

        head, tail = error.split("{}")
        check = tf.debugging.Assert(length <= self.max_sequence_length, [head, length, tail])
        with tf.control_dependencies([check]):
            # Opaque: where a SavedModel's graph meets a shape, TensorFlow would otherwise find that
            # the table is too short before the check can say so.
            return tf.raw_ops.PlaceholderWithDefault(input=length, shape=[])

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
            "long_positions": self.long_positions,
        }
