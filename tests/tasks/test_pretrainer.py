"""Pretraining: losses against NumPy, training on two backends, presets, and filled spans."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer
from spanbert_tf.layers.kernels.cross_entropy import cross_entropy
from spanbert_tf.models.optimizers import build_optimizer
from spanbert_tf.models.span_filling import best_combinations, mask_runs
from spanbert_tf.tasks.pretrainer import (
    Filling,
    SpanBertPretrainer,
    SpanBertPretrainerPreprocessor,
)
from tests.conftest import ROOT
from tests.layer_checks import as_numpy, randomize

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "the", "snow", "##man", "melt", "##s", ".", "a", "fine", "film", "is", "it"]
SIZES = {
    "vocabulary_size": len(PIECES),
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 12,
    "intermediate_dim": 7,
    "max_sequence_length": 19,
}
MAX_TARGETS = 3
Arrays = dict[str, np.ndarray]


def masked_batch() -> Arrays:
    """Two rows of 10: spans 2..4 and 6, and span 1..2 at a row's edge, without SBO targets."""
    return {
        "token_ids": np.array(
            [[2, 5, 4, 4, 4, 10, 13, 11, 12, 3], [4, 4, 7, 8, 3, 0, 0, 0, 0, 0]], "int32"
        ),
        "segment_ids": np.zeros((2, 10), "int32"),
        "padding_mask": np.array([[1] * 10, [1] * 5 + [0] * 5], "int32"),
        "mask_positions": np.array([[2, 3, 4, 6], [0, 1, 0, 0]], "int32"),
        "mask_ids": np.array([[6, 7, 8, 13], [5, 6, 0, 0]], "int32"),
        "mask_weights": np.array([[1, 1, 1, 1], [1, 1, 0, 0]], "float32"),
        "span_boundaries": np.array([[[1, 5], [5, 7]], [[0, 0], [0, 0]]], "int32"),
        "span_ids": np.array([[[6, 7, 8], [13, 0, 0]], [[0] * 3] * 2], "int32"),
        "span_weights": np.array([[[1, 1, 1], [1, 0, 0]], [[0] * 3] * 2], "float32"),
    }


def make_pretrainer(dtype: Any = None, **kwargs: Any) -> SpanBertPretrainer:
    backbone = SpanBertBackbone(**SIZES, dropout=0.0, dtype=dtype)
    return SpanBertPretrainer(backbone, **{"max_targets": MAX_TARGETS, **kwargs})


@pytest.fixture(scope="module")
def pretrainer() -> SpanBertPretrainer:
    model = make_pretrainer(preprocessor=make_preprocessor())
    randomize(model, scale=0.3)
    return model


@keras.saving.register_keras_serializable("tests")
class FirstPieceMasking(keras.layers.Layer):
    """Masks the first piece of each row; where, its seed says."""

    def call(self, features: Any, seed: Any) -> Any:
        ids = features["token_ids"]
        place = tf.ones_like(ids[:, :1])
        is_place = tf.range(tf.shape(ids)[1])[None] == 1
        ones = tf.ones(tf.shape(place), tf.float32)
        return {
            **{name: x for name, x in features.items() if name != "word_starts"},
            "token_ids": tf.where(is_place, 4, ids),
            "mask_positions": place,
            "mask_ids": ids[:, 1:2],
            "mask_weights": ones + 0 * tf.cast(seed[0], tf.float32),
            "span_boundaries": tf.stack([place - 1, place + 1], axis=-1),
            "span_ids": ids[:, 1:2, None],
            "span_weights": ones[:, :, None],
            "seen_starts": features["word_starts"],
        }


