"""Heads of pretraining: the masked language model's and the span boundary objective's.

Both end in logits over all word pieces, tied to the token embedding.  That product is most of what
pretraining computes beside the encoder, so heads are given the states of targets alone.

Letters: b batch, t targets of a row, p spans of a row, m pieces of a span, H hidden, V vocabulary.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from spanbert_tf.layers.attention import Shape
from spanbert_tf.layers.embeddings import tied_logits
from spanbert_tf.layers.kernels.elementwise import LayerNormalization, exact_gelu


class SpanTargets(NamedTuple):
    """Targets of the span boundary objective, one a slot; slots that are not used hold zeros.

    Attributes:
        left: int32 `[b, t]`, position of the piece before the target's span.
        right: int32 `[b, t]`, position of the piece after it.
        offsets: int32 `[b, t]`, the target's place in its span, from 0.
        ids: int32 `[b, t]`, the id that stood there.
        weights: float32 `[b, t]`.
    """

    left: Any
    right: Any
    offsets: Any
    ids: Any
    weights: Any


def span_targets(span_boundaries: Any, span_ids: Any, span_weights: Any, slots: Any) -> SpanTargets:
    """Gathers the targets of spans, thinly spread over `[p, m]` slots, into few slots a row.

    Args:
        span_boundaries: int32 `[b, p, 2]`.
        span_ids: int32 `[b, p, m]`.
        span_weights: float32 `[b, p, m]`, above 0 at a target.
        slots: Slots t a row, an int (or an int32 scalar in a graph).  As many as there are slots
            for masked pieces are enough for all targets; any past them are left out.

    Returns:
        The targets in their order.

    Example:
        `span_targets([[[2, 5], [7, 9]]], [[[11, 12], [13, 0]]], [[[1, 1], [1, 0]]], 4)` has
        left `[[2, 2, 7, 0]]`, right `[[5, 5, 9, 0]]`, offsets `[[0, 1, 0, 0]]`, ids
        `[[11, 12, 13, 0]]` and weights `[[1, 1, 1, 0]]`.
    """
    _, spans, pieces = ops.shape(span_weights)
    weights = ops.reshape(span_weights, (-1,))
    # Counted through the whole batch, as `searchsorted` takes one ascending line.
    count = ops.cumsum(ops.cast(weights > 0, "int32"))
    at_end = ops.reshape(count, (-1, spans * pieces))[:, -1:]
    at_start = ops.pad(at_end[:-1], ((1, 0), (0, 0)))
    numbers = at_start + ops.arange(1, slots + 1, dtype="int32")
    used = numbers <= at_end
    place = ops.cast(ops.searchsorted(count, ops.reshape(numbers, (-1,))), "int32")
    place = ops.where(used, ops.reshape(place, ops.shape(numbers)), 0)

    def of_used(values: Any, at: Any) -> Any:
        values = ops.take(ops.reshape(values, (-1,)), at)
        return ops.where(used, values, ops.zeros((), values.dtype))

    span = place // pieces
    return SpanTargets(
        left=of_used(span_boundaries, 2 * span),
        right=of_used(span_boundaries, 2 * span + 1),
        offsets=ops.where(used, place % pieces, 0),
        ids=of_used(span_ids, place),
        weights=of_used(weights, place),
    )


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanTargetSlots(keras.layers.Layer):
    """Does what `span_targets` does, with as many slots as there are for masked pieces.

    Call arguments:
        span_boundaries: int32 `[b, p, 2]`.
        span_ids: int32 `[b, p, m]`.
        span_weights: float32 `[b, p, m]`.
        mask_positions: int32 `[b, t]`.

    Returns:
        `SpanTargets`.
    """

    def call(
        self, span_boundaries: Any, span_ids: Any, span_weights: Any, mask_positions: Any
    ) -> SpanTargets:
        slots = ops.shape(mask_positions)[1]
        return span_targets(span_boundaries, span_ids, span_weights, slots)

    def compute_output_spec(
        self, span_boundaries: Any, span_ids: Any, span_weights: Any, mask_positions: Any
    ) -> SpanTargets:
        # Written out, as JAX cannot search a line of unknown length.
        dtypes = (*[span_boundaries.dtype] * 2, "int32", span_ids.dtype, span_weights.dtype)
        return SpanTargets(*(keras.KerasTensor(mask_positions.shape, dtype) for dtype in dtypes))


@keras.saving.register_keras_serializable("spanbert_tf")
class GeluDense(keras.layers.Layer):
    """A dense layer, exact GELU and layer norm, of which both heads are made.

    Args:
        units: Width of the output.
        kernel_initializer: Initializer of the kernel.

    Call arguments:
        x: float `[..., width]`; of rank 2 the product is one kernel call on a CPU.
        training: Whether the gradient is needed.

    Returns:
        float `[..., units]`.
    """

    def __init__(
        self, units: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        self.dense = keras.layers.Dense(
            self.units,
            kernel_initializer=self.kernel_initializer,
            dtype=self.dtype_policy,
            name="dense",
        )
        self.layer_norm = LayerNormalization(dtype=self.dtype_policy, name="layer_norm")
        self.dense.build(input_shape)
        self.layer_norm.build((*input_shape[:-1], self.units))

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = exact_gelu(self.dense(x), training=training)
        return self.layer_norm(x, training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


class _TiedHead(keras.layers.Layer):
    """What both heads share: logits by the token embedding and a bias of the head's own."""

    def __init__(
        self,
        token_embedding: keras.layers.ReversibleEmbedding,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.token_embedding = token_embedding
        self.hidden_dim = token_embedding.output_dim
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def _build_logits(self) -> None:
        self.logits_bias = self.add_weight(
            name="logits_bias",
            shape=(self.token_embedding.input_dim,),
            initializer="zeros",
            autocast=False,  # It is added in float32.
        )

    def _gelu_dense(self, input_dim: int, name: str) -> GeluDense:
        # Serialised, as one initializer object would give every kernel the same values.
        initializer = keras.initializers.serialize(self.kernel_initializer)
        layer = GeluDense(self.hidden_dim, initializer, dtype=self.dtype_policy, name=name)
        layer.build((None, input_dim))
        return layer

    def _logits(self, x: Any, targets: Any) -> Any:
        """Logits `[b, t, V]` of `[b * t, H]`, in float32 at least."""
        logits = tied_logits(x, self.token_embedding, self.logits_bias)
        return ops.reshape(logits, (-1, targets, self.token_embedding.input_dim))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "token_embedding": keras.saving.serialize_keras_object(self.token_embedding),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        embedding = keras.saving.deserialize_keras_object(config["token_embedding"])
        return cls(**{**config, "token_embedding": embedding})


@keras.saving.register_keras_serializable("spanbert_tf")
class MaskedLMHead(_TiedHead):
    """BERT's head of the masked language model (Devlin et al., 2019).

    Args:
        token_embedding: The encoder's token embedding, of V pieces, H wide.
        kernel_initializer: Initializer of the kernel.

    Call arguments:
        states: float `[b, t, H]`, final states of the masked pieces.
        training: Whether the gradient is needed.

    Returns:
        Logits `[b, t, V]`, float32 at least.  Their product is made in the compute dtype.
    """

    def build(self, states_shape: Shape) -> None:
        self.transform = self._gelu_dense(self.hidden_dim, "transform")
        self._build_logits()

    def call(self, states: Any, training: bool | None = None) -> Any:
        x = self.transform(ops.reshape(states, (-1, self.hidden_dim)), training=training)
        return self._logits(x, ops.shape(states)[1])

    def compute_output_shape(self, states_shape: Shape) -> Shape:
        return (*states_shape[:-1], self.token_embedding.input_dim)


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBoundaryHead(_TiedHead):
    """The head of the span boundary objective (Joshi et al., 2020).

    It predicts a piece of a span from the states beside the span and the piece's place in it:
    `h = LayerNorm(GELU(W1 [left; right; p]))` and `y = LayerNorm(GELU(W2 h))`.

    Args:
        token_embedding: The encoder's token embedding, of V pieces, H wide.
        max_targets: Number of places that have an embedding.
        position_dim: Width of an embedding of a place.
        kernel_initializer: Initializer of the kernels and of the embedding of places.

    Call arguments:
        left: float `[b, t, H]`, final state of the piece before each target's span.
        right: float `[b, t, H]`, final state of the piece after it.
        offsets: int `[b, t]`, each target's place in its span, in `[0, max_targets)`.
        training: Whether the gradient is needed.

    Returns:
        Logits `[b, t, V]`, float32 at least.  Their product is made in the compute dtype.
    """

    def __init__(
        self,
        token_embedding: keras.layers.ReversibleEmbedding,
        max_targets: int = 20,
        position_dim: int = 200,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(token_embedding, kernel_initializer, **kwargs)
        self.max_targets = max_targets
        self.position_dim = position_dim

    def build(self, left_shape: Shape, right_shape: Shape, offsets_shape: Shape) -> None:
        initializer = keras.initializers.serialize(self.kernel_initializer)
        self.position_embeddings = self.add_weight(
            name="position_embeddings",
            shape=(self.max_targets, self.position_dim),
            initializer=keras.initializers.get(initializer),
        )
        self.transform_1 = self._gelu_dense(2 * self.hidden_dim + self.position_dim, "transform_1")
        self.transform_2 = self._gelu_dense(self.hidden_dim, "transform_2")
        self._build_logits()

    def call(self, left: Any, right: Any, offsets: Any, training: bool | None = None) -> Any:
        # By a product, not a lookup, whose gradient scatters all targets into the same few rows.
        places = ops.matmul(
            ops.one_hot(ops.reshape(offsets, (-1,)), self.max_targets, dtype=self.compute_dtype),
            ops.convert_to_tensor(self.position_embeddings),
        )
        beside = [ops.reshape(states, (-1, self.hidden_dim)) for states in (left, right)]
        x = self.transform_1(ops.concatenate([*beside, places], axis=-1), training=training)
        return self._logits(self.transform_2(x, training=training), ops.shape(offsets)[1])

    def compute_output_shape(
        self, left_shape: Shape, right_shape: Shape, offsets_shape: Shape
    ) -> Shape:
        return (*left_shape[:-1], self.token_embedding.input_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_targets": self.max_targets,
            "position_dim": self.position_dim,
        }
