"""What reading whole documents buys: sentiment of movie reviews, cross-validated.

    python benchmarks/documents.py [--folds 3] [--epochs 2] [--reviews 2000] [--only NAME ...]

Long reviews (median 700 tokens) and the MiniLM weights, fine-tuned and measured by the same recipe:
batches of 8, peak 5e-5, mean pooling, mixed_bfloat16.  What differs is what is read, and how:

- cut-128, cut-512: the beginning, by dense attention;
- blocks: all of it, in blocks of 64 tokens that do not see each other, the article's form;
- neighbors: the same, each block also sees those beside it;
- windows: all of it, in windows of 512 tokens that do not see each other.

In blocks and windows [CLS] sees everything and is seen; positions start again after 512.  Time is
of training and measuring all folds, memory the peak of the process, which is each setting's own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _support import data_folder, machine, peak_megabytes, read_movie_reviews

WHOLE = {"sequence_length": 8192, "attention": "bucketed", "long_positions": "restart"}
SETTINGS = {
    "cut-128": {"sequence_length": 128},
    "cut-512": {"sequence_length": 512},
    "blocks": {**WHOLE, "block_size": 64, "neighbors": 0},
    "neighbors": {**WHOLE, "block_size": 64, "neighbors": 1},
    "windows": {**WHOLE, "block_size": 512, "neighbors": 0},
}


def measure(name: str, folds: int, epochs: int, reviews: int) -> None:
    """Prints mean and deviation of the accuracy, seconds and peak memory in MB."""
    from spanbert_tf.data.readers.tables import Example
    from spanbert_tf.export.conversion import convert
    from spanbert_tf.handles import bundled_minilm
    from spanbert_tf.settings import FineTuning
    from spanbert_tf.training import cross_validate

    texts = read_movie_reviews(data_folder() / "movie_reviews" / "movie_reviews.zip")
    # Sorted by name: first all negative ones, then as many positive ones.
    labels = ["negative", "positive"]
    examples = [
        Example(text, None, labels[2 * row // len(texts)], row + 1, "reviews")
        for row, text in enumerate(texts)
    ]
    half = reviews // 2
    examples = [*examples[:half], *examples[len(texts) // 2 :][:half]]
    settings = FineTuning(
        epochs=epochs,
        batch_size=8,
        learning_rate=5e-5,
        pooling="mean",
        validation_fraction=0,
        dtype="mixed_bfloat16",
        **SETTINGS[name],
    )
    with tempfile.TemporaryDirectory() as folder:
        encoder = Path(folder) / "minilm"
        convert(bundled_minilm(), encoder)
        begun = time.perf_counter()
        result = cross_validate(settings, examples, folds, encoder=encoder, verbose=0)
        seconds = time.perf_counter() - begun
    print(result.mean["accuracy"], result.std["accuracy"], seconds, peak_megabytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--reviews", type=int, default=2000)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--one", choices=SETTINGS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.one, arguments.folds, arguments.epochs, arguments.reviews)
        return

    print(machine("tensorflow", "keras"))
    print(f"{arguments.reviews} reviews, {arguments.folds} folds, {arguments.epochs} epochs")
    print(f"{'reads':<12}{'accuracy':>10}{'std':>8}{'seconds':>10}{'peak, MB':>10}", flush=True)
    options = [f"--{name}={getattr(arguments, name)}" for name in ("folds", "epochs", "reviews")]
    for name in arguments.only:
        command = [sys.executable, __file__, "--one", name, *options]
        outcome = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        accuracy, deviation, seconds, peak = map(float, outcome.stdout.split()[-4:])
        print(f"{name:<12}{accuracy:>10.4f}{deviation:>8.4f}{seconds:>10.0f}{peak:>10,.0f}")


if __name__ == "__main__":
    main()
