"""Bucketed attention against dense attention in which all other pairs are masked."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.layers.attention import (
    MASKED_SCORE,
    MultiHeadSelfAttention,
    attention_bias,
    packed_attention_bias,
)
from spanbert_tf.layers.bucketed_attention import BucketedSelfAttention
from tests.layer_checks import as_numpy, check_layer, randomize

# Letters: b batch, s sequence, h heads, d width of a head, k tokens of a block.
H, D = 3, 2
KINDS = [(0, False), (0, True), (1, False), (1, True)]


def is_seen(length: int, block_size: int, neighbors: int, global_first_token: bool) -> np.ndarray:
    """Tells, bool `[s, s]`, whether a token (row) sees another (column), pair by pair."""
    seen = np.zeros((length, length), bool)
    for i in range(length):
        for j in range(length):
            near = abs(i // block_size - j // block_size) <= neighbors
            seen[i, j] = near or (global_first_token and 0 in (i, j))
    return seen


def dense_bias(mask: np.ndarray, *kind: int) -> np.ndarray:
    seen = is_seen(mask.shape[1], *kind) & (mask[:, None] == 1)
    return np.where(seen, 0, MASKED_SCORE).astype("float32")[:, None]


def make_pair(
    block_size: int, neighbors: int, global_first_token: bool, **kwargs
) -> tuple[MultiHeadSelfAttention, BucketedSelfAttention]:
    """A dense and a bucketed layer with the same weights."""
    dense = MultiHeadSelfAttention(H, **kwargs)
    bucketed = BucketedSelfAttention(
        H,
        block_size=block_size,
        neighbors=neighbors,
        global_first_token=global_first_token,
        **kwargs,
    )
    for layer in (dense, bucketed):
        layer.build((None, None, H * D))
    randomize(dense)
    bucketed.set_weights(dense.get_weights())
    return dense, bucketed


def make_inputs(length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all, of half of, and of no tokens."""
    x = np.random.default_rng(seed).standard_normal((3, length, H * D)).astype("float32")
    lengths = np.array([length, (length + 1) // 2, 0])
    return x, (np.arange(length) < lengths[:, None]).astype("int32")


def output_and_gradients(
    layer: MultiHeadSelfAttention, x: np.ndarray, bias: np.ndarray, mask: np.ndarray
) -> list[np.ndarray]:
    """The output at tokens, and gradients to the input and to all weights."""
    source = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(source)
        output = layer(source, bias) * tf.cast(mask[..., None], "float32")
        loss = tf.reduce_sum(tf.sin(output))
    sources = [source, *(variable.value for variable in layer.trainable_variables)]
    return [as_numpy(value) for value in (output, *tape.gradient(loss, sources))]


@pytest.mark.parametrize("block_size", [1, 7, 64, 300])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 130, 200])
def test_equals_dense_attention(length: int, block_size: int):
    x, mask = make_inputs(length)
    for neighbors, global_first_token in KINDS:
        dense, bucketed = make_pair(block_size, neighbors, global_first_token)
        bias = dense_bias(mask, block_size, neighbors, global_first_token)
        expected = output_and_gradients(dense, x, bias, mask)
        found = output_and_gradients(bucketed, x, attention_bias(mask), mask)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5 * (1 + np.abs(theirs).max()))


@given(
    length=st.integers(1, 24),
    block_size=st.integers(1, 30),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
)
@settings(max_examples=20)
def test_padding_may_be_anywhere(length: int, block_size: int, kind: tuple, seed: int):
    x, _ = make_inputs(length, seed)
    mask = np.random.default_rng(seed).integers(0, 2, (3, length)).astype("int32")
    dense, bucketed = make_pair(block_size, *kind)
    output = as_numpy(bucketed(x, attention_bias(mask)))
    expected = as_numpy(dense(x, dense_bias(mask, block_size, *kind)))
    np.testing.assert_allclose(output[mask == 1], expected[mask == 1], atol=1e-5)
    assert np.isfinite(output).all()


