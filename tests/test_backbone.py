"""The encoder against the Hugging Face library's, on every backend, in every mode, after saving."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertBackbone, load_hugging_face
from spanbert_tf.handles import bundled_minilm
from tests.checkpoints.foreign_folders import CONFIG, random_inputs, write_checkpoint
from tests.conftest import ROOT
from tests.layer_checks import as_numpy, randomize

GOLDEN = ROOT / "tests" / "goldens" / "bert.npz"
SIZES = {
    "vocabulary_size": 13,
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 6,
    "intermediate_dim": 7,
    "max_sequence_length": 11,
}
SENTENCES = [
    "SpanBERT masks contiguous spans and predicts them from the tokens at their boundaries.",
    "A film so dull that even its trailer felt long.",
    "Who wrote the music? She did, in 1994, on a train between Turin and Milan.",
]
Inputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def backbone() -> SpanBertBackbone:
    model = SpanBertBackbone(**SIZES)
    randomize(model)
    return model


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return random_inputs(CONFIG, batch=5, length=11, seed=3)


@pytest.fixture(scope="module")
def golden() -> Inputs:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture
def golden_folder(golden: Inputs, tmp_path: Path) -> Path:
    prefix = "tensors/"
    tensors = {k.removeprefix(prefix): t for k, t in golden.items() if k.startswith(prefix)}
    return write_checkpoint(tmp_path / "golden", tensors)


def encoder_inputs(arrays: Inputs) -> Inputs:
    return {name: arrays[name] for name in ("token_ids", "segment_ids", "padding_mask")}


def sequence_output(model: SpanBertBackbone, inputs: Inputs) -> np.ndarray:
    return as_numpy(model(inputs)["sequence_output"])


def traced_output(model: SpanBertBackbone, inputs: Inputs, spec: tf.TensorSpec) -> np.ndarray:
    run = tf.function(
        lambda features: model(features)["sequence_output"],
        input_signature=[dict.fromkeys(inputs, spec)],
        autograph=False,
    )
    return run(inputs).numpy()


def hugging_face_output(folder: Path, inputs: Inputs, dtype: str = "float32") -> np.ndarray:
    torch = pytest.importorskip("torch", reason="the oracle is the Hugging Face library's BERT")
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    with torch.no_grad():
        return model(
            torch.tensor(inputs["token_ids"]),
            token_type_ids=torch.tensor(inputs["segment_ids"]),
            attention_mask=torch.tensor(inputs["padding_mask"]),
        ).last_hidden_state.numpy()


@pytest.mark.parametrize(
    ("hidden", "heads", "intermediate", "layers", "segments"),
    [(6, 3, 7, 1, 2), (10, 2, 11, 2, 3), (14, 7, 5, 3, 2), (33, 11, 13, 2, 1), (5, 1, 2, 5, 2)],
)
def test_equals_hugging_face(
    hidden: int, heads: int, intermediate: int, layers: int, segments: int, tmp_path: Path
):
    config = {
        **CONFIG,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "type_vocab_size": segments,
    }
    folder = write_checkpoint(tmp_path, config=config)
    inputs = random_inputs(config, batch=7, length=11, seed=hidden)
    backbone, _ = load_hugging_face(folder)
    expected = hugging_face_output(folder, inputs)
    difference = np.abs(sequence_output(backbone, inputs) - expected)
    assert difference.max() <= 1e-5


def test_equals_the_golden(golden: Inputs, golden_folder: Path):
    backbone, _ = load_hugging_face(golden_folder)
    output = sequence_output(backbone, encoder_inputs(golden))
    assert np.abs(output - golden["sequence_output"]).max() <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_equal_the_golden(
    backend: str, golden: Inputs, golden_folder: Path, tmp_path: Path
):
    pytest.importorskip(backend, reason=f"the {backend} backend needs {backend}")
    source = (
        "import sys, keras, numpy as np\n"
        "from spanbert_tf import load_hugging_face\n"
        "backbone, _ = load_hugging_face(sys.argv[1])\n"
        "arrays = np.load(sys.argv[2])\n"
        "inputs = {k: arrays[k] for k in ('token_ids', 'segment_ids', 'padding_mask')}\n"
        "np.save(sys.argv[3], backbone.predict(inputs, verbose=0)['sequence_output'])\n"
        "print(keras.backend.backend())\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", source, golden_folder, GOLDEN, tmp_path / "output.npy"],
        env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.split() == [backend]
    output = np.load(tmp_path / "output.npy")
    assert np.abs(output - golden["sequence_output"]).max() <= 1e-5


@pytest.fixture(scope="module")
def minilm() -> Path:
    try:
        return bundled_minilm()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_real_weights_equal_hugging_face(minilm: Path):
    """On text of three sentences, and on 512 tokens: the longest input."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    backbone, _ = load_hugging_face(minilm)
    for texts in (SENTENCES, [" ".join(SENTENCES * 20), SENTENCES[0]]):
        encoded = tokenizer(
            texts, padding=True, truncation=True, max_length=512, return_tensors="np"
        )
        inputs = {
            "token_ids": encoded["input_ids"],
            "segment_ids": (np.cumsum(encoded["input_ids"] == 1010, axis=1) % 2).astype("int32"),
            "padding_mask": encoded["attention_mask"],
        }
        is_token = inputs["padding_mask"] == 1
        expected = hugging_face_output(minilm, inputs)
        output = sequence_output(backbone, inputs)
        assert np.abs(output - expected)[is_token].max() <= 1e-5
    assert inputs["token_ids"].shape == (2, 512)


