"""The command line: what a user types, what comes back, and what happens when it goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import (
    SpanBertPretrainer,
    SpanBertTextClassifier,
    load_hugging_face_pretrainer,
)
from spanbert_tf.cli.main import build_parser, main
from spanbert_tf.data.batching.pretraining import PretrainingBatches
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.export.litert_loading import load_litert
from spanbert_tf.tasks import FINE_TUNED_TASKS, task_class
from tests.checkpoints.foreign_folders import write_checkpoint
from tests.data.corpora import VOCABULARY
from tests.training.pretraining.pretraining_runs import make_corpus, make_encoder

COMMANDS = (
    *("demo", "models", "convert", "export", "finetune", "evaluate", "predict", "serve"),
    *("playground", "index", "search", "train-vocab", "prepare", "pretrain"),
)
# Pieces of `tests.checkpoints.foreign_folders.vocabulary`: w1 says yes and w2 says no.
TRAIN = "text\tlabel\n" + "".join(f"w1 w4 {'w4 ' * (i % 3)}\tyes\nw2 w5\tno\n" for i in range(12))
FAST = ("--epochs", "2", "--batch-size", "4", "--learning-rate", "3e-2", "--sequence-length", "8")


def run(capsys: pytest.CaptureFixture[str], *words: Any, code: int = 0) -> Any:
    """Runs a command with `--json` and returns its result, or its error message."""
    assert main([*map(str, words), "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("cli") / "checkpoint")


@pytest.fixture(scope="module")
def train_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "train.tsv"
    path.write_text(TRAIN)
    return path


@pytest.fixture(scope="module")
def finetuned(checkpoint: Path, train_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "run"
    words = ["finetune", "--train", train_file, "--test", train_file, "--encoder", checkpoint]
    settings = ("--epochs", "20", "--learning-rate", "1e-2", "--dropout", "0")
    assert main([*map(str, [*words, "--output", output]), *FAST, *settings]) == 0
    return output


def test_help_imports_no_tensorflow():
    program = f"""
import sys
from spanbert_tf.cli.main import main
for command in {COMMANDS}:
    try:
        main([command, "--help"])
    except SystemExit as stop:
        assert stop.code == 0
