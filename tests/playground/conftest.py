"""Tiny models on one encoder, with heads that fill masks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertPretrainer,
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

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [
    *SPECIAL_TOKENS,
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
    """Their folders by name: adapters `mood`, `temper`, `entities`, a preset, and the encoder."""
    folder = tmp_path_factory.mktemp("playground")
    keras.utils.set_random_seed(3)
    tokenizer = SpanBertTokenizer(PIECES)
    backbone = SpanBertBackbone(len(PIECES), 1, 2, 8, 8, max_sequence_length=24)
    SpanBertPretrainer(
        backbone, SpanBertPretrainer.preprocessor_cls(tokenizer, sequence_length=24), max_targets=3
    ).save_to_preset(str(folder / "encoder"))

    def adapt(name: str, of: Callable[[Any], Any], tag: int) -> None:
        adapted, _ = load_backbone(folder / "encoder")
        adapted.enable_lora(2)
        task = of(adapted)
        task.output_dense.bias.assign(3 * keras.ops.one_hot(tag, task.output_dense.units))
        save_adapter(task, folder / name, folder / "encoder")

    for name, label in (("mood", 0), ("temper", 1)):
        preprocessor: Any = SpanBertTextClassifierPreprocessor(tokenizer, 16)
        adapt(
            name,
            lambda of, preprocessor=preprocessor: SpanBertTextClassifier(
                of, preprocessor=preprocessor, class_names=["<sad>", "glad"]
            ),
            label,
        )
    tagging = SpanBertTokenClassifierPreprocessor(tokenizer, 16)
    adapt("entities", lambda of: SpanBertTokenClassifier(of, ["PER", "LOC"], tagging), 1)
    asking = SpanBertQuestionAnswererPreprocessor(tokenizer, sequence_length=16, doc_stride=4)
    SpanBertQuestionAnswerer(backbone, asking).save_to_preset(str(folder / "questions"))
    names = ("mood", "temper", "entities", "questions", "encoder")
    return {name: folder / name for name in names}
