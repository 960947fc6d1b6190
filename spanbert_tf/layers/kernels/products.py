"""Matrix products."""

from typing import Any

import keras
from keras import ops


def matmul_transposed(x: Any, y: Any) -> Any:
    """The product of `x` and `y` transposed.

    Written as a product and a transpose, TensorFlow would transpose `y` once more for its
    gradient, and that gradient back.

    Args:
        x: float `[..., m, k]`.
        y: float `[..., n, k]`.

    Returns:
        float `[..., m, n]`.
    """
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.matmul(x, y, transpose_b=True)
    return ops.matmul(x, ops.swapaxes(y, -2, -1))
