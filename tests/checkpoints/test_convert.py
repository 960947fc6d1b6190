"""Hugging Face checkpoints to presets and back: bit-identical, or an error that says why not."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import keras
import keras_hub
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from spanbert_tf import SpanBertTokenizer, load_hugging_face, save_hugging_face
from spanbert_tf.checkpoints.conversion_table import conversion_table, mlm_head_table
from spanbert_tf.checkpoints.convert import load_hugging_face_pretrainer
from spanbert_tf.export.conversion import convert
from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.handles import bundled_minilm
from tests.checkpoints.foreign_folders import (
    CONFIG,
    SPECIAL,
    assert_same_backbone,
    edit_json,
    encoder_part,
    random_inputs,
    random_tensors,
    write_checkpoint,
)
from tests.layer_checks import randomize

TEXTS = ["w1 w2 W4 unknown", "w7, w8"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


# The table.


def test_every_key_of_the_table_stands_once():
    keys = [key for row in conversion_table(2) for key in row.keys]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(encoder_part(random_tensors(CONFIG)))


def test_rows_undo_themselves():
    generator = np.random.default_rng(0)
    for row in conversion_table(1):
        shape = (5, 3 * len(row.keys)) if row.transposed else (3 * len(row.keys),)
        value = generator.standard_normal(shape)
        np.testing.assert_array_equal(row.to_keras(row.to_foreign(value)), value)


def test_query_key_and_value_are_laid_side_by_side(checkpoint: Path):
    tensors = load_file(checkpoint / "model.safetensors")
    backbone, _ = load_hugging_face(checkpoint)
    kernel = backbone.transformer_layers[1].attention.qkv_dense.kernel.numpy()
    name = "encoder.layer.1.attention.self"
    parts = [tensors[f"{name}.{part}.weight"].T for part in ("query", "key", "value")]
    np.testing.assert_array_equal(kernel, np.hstack(parts))


# Round trips.


def test_checkpoint_to_preset_and_back(checkpoint: Path, tmp_path: Path):
    preset, again = tmp_path / "preset", tmp_path / "again"
    assert convert(checkpoint, preset) == preset
    assert convert(preset, again) == again

    before, after = (load_file(f / "model.safetensors") for f in (checkpoint, again))
    assert after.keys() == encoder_part(before).keys()
    for key, tensor in after.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, before[key])
    assert (again / "vocab.txt").read_bytes() == (checkpoint / "vocab.txt").read_bytes()
    assert json.loads((again / "config.json").read_text()).items() >= CONFIG.items()
    assert json.loads((again / "tokenizer_config.json").read_text())["do_lower_case"] is True


@pytest.mark.parametrize("lowercase", [False, True])
def test_preset_to_checkpoint_and_back(lowercase: bool, checkpoint: Path, tmp_path: Path):
    backbone, tokenizer = load_hugging_face(checkpoint)
    randomize(backbone, seed=7)
    tokenizer = SpanBertTokenizer(tokenizer.get_vocabulary(), lowercase=lowercase)
    save_hugging_face(backbone, tokenizer, tmp_path / "saved")
    again, tokenizer_again = load_hugging_face(tmp_path / "saved")
    assert_same_backbone(backbone, again)
    assert again.get_config() | {"name": ""} == backbone.get_config() | {"name": ""}
    assert tokenizer_again.get_vocabulary() == tokenizer.get_vocabulary()
    assert tokenizer_again.lowercase is lowercase


def test_preset_loads_through_the_base_classes(tmp_path: Path):
    checkpoint = write_checkpoint(tmp_path / "long", config={"max_position_embeddings": 512})
    backbone, tokenizer = load_hugging_face(checkpoint)
    preset = str(convert(checkpoint, tmp_path / "preset"))
    assert_same_backbone(keras_hub.models.Backbone.from_preset(preset), backbone)
    loaded = keras_hub.tokenizers.Tokenizer.from_preset(preset)
    assert type(loaded) is SpanBertTokenizer
    assert loaded(TEXTS).to_list() == tokenizer(TEXTS).to_list()
    classifier = keras_hub.models.TextClassifier.from_preset(preset, num_classes=3)
    assert type(classifier).__name__ == "SpanBertTextClassifier"
    assert classifier.predict(TEXTS, verbose=0).shape == (2, 3)


def test_all_that_is_written_may_be_read_by_the_same_people(checkpoint: Path, tmp_path: Path):
    backbone, tokenizer = load_hugging_face(checkpoint)
    save_hugging_face(backbone, tokenizer, tmp_path / "saved")
    files = list((tmp_path / "saved").iterdir())
    (tmp_path / "usual").touch()
    assert len(files) > 2
    assert {file.stat().st_mode for file in files} == {(tmp_path / "usual").stat().st_mode}


@pytest.mark.slow
def test_hugging_face_loads_what_is_written(checkpoint: Path, tmp_path: Path):
    torch = pytest.importorskip("torch", reason="the oracle is the Hugging Face library's BERT")
    transformers = pytest.importorskip("transformers")
    backbone, tokenizer = load_hugging_face(checkpoint)
    save_hugging_face(backbone, tokenizer, tmp_path / "saved")
    model, again = (
        transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        for folder in (checkpoint, tmp_path / "saved")
    )
    inputs = random_inputs(CONFIG, batch=3, length=7)
    with torch.no_grad():
        one, two = (
            m(
                torch.tensor(inputs["token_ids"]),
                token_type_ids=torch.tensor(inputs["segment_ids"]),
                attention_mask=torch.tensor(inputs["padding_mask"]),
            ).last_hidden_state
            for m in (model, again)
        )
    assert float((one - two).abs().max()) == 0.0

    for lowercase in (True, False):
        tokenizer = SpanBertTokenizer(tokenizer.get_vocabulary(), lowercase=lowercase)
        save_hugging_face(backbone, tokenizer, tmp_path / "saved", overwrite=True)
        theirs = transformers.BertTokenizerFast.from_pretrained(tmp_path / "saved")
        ids = theirs(TEXTS, add_special_tokens=False)["input_ids"]
        assert ids == tokenizer(TEXTS).to_list()
        assert theirs.model_max_length == CONFIG["max_position_embeddings"]


def test_lora_adapters_are_merged(checkpoint: Path, tmp_path: Path):
    backbone, tokenizer = load_hugging_face(checkpoint)
    backbone.enable_lora(2)
    randomize(backbone, seed=5)
    save_hugging_face(backbone, tokenizer, tmp_path / "merged")
    again, _ = load_hugging_face(tmp_path / "merged")
    inputs = random_inputs(CONFIG, batch=3, length=7)
    np.testing.assert_allclose(
        again(inputs)["sequence_output"], backbone(inputs)["sequence_output"], atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_quantized_weights_are_refused(checkpoint: Path, tmp_path: Path):
    backbone, tokenizer = load_hugging_face(checkpoint)
    backbone.quantize("int8")
    with pytest.raises(CheckpointError, match=r"quantized to int8.*before `quantize`"):
        save_hugging_face(backbone, tokenizer, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_variables_outside_of_the_table_are_refused(checkpoint: Path, tmp_path: Path):
    backbone, tokenizer = load_hugging_face(checkpoint)
    layer = backbone.transformer_layers[0].attention
    layer.built = False
    layer._tracker.unlock()
    layer.scale = layer.add_weight(shape=(), name="scale")
    with pytest.raises(CheckpointError, match=r"in no row of the conversion table: .*scale"):
        save_hugging_face(backbone, tokenizer, tmp_path / "saved")


def test_a_tokenizer_of_another_size_is_refused(checkpoint: Path, tmp_path: Path):
    backbone, _ = load_hugging_face(checkpoint)
    pieces = [*SPECIAL, *(f"w{number}" for number in range(9))]
    with pytest.raises(CheckpointError, match="14 word pieces for 13 embeddings"):
        save_hugging_face(backbone, SpanBertTokenizer(pieces), tmp_path / "saved")


# The head of the masked language model.


def head_tensors(seed: int = 3) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = {
        "bias": (13,),
        "transform.dense.weight": (6, 6),
        "transform.dense.bias": (6,),
        "transform.LayerNorm.weight": (6,),
        "transform.LayerNorm.bias": (6,),
    }
    return {
        f"cls.predictions.{key}": generator.standard_normal(shape).astype("float32")
        for key, shape in shapes.items()
    }


def masked_lm_tensors() -> dict[str, np.ndarray]:
    """What a `BertForMaskedLM` saves, and what old files have beside it."""
    encoder = random_tensors(CONFIG)
    head = head_tensors()
    return {
        **{f"bert.{key}": tensor for key, tensor in encoder.items()},
        **head,
        "cls.predictions.decoder.weight": encoder["embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": head["cls.predictions.bias"],
        "cls.seq_relationship.weight": np.zeros((2, 6), "float32"),
    }


def test_every_key_of_the_head_stands_once():
    keys = [key for row in mlm_head_table() for key in row.keys]
    assert len(keys) == len(set(keys))
    assert set(keys) == head_tensors().keys()


@pytest.mark.parametrize("max_targets", [3, 20])
def test_loaded_pretrainer_takes_texts(tmp_path: Path, max_targets: int):
    pretrainer = load_hugging_face_pretrainer(write_checkpoint(tmp_path), max_targets=max_targets)
    features = pretrainer.preprocessor(["w1 w2 w3 w4 w5 w6 w7 w8 w9", "w1"])
    assert features["span_ids"].shape[2] == max_targets
    assert np.isfinite(pretrainer.compute_losses(features)["sbo_loss_sum"])


def test_pretrainer_to_checkpoint_and_back(tmp_path: Path, caplog: Any):
    source = write_checkpoint(tmp_path / "source", masked_lm_tensors())
    pretrainer = load_hugging_face_pretrainer(source)
    assert pretrainer.sbo_head is not None
    tokenizer = pretrainer.preprocessor.tokenizer
    save_hugging_face(pretrainer, tokenizer, tmp_path / "saved")
    (warning,) = (r for r in caplog.records if "no span boundary objective" in r.message)
    assert warning.levelno == logging.WARNING
    assert warning.args[0].split(", ") == [
        v.path
        for v in pretrainer.sbo_head.weights
        if v is not pretrainer.backbone.token_embedding.embeddings
    ]
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    expected = {
        **{f"bert.{key}": x for key, x in encoder_part(random_tensors(CONFIG)).items()},
        **head_tensors(),
    }
    assert saved.keys() == expected.keys()
    for key, tensor in saved.items():
        np.testing.assert_array_equal(tensor, expected[key])
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"] == [
        "BertForMaskedLM"
    ]

    again = load_hugging_face_pretrainer(tmp_path / "saved", "mixed_bfloat16", span_boundary=False)
    assert again.sbo_head is None
    assert again.mlm_head.dtype_policy.name == "mixed_bfloat16"
    assert_same_backbone(load_hugging_face(tmp_path / "saved")[0], again.backbone)
    for one, two in zip(
        again.mlm_head.get_weights(), pretrainer.mlm_head.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_preset_of_a_pretrainer_to_checkpoint_and_back(tmp_path: Path):
    source = write_checkpoint(tmp_path / "source", masked_lm_tensors())
    pretrainer = load_hugging_face_pretrainer(source)
    pretrainer.save_to_preset(str(tmp_path / "preset"))
    convert(tmp_path / "preset", tmp_path / "converted")
    save_hugging_face(pretrainer, pretrainer.preprocessor.tokenizer, tmp_path / "saved")
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "converted").iterdir())
    for name in names:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("saved", "converted"))
        assert one == two
    again = load_hugging_face_pretrainer(tmp_path / "converted")
    assert_same_backbone(again.backbone, pretrainer.backbone)
    for one, two in zip(
        again.mlm_head.get_weights(), pretrainer.mlm_head.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_logits_equal_hugging_face(tmp_path: Path):
    torch = pytest.importorskip("torch", reason="the oracle is the Hugging Face library's BERT")
    transformers = pytest.importorskip("transformers")
    source = write_checkpoint(tmp_path / "source", masked_lm_tensors())
    pretrainer = load_hugging_face_pretrainer(source)
    pretrainer.save_to_preset(str(tmp_path / "preset"))
    convert(tmp_path / "preset", tmp_path / "converted")
    inputs = random_inputs(CONFIG, batch=3, length=7)
    states = pretrainer.backbone(inputs)["sequence_output"]
    logits = np.asarray(pretrainer.mlm_head(states))
    for folder in (source, tmp_path / "converted"):
        model, report = transformers.BertForMaskedLM.from_pretrained(
            folder, output_loading_info=True
        )
        assert not report["missing_keys"]
        with torch.no_grad():
            theirs = model.eval()(
                torch.tensor(inputs["token_ids"]),
                token_type_ids=torch.tensor(inputs["segment_ids"]),
                attention_mask=torch.tensor(inputs["padding_mask"]),
            ).logits.numpy()
        np.testing.assert_allclose(logits, theirs, atol=2e-5)


def test_a_checkpoint_without_a_head_gives_a_new_one(checkpoint: Path, caplog: Any):
    pretrainer = load_hugging_face_pretrainer(checkpoint)
    assert "has no head of a masked language model: it is new" in caplog.text
    assert_same_backbone(pretrainer.backbone, load_hugging_face(checkpoint)[0])


def test_a_bias_under_its_second_name_alone(tmp_path: Path):
    tensors = masked_lm_tensors()
    bias = tensors.pop("cls.predictions.bias")
    pretrainer = load_hugging_face_pretrainer(write_checkpoint(tmp_path, tensors))
    np.testing.assert_array_equal(pretrainer.mlm_head.logits_bias, bias)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cls.predictions.transform.dense.bias", None, r"missing: .*dense\.bias \(6,\)"),
        ("cls.predictions.more", np.zeros(3, "float32"), r"unknown: cls\.predictions\.more"),
        (
            "cls.predictions.decoder.weight",
            np.zeros((13, 6), "float32"),
            r"expected cls\.predictions\.decoder\.weight to equal embeddings\.word_embeddings",
        ),
    ],
)
def test_a_damaged_head(key: str, value: Any, message: str, tmp_path: Path):
    tensors = {**masked_lm_tensors(), key: value}
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=message):
        load_hugging_face_pretrainer(write_checkpoint(tmp_path, tensors))


# The forms a checkpoint comes in.


def test_old_names_prefixes_and_heads(checkpoint: Path, tmp_path: Path, caplog: Any):
    """`bert.`, gamma and beta, a buffer and pretraining heads: as the first BERT files had them."""
    expected, _ = load_hugging_face(checkpoint)
    tensors = load_file(checkpoint / "model.safetensors")
    old = {
        "bert."
        + key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("Norm.bias", "Norm.beta"): t
        for key, t in tensors.items()
    }
    old |= {
        "bert.embeddings.position_ids": np.arange(11)[None],
        "cls.predictions.bias": np.zeros(13, "float32"),
        "cls.predictions.transform.LayerNorm.gamma": np.zeros(6, "float32"),
        "cls.seq_relationship.weight": np.zeros((2, 6), "float32"),
        "classifier.weight": np.zeros((2, 6), "float32"),
    }
    with caplog.at_level(logging.INFO, "spanbert_tf"):
        backbone, _ = load_hugging_face(write_checkpoint(tmp_path / "old", old))
    assert_same_backbone(backbone, expected)
    dropped = {r.args[1]: r.levelno for r in caplog.records if "dropped" in r.message}
    assert dropped.keys() == {
        "bert.embeddings.position_ids",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "cls.predictions.bias",
        "cls.predictions.transform.LayerNorm.gamma",
        "cls.seq_relationship.weight",
        "classifier.weight",
    }
    assert [key for key, level in dropped.items() if level == logging.WARNING] == [
        "classifier.weight"
    ]


def test_a_checkpoint_without_a_pooler(checkpoint: Path, tmp_path: Path):
    """As SpanBERT is published."""
    expected, _ = load_hugging_face(checkpoint)
    tensors = encoder_part(load_file(checkpoint / "model.safetensors"))
    backbone, _ = load_hugging_face(write_checkpoint(tmp_path / "bare", tensors))
    assert_same_backbone(backbone, expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_float_dtypes(dtype: Any, checkpoint: Path, tmp_path: Path):
    tensors = load_file(checkpoint / "model.safetensors")
    half = {key: tensor.astype(dtype) for key, tensor in tensors.items()}
    path = write_checkpoint(tmp_path / "half", half)
    widened = {key: tensor.astype("float32") for key, tensor in half.items()}
    expected, _ = load_hugging_face(write_checkpoint(tmp_path / "widened", widened))
    assert_same_backbone(load_hugging_face(path)[0], expected)


def test_dtype_of_the_backbone(checkpoint: Path):
    backbone, _ = load_hugging_face(checkpoint, dtype="mixed_bfloat16")
    assert backbone.dtype_policy.name == "mixed_bfloat16"
    assert {variable.dtype for variable in backbone.trainable_variables} == {"float32"}


def split_into_shards(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {key: f"model-{i % 2 + 1}-of-2.safetensors" for i, key in enumerate(tensors)}
    for name in set(weight_map.values()):
        part = {key: tensors[key] for key in tensors if weight_map[key] == name}
        save_file(part, folder / name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards(checkpoint: Path):
    expected, _ = load_hugging_face(checkpoint)
    split_into_shards(checkpoint)
    assert_same_backbone(load_hugging_face(checkpoint)[0], expected)
    (checkpoint / "model-2-of-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"index\.json lists 'model-2-of-2"):
        load_hugging_face(checkpoint)


def test_an_index_cannot_reach_outside_of_its_folder(checkpoint: Path):
    outside = checkpoint.parent / "outside.safetensors"
    os.rename(checkpoint / "model.safetensors", outside)
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    with pytest.raises(FileNotFoundError, match=r"lists '\.\./outside\.safetensors'"):
        load_hugging_face(checkpoint)


# Damaged or foreign checkpoints.


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act: expected 'gelu', got 'gelu_new'"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps: expected 1e-12, got 1e-05"),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type: expected 'absolute', got 'relative_key'",
        ),
        ({"model_type": "roberta"}, "model_type: expected 'bert', got 'roberta'"),
        ({"is_decoder": True}, "is_decoder: expected False, got True"),
        ({"hidden_size": None}, "hidden_size is missing"),
    ],
)
def test_another_architecture_is_refused(entries: dict, message: str, checkpoint: Path):
    edit_json(checkpoint / "config.json", **entries)
    with pytest.raises(CheckpointError, match=rf"config\.json.*{message}"):
        load_hugging_face(checkpoint)


def test_settings_may_be_left_out(checkpoint: Path):
    """Early configs, SpanBERT's among them, name neither model nor position embeddings."""
    left_out = ("model_type", "architectures", "layer_norm_eps", "hidden_act", "pad_token_id")
    edit_json(checkpoint / "config.json", **dict.fromkeys(left_out))
    assert load_hugging_face(checkpoint)[0].dropout == 0.1


