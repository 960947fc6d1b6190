"""The encoder over long texts: bucketed attention, and positions past the trained ones."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer
from spanbert_tf.export.hub import export_encoder
from spanbert_tf.layers.attention import MASKED_SCORE
from tests.conftest import ROOT
from tests.layer_checks import as_numpy, randomize

POSITIONS = 11
SIZES = {
    "vocabulary_size": 13,
    "num_layers": 3,
    "num_heads": 3,
    "hidden_dim": 6,
    "intermediate_dim": 7,
    "max_sequence_length": POSITIONS,
}
LONG = {"attention": "bucketed", "block_size": 4, "long_positions": "restart"}
Inputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def dense() -> SpanBertBackbone:
    model = SpanBertBackbone(**SIZES)
    randomize(model)
    return model


def make_like(model: SpanBertBackbone, **kwargs) -> SpanBertBackbone:
    other = SpanBertBackbone(**{**SIZES, **kwargs})
    other.set_weights(model.get_weights())
    return other


def make_inputs(length: int, seed: int = 0) -> Inputs:
    """Rows of all, of half of, and of no tokens."""
    generator = np.random.default_rng(seed)
    lengths = np.array([length, (length + 1) // 2, 0])
    return {
        "token_ids": generator.integers(0, 13, (3, length)).astype("int32"),
        "segment_ids": generator.integers(0, 2, (3, length)).astype("int32"),
        "padding_mask": (np.arange(length) < lengths[:, None]).astype("int32"),
    }


def sequence_output(model: SpanBertBackbone, inputs: Inputs) -> np.ndarray:
    return as_numpy(model(inputs)["sequence_output"])


def masked_output(model: SpanBertBackbone, inputs: Inputs, seen: np.ndarray) -> np.ndarray:
    """What a dense encoder gives with pairs of tokens masked by hand and positions restarting."""
    mask = inputs["padding_mask"]
    bias = np.where(seen & (mask[:, None] == 1), 0, MASKED_SCORE).astype("float32")[:, None]
    places = np.tile(np.arange(mask.shape[1], dtype="int32") % POSITIONS, (len(mask), 1))
    tokens = model.token_embedding(inputs["token_ids"])
    x = model.embeddings(tokens, inputs["segment_ids"], places)
    for layer in model.transformer_layers:
        x = layer(x, bias)
    return as_numpy(x)


@pytest.mark.parametrize(("neighbors", "first"), [(0, False), (0, True), (1, False), (1, True)])
@pytest.mark.parametrize("length", [1, 4, 30])
def test_equals_the_dense_encoder(
    dense: SpanBertBackbone, length: int, neighbors: int, first: bool
):
    bucketed = make_like(dense, **LONG, neighbors=neighbors, global_first_token=first)
    inputs = make_inputs(length)
    block = np.arange(length) // LONG["block_size"]
    seen = np.abs(block[:, None] - block) <= neighbors
    if first:
        seen[0] = seen[:, 0] = True
    output = sequence_output(bucketed, inputs)
    is_token = inputs["padding_mask"] == 1
    expected = masked_output(dense, inputs, seen)
    np.testing.assert_allclose(output[is_token], expected[is_token], atol=2e-5)
    assert np.isfinite(output).all()


def test_one_block_is_dense_attention(dense: SpanBertBackbone):
    inputs = make_inputs(POSITIONS)
    bucketed = make_like(dense, attention="bucketed", block_size=64)
    is_token = inputs["padding_mask"] == 1
    np.testing.assert_allclose(
        sequence_output(bucketed, inputs)[is_token],
        sequence_output(dense, inputs)[is_token],
        atol=1e-5,
    )


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_graphs_agree(dense: SpanBertBackbone, jit_compile: bool):
    bucketed = make_like(dense, **LONG)
    graph = tf.function(bucketed, autograph=False, jit_compile=jit_compile, reduce_retracing=True)
    for length in (1, 3, 9, 27):
        inputs = make_inputs(length)
        output = graph({name: tf.constant(value) for name, value in inputs.items()})
        np.testing.assert_allclose(
            as_numpy(output["sequence_output"]), sequence_output(bucketed, inputs), atol=2e-5
        )


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_dtypes(dense: SpanBertBackbone, dtype: str):
    inputs = make_inputs(30)
    expected = sequence_output(make_like(dense, **LONG), inputs)
    other = make_like(dense, **LONG, dtype=dtype)
    assert other(inputs)["sequence_output"].dtype == other.compute_dtype
    difference = np.abs(sequence_output(other, inputs) - expected)
    assert difference.mean() < (1e-5 if dtype == "float64" else 0.05)


def test_padding_never_reaches_a_token(dense: SpanBertBackbone):
    bucketed, inputs = make_like(dense, **LONG), make_inputs(30)
    is_token = inputs["padding_mask"] == 1
    changed = {**inputs, "token_ids": np.where(is_token, inputs["token_ids"], 12)}
    before, after = sequence_output(bucketed, inputs), sequence_output(bucketed, changed)
    np.testing.assert_array_equal(before[is_token], after[is_token])
    assert (before != after).any()


def test_states_at_positions_are_rows_of_the_sequence(dense: SpanBertBackbone):
    bucketed, inputs = make_like(dense, **LONG), make_inputs(30)
    positions = np.array([[0, 29, 3], [4, 4, 14], [2, 1, 7]], "int32")
    expected = np.take_along_axis(sequence_output(bucketed, inputs), positions[:, :, None], axis=1)
    output = as_numpy(bucketed.states_at(inputs, positions))
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_presets_load_as_the_other_kind(dense: SpanBertBackbone, tmp_path: Path):
    dense.save_to_preset(tmp_path / "dense")
    bucketed = SpanBertBackbone.from_preset(str(tmp_path / "dense"), **LONG, neighbors=0)
    assert [w.path for w in bucketed.weights] == [w.path for w in dense.weights]
    inputs = make_inputs(30)
    output = sequence_output(bucketed, inputs)
    np.testing.assert_array_equal(
        output, sequence_output(make_like(dense, **LONG, neighbors=0), inputs)
    )
    bucketed.save_to_preset(tmp_path / "bucketed")
    again = SpanBertBackbone.from_preset(str(tmp_path / "bucketed"))
    assert again.get_config() == bucketed.get_config()
    np.testing.assert_array_equal(sequence_output(again, inputs), output)
    back = SpanBertBackbone.from_preset(
        str(tmp_path / "bucketed"), attention="dense", long_positions=None
    )
    short = make_inputs(POSITIONS)
    np.testing.assert_array_equal(sequence_output(back, short), sequence_output(dense, short))


def test_presets_of_before_are_dense():
    config = SpanBertBackbone(**SIZES).get_config()
    for name in ("attention", "block_size", "neighbors", "global_first_token", "long_positions"):
        del config[name]
    again = SpanBertBackbone.from_config(config)
    assert (again.attention, again.long_positions) == ("dense", None)


@pytest.mark.parametrize("length", [POSITIONS, POSITIONS + 2, 3 * POSITIONS + 1])
def test_extended_positions_begin_as_restarting_ones(dense: SpanBertBackbone, length: int):
    extended = dense.extend_positions(length)
    assert extended.max_sequence_length == length
    restarting = make_like(dense, long_positions="restart")
    inputs = make_inputs(length)
    np.testing.assert_allclose(
        sequence_output(extended, inputs), sequence_output(restarting, inputs), atol=1e-6
    )
    with pytest.raises(ValueError, match=f"max_sequence_length={length} .*received {length + 1}"):
        extended(make_inputs(length + 1))


def test_extended_positions_learn_by_themselves(dense: SpanBertBackbone):
    extended = dense.extend_positions(2 * POSITIONS)
    before = dense.get_weights()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(extended(make_inputs(2 * POSITIONS))["pooled_output"] ** 3)
    variables = extended.trainable_variables
    keras.optimizers.SGD(0.1).apply(tape.gradient(loss, [v.value for v in variables]), variables)
    table = as_numpy(extended.embeddings.position_embeddings)
    assert (table[:POSITIONS] != table[POSITIONS:]).any()
    for ours, theirs in zip(dense.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_positions_cannot_become_fewer(dense: SpanBertBackbone):
    with pytest.raises(ValueError, match="at least the backbone's own, 11; received 10"):
        dense.extend_positions(10)


@pytest.mark.parametrize("attention", ["dense", "bucketed"])
def test_a_long_text_without_a_rule_is_an_error(attention: str):
    model = SpanBertBackbone(**SIZES, attention=attention)
    message = r"(?s)max_sequence_length=11.*received.*12.*restart.*extend_positions"
    with pytest.raises(ValueError, match=message):
        model(make_inputs(12))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        model.predict(make_inputs(12), verbose=0)


@pytest.mark.parametrize("attention", ["dense", "bucketed"])
def test_a_length_known_only_later_is_checked_too(attention: str):
    model = SpanBertBackbone(**SIZES, attention=attention)
    specs = {name: tf.TensorSpec((None, None), tf.int32) for name in make_inputs(1)}
    graph = tf.function(model, input_signature=[specs], autograph=False)
    assert graph(make_inputs(POSITIONS))["sequence_output"].shape == (3, POSITIONS, 6)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"(?s)max_sequence_length=11.*received.*12.*restart.*extend_positions",
    ):
        graph(make_inputs(12))


@pytest.mark.parametrize("attention", ["dense", "bucketed"])
def test_no_token_is_an_error(attention: str):
    with pytest.raises(ValueError, match="at least one token; received 0"):
        SpanBertBackbone(**SIZES, attention=attention)(make_inputs(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention": "sparse"}, r"attention must be one of.*'bucketed'.*received 'sparse'"),
        ({"block_size": 0}, r"block_size must be at least 1; received block_size=0"),
        ({"neighbors": 2}, r"neighbors must be 0 or 1; received neighbors=2"),
        ({"long_positions": "wrap"}, r"long_positions must be None or 'restart'; received 'wrap'"),
    ],
)
def test_settings_that_do_not_fit_are_errors(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SpanBertBackbone(**SIZES, **arguments)


def test_rows_of_several_blocks_need_dense_attention(dense: SpanBertBackbone):
    inputs = {**make_inputs(8), "position_ids": np.array([[0, 1, 2, 0, 1, 0, 0, 0]] * 3, "int32")}
    with pytest.raises(ValueError, match=r"position_ids.*attention='dense'.*'bucketed'"):
        make_like(dense, **LONG).states_at(inputs)


@pytest.mark.slow
def test_exported_encoder_takes_long_texts(dense: SpanBertBackbone, tmp_path: Path):
    bucketed, inputs = make_like(dense, **LONG), make_inputs(30)
    tokenizer = SpanBertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])
    export_encoder(bucketed, tokenizer, tmp_path / "encoder")
    exported = tf.saved_model.load(str(tmp_path / "encoder"))
    outputs = exported(
        {
            "input_word_ids": tf.constant(inputs["token_ids"]),
            "input_mask": tf.constant(inputs["padding_mask"]),
            "input_type_ids": tf.constant(inputs["segment_ids"]),
        }
    )
    np.testing.assert_allclose(
        outputs["sequence_output"], sequence_output(bucketed, inputs), atol=2e-5
    )


@pytest.mark.slow
def test_jax_agrees(dense: SpanBertBackbone, tmp_path: Path):
    pytest.importorskip("jax", reason="the jax backend needs jax")
    bucketed, inputs = make_like(dense, **LONG), make_inputs(30)
    bucketed.save_to_preset(tmp_path / "preset")
    np.savez(tmp_path / "inputs.npz", **inputs)
    source = (
        "import sys, keras, numpy as np\n"
        "from spanbert_tf import SpanBertBackbone\n"
        "backbone = SpanBertBackbone.from_preset(sys.argv[1])\n"
        "outputs = backbone.predict(dict(np.load(sys.argv[2])), verbose=0)\n"
        "np.save(sys.argv[3], outputs['sequence_output'])\n"
        "print(keras.backend.backend())\n"
    )
    paths = [str(tmp_path / name) for name in ("preset", "inputs.npz", "output.npy")]
    outcome = subprocess.run(
        [sys.executable, "-c", source, *paths],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.split() == ["jax"]
    np.testing.assert_allclose(
        np.load(tmp_path / "output.npy"), sequence_output(bucketed, inputs), atol=2e-5
    )
