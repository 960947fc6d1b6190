"""Forward pass of the encoder against KerasHub's BERT, transformers and ONNX Runtime, in one run.

    python benchmarks/encoder_forward.py [--rounds 11] [--batch 8] [--length 128]

12 layers x 768, float32 and bfloat16, random token ids, nothing padded, all cores.  Each peer has a
process of its own and runs at its best: the Keras models in a `tf.function`, transformers with SDPA
attention under `torch.inference_mode`, ONNX Runtime on a graph fused for BERT (float32 alone).
Ours runs in a `tf.function` and, in float32, also in LiteRT, with the mean of its states as its
output.  Arithmetic is also shown as a part of what large matrix products reach in TensorFlow, in
turn with all sides.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _peers import Peer, peers_python
from _support import (
    GEMM_GFLOP,
    Goal,
    gemm_side,
    machine,
    median_ratio,
    report_goals,
    time_in_turn,
)

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer
from spanbert_tf.export.litert import NETWORK_FILE, export_litert_encoder
from spanbert_tf.export.litert_loading import signature_runner

SIZE = {
    "vocabulary_size": 28_996,
    "num_layers": 12,
    "num_heads": 12,
    "hidden_dim": 768,
    "intermediate_dim": 3072,
}
OURS, LITERT = "spanbert_tf", "spanbert_tf in LiteRT"
HUB, TORCH, ONNX = "KerasHub", "transformers", "ONNX Runtime"
GEMM = "matrix products"
DTYPES = ("float32", "bfloat16")  # Of weights too, on all sides.
# Ours is so many times faster; ours reaches this part of the matrix products.
HUB_GOAL, TORCH_GOAL, PEER_GOAL = 1.05, 1.3, 1.05
SHARE_GOALS = {"float32": 0.90, "bfloat16": 0.78}

Sides = dict[str, Callable[[], object]]
Seconds = dict[str, np.ndarray]


def name_of(side: str, dtype: str) -> str:
    return f"{side}, {dtype}"


def make_features(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    token_ids = np.random.default_rng(0).integers(0, SIZE["vocabulary_size"], shape, np.int32)
    segment_ids = np.zeros_like(token_ids)
    padding_mask = np.ones_like(token_ids)
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}


def our_side(dtype: str, shape: tuple[int, int]) -> Callable[[], object]:
    backbone = tf.function(SpanBertBackbone(**SIZE, dtype=dtype))
    features = {name: tf.constant(array) for name, array in make_features(shape).items()}
    return lambda: backbone(features)


def our_side_in_litert(shape: tuple[int, int]) -> Callable[[], object]:
    tokenizer = SpanBertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    with tempfile.TemporaryDirectory() as folder:
        export_litert_encoder(SpanBertBackbone(**SIZE), tokenizer, Path(folder) / "encoder")
        run = signature_runner(Path(folder) / "encoder" / NETWORK_FILE, os.cpu_count())
    features = make_features(shape)
    return lambda: run(**features)


def make_sides(shape: tuple[int, int]) -> Sides:
    options = ("--batch", shape[0], "--length", shape[1], "--vocabulary", SIZE["vocabulary_size"])
    python = peers_python(TORCH, ONNX)
    sides: Sides = {}
    for dtype in DTYPES:
        sides[name_of(OURS, dtype)] = our_side(dtype, shape)
        sides[name_of(GEMM, dtype)] = gemm_side(dtype)
        sides[name_of(HUB, dtype)] = Peer(
            "keras_hub_side.py", "forward", *options, "--dtype", dtype
        )
        if python:
            sides[name_of(TORCH, dtype)] = Peer(
                "torch_side.py", "forward", *options, "--dtype", dtype, python=python
            )
    sides[name_of(LITERT, "float32")] = our_side_in_litert(shape)
    if python:
        sides[name_of(ONNX, "float32")] = Peer("onnx_side.py", "forward", *options, python=python)
    return sides


def ratio(seconds: Seconds, side: str, dtype: str, ours: str = OURS) -> float | None:
    """How much faster ours is, or `None` without that side."""
    theirs = seconds.get(name_of(side, dtype))
    return None if theirs is None else median_ratio(theirs, seconds[name_of(ours, dtype)])


def shares(values: np.ndarray, gemm: np.ndarray, gflop: float) -> float:
    """The part of what matrix products reach."""
    return float(np.median(gflop / values / (GEMM_GFLOP / gemm)))


def print_table(seconds: Seconds, shape: tuple[int, int], gflop: float) -> None:
    title = f"forward, 12 x 768, {shape}"
    print(f"{title:<34}{'ms':>8}{'GFLOP/s':>9}{'of products':>13}{'ours is faster':>16}")
    for name, values in seconds.items():
        side, dtype = name.split(", ")
        gemm = seconds[name_of(GEMM, dtype)]
        work = GEMM_GFLOP if side == GEMM else gflop
        faster = "" if side in (OURS, LITERT, GEMM) else f"{ratio(seconds, side, dtype):.2f}x"
        print(
            f"{name:<34}{np.median(values) * 1e3:>8.1f}{work / np.median(values):>9.0f}"
            f"{shares(values, gemm, work):>13.0%}{faster:>16}"
        )


def goals(seconds: Seconds, gflop: float) -> list[Goal]:
    found = [ratio(seconds, side, "bfloat16") for side in (HUB, TORCH)]
    against = [
        Goal(
            f"forward, float32, {ours} against {peer}", ratio(seconds, peer, "float32", ours), goal
        )
        for ours in (OURS, LITERT)
        for peer, goal in ((HUB, HUB_GOAL), (TORCH, TORCH_GOAL))
    ]
    better = None if None in found else min(found)
    against.append(Goal("forward, bfloat16, against the better peer", better, PEER_GOAL))
    parts = [
        Goal(
            f"forward, {dtype}, {ours}, part of matrix products",
            shares(seconds[name_of(ours, dtype)], seconds[name_of(GEMM, dtype)], gflop),
            SHARE_GOALS[dtype],
            "{:.1%}",
        )
        for ours, dtype in ((OURS, "float32"), (LITERT, "float32"), (OURS, "bfloat16"))
    ]
    return [*against, *parts]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    arguments = parser.parse_args()

    shape = (arguments.batch, arguments.length)
    sides = make_sides(shape)
    versions = {peer.facts["versions"] for peer in sides.values() if isinstance(peer, Peer)}
    print("; ".join([machine("tensorflow", "keras"), *sorted(versions)]), flush=True)
    seconds = time_in_turn(sides, arguments.rounds)

    layers, hidden, tokens = SIZE["num_layers"], SIZE["hidden_dim"], shape[0] * shape[1]
    gflop = layers * (24 * tokens * hidden**2 + 4 * tokens * shape[1] * hidden) / 1e9
    print_table(seconds, shape, gflop)
    return report_goals(goals(seconds, gflop))


if __name__ == "__main__":
    sys.exit(main())