def test_two_dropout_rates_are_warned_of(checkpoint: Path, caplog: Any):
    edit_json(checkpoint / "config.json", hidden_dropout_prob=0.2)
    backbone, _ = load_hugging_face(checkpoint)
    assert backbone.dropout == 0.2
    assert "attention_probs_dropout_prob=0.1 is not" in caplog.text


def test_leftover_and_missing_keys_are_all_listed(tmp_path: Path):
    tensors = random_tensors(CONFIG)
    del tensors["encoder.layer.0.output.dense.bias"], tensors["embeddings.LayerNorm.weight"]
    tensors |= {
        "encoder.layer.2.output.dense.bias": np.zeros(6, "float32"),
        "crf.transitions": np.zeros((2, 2), "float32"),
        "embeddings.position_embeddings.weight": np.zeros((5, 6), "float32"),
        "encoder.layer.1.output.dense.weight": np.zeros((6, 7), "int8"),
    }
    with pytest.raises(CheckpointError) as caught:
        load_hugging_face(write_checkpoint(tmp_path, tensors))
    assert str(caught.value).splitlines()[1:] == [
        "  embeddings.position_embeddings.weight: expected float (11, 6), got float32 (5, 6)",
        "  encoder.layer.1.output.dense.weight: expected float (6, 7), got int8 (6, 7)",
        "  missing: embeddings.LayerNorm.weight (6,)",
        "  missing: encoder.layer.0.output.dense.bias (6,)",
        "  unknown: crf.transitions (2, 2)",
        "  unknown: encoder.layer.2.output.dense.bias (6,)",
        "crf.transitions looks like a conditional random field, of a fine-tuned tagger",
        "an encoder of other sizes or another architecture, or one not whole",
    ]


