"""Handles on hubs: what is downloaded, what it is, and what is said where it cannot be reached."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import kagglehub
import pytest

from spanbert_tf import SpanBertBackbone, SpanBertTextClassifier, SpanBertTokenizer
from spanbert_tf.checkpoints.hugging_face import CheckpointError
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.handles import Handle, Kind, find
from tests.checkpoints.fake_hub import FakeHub, hub_error
from tests.checkpoints.foreign_folders import write_checkpoint, write_preset

URL = "https://tfhub.dev/google/spanbert-large-cased"
KAGGLE = "kaggle://user/spanbert/keras/reviews"
CLASSIFIER = "SpanBertTextClassifier"


# The Hugging Face Hub.


@pytest.mark.parametrize("repo", ["bert-base-uncased", "user/spanbert"])
def test_hub_checkpoint(repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = FakeHub(write_checkpoint(tmp_path / "checkpoint"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    handle = f"hf://{repo}"
    assert find(handle) == Handle(Kind.HUGGING_FACE, str(hub.cache), None, handle)
    assert hub.calls[0]["repo"] == repo


def test_hub_preset_comes_with_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    tokenizer = SpanBertTokenizer(vocabulary)
    backbone = SpanBertBackbone(len(vocabulary), 1, 2, 6, 7, max_sequence_length=11)
    preprocessor = SpanBertTextClassifier.preprocessor_cls(tokenizer, sequence_length=8)
    classifier = SpanBertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    classifier.save_to_preset(str(tmp_path / "preset"))
    other = tmp_path / "preset" / "checkpoint-500"
    other.mkdir()
    (other / "config.json").touch()

    hub = FakeHub(tmp_path / "preset")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    found = find("hf://me/classifier@v1")
    assert found == Handle(
        Kind.PRESET, str(hub.cache), "text-classification", "hf://me/classifier@v1"
    )
    assert {call["revision"] for call in hub.calls} == {"v1"}
    assert not (hub.cache / other.name).exists()
    again = SpanBertTextClassifier.from_preset(found.path)
    for weight, expected in zip(again.get_weights(), classifier.get_weights(), strict=True):
        assert (weight == expected).all()
    assert again.preprocessor.tokenizer.get_vocabulary() == vocabulary


def test_hub_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = FakeHub(tmp_path, hub_error(huggingface_hub.errors.OfflineModeIsEnabled))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    with pytest.raises(ConnectionError, match="hf://user/repo: the Hub cannot be reached"):
        find("hf://user/repo")
    with pytest.raises(CheckpointError, match="expected hf://user/repo, hf://repo or"):
        find("hf://user/repo/more")


# Presets that KerasHub reads.


class FakeKaggle:
    """Stands in for `kagglehub.model_download`, which serves one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, handle: str, path: str) -> str:
        assert handle == KAGGLE.removeprefix("kaggle://")
        if not (self.folder / path).is_file():
            raise ValueError(f"{path} is not present in the model files")
        return str(self.folder / path)


@pytest.mark.parametrize(
    ("class_name", "task"), [(None, None), (CLASSIFIER, "text-classification")]
)
def test_kaggle(
    class_name: str | None, task: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = write_preset(tmp_path / "preset", class_name)
    monkeypatch.setattr(kagglehub, "model_download", FakeKaggle(folder))
    assert find(KAGGLE) == Handle(Kind.PRESET, KAGGLE, task, KAGGLE)


def test_kaggle_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    backbone, tokenizer = load_backbone(write_checkpoint(tmp_path / "checkpoint"))
    backbone.save_to_preset(str(tmp_path / "preset"))
    tokenizer.save_to_preset(str(tmp_path / "preset"))
    monkeypatch.setattr(kagglehub, "model_download", FakeKaggle(tmp_path / "preset"))
    loaded, its_tokenizer = load_backbone(KAGGLE)
    assert its_tokenizer.get_vocabulary() == tokenizer.get_vocabulary()
    for weight, expected in zip(loaded.get_weights(), backbone.get_weights(), strict=True):
        assert (weight == expected).all()


def test_built_in_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from keras_hub.src.utils import preset_utils

    presets = {"spanbert_reviews": {"kaggle_handle": KAGGLE}}
    monkeypatch.setattr(preset_utils, "BUILTIN_PRESETS", presets)
    monkeypatch.setitem(preset_utils.BUILTIN_PRESETS_FOR_BACKBONE, SpanBertBackbone, presets)
    preset = write_preset(tmp_path / "preset", CLASSIFIER)
    monkeypatch.setattr(kagglehub, "model_download", FakeKaggle(preset))
    found = find("spanbert_reviews")
    assert found == Handle(Kind.PRESET, "spanbert_reviews", "text-classification", found.path)


def test_nothing_on_kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kagglehub, "model_download", FakeKaggle(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"{KAGGLE} holds no Keras preset"):
        find(KAGGLE)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=rf"{KAGGLE} is no Keras preset: .* pass its folder"):
        find(KAGGLE)


def test_kaggle_out_of_reach(monkeypatch: pytest.MonkeyPatch):
    def download(handle: str, path: str) -> str:
        raise RuntimeError("not authenticated")

    monkeypatch.setattr(kagglehub, "model_download", download)
    with pytest.raises(ConnectionError, match=f"could not get {KAGGLE}: not authenticated"):
        find(KAGGLE)


@pytest.mark.parametrize("handle", ["kaggle://user/spanbert", "nowhere://user/spanbert"])
def test_malformed_handles_of_keras_hub(handle: str):
    with pytest.raises(ValueError, match=handle):
        find(handle)


# TF Hub.


def test_tf_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "saved_model.pb").touch()
    hub = SimpleNamespace(resolve={URL: str(tmp_path)}.__getitem__)
    monkeypatch.setitem(sys.modules, "tensorflow_hub", hub)
    assert find(URL) == Handle(Kind.SAVED_MODEL, str(tmp_path), None, URL)


def test_tf_hub_without_protection_is_refused():
    with pytest.raises(ValueError, match=r"refused.*use https://"):
        find(URL.replace("https", "http"))


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError, EOFError])
def test_tf_hub_out_of_reach(error: type[Exception], monkeypatch: pytest.MonkeyPatch):
    def resolve(url: str) -> Any:
        raise error("Name or service not known")

    monkeypatch.setitem(sys.modules, "tensorflow_hub", SimpleNamespace(resolve=resolve))
    with pytest.raises(ConnectionError, match=f"{URL}.*Name or service.*pass the folder's path"):
        find(URL)


def test_missing_tensorflow_hub_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorflow_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'spanbert-tf\[hub\]'"):
        find(URL)