def make_preprocessor(**kwargs: Any) -> SpanBertPretrainerPreprocessor:
    tokenizer = SpanBertTokenizer(PIECES)
    kwargs = {"sequence_length": 12, "masking": FirstPieceMasking(), **kwargs}
    return SpanBertPretrainerPreprocessor(tokenizer, **kwargs)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype("float64")
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def expected_sums(pretrainer: SpanBertPretrainer, batch: Arrays) -> dict[str, float]:
    """From rows of `sequence_output`, one target after the other."""
    states = pretrainer.backbone(
        {name: batch[name] for name in ("token_ids", "segment_ids", "padding_mask")}
    )["sequence_output"]
    sums = dict.fromkeys(
        [f"{o}_{f}" for o in ("mlm", "sbo") for f in ("loss_sum", "weight", "correct")], 0.0
    )

    def add(objective: str, logits: Any, target: int, weight: float) -> None:
        logits = as_numpy(logits)[0, 0]
        sums[f"{objective}_loss_sum"] -= weight * log_softmax(logits)[target]
        sums[f"{objective}_weight"] += weight
        sums[f"{objective}_correct"] += weight * (logits.argmax() == target)

    for row, slot in zip(*np.nonzero(batch["mask_weights"]), strict=True):
        position = batch["mask_positions"][row, slot]
        logits = pretrainer.mlm_head(states[row : row + 1, position : position + 1])
        add("mlm", logits, batch["mask_ids"][row, slot], batch["mask_weights"][row, slot])
    for row, span, offset in zip(*np.nonzero(batch["span_weights"]), strict=True):
        left, right = batch["span_boundaries"][row, span]
        logits = pretrainer.sbo_head(
            states[row : row + 1, left : left + 1],
            states[row : row + 1, right : right + 1],
            np.array([[offset]], "int32"),
        )
        weight = batch["span_weights"][row, span, offset]
        add("sbo", logits, batch["span_ids"][row, span, offset], weight)
    return sums


def as_floats(sums: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in sums.items()}


# Cross-entropy.


def test_cross_entropy_is_that_of_tensorflow():
    generator = np.random.default_rng(0)
    logits = tf.constant(5 * generator.standard_normal((7, 11)), tf.float32)
    logits = tf.concat([logits, logits[:1] * 1e4], axis=0)  # Large ones overflow no power.
    ids = tf.constant(generator.integers(0, 11, 8), tf.int32)
    weights = tf.constant([*generator.uniform(0, 2, 7), 0.5], tf.float32)

    def run(losses_of: Any) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.reduce_sum(losses_of() * weights)
        return [loss.numpy(), tape.gradient(loss, logits).numpy()]

    ours = run(lambda: cross_entropy(logits, ids)[0])
    theirs = run(lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits))
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    hits = cross_entropy(logits, ids)[1]
    np.testing.assert_array_equal(hits, np.argmax(logits, -1) == ids)

    smoothed = 0.8 * tf.one_hot(ids, 11) + 0.2 / 11
    ours = run(lambda: cross_entropy(logits, ids, 0.2)[0])
    theirs = run(lambda: tf.nn.softmax_cross_entropy_with_logits(smoothed, logits))
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


# Losses.


def test_losses_are_those_of_a_loop(pretrainer: SpanBertPretrainer):
    batch = masked_batch()
    batch["mask_weights"][0, 1] = 0.5
    batch["span_weights"][0, 0, 2] = 0.25
    expected = expected_sums(pretrainer, batch)
    sums = as_floats(pretrainer.compute_losses(batch))
    assert sums == pytest.approx(expected, rel=1e-4)
    assert expected["mlm_weight"] == 5.5
    assert expected["sbo_weight"] == 3.25


def test_losses_add_up_over_parts_of_a_batch(pretrainer: SpanBertPretrainer):
    batch = masked_batch()
    whole = as_floats(pretrainer.compute_losses(batch))
    parts = [
        as_floats(pretrainer.compute_losses({k: v[i : i + 1] for k, v in batch.items()}))
        for i in range(2)
    ]
    assert parts[1]["sbo_loss_sum"] == parts[1]["sbo_weight"] == 0
    assert whole == pytest.approx({k: parts[0][k] + parts[1][k] for k in whole}, rel=1e-4)


def test_graph_and_xla_give_the_same(pretrainer: SpanBertPretrainer):
    batch = masked_batch()
    expected = as_floats(pretrainer.compute_losses(batch))
    dynamic = {
        k: tf.TensorSpec(
            [None] * (v.ndim - (k == "span_boundaries")) + [2] * (k == "span_boundaries"), v.dtype
        )
        for k, v in batch.items()
    }
    tensors = {k: tf.constant(v) for k, v in batch.items()}
    graph = tf.function(pretrainer.compute_losses, input_signature=[dynamic], autograph=False)
    compiled = tf.function(pretrainer.compute_losses, jit_compile=True, autograph=False)
    assert as_floats(graph(tensors)) == pytest.approx(expected, rel=1e-4)
    assert as_floats(compiled(tensors)) == pytest.approx(expected, rel=1e-4)


