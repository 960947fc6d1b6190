"""`spanbert_tf.load`: Keras layers around exported encoders, presets and checkpoints."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints import hugging_face
from spanbert_tf.checkpoints.convert import save_hugging_face
from spanbert_tf.checkpoints.saved_models import restore_encoder
from spanbert_tf.export.encoder_layers import to_hub_names
from spanbert_tf.export.loading import load, load_backbone, load_tokenizer
from spanbert_tf.handles import find
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

Arrays = dict[str, np.ndarray]
KINDS = ["encoder", "preset", "hugging_face"]
URL = "https://tfhub.dev/google/spanbert-large-cased"


@pytest.fixture(scope="module")
def handles(
    models: Path,
    tmp_path_factory: pytest.TempPathFactory,
    backbone: SpanBertBackbone,
    tokenizer: SpanBertTokenizer,
) -> dict[str, Path]:
    """The same encoder in every form on disk."""
    folder = tmp_path_factory.mktemp("handles")
    backbone.save_to_preset(str(folder / "preset"))
    tokenizer.save_to_preset(str(folder / "preset"))
    save_hugging_face(backbone, tokenizer, folder / "hugging_face")
    return {
        "encoder": models / "encoder" / "1",
        "preprocessor": models / "preprocessor" / "1",
        "preset": folder / "preset",
        "hugging_face": folder / "hugging_face",
    }


def tensors_of(features: Arrays) -> list[np.ndarray]:
    return [features[name] for name in ("token_ids", "padding_mask", "segment_ids")]


def sentiment_model(encoder: keras.layers.Layer, *, by_name: bool = False) -> keras.Model:
    """The article's model: three inputs, the embedding, a dense layer with softmax."""
    keras.utils.set_random_seed(1)  # Of the dense layer and of dropout.
    inputs = [keras.Input(shape=(None,), dtype="int32") for _ in range(3)]
    if by_name:
        names = ("input_word_ids", "input_mask", "input_type_ids")
        embeddings = encoder(dict(zip(names, inputs, strict=True)))["pooled_output"]
    else:
        embeddings = encoder(*inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(embeddings))
    optimizer = keras.optimizers.Adam(3e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def train(model: keras.Model, encoder: keras.layers.Layer) -> tuple[list[float], list[float]]:
    """Fine-tunes on "does token 20 occur"; gives losses and how far each weight moved."""
    generator = np.random.default_rng(1)
    token_ids = generator.integers(5, 30, (96, 9), "int32")
    token_ids[:, 0] = 2
    token_ids[::2, 4] = 20
    labels = (token_ids == 20).any(axis=1).astype("int32")
    # Not the states of the random generators, which are among the weights of a SavedModel's layer.
    weights = [weight for weight in encoder.weights if weight.dtype == "float32"]
    before = [weight.numpy() for weight in weights]
    columns = [token_ids, np.ones_like(token_ids), np.zeros_like(token_ids)]
    history = model.fit(columns, labels, epochs=4, batch_size=16, shuffle=False, verbose=0)
    after = [weight.numpy() for weight in weights]
    moved = [np.abs(new - old).max() for old, new in zip(before, after, strict=True)]
    return history.history["loss"], moved


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_give_the_encoders_outputs(
    handles: dict[str, Path], kind: str, backbone: SpanBertBackbone, features: Arrays
):
    encoder = load(handles[kind])
    expected = backbone(features)
    embedding = encoder(*tensors_of(features))
    np.testing.assert_allclose(embedding, expected["pooled_output"], rtol=0, atol=1e-6)
    named = {
        "input_ids": features["token_ids"],
        "attention_mask": features["padding_mask"].astype("int64"),
        "token_type_ids": features["segment_ids"],
    }
    for inputs in (features, to_hub_names(features), named):
        outputs = encoder(inputs)
        np.testing.assert_allclose(
            outputs["sequence_output"], expected["sequence_output"], rtol=0, atol=1e-6
        )
        np.testing.assert_allclose(outputs["default"], embedding, rtol=0, atol=1e-6)
        assert len(outputs["encoder_outputs"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_training_turns_dropout_on(handles: dict[str, Path], kind: str, features: Arrays):
    encoder = load(handles[kind])
    tensors = tensors_of(features)
    first, second = (np.array(encoder(*tensors, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    assert np.array_equal(encoder(*tensors), encoder(*tensors, training=False))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "preset"])
def test_fit_trains_the_encoders_own_weights(handles: dict[str, Path], kind: str):
    encoder = load(handles[kind])
    model = sentiment_model(encoder)
    assert len(model.trainable_variables) == 29 + 2
    losses, moved = train(model, encoder)
    assert losses[-1] < losses[0] - 0.05
    assert min(moved) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "preset"])
def test_frozen_encoder_stays_as_it_was(handles: dict[str, Path], kind: str):
    encoder = load(handles[kind], trainable=False)
    model = sentiment_model(encoder)
    assert len(model.trainable_variables) == 2
    losses, moved = train(model, encoder)
    assert losses[-1] < losses[0]
    assert max(moved) == 0
    encoder.trainable = True
    assert len(model.trainable_variables) == 29 + 2


@pytest.mark.slow
def test_layer_of_keras_trains_it_too(models: Path):
    encoder = keras.layers.TFSMLayer(
        str(models / "encoder" / "1"),
        call_endpoint="serve",
        call_training_endpoint="call_training",
    )
    model = sentiment_model(encoder, by_name=True)
    # Inside `fit`, Keras 3.15 trips over the ":0" in the names of this layer's variables.
    model.optimizer.build(model.trainable_variables)
    losses, moved = train(model, encoder)
    assert losses[-1] < losses[0] - 0.05
    assert min(moved) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "preset"])
