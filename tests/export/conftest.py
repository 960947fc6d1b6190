"""Tiny models, each exported once and used in one fresh process for all tests of exports."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export.hub import export_encoder, export_preprocessor
from spanbert_tf.export.serving import export_classifier
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from spanbert_tf.tasks.text_classifier import (
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
)
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "snow", "##man", "melt", "##s", ".", ",", "a", "fine", "dull", "film", "and"]
MORE_WORDS = ["actor", "##ed", "was", "is", "not", "very", "good", "bad", "story", "plot"]
PIECES = [*SPECIAL_TOKENS, *WORDS, *MORE_WORDS, "music", "loud", "quiet"]


@pytest.fixture(scope="session")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(PIECES, lowercase=True)


@pytest.fixture(scope="session")
def backbone() -> SpanBertBackbone:
    keras.utils.set_random_seed(3)
    backbone = SpanBertBackbone(
        vocabulary_size=len(PIECES),
        num_layers=2,
        num_heads=2,
        hidden_dim=14,
        intermediate_dim=22,
        max_sequence_length=40,
    )
    # Biases, gains and segments away from zero and one, so that each of them matters.
    generator = np.random.default_rng(5)
    for weight in backbone.trainable_weights:
        weight.assign(weight + 0.1 * generator.standard_normal(weight.shape))
    return backbone


@pytest.fixture(scope="session")
def classifier(tokenizer: SpanBertTokenizer, backbone: SpanBertBackbone) -> SpanBertTextClassifier:
    preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, sequence_length=40)
    classifier = SpanBertTextClassifier(
        backbone, preprocessor=preprocessor, class_names=["négatif", "positif", "ni l'un"]
    )
    generator = np.random.default_rng(7)
    for layer in (classifier.pooled_dense, classifier.output_dense):
        layer.kernel.assign(generator.standard_normal(layer.kernel.shape))
    return classifier


@pytest.fixture(scope="session")
def pretrainer(backbone: SpanBertBackbone) -> SpanBertPretrainer:
    pretrainer = SpanBertPretrainer(backbone, max_targets=5)
    generator = np.random.default_rng(9)
    for weight in [*pretrainer.mlm_head.weights, *pretrainer.sbo_head.weights]:
        if weight is not backbone.token_embedding.embeddings:
            weight.assign(weight + 0.3 * generator.standard_normal(weight.shape))
    return pretrainer


@pytest.fixture(scope="session")
def models(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: SpanBertTokenizer,
    backbone: SpanBertBackbone,
    classifier: SpanBertTextClassifier,
    pretrainer: SpanBertPretrainer,
) -> Path:
    """A folder with `encoder/1`, `preprocessor/1`, `classifier/1` and `pretrained/1`."""
    folder = tmp_path_factory.mktemp("saved_models")
    export_encoder(pretrainer, tokenizer, folder / "pretrained" / "1")
    export_encoder(backbone, tokenizer, folder / "encoder" / "1")
    export_preprocessor(tokenizer, folder / "preprocessor" / "1", sequence_length=12)
    export_classifier(classifier, folder / "classifier" / "1")
    return folder


@pytest.fixture(scope="session")
def features() -> dict[str, np.ndarray]:
    """Two rows by this package's names: a pair of segments, and a single one with padding."""
    return {
        "token_ids": np.array([[2, 5, 6, 7, 3, 8, 9, 3], [2, 12, 13, 15, 3, 0, 0, 0]], "int32"),
        "segment_ids": np.array([[0, 0, 0, 0, 0, 1, 1, 1], [0] * 8], "int32"),
        "padding_mask": np.array([[1] * 8, [1, 1, 1, 1, 1, 0, 0, 0]], "int32"),
    }


@pytest.fixture(scope="session")
def in_fresh_process(models: Path, features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `fresh_process.py` got from the SavedModels, by the names it gave."""
    np.savez(models / "features.npz", **features)
    script = Path(__file__).parent / "fresh_process.py"
    outcome = subprocess.run(
        [sys.executable, str(script), str(models)], cwd=models, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    with np.load(models / "results.npz") as results:
        return dict(results)
