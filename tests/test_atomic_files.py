"""A folder is written whole or not at all, and what was there before survives every failure."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spanbert_tf.atomic_files import atomic_folder


def contents(folder: Path) -> dict[str, str]:
    """Every file below `folder`, hidden ones included, with its text."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / "vocab.txt").write_text("old")
    return folder


def test_new_folder_appears_whole_with_its_parents(tmp_path: Path):
    path = tmp_path / "saved_models" / "reviews" / "1"
    with atomic_folder(path) as folder:
        assert folder.parent == path.parent
        (folder / "assets").mkdir()
        (folder / "assets" / "vocab.txt").write_text("new")
        (folder / "link").symlink_to("assets/vocab.txt")
        assert not path.exists()
    assert contents(tmp_path / "saved_models") == {
        "reviews/1/assets/vocab.txt": "new",
        "reviews/1/link": "new",
    }


def test_new_folder_has_the_permissions_of_any_other(tmp_path: Path):
    (tmp_path / "usual").mkdir()
    with atomic_folder(tmp_path / "ours"):
        pass
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_accepts_a_string_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with atomic_folder("model/") as folder:
        (folder / "a").write_text("new")
    assert contents(tmp_path) == {"model/a": "new"}


def test_existing_folder_is_refused_before_the_body_runs(old: Path):
    with (
        pytest.raises(FileExistsError, match=r"model exists.*overwrite=True"),
        atomic_folder(old),
    ):
        pytest.fail("the body ran")
    assert contents(old.parent) == {"model/assets/vocab.txt": "old"}


def test_overwrite_replaces_all_of_the_old_folder(old: Path):
    with atomic_folder(old, overwrite=True) as folder:
        (folder / "config.json").write_text("new")
        assert contents(old) == {"assets/vocab.txt": "old"}
    assert contents(old.parent) == {"model/config.json": "new"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_replaced(tmp_path: Path, overwrite: bool):
    (tmp_path / "notes").write_text("mine")
    with (
        pytest.raises(NotADirectoryError, match="notes is a file"),
        atomic_folder(tmp_path / "notes", overwrite),
    ):
        pytest.fail("the body ran")
    assert contents(tmp_path) == {"notes": "mine"}


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("bad row"), KeyboardInterrupt()],
)
def test_failing_body_keeps_the_old_folder_and_leaves_nothing(old: Path, failure: BaseException):
    def fail() -> None:
        with atomic_folder(old, overwrite=True) as folder:
            (folder / "half").write_text("new")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert contents(old.parent) == {"model/assets/vocab.txt": "old"}
    assert os.listdir(old.parent) == ["model"]


def test_full_disk_at_the_flush_keeps_the_old_folder(old: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with (
        pytest.raises(OSError, match="No space left"),
        atomic_folder(old, overwrite=True) as folder,
    ):
        (folder / "config.json").write_text("new")
    assert contents(old.parent) == {"model/assets/vocab.txt": "old"}


def test_failing_rename_puts_the_old_folder_back(old: Path, monkeypatch: pytest.MonkeyPatch):
    rename = Path.rename

    def rename_all_but_the_new(self: Path, target: Path) -> Path:
        if self.name.startswith(".incomplete-"):
            raise PermissionError(f"cannot rename {self}")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_all_but_the_new)
    with (
        pytest.raises(PermissionError, match="cannot rename"),
        atomic_folder(old, overwrite=True) as folder,
    ):
        (folder / "config.json").write_text("new")
    assert contents(old.parent) == {"model/assets/vocab.txt": "old"}
    assert os.listdir(old.parent) == ["model"]


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path):
    path = tmp_path / "model"

    def meet_another_writer() -> None:
        with atomic_folder(path) as folder:
            (folder / "config.json").write_text("ours")
            path.mkdir()
            (path / "config.json").write_text("theirs")

    with pytest.raises(FileExistsError, match="model exists"):
        meet_another_writer()
    assert contents(tmp_path) == {"model/config.json": "theirs"}


def test_a_link_stays_a_link(old: Path):
    link = old.parent / "latest"
    link.symlink_to("model")
    with atomic_folder(link, overwrite=True) as folder:
        (folder / "config.json").write_text("new")
    assert link.is_symlink()
    assert contents(old) == {"config.json": "new"}


def test_killed_process_leaves_no_half_folder_under_the_name(old: Path):
    source = (
        "import os, sys\n"
        "from spanbert_tf.atomic_files import atomic_folder\n"
        "with atomic_folder(sys.argv[1], overwrite=True) as folder:\n"
        "    (folder / 'half').write_text('new')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    outcome = subprocess.run([sys.executable, "-c", source, str(old)])
    assert outcome.returncode == -9
    assert contents(old) == {"assets/vocab.txt": "old"}
    (leftover,) = set(os.listdir(old.parent)) - {"model"}
    assert leftover.startswith(".incomplete-")
