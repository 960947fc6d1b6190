"""A folder is written whole or not at all, and what was there before survives every failure."""

import errno
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from spanbert_tf.atomic_files import atomic_file, atomic_folder, tidy


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


# Writes a folder once for each call of the file system, killed at the next one each time.
KILLED = """
import os, signal, sys
from pathlib import Path
from spanbert_tf.atomic_files import atomic_folder

def killing(count):
    def wrap(function):
        def call(*args, **kwargs):
            nonlocal count
            if count == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            count -= 1
            return function(*args, **kwargs)
        return call
    for name in ("mkdir", "open", "rename", "rmdir", "unlink", "fsync"):
        setattr(os, name, wrap(getattr(os, name)))

for count in range(1000):
    pid = os.fork()
    if not pid:
        killing(count)
        with atomic_folder(sys.argv[1], overwrite=True) as folder:
            (folder / "a").write_text(f"new {count}")
            (folder / "b").write_text(f"new {count}")
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    found = [Path(sys.argv[1], name) for name in "ab"]
    print(status, *(path.read_text() if path.exists() else None for path in found), sep=",")
    if status == 0:
        break
"""


def test_a_killed_process_leaves_the_old_folder_or_the_new_one(tmp_path: Path):
    path = tmp_path / "model"
    path.mkdir()
    for name in "ab":
        (path / name).write_text("old")
    command = [sys.executable, "-c", KILLED, str(path)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    *killed, last = outcome.stdout.splitlines()
    assert last.startswith("0,new")
    assert len(killed) > 10
    assert all(line.startswith("9,") for line in killed)
    one, two = zip(*(line.split(",")[1:] for line in killed), strict=True)
    assert one == two  # Whole, or not there between two renames.
    assert "None" in one
    assert "new" in one[-1]
    # It is found again by the next.
    assert ("None", "None") not in pairwise(one)
    assert os.listdir(tmp_path) == ["model"]


def test_what_was_being_replaced_is_found(old: Path):
    hidden = old.parent / ".replaced-0123456789abcdef-model"
    old.rename(hidden)
    with pytest.raises(FileExistsError, match="model exists"), atomic_folder(old):
        pytest.fail("the body ran")
    assert contents(old.parent) == {"model/assets/vocab.txt": "old"}


def test_leftovers_are_tidied_up_but_not_those_of_others(old: Path):
    abandoned = (".incomplete-0123456789abcdef-model", ".incomplete-0123456789abcdef")
    others = (".incomplete-mine", ".incomplete-0123", ".replaced-0123456789abcdef", "incomplete-0")
    for name in (*abandoned, ".replaced-0123456789abcdef-model", *others):
        (old.parent / name).mkdir()
        (old.parent / name / "half").write_text("half")
    with atomic_folder(old.parent / "in_use") as living:
        tidy(old.parent)
        assert {*os.listdir(old.parent)} == {"model", living.name, *others}
    assert contents(old) == {"assets/vocab.txt": "old"}


def test_leftovers_of_files_are_tidied_up(tmp_path: Path):
    for name in ("vocab.txt", "other.txt"):
        (tmp_path / f".incomplete-0123456789abcdef-{name}").write_text("half")
    with atomic_file(tmp_path / "vocab.txt") as path:
        path.write_text("new")
    assert contents(tmp_path) == {
        ".incomplete-0123456789abcdef-other.txt": "half",
        "vocab.txt": "new",
    }
