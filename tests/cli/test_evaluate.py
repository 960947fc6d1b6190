"""`evaluate`, `predict --top-k` and out-of-scope texts, as a user types them."""

import json
import struct
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer, export_encoder, export_task
from spanbert_tf.cli.arguments import read_out_of_scope
from spanbert_tf.cli.main import build_parser, main
from spanbert_tf.settings import Pretraining, TextColumns
from spanbert_tf.tasks import task_class
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer, SpanBertPretrainerPreprocessor
from spanbert_tf.training.pretraining.evaluation import evaluate_pretrainer
from spanbert_tf.training.pretraining.start import masked_batches
from tests.checkpoints.foreign_folders import write_checkpoint
from tests.data.corpora import TOKENIZER
from tests.export.test_evaluation import TEXTS, VOCABULARY, make_text_classifier
from tests.layer_checks import randomize
from tests.training.pretraining.pretraining_runs import make_corpus, make_encoder

LABELS = ["x", "y", "z", "y"] * 5


def run(capsys: pytest.CaptureFixture[str], *words: Any, code: int = 0) -> Any:
    """Runs a command with `--json` and returns its result, or its error message."""
    assert main([*map(str, words), "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of random weights, and labelled texts: `preset`, `served/1`, `test.tsv`."""
    folder = tmp_path_factory.mktemp("evaluate")
    classifier = make_text_classifier(SpanBertTokenizer(VOCABULARY, lowercase=True))
    classifier.save_to_preset(str(folder / "preset"))
    export_task(classifier, folder / "served" / "1")
    lines = [f"{text}\t{label}\n" for text, label in zip(TEXTS, LABELS, strict=True)]
    (folder / "test.tsv").write_text("text\tlabel\n" + "".join(lines))
    (folder / "outside.txt").write_text("k l m\nz y\nf a\n")
    return folder


def test_figures_tables_and_rows(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ("evaluate", folder / "served" / "1", "--data", folder / "test.tsv")
    result = run(capsys, *words, "--output", tmp_path / "new" / "rows.jsonl")
    assert result["texts"] == 20
    assert "loss" not in result
    report = result["report"]
    assert report["averages"].startswith("precision, recall and f1 are means over the 3 classes")
    assert {name: row["support"] for name, row in report["rows"].items()} == {
        **{"x": 5, "y": 10, "z": 5}
    }
    wrong = sum(one["count"] for one in report["confusions"])
    assert result["accuracy"] == pytest.approx(1 - wrong / 20)

    written = (tmp_path / "new" / "rows.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in written.splitlines()]
    assert [(row["text"], row["gold"]) for row in rows] == [*zip(TEXTS, LABELS, strict=True)]
    assert np.mean([row["right"] for row in rows]) == pytest.approx(result["accuracy"])
    told = run(capsys, "predict", folder / "served" / "1", *TEXTS)
    for row, answer in zip(rows, told, strict=True):
        assert row["right"] is (row["answer"]["label"] == row["gold"])
        del answer["text"]
        assert row["answer"].keys() == answer.keys()
        assert row["answer"]["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-5)

    # The preset reaches the same, and has a loss.
    by_preset = run(capsys, "evaluate", folder / "preset", "--data", folder / "test.tsv")
    assert by_preset.pop("loss") > 0
    assert by_preset == result


def test_what_people_see(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(folder / "preset"), "--data", str(folder / "test.tsv")]) == 0
    parts = capsys.readouterr().out.split("\n\n")
    assert parts[0].startswith("20 texts: accuracy 0.")
    assert "macro average" in parts[1]
    header, *rows = parts[2].splitlines()
    assert header.split() == ["class", "precision", "recall", "f1", "support"]
    assert [row.split()[0] for row in rows] == ["x", "y", "z"]
    assert len({len(line) for line in (header, *rows)}) == 1
    assert parts[3].splitlines()[0].split() == ["right", "answered", "times"]


def test_pictures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["evaluate", folder / "preset", "--data", folder / "test.tsv", "--confusions"]
    assert main([*map(str, words), str(tmp_path / "a.png")]) == 0
    assert f"wrote {tmp_path / 'a.png'}" in capsys.readouterr().out
    picture = (tmp_path / "a.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", picture[16:24])) > 300
    run(capsys, *words, tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")  # noqa: S314


def test_files_that_cannot_be_written_are_refused_first(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    words = ("evaluate", folder / "preset", "--data", folder / "test.tsv")
    assert ".png or .svg" in run(capsys, *words, "--confusions", tmp_path / "a.gif", code=1)
    (tmp_path / "rows.jsonl").write_text("mine")
    message = run(capsys, *words, "--output", tmp_path / "rows.jsonl", code=1)
    assert "exists" in message
    assert "--overwrite" in message
    assert (tmp_path / "rows.jsonl").read_text() == "mine"
    run(capsys, *words, "--output", tmp_path / "rows.jsonl", "--overwrite")
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 20
    assert "test.tsv" in run(capsys, *words, "--output", folder / "test.tsv", "--overwrite", code=1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("spanbert_tf.cli.confusion_picture.find_spec", lambda name: None)
    message = run(capsys, *words, "--confusions", tmp_path / "b.png", code=1)
    assert "pip install 'spanbert-tf[plots]'" in message


def test_top_k_and_min_score(folder: Path, capsys: pytest.CaptureFixture[str]):
    (answer,) = run(capsys, "predict", folder / "preset", "a b", "--top-k", 2)
    (whole,) = run(capsys, "predict", folder / "preset", "a b")
    ordered = sorted(whole["probabilities"].items(), key=lambda of: -of[1])[:2]
    assert answer == {
        "text": "a b",
        "answers": [{"label": name, "score": pytest.approx(score)} for name, score in ordered],
    }
    # The value of an option of the task is not taken for the model, whose task says that there is
    # such an option.
    assert run(capsys, "predict", "--top-k", 2, folder / "preset", "a b") == [answer]
    assert run(capsys, "predict", "--json", "--top-k=2", folder / "preset", "a b") == [answer]
    (none,) = run(capsys, "predict", folder / "served" / "1", "a b", "--min-score", "0.999")
    assert none["label"] is None
    assert none["score"] == pytest.approx(ordered[0][1], abs=1e-5)
    assert main(["predict", str(folder / "preset"), "a b", "--min-score", "0.999"]) == 0
    assert capsys.readouterr().out.startswith("(none of these)  0.")
    options = ("--min-score", "0.999", "--top-k", "3")
    assert main(["predict", str(folder / "preset"), "a b", *options]) == 0
    text, *lines = capsys.readouterr().out.splitlines()
    assert text == "a b"
    assert [line.split("  ")[1] for line in lines] == [
        *("(none of these)", ordered[0][0], ordered[1][0])
    ]
    message = run(capsys, "predict", folder / "preset", "a", "--top-k", 4, code=1)
    assert "`--top-k` must be from 1 to 3, the number of classes" in message
    assert "`--min-score`" in run(
        capsys, "predict", folder / "preset", "a", "--min-score", 2, code=1
    )


def test_texts_of_several_labels(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]):
    tokenizer = SpanBertTokenizer(VOCABULARY, lowercase=True)
    classifier = make_text_classifier(tokenizer, activation="sigmoid")
    classifier.save_to_preset(str(tmp_path / "preset"))
    (tmp_path / "test.jsonl").write_text(
        '{"text": "a b", "labels": ["x", "z"]}\n{"text": "c", "labels": []}\n'
    )
    words = ("evaluate", tmp_path / "preset", "--data", tmp_path / "test.jsonl")
    result = run(capsys, *words, "--output", tmp_path / "rows.jsonl")
    assert result["report"]["confusions"] is None
    assert [row["support"] for row in result["report"]["rows"].values()] == [1, 0, 1]
    rows = [json.loads(row) for row in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["gold"] for row in rows] == [["x", "z"], []]
    assert [row["right"] for row in rows] == [
        set(row["answer"]["labels"]) == set(row["gold"]) for row in rows
    ]
    message = run(capsys, *words, "--confusions", tmp_path / "a.png", code=1)
    assert "`--confusions` are of labels, one a record" in message
    # Before anything is answered: there is not even a text.
    (tmp_path / "test.jsonl").write_text("")
    message = run(capsys, *words, "--out-of-scope", folder / "outside.txt", code=1)
    assert "several labels or none here" in message


def test_out_of_scope_texts(folder: Path, capsys: pytest.CaptureFixture[str]):
    words = ("--data", folder / "test.tsv", "--out-of-scope", folder / "outside.txt")
    result = run(capsys, "evaluate", folder / "served" / "1", *words)
    inside = run(capsys, "predict", folder / "served" / "1", *TEXTS)
    outside = run(capsys, "predict", folder / "served" / "1", *["k l m", "z y", "f a"])
    pairs = [
        (a["score"] > b["score"]) + (a["score"] == b["score"]) / 2 for a in inside for b in outside
    ]
    assert result["out_of_scope_auroc"] == pytest.approx(np.mean(pairs))
    lowest = result["out_of_scope_min_score"]
    kept = np.mean([of["score"] >= lowest for of in inside])
    rejected = np.mean([of["score"] < lowest for of in outside])
    assert result["out_of_scope_balanced_accuracy"] == pytest.approx((kept + rejected) / 2)


@pytest.mark.slow
def test_finetune_learns_what_is_out_of_scope(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    train = "text\tlabel\n" + "".join(
        f"w1 w4 {'w4 ' * (i % 3)}\tyes\nw2 w5\tno\n" for i in range(12)
    )
    (tmp_path / "train.tsv").write_text(train)
    (tmp_path / "outside.txt").write_text("w1 w2\nw3\nw6 w3\n")
    words = ["finetune", "--train", tmp_path / "train.tsv", "--encoder", checkpoint]
    words += ["--out-of-scope", tmp_path / "outside.txt", "--output", tmp_path / "run"]
    words += ["--validation", tmp_path / "train.tsv", "--epochs", 4, "--batch-size", 4]
    result = run(capsys, *words, "--learning-rate", "1e-2", "--sequence-length", 8)
    validation = result["validation"]
    assert 0 <= validation["out_of_scope_auroc"] <= 1
    assert validation["rejected_out_of_scope"] > validation["rejected_in_scope"]
    for name in ("classifier", "saved_model/1"):
        model = tmp_path / "run" / name
        answers = run(capsys, "predict", model, "--input", tmp_path / "outside.txt")
        rejected = np.mean([answer["label"] is None for answer in answers])
        assert rejected == pytest.approx(validation["rejected_out_of_scope"])
        data = ("--data", tmp_path / "train.tsv", "--out-of-scope", tmp_path / "outside.txt")
        figures = run(capsys, "evaluate", model, *data)
        assert figures["accuracy"] == pytest.approx(validation["accuracy"])
        auroc = pytest.approx(validation["out_of_scope_auroc"])
        assert figures["out_of_scope_auroc"] == auroc
        assert figures["out_of_scope_min_score"] == pytest.approx(
            json.loads((tmp_path / "run/classifier/task.json").read_text())["config"]["min_score"]
        )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--folds", "2"), "leave out --out-of-scope"),
        (("--validation-fraction", "0"), "`--out-of-scope` needs validation data"),
        (("--label-separator", "|"), "`--out-of-scope` is for text-classification where each text"),
    ],
)
def test_out_of_scope_without_use_is_refused(
    more: tuple[str, str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    words = ("finetune", "--train", folder / "test.tsv", "--encoder", folder / "preset")
    outside = ("--out-of-scope", folder / "outside.txt", "--output", tmp_path / "run")
    assert message in run(capsys, *words, *outside, *more, code=1)
    assert not (tmp_path / "run").exists()


def test_only_tasks_that_refuse_answers_read_texts_out_of_scope():
    for name in ("token-classification", "question-answering", "coreference-resolution"):
        with pytest.raises(ValueError, match=f"text-classification, but {name} refuses nothing"):
            read_out_of_scope(task_class(name), "none.txt", TextColumns())


def test_pretrainers_on_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The means over all targets, found by hand, from a preset and from a SavedModel."""
    corpus = make_corpus(tmp_path)
    backbone = SpanBertBackbone.from_preset(str(make_encoder(tmp_path)))
    preprocessor = SpanBertPretrainerPreprocessor(TOKENIZER, 32, max_targets=5)
    pretrainer = SpanBertPretrainer(backbone, preprocessor, max_targets=5)
    randomize(pretrainer, seed=1)
    pretrainer.save_to_preset(str(tmp_path / "pretrainer"))
    export_encoder(pretrainer, TOKENIZER, tmp_path / "served" / "1")
    words = ("--data", corpus, "--token-budget", 512, "--shards", 1)
    result = run(capsys, "evaluate", tmp_path / "pretrainer", *words)

    settings = Pretraining(token_budget=512)
    totals: dict[str, float] = {}
    for features in masked_batches(settings, corpus, pretrainer, slice(-1, None)).dataset(
        endless=False
    ):
        for name, value in pretrainer.compute_losses(features).items():
            totals[name] = totals.get(name, 0) + float(value)
    for objective in ("mlm", "sbo"):
        loss = totals[f"{objective}_loss_sum"] / totals[f"{objective}_weight"]
        assert result[f"{objective}_loss"] == pytest.approx(loss, rel=1e-5)
        accuracy = totals[f"{objective}_correct"] / totals[f"{objective}_weight"]
        assert result[f"{objective}_accuracy"] == pytest.approx(accuracy)
    assert result["loss"] == pytest.approx(result["mlm_loss"] + result["sbo_loss"])
    served = run(capsys, "evaluate", tmp_path / "served" / "1", *words)
    assert served == pytest.approx(result, rel=1e-5)
    whole = evaluate_pretrainer(tmp_path / "pretrainer", corpus, settings)
    assert whole["tokens"] > result["tokens"]
    pretrainer.preprocessor = None  # A preset may have a tokenizer alone.
    pretrainer.save_to_preset(str(tmp_path / "bare"))
    TOKENIZER.save_to_preset(str(tmp_path / "bare"))
    assert evaluate_pretrainer(tmp_path / "bare", corpus, settings) == pytest.approx(whole)

    before = ["evaluate", "--seed", "3", str(tmp_path / "pretrainer"), "--data", str(corpus)]
    assert build_parser(before).parse_args(before).seed == 3

    assert main(["evaluate", str(tmp_path / "pretrainer"), *map(str, words)]) == 0
    assert f"{result['tokens']:,} tokens: loss " in capsys.readouterr().out
    message = run(
        capsys, "evaluate", tmp_path / "pretrainer", "--data", corpus, "--shards", 99, code=1
    )
    assert "`--shards` must be from 1 to" in message
    assert "no task to answer for" in run(
        capsys, "evaluate", tmp_path / "encoder", "--data", corpus, code=1
    )
    with pytest.raises(ValueError, match="has no pretraining heads"):
        evaluate_pretrainer(tmp_path / "encoder", corpus)