@pytest.mark.parametrize("kind", KINDS)
def test_layer(kind: tuple, tmp_path: Path):
    """Lengths that are known only when a graph runs, XLA, bfloat16, saving."""
    x, mask = make_inputs(11)

    def make_layer(**kwargs) -> BucketedSelfAttention:
        return BucketedSelfAttention(
            H, 0.1, block_size=4, neighbors=kind[0], global_first_token=kind[1], **kwargs
        )

    inputs = (x[:2], as_numpy(attention_bias(mask))[:2])
    output = check_layer(make_layer, inputs, tmp_path, bfloat16_tolerance=0.2)
    assert output.shape == (2, 11, H * D)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("float64", 1e-12), ("mixed_bfloat16", 0.1), ("mixed_float16", 0.02)],
)
def test_dtypes(dtype: str, tolerance: float):
    x, mask = make_inputs(13)
    dense, bucketed = make_pair(4, 1, True, dtype=dtype)
    if dtype == "float64":
        x = x.astype(dtype)
    output = bucketed(x, attention_bias(mask))
    expected = dense(x, dense_bias(mask, 4, 1, True))
    assert output.dtype == expected.dtype == bucketed.compute_dtype
    difference = np.abs(tf.cast(output, "float64") - tf.cast(expected, "float64"))
    assert difference[mask == 1].max() < tolerance
    assert np.isfinite(as_numpy(output)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_all_padding_is_finite(dtype: str, kind: tuple):
    _, bucketed = make_pair(3, *kind, dtype=dtype)
    x = np.random.default_rng(0).standard_normal((2, 8, H * D)).astype("float32")
    source = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(source)
        output = bucketed(source, attention_bias(np.zeros((2, 8), "int32")))
    assert np.isfinite(as_numpy(output)).all()
    assert np.isfinite(as_numpy(tape.gradient(output, source))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_token_at_all(kind: tuple):
    x, mask = make_inputs(0)
    dense, bucketed = make_pair(4, *kind)
    assert bucketed(x, attention_bias(mask)).shape == (3, 0, H * D)
    assert dense(x, attention_bias(mask)).shape == (3, 0, H * D)
    signature = [tf.TensorSpec((None, None, H * D)), tf.TensorSpec((None, 1, 1, None))]
    graph = tf.function(lambda x, bias: bucketed(x, bias), input_signature=signature)
    assert graph(x, attention_bias(mask)).shape == (3, 0, H * D)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_rows_of_the_output(kind: tuple):
    x, mask = make_inputs(9)
    positions = np.array([[0, 8, 3], [4, 4, 0], [2, 1, 7]], "int32")
    _, bucketed = make_pair(4, *kind)
    output = as_numpy(bucketed(x, attention_bias(mask), positions))
    rows = np.take_along_axis(
        as_numpy(bucketed(x, attention_bias(mask))), positions[..., None], axis=1
    )
    np.testing.assert_allclose(output, rows, atol=1e-6)
    shapes = (x.shape, (3, 1, 1, 9), positions.shape)
    assert bucketed.compute_output_shape(*shapes) == output.shape


def test_a_row_never_reaches_another():
    """The first and last blocks of a text have no neighbours, least of all other texts' blocks."""
    x, _ = make_inputs(8)
    _, bucketed = make_pair(4, 1, True)
    bias = attention_bias(np.ones((3, 8), "int32"))
    before = as_numpy(bucketed(x, bias))
    x[1] = np.nan
    np.testing.assert_array_equal(as_numpy(bucketed(x, bias))[::2], before[::2])


def test_weights_are_those_of_dense_attention():
    dense, bucketed = make_pair(4, 1, True, name="attention")
    assert [w.path for w in bucketed.weights] == [w.path for w in dense.weights]
    assert [w.shape for w in bucketed.weights] == [w.shape for w in dense.weights]


def test_no_tensor_of_all_pairs():
    """No tensor of the forward or the backward pass has a value for each pair of tokens."""
    length = 1021
    _, bucketed = make_pair(16, 1, True, dropout=0.1)

    @tf.function
    def train(x: tf.Tensor, bias: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(bucketed(x, bias, training=True)))
        return tape.gradient(loss, [x, *(v.value for v in bucketed.trainable_variables)])

    specs = [tf.TensorSpec((1, length, H * D)), tf.TensorSpec((1, 1, 1, length))]
    graph = train.get_concrete_function(*specs).graph
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    floats = [tensor for tensor in tensors if tensor.dtype.is_floating]
    assert all(tensor.shape.is_fully_defined() for tensor in floats)
    sizes = [tensor.shape.num_elements() or 0 for tensor in tensors]
    assert length * H * 49 <= max(sizes) < length**2 / 3  # Scores of a window of 49 keys.


def test_dropout_meets_its_rate():
    """Queries of zeros weigh the k keys of a block alike; values are ones.

    What is left of the weights' sum is a binomial variable over its mean.
    """
    k, rate, length = 8, 0.25, 8 * 512
    layer = BucketedSelfAttention(
        1, rate, block_size=k, neighbors=0, global_first_token=False, dtype="float32"
    )
    layer.build((None, None, 2))
    value = np.array([0, 0, 0, 0, 1, 1], "float32")
    layer.set_weights([np.zeros((2, 6)), value, np.eye(2), np.zeros(2)])
    x, bias = np.zeros((1, length, 2), "float32"), np.zeros((1, 1, 1, length), "float32")
    kept = as_numpy(layer(x, bias, training=True))[0, :, 0] * (1 - rate) * k
    np.testing.assert_allclose(kept, kept.round(), atol=1e-3)
    assert kept.mean() == pytest.approx((1 - rate) * k, abs=5 * (k * rate / length) ** 0.5)
    assert kept.var() == pytest.approx(k * rate * (1 - rate), rel=0.15)
    np.testing.assert_allclose(as_numpy(layer(x, bias))[0, :, 0], 1, atol=1e-6)


def test_dropout_is_reproducible():
    x, mask = make_inputs(13)
    outputs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        _, layer = make_pair(4, 1, True, dropout=0.5)
        outputs.append(as_numpy(layer(x, attention_bias(mask), training=True)))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


def test_a_bias_for_each_query_is_an_error():
    x, _ = make_inputs(6)
    _, bucketed = make_pair(4, 1, True)
    bias = packed_attention_bias(np.array([[0, 1, 2, 0, 1, 2]] * 3))
    with pytest.raises(ValueError, match=r"\[batch, 1, 1, sequence\].*\(3, 1, 6, 6\).*'dense'"):
        bucketed(x, bias)
    signature = [tf.TensorSpec((None, None, H * D)), tf.TensorSpec((None, None, None, None))]
    graph = tf.function(lambda x, bias: bucketed(x, bias), input_signature=signature)
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph(x, bias)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"block_size": 0}, r"block_size must be at least 1; received block_size=0"),
        ({"block_size": -3}, r"block_size must be at least 1; received block_size=-3"),
        ({"neighbors": 2}, r"neighbors must be 0 or 1; received neighbors=2"),
        ({"neighbors": -1}, r"neighbors must be 0 or 1; received neighbors=-1"),
    ],
)
def test_settings_out_of_range_are_errors(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        BucketedSelfAttention(H, **arguments)
