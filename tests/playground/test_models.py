"""What models of the page answer, as HTML; Gradio is not needed."""

import re
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf import SpanBertRelationExtractor, handles
from spanbert_tf.playground import models as models_module
from spanbert_tf.playground.models import (
    LONGEST_TEXT,
    Model,
    _of_task,
    by_form,
    comparable,
    load_models,
)


@pytest.fixture(scope="module")
def loaded(models: dict[str, Path]) -> dict[str, Model]:
    return load_models(models)


def test_forms_and_what_can_be_compared(loaded: dict[str, Model]):
    assert [*loaded] == ["mood", "temper", "entities", "questions", "encoder"]
    forms = {of[0].title: [model.name for model in of] for of in by_form(loaded.values())}
    assert forms == {
        "Text": ["mood", "temper", "entities"],
        "Question and context": ["questions"],
        "Masks": ["encoder"],
    }
    pairs = [[model.name for model in of] for of in comparable(loaded.values())]
    assert pairs == [["mood", "temper"]]


def test_entities_are_coloured(loaded: dict[str, Model]):
    """To this model each word is a person."""
    page = loaded["entities"]("ada met bo & oslo")
    marked = re.findall(r'<span style="background[^>]*>(.*?) <small>(.*?)</small></span>', page)
    assert marked == [(word, "PER") for word in ("ada", "met", "bo", "&amp;", "oslo")]
    assert page.startswith("<h4>entities</h4>")


def test_classes_have_bars(loaded: dict[str, Model]):
    page = loaded["mood"]("ada met bo")
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
    page = loaded["questions"]("who ?", context)
    ((answer, start, end),) = re.findall(r"<p>(.+)  0\.\d+  \((\d+)-(\d+)\)</p>", page)
    assert context[int(start) : int(end)] == answer
    assert re.findall(r"<span style=.*?>(.*?)</span>", page) == [answer]


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
