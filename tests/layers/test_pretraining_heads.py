"""The heads of pretraining against their formulas in NumPy and the Hugging Face library's head."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from spanbert_tf.layers.pretraining_heads import (
    GeluDense,
    MaskedLMHead,
    SpanBoundaryHead,
    span_targets,
)
from tests.layer_checks import as_numpy, check_layer, randomize

B, T, HIDDEN, VOCABULARY, PLACES, PLACE_WIDTH = 3, 5, 14, 23, 7, 11
GENERATOR = np.random.default_rng(1)
STATES, LEFT, RIGHT = GENERATOR.standard_normal((3, B, T, HIDDEN)).astype("float32")
OFFSETS = GENERATOR.integers(0, PLACES, (B, T), "int32")


def make_embedding(dtype: Any = None, **options: Any) -> keras.layers.ReversibleEmbedding:
    embedding = keras.layers.ReversibleEmbedding(
        VOCABULARY, HIDDEN, dtype=dtype, name="tokens", **options
    )
    embedding.build((None, None))
    return embedding


def make_mlm_head(dtype: Any = None) -> MaskedLMHead:
    return MaskedLMHead(make_embedding(dtype), dtype=dtype)


def make_sbo_head(dtype: Any = None) -> SpanBoundaryHead:
    return SpanBoundaryHead(make_embedding(dtype), PLACES, PLACE_WIDTH, dtype=dtype)


HEADS = [(make_mlm_head, (STATES,)), (make_sbo_head, (LEFT, RIGHT, OFFSETS))]
each_head = pytest.mark.parametrize(("make_head", "inputs"), HEADS, ids=["mlm", "sbo"])


def gelu_dense(x: np.ndarray, layer: GeluDense) -> np.ndarray:
    kernel, bias, gamma, beta = layer.get_weights()
    x = x @ kernel + bias
    x = x * (1 + erf(x / np.sqrt(2))) / 2
    x = x - x.mean(-1, keepdims=True)
    return gamma * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) + beta


def tied_logits(x: np.ndarray, head: Any) -> np.ndarray:
    return x @ head.token_embedding.get_weights()[0].T + head.logits_bias.numpy()


def test_gelu_dense_layer(tmp_path: Path):
    output = check_layer(lambda **kwargs: GeluDense(9, **kwargs), (STATES,), tmp_path)
    assert output.shape == (B, T, 9)


def test_mlm_head_equals_the_formula():
    head = make_mlm_head()
    head(STATES)
    randomize(head)
    expected = tied_logits(gelu_dense(STATES, head.transform), head)
    np.testing.assert_allclose(as_numpy(head(STATES)), expected, atol=2e-5)


def test_sbo_head_equals_the_formula():
    head = make_sbo_head()
    head(LEFT, RIGHT, OFFSETS)
    randomize(head)
    expected = np.empty((B, T, VOCABULARY))
    for row, target in np.ndindex(B, T):
        place = head.position_embeddings.numpy()[OFFSETS[row, target]]
        x = np.concatenate([LEFT[row, target], RIGHT[row, target], place])
        x = gelu_dense(gelu_dense(x, head.transform_1), head.transform_2)
        expected[row, target] = tied_logits(x, head)
    np.testing.assert_allclose(as_numpy(head(LEFT, RIGHT, OFFSETS)), expected, atol=2e-5)


def test_logits_by_a_quantized_embedding():
    head = make_mlm_head()
    expected = as_numpy(head(STATES))
    head.token_embedding.quantize("int8")
    np.testing.assert_allclose(as_numpy(head(STATES)), expected, atol=np.abs(expected).max() / 50)


def test_logits_by_an_embedding_with_a_soft_cap_and_untied_weights():
    cap = 0.3
    head = MaskedLMHead(make_embedding(tie_weights=False, logit_soft_cap=cap))
    head(STATES)
    randomize(head)
    x = gelu_dense(STATES, head.transform) @ head.token_embedding.reverse_embeddings.numpy()
    expected = np.tanh(x / cap) * cap + head.logits_bias.numpy()
    np.testing.assert_allclose(as_numpy(head(STATES)), expected, atol=2e-5)


def test_mlm_head_equals_hugging_face():
    torch = pytest.importorskip("torch", reason="the oracle is the Hugging Face library's head")
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, num_attention_heads=2, num_hidden_layers=1
    )
    theirs = transformers.BertForMaskedLM(config).eval()
    decoder, transform = theirs.cls.predictions.decoder, theirs.cls.predictions.transform
    head = make_mlm_head()
    head(STATES)
    randomize(head)
    kernel, bias, gamma, beta = head.transform.get_weights()
    values = {
        transform.dense.weight: kernel.T,
        transform.dense.bias: bias,
        transform.LayerNorm.weight: gamma,
        transform.LayerNorm.bias: beta,
        decoder.weight: head.token_embedding.get_weights()[0],
        decoder.bias: head.logits_bias.numpy(),
    }
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.copy_(torch.tensor(value))
        expected = theirs.cls(torch.tensor(STATES)).numpy()
    np.testing.assert_allclose(as_numpy(head(STATES)), expected, atol=1e-5)


@each_head
def test_head_in_every_mode(make_head: Any, inputs: tuple):
    head = make_head()
    assert head(*inputs).shape == head.compute_output_shape(*(x.shape for x in inputs))
    randomize(head)
    eager = as_numpy(head(*inputs))
    dynamic = [tf.TensorSpec([None] * (x.ndim - 1) + [x.shape[-1]], x.dtype) for x in inputs]
    graph = tf.function(lambda *x: head(*x), input_signature=dynamic)
    compiled = tf.function(lambda *x: head(*x), jit_compile=True)
    np.testing.assert_allclose(as_numpy(graph(*inputs)), eager, atol=2e-5)
    np.testing.assert_allclose(as_numpy(compiled(*inputs)), eager, atol=2e-5)

    half = make_head("mixed_bfloat16")
    half(*inputs)
    half.set_weights(head.get_weights())
    logits = half(*inputs)
    assert logits.dtype == tf.float32
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
    assert np.abs(as_numpy(logits) - eager).mean() < 0.05

    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert type(again) is type(head)
    assert again.get_config() == head.get_config()


@each_head
def test_no_gradient_is_missing(make_head: Any, inputs: tuple):
    head = make_head()
    head(*inputs)
    randomize(head)
    tensors = [tf.constant(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = tf.reduce_sum(head(*tensors, training=True) ** 2)
    variables = [variable.value for variable in head.trainable_variables]
    for gradient in tape.gradient(loss, [*variables, *(x for x in tensors if x.dtype.is_floating)]):
        assert np.abs(as_numpy(gradient)).max() > 0


# Targets of spans.


def test_span_targets_example():
    targets = span_targets(
        tf.constant([[[2, 5], [7, 9]]]),
        tf.constant([[[11, 12], [13, 0]]]),
        tf.constant([[[1.0, 1.0], [1.0, 0.0]]]),
        4,
    )
    assert targets.left.numpy().tolist() == [[2, 2, 7, 0]]
    assert targets.right.numpy().tolist() == [[5, 5, 9, 0]]
    assert targets.offsets.numpy().tolist() == [[0, 1, 0, 0]]
    assert targets.ids.numpy().tolist() == [[11, 12, 13, 0]]
    assert targets.weights.numpy().tolist() == [[1, 1, 1, 0]]


@settings(max_examples=30)
@given(st.data())
def test_span_targets_are_those_of_a_loop(data: st.DataObject):
    sizes = st.integers(1, 5)
    rows, spans, pieces = (data.draw(sizes) for _ in range(3))
    slots = data.draw(st.integers(1, 7))
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    boundaries = generator.integers(0, 99, (rows, spans, 2), "int32")
    ids = generator.integers(1, 99, (rows, spans, pieces), "int32")
    used = generator.random(ids.shape) < data.draw(st.floats(0, 1))
    weights = (used * generator.uniform(0.5, 2, ids.shape)).astype("float32")
    expected = np.zeros((5, rows, slots))
    for row in range(rows):
        found = [(s, m) for s in range(spans) for m in range(pieces) if used[row, s, m]]
        for slot, (s, m) in enumerate(found[:slots]):
            left, right = boundaries[row, s]
            expected[:, row, slot] = left, right, m, ids[row, s, m], weights[row, s, m]
    targets = span_targets(*map(tf.constant, (boundaries, ids, weights)), slots)
    np.testing.assert_array_equal([as_numpy(x) for x in targets], expected.astype("float32"))


def test_span_targets_compiled():
    arrays = [
        GENERATOR.integers(0, 9, (4, 3, 2), "int32"),
        GENERATOR.integers(0, 9, (4, 3, 5), "int32"),
        GENERATOR.integers(0, 2, (4, 3, 5)).astype("float32"),
    ]
    expected = span_targets(*map(tf.constant, arrays), 9)
    dynamic = [tf.TensorSpec([None] * x.ndim, x.dtype) for x in arrays]
    slots = tf.constant(9)
    graph = tf.function(span_targets, input_signature=[*dynamic, tf.TensorSpec([], tf.int32)])
    compiled = tf.function(lambda *x: span_targets(*x, 9), jit_compile=True)
    for targets in (graph(*arrays, slots), compiled(*arrays)):
        for actual, wanted in zip(targets, expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)
