"""The tasks that come trained: they are found by name, listed, small, and answer well."""

import json
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf import handles, ready_models
from spanbert_tf.cli.main import main
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.export.task_loading import load_task
from spanbert_tf.handles import Kind, default_encoder, find
from spanbert_tf.models.graphs import asked_once
from tests.conftest import ROOT
from tests.served_tensors import assert_same_tensors

NAMES = sorted(ready_models.ready_models())
MOST_BYTES = 25 * 1000**2  # of all


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another checkout's models, of which there is none yet."""
    monkeypatch.setattr(ready_models, "SHIPPED_MODELS", tmp_path / "saved_models")
    return tmp_path / "saved_models" / "adapters"


def test_there_are_some():
    assert [
        *("coreference_en", "embeddings_en", "entities_en", "intents_banking_en"),
        *("questions_en", "relations_en", "sentiment_en"),
    ] == NAMES
    assert ready_models.SHIPPED_MODELS == ROOT / "saved_models"


@pytest.mark.parametrize("name", NAMES)
def test_each_is_complete(name: str):
    folder = ROOT / "saved_models" / "adapters" / name
    assert {file.name for file in folder.iterdir()} == {
        *("README.md", "adapter.json", "adapter.safetensors")
    }
    found = find(name)
    assert (found.kind, found.path) == (Kind.ADAPTER, str(folder))
    # Of the same project wherever it lies.
    described = json.loads((folder / "adapter.json").read_text("utf-8"))
    assert ROOT / described["encoder"]["handle"] == default_encoder()
    assert ready_models.summary_of(folder).endswith(".")
    assert ready_models.example_of(name) in (folder / "README.md").read_text("utf-8")


def test_together_they_are_small():
    files = (ROOT / "saved_models" / "adapters").rglob("*")
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]):
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == NAMES
    assert [row["task"] for row in rows] == [find(name).task for name in NAMES]
    assert all(row["bytes"] > 500_000 for row in rows)
    assert main(["models"]) == 0
    assert ready_models.example_of("entities_en") in capsys.readouterr().out


def test_without_a_checkout_there_are_none(elsewhere: Path, capsys: pytest.CaptureFixture[str]):
    assert ready_models.ready_models() == {}
    assert main(["models"]) == 0
    assert "none" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"'entities_en'.* of ready models"):
        find("entities_en")


def test_a_name_wins_over_a_folder(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for folder in (elsewhere / "mine", tmp_path / "mine"):
        folder.mkdir(parents=True)
        (folder / "adapter.json").write_text('{"task": "token-classification"}')
    monkeypatch.chdir(tmp_path)
    assert handles.find("mine").path == str(elsewhere / "mine")
    assert handles.find("./mine").path == str(tmp_path / "mine")


@pytest.mark.slow
def test_they_answer_well():
    """On sentences that none of them was trained on."""
    encoder = load_backbone(default_encoder())
    entities = load_task("entities_en", encoder=encoder)
    found = entities("Last May Angela Merkel visited the headquarters of Siemens in Munich.")
    assert [(entity.word, entity.entity_group) for entity in found] == [
        ("Angela Merkel", "PER"),
        ("Siemens", "ORG"),
        ("Munich", "LOC"),
    ]
    sentiment = load_task("sentiment_en", encoder=encoder)
    answers = sentiment(["I don't regret a single minute of it.", "A waste of a good evening."])
    assert [answer.label for answer in answers] == ["positive", "negative"]
    intents = load_task("intents_banking_en", encoder=encoder)
    answers = intents(["My card has not arrived yet.", "I forgot my passcode, help!"])
    assert [answer.label for answer in answers] == ["card_arrival", "passcode_forgotten"]
    relations = load_task("relations_en", encoder=encoder)
    (relation,) = relations("The <e1>flood</e1> was caused by heavy <e2>rain</e2>.")
    assert relation.label == "Cause-Effect(e2,e1)"
    questions = load_task("questions_en", encoder=encoder)
    context = "The bridge was built in 1932 by a Danish engineer, and it is 503 metres long."
    asked = ["When was the bridge built?", "How long is the bridge?"]
    answers = questions(asked, [context] * len(asked))
    assert [answer.answer for answer in answers] == ["1932", "503 metres"]
    embeddings = load_task("embeddings_en", encoder=encoder)
    alike = ["How do I reset my password?", "I forgot my login and cannot get in."]
    others = ["The river rises in the Alps.", "Bake the bread for an hour."]
    cosines = embeddings.similarity(alike[0], [alike[1], *others])
    assert cosines[0] > max(cosines[1:]) + 0.2
    coreference = load_task("coreference_en", encoder=encoder)
    text = coreference("Ann told her brother that she had won, and he believed her.")
    clusters = [{mention.text for mention in cluster.mentions} for cluster in text]
    assert any({"Ann", "she"} <= cluster and "he" not in cluster for cluster in clusters)


@pytest.mark.slow
def test_who_asks_once_waits_for_no_graph():
    encoder = load_backbone(default_encoder())
    for name in NAMES:
        task, tensors = load_task(name, encoder=encoder), []
        answer_tensors = task.model.answer_tensors

        def recorded(*arguments: Any, run: Any = answer_tensors, to: Any = tensors) -> Any:
            to.append(run(*arguments))
            return to[-1]

        vars(task.model)["answer_tensors"] = recorded
        with asked_once():
            task(*ready_models.EXAMPLES[name])
        assert "_graphs" not in vars(task.model)
        task(*ready_models.EXAMPLES[name])
        assert "_graphs" in vars(task.model)
        assert_same_tensors(*tensors)
