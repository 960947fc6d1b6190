"""Tiny tasks in the formats that are served."""

from pathlib import Path
from typing import Any

import keras
import pytest

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertQuestionAnswerer,
    SpanBertQuestionAnswererPreprocessor,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenClassifier,
    SpanBertTokenClassifierPreprocessor,
    SpanBertTokenizer,
    load_backbone,
    save_adapter,
)
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from tests.layer_checks import randomize

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{x}" for x in LETTERS)]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: NAME/1 is a SavedModel, NAME/litert, NAME/preset, NAME/adapter.

    `classifier` is all but a preset, `entities` all but an adapter, `answers` a SavedModel.
    """
    folder = tmp_path_factory.mktemp("served")
    keras.utils.set_random_seed(0)
    tokenizer = SpanBertTokenizer(VOCABULARY, lowercase=True)
    backbone = SpanBertBackbone(len(VOCABULARY), 1, 2, 8, 16, max_sequence_length=24)
    randomize(backbone, seed=1)
    backbone.save_to_preset(str(folder / "encoder"))
    tokenizer.save_to_preset(str(folder / "encoder"))

    adapted, _ = load_backbone(folder / "encoder")
    adapted.enable_lora(2)
    classifier = SpanBertTextClassifier(
        adapted,
        preprocessor=SpanBertTextClassifierPreprocessor(tokenizer, 24, buckets=[12, 24]),
        class_names=["no", "yes", "pérhaps"],
    )
    _move(classifier, seed=2)
    save_adapter(classifier, folder / "classifier" / "adapter", folder / "encoder")
    export_task(classifier, folder / "classifier" / "1")
    export_litert(classifier, folder / "classifier" / "litert")

    preprocessor = SpanBertTokenClassifierPreprocessor(tokenizer, 12, overlap=3, buckets=[12])
    entities = SpanBertTokenClassifier(backbone, ["PER", "LOC"], preprocessor)
    randomize(entities, seed=3)
    entities.save_to_preset(str(folder / "entities" / "preset"))
    export_task(entities, folder / "entities" / "1")
    export_litert(entities, folder / "entities" / "litert")

    answers = SpanBertQuestionAnswerer(
        SpanBertBackbone(len(VOCABULARY), 1, 2, 8, 16, max_sequence_length=24),
        SpanBertQuestionAnswererPreprocessor(tokenizer, sequence_length=16, doc_stride=4),
        max_answer_length=5,
        max_answers=4,
    )
    randomize(answers, seed=4)
    export_task(answers, folder / "answers" / "1")
    return folder


def _move(task: Any, seed: int) -> None:
    generator = keras.random.SeedGenerator(seed)
    for variable in task.trainable_variables:
        variable.assign_add(0.3 * keras.random.normal(variable.shape, seed=generator))
