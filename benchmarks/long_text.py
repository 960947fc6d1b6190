"""Bucketed attention over long texts: growth with the length, and Longformer beside it.

    python benchmarks/long_text.py [--rounds 5] [--tokens 512 1024 ... 16384] [--batches 1 8]

6 layers x 384, 12 heads, 30,522 word pieces, random weights, float32, nothing padded, all cores.

Growth: a text of each length, timed in turn in one process; peak resident memory of a process for
each length.  Both are of the encoder in a `tf.function`.

Peers at 4,096 tokens, timed in turn in one process: our own encoder with dense attention, which
needs 0.8 GB a text for one layer's scores and so takes the texts of a batch one by one; and
Longformer of transformers under `torch.inference_mode`, its first token global as ours is.  A token
of Longformer sees 64 tokens on each side (attention_window 128), a token of ours its block of 64
and those beside it, 64 to 127 on each side.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from _support import machine, median_ratio, time_in_turn

SIZE = {
    "vocabulary_size": 30_522,
    "num_layers": 6,
    "num_heads": 12,
    "hidden_dim": 384,
    "intermediate_dim": 1536,
}
BLOCK_SIZE = 64
LENGTH = 4096  # Longformer's own.
RUNS = 3  # For memory, in each process.

MOST_GROWTH = 0.10
LEAST_R_SQUARED = 0.99
GOALS = {"transformers Longformer": 3.0, "ours, dense": 4.0}


def peak_megabytes() -> float:
    """Peak resident memory of this process so far (Linux)."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def make_token_ids(batch: int, length: int) -> np.ndarray:
    shape = (batch, length)
    return np.random.default_rng(0).integers(0, SIZE["vocabulary_size"], shape, np.int32)


def make_encoder(attention: str) -> Callable[[np.ndarray], object]:
    import tensorflow as tf

    from spanbert_tf import SpanBertBackbone

    backbone = SpanBertBackbone(
        **SIZE, attention=attention, block_size=BLOCK_SIZE, long_positions="restart"
    )
    encode = tf.function(backbone)

    def run(token_ids: np.ndarray) -> object:
        return encode(
            {
                "token_ids": tf.constant(token_ids),
                "segment_ids": tf.zeros(token_ids.shape, tf.int32),
                "padding_mask": tf.ones(token_ids.shape, tf.int32),
            }
        )

    return run


def make_longformer() -> Callable[[np.ndarray], object]:
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count() or 1)
    config = transformers.LongformerConfig(
        vocab_size=SIZE["vocabulary_size"],
        num_hidden_layers=SIZE["num_layers"],
        num_attention_heads=SIZE["num_heads"],
        hidden_size=SIZE["hidden_dim"],
        intermediate_size=SIZE["intermediate_dim"],
        attention_window=2 * BLOCK_SIZE,
        max_position_embeddings=LENGTH + 2,  # It counts from padding_idx + 1 = 2.
        pad_token_id=1,
    )
    model = transformers.LongformerModel(config, add_pooling_layer=False).eval()

    def run(token_ids: np.ndarray) -> object:
        input_ids = torch.tensor(np.maximum(token_ids, 2), dtype=torch.long)
        is_global = torch.zeros_like(input_ids)
        is_global[:, 0] = 1
        with torch.inference_mode():
            return model(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                global_attention_mask=is_global,
            )

    return run


def one_memory(tokens: int) -> tuple[float, float]:
    """Peak MB before and after encoding a text of so many tokens."""
    encode, token_ids = make_encoder("bucketed"), make_token_ids(1, tokens)
    before = peak_megabytes()
    for _ in range(RUNS):
        encode(token_ids)
    return before, peak_megabytes()


def memory_of(lengths: list[int]) -> list[tuple[float, float]]:
    memory = []
    for length in lengths:
        command = [sys.executable, __file__, "--one", str(length)]
        outcome = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        before, peak = map(float, outcome.stdout.split())
        memory.append((before, peak))
    return memory


def measure_growth(lengths: list[int], rounds: int) -> bool:
    memory = memory_of(lengths)
    encode = make_encoder("bucketed")
    texts = {str(length): make_token_ids(1, length) for length in lengths}
    seconds = time_in_turn(
        {name: lambda x=token_ids: encode(x) for name, token_ids in texts.items()}, rounds
    )
    print(f"{'tokens':>8}{'ms':>10}{'us a token':>12}{'before, MB':>12}{'peak, MB':>10}")
    for length, (before, peak) in zip(lengths, memory, strict=True):
        median = np.median(seconds[str(length)])
        share = median / length * 1e6
        print(f"{length:>8,}{median * 1e3:>10.1f}{share:>12.1f}{before:>12,.0f}{peak:>10,.0f}")

    least, most = lengths[0], lengths[-1]
    growth = median_ratio(seconds[str(most)] / most, seconds[str(least)] / least) - 1
    peaks = [peak for _, peak in memory]
    slope, base = np.polyfit(lengths, peaks, 1)
    squared = float(np.corrcoef(lengths, peaks)[0, 1] ** 2)
    print(
        f"time a token from {least:,} to {most:,}: {growth:+.1%}, "
        f"goal at most {MOST_GROWTH:+.0%}: {outcome(growth <= MOST_GROWTH)}"
    )
    print(
        f"peak = {base:,.0f} MB + {slope * 1024:.1f} KB a token, R^2 {squared:.4f}, "
        f"goal {LEAST_R_SQUARED}: {outcome(squared >= LEAST_R_SQUARED)}",
        flush=True,
    )
    return growth <= MOST_GROWTH and squared >= LEAST_R_SQUARED


def measure_peers(batches: list[int], rounds: int) -> bool:
    ours, dense, longformer = make_encoder("bucketed"), make_encoder("dense"), make_longformer()

    def one_by_one(token_ids: np.ndarray) -> None:
        for row in token_ids:
            dense(row[None])

    met = True
    print(
        f"{'side':<28}{'tokens':>10}{'ms':>10}{'us a token':>12}{'ours is faster':>16}{'goal':>7}"
    )
    for batch in batches:
        token_ids = make_token_ids(batch, LENGTH)
        sides = {
            "ours, bucketed": lambda x=token_ids: ours(x),
            "ours, dense": lambda x=token_ids: one_by_one(x),
            "transformers Longformer": lambda x=token_ids: longformer(x),
        }
        seconds = time_in_turn(sides, rounds)
        for name, values in seconds.items():
            median = np.median(values)
            line = f"{name:<28}{f'{batch} x {LENGTH:,}':>10}{median * 1e3:>10.0f}"
            line += f"{median / token_ids.size * 1e6:>12.1f}"
            if name in GOALS:
                ratio = median_ratio(values, seconds["ours, bucketed"])
                met &= ratio >= GOALS[name]
                line += f"{ratio:>15.2f}x{GOALS[name]:>6.0f}x {outcome(ratio >= GOALS[name])}"
            print(line, flush=True)
    return met


def outcome(met: bool) -> str:
    return "met" if met else "missed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, nargs="*", default=[2**n for n in range(9, 15)])
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(*one_memory(arguments.one))
        return 0

    print(machine("tensorflow", "keras", "torch", "transformers"), flush=True)
    growth = not arguments.tokens or measure_growth(arguments.tokens, arguments.rounds)
    peers = not arguments.batches or measure_peers(arguments.batches, arguments.rounds)
    return int(not (growth and peers))


if __name__ == "__main__":
    sys.exit(main())
