"""Bucketed attention over long texts: growth with the length, and Longformer beside it.

    python benchmarks/long_text.py [--rounds 5] [--tokens 512 1024 ... 16384] [--batches 1 8]

6 layers x 384, 12 heads, 30,522 word pieces, random weights, float32, nothing padded, all cores.

Growth: a text of each length, timed in turn in one process; peak resident memory of a process for
each length.  Both are of the encoder in a `tf.function`.

Peers at 4,096 tokens, timed in turn: our own encoder with dense attention, which needs 0.8 GB a
text for one layer's scores and so takes the texts of a batch one by one; and, in a process of its
own, Longformer of transformers under `torch.inference_mode`, its first token global as ours is.  A
token of Longformer sees 64 tokens on each side (attention_window 128), a token of ours its block of
64 and those beside it, 64 to 127 on each side.
"""

import argparse
import os
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _peers import Peer, peers_python
from _support import (
    Goal,
    linearity,
    machine,
    median_ratio,
    peak_megabytes,
    peak_of_process,
    report_goals,
    time_in_turn,
)

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

OURS, DENSE, LONGFORMER = "ours, bucketed", "ours, dense", "transformers Longformer"
GOALS = {LONGFORMER: 3.0, DENSE: 4.0}


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


def one_memory(tokens: int) -> tuple[float, float]:
    """Peak MB before and after encoding a text of so many tokens."""
    encode, token_ids = make_encoder("bucketed"), make_token_ids(1, tokens)
    before = peak_megabytes()
    for _ in range(RUNS):
        encode(token_ids)
    return before, peak_megabytes()


def measure_growth(lengths: list[int], rounds: int) -> list[Goal]:
    memory = [peak_of_process(__file__, length) for length in lengths]
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
    squared = linearity(lengths, [peak for _, peak in memory])
    span = f"{least:,} to {most:,} tokens"
    return [
        Goal(f"growth of the time a token, {span}", growth, 0.10, "{:+.1%}", at_most=True),
        Goal(f"R^2 of peak memory by length, {span}", squared, 0.99, "{:.4f}"),
    ]


def measure_peers(batches: list[int], rounds: int) -> list[Goal]:
    ours, dense, python = make_encoder("bucketed"), make_encoder("dense"), peers_python(LONGFORMER)

    def one_by_one(token_ids: np.ndarray) -> None:
        for row in token_ids:
            dense(row[None])

    goals = []
    print(f"{'side':<28}{'tokens':>10}{'ms':>10}{'us a token':>12}")
    for batch in batches:
        token_ids = make_token_ids(batch, LENGTH)
        sides = {OURS: lambda x=token_ids: ours(x), DENSE: lambda x=token_ids: one_by_one(x)}
        if python:
            sides[LONGFORMER] = Peer("longformer_side.py", batch, LENGTH, python=python)
        seconds = time_in_turn(sides, rounds, warm_ups=1)
        for name, values in seconds.items():
            median = np.median(values)
            line = f"{name:<28}{f'{batch} x {LENGTH:,}':>10}{median * 1e3:>10.0f}"
            print(f"{line}{median / token_ids.size * 1e6:>12.1f}", flush=True)
        for name, goal in GOALS.items():
            ratio = median_ratio(seconds[name], seconds[OURS]) if name in seconds else None
            goals.append(Goal(f"{OURS} / {name}, {batch} x {LENGTH:,}", ratio, goal))
        if python:
            sides[LONGFORMER].close()
    return goals


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

    print(machine("tensorflow", "keras"), flush=True)
    goals = measure_growth(arguments.tokens, arguments.rounds) if arguments.tokens else []
    if arguments.batches:
        goals += measure_peers(arguments.batches, arguments.rounds)
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
