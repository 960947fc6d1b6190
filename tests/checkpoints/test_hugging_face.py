"""The files of a checkpoint: vocabularies, PyTorch files that may be hostile, the Hub."""

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from spanbert_tf import load_hugging_face, save_hugging_face
from spanbert_tf.checkpoints.hugging_face import read_tensors
from spanbert_tf.checkpoints.vocabularies import read_vocabulary
from spanbert_tf.foreign_files import CheckpointError
from tests.checkpoints.fake_hub import FakeHub, hub_error
from tests.checkpoints.foreign_folders import (
    CONFIG,
    SPECIAL,
    assert_same_backbone,
    edit_json,
    random_tensors,
    write_checkpoint,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


# Vocabularies.


def set_vocabulary(folder: Path, pieces: list[str]) -> None:
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))


@pytest.mark.parametrize(("rows", "pieces"), [(13, 14), (16, 17), (13, 1013)])
def test_vocabulary_of_more_pieces_than_embeddings(rows: int, pieces: int, tmp_path: Path):
    folder = write_checkpoint(tmp_path, config={"vocab_size": rows})
    set_vocabulary(folder, SPECIAL + [f"w{i}" for i in range(pieces - len(SPECIAL))])
    with pytest.raises(CheckpointError, match=f"{pieces} word pieces for {rows} embeddings"):
        load_hugging_face(folder)


def test_padded_embeddings(tmp_path: Path):
    folder = write_checkpoint(tmp_path / "padded", config={"vocab_size": 16})
    set_vocabulary(folder, [*SPECIAL, "a", "b"])
    backbone, tokenizer = load_hugging_face(folder)
    assert (backbone.vocabulary_size, tokenizer.vocabulary_size()) == (16, 7)
    save_hugging_face(backbone, tokenizer, tmp_path / "saved")
    assert_same_backbone(load_hugging_face(tmp_path / "saved")[0], backbone)


@pytest.mark.parametrize(("extra", "lowercase"), [("apple", True), ("Apple", False)])
def test_case_is_inferred_from_the_vocabulary(
    extra: str, lowercase: bool, tmp_path: Path, caplog: Any
):
    folder = write_checkpoint(tmp_path, lowercase=None)
    set_vocabulary(folder, [*SPECIAL, "a", "b", "##c", "[unused1]", extra])
    assert read_vocabulary(folder).lowercase is lowercase
    assert f"lowercase={lowercase}" in caplog.text


@pytest.mark.parametrize(("name", "lowercase"), [("cased", False), ("uncased", True)])
def test_case_of_real_vocabularies(
    name: str, lowercase: bool, shared_data: Path, tmp_path: Path, caplog: Any
):
    content = (shared_data / "vocab" / f"bert-base-{name}-vocab.txt").read_bytes()
    (tmp_path / "vocab.txt").write_bytes(content)
    assert read_vocabulary(tmp_path).lowercase is lowercase


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_token": "<mask>"}, r"mask_token: expected '\[MASK\]', got '<mask>'"),
        ({"tokenize_chinese_chars": False}, "tokenize_chinese_chars: expected True, got False"),
        ({"do_lower_case": True, "strip_accents": False}, "strip_accents: expected null or as"),
    ],
)
def test_another_tokenizer_is_refused(settings: dict, message: str, checkpoint: Path):
    edit_json(checkpoint / "tokenizer_config.json", **settings)
    with pytest.raises(CheckpointError, match=rf"tokenizer_config\.json asks for.*{message}"):
        load_hugging_face(checkpoint)


def test_special_tokens_as_objects(checkpoint: Path):
    edit_json(checkpoint / "tokenizer_config.json", mask_token={"content": "[MASK]"})
    _, tokenizer = load_hugging_face(checkpoint)
    assert tokenizer.mask_token_id == SPECIAL.index("[MASK]")
    edit_json(checkpoint / "tokenizer_config.json", mask_token={"content": "<mask>"})
    with pytest.raises(CheckpointError, match=r"mask_token: expected '\[MASK\]', got '<mask>'"):
        load_hugging_face(checkpoint)


def write_tokenizer_json(folder: Path, **model: Any) -> None:
    pieces = (folder / "vocab.txt").read_text().split()
    (folder / "vocab.txt").unlink()
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": vocabulary, **model},
        "normalizer": {"type": "BertNormalizer", "lowercase": False},
        "added_tokens": [{"id": 0, "content": "[PAD]"}],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def test_tokenizer_json_in_place_of_vocab_txt(tmp_path: Path):
    folder = write_checkpoint(tmp_path, lowercase=None)
    pieces = (folder / "vocab.txt").read_text().split()
    write_tokenizer_json(folder)
    _, tokenizer = load_hugging_face(folder)
    assert tokenizer.get_vocabulary() == pieces
    assert tokenizer.lowercase is False


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type": "BPE"}, "expected a WordPiece model, got 'BPE'"),
        ({"vocab": {"[PAD]": 0, "a": 5}}, "one piece for each id from 0 to 1"),
    ],
)
def test_tokenizer_json_of_another_kind(model: dict, message: str, checkpoint: Path):
    write_tokenizer_json(checkpoint, **model)
    with pytest.raises(CheckpointError, match=rf"tokenizer\.json: .*{message}"):
        load_hugging_face(checkpoint)


# PyTorch files.


class Malicious:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (os.fspath(self.path),)


