"""Tiny models on one encoder, with heads that fill masks."""

from pathlib import Path
from typing import Any

import keras
import pytest

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertPretrainer,
    SpanBertQuestionAnswerer,
    SpanBertQuestionAnswererPreprocessor,
    SpanBertRelationExtractor,
    SpanBertRelationExtractorPreprocessor,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenClassifier,
    SpanBertTokenClassifierPreprocessor,
    SpanBertTokenizer,
    save_adapter,
)
from spanbert_tf.export.encoder_identity import identify

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [
    *SPECIAL_TOKENS,
    *(f"[unused{n}]" for n in range(4)),
    *"abcdefghijklmnopqrstuvwxyz",
    "ada",
    "met",
    "bo",
    "in",
    "oslo",
    ".",
    "?",
]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Their folders by name: four adapters, a preset, and their encoder."""
    folder = tmp_path_factory.mktemp("playground")
    keras.utils.set_random_seed(3)
    tokenizer = SpanBertTokenizer(PIECES)
    backbone = SpanBertBackbone(len(PIECES), 1, 2, 8, 8, max_sequence_length=24)
    SpanBertPretrainer(
        backbone, SpanBertPretrainer.preprocessor_cls(tokenizer, sequence_length=24), max_targets=3
    ).save_to_preset(str(folder / "encoder"))
    asking = SpanBertQuestionAnswererPreprocessor(tokenizer, sequence_length=16, doc_stride=4)
    SpanBertQuestionAnswerer(backbone, asking).save_to_preset(str(folder / "questions"))

    encoder = identify(str(folder / "encoder"), backbone, tokenizer)
    backbone.enable_lora(2)

    def adapt(name: str, task: Any, favourite: int) -> None:
        task.output_dense.bias.assign(3 * keras.ops.one_hot(favourite, task.output_dense.units))
        save_adapter(task, folder / name, encoder)

    classifier = SpanBertTextClassifier(
        backbone,
        preprocessor=SpanBertTextClassifierPreprocessor(tokenizer, 16),
        class_names=["<sad>", "glad"],
    )
    adapt("mood", classifier, 0)
    adapt("temper", classifier, 1)
    tagging = SpanBertTokenClassifierPreprocessor(tokenizer, 16)
    adapt("entities", SpanBertTokenClassifier(backbone, ["PER", "LOC"], tagging), 1)
    marking = SpanBertRelationExtractorPreprocessor(tokenizer, 16)
    adapt("relations", SpanBertRelationExtractor(backbone, ["met", "of"], marking), 0)
    names = ("mood", "temper", "entities", "relations", "questions", "encoder")
    return {name: folder / name for name in names}
