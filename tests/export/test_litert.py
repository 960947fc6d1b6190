"""Models in LiteRT answer as the Keras models they were made of."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import spanbert_tf
from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export.litert import (
    NETWORK_FILE,
    export_litert,
    export_litert_classifier,
    export_litert_encoder,
)
from spanbert_tf.export.litert_loading import load_litert
from spanbert_tf.handles import LITERT_FILE, bundled_minilm
from spanbert_tf.models.answering import FEW_TEXTS
from spanbert_tf.settings import LITERT_WEIGHTS
from spanbert_tf.tasks.text_classifier import (
    Prediction,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
)
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

TEXTS = ["A fine film.", "the plot was very, very dull and the music loud", ""]
# More than are answered at once, of many lengths, in no order.
MANY = [" ".join(["the plot was dull"] * (number * 7 % 11)) for number in range(25)]

pytestmark = pytest.mark.slow  # Nearly all of them wait for the exports.


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: SpanBertTokenizer,
    backbone: SpanBertBackbone,
    classifier: SpanBertTextClassifier,
) -> Path:
    """A folder with `classifier` and the encoders `mean` and `cls`."""
    folder = tmp_path_factory.mktemp("litert")
    export_litert_classifier(classifier, folder / "classifier")
    for pooling in ("mean", "cls"):
        export_litert_encoder(backbone, tokenizer, folder / pooling, pooling)
    return folder


def with_policy(classifier: SpanBertTextClassifier, dtype: str) -> SpanBertTextClassifier:
    config = classifier.get_config()
    backbone = classifier.backbone.get_config()
    config["backbone"] = SpanBertBackbone.from_config({**backbone, "dtype": dtype})
    config["preprocessor"] = classifier.preprocessor
    copy = SpanBertTextClassifier(**config)
    copy.set_weights(classifier.get_weights())
    return copy


def assert_same(answers: list[Prediction], expected: list[Prediction], places: float = 1e-5):
    assert [answer.label for answer in answers] == [answer.label for answer in expected]
    for answer, wanted in zip(answers, expected, strict=True):
        assert answer.score == pytest.approx(wanted.score, abs=places)
        assert answer.probabilities == pytest.approx(wanted.probabilities, abs=places)


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], MANY], ids=["few", "one", "many"])
def test_classifier_answers_as_the_one_it_was_made_of(
    folder: Path, classifier: SpanBertTextClassifier, texts: list[str]
):
    lite = load_litert(folder / "classifier")
    expected = classifier.classify(texts)
    # Not all alike: an answer given to another text would be seen.
    assert len({round(answer.score, 3) for answer in expected}) > len(set(texts)) // 2
    assert_same(lite.classify(texts), expected)
    assert_same(lite.classify((texts, texts[::-1])), classifier.classify((texts, texts[::-1])))


def test_many_texts_are_more_than_are_answered_at_once():
    assert len(TEXTS) <= FEW_TEXTS < len(MANY)


def test_probabilities_of_softmax_are_taken_as_they_are(
    tmp_path: Path, backbone: SpanBertBackbone, classifier: SpanBertTextClassifier
):
    numbered = SpanBertTextClassifier(
        backbone, 2, classifier.preprocessor, activation="softmax", pooling="mean"
    )
    export_litert_classifier(numbered, tmp_path / "numbered")
    lite = load_litert(tmp_path / "numbered")
    assert lite.decoder.class_names == ("0", "1")
    assert_same(lite.classify(TEXTS), numbered.classify(TEXTS))


def test_classifier_of_mixed_precision_is_exported_in_float32(
    tmp_path: Path, classifier: SpanBertTextClassifier
):
    mixed = with_policy(classifier, "mixed_bfloat16")
    export_litert_classifier(mixed, tmp_path / "mixed")
    assert mixed.backbone.compute_dtype == "bfloat16"
    assert_same(load_litert(tmp_path / "mixed").classify(TEXTS), classifier.classify(TEXTS))


def test_what_is_quantized_in_another_dtype_is_refused(
    tmp_path: Path, classifier: SpanBertTextClassifier
):
    mixed = with_policy(classifier, "mixed_bfloat16")
    mixed.quantize("int8")
    message = "quantized to int8 and computes in bfloat16, but LiteRT in float32: quantize a model"
    with pytest.raises(ValueError, match=message):
        export_litert(mixed, tmp_path / "mixed")
    with pytest.raises(ValueError, match=message):
        export_litert_encoder(mixed.backbone, mixed.preprocessor.tokenizer, tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("texts", [TEXTS, MANY], ids=["few", "many"])
def test_vectors_are_pooled_final_states(
    folder: Path,
    tokenizer: SpanBertTokenizer,
    backbone: SpanBertBackbone,
    pooling: str,
    texts: list[str],
):
    vectors = load_litert(folder / pooling).encode_text(texts)
    assert vectors.dtype == np.float32
    for text, vector in zip(texts, vectors, strict=True):
        pieces = tokenizer([text]).to_list()[0][:38]
        ids = np.array([[tokenizer.cls_token_id, *pieces, tokenizer.sep_token_id]], "int32")
        features = {
            "token_ids": ids,
            "segment_ids": np.zeros_like(ids),
            "padding_mask": np.ones_like(ids),
        }
        states = np.array(backbone(features)["sequence_output"])[0]
        expected = states[0] if pooling == "cls" else states.mean(axis=0)
        assert vector == pytest.approx(expected, abs=1e-5)


def test_no_texts_give_no_answers(folder: Path, backbone: SpanBertBackbone):
    assert load_litert(folder / "classifier").classify([]) == []
    assert load_litert(folder / "mean").encode_text([]).shape == (0, backbone.hidden_dim)


def test_threads_may_share_a_model(folder: Path):
    lite = load_litert(folder / "mean", num_threads=1)
    expected = [lite.encode_text([text])[0] for text in MANY]
    with ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(lambda text: lite.encode_text([text])[0], MANY * 20))
    assert np.array(vectors) == pytest.approx(np.array(expected * 20))


def test_network_has_named_inputs_of_any_shape(folder: Path, features: dict[str, np.ndarray]):
    network = Interpreter(str(folder / "classifier" / NETWORK_FILE))
    assert network.get_signature_list() == {
        "serving_default": {
            "inputs": ["padding_mask", "segment_ids", "token_ids"],
            "outputs": ["probabilities"],
        }
    }
    run = network.get_signature_runner("serving_default")
    both = run(**features)["probabilities"]
    alone = [
        run(**{name: rows[row : row + 1] for name, rows in features.items()})["probabilities"][0]
        for row in range(2)
    ]
    assert both == pytest.approx(np.array(alone), abs=1e-6)


def test_weights_of_fewer_bits_are_smaller_and_near(tmp_path: Path):
    backbone, tokenizer = spanbert_tf.load_backbone(bundled_minilm())
    texts = ["A fine film.", "It rained all day in the north of France.", "Quarterly results rose."]
    sizes, vectors = {}, {}
    for weights in LITERT_WEIGHTS:
        export_litert_encoder(backbone, tokenizer, tmp_path / weights, weights=weights)
        sizes[weights] = (tmp_path / weights / NETWORK_FILE).stat().st_size
        vectors[weights] = load_litert(tmp_path / weights).encode_text(texts)
    exact = vectors["float32"]
    for weights, part, nearness, rounding in (
        ("float16", 1 / 2, 1 - 1e-6, 1e-6),
        ("int8", 1 / 4, 0.98, 1e-4),
    ):
        assert sizes[weights] / sizes["float32"] == pytest.approx(part, rel=0.1)
        rounded = vectors[weights]
        norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
        assert ((exact * rounded).sum(axis=1) / norms).min() > nearness
        assert np.abs(exact - rounded).max() > rounding  # It is rounded.


def test_unknown_weights_are_refused(tmp_path: Path, classifier: SpanBertTextClassifier):
    with pytest.raises(ValueError, match=r"`weights` must be one of .*but is 'int4'"):
        export_litert_classifier(classifier, tmp_path / "model", weights="int4")
    large = SpanBertTextClassifier.from_config(classifier.get_config())
    large.get_layer("logits").bias.assign([0.0, 1.0, -7e4])
    with pytest.raises(ValueError, match=r"bias has a value beyond 65504, the most in float16"):
        export_litert_classifier(large, tmp_path / "model", weights="float16")
    assert not list(tmp_path.iterdir())


def test_unknown_pooling_is_refused(
    tmp_path: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    with pytest.raises(ValueError, match=r"`pooling` must be one of .*but is 'max'"):
        export_litert_encoder(backbone, tokenizer, tmp_path / "model", pooling="max")


def test_bucketed_attention_is_that_of_keras(
    tmp_path: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    options = {"attention": "bucketed", "block_size": 4}
    bucketed = SpanBertBackbone.from_config({**backbone.get_config(), **options})
    bucketed.set_weights(backbone.get_weights())
    export_litert_encoder(bucketed, tokenizer, tmp_path / "model")
    text = " ".join(TEXTS)
    preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, backbone.max_sequence_length)
    expected = bucketed.pooled_states(preprocessor([text]), "mean")
    found = load_litert(tmp_path / "model").encode_text([text])
    np.testing.assert_allclose(found, np.array(expected), atol=1e-5)


def test_classifier_of_features_is_refused(tmp_path: Path, backbone: SpanBertBackbone):
    with pytest.raises(ValueError, match="no preprocessor"):
        export_litert_classifier(SpanBertTextClassifier(backbone, 2), tmp_path / "model")


def test_existing_folder_is_kept(folder: Path, classifier: SpanBertTextClassifier):
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export_litert_classifier(classifier, folder / "classifier")


def test_folder_without_model_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=rf"no model for LiteRT.*{LITERT_FILE}"):
        load_litert(tmp_path)


def test_missing_runtime_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ModuleNotFoundError, match=r"spanbert-tf\[litert\]"):
        load_litert(folder / "mean")


def test_what_is_no_list_of_strings_is_named(folder: Path):
    lite = load_litert(folder / "classifier")
    assert lite.classify("a fine film") == lite(["a fine film"])[0]
    assert load_litert(folder / "mean").encode_text("a").ndim == 1
    with pytest.raises(TypeError, match=r"`texts`\[1\] must be a string, but is 3"):
        lite.classify(["a", 3])
    with pytest.raises(ValueError, match="as many texts in each column, but there are 2 and 1"):
        lite.classify((["a", "b"], ["c"]))
