"""A step of masked language model pretraining against KerasHub and transformers, in one run.

    python benchmarks/pretraining_step.py [--rounds 5]

4 layers x 256, 4 heads, 28,996 word pieces, 32 rows x 128 tokens, float32, dropout 0.1, 20 masked
pieces a row (15 %), AdamW with the same settings and clipping on all sides, all cores.  Each side
gets ready-made tensors and runs at its best: the Keras models by `fit`, KerasHub's without XLA,
which is its default and slower here; transformers with SDPA attention and PyTorch's fused AdamW.
transformers computes logits of all tokens, as its model does.  Rows of their own show KerasHub's
default, transformers with logits of masked tokens alone, and masking the same rows in spans, which
each step's batch takes beside it.
"""

import argparse
import os
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_hub
import numpy as np
import tensorflow as tf
import torch
import transformers
from _pretraining_batch import (
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    LAYERS,
    LENGTH,
    TARGETS,
    VOCABULARY,
    Arrays,
    make_features,
)
from _support import (
    GEMM_GFLOP,
    Goal,
    gemm_side,
    machine,
    median_ratio,
    report_goals,
    time_in_turn,
)

from spanbert_tf import SpanBertBackbone
from spanbert_tf.layers.masking.span_masking import SpanMasking
from spanbert_tf.models.optimizers import default_optimizer
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer

ROWS = 32
PLACE_DIM = 200  # width of the span boundary head's embedding of places
LEARNING_RATE, WEIGHT_DECAY, EPSILON, CLIP_NORM = 1e-4, 0.01, 1e-8, 1.0
STEPS = 3  # a timing
OURS, WITH_SBO = "spanbert_tf", "spanbert_tf with SBO"
HUB, TORCH = "KerasHub BertMaskedLM", "transformers BertForMaskedLM"
HUB_XLA = "the same by XLA, its default"
TORCH_MASKED = "the same, masked logits only"
MASKING = "masking the batch in spans"
GEMM = "matrix products"
MOST_MASKING = 0.03  # of a step
GOALS = ((OURS, HUB, 1.7), (OURS, TORCH, 6.0), (WITH_SBO, HUB, 1.3))


def fitting(model: keras.Model, batch: object) -> Callable[[], object]:
    """Steps of a compiled model on one batch, by `fit`."""
    options = tf.data.Options()
    options.autotune.enabled = False  # `fit` would wait for its thread, which may sleep for seconds
    steps = tf.data.Dataset.from_tensors(batch).repeat(STEPS).with_options(options)
    return lambda: model.fit(steps, shuffle=False, verbose=0)


def ours(features: Arrays, *, span_boundary: bool) -> Callable[[], object]:
    backbone = SpanBertBackbone(VOCABULARY, LAYERS, HEADS, HIDDEN, INTERMEDIATE, dropout=0.1)
    pretrainer = SpanBertPretrainer(backbone, span_boundary=span_boundary)
    pretrainer.compile(default_optimizer(LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM))
    return fitting(pretrainer, features)


def masking_side(features: Arrays) -> Callable[[], object]:
    masking = tf.function(SpanMasking(VOCABULARY, mask_token_id=103, special_token_ids=[]))
    inputs = {name: tf.constant(features[name]) for name in ("token_ids", "padding_mask")}

    def mask() -> None:
        for step in range(STEPS):
            masking(inputs, seed=tf.constant([0, step]))

    return mask


