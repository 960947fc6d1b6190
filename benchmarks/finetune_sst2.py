"""Fine-tuning on SST-2 from the MiniLM weights: throughput against transformers, and accuracy.

    python benchmarks/finetune_sst2.py [--phrases 60614] [--seeds 3] [--only speed|accuracy]
        [--rounds 7] [--stretch 16] [--encoder SRC]

Float32, all cores.  Speed: both sides train on the same batches of 32 and of 128 phrases of like
length, with AdamW, the same schedule and gradient clipping, a stretch of batches each in turn;
transformers has a process of its own, pads each batch to its longest row, has SDPA attention and
PyTorch's fused AdamW, and gets its tensors ready-made.  Tokens are real ones, padding not counted;
tokenisation and tracing are outside the timing.  Accuracy: ours, one epoch over a random part of
train.tsv, scored on test.tsv.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _peers import Peer, peers_python
from _support import Goal, data_folder, machine, median_ratio, report_goals, time_in_turn

import spanbert_tf
from spanbert_tf import SpanBertTextClassifier, SpanBertTokenizer
from spanbert_tf.convert import bundled_minilm
from spanbert_tf.data.pipeline import BucketedBatches
from spanbert_tf.data.readers import encode_labels, read_examples
from spanbert_tf.models.optimizers import default_optimizer
from spanbert_tf.models.texts_in_memory import NUM_BUCKETS
from spanbert_tf.training.schedules import WarmUpLinearDecay

CLASS_NAMES = ("0", "1")
SEQUENCE_LENGTH = 128
OURS, TORCH = "spanbert_tf", "transformers"
SPEED_GOAL, ACCURACY_GOAL = 2.0, 0.885
SPEED_BATCH_SIZES = (32, 128)
TEST_BATCH_SIZE = 128
ACCURACY_BATCH_SIZE = 64
LEARNING_RATE = 1e-4


def read_batches(
    path: Path, tokenizer: SpanBertTokenizer, phrases: int | None = None, **options: int | None
) -> BucketedBatches:
    examples = read_examples(path)
    if phrases is not None:
        chosen = np.random.default_rng(options["seed"]).permutation(len(examples))[:phrases]
        examples = [examples[row] for row in chosen]
    return BucketedBatches.from_texts(
        [example.text for example in examples],
        encode_labels(examples, CLASS_NAMES),
        tokenizer=tokenizer,
        sequence_length=SEQUENCE_LENGTH,
        num_buckets=NUM_BUCKETS,  # as `SpanBertTextClassifier.fit` batches texts
        **options,
    )


def make_classifier(num_steps: int, encoder: Path | None = None) -> SpanBertTextClassifier:
    backbone, _ = spanbert_tf.load_backbone(encoder or bundled_minilm())
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


def measure_speed(
    path: Path,
    tokenizer: SpanBertTokenizer,
    batch_size: int,
    arguments: argparse.Namespace,
    python: str | None,
) -> Goal:
    """Prints tokens a second of both sides and returns how much faster ours is."""
    train = read_batches(path, tokenizer, batch_size=batch_size, seed=0)
    num_steps = len(train.plan())
    stretch = train.dataset().take(arguments.stretch).cache()
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
        seconds = time_in_turn(sides, arguments.rounds)
    print(f"{f'training, batch {batch_size}':<24}{'tokens/s':>10}{'ours is faster':>16}")
    ratio = median_ratio(seconds[TORCH], seconds[OURS]) if python else None
    for side, values in seconds.items():
        faster = "" if side == OURS else f"{ratio:.2f}x"
        print(f"{side:<24}{tokens / np.median(values):>10,.0f}{faster:>16}")
    print(
        f"{tokens} tokens in {arguments.stretch} batches; {1 - tokens / padded:.1%} of ours are "
        "padding",
        flush=True,
    )
    claim = f"fine-tuning on SST-2, batches of {batch_size}, against transformers"
    return Goal(claim, ratio, SPEED_GOAL)


def measure_accuracy(
    folder: Path, tokenizer: SpanBertTokenizer, phrases: int, seeds: int, encoder: Path | None
) -> float:
    """Prints the accuracy of each seed and returns their mean."""
    test = read_batches(folder / "test.tsv", tokenizer, batch_size=TEST_BATCH_SIZE)
    accuracies = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        train = read_batches(
            folder / "train.tsv", tokenizer, phrases, batch_size=ACCURACY_BATCH_SIZE, seed=seed
        )
        classifier = make_classifier(len(train.plan()), encoder)
        classifier.fit(train.dataset(), shuffle=False, verbose=0)
        figures = classifier.evaluate(test.dataset(), verbose=0, return_dict=True)
        accuracies.append(figures["accuracy"])
        print(
            f"seed {seed}, {len(train.lengths)} phrases: {accuracies[-1]:.4f}, "
            f"loss {figures['loss']:.4f}",
            flush=True,
        )
    print(f"mean {np.mean(accuracies):.4f}, standard deviation {np.std(accuracies):.4f}")
    return float(np.mean(accuracies))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phrases", type=int, default=60_614)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stretch", type=int, default=16, help="batches of a timing")
    parser.add_argument("--only", choices=["speed", "accuracy"])
    parser.add_argument("--encoder", type=Path, help="for the accuracy; default: MiniLM")
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"), flush=True)
    tokenizer = spanbert_tf.load_tokenizer(bundled_minilm())
    folder = data_folder() / "sst2"
    goals = []
    if arguments.only != "accuracy":
        python = peers_python(TORCH)
        goals += [
            measure_speed(folder / "train.tsv", tokenizer, batch_size, arguments, python)
            for batch_size in SPEED_BATCH_SIZES
        ]
    if arguments.only != "speed":
        accuracy = measure_accuracy(
            folder, tokenizer, arguments.phrases, arguments.seeds, arguments.encoder
        )
        goals.append(
            Goal("fine-tuning on SST-2, accuracy of one epoch", accuracy, ACCURACY_GOAL, "{:.4f}")
        )
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
