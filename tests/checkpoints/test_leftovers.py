"""Checkpoints that hold more than an encoder: what is around it, beside it, and after it."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spanbert_tf import SpanBertTextClassifier, load_hugging_face, save_hugging_face
from spanbert_tf.checkpoints.conversion_table import conversion_table
from spanbert_tf.checkpoints.tensors import assign, known_tensors
from spanbert_tf.cli.main import main
from spanbert_tf.export.conversion import convert
from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifierPreprocessor
from tests.checkpoints.foreign_folders import (
    CONFIG,
    assert_same_backbone,
    encoder_part,
    random_tensors,
    vocabulary,
    write_checkpoint,
    write_preset,
)

CRF = {"crf.transitions": np.zeros((3, 3), "float32"), "crf.start": np.zeros(3, "float32")}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_hugging_face(write_checkpoint(tmp_path_factory.mktemp("expected")))[0]


def assert_same_tensors(tensors: dict[str, np.ndarray], seed: int = 0) -> None:
    expected = encoder_part(random_tensors(CONFIG, seed))
    assert tensors.keys() == expected.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[key])


@pytest.mark.parametrize(
    "modules",
    [
        "module.",
        "model.",
        "bert.",
        "module.bert.",
        "module.model.bert.",
        "model.module.model.bert.",
        "question_encoder.bert_model.",
        "_orig_mod.encoder.",
    ],
)
def test_modules_around_the_encoder(modules: str):
    tensors = {f"{modules}{key}": value for key, value in random_tensors(CONFIG).items()}
    # A head stands beside the encoder, within all modules but its own.
    outer = modules.removesuffix("bert.")
    tensors[f"{outer}cls.predictions.bias"] = np.zeros(13, "float32")
    tensors[f"{outer}classifier.weight"] = np.zeros((2, 6), "float32")
    assert_same_tensors(known_tensors(tensors, "folder", with_head=False))


def test_several_encoders_are_named():
    tensors = {
        f"{name}.{key}": value
        for seed, name in enumerate(["ctx", "query"])
        for key, value in random_tensors(CONFIG, seed).items()
    }
    with pytest.raises(CheckpointError, match=r"several encoders, under 'ctx\.', 'query\.'.*drop"):
        known_tensors(tensors, "folder", with_head=False)
    for seed, other in enumerate(["query.*", "ctx.*"]):
        kept = known_tensors(tensors, "folder", with_head=False, drop=[other])
        assert_same_tensors(kept, seed)


@pytest.mark.parametrize(
    ("key", "cause", "pattern"),
    [
        ("crf.transitions", "a conditional random field, of a fine-tuned tagger", "crf.*"),
        ("bert.crf.transitions", "a conditional random field", "bert.crf.*"),
        ("classifier.out_proj.weight", "the head of a fine-tuned task", "classifier.*"),
        ("classifier.dense.bias", "the head of a fine-tuned task", "class*"),
        ("start_logits.weight", "the head of a fine-tuned task", "start_logits.*"),
        ("encoder.layer.0.output.dense.lora_A.weight", "adapters.*merge them first", "*lora*"),
        ("whatever", None, "what?ver"),
    ],
)
def test_left_over_keys_are_explained_and_can_be_dropped(
    key: str, cause: str | None, pattern: str, expected: Any, caplog: Any
):
    tensors = {**random_tensors(CONFIG), key: np.zeros((2, 3), "float32")}
    kept = known_tensors(tensors, "folder", with_head=False)
    table = conversion_table(expected.num_layers)
    with pytest.raises(CheckpointError, match=rf"unknown: .*\(2, 3\)(\n|.)*{cause or 'drop'}") as e:
        assign(expected, table, kept, "not what it says")
    assert "give `drop`" in str(e.value)
    assert_same_tensors(known_tensors(tensors, "folder", with_head=False, drop=[pattern]))
    assert f"dropped by {pattern!r}: {key}" in caplog.text


def test_dropping_is_strict_too(tmp_path: Path):
    folder = write_checkpoint(tmp_path / "x", {**random_tensors(CONFIG), **CRF})
    with pytest.raises(CheckpointError, match=r"no key that fits `drop` 'crff\.\*'; it has crf\.s"):
        load_hugging_face(folder, drop=["crff.*"])
    with pytest.raises(CheckpointError, match=r"missing: encoder\.layer\.1\.output\.dense\.bias"):
        load_hugging_face(folder, drop=["crf.*", "encoder.layer.1.*"])
    with pytest.raises(ValueError, match="is a Keras preset; `drop` is for a checkpoint's keys"):
        convert(write_preset(tmp_path / "preset"), tmp_path / "y", drop=["crf.*"])


def test_the_command_drops(expected: Any, tmp_path: Path, capsys: Any):
    folder = write_checkpoint(tmp_path / "x", {**random_tensors(CONFIG), **CRF})
    words = ["convert", str(folder), str(tmp_path / "preset")]
    assert main(words) == 1
    assert "--drop" in capsys.readouterr().err
    assert main([*words, "--drop", "crf.trans*", "--drop", "crf.start"]) == 0
    assert_same_backbone(type(expected).from_preset(str(tmp_path / "preset")), expected)


@pytest.mark.parametrize("spare", [45, 1045])
def test_rows_without_a_piece_are_kept(spare: int, tmp_path: Path, caplog: Any):
    """Published models have 1,000 rows more than word pieces."""
    config = {**CONFIG, "vocab_size": 13 + spare}
    tensors = random_tensors(config)
    folder = write_checkpoint(tmp_path / "x", tensors, config)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary(13)))
    backbone, tokenizer = load_hugging_face(folder)
    assert f"the last {spare} of {13 + spare} embeddings have no word piece" in caplog.text
    np.testing.assert_array_equal(
        backbone.token_embedding.embeddings, tensors["embeddings.word_embeddings.weight"]
    )
    # And all the way on: as a task, to a preset and back.
    preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, sequence_length=8)
    task = SpanBertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    task.save_to_preset(str(tmp_path / "preset"))
    again = SpanBertTextClassifier.from_preset(str(tmp_path / "preset"))
    assert_same_backbone(again.backbone, backbone)
    save_hugging_face(backbone, tokenizer, tmp_path / "saved")
    assert_same_backbone(load_hugging_face(tmp_path / "saved")[0], backbone)


def test_a_few_rows_to_a_multiple_of_eight_are_no_warning(tmp_path: Path, caplog: Any):
    folder = write_checkpoint(tmp_path, config={"vocab_size": 16})
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary(11)))
    with caplog.at_level(logging.WARNING, "spanbert_tf"):
        load_hugging_face(folder)
    assert not caplog.text


@pytest.mark.parametrize(
    ("name", "library"), [("tf_model.h5", "TensorFlow"), ("flax_model.msgpack", "Flax")]
)
def test_weights_of_other_libraries_are_refused_by_name(name: str, library: str, tmp_path: Path):
    folder = write_checkpoint(tmp_path, encoder_part(random_tensors(CONFIG)))
    (folder / "model.safetensors").rename(folder / name)
    message = f"{name} holds weights of {library}, which are not read: save them"
    with pytest.raises(FileNotFoundError, match=message):
        load_hugging_face(folder)
