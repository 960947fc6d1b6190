"""Self-critical training of a writer that has learned to copy half of its source."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer
from spanbert_tf.data.readers.text_pairs import TextPair
from spanbert_tf.features import TARGET_IDS
from spanbert_tf.layers.attention import attention_bias
from spanbert_tf.metrics.generation import generation_scores
from spanbert_tf.models import reward_learning
from spanbert_tf.models.optimizers import build_optimizer
from spanbert_tf.tasks.seq_2_seq_lm import (
    SpanBertSeq2SeqLM,
    SpanBertSeq2SeqLMPreprocessor,
    TextGeneration,
)
from spanbert_tf.training import finetune
from spanbert_tf.training.model_state import assign_state, state_of
from tests.layer_checks import as_numpy, randomize

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = list("abcdefghijkl")
TEXTS = [" ".join(row) for row in np.random.default_rng(0).choice(LETTERS, (128, 2))]
# Most lack the second letter: so does what is written with the best pieces, but not all that is
# drawn.
HALVES = [text if n % 5 < 2 else text[0] for n, text in enumerate(TEXTS)]
TRAINING: dict[str, Any] = {"batch_size": 64, "seed": 1, "verbose": 0}


@cache
def make_tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer([*SPECIAL, *LETTERS])


def make_writer(**options: Any) -> SpanBertSeq2SeqLM:
    keras.utils.set_random_seed(0)
    # With a row that has no piece, as published encoders have.
    backbone = SpanBertBackbone(18, 1, 2, 16, 24, max_sequence_length=8, dropout=0.0)
    preprocessor = SpanBertSeq2SeqLMPreprocessor(make_tokenizer(), sequence_length=8)
    options = {
        "num_layers": 1,
        "target_length": 6,
        "dropout": 0.0,
        "label_smoothing": 0.0,
        **options,
    }
    return SpanBertSeq2SeqLM(backbone, preprocessor, **options)


def rouge_of(writer: SpanBertSeq2SeqLM) -> float:
    texts = [answer.generated_text for answer in writer.generate(TEXTS)]
    return generation_scores(texts, TEXTS)["rouge_l"]


def snapshot(writer: SpanBertSeq2SeqLM) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in state_of(writer).items()}


@pytest.fixture(scope="module")
def half_trained() -> SpanBertSeq2SeqLM:
    writer = make_writer()
    writer.compile(keras.optimizers.Adam(1e-2))
    writer.fit(TEXTS, HALVES, epochs=40, **TRAINING)
    return writer


@pytest.fixture(scope="module")
def rewarded() -> SpanBertSeq2SeqLM:
    writer = make_writer(reward="rouge_l", reward_seed=5)
    writer.compile(keras.optimizers.Adam(3e-3))
    build_optimizer(writer)
    return writer


@pytest.mark.slow
def test_greedy_texts_become_better_and_a_stopped_run_goes_on(
    half_trained: SpanBertSeq2SeqLM, rewarded: SpanBertSeq2SeqLM
):
    rewarded.set_weights(half_trained.get_weights())
    start = snapshot(rewarded)
    before = rouge_of(rewarded)
    logs = rewarded.fit(TEXTS, TEXTS, epochs=6, **TRAINING).history
    assert set(logs) == {"loss", "reward", "greedy_reward", "entropy"}
    assert rouge_of(rewarded) > before + 10
    assert logs["greedy_reward"][-1] > logs["greedy_reward"][0] + 10
    assert all(0 < entropy < np.log(13) for entropy in logs["entropy"])
    # Nothing is drawn where nothing is learned.
    assert set(rewarded.evaluate(TEXTS, TEXTS, return_dict=True, verbose=0)) == {"loss"}

    whole = rewarded.get_weights()
    assign_state(rewarded, start)
    rewarded.fit(TEXTS, TEXTS, epochs=3, **TRAINING)
    stopped = snapshot(rewarded)
    rewarded.fit(TEXTS[:64], TEXTS[:64], epochs=1, **TRAINING)
    assign_state(rewarded, stopped)
    rewarded.fit(TEXTS, TEXTS, epochs=6, initial_epoch=3, **TRAINING)
    for ours, theirs in zip(rewarded.get_weights(), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assign_state(rewarded, start)


def test_gradient_is_that_of_the_log_likelihood_times_the_difference(
    monkeypatch: pytest.MonkeyPatch,
):
    """By hand: texts from `generate`, scored here; probabilities without what cannot come."""

    def score(text: str, reference: str) -> float:
        return sum(map(ord, text)) * len(reference) % 101

    monkeypatch.setattr(reward_learning, "text_scorer", lambda figure: score)
    rewarded = make_writer(reward="rouge_l", reward_seed=5)
    randomize(rewarded, seed=3, scale=0.2)
    sources, targets = ["a b c", "k", "d e d f", ""], ["c b a", "a b c d e", "f", "a"]
    weights = np.array([1.0, 0.5, 2.0, 1.0])
    features = rewarded.preprocessor(sources)
    y = rewarded.encode([sources], targets).targets[TARGET_IDS].to_tensor(-1)
    with tf.GradientTape() as tape:
        outputs = rewarded(features, training=True)
        loss = rewarded.compute_loss(features, y, outputs, weights, training=True)
    variables = [variable.value for variable in rewarded.trainable_variables]
    gradients = tape.gradient(loss, variables)

    drawn = rewarded.generate(sources, temperature=1.0, seed=5)
    greedy = rewarded.generate(sources, num_beams=1)
    texts = [answer.generated_text for answer in drawn]
    better = [
        (score(text, target) - score(best.generated_text, target)) / 100
        for text, best, target in zip(texts, greedy, targets, strict=True)
    ]
    assert np.ptp(better) > 0
    assert better[3] == 0
    tokenizer = rewarded.preprocessor.tokenizer
    allowed = np.array([False] * 3 + [True] + [False] + [True] * 12 + [False])
    by_bias, expected = np.zeros(18), 0.0
    count = np.dot(weights, [4, 6, 2, 2])  # Pieces of the targets, their ends among them.
    with tf.GradientTape() as tape:
        for row in range(3):
            pieces = [int(piece) for piece in tokenizer(texts[row]).numpy()]
            pieces = [*pieces, tokenizer.sep_token_id][:6]
            before = np.array([[tokenizer.cls_token_id, *pieces[:-1]]])
            one = {name: of[row : row + 1] for name, of in features.items()}
            states = rewarded(one)["source_states"]
            found = rewarded.text_decoder(before, states, attention_bias(one["padding_mask"]))
            logits = tf.where(allowed, rewarded.text_decoder.logits(found[0]), -1e30)
            of_pieces = tf.gather(tf.nn.log_softmax(logits), pieces, batch_dims=1)
            weight = weights[row] * better[row] / count
            expected -= weight * tf.reduce_sum(of_pieces)
            shares = softmax(logits.numpy(), axis=-1)
            by_bias += weight * (shares.sum(axis=0) - np.bincount(pieces, minlength=18))
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    for ours, theirs in zip(gradients, tape.gradient(expected, variables), strict=True):
        np.testing.assert_allclose(as_numpy(ours), as_numpy(theirs), atol=1e-5)
    place = [v is rewarded.text_decoder.logits_bias for v in rewarded.trainable_variables]
    np.testing.assert_allclose(gradients[place.index(True)], by_bias, atol=1e-6)


def test_a_part_of_the_loss_may_be_that_of_the_targets():
    losses = []
    for options in ({}, {"reward": "chrf"}, {"reward": "chrf", "cross_entropy": 0.25}):
        writer = make_writer(**options)
        randomize(writer, seed=3, scale=0.5)
        features = writer.preprocessor(TEXTS[:8])
        y = writer.encode([TEXTS[:8]], TEXTS[:8]).targets[TARGET_IDS].to_tensor(-1)
        outputs = writer(features, training=True)
        losses.append(float(writer.compute_loss(features, y, outputs, None, training=True)))
    assert losses[1] != 0
    assert losses[2] == pytest.approx(0.75 * losses[1] + 0.25 * losses[0], rel=1e-5)
    assert writer.get_config()["cross_entropy"] == 0.25


def test_a_reward_that_is_no_number(rewarded: SpanBertSeq2SeqLM, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reward_learning, "text_scorer", lambda figure: lambda *texts: np.nan)
    features = rewarded.preprocessor(["a b"])
    y = tf.constant([[5, 6, 3]])
    message = "the reward of the text '.*' is nan, where 'a b' is right; expected a number"
    with pytest.raises(FloatingPointError, match=message):
        rewarded.compute_loss(features, y, rewarded(features), None, training=True)
    written = tf.constant([[5, 6, 3, -1, -1, -1]])
    with pytest.raises(tf.errors.UnknownError, match=f"FloatingPointError: {message}"):
        tf.function(rewarded._rewards)(written, written, y)


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r"`reward` must be one of \('bleu', 'chrf', 'rouge_l'\)"):
        make_writer(reward="ter")
    with pytest.raises(ValueError, match="`cross_entropy` must be from 0 to below 1, but is 1"):
        make_writer(reward="bleu", cross_entropy=1.0)
    writer = make_writer(reward="bleu", compile=False)
    features = writer.preprocessor(["a"])
    with pytest.raises(ValueError, match="compile the model"):
        writer.compute_loss(features, tf.constant([[5]]), writer(features), training=True)


@pytest.mark.slow
def test_fine_tuning_goes_on_from_a_trained_model(half_trained: SpanBertSeq2SeqLM, tmp_path: Path):
    half_trained.save_to_preset(str(tmp_path / "start"))
    settings = TextGeneration(
        epochs=1,
        batch_size=32,
        learning_rate=1e-3,
        sequence_length=8,
        decoder_layers=1,
        target_length=6,
        dropout=0.1,
        num_beams=1,
        reward="rouge_l",
        validation_fraction=0.25,
    )
    records = [TextPair(text, text, n, "train.tsv") for n, text in enumerate(TEXTS, 1)]

    def run(name: str, settings: TextGeneration = settings, **options: Any) -> Any:
        options = {"encoder": tmp_path / "start", "verbose": 0, **options}
        return finetune(
            settings, records, output=tmp_path / name, task="text2text-generation", **options
        )

    tuned = run("tuned")
    assert tuned.history[0]["greedy_reward"] > rouge_of(half_trained) - 10
    assert {"reward", "entropy", "val_rouge_l"} <= set(tuned.history[0])
    assert tuned.model.reward == "rouge_l"

    with pytest.raises(ValueError, match="`target_length` must be that of the trained model, 6, b"):
        run("refused", replace(settings, target_length=7))
    half_trained.backbone.save_to_preset(str(tmp_path / "encoder"))
    half_trained.preprocessor.tokenizer.save_to_preset(str(tmp_path / "encoder"))
    with pytest.raises(ValueError, match="an encoder, which has no task to answer for"):
        run("refused", encoder=tmp_path / "encoder")
