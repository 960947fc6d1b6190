"""Heads of pretraining as parts of an encoder's SavedModel.

Letters: b batch, s sequence, t targets of a row, H hidden, V vocabulary.
"""

from typing import Any

import tensorflow as tf

from spanbert_tf.checkpoints.tensors import own_weights
from spanbert_tf.layers.kernels.gathering import take_positions
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer


def head_objects(pretrainer: SpanBertPretrainer) -> dict[str, tf.train.Checkpoint]:
    """Makes what an exported encoder has of its pretrainer's heads.

    - `mlm(sequence_output, mask_positions)`: float32 `[b, s, H]` and int32 `[b, t]` to logits,
      float32 `[b, t, V]`, of the masked language model at these positions.
    - `sbo(sequence_output, span_boundaries, offsets)`: float32 `[b, s, H]`, int32 `[b, t, 2]` and
      int32 `[b, t]` to logits, float32 `[b, t, V]`, of the span boundary objective.  Each target
      names the positions of the pieces before and after its span, and its own place in the span,
      from 0.  A pretrainer without that objective has no `sbo`.

    Both have `variables` and `trainable_variables`, without the token embedding, which is among
    the encoder's.

    Args:
        pretrainer: The pretrainer.

    Returns:
        The objects by the names `mlm` and `sbo`.
    """
    states = tf.TensorSpec([None, None, pretrainer.backbone.hidden_dim], tf.float32)
    slots = tf.TensorSpec([None, None], tf.int32)

    def mlm(sequence_output: tf.Tensor, mask_positions: tf.Tensor) -> tf.Tensor:
        return pretrainer.mlm_head(take_positions(sequence_output, mask_positions))

    def sbo(
        sequence_output: tf.Tensor, span_boundaries: tf.Tensor, offsets: tf.Tensor
    ) -> tf.Tensor:
        left, right = (take_positions(sequence_output, span_boundaries[..., i]) for i in (0, 1))
        return pretrainer.sbo_head(left, right, offsets)

    objects = {"mlm": _object(pretrainer.mlm_head, mlm, states, slots)}
    if pretrainer.sbo_head is not None:
        boundaries = tf.TensorSpec([None, None, 2], tf.int32)
        objects["sbo"] = _object(pretrainer.sbo_head, sbo, states, boundaries, slots)
    return objects


def _object(head: Any, function: Any, *specs: tf.TensorSpec) -> tf.train.Checkpoint:
    """Makes a callable object with the head's own variables."""
    own = [variable.value for variable in own_weights(head)]
    result = tf.train.Checkpoint()
    result.__call__ = tf.function(function, input_signature=specs, autograph=False)
    result.variables = own
    result.trainable_variables = [variable for variable in own if variable.trainable]
    return result
