"""Training steps against a plain gradient of the whole, and figures by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertBackbone, SpanBertPretrainer, SpanMasking
from spanbert_tf.training.pretraining.steps import Steps, figures
from spanbert_tf.training.pretraining.workers import Workers

V = 40


def _features(rows: int, seed: int) -> dict[str, tf.Tensor]:
    """Masked rows of length 24, some short, so that numbers of targets differ."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 25, rows)
    mask = (np.arange(24) < lengths[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(5, V, (rows, 24)), 0).astype(np.int32)
    ids[:, 0] = 2
    ids[np.arange(rows), lengths - 1] = 3
    features = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": mask}
    return SpanMasking(V, 4, [0, 1, 2, 3], max_targets=5)(features, seed=[seed, 0])


def _make(seed: int = 3) -> SpanBertPretrainer:
    keras.utils.set_random_seed(seed)
    backbone = SpanBertBackbone(V, 2, 2, 16, 32, dropout=0.0, max_sequence_length=24)
    pretrainer = SpanBertPretrainer(backbone, max_targets=5)
    pretrainer.compile(keras.optimizers.SGD(0.5))
    pretrainer.optimizer.build(pretrainer.trainable_variables)
    return pretrainer


def _joined(parts: list[dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
    return {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}


def _spec(features: dict[str, tf.Tensor]) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec([None, *value.shape[1:]], value.dtype)
        for name, value in features.items()
    }


def _updated(parts: list[dict[str, tf.Tensor]], calls: int = 2) -> tuple[list, dict]:
    pretrainer = _make()
    steps = Steps(pretrainer, Workers(), _spec(parts[0]))
    for _ in range(calls):
        sums = steps.train(parts)
    return [np.asarray(weight) for weight in pretrainer.weights], sums


def test_a_step_is_the_gradient_of_the_mean_losses():
    features, pretrainer = _features(6, 0), _make()
    before = [np.asarray(weight) for weight in pretrainer.trainable_variables]
    with tf.GradientTape() as tape:
        sums = pretrainer.compute_losses(features, training=True)
        loss = sums["mlm_loss_sum"] / sums["mlm_weight"] + sums["sbo_loss_sum"] / sums["sbo_weight"]
    gradients = tape.gradient(loss, [w.value for w in pretrainer.trainable_variables])
    taken = Steps(pretrainer, Workers(), _spec(features)).train([features])
    for old, gradient, new in zip(before, gradients, pretrainer.trainable_variables, strict=True):
        expected = old - 0.5 * tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(np.asarray(new), expected, atol=1e-6, err_msg=new.path)
    assert figures(taken, pretrainer.objectives)["loss"] == pytest.approx(float(loss), rel=1e-6)


def test_batches_of_a_step_are_as_one():
    # 1 row of few targets beside 5 of many: a mean of means would be far off.
    parts = [_features(1, 1), _features(5, 2), _features(2, 3)]
    (ours, our_sums), (expected, sums) = _updated(parts), _updated([_joined(parts)])
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
    assert our_sums == pytest.approx(sums, rel=1e-5)
    assert sums["tokens"] == sum(int(tf.reduce_sum(part["padding_mask"])) for part in parts)
    assert sums["padded_tokens"] == 8 * 24


def test_a_batch_without_targets_of_span_boundaries():
    features = _features(4, 4)
    features["span_weights"] = tf.zeros_like(features["span_weights"])
    _, sums = _updated([features])
    assert sums["sbo_weight"] == 0
    assert np.isfinite(figures(sums, ("mlm", "sbo"))["loss"])


def test_validation_adds_up_and_changes_nothing():
    parts, pretrainer = [_features(2, 5), _features(4, 6)], _make()
    before = [np.asarray(weight) for weight in pretrainer.weights]
    found = Steps(pretrainer, Workers(), _spec(parts[0])).validate(parts)
    expected = pretrainer.compute_losses(_joined(parts), training=False)
    assert {name: found[name] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-5
    )
    for old, new in zip(before, pretrainer.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(new), old)


def test_figures_by_hand():
    sums = {
        **{"mlm_loss_sum": 6.0, "mlm_weight": 3.0, "mlm_correct": 1.5},
        **{"sbo_loss_sum": 5.0, "sbo_weight": 2.0, "sbo_correct": 0.0},
        **{"tokens": 30.0, "padded_tokens": 40.0},
    }
    assert figures(sums, ("mlm", "sbo")) == {
        **{"loss": 4.5, "mlm_loss": 2.0, "mlm_accuracy": 0.5, "sbo_loss": 2.5},
        **{"sbo_accuracy": 0.0, "padding": 0.25},
    }