def packed_batch() -> Arrays:
    """The two rows of `masked_batch` in one, and another of the second alone."""
    one, two = ({name: x[row] for name, x in masked_batch().items()} for row in range(2))
    tokens = {name: np.zeros((2, 17), "int32") for name in ("token_ids", "position_ids")}
    for name in tokens:
        first, second = (
            np.arange(10) if name == "position_ids" else row[name] for row in (one, two)
        )
        tokens[name][0, :15] = [*first, *second[:5]]
        tokens[name][1, :5] = second[:5]
    shifted = {
        "mask_positions": two["mask_positions"][:2] + 10,
        "mask_ids": two["mask_ids"][:2],
        "mask_weights": two["mask_weights"][:2],
    }
    # A span of the second block whose boundaries both lie in it.
    span = {
        "span_boundaries": np.array([[1, 3]], "int32"),
        "span_ids": np.array([[8, 0, 0]], "int32"),
        "span_weights": np.array([[1, 0, 0]], "float32"),
    }
    zeros = {name: np.zeros((6, *x.shape[1:]), x.dtype) for name, x in (shifted | span).items()}
    batch = {
        **tokens,
        "segment_ids": np.zeros((2, 17), "int32"),
        "padding_mask": (tokens["token_ids"] > 0).astype("int32"),
    }
    for name in shifted:
        second = two[name][:2]
        batch[name] = np.stack([[*one[name], *shifted[name]], [*second, *zeros[name][:4]]])
    for name, x in span.items():
        moved = x + 10 if name == "span_boundaries" else x
        batch[name] = np.stack([[*one[name], *moved], [*x, *zeros[name][:2]]])
    return {name: x.astype(masked_batch().get(name, x).dtype) for name, x in batch.items()}


def unpacked_batch() -> Arrays:
    """The three blocks of `packed_batch`, each in a row of its own."""
    packed, rows = packed_batch(), masked_batch()
    rows = {name: x[[0, 1, 1]] for name, x in rows.items()}
    for name in ("span_boundaries", "span_ids", "span_weights"):
        rows[name][1:] = packed[name][1, :2]
    return rows


def test_packed_blocks_have_the_losses_of_rows_of_their_own(pretrainer: SpanBertPretrainer):
    packed, rows = packed_batch(), unpacked_batch()
    expected = as_floats(pretrainer.compute_losses(rows))
    assert expected["mlm_weight"] == 8
    assert expected["sbo_weight"] == 6
    assert as_floats(pretrainer.compute_losses(packed)) == pytest.approx(expected, rel=1e-5)
    graph = tf.function(pretrainer.compute_losses, reduce_retracing=True, autograph=False)
    assert as_floats(graph(packed)) == pytest.approx(expected, rel=1e-5)
    # Rows that are longer than the encoder's positions are fine, as blocks are not.
    longer = {
        name: np.pad(x, [(0, 0), (0, 9)] + [(0, 0)] * (x.ndim - 2)) for name, x in packed.items()
    }
    assert longer["token_ids"].shape[1] > SIZES["max_sequence_length"]
    assert as_floats(pretrainer.compute_losses(longer)) == pytest.approx(expected, rel=1e-5)