def test_a_key_under_two_names_is_refused(tmp_path: Path):
    tensors = random_tensors(CONFIG)
    tensors["bert.embeddings.LayerNorm.gamma"] = tensors["embeddings.LayerNorm.weight"]
    with pytest.raises(CheckpointError, match=r"embeddings\.LayerNorm\.weight twice"):
        load_hugging_face(write_checkpoint(tmp_path, tensors))


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_damaged_safetensors(damage: str, checkpoint: Path):
    path = checkpoint / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-5], "garbage": b"\xff" * 99, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a safetensors file"):
        load_hugging_face(checkpoint)


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_damaged_config(content: str, checkpoint: Path):
    (checkpoint / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json.*JSON"):
        load_hugging_face(checkpoint)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", r"no config\.json in"),
        ("vocab.txt", r"no vocabulary in .*vocab\.txt or tokenizer\.json"),
        ("model.safetensors", r"no weights in .*expected model\.safetensors.*'vocab\.txt'"),
    ],
)
def test_missing_files(name: str, message: str, checkpoint: Path):
    (checkpoint / name).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        load_hugging_face(checkpoint)


def test_missing_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*hf://"):
        load_hugging_face(tmp_path / "nowhere")


def test_a_preset_is_no_checkpoint(checkpoint: Path, tmp_path: Path):
    convert(checkpoint, tmp_path / "preset")
    with pytest.raises(CheckpointError, match=r"Keras preset: SpanBertBackbone\.from_preset"):
        load_hugging_face(tmp_path / "preset")


# The real checkpoint.


@pytest.mark.slow
def test_bundled_checkpoint_round_trip(tmp_path: Path):
    try:
        source = bundled_minilm()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    convert(convert(source, tmp_path / "preset"), tmp_path / "again")
    keras.backend.clear_session()
    before = load_file(source / "model.safetensors")
    after = load_file(tmp_path / "again" / "model.safetensors")
    assert before.keys() - after.keys() == {
        "embeddings.position_ids",
        "pooler.dense.weight",
        "pooler.dense.bias",
    }
    for key, tensor in after.items():
        np.testing.assert_array_equal(tensor, before[key])
    pieces = (tmp_path / "again" / "vocab.txt").read_text().split("\n")
    assert pieces == (source / "vocab.txt").read_text().split("\n")
