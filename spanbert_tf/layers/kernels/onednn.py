"""Forms of layers that oneDNN's kernels run faster, for the machines where TensorFlow uses them.

No API says which kernels a graph gets, so each is tried once, on a few numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import keras

BFLOAT16_ROUNDING = 2.0**-8  # relative

_runs_elsewhere: ContextVar[bool] = ContextVar("_runs_elsewhere", default=False)


@contextmanager
def portable_graphs() -> Iterator[None]:
    """Within it graphs are made that hold on any machine, whatever kernels this one has."""
    token = _runs_elsewhere.set(True)
    try:
        yield
    finally:
        _runs_elsewhere.reset(token)


def softmax_sums_in_float32(dtype: Any) -> bool:
    """Whether a softmax in bfloat16 gives what one in float32 gives, rounded.

    If so, scores need no cast to float32 and back, which would double what is read and written.
    """
    if keras.backend.standardize_dtype(dtype) != "bfloat16" or not _may_specialize():
        return False
    return _try_softmax()


def normalizes_in_one_pass(dtype: Any) -> bool:
    """Whether `one_pass_layer_norm` of tensors of the dtype becomes one kernel here.

    Never outside of graphs, as it is TensorFlow's graph optimizer that puts the kernel there.
    """
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype not in ("float32", "bfloat16") or not _may_specialize():
        return False
    import tensorflow as tf

    return not tf.executing_eagerly() and _try_layer_norm(dtype)


def one_pass_layer_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    """Layer normalization as Keras 2 wrote it, by a batch normalization of each row.

    In this form TensorFlow's graph optimizer knows it (`FindMklLayerNorm` of its remapper) and puts
    oneDNN's kernel in its place, which sums in float32.

    Args:
        x: float32 or bfloat16 `[..., H]`.
        gamma: `[H]`, of the dtype of `x`.
        beta: As `gamma`.
        epsilon: Added to the variance.

    Returns:
        As `x`.
    """
    return _layer_norm(x, gamma, beta, epsilon, scale=1.0)


def _layer_norm(x: Any, gamma: Any, beta: Any, epsilon: float, scale: float) -> Any:
    import tensorflow as tf

    rows = tf.reduce_prod(tf.shape(x)[:-1], keepdims=True)
    # A number known beforehand would fold what it fills into constants, a form that is not known.
    rows = tf.raw_ops.PlaceholderWithDefault(input=rows, shape=(1,))
    none = tf.zeros((0,))
    normal = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(x, tf.concat(([1], rows, [gamma.shape[0], 1]), axis=0)),
        scale=tf.fill(rows, scale),
        offset=tf.fill(rows, 0.0),
        mean=none,
        variance=none,
        epsilon=epsilon,
        data_format="NCHW",
        is_training=True,
    ).y
    return tf.reshape(normal, tf.shape(x)) * gamma + beta


def _may_specialize() -> bool:
    return keras.config.backend() == "tensorflow" and not _runs_elsewhere.get()


@cache
def _try_softmax() -> bool:
    # oneDNN's softmax is such a one, TensorFlow's own is not.
    import tensorflow as tf

    with tf.init_scope():
        scores = tf.cast(tf.reshape(tf.linspace(-3.0, 3.0, 512), (1, 1, 1, -1)), tf.bfloat16)
        exact = tf.nn.softmax(tf.cast(scores, tf.float32))
        error = tf.abs(tf.cast(tf.nn.softmax(scores), tf.float32) / exact - 1)
        return bool(tf.reduce_max(error) < BFLOAT16_ROUNDING)


@cache
def _try_layer_norm(dtype: str) -> bool:
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return False

    @tf.function(input_signature=[tf.TensorSpec((2, 2), dtype)], autograph=False)
    def tripled(x: Any) -> Any:
        gamma, beta = tf.constant((3.0, 3.0), dtype), tf.constant((1.0, 1.0), dtype)
        # The optimizer takes the scale for the 1 that it is in a layer norm: no kernel doubles.
        return _layer_norm(tf.abs(x), gamma, beta, epsilon=1e-6, scale=2.0)

    with tf.init_scope():
        # Normalized it is -1 and 1, tripled and one added 4 at most, not the 7 of twice as much.
        return bool(tf.reduce_max(tripled(tf.constant([[1.0, 3.0], [3.0, 1.0]], dtype))) < 5)
