"""Files answered part by part: the answers of `predict --json`, in order, each once."""

import gzip
import importlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf.atomic_files import locked
from spanbert_tf.cli.main import main
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.resumed_folders import MANIFEST
from spanbert_tf.prediction import answer_parts
from spanbert_tf.prediction.answer_parts import Asked
from spanbert_tf.prediction.answered_file import AnsweredCounts, answer_file, answer_here
from spanbert_tf.settings import AnsweredParts
from tests.export.test_evaluation import TEXTS
from tests.prediction.answers import contents, identity, predicted, rows_of, without_digits

PARTS = AnsweredParts(part_records=6)  # of 20 records: 6, 6, 6 and 2


def answer_texts(models: Path, folder: Path, **options: Any) -> AnsweredCounts:
    return answer_file(
        models / "classifier", models / "texts.txt", folder, settings=PARTS, **options
    )


@pytest.fixture(scope="module")
def whole(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What there is once nothing has stopped the run."""
    folder = tmp_path_factory.mktemp("whole") / "new" / "answers"
    seen: list[AnsweredCounts] = []
    assert answer_texts(models, folder, progress=seen.append) == AnsweredCounts(20, 4, 0)
    assert [(of.records, of.parts) for of in seen] == [(6, 1), (12, 2), (18, 3), (20, 4)]
    return contents(folder)


@pytest.mark.parametrize(
    ("model", "file", "options"),
    [("classifier", "texts.txt", ("--top-k", 2)), ("answerer", "asked.jsonl.gz", ())],
)
def test_parts_are_what_predict_says(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    file: str,
    options: tuple[Any, ...],
):
    words = (models / model, *options, "--input", models / file)
    result = predicted(capsys, *words, "--output", tmp_path / "out", "--part-records", 6)
    counts = {"records": 20, "parts": 4, "reused": 0}
    assert result == {"answers": str(tmp_path / "out"), **counts}
    parts = rows_of(tmp_path / "out")
    assert [len(part) for part in parts] == [6, 6, 6, 2]
    whole = predicted(capsys, *words)
    answers = [row for part in parts for row in part]
    assert [row["text"] for row in answers] == [row["text"] for row in whole]
    # In other batches, so with other last digits.
    assert without_digits(answers) == without_digits(whole)
    # The third part alone has the same graph and batch, so the same digits.
    opened = gzip.open if file.endswith(".gz") else open
    with opened(models / file, "rt", encoding="utf-8") as lines:
        records = [line for line in lines if line.strip() or file == "texts.txt"]
    third = tmp_path / file.removesuffix(".gz")
    third.write_text("".join(records[12:18]), "utf-8")
    alone = ("--input", third, "--output", tmp_path / "alone", "--part-records", 6)
    predicted(capsys, models / model, *options, *alone)
    assert rows_of(tmp_path / "alone") == [parts[2]]


@pytest.mark.parametrize(
    ("model", "names"), [("classifier", ("text", "id")), ("answerer", ("question", "context"))]
)
def test_rows_of_a_table_are_answered(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    model: str,
    names: tuple[str, str],
):
    """Fields of several lines, and a delimiter that is found and told of once."""
    file = tmp_path / "table.csv"
    rows = [f'"{text[:1]}\n{text}";{text}' for text in TEXTS]
    file.write_text("\n\n".join([";".join(names), *rows]))
    asked = (models / model, "--input", file)
    counts = predicted(capsys, *asked, "--output", tmp_path / "out", "--part-records", 6)
    assert counts["parts"] == 4
    told = [record.getMessage() for record in caplog.records if "parted by" in record.getMessage()]
    assert told == [f"{file}: fields are parted by ';', as in its header"]
    answers = [row for part in rows_of(tmp_path / "out") for row in part]
    assert without_digits(answers) == without_digits(predicted(capsys, *asked))
    assert [row["text"] for row in answers] == [f"{text[:1]}\n{text}" for text in TEXTS]


def test_what_is_there_stays_and_the_rest_is_made(
    models: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "answers"
    calls = iter(range(99))

    def stop_at_the_ninth(row: Any) -> Any:
        if next(calls) == 8:
            raise KeyboardInterrupt
        return row

    with monkeypatch.context() as patch:
        patch.setattr(answer_parts, "finite", stop_at_the_ninth)
        with pytest.raises(KeyboardInterrupt):
            answer_texts(models, folder)
    assert {*contents(folder)} == {MANIFEST, "part-000000.jsonl"}
    assert not json.loads((folder / MANIFEST).read_text())["complete"]

    # As SIGKILL leaves them.
    (folder / f".incomplete-{'0' * 16}-part-000001.jsonl").write_text('{"text": "a')
    (folder / f".incomplete-{'1' * 16}-{MANIFEST}").write_text("{")
    before = identity(folder / "part-000000.jsonl")
    assert answer_texts(models, folder) == AnsweredCounts(20, 4, 1)
    assert contents(folder) == whole
    assert identity(folder / "part-000000.jsonl") == before

    # A part that is lost, and one that has been cut.
    (folder / "part-000003.jsonl").unlink()
    second = folder / "part-000001.jsonl"
    second.write_bytes(second.read_bytes()[:-1])
    seen: list[AnsweredCounts] = []
    assert answer_texts(models, folder, progress=seen.append) == AnsweredCounts(20, 4, 2)
    assert [(of.records, of.parts, of.reused) for of in seen] == [
        *((12, 2, 2), (18, 3, 2), (20, 4, 2)),
    ]
    assert contents(folder) == whole
    # Nothing is loaded where nothing is to be done.
    with monkeypatch.context() as patch:
        patch.setattr(answer_parts, "load_task", None)
        assert answer_texts(models, folder).reused == 4


@pytest.mark.filterwarnings("default")
def test_a_runner_makes_the_same(
    models: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    pytest.importorskip("apache_beam")
    beam = importlib.import_module("spanbert_tf.prediction.beam")
    beam._writer.cache_clear()
    load_task, loaded = answer_parts.load_task, []

    def load(*arguments: Any, **options: Any) -> Any:
        loaded.append(arguments)
        return load_task(*arguments, **options)

    monkeypatch.setattr(answer_parts, "load_task", load)
    words = (models / "classifier", "--input", models / "texts.txt", "--part-records", 6)
    words = (*words, "--output", tmp_path / "out", "--runner", "DirectRunner")
    assert predicted(capsys, *words)["reused"] == 0
    assert contents(tmp_path / "out") == whole
    assert len(loaded) <= 1  # 0 where the runner has processes of its own.
    (tmp_path / "out" / "part-000001.jsonl").unlink()
    assert predicted(capsys, *words)["reused"] == 3
    assert contents(tmp_path / "out") == whole

    # Of a packed file a worker has parts that follow one another.
    assert [len(group) for group in beam._groups(Path("a.txt.gz"), [(0,)] * 70)] == [3] * 23 + [1]


@pytest.mark.filterwarnings("default")
def test_what_a_worker_refuses(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    pytest.importorskip("apache_beam")
    runners = importlib.import_module("spanbert_tf.data.runners")
    words = (models / "extractor", "--input", models / "texts.txt", "--output")
    here = predicted(capsys, *words, tmp_path / "here", code=1).splitlines()[-1]
    assert "<e1>" in here
    words = (*words, tmp_path / "there", "--runner", "DirectRunner")
    assert here in predicted(capsys, *words, code=1)

    # As runners with processes of their own say it.
    def fail(**options: Any) -> Any:
        message = here.removeprefix("spanbert-tf: error: ")
        report = f"  File \"a.py\", line 1\nValueError: {message} [while running 'Answer-3']\n"
        raise RuntimeError(f"Traceback (most recent call last):\n{report}\n")

    monkeypatch.setattr(runners.beam, "Pipeline", fail)
    assert predicted(capsys, *words, code=1).splitlines()[-1] == here


def test_other_commands_are_refused(
    models: Path, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "answers"
    folder.mkdir()
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    other = tmp_path / "texts.txt"
    other.write_text("\n".join(TEXTS))
    words: list[Any] = [models / "classifier", "--input", models / "texts.txt"]
    words += ["--output", folder, "--part-records", 6]
    asked = json.loads((folder / MANIFEST).read_text())
    for changed, message in {
        ("--part-records", 7): "part_records is 6 there, 7 now",
        ("--top-k", 2): "top_k is 1 there, 2 now",
        ("--text-column", "x"): "text_column is None there, 'x' now",
        ("--input", other): f"input is '{asked['input_sha256']}' there, '",
    }.items():
        refused = predicted(capsys, *words, *changed, code=1)
        assert "a set of answers that was made in another way: " in refused
        assert message in refused
    # The same model elsewhere, and one that is another.
    model = tmp_path / "classifier"
    shutil.copytree(models / "classifier", model)
    assert predicted(capsys, model, *words[1:])["reused"] == 4
    (model / "README.md").write_text("anew")
    assert "model is '" in predicted(capsys, model, *words[1:], code=1)
    assert contents(folder) == whole | {MANIFEST: (folder / MANIFEST).read_bytes()}

    (folder / MANIFEST).write_text("[]")
    assert "not the manifest of answers" in predicted(capsys, *words, code=1)
    (folder / MANIFEST).write_text('{"format": 2}')
    assert "expected answers of format 1" in predicted(capsys, *words, code=1)
    (folder / MANIFEST).unlink()
    assert "expected a new folder or a set of answers" in predicted(capsys, *words, code=1)


def test_what_cannot_be_begun(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = (models / "classifier", "--input", models / "texts.txt")
    output = ("--output", tmp_path / "out")
    with locked([tmp_path / "out"]):
        refused = predicted(capsys, *words, *output, code=1)
    assert "another process is at work on" in refused
    refused = predicted(capsys, *words, "--output", models / "classifier" / "out", code=1)
    assert re.search("lies in .*classifier, which is read", refused)
    refused = predicted(capsys, models / "classifier", "--input", "-", *output, code=1)
    assert "standard input cannot be read in parts" in refused
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text('{"text": "a"}\n{"text": "a", "pair": "b"}\n')
    refused = predicted(
        capsys, models / "classifier", "--input", mixed, *output, "--part-records", 1, code=1
    )
    assert "mixed.jsonl, from line 2 on: expected as many texts a record as" in refused
    for wrong in (
        (models / "classifier", "a", *output),
        (*words, *output, "--overwrite"),
        (*words, *output, "--html", tmp_path / "a.html"),
        (*words, "--runner", "DirectRunner"),
        (*words, "--part-records", 7),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["predict", *map(str, wrong)])
        assert stop.value.code == 2
        assert "--output" in capsys.readouterr().err
    option = "--runner-option=--x"
    for wrong in (
        ("predict", *words, *output, option),
        ("prepare", "a.txt", "--vocabulary", "b.txt", *output, option),
    ):
        with pytest.raises(SystemExit):
            main([*map(str, wrong)])
        assert "give --runner too" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_failed_first_try_leaves_no_trace(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, folder = tmp_path / "texts.jsonl", tmp_path / "out"
    path.write_text('{"text": "a"}\n' * 3 + "{\n")
    words = (models / "classifier", "--input", path, "--output", folder, "--part-records", 2)
    # Before the model is loaded, and the first part answered.
    assert "texts.jsonl, line 4: malformed JSON" in predicted(capsys, *words, code=1)
    assert not folder.exists()

    def fail(asked: Asked, places: Any) -> Any:
        raise ValueError("no room")

    path.write_text('{"text": "a"}\n' * 4)
    with pytest.raises(ValueError, match="no room"):
        answer_file(models / "classifier", path, folder, settings=PARTS, work=fail)
    assert [*contents(folder)] == [MANIFEST]
    path.write_text('{"text": "b"}\n' * 3)
    assert predicted(capsys, *words)["records"] == 3
    assert [len(part) for part in rows_of(folder)] == [2, 1]
    # What is no manifest of answers is another's.
    for part in folder.glob("part-*"):
        part.unlink()
    (folder / MANIFEST).write_text("{}")
    assert "not the manifest of answers" in predicted(capsys, *words, code=1)


def test_workers_that_write_elsewhere(models: Path, tmp_path: Path):
    def lose(asked: Any, places: Any) -> Any:
        yield from answer_here(replace(asked, folder=tmp_path / "elsewhere"), places)

    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match=r"part-000000\.jsonl: is not there.*the same path"):
        answer_texts(models, tmp_path / "out", work=lose)
    assert not json.loads((tmp_path / "out" / MANIFEST).read_text())["complete"]
