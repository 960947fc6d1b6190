"""What tasks are compiled with: their optimizer, and whether XLA compiles them."""

from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("spanbert_tf")
class SparingAdamW(keras.optimizers.AdamW):
    """AdamW without weight decay on biases and layer norms, as BERT is trained.

    In a TensorFlow graph the whole update but for the norm that clipping measures is one XLA
    program: few passes over weights and moments in place of a dozen.  The gradient of an embedding
    is not made in full there: only rows of word pieces in the batch are other than zero.

    Args:
        *args: Those of `keras.optimizers.AdamW`, which would forget the exception when saved.
        rate_factors: By the paths of variables, how many times as fast they learn as others do.
        **kwargs: As `*args`.
    """

    global_clipnorm: float | None

    def __init__(
        self, *args: Any, rate_factors: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.rate_factors = dict(rate_factors or {})
        self.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])

    def speed_up(self, variables: Any, factor: float) -> None:
        """Gives variables, such as those of a new head, a learning rate of their own.

        Args:
            variables: The variables.
            factor: How many times the learning rate theirs is.  Weight decay goes by the common
                rate.
        """
        self.rate_factors |= {variable.path: factor for variable in variables}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable; see `keras.Optimizer.update_step`."""
        if self.rate_factors:
            # TensorFlow hands in its own variables, which have no path.
            path = self._trainable_variables[self._get_variable_index(variable)].path
            learning_rate = learning_rate * self.rate_factors.get(path, 1.0)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the class."""
        return {**super().get_config(), "rate_factors": self.rate_factors}

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        """Updates the variables; see `keras.Optimizer.apply`."""
        if keras.config.backend() != "tensorflow":
            return super().apply(grads, trainable_variables)
        apply = super().apply
        if not self.built or tf.executing_eagerly() or tf.distribute.has_strategy():
            return apply([_in_full(grad) for grad in grads], trainable_variables)
        summed = _summed_rows if self._can_update_by_rows() else _in_full
        grads = [summed(grad) for grad in grads]
        clip_norm, scale = self.global_clipnorm, tf.constant(1.0)
        if clip_norm:  # Outside of XLA, which sums on one core.
            norm = tf.linalg.global_norm([grad for grad in grads if grad is not None])
            scale = clip_norm / tf.maximum(norm, clip_norm)

        variables = trainable_variables or self._trainable_variables
        updated_by_rows = []
        for place, grad in enumerate(grads):
            if isinstance(grad, tf.IndexedSlices):
                self._add_rows(variables[place], grad, scale)
                grads[place] = None
                updated_by_rows.append(place)

        def update(scale: Any, *grads: Any) -> Any:
            scaled = [None if grad is None else grad * tf.cast(scale, grad.dtype) for grad in grads]
            for place in updated_by_rows:
                scaled[place] = tf.zeros(variables[place].shape, variables[place].dtype)
            return apply(scaled, trainable_variables)

        self.global_clipnorm = None
        try:
            return tf.function(update, jit_compile=True, autograph=False)(scale, *grads)
        finally:
            self.global_clipnorm = clip_norm

    def _can_update_by_rows(self) -> bool:
        # Nothing else may look at the gradients, and moments must decay by a factor, not vanish.
        others = (self.clipnorm, self.clipvalue, self.gradient_accumulation_steps)
        return not any(others) and self.beta_1 > 0 and self.beta_2 > 0

    def _add_rows(self, variable: Any, rows: tf.IndexedSlices, scale: Any) -> None:
        """Adds a gradient of some rows to the moments of these.

        An update by a gradient of zeros, which reads and writes none, then gives what one by the
        gradient does: of a moment it leaves beta, of a gradient it takes 1 - beta.
        """
        index = self._get_variable_index(variable)
        values = rows.values * tf.cast(scale, rows.values.dtype)
        for moments, beta, added in (
            (self._momentums, self.beta_1, values),
            (self._velocities, self.beta_2, tf.square(values)),
        ):
            added = tf.cast(added * ((1 - beta) / beta), moments[index].dtype)
            moments[index].value.scatter_add(tf.IndexedSlices(added, rows.indices))


def _in_full(grad: Any) -> Any:
    """The gradient as a tensor: an embedding's has a row for each token.

    Their sum for each word piece is what clipping must measure, and XLA is slow at summing.
    """
    return None if grad is None else tf.convert_to_tensor(grad)


def _summed_rows(grad: Any) -> Any:
    """The gradient in full, or an embedding's with one row for each word piece that there is."""
    if not isinstance(grad, tf.IndexedSlices):
        return _in_full(grad)
    indices, places = tf.unique(grad.indices)
    values = tf.math.unsorted_segment_sum(grad.values, places, tf.size(indices))
    return tf.IndexedSlices(values, indices, grad.dense_shape)


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
