"""Fine-tuning on SST-2 from the MiniLM weights: tokens a second against transformers.

    python benchmarks/finetune_sst2.py [--rounds 7] [--stretch 16]

Float32, all cores.  Both sides train on the same batches of 32 and of 128 phrases of like length,
with AdamW, the same schedule and gradient clipping, a stretch of batches each in turn; transformers
has a process of its own, pads each batch to its longest row, has SDPA attention and PyTorch's fused
AdamW, and gets its tensors ready-made.  Tokens are real ones, padding not counted; tokenisation and
tracing are outside the timing.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _peers import Peer, peers_python
from _support import Goal, data_folder, machine, median_ratio, report_goals, time_in_turn

import spanbert_tf
from spanbert_tf import SpanBertTextClassifier
from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.data.readers.tables import encode_labels, read_examples
from spanbert_tf.handles import bundled_minilm
from spanbert_tf.models.optimizers import default_optimizer
from spanbert_tf.models.text_batches import NUM_BUCKETS
from spanbert_tf.training.schedules import WarmUpLinearDecay

CLASS_NAMES = ("0", "1")
SEQUENCE_LENGTH = 128
OURS, TORCH = "spanbert_tf", "transformers"
GOAL = 2.0
BATCH_SIZES = (32, 128)
LEARNING_RATE = 1e-4


def make_batches(path: Path, batch_size: int) -> BucketedBatches:
    examples = read_examples(path)
    return BucketedBatches.from_texts(
        [example.text for example in examples],
        encode_labels(examples, CLASS_NAMES),
        tokenizer=spanbert_tf.load_tokenizer(bundled_minilm()),
        sequence_length=SEQUENCE_LENGTH,
        num_buckets=NUM_BUCKETS,  # as `SpanBertTextClassifier.fit` batches texts
        batch_size=batch_size,
        seed=0,
    )


def make_classifier(num_steps: int) -> SpanBertTextClassifier:
    backbone, _ = spanbert_tf.load_backbone(bundled_minilm())
    classifier = SpanBertTextClassifier(backbone, class_names=CLASS_NAMES)
    schedule = WarmUpLinearDecay(LEARNING_RATE, num_steps, num_steps // 10)
    classifier.compile(default_optimizer(schedule))
    return classifier


def write_batches(stretch: tf.data.Dataset, path: Path) -> None:
    """Writes a stretch for the peer, each batch padded to its longest row only."""
    arrays = {}
    for number, (features, labels) in enumerate(stretch.as_numpy_iterator()):
        mask = features["padding_mask"]
        longest = int(mask.sum(1).max())
        arrays[f"ids_{number}"] = np.int64(features["token_ids"][:, :longest])
        arrays[f"mask_{number}"] = np.int64(mask[:, :longest])
        arrays[f"labels_{number}"] = np.int64(labels)
    np.savez(path, **arrays)


def measure(batch_size: int, rounds: int, num_batches: int, python: str | None) -> Goal:
    """Prints tokens a second of both sides and returns how much faster ours is."""
    train = make_batches(data_folder() / "sst2" / "train.tsv", batch_size)
    num_steps = len(train.plan())
    stretch = train.dataset().take(num_batches).cache()
    tokens = sum(int(tf.reduce_sum(features["padding_mask"])) for features, _ in stretch)
    padded = sum(int(tf.size(features["padding_mask"])) for features, _ in stretch)
    classifier = make_classifier(num_steps)
    sides = {OURS: lambda: classifier.fit(stretch, shuffle=False, verbose=0)}
    with tempfile.TemporaryDirectory() as folder:
        if python:
            batches = Path(folder) / "batches.npz"
            write_batches(stretch, batches)
            options = ("--learning-rate", LEARNING_RATE, "--steps", num_steps)
            command = ("training", bundled_minilm(), batches, *options)
            sides[TORCH] = Peer("torch_side.py", *command, python=python)
            print(f"peer: {sides[TORCH].facts['versions']}")
        seconds = time_in_turn(sides, rounds)
    print(f"{f'training, batch {batch_size}':<24}{'tokens/s':>10}{'ours is faster':>16}")
    ratio = median_ratio(seconds[TORCH], seconds[OURS]) if python else None
    for side, values in seconds.items():
        faster = "" if side == OURS else f"{ratio:.2f}x"
        print(f"{side:<24}{tokens / np.median(values):>10,.0f}{faster:>16}")
    print(
        f"{tokens} tokens in {num_batches} batches; {1 - tokens / padded:.1%} of ours are padding",
        flush=True,
    )
    claim = f"fine-tuning on SST-2, batches of {batch_size}, against transformers"
    return Goal(claim, ratio, GOAL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stretch", type=int, default=16, help="batches of a timing")
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"), flush=True)
    python = peers_python(TORCH)
    return report_goals(
        measure(batch_size, arguments.rounds, arguments.stretch, python)
        for batch_size in BATCH_SIZES
    )


if __name__ == "__main__":
    sys.exit(main())
