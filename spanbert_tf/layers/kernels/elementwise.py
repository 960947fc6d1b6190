"""Element-wise arithmetic of training: GELU, dropout and layer norm.

Differentiated operation by operation, as TensorFlow does outside XLA, each makes a dozen passes
over memory; by its formula and fused, one forward and one backward.  Only training takes these
forms: in inference a graph optimizer fuses the plain ones with the products before them, and finds
no gradient in its way.

Letters: H hidden.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import keras
import numpy as np
from keras import ops

from spanbert_tf.layers.kernels.onednn import normalizes_in_one_pass, one_pass_layer_norm
from spanbert_tf.layers.masking.random_bits import threefry_2x32

VALUES_A_DRAW = 4  # of 16 bits, from two words of 32

# BERT's and SpanBERT's value.  The default of Keras, 1e-3, changes the outputs of a checkpoint.
LAYER_NORM_EPSILON = 1e-12


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes arithmetic on tensors a single pass over memory.

    In TensorFlow's graphs the function becomes an XLA program of its own, compiled once for all
    layers that call it with like shapes.  Only element-wise arithmetic gains by it: XLA's matrix
    products are slower on a CPU, its random numbers and scatters much slower.  Elsewhere the
    function stays as it is.

    Args:
        function: Of tensors, and of numbers that are the same at each call.
    """
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow as tf

    program = tf.function(function, jit_compile=True, autograph=False)

    @wraps(function)
    def run(*args: Any) -> Any:
        return function(*args) if tf.executing_eagerly() else program(*args)

    return run


def exact_gelu(x: Any, training: bool | None = False) -> Any:
    """GELU by the error function, `x * (1 + erf(x / sqrt(2))) / 2`, not its tanh approximation."""
    return _gelu(x) if training else ops.gelu(x, approximate=False)


@ops.custom_gradient
def _gelu(x: Any) -> Any:
    def gradient(*args: Any, upstream: Any = None) -> Any:
        return _gelu_gradient(x, args[0] if upstream is None else upstream)

    return _gelu_value(x), gradient


def _normal_share(x: Any) -> Any:
    """The normal distribution's part up to x."""
    return 0.5 + 0.5 * ops.erf(x * (1 / math.sqrt(2)))


@fused
def _gelu_value(x: Any) -> Any:
    return x * _normal_share(x)