def test_packed_blocks_have_the_gradients_of_rows_of_their_own(pretrainer: SpanBertPretrainer):
    def gradients(batch: Arrays) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            sums = pretrainer.compute_losses({k: tf.constant(v) for k, v in batch.items()}, True)
            loss = sums["mlm_loss_sum"] + sums["sbo_loss_sum"]
        found = tape.gradient(loss, [v.value for v in pretrainer.trainable_variables])
        return [np.asarray(tf.convert_to_tensor(gradient)) for gradient in found]

    for one, two in zip(gradients(packed_batch()), gradients(unpacked_batch()), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def test_dropout_is_active_on_packed_blocks():
    model = SpanBertPretrainer(SpanBertBackbone(**SIZES, dropout=0.5), max_targets=MAX_TARGETS)
    calm, again, wild = (
        as_floats(model.compute_losses(packed_batch(), training=training))["mlm_loss_sum"]
        for training in (False, False, True)
    )
    assert calm == again != wild


def test_half_precision_is_close(pretrainer: SpanBertPretrainer):
    half = make_pretrainer("mixed_bfloat16")
    half.set_weights(pretrainer.get_weights())
    expected = as_floats(pretrainer.compute_losses(masked_batch()))
    sums = half.compute_losses(masked_batch())
    assert {value.dtype for value in sums.values()} == {tf.float32}
    for name in ("mlm_loss_sum", "sbo_loss_sum"):
        assert float(sums[name]) == pytest.approx(expected[name], rel=0.05)


def test_no_gradient_is_missing(pretrainer: SpanBertPretrainer):
    batch = {k: tf.constant(v) for k, v in masked_batch().items()}
    with tf.GradientTape() as tape:
        sums = pretrainer.compute_losses(batch, training=True)
        loss = sums["mlm_loss_sum"] + sums["sbo_loss_sum"]
    variables = pretrainer.trainable_variables
    assert len({v.path for v in variables}) == len(variables)
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(as_numpy(gradient)).all()


def test_without_the_span_boundary_objective():
    plain = make_pretrainer(span_boundary=False)
    with_sbo = make_pretrainer()
    for ours, theirs in ((plain.backbone, with_sbo.backbone), (plain.mlm_head, with_sbo.mlm_head)):
        ours.set_weights(theirs.get_weights())
    batch = masked_batch()
    expected = as_floats(with_sbo.compute_losses(batch))
    fewer = {name: x for name, x in batch.items() if not name.startswith("span_")}
    for features in (batch, fewer):
        sums = as_floats(plain.compute_losses(features))
        assert sums.keys() == {"mlm_loss_sum", "mlm_weight", "mlm_correct"}
        assert sums == pytest.approx({name: expected[name] for name in sums}, rel=1e-5)
    assert plain(fewer)["mlm_logits"].shape == (2, 4, len(PIECES))
    assert plain.count_params() < with_sbo.count_params()


def test_more_targets_than_embeddings_are_an_error():
    with pytest.raises(ValueError, match=r"3 targets a span, more than .* max_targets=2"):
        make_pretrainer(max_targets=2)(masked_batch())


# Training.


@pytest.mark.slow
def test_fit_and_evaluate(pretrainer: SpanBertPretrainer):
    model = make_pretrainer()
    model.set_weights(pretrainer.get_weights())
    batch = masked_batch()
    row = {name: x[1:] for name, x in batch.items()}  # Without SBO targets: that loss is 0.
    data = tf.data.Dataset.from_tensors(batch)
    one, two = (expected_sums(model, x) for x in (batch, row))

    result = model.evaluate(data.concatenate(tf.data.Dataset.from_tensors(row)), return_dict=True,
                            verbose=0)  # fmt: skip
    for objective in ("mlm", "sbo"):
        sums = [one[f"{objective}_{f}"] + two[f"{objective}_{f}"] for f in
                ("loss_sum", "correct", "weight")]  # fmt: skip
        assert result[f"{objective}_loss"] == pytest.approx(sums[0] / sums[2], rel=1e-4)
        assert result[f"{objective}_accuracy"] == pytest.approx(sums[1] / sums[2], rel=1e-4)
    assert result.keys() == {"loss", "mlm_loss", "mlm_accuracy", "sbo_loss", "sbo_accuracy"}

    model.compile(keras.optimizers.Adam(0.03))
    losses = model.fit(
        data.repeat(40), epochs=2, steps_per_epoch=20, verbose=0, shuffle=False
    ).history
    assert losses["loss"][1] < 0.5 * result["loss"]
    assert losses["mlm_accuracy"][1] > result["mlm_accuracy"]
    predicted = model.predict(data, verbose=0)
    assert {name: x.shape for name, x in predicted.items()} == {
        "mlm_logits": (2, 4, len(PIECES)),
        "sbo_logits": (2, 4, len(PIECES)),
    }


def test_losses_and_metrics_cannot_be_given():
    with pytest.raises(ValueError, match="`loss` cannot be given"):
        make_pretrainer().compile(loss="mse")


@pytest.mark.slow
def test_jax_trains_alike(pretrainer: SpanBertPretrainer, tmp_path: Path):
    pytest.importorskip("jax", reason="the JAX backend needs it")
    model = SpanBertPretrainer(pretrainer.backbone, max_targets=MAX_TARGETS)
    model.set_weights(pretrainer.get_weights())
    model.save_to_preset(tmp_path / "preset")
    np.savez(tmp_path / "batch.npz", **masked_batch())
    expected = model.compute_losses(masked_batch())
    source = (
        "import sys, json, keras, numpy as np\n"
        "from spanbert_tf.tasks.pretrainer import SpanBertPretrainer\n"
        "model = SpanBertPretrainer.from_preset(sys.argv[1])\n"
        "batch = dict(np.load(sys.argv[2]))\n"
        "sums = {k: float(v) for k, v in model.compute_losses(batch).items()}\n"
        "model.compile(keras.optimizers.SGD(0.1))\n"
        "history = model.fit(batch, batch_size=2, epochs=5, verbose=0, shuffle=False).history\n"
        "print(json.dumps([keras.backend.backend(), sums, history]))\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", source, tmp_path / "preset", tmp_path / "batch.npz"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    backend, sums, history = json.loads(outcome.stdout)
    assert backend == "jax"
    assert sums == pytest.approx(as_floats(expected), rel=1e-4)
    model.compile(keras.optimizers.SGD(0.1))
    ours = model.fit(masked_batch(), batch_size=2, epochs=5, verbose=0, shuffle=False).history
    for name, values in ours.items():
        assert history[name] == pytest.approx(values, rel=1e-3), name


# Presets.


@pytest.mark.parametrize("base", [SpanBertPretrainer, keras_hub.models.MaskedLM])
def test_preset_round_trip(base: Any, pretrainer: SpanBertPretrainer, tmp_path: Path):
    pretrainer.save_to_preset(tmp_path)
    again = base.from_preset(str(tmp_path))
    assert type(again) is SpanBertPretrainer
    assert again.get_config() == pretrainer.get_config()
    for one, two in zip(again.weights, pretrainer.weights, strict=True):
        assert one.path == two.path
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    assert again.fill_spans("a [MASK]") == pretrainer.fill_spans("a [MASK]")


def test_preset_of_an_encoder_gives_new_heads(tmp_path: Path):
    backbone = SpanBertBackbone(**{**SIZES, "max_sequence_length": 512})
    backbone.save_to_preset(tmp_path)
    SpanBertTokenizer(PIECES).save_to_preset(tmp_path)
    again = SpanBertPretrainer.from_preset(
        str(tmp_path), span_boundary=False, dtype="mixed_bfloat16"
    )
    assert again.sbo_head is None
    assert again.mlm_head.dtype_policy.name == "mixed_bfloat16"
    for one, two in zip(again.backbone.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_keras_file_round_trip(pretrainer: SpanBertPretrainer, tmp_path: Path):
    model = make_pretrainer()
    model.set_weights(pretrainer.get_weights())
    build_optimizer(model)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    batch = masked_batch()
    assert as_floats(again.compute_losses(batch)) == as_floats(model.compute_losses(batch))


# Texts.


def test_preprocessor_packs_texts_and_word_starts():
    features = make_preprocessor()(["the snowman melts.", "a"], seed=[1, 2])
    assert features["token_ids"].numpy().tolist()[0] == [2, 4, 6, 7, 8, 9, 10, 3]
    assert features["mask_ids"].numpy().tolist() == [[5], [11]]
    starts = [[0, 1, 1, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0]]
    assert features["seen_starts"].numpy().tolist() == starts


@pytest.mark.slow
def test_fit_on_texts(pretrainer: SpanBertPretrainer):
    history = pretrainer.fit(
        ["the snowman melts.", "it is a film"], verbose=0, shuffle=False
    ).history
    assert np.isfinite(history["loss"]).all()


def test_preprocessor_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"`sequence_length` is 20, .* for 19 tokens"):
        make_pretrainer(preprocessor=make_preprocessor(sequence_length=20))
    tokenizer = SpanBertTokenizer([*PIECES, "more"])
    with pytest.raises(ValueError, match=r"17 pieces and the backbone vocabulary_size=16"):
        make_pretrainer(preprocessor=SpanBertPretrainerPreprocessor(tokenizer, 12))


# Filled spans.


def test_mask_runs():
    assert mask_runs([2, 4, 4, 7, 4, 3], 4) == [range(1, 3), range(4, 5)]
    assert mask_runs([2, 3], 4) == []


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.integers(0, 99))
def test_best_combinations_are_those_of_all(places: int, choices: int, k: int, seed: int):
    scores = -np.sort(np.random.default_rng(seed).exponential(size=(places, choices)), axis=1)
    kept = scores[:, : min(k, choices)]
    found, sums = best_combinations(kept, k)
    every = list(itertools.product(range(choices), repeat=places))
    totals = {c: sum(scores[i, j] for i, j in enumerate(c)) for c in every}
    expected = sorted(totals.values(), reverse=True)[:k]
    np.testing.assert_allclose(sums, expected)
    np.testing.assert_allclose([totals[tuple(c)] for c in found.tolist()], expected)


def test_filled_spans_are_the_best_of_all(pretrainer: SpanBertPretrainer):
    text = "the [MASK] [MASK] is a [MASK] ."
    ids = np.array([[2, 5, 4, 4, 14, 11, 4, 10, 3]], "int32")
    features = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones_like(ids),
    }
    states = pretrainer.backbone(features)["sequence_output"]
    probabilities = np.exp(log_softmax(as_numpy(pretrainer.mlm_head(states))[0]))
    first, second, third = probabilities[[2, 3, 6]]
    pairs = {
        (i, j): first[i] * second[j]
        for i, j in itertools.product(range(len(SPECIAL), len(PIECES)), repeat=2)
    }
    best = sorted(pairs, key=pairs.__getitem__, reverse=True)[:4]
    pair_answers, single_answers = pretrainer.fill_spans(text, top_k=4)
    assert [answer.token_ids for answer in pair_answers] == best
    assert [a.score for a in pair_answers] == pytest.approx([pairs[b] for b in best], rel=1e-3)
    singles = len(SPECIAL) + np.argsort(-third[len(SPECIAL) :])[:4]
    assert [answer.token_ids for answer in single_answers] == [(i,) for i in singles]
    joined = " ".join(PIECES[i] for i in best[0]).replace(" ##", "")
    assert pair_answers[0] == Filling(joined, pair_answers[0].score, best[0])


