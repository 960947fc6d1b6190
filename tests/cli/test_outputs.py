"""Commands touch no file of others, and ask for all that they need before they work."""

import os
import re
from pathlib import Path

import keras
import pytest

from spanbert_tf import SpanBertTextClassifier
from spanbert_tf.atomic_files import locked
from spanbert_tf.cli.main import main
from tests.checkpoints.foreign_folders import write_checkpoint

TRAIN = "text\tlabel\n" + "w1 w4\tyes\nw2 w5\tno\n" * 12
FAST = ("--epochs", "1", "--batch-size", "4", "--sequence-length", "8")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with an encoder, a preset and training data in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SpanBertTextClassifier, "fit", _no_training)
    write_checkpoint(tmp_path / "hf")
    (tmp_path / "train.tsv").write_text(TRAIN)
    return tmp_path


def _no_training(*_: object, **__: object) -> None:
    pytest.fail("the training began")


def refused(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Runs a command that must be refused without changing a file, and gives its message."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(command.split()) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert "overwrite=True" not in message
    return message


def test_finetune_beside_files_of_others(work: Path, capsys: pytest.CaptureFixture[str]):
    for folder in ("encoder", "classifier"):
        (work / "P" / folder).mkdir(parents=True)
        (work / "P" / folder / "my.py").write_text("mine")
    command = f"finetune --train train.tsv --encoder hf --output P {' '.join(FAST)}"
    assert "classifier exists; choose another name or give --overwrite" in refused(capsys, command)
    assert "my.py; choose another name" in refused(capsys, f"{command} --overwrite")
    refused(capsys, f"{command} --overwrite --seed -1")
    refused(capsys, f"{command} --overwrite --folds 30")
    assert "holds no run to resume" in refused(
        capsys, f"{command} --overwrite --resume".replace("P", "Q")
    )


def test_outputs_in_inputs(work: Path, capsys: pytest.CaptureFixture[str]):
    os.rename("hf", "runs")
    write_checkpoint(work / "runs" / "classifier")
    for command, expected in {
        "export runs/classifier runs --overwrite": "holds .*classifier, which is read",
        "export runs/classifier runs/classifier/1": "lies in .*classifier, which is read",
        "convert runs runs --overwrite": "is .*runs, which is read",
        "convert runs . --overwrite": "expected a folder of its own",
        "convert runs .. --overwrite": "expected a folder of its own",
        "export runs D --preprocessor D --overwrite": "is .*D, which is written too",
        "export runs D --preprocessor D/1": "lies in .*D, which is written too",
        "finetune --train train.tsv --encoder runs/classifier --output runs": "which is read",
        "prepare texts --vocabulary texts/vocab.txt --output texts": "is .*texts, which is read",
        "index texts/vocab.txt --output texts --model hf --overwrite": "holds .*, which is read",
        "train-vocab texts --output texts/vocab.txt --overwrite": "lies in .*texts, which is read",
        "train-vocab texts/vocab.txt --output texts/vocab.txt --overwrite": "is the file .*, which",
    }.items():
        (work / "texts").mkdir(exist_ok=True)
        (work / "texts" / "vocab.txt").write_text("[PAD]\n")
        message = refused(capsys, command)
        assert re.search(expected, message), message


def test_two_runs_with_one_output(work: Path, capsys: pytest.CaptureFixture[str]):
    command = f"finetune --train train.tsv --encoder hf --output P {' '.join(FAST)}"
    for busy in ("classifier", "saved_model/1"):
        with locked([work / "P" / busy]):
            message = refused(capsys, command)
        assert f"another process is at work on {work / 'P' / busy}" in message
    assert not (work / "P").exists()


def test_what_a_later_stage_needs(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    command = f"finetune --train train.tsv --encoder hf --output P {' '.join(FAST)}"
    (work / "test.tsv").write_text("text\tlabel\nw1\tyes\nw2\tmaybe\n")
    message = refused(capsys, f"{command} --test test.tsv")
    assert "test.tsv, line 3: unknown label 'maybe'" in message
    (work / "two.tsv").write_text("text\tlabel\nw1\tyes\nw2\tno\n")
    message = refused(capsys, command.replace("train.tsv", "two.tsv"))
    assert "0.1 of 2 rows is not one row" in message
    assert "nothing (0), or give validation data" in message
    for folds in (0, 1, -3):
        assert "at least 2" in refused(capsys, f"{command} --folds {folds}")
    message = refused(capsys, f"{command} --folds 2 --test train.tsv --resume")
    assert "leave out --test, --resume" in message
    with monkeypatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: "torch")
        assert "KERAS_BACKEND=tensorflow" in refused(capsys, command)
        assert "KERAS_BACKEND=tensorflow" in refused(capsys, "export hf D")
    for word in ("--epoch", "--seq", "--overwrit"):
        with pytest.raises(SystemExit) as stop:
            main([*command.split(), word, "1"])
        assert stop.value.code == 2
    assert not (work / "P").exists()
