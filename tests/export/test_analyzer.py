"""Several tasks on the same texts."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from spanbert_tf import (
    Analyzer,
    SpanBertBackbone,
    SpanBertQuestionAnswerer,
    SpanBertQuestionAnswererPreprocessor,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenClassifier,
    SpanBertTokenClassifierPreprocessor,
    SpanBertTokenizer,
    load_backbone,
    load_task,
    save_adapter,
)
from spanbert_tf.export import analyzer as analyzer_module
from spanbert_tf.export.analyzer import Analysis
from spanbert_tf.tasks.decoders.classes import Prediction
from spanbert_tf.tasks.decoders.entities import Entity

TEXTS = ["A fine film.", "the plot was very dull", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, backbone, tokenizer) -> Path:
    """An encoder, and adapters of it for sentiment and entities."""
    folder = tmp_path_factory.mktemp("analyzer")
    backbone.save_to_preset(str(folder / "encoder"))
    tokenizer.save_to_preset(str(folder / "encoder"))
    for name in ("sentiment", "entities"):
        adapted, _ = load_backbone(folder / "encoder")
        adapted.enable_lora(2)
        if name == "sentiment":
            preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, 16)
            task: Any = SpanBertTextClassifier(
                adapted, preprocessor=preprocessor, class_names=["dull", "fine"]
            )
        else:
            preprocessor = SpanBertTokenClassifierPreprocessor(tokenizer, 16)
            task = SpanBertTokenClassifier(adapted, ["PER", "LOC"], preprocessor)
        generator = np.random.default_rng(1)
        for variable in task.trainable_variables:
            variable.assign(variable + generator.standard_normal(variable.shape))
        save_adapter(task, folder / name, folder / "encoder")
    return folder


@pytest.mark.slow
def test_answers_are_those_of_each_task_alone(folder: Path):
    analyzer = Analyzer([folder / "sentiment", folder / "entities"])
    analyses = analyzer(TEXTS)
    assert [analysis.text for analysis in analyses] == TEXTS
    found = [json.loads(json.dumps(analysis.to_json()))["answers"] for analysis in analyses]
    sentiment = load_task(folder / "sentiment")(TEXTS)
    assert [of["sentiment"]["label"] for of in found] == [of.label for of in sentiment]
    entities = load_task(folder / "entities")(TEXTS)
    assert any(entities)
    for of, expected in zip(found, entities, strict=True):
        for one, wanted in zip(of["entities"], expected, strict=True):
            assert one == {**asdict(wanted), "score": pytest.approx(wanted.score, abs=1e-5)}
    assert analyzer(TEXTS[0])["sentiment"].label == sentiment[0].label


@pytest.mark.slow
def test_adapters_of_one_encoder_share_its_weights(folder: Path):
    tasks = Analyzer({"a": folder / "sentiment", "b": folder / "entities"}).tasks
    one, other = (tasks[name].model.backbone.token_embedding.embeddings for name in "ab")
    assert one.value is other.value


@pytest.mark.slow
def test_tasks_that_do_not_go_together(folder: Path, tokenizer: SpanBertTokenizer, tmp_path: Path):
    with pytest.raises(ValueError, match="two tasks have the name 'sentiment'"):
        Analyzer([folder / "sentiment"] * 2)
    with pytest.raises(ValueError, match="one task at least"):
        Analyzer([])
    keras.utils.set_random_seed(0)
    encoder = SpanBertBackbone(tokenizer.vocabulary_size(), 1, 2, 8, 8, max_sequence_length=16)
    preprocessor = SpanBertQuestionAnswererPreprocessor(tokenizer, sequence_length=16, doc_stride=4)
    SpanBertQuestionAnswerer(encoder, preprocessor).save_to_preset(str(tmp_path / "questions"))
    with pytest.raises(ValueError, match="question-answering takes question and context"):
        Analyzer([tmp_path / "questions"])


def test_page_of_an_analysis():
    entities = [Entity("LOC", 0.5, "<Oslo>", 7, 13), Entity("PER", 0.9, "Bo", 0, 2)]
    answers = {"entities": entities, "mood": Prediction("a & b", 0.75, {"a & b": 0.75})}
    page = Analysis("Bo & I <Oslo>", answers).to_html()
    assert page.count("<span") == page.count("</span>") == 2
    assert "Bo <small>PER</small></span> &amp; I <span" in page
    assert "&lt;Oslo&gt; <small>LOC</small></span></div>" in page
    assert "<h4>mood</h4>\n<p>a &amp; b  0.750</p>" in page


def test_vectors_are_told_by_their_numbers():
    analysis = Analysis("a", {"vector": np.array([0.5, -0.25, *[0] * 382], np.float32)})
    numbers = json.loads(json.dumps(analysis.to_json()))["answers"]["vector"]
    assert numbers == {"vector": [0.5, -0.25, *[0] * 382]}
    assert "<p>0.5000, -0.2500, 0.0000, ... (384 numbers)</p>" in analysis.to_html()


def test_names_without_revisions_and_texts_in_a_tuple(monkeypatch: pytest.MonkeyPatch):
    class Length:
        """A task to which, as to each, a tuple is one record."""

        task_class = type("Task", (), {"asked": ("text",)})

        def __call__(self, texts: Any) -> list[int]:
            assert isinstance(texts, list)
            return [*map(len, texts)]

    monkeypatch.setattr(analyzer_module, "find", lambda handle: handle)
    monkeypatch.setattr(analyzer_module, "_load", lambda *_: Length())
    analyzer = Analyzer(["hf://me/entities@main", "hf://me/mood@refs/pr/1", "runs/length/1"])
    assert [*analyzer.tasks] == ["entities", "mood", "length"]
    assert [analysis["mood"] for analysis in analyzer(("a", "bcd"))] == [1, 3]