assert not {{"tensorflow", "keras", "keras_hub", "torch", "numpy"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    for command in COMMANDS:
        assert f"spanbert-tf {command}" in done.stdout


@pytest.mark.parametrize("words", [[], ["fly"], ["predict", "model"], ["finetune"]])
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_settings_are_the_options():
    parsed = build_parser().parse_args(["finetune", "--train", "x", "--patience", "2"])
    assert (parsed.patience, parsed.epochs, parsed.dtype) == (2, None, None)


@pytest.mark.parametrize("task", FINE_TUNED_TASKS)
def test_each_task_has_an_example_of_its_own(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(SystemExit):
        main(["finetune", "--task", task, "--help"])
    example = capsys.readouterr().out.splitlines()[-1].split()
    file = task_class(task).training_file
    # It is understood, and the task reads files of that name.
    parsed = build_parser(example[1:]).parse_args(example[1:])
    assert (parsed.task, str(parsed.train)) == (task, file)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="there is no such file"):
        task_class(task).read(file)


def test_convert_there_and_back(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    preset, back = tmp_path / "preset", tmp_path / "back"
    assert run(capsys, "convert", checkpoint, preset)["format"] == "a Keras preset"
    assert run(capsys, "convert", preset, back)["format"] == "a Hugging Face checkpoint"
    assert (back / "vocab.txt").read_bytes() == (checkpoint / "vocab.txt").read_bytes()

    assert "exists" in run(capsys, "convert", checkpoint, preset, code=1)
    run(capsys, "convert", checkpoint, preset, "--overwrite")
    assert "no-such-folder" in run(capsys, "convert", "no-such-folder", tmp_path / "x", code=1)
    assert not (tmp_path / "x").exists()


def test_export_of_an_encoder(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    result = run(
        capsys,
        *("export", checkpoint, tmp_path / "encoder" / "1"),
        *("--preprocessor", tmp_path / "preprocessor" / "1"),
    )
    assert set(result) == {"encoder", "preprocessor"}
    assert all((Path(folder) / "saved_model.pb").is_file() for folder in result.values())


def test_models_for_litert(
    checkpoint: Path, finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    preset = finetuned / "classifier"
    result = run(capsys, "export", preset, tmp_path / "lite", "--litert", "float32")
    assert result == {"text-classification": str(tmp_path / "lite")}
    (answer,) = run(capsys, "predict", tmp_path / "lite", "w1 w4")
    (expected,) = run(capsys, "predict", preset, "w1 w4")
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)

    options = ("--litert", "int8", "--pooling", "cls")
    result = run(capsys, "export", checkpoint, tmp_path / "vectors", *options)
    assert result == {"encoder": str(tmp_path / "vectors")}
    assert load_litert(tmp_path / "vectors").encode_text(["w1"]).shape[0] == 1
    assert "no task to answer for" in run(capsys, "predict", tmp_path / "vectors", "w1", code=1)


def test_export_of_a_pretrainer(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pretrainer = load_hugging_face_pretrainer(checkpoint)
    pretrainer.save_to_preset(str(tmp_path / "pretrainer"))
    result = run(capsys, "export", tmp_path / "pretrainer", tmp_path / "encoder" / "1")
    assert result == {"encoder with pretraining heads": str(tmp_path / "encoder" / "1")}
    restored = tf.saved_model.load(str(tmp_path / "encoder" / "1"))
    assert restored.mlm.variables
    assert restored.sbo.variables
    # And back: a preset to go on with.
    result = run(capsys, "convert", tmp_path / "encoder" / "1", tmp_path / "preset")
    assert result["format"] == "a Keras preset"
    again = SpanBertPretrainer.from_preset(str(tmp_path / "preset"))
    for weight, wanted in zip(again.weights, pretrainer.weights, strict=True):
        np.testing.assert_array_equal(weight, wanted)


def test_corpus_from_raw_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = tmp_path / "texts" / "a.txt"
    text.parent.mkdir()
    text.write_text("Snow melts in spring.\nThen rivers rise.\n\nIce is frozen water.\n\n" * 20)
    vocabulary = tmp_path / "vocab.txt"
    learnt = run(capsys, "train-vocab", text.parent, "--output", vocabulary, "--size", 60)
    assert learnt == {
        "vocabulary": str(vocabulary),
        "pieces": len(vocabulary.read_text("utf-8").splitlines()),
    }
    assert "--overwrite" in run(capsys, "train-vocab", text, "--output", vocabulary, code=1)

    words = ("prepare", text.parent, "--vocabulary", vocabulary, "--output", tmp_path / "corpus")
    options = ("--workers", 1, "--sequence-length", 16)
    prepared = run(capsys, *words, *options)
    assert prepared["documents"] == 40
    assert prepared["reused"] == 0
    again = run(capsys, *words, *options)
    assert again == {**prepared, "reused": prepared["shards"]}
    refused = run(capsys, *words, "--workers", 1, "--sequence-length", 32, code=1)
    assert "sequence_length" in refused

    batches = PretrainingBatches(tmp_path / "corpus", token_budget=128)
    pieces = sum(
        int(np.sum(row["padding_mask"])) - 2 * len(row["padding_mask"])
        for row, _ in batches.dataset(endless=False).as_numpy_iterator()
    )
    assert pieces == prepared["pieces"]


def test_finetune_writes_a_classifier_that_answers(
    finetuned: Path, train_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    figures = run(capsys, "evaluate", finetuned / "classifier", "--data", train_file)
    assert figures["texts"] == 24
    assert figures["accuracy"] == 1.0
    assert set(figures) >= {"accuracy", "precision", "recall", "f1", "loss"}

    texts = ["w1 w4", "w2 w5 w5", ""]
    by_preset = run(capsys, "predict", finetuned / "classifier", *texts)
    by_saved_model = run(capsys, "predict", finetuned / "saved_model" / "1", *texts)
    assert [answer["text"] for answer in by_preset] == texts
    for ours, served in zip(by_preset, by_saved_model, strict=True):
        assert ours["label"] == served["label"]
        np.testing.assert_allclose(
            [*ours["probabilities"].values()], [*served["probabilities"].values()], atol=1e-5
        )

    lines = tmp_path / "texts.txt"
    lines.write_text("\n".join(texts[:2]))
    from_file = run(capsys, "predict", finetuned / "classifier", "--input", lines)
    assert [answer["label"] for answer in from_file] == ["yes", "no"]


def test_classifier_is_exported_again(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    result = run(capsys, "export", finetuned / "classifier", tmp_path / "served" / "1")
    answers = run(capsys, "predict", result["text-classification"], "w1")
    assert answers == run(capsys, "predict", finetuned / "saved_model" / "1", "w1")


def test_output_for_people(finetuned: Path, train_file: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(finetuned / "saved_model" / "1"), "w1 w4\nw4", "w2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] in ("yes", "no")
    assert first.endswith("w1 w4 w4")
    assert second.endswith("w2")
    assert main(["evaluate", str(finetuned / "classifier"), "--data", str(train_file)]) == 0
    assert capsys.readouterr().out.startswith("24 texts: accuracy ")


def test_folds(
    checkpoint: Path, train_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    result = run(
        capsys,
        *("finetune", "--train", train_file, "--encoder", checkpoint, "--folds", 2),
        *("--output", tmp_path / "run", *FAST, "--epochs", 1, "--validation-fraction", 0),
    )
    assert len(result["folds"]) == 2
    mean = np.mean([fold["accuracy"] for fold in result["folds"]])
    assert result["mean"]["accuracy"] == pytest.approx(mean)
    assert "mean" in result["table"]


def test_interrupted_run_is_resumed(
    checkpoint: Path,
    train_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    words = ("finetune", "--train", train_file, "--encoder", checkpoint)
    words = (*words, "--output", tmp_path / "run", *FAST)
    with monkeypatch.context() as patch:
        assess = SpanBertTextClassifier.assess
        calls = []

        def stop_in_second_epoch(*args: Any, **kwargs: Any) -> Any:
            calls.append(0)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return assess(*args, **kwargs)

        patch.setattr(SpanBertTextClassifier, "assess", stop_in_second_epoch)
        message = run(capsys, *words, code=1)
    assert "1 of 2 epochs" in message
    assert "--resume" in message
    # It is not thrown away by accident.
    assert "--overwrite to throw that run" in run(capsys, *words, "--seed", 7, code=1)
    result = run(capsys, *words, "--resume")
    assert Path(result["saved_model"]).is_dir()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "train.tsv"),
        ("", "empty"),
        ("text\tlabel\na\tyes\nb\tno\textra\n", "line 3"),
        ("text\tlabel\na\tyes\nb\tyes\n", "two different labels"),
        ("text\tlabel\na\tyes\n\xff\tno\n", "UTF-8"),
        ("text\tlabel\na\tyes\nb\0b\tno\n", "NUL"),
        ("text\tlabel\na\tyes\n\tno\n", "line 3"),
    ],
)
def test_bad_training_files(
    content: str | None,
    expected: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    path = tmp_path / "train.tsv"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    words = ("finetune", "--train", path, "--encoder", checkpoint, "--output", tmp_path / "run")
    message = run(capsys, *words, code=1)
    assert "train.tsv" in message
    assert expected in message
    assert "Traceback" not in message


def test_label_that_training_never_saw(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "test.tsv"
    path.write_text("text\tlabel\nw1\tyes\nw2\tmaybe\n")
    message = run(capsys, "evaluate", finetuned / "classifier", "--data", path, code=1)
    assert "test.tsv" in message
    assert "line 3" in message
    assert "maybe" in message


def test_existing_output_is_refused_before_training(
    finetuned: Path, checkpoint: Path, train_file: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("finetune", "--train", train_file, "--encoder", checkpoint, "--output", finetuned)
    message = run(capsys, *words, code=1)
    assert "finished run; choose another name" in message
    assert "overwrite" not in message


@pytest.mark.parametrize("model", ["nowhere", "empty"])
def test_models_that_are_none(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    assert model in run(capsys, "predict", tmp_path / model, "w1", code=1)


def test_folder_of_models_says_so(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for command in (["predict", finetuned, "w1"], ["export", finetuned, tmp_path / "out"]):
        message = run(capsys, *command, code=1)
        assert f"{finetuned} " in message
        assert "in its folders ['classifier', 'saved_model/1']" in message


def test_reader_that_has_enough(finetuned: Path):
    """`spanbert-tf predict ... | head -0` ends without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spanbert_tf", "predict", str(finetuned / "classifier"), "w1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert b"Traceback" not in errors


@pytest.mark.slow
def test_pretrain(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_corpus(tmp_path)
    encoder = make_encoder(tmp_path)
    words = ("pretrain", tmp_path / "corpus", "--encoder", encoder, "--output", tmp_path / "run")
    settings = ("--steps", 4, "--token-budget", 256, "--max-targets", 5, "--log-steps", 2)
    result = run(capsys, *words, *settings)
    assert result["steps"] == 4
    assert 0 < result["validation"]["loss"] < 7
    encoder = tf.saved_model.load(result["saved_model"])
    logits = encoder.mlm(tf.zeros([1, 3, 16]), tf.constant([[1]]))
    assert logits.shape == (1, 1, len(VOCABULARY))
    assert "exists" in run(capsys, *words, *settings, code=1)
    assert run(capsys, *words, *settings, "--overwrite") == result