def test_pooled_output_is_the_first_state(backbone: SpanBertBackbone, inputs: Inputs):
    outputs = backbone(inputs)
    assert outputs["sequence_output"].shape == (5, 11, 6)
    np.testing.assert_array_equal(outputs["pooled_output"], outputs["sequence_output"][:, 0])


def test_states_at_positions_are_rows_of_the_sequence(backbone: SpanBertBackbone, inputs: Inputs):
    positions = np.random.default_rng(0).integers(0, 11, (5, 7)).astype("int32")
    expected = np.take_along_axis(sequence_output(backbone, inputs), positions[:, :, None], axis=1)
    features = encoder_inputs(inputs)
    eager = backbone.states_at(features, positions)
    compiled = tf.function(backbone.states_at, jit_compile=True)(features, positions)
    np.testing.assert_allclose(as_numpy(eager), expected, atol=1e-5)
    np.testing.assert_allclose(as_numpy(compiled), expected, atol=1e-5)


def test_gradients_of_states_at_positions(backbone: SpanBertBackbone, inputs: Inputs):
    """All weights learn from a few positions as they do from the same rows of the sequence."""
    positions = np.array([[0, 3], [10, 2], [4, 4], [1, 0], [5, 9]], "int32")
    features = {name: tf.constant(value) for name, value in encoder_inputs(inputs).items()}
    variables = [variable.value for variable in backbone.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        at_positions = tf.reduce_sum(tf.sin(backbone.states_at(features, positions)))
        rows = tf.gather(backbone(features)["sequence_output"], positions, batch_dims=1)
        of_rows = tf.reduce_sum(tf.sin(rows))
    for ours, expected in zip(
        tape.gradient(at_positions, variables), tape.gradient(of_rows, variables), strict=True
    ):
        ours, expected = tf.convert_to_tensor(ours), tf.convert_to_tensor(expected)
        np.testing.assert_allclose(as_numpy(ours), as_numpy(expected), atol=1e-4)


def test_eager_graph_and_xla_agree(backbone: SpanBertBackbone, inputs: Inputs):
    eager = sequence_output(backbone, inputs)
    for compiled in (
        tf.function(backbone, autograph=False),
        tf.function(backbone, autograph=False, jit_compile=True),
    ):
        outputs = compiled({k: tf.constant(v) for k, v in inputs.items()})
        np.testing.assert_allclose(as_numpy(outputs["sequence_output"]), eager, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
def test_half_precision_is_close(backbone: SpanBertBackbone, inputs: Inputs, dtype: str):
    half = SpanBertBackbone(**SIZES, dtype=dtype)
    half.set_weights(backbone.get_weights())
    difference = np.abs(sequence_output(half, inputs) - sequence_output(backbone, inputs))
    assert difference.mean() < 0.05


def test_padding_never_reaches_a_token(backbone: SpanBertBackbone, inputs: Inputs):
    is_token = inputs["padding_mask"] == 1
    changed = {
        **inputs,
        "token_ids": np.where(is_token, inputs["token_ids"], 12),
        "segment_ids": np.where(is_token, inputs["segment_ids"], 1),
    }
    before, after = sequence_output(backbone, inputs), sequence_output(backbone, changed)
    np.testing.assert_array_equal(before[is_token], after[is_token])
    assert (before != after).any()


def test_padding_a_batch_changes_nothing(backbone: SpanBertBackbone, inputs: Inputs):
    short = {name: array[:, :7] for name, array in inputs.items()}
    padded = {name: np.pad(array, [(0, 0), (0, 4)]) for name, array in short.items()}
    is_token = short["padding_mask"] == 1
    before, after = sequence_output(backbone, short), sequence_output(backbone, padded)
    np.testing.assert_allclose(after[:, :7][is_token], before[is_token], atol=1e-6)


def test_all_padding_gives_finite_states(backbone: SpanBertBackbone, inputs: Inputs):
    empty = {name: np.zeros_like(array) for name, array in inputs.items()}
    assert np.isfinite(sequence_output(backbone, empty)).all()


def test_input_past_the_last_position_is_an_error(backbone: SpanBertBackbone):
    long = {
        name: np.ones((1, 12), "int32") for name in ("token_ids", "segment_ids", "padding_mask")
    }
    with pytest.raises(ValueError, match=r"max_sequence_length=11.*received 12"):
        backbone(long)


@pytest.mark.parametrize("base", [SpanBertBackbone, keras_hub.models.Backbone])
def test_preset_round_trip(base: type, backbone: SpanBertBackbone, inputs: Inputs, tmp_path: Path):
    backbone.save_to_preset(tmp_path)
    again = base.from_preset(str(tmp_path))
    assert type(again) is SpanBertBackbone
    assert again.get_config() == backbone.get_config()
    np.testing.assert_array_equal(sequence_output(again, inputs), sequence_output(backbone, inputs))


@pytest.mark.parametrize("base", [SpanBertBackbone, keras_hub.models.Backbone])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_preset_of_a_mixed_policy(
    base: type, policy: str, backbone: SpanBertBackbone, inputs: Inputs, tmp_path: Path
):
    mixed = SpanBertBackbone(**SIZES, dtype=policy)
    mixed.set_weights(backbone.get_weights())
    mixed.save_to_preset(tmp_path)
    again = base.from_preset(str(tmp_path))
    assert again.dtype_policy.name == "float32"
    np.testing.assert_array_equal(sequence_output(again, inputs), sequence_output(backbone, inputs))
    again = base.from_preset(str(tmp_path), dtype=policy)
    assert again.dtype_policy.name == policy
    np.testing.assert_array_equal(sequence_output(again, inputs), sequence_output(mixed, inputs))


def test_preset_arguments_take_the_place_of_the_presets(backbone: SpanBertBackbone, tmp_path: Path):
    backbone.save_to_preset(tmp_path)
    again = SpanBertBackbone.from_preset(str(tmp_path), load_weights=False, dropout=0.3)
    assert again.dropout == 0.3


@pytest.mark.parametrize(
    ("name", "millions"),
    [("spanbert_tiny", 4.2), ("spanbert_l6_h384", 22.6), ("spanbert_base_cased", 107.7)],
)
def test_named_sizes(name: str, millions: float):
    """Published: 22.7 M with its pooler for MiniLM, 108 M for base."""
    model = SpanBertBackbone.from_preset(name, load_weights=False)
    assert model.count_params() / 1e6 == pytest.approx(millions, abs=0.1)


def test_a_size_has_no_weights():
    with pytest.raises(
        ValueError, match=r"(?s)'spanbert_base_cased' names a size.*spanbert-tf convert"
    ):
        SpanBertBackbone.from_preset("spanbert_base_cased")


def test_a_hugging_face_folder_is_no_preset(tmp_path: Path):
    folder = write_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"(?s)no preset of SpanBertBackbone.*spanbert-tf convert"):
        SpanBertBackbone.from_preset(str(folder))


def test_no_preset_at_all(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        SpanBertBackbone.from_preset(str(tmp_path))


def test_lora_trains_the_adapters_alone(inputs: Inputs, tmp_path: Path):
    backbone = SpanBertBackbone(**SIZES)
    randomize(backbone)
    before = sequence_output(backbone, inputs)
    backbone.enable_lora(2)
    # Two factors and a bias of each of a block's four dense layers.
    assert len(backbone.trainable_variables) == 3 * 4 * SIZES["num_layers"]
    assert all("dense" in variable.path for variable in backbone.trainable_variables)
    np.testing.assert_allclose(sequence_output(backbone, inputs), before, atol=1e-6)

    frozen = [v.numpy().copy() for v in backbone.non_trainable_variables]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(inputs)["pooled_output"] ** 3)
    variables = backbone.trainable_variables
    keras.optimizers.SGD(0.1).apply(tape.gradient(loss, [v.value for v in variables]), variables)
    for variable, value in zip(backbone.non_trainable_variables, frozen, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert np.abs(sequence_output(backbone, inputs) - before).max() > 1e-4

    backbone.save_lora_weights(tmp_path / "adapters.lora.h5")
    after = sequence_output(backbone, inputs)
    backbone.load_lora_weights(tmp_path / "adapters.lora.h5")
    np.testing.assert_array_equal(sequence_output(backbone, inputs), after)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_int8_is_close_and_survives_saving(tmp_path: Path):
    sizes = {**SIZES, "hidden_dim": 33, "intermediate_dim": 65}
    backbone = SpanBertBackbone(**sizes)
    inputs = random_inputs(CONFIG, batch=3, length=11)
    before = sequence_output(backbone, inputs)
    backbone.quantize("int8")
    after = sequence_output(backbone, inputs)
    assert 0 < np.abs(after - before).mean() < 0.05
    backbone.save(tmp_path / "int8.keras")
    again = keras.models.load_model(tmp_path / "int8.keras")
    np.testing.assert_allclose(sequence_output(again, inputs), after, atol=1e-6)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"hidden_dim=7, num_heads=3"):
        SpanBertBackbone(**{**SIZES, "hidden_dim": 7})


@pytest.mark.parametrize(("rows", "length"), [(5, 11), (2, 3)])
def test_outputs_are_the_same_whether_shapes_are_known_beforehand(
    backbone: SpanBertBackbone, inputs: Inputs, rows: int, length: int
):
    """In a model's first call they are, in later ones they may not be.

    Of several rows only: with one, TensorFlow adds its embeddings in another order.
    """
    inputs = {name: array[:rows, :length] for name, array in encoder_inputs(inputs).items()}
    known = traced_output(backbone, inputs, tf.TensorSpec((rows, length), tf.int32))
    opened = traced_output(backbone, inputs, tf.TensorSpec((None, None), tf.int32))
    np.testing.assert_array_equal(known, opened)
