"""What models of the page answer, as HTML; Gradio is not needed."""

import re
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf import SpanBertRelationExtractor, handles, load_task
from spanbert_tf.playground import models as models_module
from spanbert_tf.playground.models import (
    LONGEST_TEXT,
    Model,
    _of_task,
    by_form,
    comparable,
    load_models,
)
from spanbert_tf.tasks.decoders.answers import Answer


@pytest.fixture(scope="module")
def loaded(models: dict[str, Path]) -> dict[str, Model]:
    return load_models(models)


def test_forms_and_what_can_be_compared(loaded: dict[str, Model]):
    assert [*loaded] == ["mood", "temper", "entities", "questions", "encoder"]
    forms = {of[0].title: [model.name for model in of] for of in by_form(loaded.values())}
    assert forms == {
        "Text": ["mood", "temper", "entities"],
        "Question and context": ["questions"],
        "Fill in": ["encoder"],
    }
    pairs = [[model.name for model in of] for of in comparable(loaded.values())]
    assert pairs == [["mood", "temper"]]


def test_entities_are_coloured_where_the_task_finds_them(
    loaded: dict[str, Model], models: dict[str, Path]
):
    text = "ada met bo & oslo"
    page = loaded["entities"](text)
    entities = load_task(models["entities"])(text)
    assert entities
    marked = re.findall(r'<span style="background[^>]*>(.*?) <small>(.*?)</small></span>', page)
    assert marked == [(of.word.replace("&", "&amp;"), of.entity_group) for of in entities]
    assert page.startswith("<h4>entities</h4>")


def test_classes_have_bars(loaded: dict[str, Model], models: dict[str, Path]):
    page, prediction = loaded["mood"]("ada met bo"), load_task(models["mood"])("ada met bo")
    assert prediction.label == "<sad>"
    assert f"<p>&lt;sad&gt;  {prediction.score:.3f}</p>" in page
    assert f"width: {100 * prediction.score:.1f}%" in page


def test_answers_are_marked_in_their_context(loaded: dict[str, Model], models: dict[str, Path]):
    asked = "who ?", "ada met bo in oslo ."
    page, answer = loaded["questions"](*asked), load_task(models["questions"])(*asked)
    assert isinstance(answer, Answer)
    assert answer.end > answer.start
    assert f">{asked[1][answer.start : answer.end]}</span>" in page


def test_masks_are_filled(loaded: dict[str, Model]):
    page = loaded["encoder"]("ada [MASK] [MASK] in [MASK] .")
    assert re.findall(r"<p>(.*?)</p>", page) == ["[MASK] [MASK]", "[MASK]"]
    assert page.count("height: 0.7em") == 10


def test_the_encoder_of_adapters_is_the_one_that_fills(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    def load_again(*_: Any) -> None:
        pytest.fail("the encoder is in memory")

    monkeypatch.setattr("spanbert_tf.export.analyzer.load_backbone", load_again)
    chosen = {name: models[name] for name in ("mood", "entities", "encoder")}
    assert [*load_models(chosen)] == [*chosen]


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        ("mood", (" ",), "The text is empty"),
        ("mood", ("a" * (LONGEST_TEXT + 1),), "100,001 characters; 100,000 at most"),
        ("questions", ("who ?", None), "The context is empty"),
        ("encoder", ("ada",), r"encoder: there is no \[MASK\] to fill in"),
        ("questions", ("a " * 20, "bo"), "questions: "),
    ],
)
def test_texts_that_have_no_answer(
    loaded: dict[str, Model], name: str, texts: tuple[str, ...], message: str
):
    with pytest.raises(ValueError, match=message):
        loaded[name](*texts)


def test_relations_have_their_entities_found_unless_they_are_marked():
    class Extractor:
        task, task_class = SpanBertRelationExtractor.task, SpanBertRelationExtractor

        def __call__(self, text: str, **options: Any) -> list[str]:
            return [f"{text} {options}"]

    def options_of(text: str, finder: Any) -> str:
        return _of_task("relations", Extractor(), finder)(text)  # type: ignore[arg-type]

    assert "{&#x27;entities&#x27;: 1}" in options_of("Ada met Bo.", 1)
    assert "{}" in options_of("<e1>Ada</e1> met <e2>Bo</e2>.", 1)
    assert "{}" in options_of("Ada met Bo.", None)


def test_without_a_name_the_ready_models_and_the_default_encoder(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(handles, "_SHIPPED", models["encoder"])
    monkeypatch.setattr(models_module, "ready_models", lambda: {"mine": models["mood"]})
    assert [*load_models()] == ["mine", "encoder"]
    monkeypatch.setattr(models_module, "ready_models", dict)
    assert [*load_models()] == ["encoder"]
    monkeypatch.setattr(handles, "_SHIPPED", models["mood"])
    with pytest.raises(ValueError, match="name a model"):
        load_models()
