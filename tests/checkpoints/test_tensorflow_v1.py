"""TensorFlow 1 checkpoints, as Google published BERT: what `transformers` computes, or an error."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import load_backbone, load_hugging_face, load_tokenizer
from spanbert_tf.checkpoints.convert import load_hugging_face_pretrainer
from spanbert_tf.checkpoints.tensorflow_v1 import is_checkpoint, name_of_config, read_tensors
from spanbert_tf.checkpoints.tensors import known_tensors
from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.handles import Kind, find
from tests.checkpoints.foreign_folders import (
    CONFIG,
    assert_same_backbone,
    encoder_part,
    random_inputs,
    random_tensors,
    vocabulary,
    write_checkpoint,
)

# Google's configs have neither a model type nor an epsilon.
GOOGLE_CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "directionality": "bidi",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 6,
    "initializer_range": 0.02,
    "intermediate_size": 7,
    "max_position_embeddings": 11,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 13,
}


def google_variables(model: Any) -> dict[str, np.ndarray]:
    """The variables of a `transformers.BertForPreTraining` as google-research/bert names them."""
    variables = {}

    def put(name: str, tensor: Any) -> None:
        variables[name] = np.ascontiguousarray(tensor.detach().numpy())

    def put_dense(name: str, layer: Any) -> None:
        put(f"{name}/kernel", layer.weight.T)  # [in, out]
        put(f"{name}/bias", layer.bias)

    def put_norm(name: str, layer: Any) -> None:
        put(f"{name}/gamma", layer.weight)
        put(f"{name}/beta", layer.bias)

    bert = model.bert
    put("bert/embeddings/word_embeddings", bert.embeddings.word_embeddings.weight)
    put("bert/embeddings/token_type_embeddings", bert.embeddings.token_type_embeddings.weight)
    put("bert/embeddings/position_embeddings", bert.embeddings.position_embeddings.weight)
    put_norm("bert/embeddings/LayerNorm", bert.embeddings.LayerNorm)
    for number, layer in enumerate(bert.encoder.layer):
        scope = f"bert/encoder/layer_{number}"
        attention = layer.attention
        put_dense(f"{scope}/attention/self/query", attention.self.query)
        put_dense(f"{scope}/attention/self/key", attention.self.key)
        put_dense(f"{scope}/attention/self/value", attention.self.value)
        put_dense(f"{scope}/attention/output/dense", attention.output.dense)
        put_norm(f"{scope}/attention/output/LayerNorm", attention.output.LayerNorm)
        put_dense(f"{scope}/intermediate/dense", layer.intermediate.dense)
        put_dense(f"{scope}/output/dense", layer.output.dense)
        put_norm(f"{scope}/output/LayerNorm", layer.output.LayerNorm)
    put_dense("bert/pooler/dense", bert.pooler.dense)
    put_dense("cls/predictions/transform/dense", model.cls.predictions.transform.dense)
    put_norm("cls/predictions/transform/LayerNorm", model.cls.predictions.transform.LayerNorm)
    put("cls/predictions/output_bias", model.cls.predictions.bias)
    put("cls/seq_relationship/output_weights", model.cls.seq_relationship.weight)
    put("cls/seq_relationship/output_bias", model.cls.seq_relationship.bias)
    return variables


def variables_of(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables of `random_tensors`, by Google's names."""
    variables = {}
    for key, tensor in tensors.items():
        name = "bert/" + key.replace("layer.", "layer_").replace(".", "/")
        if "LayerNorm" in name:
            name = name.replace("/weight", "/gamma").replace("/bias", "/beta")
        elif "_embeddings/weight" in name:
            name = name.removesuffix("/weight")
        elif name.endswith("/weight"):
            name, tensor = name.replace("/weight", "/kernel"), tensor.T
        variables[name] = np.ascontiguousarray(tensor)
    return variables


def write_google_checkpoint(
    folder: Path, variables: dict[str, np.ndarray], name: str = "bert_model.ckpt"
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[tf.constant(value) for value in variables.values()],
    )
    (folder / "bert_config.json").write_text(json.dumps(GOOGLE_CONFIG))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary(13)))
    return folder


@pytest.fixture
def variables() -> dict[str, np.ndarray]:
    return variables_of(random_tensors(CONFIG))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same encoder out of Hugging Face's files."""
    return load_hugging_face(write_checkpoint(tmp_path_factory.mktemp("hugging_face")))[0]


@pytest.mark.slow
def test_states_and_logits_equal_hugging_face(tmp_path: Path):
    torch = pytest.importorskip("torch", reason="the oracle is the Hugging Face library's BERT")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(**{**GOOGLE_CONFIG, "initializer_range": 0.5})
    model = transformers.BertForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # Zeros and ones would hide two that are swapped.
                parameter.add_(torch.randn_like(parameter) / 2)
    folder = write_google_checkpoint(tmp_path / "google", google_variables(model))
    pretrainer = load_hugging_face_pretrainer(folder)
    inputs = random_inputs(CONFIG, batch=3, length=7)
    states = pretrainer.backbone(inputs)["sequence_output"]
    with torch.no_grad():
        ids = torch.tensor(inputs["token_ids"])
        others = {
            "token_type_ids": torch.tensor(inputs["segment_ids"]),
            "attention_mask": torch.tensor(inputs["padding_mask"]),
        }
        their_states = model.bert(ids, **others).last_hidden_state.numpy()
        their_logits = model(ids, **others).prediction_logits.numpy()
    np.testing.assert_allclose(states, their_states, atol=2e-5)
    np.testing.assert_allclose(pretrainer.mlm_head(states), their_logits, atol=2e-5)