@fused
def _gelu_gradient(x: Any, upstream: Any) -> Any:
    density = ops.exp(ops.square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
    return upstream * (_normal_share(x) + x * density)


@keras.saving.register_keras_serializable("spanbert_tf")
class Dropout(keras.layers.Dropout):
    """Dropout by random numbers of 16 bits, Threefry's, which cost a fraction of TensorFlow's.

    The rate is met to 1 / 65536.

    Args:
        rate: Part of the values that become 0; the others grow so that the mean stays.
        **kwargs: `seed`, `name`, `dtype`.

    Call arguments:
        inputs: float, of any shape.
        training: Whether dropout is active.

    Returns:
        As the inputs.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not training or self.rate == 0:
            return inputs
        x = ops.reshape(inputs, (-1,))
        x = _dropped(x, random_int16(x, self.seed_generator.next()), self.rate)
        return ops.reshape(x, ops.shape(inputs))


def random_int16(like: Any, seed: Any) -> Any:
    """Draws 16 random bits for each value of a tensor.

    Args:
        like: A tensor.
        seed: int `[2]`.

    Returns:
        int16, uniform over all values, of the shape of `like`.
    """
    size = math.prod(ops.shape(like))
    words = _random_words(_number_of_draws(size), ops.cast(seed, "int32"))[..., None]
    return ops.reshape(ops.reshape(ops.view(words, "int16"), (-1,))[:size], ops.shape(like))


def _number_of_draws(size: Any) -> Any:
    """The power of two that gives enough bits: each number of draws is a program of its own."""
    if isinstance(size, int):
        return 1 << max(math.ceil(size / VALUES_A_DRAW) - 1, 0).bit_length()
    powers = np.int32(1) << np.arange(32 - VALUES_A_DRAW.bit_length(), dtype="int32")
    return ops.min(ops.where(powers * VALUES_A_DRAW >= size, powers, powers[-1]))


@fused
def _random_words(draws: Any, seed: Any) -> Any:
    """int32 `[2, draws]`."""
    places = ops.arange(draws, dtype="int32")
    return ops.stack(threefry_2x32((seed[0], seed[1]), (places, ops.zeros_like(places))))


def _dropped(x: Any, bits: Any, rate: float) -> Any:
    """Drops values of a tensor, flat: layers with other shapes of one size share the programs."""

    @ops.custom_gradient
    def dropped(x: Any, bits: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            return _where_kept(args[0] if upstream is None else upstream, bits, rate), None

        return _where_kept(x, bits, rate), gradient

    return dropped(x, bits)


@fused
def _where_kept(x: Any, bits: Any, rate: float) -> Any:
    dropped = min(round(rate * 2**16), 2**16 - 1)
    scaled = x * ops.cast(2**16 / (2**16 - dropped), x.dtype)
    return ops.where(bits >= dropped - 2**15, scaled, ops.zeros_like(x))


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
            if normalizes_in_one_pass(inputs.dtype):
                gamma, beta = (ops.cast(w, inputs.dtype) for w in (self.gamma, self.beta))
                return one_pass_layer_norm(inputs, gamma, beta, self.epsilon)
            # Keras' own form passes over the inputs twice as often.
            centred, scale = _centred(inputs, self.epsilon)
            gamma, beta = (ops.cast(w, centred.dtype) for w in (self.gamma, self.beta))
            return ops.cast(centred * (scale * gamma) + beta, self.compute_dtype)
        # Tensors, as variables inside a function with its own gradient would need one of theirs.
        gamma, beta = (ops.convert_to_tensor(w) + 0.0 for w in (self.gamma, self.beta))
        # Flat, so that layers with other shapes share the programs.
        x = ops.reshape(inputs, (-1, inputs.shape[-1]))
        x = _normalized(self.epsilon, self.compute_dtype)(x, gamma, beta)
        return ops.reshape(x, ops.shape(inputs))


def _normalized(epsilon: float, dtype: str) -> Any:
    @ops.custom_gradient
    def normalized(x: Any, gamma: Any, beta: Any) -> Any:
        outputs, normal, scale = _normalization(x, gamma, beta, epsilon, dtype)

        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            return _normalization_gradient(normal, scale, gamma, upstream, x.dtype)

        return outputs, gradient

    return normalized


@fused
def _normalization(x: Any, gamma: Any, beta: Any, epsilon: float, dtype: str) -> Any:
    centred, scale = _centred(x, epsilon)
    gamma, beta = (ops.cast(each, centred.dtype) for each in (gamma, beta))
    normal = centred * scale
    return ops.cast(normal * gamma + beta, dtype), normal, scale


def _centred(x: Any, epsilon: float) -> tuple[Any, Any]:
    """Inputs less their mean, and 1 / their standard deviation, in float32 at least."""
    x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    return centred, ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + epsilon)


@fused
def _normalization_gradient(normal: Any, scale: Any, gamma: Any, upstream: Any, dtype: Any) -> Any:
    upstream = ops.cast(upstream, normal.dtype)
    d_normal = upstream * ops.cast(gamma, normal.dtype)
    along = ops.mean(d_normal * normal, axis=-1, keepdims=True)
    d_x = (d_normal - ops.mean(d_normal, axis=-1, keepdims=True) - normal * along) * scale
    d_gamma, d_beta = ops.sum(upstream * normal, axis=0), ops.sum(upstream, axis=0)
    return ops.cast(d_x, dtype), ops.cast(d_gamma, gamma.dtype), ops.cast(d_beta, gamma.dtype)