@pytest.fixture
def torch_checkpoint(checkpoint: Path) -> Path:
    """The checkpoint without its safetensors."""
    (checkpoint / "model.safetensors").unlink()
    return checkpoint


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch_files(zipped: bool, dtype: str, torch_checkpoint: Path, tmp_path: Path):
    torch = pytest.importorskip("torch", reason="writes the file to read")
    tensors = {
        key: torch.tensor(tensor).to(getattr(torch, dtype))
        for key, tensor in random_tensors(CONFIG).items()
    }
    path = torch_checkpoint / "pytorch_model.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    widened = {key: tensor.float().numpy() for key, tensor in tensors.items()}
    expected, _ = load_hugging_face(write_checkpoint(tmp_path / "widened", widened))
    assert_same_backbone(load_hugging_face(torch_checkpoint)[0], expected)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_not_run(
    kind: str, torch_checkpoint: Path, tmp_path: Path
):
    torch = pytest.importorskip("torch", reason="reads the file")
    payload = {"embeddings.word_embeddings.weight": Malicious(tmp_path / "owned")}
    path = torch_checkpoint / "pytorch_model.bin"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(payload, protocol=2))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin .*refused"):
        load_hugging_face(torch_checkpoint)
    assert not (tmp_path / "owned").exists()
    # The file is what it claims to be: unpickled carelessly, it acts.
    if kind == "pickle":
        pickle.loads(path.read_bytes())  # noqa: S301 - our own file
        assert (tmp_path / "owned").exists()


@pytest.mark.parametrize("damage", ["truncated", "empty", "no dictionary", "nested"])
def test_damaged_torch_files(damage: str, torch_checkpoint: Path):
    torch = pytest.importorskip("torch", reason="reads the file")
    path = torch_checkpoint / "pytorch_model.bin"
    value = {"no dictionary": [1], "nested": {"state_dict": {}}}.get(damage, {"a": torch.ones(99)})
    torch.save(value, path)
    if damage in {"truncated", "empty"}:
        path.write_bytes(path.read_bytes()[: 300 if damage == "truncated" else 0])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        load_hugging_face(torch_checkpoint)


def test_without_torch(torch_checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    (torch_checkpoint / "pytorch_model.bin").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"pytorch_model\.bin needs PyTorch: pip install"):
        load_hugging_face(torch_checkpoint)


def test_safetensors_are_preferred(checkpoint: Path):
    (checkpoint / "pytorch_model.bin").write_bytes(b"never read")
    assert "embeddings.word_embeddings.weight" in read_tensors(checkpoint)


# The Hub.


@pytest.mark.parametrize("revision", [None, "v1.0", "refs/pr/3"])
def test_hub_handle(revision: str | None, checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    hub = FakeHub(checkpoint)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    handle = "hf://user/repo-1.0" + (f"@{revision}" if revision else "")
    backbone, _ = load_hugging_face(handle)
    assert_same_backbone(backbone, load_hugging_face(checkpoint)[0])
    (call,) = hub.calls
    assert (call["repo"], call["revision"]) == ("user/repo-1.0", revision)
    assert "config.json" in call["allow_patterns"]
    assert not any(pattern.endswith(".bin") for pattern in call["allow_patterns"])


def test_torch_files_are_downloaded_where_there_are_no_safetensors(
    torch_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    torch = pytest.importorskip("torch", reason="writes the file to read")
    tensors = {key: torch.tensor(t) for key, t in random_tensors(CONFIG).items()}
    torch.save(tensors, torch_checkpoint / "pytorch_model.bin")
    hub = FakeHub(torch_checkpoint)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    load_hugging_face("hf://SpanBERT/spanbert-base-cased")
    assert len(hub.calls) == 2
    assert "pytorch_model*.bin" in hub.calls[1]["allow_patterns"]


@pytest.mark.parametrize(
    ("kind", "expected", "message"),
    [
        (GatedRepoError, PermissionError, r"gated.*hf auth login"),
        (RepositoryNotFoundError, FileNotFoundError, "no repository 'user/repo'"),
        (RevisionNotFoundError, FileNotFoundError, "'user/repo' has no revision 'v9'"),
        (LocalEntryNotFoundError, ConnectionError, "cannot be reached.*pass its folder"),
        (OfflineModeIsEnabled, ConnectionError, "cannot be reached.*pass its folder"),
    ],
)
def test_hub_errors(
    kind: type[Exception],
    expected: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", FakeHub(tmp_path, hub_error(kind)))
    with pytest.raises(expected, match=rf"hf://user/repo@v9.*{message}"):
        load_hugging_face("hf://user/repo@v9")


def test_offline_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The real library in its offline mode, which conftest.py sets."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match="hf://user/surely-not-cached: the Hub cannot be"):
        load_hugging_face("hf://user/surely-not-cached")


def test_a_repository_without_a_user(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    """The oldest models of the Hub have such names."""
    hub = FakeHub(checkpoint)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    load_hugging_face("hf://bert-base-uncased@main")
    assert [(call["repo"], call["revision"]) for call in hub.calls] == [
        ("bert-base-uncased", "main")
    ]


def test_a_repository_of_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "README.md").touch()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", FakeHub(tmp_path / "repo"))
    with pytest.raises(FileNotFoundError, match=r"hf://user/repo holds neither .* no config\.json"):
        load_hugging_face("hf://user/repo")


def test_home_folder(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    load_hugging_face(f"~/{checkpoint.name}")


@pytest.mark.parametrize("handle", ["hf://a/b/c", "hf://", "hf://a/b@", "hf://a b/c", "hf://a..b"])
def test_malformed_handles(handle: str):
    with pytest.raises(CheckpointError, match="expected hf://user/repo"):
        load_hugging_face(handle)
