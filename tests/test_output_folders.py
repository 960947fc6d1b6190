"""What may be written where: nothing that this package did not write is ever replaced."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from spanbert_tf import output_folders
from spanbert_tf.atomic_files import locked
from spanbert_tf.output_folders import check_outputs, check_room, output_folder

# The files of everything that the package writes, as its exporters' tests see them.
PRESET = ("config.json", "metadata.json", "model.weights.h5", "tokenizer.json", "task.json")
LAYOUTS = {
    "preset": (*PRESET, "task.weights.h5", "assets/tokenizer/vocabulary.txt", "metrics.json"),
    "preset in parts": (*PRESET, "model.weights.json", "model_00000.weights.h5"),
    "Hugging Face": ("config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"),
    "SavedModel": (
        *("saved_model.pb", "fingerprint.pb", "assets/task.json", "assets/vocab.txt"),
        *("variables/variables.index", "variables/variables.data-00000-of-00001"),
    ),
    "LiteRT": ("litert.json", "network.tflite", "vocab.txt"),
    "adapter": ("adapter.json", "adapter.safetensors"),
    "stopped run": (
        *("run.json", "may_replace", "epochs/step-00000001/tensors.safetensors"),
        *("epochs/step-00000001/checkpoint.json", "best-1/model.weights.h5"),
        *("best-1/adapter/adapter.json", "epochs/.incomplete-0011223344556677/checkpoint.json"),
    ),
}


def make(folder: Path, files: tuple[str, ...] = LAYOUTS["preset"]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("old")
    return folder


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS)
def test_what_the_package_writes_is_replaced_with_overwrite_only(tmp_path: Path, files):
    folder = make(tmp_path / "model", files)
    with pytest.raises(FileExistsError, match=r"exists.*overwrite=True"), output_folder(folder):
        pytest.fail("the body ran")
    assert names(folder) == set(files)
    with output_folder(folder, overwrite=True) as new:
        (new / "config.json").write_text("new")
    assert names(tmp_path) == {"model/config.json"}


def test_an_empty_folder_is_replaced_with_overwrite(tmp_path: Path):
    (tmp_path / "model").mkdir()
    with output_folder(tmp_path / "model", overwrite=True) as new:
        (new / "config.json").write_text("new")
    assert names(tmp_path) == {"model/config.json"}


@pytest.mark.parametrize(
    ("files", "example"),
    [
        ((*LAYOUTS["preset"], "my.py"), "my.py"),
        ((*LAYOUTS["preset"], "assets/logo.png"), "logo.png"),
        ((*LAYOUTS["preset"], "notes/config.json"), "notes"),
        ((*LAYOUTS["SavedModel"], ".git/config"), ".git"),
        (("classifier/config.json", "saved_model/1/saved_model.pb"), "classifier"),
        (("my.py",), "my.py"),
        (("config.json", "vocab.txt"), None),  # Anybody's: there are no weights.
        (("assets/vocab.txt",), None),
    ],
)
def test_what_holds_anything_foreign_is_never_replaced(tmp_path: Path, files, example: str | None):
    folder = make(tmp_path / "model", files)
    expected = f"did not write, such as .*{example}" if example else "is no model that spanbert_tf"
    with pytest.raises(FileExistsError, match=expected), output_folder(folder, overwrite=True):
        pytest.fail("the body ran")
    assert names(folder) == set(files)


def test_a_foreign_file_that_comes_meanwhile_is_kept(tmp_path: Path):
    folder = make(tmp_path / "model")

    def write() -> None:
        with output_folder(folder, overwrite=True) as new:
            (new / "config.json").write_text("new")
            (folder / "my.py").write_text("mine")

    with pytest.raises(FileExistsError, match=r"my\.py"):
        write()
    assert names(tmp_path) == {f"model/{name}" for name in (*LAYOUTS["preset"], "my.py")}


def test_places_that_no_output_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home, work = tmp_path / "me", tmp_path / "me" / "work"
    source = make(work / "models" / "source")
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    refused = {
        **{".": "holds|is", "..": "holds|is", "/": "holds", "~/..": "holds"},
        **{"models/source": "is .*source, which is read", "models": "holds .*source, which is"},
        "models/source/served/1": "lies in .*source, which is read",
    }
    for output, expected in refused.items():
        with pytest.raises(ValueError, match=f"cannot be written, as it ({expected})"):
            check_outputs([os.path.expanduser(output)], True, ["models/source", "hf://user/repo"])
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(ValueError, match="which is read"):
        check_outputs([tmp_path / "link"], True, [source])
    # Neighbours of these.
    check_outputs(["models/sources", tmp_path / "other", "1"], False, ["models/source", None])
    for outputs in (["a", "a"], ["a", "a/1"], ["a/1", "a"]):
        with pytest.raises(ValueError, match="which is written too"):
            check_outputs(outputs, False)
    assert names(source) == set(LAYOUTS["preset"])


def test_outputs_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file"):
        check_outputs([tmp_path / "file"], True)
    with pytest.raises(NotADirectoryError, match=r"1 cannot be made, as .*file is a file"):
        check_outputs([tmp_path / "file" / "x" / "1"], False)
    monkeypatch.setattr(os, "access", lambda *_: False)  # Root may write anywhere.
    with pytest.raises(PermissionError, match="may not be written to"):
        check_outputs([tmp_path / "new"], False)


def test_room_is_checked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    check_room(tmp_path / "not" / "yet", 10_000_000)
    with (
        pytest.raises(OSError, match="takes 12 MB, and 10 MB are free") as failed,
        output_folder(tmp_path / "new", size=12_000_000),
    ):
        pytest.fail("the body ran")
    assert failed.value.errno == errno.ENOSPC
    assert not names(tmp_path)


def test_a_full_disk_says_what_is_kept(tmp_path: Path):
    folder = make(tmp_path / "model")
    for path, kept in ((folder, "; what was there is kept."), (tmp_path / "new", "written.")):
        with pytest.raises(OSError, match="No space") as failed, output_folder(path, True):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert failed.value.__notes__[0].endswith(kept)
    assert names(tmp_path) == {f"model/{name}" for name in LAYOUTS["preset"]}


def test_a_lock_is_for_one_and_leaves_nothing(tmp_path: Path):
    folders = [tmp_path / "run" / "model", tmp_path / "run" / "saved_model" / "1"]
    with locked(folders):
        with (
            pytest.raises(BlockingIOError, match=r"another process is at work on .*1"),
            locked([tmp_path / "free", folders[1]]),
        ):
            pytest.fail("the body ran")
        with locked([tmp_path / "run" / "other"]):
            pass
    assert not [*tmp_path.iterdir()]
    # That of a process that was killed.
    (tmp_path / ".model.lock").touch()
    with locked([tmp_path / "model"]):
        (tmp_path / "model").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_known_names_do_not_grow_without_notice():
    """A pattern that matches anything would let anything be deleted."""
    patterns = [*output_folders._FILES, *output_folders._FOLDERS]
    assert not [pattern for pattern in patterns if pattern.startswith("*") and "." not in pattern]
