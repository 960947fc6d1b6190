"""All parts of a file are answered alike: as one file, by one model."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.resumed_folders import MANIFEST
from spanbert_tf.handles import find
from spanbert_tf.prediction import answer_parts
from spanbert_tf.prediction.answer_parts import Asked, PartWriter
from spanbert_tf.prediction.answered_file import answer_file, answer_here
from spanbert_tf.settings import AnsweredParts
from tests.prediction.answers import contents, predicted, rows_of, without_digits


def test_all_parts_are_read_alike(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lines = [{"sentence": "a"}, {"sentence": "b", "text": "c"}]
    path, folder = tmp_path / "texts.jsonl", tmp_path / "out"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    words = (models / "classifier", "--input", path, "--part-records", 1, "--output", folder)
    assert predicted(capsys, *words)["parts"] == 2
    assert [row["text"] for part in rows_of(folder) for row in part] == ["a", "b"]
    assert predicted(capsys, *words, "--text-column", "sentence")["reused"] == 2
    # The same bytes as lines of text are other records.
    other = shutil.copy(path, tmp_path / "texts.txt")
    refused = predicted(capsys, *words, "--input", other, code=1)
    assert "input_format is '.jsonl' there, '.txt' now" in refused


def test_a_model_that_an_option_names(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    tagger = tmp_path / "tagger"
    shutil.copytree(models / "tagger", tagger)
    texts = ["ada met bo in c.", "a b", "d e f"]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    monkeypatch.chdir(tmp_path)
    words = [models / "extractor", "--input", "texts.txt", "--entities", "tagger"]
    expected = predicted(capsys, *words)
    load_task, loaded = answer_parts.load_task, []

    def load(handle: Any, **options: Any) -> Any:
        loaded.append(find(handle).path)
        return load_task(handle, **options)

    with monkeypatch.context() as patch:
        patch.setattr(answer_parts, "load_task", load)
        words += ["--output", tmp_path / "out", "--part-records", 1]
        assert predicted(capsys, *words)["parts"] == 3
    assert loaded == [str(models / "extractor"), str(tagger)]
    answers = [row for part in rows_of(tmp_path / "out") for row in part]
    assert any(row["answers"] for row in answers)
    assert without_digits(answers) == without_digits(expected)

    refused = predicted(capsys, *words, "--output", tagger / "out", code=1)
    assert re.search("lies in .*tagger, which is read", refused)
    assert predicted(capsys, *words)["reused"] == 3
    (tagger / "README.md").write_text("anew")
    assert "entities is '" in predicted(capsys, *words, code=1)
    words[words.index("tagger")] = models / "classifier"
    words[words.index(tmp_path / "out")] = tmp_path / "new"
    refused = predicted(capsys, *words, code=1)
    assert "must be a token classifier, but this one is for text-classification" in refused


def test_a_model_that_changes_meanwhile(models: Path, tmp_path: Path):
    model = tmp_path / "classifier"
    shutil.copytree(models / "classifier", model)

    def change(asked: Asked, places: Any) -> Any:
        (model / "README.md").write_text("anew")
        yield from answer_here(asked, places)

    with pytest.raises(DataError, match="classifier: another model than the one that the run"):
        answer_file(model, models / "texts.txt", tmp_path / "out", work=change)
    assert [*contents(tmp_path / "out")] == [MANIFEST]


@pytest.mark.parametrize(
    ("before", "after", "answered"),
    [("aaaa\nbbb\nccc\nddd\n", 0, 0), ("aaa\nbbb\n\nccc", 0, 0), ("aaa\nbbb\nccc\nddd\n", 1, 2)],
    ids=["longer", "as long", "afterwards"],
)
def test_a_file_that_changes_meanwhile(
    models: Path, tmp_path: Path, before: str, after: int, answered: int
):
    path, folder = tmp_path / "texts.txt", tmp_path / "out"
    path.write_text("aaa\nbbb\nccc\nddd")

    def change(asked: Asked, places: Any) -> Any:
        if after:
            yield from answer_here(asked, places)
        path.write_text(before)
        os.utime(path, ns=(0, 1))
        if not after:
            yield from answer_here(asked, places)

    with pytest.raises(DataError, match=r"texts\.txt: changed while it was read: it "):
        answer_file(
            *(models / "classifier", path, folder),
            settings=AnsweredParts(part_records=2),
            work=change,
        )
    assert len(rows_of(folder)) == answered
    assert not json.loads((folder / MANIFEST).read_text())["complete"]


def test_records_that_become_fewer_unseen(models: Path, tmp_path: Path):
    path = tmp_path / "texts.jsonl"
    line = '{"text": "a"}\n'
    path.write_text(line * 4)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns

    def change(asked: Asked, places: Any) -> Any:
        path.write_text(line * 3 + " " * (len(line) - 1) + "\n")
        os.utime(path, ns=times)
        yield from PartWriter(asked).write_all(places)

    with pytest.raises(DataError, match=r"from line 3 on: changed .* there were, 2, found 1\."):
        answer_file(
            *(models / "classifier", path, tmp_path / "out"),
            settings=AnsweredParts(part_records=2),
            work=change,
        )
    assert (tmp_path / "out" / "part-000000.jsonl").exists()
