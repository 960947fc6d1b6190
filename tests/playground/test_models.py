"""What models of the page answer, as HTML; Gradio is not needed."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from spanbert_tf import handles
from spanbert_tf.playground import models as models_module
from spanbert_tf.playground.models import (
    LONGEST_TEXT,
    Model,
    ask,
    by_form,
    comparable,
    load_models,
)
from spanbert_tf.playground.page import example_for
from spanbert_tf.ready_models import ready_models


@pytest.fixture(scope="module", autouse=True)
def eager() -> Iterator[None]:
    """Tracing takes longer than all answers."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def loaded(models: dict[str, Path]) -> dict[str, Model]:
    def load_again(*_: Any) -> None:
        pytest.fail("the encoder of the adapters is in memory")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spanbert_tf.export.analyzer.load_backbone", load_again)
        return load_models(models)


def test_forms_and_what_can_be_compared(loaded: dict[str, Model]):
    assert [*loaded] == ["mood", "temper", "entities", "relations", "questions", "encoder"]
    forms = {of[0].title: [model.name for model in of] for of in by_form(loaded.values())}
    assert forms == {
        "Text": ["mood", "temper", "entities", "relations"],
        "Question and context": ["questions"],
        "Masks": ["encoder"],
    }
    pairs = [[model.name for model in of] for of in comparable(loaded.values())]
    assert pairs == [["mood", "temper"]]


def test_entities_are_coloured(loaded: dict[str, Model]):
    """To this model each word is a person."""
    (page,) = ask([loaded["entities"]], ["ada met bo & oslo"])
    marked = re.findall(r'<span style="background[^>]*>(.*?) <small>(.*?)</small></span>', page)
    assert marked == [(word, "PER") for word in ("ada", "met", "bo", "&amp;", "oslo")]
    assert page.startswith("<h4>entities</h4>")


def test_classes_have_bars(loaded: dict[str, Model]):
    (page,) = ask([loaded["mood"]], ["ada met bo"])
    (score,) = re.findall(r"<p>&lt;sad&gt;  (0\.\d+)</p>", page)
    names, widths, numbers = zip(
        *re.findall(r"<div>(.*?)</div>.*?width: (.*?)%.*?<div>(.*?)</div>", page), strict=True
    )
    assert names == ("&lt;sad&gt;", "glad")
    assert numbers[0] == score
    assert [*map(float, widths)] == pytest.approx([100 * float(of) for of in numbers], abs=0.1)
    assert sum(map(float, numbers)) == pytest.approx(1, abs=2e-3)


def test_answers_are_marked_in_their_context(loaded: dict[str, Model]):
    context = "ada met bo in oslo ."
    (page,) = ask([loaded["questions"]], ["who ?", context])
    ((answer, start, end),) = re.findall(r"<p>(.+)  0\.\d+  \((\d+)-(\d+)\)</p>", page)
    assert context[int(start) : int(end)] == answer
    assert re.findall(r"<span style=.*?>(.*?)</span>", page) == [answer]


def test_masks_are_filled(loaded: dict[str, Model]):
    (page,) = ask([loaded["encoder"]], ["ada [MASK] [MASK] in [MASK] ."])
    assert re.findall(r"<p>(.*?)</p>", page) == ["[MASK] [MASK]", "[MASK]"]
    assert page.count("height: 0.7em") == 10


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        ("mood", (" ",), "^The text is empty: write one first.$"),
        ("mood", ("a" * (LONGEST_TEXT + 1),), "^The text has 100,001 characters; 100,000 at most"),
        ("questions", ("who ?", None), "^The context is empty"),
        ("encoder", ("ada",), r"^encoder: there is no \[MASK\] to fill in"),
        ("questions", ("a " * 20, "bo"), "^questions: "),
    ],
)
def test_texts_that_have_no_answer(
    loaded: dict[str, Model], name: str, texts: tuple[str, ...], message: str
):
    with pytest.raises(ValueError, match=message):
        ask([loaded[name]], texts)