def test_trained_model_is_saved_and_loaded(
    handles: dict[str, Path], kind: str, tmp_path: Path, features: Arrays
):
    encoder = load(handles[kind])
    model = sentiment_model(encoder)
    model.optimizer.build(model.trainable_variables)
    for weight in encoder.trainable_weights:
        weight.assign(weight * 1.5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    expected = model(tensors_of(features))
    np.testing.assert_allclose(again(tensors_of(features)), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_saved_model_inside_needs_trust(handles: dict[str, Path], tmp_path: Path):
    sentiment_model(load(handles["encoder"])).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="safe_mode=False"):
        keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "preprocessor"])
def test_tokenizer_comes_with_every_form(
    handles: dict[str, Path], kind: str, tokenizer: SpanBertTokenizer
):
    loaded = load_tokenizer(handles[kind])
    assert loaded.get_vocabulary() == tokenizer.get_vocabulary()
    assert loaded("The Snowman melts.").numpy().tolist() == [5, 6, 7, 8, 9, 10]


@pytest.mark.slow
def test_wrong_inputs_are_named(handles: dict[str, Path], features: Arrays):
    encoder = load(handles["encoder"])
    with pytest.raises(ValueError, match=r"\['input_mask'.*received \['ids'\]"):
        encoder({"ids": features["token_ids"]})
    with pytest.raises(ValueError, match="all of the tensors input_ids, input_mask and segment"):
        encoder(features["token_ids"], features["padding_mask"])
    scalars = [keras.Input(shape=(), dtype="int32") for _ in range(3)]
    with pytest.raises(ValueError, match=r"shape=\(None,\).*received shape \(None,\)"):
        encoder(*scalars)


@pytest.mark.slow
def test_hub_handles_are_resolved(
    handles: dict[str, Path], features: Arrays, monkeypatch: pytest.MonkeyPatch
):
    def locate(handle: str) -> Path:
        return {"hf://user/spanbert": handles["hugging_face"]}[handle]

    def resolve(url: str) -> str:
        return {URL: str(handles["encoder"])}[url]

    monkeypatch.setattr(hugging_face, "locate", locate)
    monkeypatch.setitem(sys.modules, "tensorflow_hub", SimpleNamespace(resolve=resolve))
    expected = load(handles["encoder"])(*tensors_of(features))
    for handle in ("hf://user/spanbert", URL):
        embedding = load(handle)(*tensors_of(features))
        np.testing.assert_allclose(embedding, expected, rtol=0, atol=1e-6)
        assert load_tokenizer(handle).lowercase


@pytest.mark.parametrize("make", [load, load_tokenizer])
def test_unknown_handle_says_what_was_tried(make: Any, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no_such_model.*presets.*hf://.*TF Hub"):
        make(tmp_path / "no_such_model")


@pytest.mark.parametrize("make", [load, load_tokenizer, load_backbone])
def test_kinds_that_are_no_encoders_say_so(make: Any, tmp_path: Path):
    with pytest.raises(ValueError, match=r"'spanbert_mini' names a size.*no weights.*hf://"):
        make("spanbert_mini")
    for name, kind in (("litert.json", "LiteRT model"), ("adapter.json", "adapter")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_text("{}")
        with pytest.raises(ValueError, match=f"of the kind {kind}; expected an encoder"):
            make(tmp_path / kind)


def test_found_handles_are_taken(handles: dict[str, Path]):
    assert load_tokenizer(find(handles["preset"])).lowercase


def test_saved_model_of_something_else_has_no_tokenizer(tmp_path: Path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(FileNotFoundError, match=r"without assets.vocab\.txt"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_backbone_of_every_form(
    handles: dict[str, Path], kind: str, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    loaded, its_tokenizer = load_backbone(handles[kind])
    assert its_tokenizer.get_vocabulary() == tokenizer.get_vocabulary()
    assert its_tokenizer.lowercase
    expected = {**backbone.get_config(), "name": loaded.name}
    assert loaded.get_config() == expected
    for weight, wanted in zip(loaded.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(weight, wanted, err_msg=weight.path)


@pytest.mark.parametrize("kind", KINDS)
def test_backbone_in_half_precision(handles: dict[str, Path], kind: str):
    loaded, _ = load_backbone(handles[kind], dtype="mixed_bfloat16")
    assert loaded.compute_dtype == "bfloat16"
    assert loaded.variable_dtype == "float32"


def test_saved_model_of_something_else_has_no_backbone(handles: dict[str, Path]):
    with pytest.raises(ValueError, match=r"no assets.encoder\.json.*spanbert_tf\.load"):
        load_backbone(handles["preprocessor"])


@pytest.mark.parametrize(("name", "value"), [("num_layers", 3), ("hidden_dim", 16)])
def test_saved_model_of_other_weights_is_refused(
    handles: dict[str, Path], tmp_path: Path, name: str, value: int
):
    folder = tmp_path / "encoder"
    shutil.copytree(handles["encoder"], folder)
    description = folder / "assets" / "encoder.json"
    config = json.loads(description.read_text())
    config["backbone"][name] = value
    description.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"other weights in its variables than its encoder\.json"):
        restore_encoder(folder)