def test_it_is_found_and_loaded_as_any_encoder(
    variables: dict, expected: Any, tmp_path: Path, caplog: Any
):
    folder = write_google_checkpoint(tmp_path / "google", variables)
    found = find(folder)
    assert (found.kind, found.path, found.task) == (Kind.TENSORFLOW_V1, str(folder), None)
    backbone, tokenizer = load_backbone(folder)
    assert_same_backbone(backbone, expected)
    assert tokenizer.get_vocabulary() == load_tokenizer(folder).get_vocabulary() == vocabulary(13)
    assert "lowercase=True, as its vocabulary has no capital letters" in caplog.text
    # Of the files that people pass, the message names the folder.
    with pytest.raises(NotADirectoryError, match=f"such as its own, {folder}"):
        find(folder / "bert_model.ckpt.index")
    with pytest.raises(NotADirectoryError, match=f"is a checkpoint; expected its folder, {folder}"):
        find(folder / "bert_model.ckpt")


def test_the_state_of_the_training_is_left_out(
    variables: dict, expected: Any, tmp_path: Path, caplog: Any
):
    slots = {f"{name}/adam_{slot}": value for name, value in variables.items() for slot in "mv"}
    slots |= {"global_step": np.int64(7), "beta1_power": np.float32(0.9)}
    folder = write_google_checkpoint(tmp_path / "google", {**variables, **slots})
    with caplog.at_level(logging.INFO, "spanbert_tf"):
        assert_same_backbone(load_hugging_face(folder)[0], expected)
    assert f"{len(slots)} tensors of its optimizer are dropped" in caplog.text


def test_the_head_of_a_coreference_model_is_named(
    variables: dict, expected: Any, tmp_path: Path, caplog: Any
):
    """mandarjoshi90/coref's files hold the encoder and a model on it, in one checkpoint."""
    head = {
        "coref_layer/slow_antecedent_scores/kernel": np.zeros((3, 2), "float32"),
        "span_width_embeddings": np.zeros((30, 2), "float32"),
    }
    folder = write_google_checkpoint(tmp_path, {**variables, **head}, "model.max.ckpt")
    with pytest.raises(CheckpointError) as caught:
        load_hugging_face(folder)
    message = str(caught.value)
    assert "unknown: coref_layer/slow_antecedent_scores/kernel (3, 2)" in message
    assert "looks like the head of a coreference model" in message
    assert "`drop` coref_layer* span_width_embeddings*" in message
    backbone, _ = load_hugging_face(folder, drop=["coref_layer*", "span_width_embeddings*"])
    assert_same_backbone(backbone, expected)
    assert "dropped by 'coref_layer*': coref_layer/slow_antecedent_scores/kernel" in caplog.text


def test_a_checkpoint_within_another_scope(variables: dict, tmp_path: Path):
    within = {f"module/{name}": value for name, value in variables.items()}
    folder = write_google_checkpoint(tmp_path / "google", within)
    tensors = known_tensors(read_tensors(folder), folder, with_head=False)
    expected = encoder_part(random_tensors(CONFIG))
    assert tensors.keys() == expected.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[key])


def test_either_config_and_hugging_face_weights_first(variables: dict, tmp_path: Path):
    folder = write_google_checkpoint(tmp_path, variables)
    assert (is_checkpoint(folder), name_of_config(folder)) == (True, "bert_config.json")
    (folder / "bert_config.json").rename(folder / "config.json")
    assert (is_checkpoint(folder), name_of_config(folder)) == (True, "config.json")
    assert find(folder).kind is Kind.HUGGING_FACE
    for name in ("model.safetensors", "pytorch_model.bin", "model-00001-of-00002.safetensors"):
        (folder / name).touch()
        assert not is_checkpoint(folder)
        (folder / name).unlink()


@pytest.mark.parametrize("damage", ["no data", "short data", "short index", "garbage", "empty"])
def test_damaged_checkpoints(damage: str, variables: dict, tmp_path: Path):
    folder = write_google_checkpoint(tmp_path, variables)
    data, index = folder / "bert_model.ckpt.data-00000-of-00001", folder / "bert_model.ckpt.index"
    if damage == "no data":
        data.unlink()
    elif damage == "short data":
        data.write_bytes(data.read_bytes()[:-20])
    else:
        content = {"short index": index.read_bytes()[:-9], "garbage": b"\xff" * 99, "empty": b""}
        index.write_bytes(content[damage])
    with pytest.raises(
        CheckpointError,
        match=r"bert_model\.ckpt is not a whole checkpoint",
    ):
        read_tensors(folder)


def test_missing_variables_and_several_checkpoints(variables: dict, tmp_path: Path):
    del variables["bert/encoder/layer_1/attention/self/key/bias"]
    folder = write_google_checkpoint(tmp_path, variables)
    with pytest.raises(CheckpointError, match=r"missing: encoder\.layer\.1\.attention\.self\.key"):
        load_hugging_face(folder)
    write_google_checkpoint(tmp_path, variables, "model.ckpt-7")
    with pytest.raises(
        CheckpointError, match=r"several checkpoints \(bert_model\.ckpt\.index, model"
    ):
        read_tensors(folder)