def test_who_refuses_a_text_hides_no_other_answer(loaded: dict[str, Model]):
    asked = [loaded[name] for name in ("mood", "relations", "entities")]
    mood, refusal, entities = ask(asked, ["<e1>ada met <b>bo</b>"])
    assert mood.startswith("<h4>mood</h4>\n<p>&lt;sad&gt; ")
    assert entities.count("<small>PER</small>") > 3
    assert re.fullmatch(r"<h4>relations</h4>\n<p>.*&lt;e1&gt;ada met &lt;b&gt;bo.*</p>", refusal)


def test_all_reasons_are_told_if_all_refuse():
    def refuse(text: str) -> str:
        raise ValueError(f"not {text}")

    asked = [Model(name, "text-classification", ("text",), refuse) for name in ("a", "b")]
    with pytest.raises(ValueError, match=r"^a: not this\nb: not this$"):
        ask(asked, ["this"])
    with pytest.raises(ValueError, match=r"^The text is empty: write one first\.$"):
        ask(asked, [""])


def test_relations_have_their_entities_found_unless_they_are_marked(loaded: dict[str, Model]):
    """To these models each word is a person, and everybody has met everybody."""
    (found,) = ask([loaded["relations"]], ["ada met bo"])
    assert found.count("<p>") == 6
    (marked,) = ask([loaded["relations"]], ["<e1>ada</e1> met <e2>bo</e2>"])
    assert marked.count("<p>") == 1


def test_relations_without_a_finder_need_marks(models: dict[str, Path]):
    (alone,) = load_models([models["relations"]]).values()
    with pytest.raises(ValueError, match="<e1>"):
        ask([alone], ["ada met bo"])
    (marked,) = ask([alone], example_for([alone]))
    assert "author" in marked


def test_without_a_name_the_ready_models_and_the_default_encoder(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(models_module, "load_tasks", lambda found, *_: found)
    monkeypatch.setattr(models_module, "_load_filling", lambda name, *_: name)
    monkeypatch.setattr(models_module, "_of_task", lambda name, *_: name)
    monkeypatch.setattr(models_module, "ready_models", lambda: {"mine": models["mood"]})
    monkeypatch.setattr(handles, "_SHIPPED", models["encoder"])
    assert [*load_models()] == ["mine", "encoder"]
    monkeypatch.setattr(handles, "_SHIPPED", models["mood"])
    assert [*load_models()] == ["mine"]
    monkeypatch.setattr(models_module, "ready_models", dict)
    with pytest.raises(ValueError, match="name a model"):
        load_models()
    monkeypatch.setattr(models_module, "default_encoder", no_encoder)
    with pytest.raises(ValueError, match="name a model"):
        load_models()


def no_encoder() -> None:
    """As `default_encoder` where neither of the two is."""
    raise ModuleNotFoundError("all-MiniLM-L6-v2 is not installed")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("adapter.json", "mine holds no model: expected .*adapter.json"),
        ("adapter.safetensors", "mine is an adapter without adapter.safetensors"),
    ],
)
def test_ready_model_that_lacks_a_file(
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    message: str,
):
    folder = tmp_path / "mine"
    shutil.copytree(models["mood"], folder)
    (folder / file).unlink()
    monkeypatch.setattr(models_module, "ready_models", lambda: {"mine": folder})
    monkeypatch.setattr(handles, "_SHIPPED", models["mood"])
    with pytest.raises(FileNotFoundError, match=message):
        load_models()


@pytest.mark.slow
def test_ready_models_take_the_texts_that_stand_in_the_boxes():
    answers = {
        model.name: model.answer(*example_for(of_form))
        for of_form in by_form(load_models().values())
        for model in of_form
    }
    assert {*ready_models()} < {*answers}
    for word, group in (("Ada Lovelace", "PER"), ("Charles Babbage", "PER"), ("London", "LOC")):
        assert f"{word} <small>{group}</small>" in answers["entities_en"]