def keras_hub_side(features: Arrays, *, jit_compile: bool) -> Callable[[], object]:
    backbone = keras_hub.models.BertBackbone(
        VOCABULARY, LAYERS, HEADS, HIDDEN, INTERMEDIATE, dropout=0.1
    )
    model = keras_hub.models.BertMaskedLM(backbone)
    model.compile(
        keras.optimizers.AdamW(
            LEARNING_RATE, weight_decay=WEIGHT_DECAY, epsilon=EPSILON, global_clipnorm=CLIP_NORM
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    inputs = {name: features[name] for name in model.input}
    return fitting(model, (inputs, features["mask_ids"], features["mask_weights"]))


def torch_side(features: Arrays, *, masked_only: bool) -> Callable[[], object]:
    model = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=INTERMEDIATE,
            attn_implementation="sdpa",
        )
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, eps=EPSILON, weight_decay=WEIGHT_DECAY, fused=True
    )
    input_ids, attention_mask, positions, mask_ids = (
        torch.from_numpy(np.int64(features[name]))
        for name in ("token_ids", "padding_mask", "mask_positions", "mask_ids")
    )
    labels = torch.full_like(input_ids, -100).scatter(1, positions, mask_ids)
    rows = torch.arange(ROWS)[:, None]

    def loss() -> torch.Tensor:
        if not masked_only:
            return model(input_ids=input_ids, attention_mask=attention_mask, labels=labels).loss
        states = model.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = model.cls(states[rows, positions])
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), mask_ids.flatten())

    def train() -> None:
        for _ in range(STEPS):
            loss().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad()

    return train


def flop_of_step(*, span_boundary: bool) -> float:
    """Floating point operations of our products, forward and twice that for gradients."""
    tokens, targets = ROWS * LENGTH, ROWS * TARGETS
    attending = targets * (3 if span_boundary else 1)  # at masked pieces and beside their spans

    def layer(queries: int) -> int:
        projections = 6 * tokens * HIDDEN**2 + 2 * queries * HIDDEN**2
        return projections + 4 * queries * LENGTH * HIDDEN + 4 * queries * HIDDEN * INTERMEDIATE

    head = 2 * targets * (HIDDEN**2 + HIDDEN * VOCABULARY)
    forward = (LAYERS - 1) * layer(tokens) + layer(attending) + head
    if span_boundary:
        forward += head + 2 * targets * (2 * HIDDEN + PLACE_DIM) * HIDDEN
    return 3.0 * forward


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.utils.logging.set_verbosity_error()
    print(machine("tensorflow", "keras", "keras-hub", "torch", "transformers"), flush=True)
    features = make_features(ROWS)
    seconds = time_in_turn(
        {
            OURS: ours(features, span_boundary=False),
            WITH_SBO: ours(features, span_boundary=True),
            HUB: keras_hub_side(features, jit_compile=False),
            HUB_XLA: keras_hub_side(features, jit_compile=True),
            TORCH: torch_side(features, masked_only=False),
            TORCH_MASKED: torch_side(features, masked_only=True),
            MASKING: masking_side(features),
            GEMM: gemm_side(),
        },
        arguments.rounds,
    )
    ceiling = GEMM_GFLOP / float(np.median(seconds.pop(GEMM)))
    print(f"{'MLM step, 4 x 256, 32 x 128':<32}{'ms':>8}{'tokens/s':>10}{'of GEMM ceiling':>17}")
    for side, values in seconds.items():
        step = float(np.median(values)) / STEPS
        share = ""
        if side in (OURS, WITH_SBO):
            flop = flop_of_step(span_boundary=side == WITH_SBO)
            share = f"{flop / step / 1e9 / ceiling:.0%}"
        print(f"{side:<32}{step * 1e3:>8.1f}{ROWS * LENGTH / step:>10,.0f}{share:>17}")
    print(f"GEMM ceiling: {ceiling:.0f} GFLOP/s")
    goals = [
        Goal(f"MLM step, {side} against {peer}", median_ratio(seconds[peer], seconds[side]), goal)
        for side, peer, goal in GOALS
    ]
    share = median_ratio(seconds[MASKING], seconds[WITH_SBO])
    claim = "masking in spans, in parts of a step with SBO"
    return report_goals([*goals, Goal(claim, share, MOST_MASKING, "{:.1%}", at_most=True)])


if __name__ == "__main__":
    sys.exit(main())
