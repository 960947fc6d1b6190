"""The encoder that comes with the project: it loads, fills blanks, and can be gone on with."""

from pathlib import Path

import average_weights
import numpy as np
import pytest

from spanbert_tf import load_backbone, load_tokenizer
from spanbert_tf.checkpoints.saved_models import restore_encoder
from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from tests.conftest import ROOT

FOLDER = ROOT / "saved_models" / "spanbert_mini_en_uncased" / "1"
MOST_BYTES = 95 * 1000**2  # of the weights


@pytest.fixture(scope="module")
def pretrainer() -> SpanBertPretrainer:
    return restore_encoder(FOLDER)


def test_it_is_the_default():
    assert default_encoder() == FOLDER


def test_there_is_one_copy_of_the_weights():
    files = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*")}
    weights = [name for name in files if ".data-" in name]
    assert len(weights) == 1
    assert files[weights[0]].stat().st_size <= MOST_BYTES
    assert (FOLDER.parent / "README.md").is_file()


@pytest.mark.slow
def test_blanks_are_filled(pretrainer: SpanBertPretrainer):
    prize, _ = pretrainer.fill_spans("He won the Nobel [MASK] in [MASK].")
    assert prize[0].text == "prize"
    theory = pretrainer.fill_spans("Albert Einstein developed the theory of [MASK].")[0]
    assert "relativity" in [filling.text for filling in theory]


@pytest.mark.slow
def test_spans_are_predicted_from_their_boundaries(pretrainer: SpanBertPretrainer):
    """Far better than guessing: the likeliest piece alone gives a loss of 7."""
    tokenizer = pretrainer.preprocessor.tokenizer
    text = Path(ROOT / "spanbert_tf" / "data" / "reviews" / "train.tsv").read_text("utf-8")
    texts = [line.split("\t")[0] for line in text.splitlines()[1:129]]
    features = pretrainer.preprocessor(texts)
    assert tokenizer.vocabulary_size() == 30_522
    sums = {name: float(value) for name, value in pretrainer.compute_losses(features).items()}
    assert sums["mlm_loss_sum"] / sums["mlm_weight"] < 6.5
    assert sums["sbo_loss_sum"] / sums["sbo_weight"] < 6.9


@pytest.mark.slow
def test_it_loads_as_a_backbone():
    backbone, tokenizer = load_backbone(FOLDER)
    assert tokenizer.lowercase
    assert load_tokenizer(FOLDER).get_vocabulary() == tokenizer.get_vocabulary()
    assert (backbone.num_layers, backbone.hidden_dim) == (6, 384)
    assert all(np.isfinite(weight).all() for weight in backbone.weights)


@pytest.mark.slow
def test_averaging_with_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    words = ["average_weights.py", str(FOLDER), str(tmp_path / "preset"), "--share", "0.25"]
    monkeypatch.setattr("sys.argv", words)
    average_weights.main()
    averaged = SpanBertPretrainer.from_preset(str(tmp_path / "preset"))
    encoders = [averaged.backbone, load_backbone(bundled_minilm())[0], load_backbone(FOLDER)[0]]
    for mean, start, end in zip(*(encoder.get_weights() for encoder in encoders), strict=True):
        expected = (3 * start + end) / 4
        np.testing.assert_array_equal(mean, mean.astype("float16"))
        np.testing.assert_allclose(mean, expected, rtol=2**-10, atol=1e-7)
