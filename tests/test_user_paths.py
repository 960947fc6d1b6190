"""`~` is the home folder in every path, also where no shell has seen it."""

import json
from pathlib import Path

import pytest

from spanbert_tf import SpanBertBackbone, load_hugging_face
from spanbert_tf.atomic_files import atomic_folder, user_path
from spanbert_tf.cli.main import build_parser
from spanbert_tf.data.corpus.documents import corpus_files
from spanbert_tf.data.readers.coreference import read_coreference
from spanbert_tf.data.readers.entities import read_entities
from spanbert_tf.data.readers.gap import read_gap
from spanbert_tf.data.readers.questions import read_asked
from spanbert_tf.data.readers.relations import read_relations
from spanbert_tf.data.readers.tables import read_examples, read_texts
from spanbert_tf.export.conversion import convert
from spanbert_tf.tokenization.vocabulary import read_vocabulary
from spanbert_tf.training.fine_tuning import checkpoint_folder
from tests.checkpoints.foreign_folders import assert_same_backbone, write_checkpoint
from tests.data.readers.test_gap import HEADER, ROW


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_paths(home: Path):
    assert user_path("~/a/~b") == home / "a" / "~b"
    assert user_path(Path("~")) == home
    assert user_path("~no-such-user/a") == Path("~no-such-user/a")
    assert checkpoint_folder("~/run") == home / "run.checkpoint"
    with atomic_folder("~/made") as folder:
        (folder / "file").touch()
    assert (home / "made" / "file").exists()
    assert not (home / "~").exists()


def test_files_of_data(home: Path):
    (home / "a.csv").write_text("text,label\na,b\n")
    (home / "a.conll").write_text("Ada B-PER\n")
    (home / "q.csv").write_text("question,context\nWho?,Ada.\n")
    relation = {"text": "Ada met Bo", "head": [0, 3], "tail": [8, 10], "label": "met"}
    (home / "r.jsonl").write_text(json.dumps(relation))
    (home / "a.txt").write_text("one line\n")
    (home / "c.jsonl").write_text(json.dumps({"text": "Ada", "clusters": []}))
    (home / "gap.tsv").write_text(HEADER + ROW)
    assert len(read_examples("~/a.csv")) == len(read_texts("~/a.txt")) == 1
    assert len(read_entities("~/a.conll")) == 1
    assert read_asked("~/q.csv") == [["Who?"], ["Ada."]]
    assert len(read_relations("~/r.jsonl")) == len(read_gap("~/gap.tsv")) == 1
    assert len(read_coreference("~/c.jsonl")) == len(read_coreference(["~/c.jsonl"])) == 1
    assert corpus_files(["~/a.txt"]) == [home / "a.txt"]


def test_models(home: Path):
    write_checkpoint(home / "checkpoint")
    assert len(read_vocabulary("~/checkpoint/vocab.txt")) == 13
    expected, _ = load_hugging_face("~/checkpoint")
    assert convert("~/checkpoint", "~/preset") == home / "preset"
    assert_same_backbone(SpanBertBackbone.from_preset("~/preset"), expected)
    assert sorted(path.name for path in home.iterdir()) == ["checkpoint", "preset"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (
            ["finetune", "--train=~/a", "--validation=~/b", "--test=~/c", "--output=~/d"],
            ["train", "validation", "test", "output"],
        ),
        (["evaluate", "~/none", "--data=~/a"], ["data"]),
        (["convert", "x", "~/a"], ["destination"]),
        (["export", "x", "~/a", "--preprocessor=~/b"], ["destination", "preprocessor"]),
        (["pretrain", "~/a", "--encoder=x", "--output=~/b"], ["corpus", "output"]),
        (["prepare", "x", "--vocabulary=~/a", "--output=~/b"], ["vocabulary", "output"]),
        (["train-vocab", "x", "--output=~/a"], ["output"]),
        (["index", "x", "--model=x", "--output=~/a"], ["output"]),
        (["demo", "--output=~/a"], ["output"]),
    ],
)
def test_options_of_commands(words: list[str], names: list[str], home: Path):
    parsed = build_parser(words).parse_args(words)
    assert all(getattr(parsed, name).parent == home for name in names)
