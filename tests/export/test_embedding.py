"""Vectors of texts behind any handle."""

from pathlib import Path

import numpy as np
import pytest

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export.litert import export_litert_encoder
from spanbert_tf.export.litert_loading import LiteRTEncoder
from spanbert_tf.export.task_loading import load_embedder
from spanbert_tf.search.text_index import TextIndex
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifier
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

TEXTS = ["A fine film.", "the plot was very, very dull and the music loud", ""]
# More than a batch of few texts, of many lengths, in no order.
MANY = [" ".join(["the plot was dull"] * (number * 7 % 11)) for number in range(25)]


@pytest.fixture(scope="module")
def preset(
    tmp_path_factory: pytest.TempPathFactory,
    backbone: SpanBertBackbone,
    tokenizer: SpanBertTokenizer,
) -> Path:
    folder = tmp_path_factory.mktemp("presets") / "encoder"
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


def test_vectors_of_an_encoder_are_means_of_its_states(
    preset: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    embedder = load_embedder(preset)
    vectors = embedder.encode_text(TEXTS + MANY)
    for text, vector in zip(TEXTS + MANY[:3], vectors, strict=False):
        pieces = tokenizer([text]).to_list()[0][:38]
        ids = np.array([[tokenizer.cls_token_id, *pieces, tokenizer.sep_token_id]], "int32")
        features = {
            "token_ids": ids,
            "segment_ids": np.zeros_like(ids),
            "padding_mask": np.ones_like(ids),
        }
        states = np.array(backbone(features)["sequence_output"])[0]
        mean = states.mean(axis=0)
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(embedder.encode_text(TEXTS[0]), vectors[0], atol=1e-6)
    assert embedder.encode_text([]).shape == (0, backbone.hidden_dim)


@pytest.mark.slow  # It exports.
def test_an_index_of_one_format_is_searched_with_another(
    preset: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer, tmp_path: Path
):
    export_litert_encoder(backbone, tokenizer, tmp_path / "litert")
    litert = load_embedder(tmp_path / "litert")
    assert isinstance(litert, LiteRTEncoder)
    index = TextIndex(tmp_path / "litert")
    index.add(MANY)
    index.save(tmp_path / "index")
    by_its_own = TextIndex.load(tmp_path / "index")
    assert by_its_own.search("dull music", 3) == index.search("dull music", 3)
    by_keras = TextIndex.load(tmp_path / "index", preset)
    for ours, theirs in zip(by_keras.search(MANY, 1), index.search(MANY, 1), strict=True):
        assert ours[0].score == pytest.approx(theirs[0].score, abs=1e-5)

    (tmp_path / "litert").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="litert") as caught:
        TextIndex.load(tmp_path / "index")
    assert "`embedder` may name its place" in caught.value.__notes__[0]
    assert len(TextIndex.load(tmp_path / "index", tmp_path / "moved")) == len(MANY)


def test_a_task_without_vectors_is_refused(classifier: SpanBertTextClassifier, tmp_path: Path):
    classifier.save_to_preset(str(tmp_path / "classifier"))
    with pytest.raises(ValueError, match="for text-classification, whose answers are no vectors"):
        load_embedder(tmp_path / "classifier")
    with pytest.raises(ValueError, match="names a size"):
        load_embedder("spanbert_mini")
