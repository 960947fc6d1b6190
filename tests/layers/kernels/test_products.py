"""The transposed product against NumPy, forward and gradient."""

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.layers.kernels.products import matmul_transposed

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_product_and_its_gradient_without_a_transpose(batch: tuple[int, ...]):
    x, y, upstream = (
        GENERATOR.standard_normal((*batch, *shape)).astype("float32")
        for shape in ((4, 6), (5, 6), (4, 5))
    )

    @tf.function(autograph=False)
    def run(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            product = matmul_transposed(x, y)
        return product, *tape.gradient(product, [x, y], upstream)

    product, d_x, d_y = run(x, y)
    np.testing.assert_allclose(product, np.einsum("...mk,...nk->...mn", x, y), atol=1e-5)
    np.testing.assert_allclose(d_x, np.einsum("...mn,...nk->...mk", upstream, y), atol=1e-5)
    np.testing.assert_allclose(d_y, np.einsum("...mn,...mk->...nk", upstream, x), atol=1e-5)
    operations = run.get_concrete_function(tf.constant(x), tf.constant(y)).graph.get_operations()
    assert "Transpose" not in {operation.type for operation in operations}
