"""Peak memory of a pretraining step by the tokens of its batch: it grows linearly.

    python benchmarks/pretraining_memory.py [--tokens 1024 2048 4096 8192 16384]

4 layers x 256, 28,996 word pieces, rows of 128 tokens, float32, dropout, both objectives.  Each
size trains three steps in a process of its own, whose peak resident memory is taken; what is there
before the first step (TensorFlow, weights, moments) is shown beside it.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _pretraining_batch import (
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    LAYERS,
    LENGTH,
    VOCABULARY,
    make_features,
)
from _support import Goal, linearity, machine, peak_megabytes, peak_of_process, report_goals

STEPS = 3
LEAST_R_SQUARED = 0.99


def train(tokens: int) -> tuple[float, float]:
    """Trains on a batch of so many tokens; gives the peak before and after, in MB."""
    import tensorflow as tf

    from spanbert_tf import SpanBertBackbone
    from spanbert_tf.models.optimizers import build_optimizer
    from spanbert_tf.tasks.pretrainer import SpanBertPretrainer

    pretrainer = SpanBertPretrainer(
        SpanBertBackbone(VOCABULARY, LAYERS, HEADS, HIDDEN, INTERMEDIATE)
    )
    pretrainer.compile()
    build_optimizer(pretrainer)
    before = peak_megabytes()
    batch = tf.data.Dataset.from_tensors(make_features(tokens // LENGTH))
    pretrainer.fit(batch.repeat(STEPS), verbose=0, shuffle=False)
    return before, peak_megabytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[2**n for n in range(10, 15)])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(*train(arguments.one))
        return 0

    print(machine("tensorflow", "keras"), flush=True)
    print(
        f"{'batch tokens':>12}{'before, MB':>12}{'peak, MB':>10}{'step, KB a token':>18}",
        flush=True,
    )
    peaks = []
    for tokens in arguments.tokens:
        before, peak = peak_of_process(__file__, tokens)
        peaks.append(peak)
        share = (peak - before) * 1024 / tokens
        print(f"{tokens:>12,}{before:>12,.0f}{peak:>10,.0f}{share:>18.1f}", flush=True)
    claim = "pretraining step, peak memory linear in tokens, R^2"
    squared = linearity(arguments.tokens, peaks)
    return report_goals([Goal(claim, squared, LEAST_R_SQUARED, "{:.4f}")])


if __name__ == "__main__":
    sys.exit(main())
