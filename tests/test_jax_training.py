"""The accelerator's training under JAX: the losses, gradients and answers of TensorFlow's side.

Its side runs as on a machine where TensorFlow is not installed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertBackbone, SpanBertPretrainer
from spanbert_tf.layers.span_scoring import NEVER, best_spans
from tests.conftest import ROOT
from tests.layer_checks import randomize

Arrays = dict[str, np.ndarray]
SIZES = {
    "vocabulary_size": 40,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "max_sequence_length": 32,
}
LENGTH, ROWS = 24, 12
RECIPE = ROOT / "recipes" / "spanbert_mini_en_uncased"
SCRIPTS = ("without_tensorflow", "jax_training_side")


@pytest.fixture(scope="module")
def pretrainer() -> SpanBertPretrainer:
    pretrainer = SpanBertPretrainer(SpanBertBackbone(**SIZES, dropout=0.0), max_targets=4)
    randomize(pretrainer, seed=4, scale=0.3)
    return pretrainer


@pytest.fixture(scope="module")
def results(
    pretrainer: SpanBertPretrainer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """What `jax_training_side.py` makes of the pretrainer's weights and a few rows."""
    pytest.importorskip("jax", reason="the accelerator's training runs on it")
    folder = tmp_path_factory.mktemp("jax")
    generator = np.random.default_rng(2)
    lengths = generator.integers(12, LENGTH + 1, ROWS)
    # Few different pieces: something to learn in few steps.
    ids = generator.integers(5, 12, (ROWS, LENGTH))
    ids[:, 0] = 2
    places = np.arange(LENGTH)
    ids = np.where(places < lengths[:, None], ids, 0)
    ids[places == lengths[:, None] - 1] = 3
    begins = generator.integers(4, 8, ROWS)
    first = begins + generator.integers(0, 3, ROWS)
    np.savez(
        folder / "given.npz",
        ids=ids.astype("uint16"),
        lengths=lengths.astype("uint16"),
        begins=begins.astype("int32"),
        targets=np.stack([first, first + 1], axis=1).astype("int32"),
        **{weight.path: weight.numpy() for weight in pretrainer.trainable_weights},
    )
    (folder / "sizes.json").write_text(json.dumps(SIZES))
    outcome = subprocess.run(
        [
            sys.executable,
            *(str(Path(__file__).with_name(f"{name}.py")) for name in SCRIPTS),
            str(folder),
        ],
        env={
            **os.environ,
            **{"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(RECIPE)]),
        },
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    with np.load(folder / "results.npz") as arrays:
        return dict(arrays)


def part(results: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): v for name, v in results.items() if name.startswith(prefix)}


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_tensorflow(
    results: Arrays, pretrainer: SpanBertPretrainer
):
    weights = pretrainer.trainable_variables
    with tf.GradientTape() as tape:
        sums = pretrainer.compute_losses(part(results, "feature/"), training=True)
        means = [sums[f"{name}_loss_sum"] / sums[f"{name}_weight"] for name in ("mlm", "sbo")]
        loss = means[0] + means[1]
    expected = tape.gradient(loss, [weight.value for weight in weights])
    mlm_loss, _, sbo_loss, _ = results["figures"]
    assert [mlm_loss, sbo_loss] == pytest.approx([float(mean) for mean in means], rel=1e-5)
    for weight, gradient in zip(weights, expected, strict=True):
        np.testing.assert_allclose(
            results[f"gradient/{weight.path}"],
            tf.convert_to_tensor(gradient),
            rtol=1e-3,
            atol=1e-5,
            err_msg=weight.path,
        )


@pytest.mark.slow
def test_answers_are_those_of_tensorflow(results: Arrays, pretrainer: SpanBertPretrainer):
    features = part(results, "question/")
    states = pretrainer.backbone(features)["sequence_output"].numpy()
    logits = states @ results["head_kernel"] + results["head_bias"]
    is_token = features["padding_mask"] > 0
    found = results["logits"].transpose(0, 2, 1)
    np.testing.assert_allclose(found[is_token], logits[is_token], atol=1e-4)

    allowed = features["segment_ids"] == 1
    allowed[np.arange(len(allowed)), is_token.sum(axis=1) - 1] = False  # [SEP]
    sides = (np.where(allowed, logits[..., side], np.float32(NEVER)) for side in range(2))
    score, first, last = (np.array(of)[:, 0] for of in best_spans(*sides, 30, 1))
    np.testing.assert_allclose(results["best_score"], score, atol=1e-4)
    np.testing.assert_array_equal(results["best_first"], first)
    np.testing.assert_array_equal(results["best_last"], last)


@pytest.mark.slow
def test_training_learns(results: Arrays):
    mlm_loss, _, sbo_loss, _ = results["trained"].T
    assert mlm_loss[-10:].mean() < mlm_loss[:5].mean() - 1
    assert sbo_loss[-10:].mean() < sbo_loss[:5].mean() - 1
    losses = results["losses"]
    assert losses[-10:].mean() < losses[:5].mean() - 0.3


@pytest.mark.slow
def test_rates_warm_up_heads_first(results: Arrays):
    heads, others = results["rates"].T
    alone = 3  # of 60 steps
    np.testing.assert_allclose(heads[:alone], 1e-3)
    assert not others[:alone].any()
    np.testing.assert_allclose(heads[alone:], others[alone:])
    assert others.argmax() == alone + 2
    assert others.max() == pytest.approx(3e-3)
    assert 0 < others[-1] < 1e-4
