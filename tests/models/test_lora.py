"""Adapters that begin at what another encoder differs by."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer, load_embedder, merge_lora
from spanbert_tf.data.readers.text_tuples import TextTuple
from spanbert_tf.models.lora import adapt_to, lora_layers
from spanbert_tf.settings import TextClassification
from spanbert_tf.tasks.text_embedder import TextEmbedding
from spanbert_tf.training import finetune
from tests.layer_checks import randomize

LETTERS = [*"abcdefgh"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
TEXTS = [f"{a} {b} {c}" for a in LETTERS for b in "ad" for c in "ch"]


def make_backbone(seed: int, layers: int = 2, hidden: int = 8) -> SpanBertBackbone:
    keras.utils.set_random_seed(0)  # The embeddings, which are not adapted, are the same in all.
    backbone = SpanBertBackbone(len(VOCABULARY), layers, 2, hidden, 12, max_sequence_length=16)
    randomize(backbone, seed=seed)
    return backbone


def kernels_of(backbone: SpanBertBackbone) -> dict[str, np.ndarray]:
    return {w.path: w.numpy() for w in backbone.weights if "dense/kernel" in w.path}


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_kernels_come_as_near_as_the_rank_allows(rank: int):
    backbone, other = make_backbone(1), make_backbone(2)
    before, wanted = kernels_of(backbone), kernels_of(other)
    backbone.enable_lora(rank)
    adapt_to(backbone, other)
    reached = kernels_of(merge_lora(backbone))
    assert len(reached) == 8
    for path, kernel in reached.items():
        # What is left of the best approximation are the other singular values.
        left = np.linalg.svd(wanted[path] - before[path], compute_uv=False)[rank:]
        distance = np.linalg.norm(wanted[path] - kernel)
        np.testing.assert_allclose(distance, np.sqrt((left**2).sum()), rtol=1e-4, atol=1e-5)
    biases = {w.path: w.numpy() for w in other.weights if "dense/bias" in w.path}
    assert len(biases) == 8
    for weight in backbone.weights:
        if weight.path in biases:
            np.testing.assert_array_equal(weight, biases[weight.path])
    # The frozen kernels stay, so that the adapter is one of its encoder.
    for layer in lora_layers(backbone):
        kernel = next(weight for weight in layer.weights if weight.name == "kernel")
        np.testing.assert_array_equal(kernel, before[kernel.path])


@pytest.mark.parametrize(
    ("other", "rank", "message"),
    [
        ({"layers": 1}, 2, r"its transformer_layer_1/output_dense is missing, and here \(12, 8\)"),
        (
            {"hidden": 4},
            2,
            r"its transformer_layer_0/output_dense is \(12, 4\), and here \(12, 8\)",
        ),
        ({}, 9, "`lora_rank` must be 8 at most, but is 9"),
    ],
)
def test_what_cannot_be_adapted_to_is_refused(other: dict[str, int], rank: int, message: str):
    backbone = make_backbone(1)
    backbone.enable_lora(rank)
    before = [weight.numpy() for weight in backbone.weights]
    with pytest.raises(ValueError, match=message):
        adapt_to(backbone, make_backbone(2, **other))
    for weight, value in zip(backbone.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, and one of other dense layers."""
    folder = tmp_path_factory.mktemp("encoders")
    for name, seed in (("encoder", 1), ("teacher", 2)):
        backbone = make_backbone(1)
        for weight, value in zip(backbone.weights, make_backbone(seed).weights, strict=True):
            if "dense" in weight.path:
                weight.assign(value)
        backbone.save_to_preset(str(folder / name))
        SpanBertTokenizer(VOCABULARY).save_to_preset(str(folder / name))
    return folder


def learn_vectors(encoders: Path, output: Path, **options: Any) -> np.ndarray:
    """Vectors after a training that moves nothing."""
    settings = TextEmbedding(
        epochs=1,
        batch_size=8,
        learning_rate=1e-12,
        sequence_length=16,
        teacher=str(encoders / "teacher"),
        lora_rank=8,
        **options,
    )
    records = [TextTuple((text,)) for text in TEXTS]
    result = finetune(
        settings,
        records,
        task="text-embedding",
        encoder=encoders / "encoder",
        output=output / "preset",
        adapter=output / "adapter",
        verbose=0,
    )
    vectors = load_embedder(output / "adapter").encode_text(TEXTS)
    np.testing.assert_allclose(result.model.encode_text(TEXTS), vectors, atol=1e-5)
    return vectors


def test_fine_tuning_begins_at_the_teacher(encoders: Path, tmp_path: Path):
    of_encoder, of_teacher = (
        load_embedder(encoders / name).encode_text(TEXTS) for name in ("encoder", "teacher")
    )
    assert (of_encoder * of_teacher).sum(1).mean() < 0.9
    begun = learn_vectors(encoders, tmp_path / "begun", lora_start="teacher")
    np.testing.assert_allclose(begun, of_teacher, atol=1e-4)
    plain = learn_vectors(encoders, tmp_path / "plain")
    np.testing.assert_allclose(plain, of_encoder, atol=1e-4)


@pytest.mark.parametrize("given", [{}, {"lora_rank": 2}, {"teacher": "t"}])
def test_a_start_needs_an_adapter_and_a_teacher(given: dict[str, Any], tmp_path: Path):
    settings = TextClassification(lora_start="teacher", **given)
    with pytest.raises(ValueError, match="'teacher', which needs `lora_rank` and `teacher`"):
        finetune(settings, [], encoder="nothing", output=tmp_path / "out")
