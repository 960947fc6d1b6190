"""`convert`: handles of every kind to presets, and presets to checkpoints."""

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertPretrainer,
    SpanBertTextClassifier,
    SpanBertTokenizer,
    load_hugging_face,
    save_hugging_face,
)
from spanbert_tf.export.conversion import convert
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.handles import Kind, find
from tests.checkpoints.fake_hub import FakeHub
from tests.checkpoints.foreign_folders import assert_same_backbone, write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def test_checkpoint_on_the_hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", FakeHub(checkpoint))
    preset = convert("hf://bert-base-uncased", tmp_path / "preset")
    assert_same_backbone(load_backbone(preset)[0], load_hugging_face(checkpoint)[0])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", FakeHub(preset))
    back = convert("hf://me/preset", tmp_path / "back")
    assert find(back).kind is Kind.HUGGING_FACE
    assert_same_backbone(load_hugging_face(back)[0], load_hugging_face(checkpoint)[0])


def test_home_folder(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert convert("~/checkpoint", "~/preset") == tmp_path / "preset"
    assert find("~/preset").kind is Kind.PRESET


def test_pretrainer_comes_back_from_its_saved_model(
    models: Path, tmp_path: Path, pretrainer: SpanBertPretrainer, tokenizer: SpanBertTokenizer
):
    preset = convert(models / "pretrained" / "1", tmp_path / "preset")
    assert find(preset).task == "fill-mask"
    loaded = SpanBertPretrainer.from_preset(str(preset))
    assert loaded.max_targets == pretrainer.max_targets
    assert loaded.preprocessor.max_targets == pretrainer.max_targets
    assert loaded.preprocessor.tokenizer.get_vocabulary() == tokenizer.get_vocabulary()
    for weight, wanted in zip(loaded.weights, pretrainer.weights, strict=True):
        np.testing.assert_array_equal(weight, wanted, err_msg=weight.path)


def test_encoder_comes_back_from_its_saved_model(
    models: Path, tmp_path: Path, backbone: SpanBertBackbone
):
    convert(models / "encoder" / "1", tmp_path / "preset")
    loaded, tokenizer = load_backbone(tmp_path / "preset")
    assert tokenizer.lowercase
    np.testing.assert_array_equal(loaded.weights[-1], backbone.weights[-1])


def test_head_of_a_classifier_is_dropped_with_a_warning(
    classifier: SpanBertTextClassifier, tmp_path: Path, caplog: Any
):
    classifier.save_to_preset(str(tmp_path / "classifier"))
    converted = convert(tmp_path / "classifier", tmp_path / "converted")
    assert (
        "dropped, as only encoders are converted: the head for text-classification" in caplog.text
    )
    assert_same_backbone(load_hugging_face(converted)[0], classifier.backbone)


def test_what_cannot_be_converted(models: Path, tmp_path: Path):
    (tmp_path / "lite").mkdir()
    (tmp_path / "lite" / "litert.json").write_text("{}")
    for source, message in (
        (models / "preprocessor" / "1", "no SavedModel of export_encoder"),
        ("spanbert_mini", "'spanbert_mini' names a size, which has no weights"),
        (tmp_path / "lite", "of the kind LiteRT model; expected an encoder that is a Keras preset"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(source, tmp_path / "preset")
    with pytest.raises(FileNotFoundError, match=r"found nothing .*nowhere"):
        convert(tmp_path / "nowhere", tmp_path / "preset")
    assert not (tmp_path / "preset").exists()


# Destinations.


def test_an_existing_destination_is_kept(checkpoint: Path, tmp_path: Path):
    destination = tmp_path / "preset"
    destination.mkdir()
    (destination / "mine.txt").write_text("mine")
    # Before anything is looked for or downloaded.
    with pytest.raises(FileExistsError, match=r"preset exists.*overwrite"):
        convert("hf://user/repo", destination)
    with pytest.raises(FileExistsError, match=r"preset exists.*overwrite"):
        save_hugging_face(*load_hugging_face(checkpoint), destination)
    assert [path.name for path in destination.iterdir()] == ["mine.txt"]
    # Not even then: it is no model.
    with pytest.raises(FileExistsError, match=r"did not write, such as .*mine\.txt"):
        convert(checkpoint, destination, overwrite=True)
    (destination / "mine.txt").unlink()
    convert(checkpoint, destination, overwrite=True)
    assert "config.json" in {path.name for path in destination.iterdir()}


def test_a_failing_conversion_keeps_the_old_destination(checkpoint: Path, tmp_path: Path):
    destination = convert(checkpoint, tmp_path / "preset")
    before = sorted(path.name for path in tmp_path.iterdir())
    (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        convert(checkpoint, destination, overwrite=True)
    SpanBertBackbone.from_preset(str(destination))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


# Presets to start from.


def layers(preset: str) -> int:
    return SpanBertBackbone.from_preset(preset).num_layers