def test_filled_spans_of_many_texts(pretrainer: SpanBertPretrainer):
    texts = ["[MASK]", "the [MASK] film is [MASK] [MASK] fine .", "it is [MASK]"] * 6
    answers = pretrainer.fill_spans(texts, top_k=3)
    assert [len(runs) for runs in answers] == [1, 2, 1] * 6
    for text, runs in zip(texts[:3], answers, strict=False):
        for run, alone in zip(runs, pretrainer.fill_spans(text, top_k=3), strict=True):
            assert [a.token_ids for a in run] == [a.token_ids for a in alone]
    assert pretrainer.fill_spans([]) == []
    assert len(pretrainer.fill_spans("[MASK]", top_k=99)[0]) == len(PIECES) - len(SPECIAL)


@pytest.mark.parametrize(
    ("text", "top_k", "message"),
    [
        ("a film", 5, r"there is no \[MASK\] to fill in 'a film'"),
        ("[MASK] " + "film " * 17, 5, r"may have 17 tokens, but 18 has '\[MASK\] film"),
        ("[MASK]", 0, "`top_k` must be at least 1; received 0"),
    ],
)
def test_texts_that_cannot_be_filled(
    text: str, top_k: int, message: str, pretrainer: SpanBertPretrainer
):
    with pytest.raises(ValueError, match=message):
        pretrainer.fill_spans(text, top_k)


def test_filling_needs_a_tokenizer():
    with pytest.raises(ValueError, match="pass preprocessor=SpanBertPretrainerPreprocessor"):
        make_pretrainer().fill_spans("[MASK]")
