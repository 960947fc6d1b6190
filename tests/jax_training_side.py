"""Runs the accelerator's training in small under JAX, for `test_jax_training.py`.

    python tests/without_tensorflow.py tests/jax_training_side.py FOLDER

reads `given.npz` and `sizes.json`, writes `results.npz`.  Python must find the package and the
recipe of spanbert_mini_en_uncased.
"""

import json
import sys
from pathlib import Path

import _jax_training as training
import jax
import jax.numpy as jnp
import numpy as np
from jax_pretraining import rates

from spanbert_tf.layers.masking.span_masking import SpanMasking

MAX_TARGETS = 4
STEPS, BATCH = 60, 8


def main(folder: Path) -> None:
    training.DTYPE = "float32"
    given = np.load(folder / "given.npz")
    sizes = json.loads((folder / "sizes.json").read_text())
    network = training.Network(sizes, MAX_TARGETS, dropout=0.0)
    known = {path: given[path] for path in network.paths if path in given}
    values = network.values(known, seed=1)
    rows = training.Rows(jnp.asarray(given["ids"]), jnp.asarray(given["lengths"]))
    mask = training.masking_call(
        SpanMasking(40, 4, [0, 1, 2, 3], max_targets=MAX_TARGETS), jnp.ones(40, "int32")
    )
    numbers = np.arange(STEPS * BATCH).reshape(STEPS, BATCH) % len(given["lengths"])
    seeds = np.stack([np.full(STEPS, 7), np.arange(STEPS)], axis=1).astype("int32")
    features = mask(rows, numbers.astype("int32"), seeds)
    first = {name: value[0] for name, value in features.items()}

    def loss(values: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        figures = network.pretraining_losses(values, first, training=True)
        return figures[0] + figures[2], figures

    (_, figures), gradients = jax.value_and_grad(loss, has_aux=True)(values)
    state = training.Training.begin(values)
    state, trained = training.pretraining_call(network)(state, features, rates(STEPS, 3e-3), 1.0)

    windows = training.Windows(rows, jnp.asarray(given["begins"]), jnp.asarray(given["targets"]))
    question = windows.features(np.arange(BATCH))
    logits, _ = network.answer_logits(values, question, [], training=False)
    best = training.prediction_call(network)(values, windows, np.arange(BATCH)[None])
    answering = training.Network(sizes, MAX_TARGETS, dropout=0.1)
    constant = np.full(STEPS, 3e-3, "float32")
    _, losses = training.answering_call(answering)(
        training.Training.begin(values), windows, numbers, constant, np.int32(0)
    )
    np.savez(
        folder / "results.npz",
        figures=np.array(figures),
        trained=np.asarray(trained),
        rates=rates(STEPS, 3e-3),
        logits=logits,
        losses=losses,
        best_score=best[0][0],
        best_first=best[1][0],
        best_last=best[2][0],
        head_kernel=values[network.paths.index("span_logits/kernel")],
        head_bias=values[network.paths.index("span_logits/bias")],
        **{f"gradient/{p}": g for p, g in zip(network.paths, gradients, strict=True)},
        **{f"feature/{name}": value for name, value in first.items()},
        **{f"question/{name}": value for name, value in question.items()},
    )


main(Path(sys.argv[1]))
