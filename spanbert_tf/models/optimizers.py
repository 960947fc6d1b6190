"""What tasks are compiled with: their optimizer, and whether XLA compiles them."""

from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("spanbert_tf")
class SparingAdamW(keras.optimizers.AdamW):
    """AdamW without weight decay on biases and layer norms, as BERT is trained.

    In a TensorFlow graph the whole update but for the norm that clipping measures is one XLA
    program: few passes over weights and moments in place of a dozen.

    Takes the arguments of `keras.optimizers.AdamW`, which would forget the exception when saved.
    """

    global_clipnorm: float | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        """Updates the variables; see `keras.Optimizer.apply`."""
        if keras.config.backend() != "tensorflow":
            return super().apply(grads, trainable_variables)
        # An embedding's gradient has a row for each token.  Their sum per word piece is what
        # clipping must measure, and XLA is slow at summing.
        grads = [None if grad is None else tf.convert_to_tensor(grad) for grad in grads]
        if not self.built or tf.executing_eagerly() or tf.distribute.has_strategy():
            return super().apply(grads, trainable_variables)
        clip_norm, scale = self.global_clipnorm, tf.constant(1.0)
        if clip_norm:  # Outside of XLA, which sums on one core.
            norm = tf.linalg.global_norm([grad for grad in grads if grad is not None])
            scale = clip_norm / tf.maximum(norm, clip_norm)
        update = super().apply
        fused = tf.function(
            lambda scale, *grads: update(
                [None if grad is None else grad * tf.cast(scale, grad.dtype) for grad in grads],
                trainable_variables,
            ),
            jit_compile=True,
            autograph=False,
        )
        self.global_clipnorm = None
        try:
            return fused(scale, *grads)
        finally:
            self.global_clipnorm = clip_norm


def default_optimizer(
    learning_rate: Any = 5e-5, weight_decay: float = 0.01, clip_norm: float | None = 1.0
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of BERT's fine-tuning.

    Args:
        learning_rate: A number or a `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay: Part of a weight that each step takes off, times the learning rate.
        clip_norm: The largest norm of all gradients together.  `None`: no limit.
    """
    return SparingAdamW(
        learning_rate, weight_decay=weight_decay, epsilon=1e-8, global_clipnorm=clip_norm
    )


def build_optimizer(model: keras.Model) -> None:
    """Makes the optimizer's variables before training does, within a graph.

    TensorFlow traces a graph that makes variables twice, which would double the wait for the
    first step.
    """
    optimizer = getattr(model, "optimizer", None)
    if isinstance(optimizer, keras.optimizers.Optimizer) and not optimizer.built:
        strategy = getattr(model, "distribute_strategy", None)
        with strategy.scope() if strategy is not None else nullcontext():
            optimizer.build(model.trainable_variables)


def resolve_jit_compile(jit_compile: Any) -> Any:
    """Decides `jit_compile="auto"`: not on a CPU under TensorFlow, elsewhere as Keras decides.

    There XLA takes seconds for each new batch shape, and then runs about as fast.
    """
    on_tensorflow = keras.config.backend() == "tensorflow"
    if jit_compile == "auto" and on_tensorflow and not tf.config.list_physical_devices("GPU"):
        return False
    return jit_compile
