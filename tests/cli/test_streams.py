"""What commands read from standard input and write to standard output, whatever these are."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf.cli.main import main
from spanbert_tf.export import task_loading
from spanbert_tf.export.text_task import TextTask
from spanbert_tf.tasks.text_classifier import Prediction, SpanBertTextClassifier

# Characters that Python takes for line breaks and this package for text; a byte order mark first.
LINES = "\ufeffone\u2028line\na\x85second\x0cone\r\n\nlast\u2029"
TEXTS = ["one\u2028line", "a\x85second\x0cone", "", "last\u2029"]


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A task that answers anything with NaN; gives what it was asked."""
    asked: list[Any] = []

    class Answering:
        task_class, ask = SpanBertTextClassifier, TextTask.ask

        def __call__(self, texts: Any, **options: Any) -> list[Prediction]:
            asked.append(texts)
            return [Prediction("é", float("nan"), {"é": float("nan"), "b": 0.5}) for _ in texts]

    monkeypatch.setattr(task_loading, "load_task", lambda handle, trust: Answering())
    return asked


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_a_file_and_standard_input_are_read_alike(
    source: str, task: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "texts.txt"
    path.write_bytes(LINES.encode())
    give(monkeypatch, LINES.encode())
    assert main(["predict", "x", "--input", str(path) if source == "file" else "-"]) == 0
    assert task == [TEXTS]


def test_standard_input_in_utf_16(task: list[Any], monkeypatch: pytest.MonkeyPatch):
    give(monkeypatch, "a\né\n".encode("utf-16"))
    assert main(["predict", "x", "--input", "-"]) == 0
    assert task == [["a", "é"]]
    assert not sys.stdin.buffer.closed


def test_a_table_to_be_asked(task: list[Any], tmp_path: Path):
    (tmp_path / "a.csv").write_text("review:n\na, b:1\n'c:2\n")
    options = ["--text-column", "review", "--delimiter", ":", "--quoting", "none"]
    assert main(["predict", *options, "x", "--input", str(tmp_path / "a.csv")]) == 0
    assert task == [["a, b", "'c"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a\n\xff\n", "-, line 2: not UTF-8"), (b"", "-: the file is empty"), (b"a\0", "NUL")],
)
def test_standard_input_that_is_no_text(
    content: bytes,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    give(monkeypatch, content)
    assert main(["predict", "x", "--input", "-"]) == 1
    assert message in capsys.readouterr().err


def test_json_is_valid_whatever_the_numbers(capsys: pytest.CaptureFixture[str]):
    assert main(["predict", "x", "a", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert answer["probabilities"] == {"é": None, "b": 0.5}


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_output_in_ascii(json_option: list[str], monkeypatch: pytest.MonkeyPatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    assert main(["predict", "x", "\u2603", *json_option]) == 0
    output = written.getvalue().decode("ascii")
    if json_option:
        assert json.loads(output)[0]["text"] == "\u2603"
    else:
        assert output == "\\xe9  nan  \\u2603\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_output_that_is_full(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["predict", "x", "a"]) == 1
    assert "cannot be printed: [Errno 28] No space left" in capsys.readouterr().err


def test_output_that_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert main(["predict", "x", "a"]) == 1
    assert "standard output is closed" in capsys.readouterr().err


def test_a_link_that_leads_back_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for words in (["predict", "x", "--input", str(loop)], ["convert", "x", str(loop)]):
        assert main(words) == 1
        assert "loop" in capsys.readouterr().err
