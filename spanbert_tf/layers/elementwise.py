"""Layer norm and GELU whose gradients are written out.

Differentiated operation by operation, as TensorFlow does outside XLA, each makes a dozen passes
over memory; by its formula, half as many.  Only training takes these forms: in inference a graph
optimizer fuses the plain ones with the products before them, and finds no gradient in its way.

Letters: H hidden.
"""

import math
from typing import Any

import keras
from keras import ops

# BERT's and SpanBERT's value.  The default of Keras, 1e-3, changes the outputs of a checkpoint.
LAYER_NORM_EPSILON = 1e-12


def exact_gelu(x: Any, training: bool | None = False) -> Any:
    """GELU by the error function, `x * (1 + erf(x / sqrt(2))) / 2`, not its tanh approximation."""
    return _gelu(x) if training else ops.gelu(x, approximate=False)


@ops.custom_gradient
def _gelu(x: Any) -> Any:
    share = 0.5 + 0.5 * ops.erf(x * (1 / math.sqrt(2)))  # the normal distribution's, up to x

    def gradient(*args: Any, upstream: Any = None) -> Any:
        upstream = args[0] if upstream is None else upstream
        density = ops.exp(ops.square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
        return upstream * (share + x * density)

    return x * share, gradient


@keras.saving.register_keras_serializable("spanbert_tf")
class LayerNormalization(keras.layers.LayerNormalization):
    """Layer normalization over the last axis, in float32 at least (Ba et al., 2016).

    Args:
        epsilon: Added to the variance.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: float `[..., H]`.
        training: Whether the gradient is needed.

    Returns:
        As the inputs.
    """

    def __init__(self, epsilon: float = LAYER_NORM_EPSILON, **kwargs: Any) -> None:
        super().__init__(epsilon=epsilon, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not training:
            return super().call(inputs)
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        # Tensors, as variables inside a function with its own gradient would need one of theirs.
        gamma, beta = (ops.cast(w, dtype) + 0.0 for w in (self.gamma, self.beta))
        outputs = _normalize(self.epsilon)(ops.cast(inputs, dtype), gamma, beta)
        return ops.cast(outputs, self.compute_dtype)


def _normalize(epsilon: float) -> Any:
    @ops.custom_gradient
    def normalize(x: Any, gamma: Any, beta: Any) -> Any:
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        scale = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + epsilon)
        normal = centred * scale

        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            axes = tuple(range(len(x.shape) - 1))
            d_normal = upstream * gamma
            along = ops.mean(d_normal * normal, axis=-1, keepdims=True)
            d_x = (d_normal - ops.mean(d_normal, axis=-1, keepdims=True) - normal * along) * scale
            return d_x, ops.sum(upstream * normal, axis=axes), ops.sum(upstream, axis=axes)

        return normal * gamma + beta, gradient

    return normalize
