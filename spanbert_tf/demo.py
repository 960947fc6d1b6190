"""`spanbert-tf demo`: from a pretrained encoder to a served sentiment model, step by step."""

import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from spanbert_tf.commands import convert_encoder, progress
from spanbert_tf.convert import default_encoder
from spanbert_tf.data.readers import read_examples
from spanbert_tf.export.serving import export_classifier
from spanbert_tf.settings import FineTuning
from spanbert_tf.training.fine_tuning import finetune, texts_and_labels

REVIEWS = Path(__file__).parent / "data" / "reviews"
# MiniLM was trained with the mean of its states; few texts want small batches and a high rate.
SETTINGS = FineTuning(
    epochs=5, batch_size=16, learning_rate=2e-4, pooling="mean", validation_fraction=0
)
SENTENCES = (
    "The plot is thin, but I smiled all the way home.",
    "Broke on the second day and nobody answers the phone.",
    "I wanted to like this hotel. I really did.",
    "Not a single thing I would change.",
)


def run_demo(arguments: Namespace) -> dict[str, Any]:
    """Fine-tunes, scores, exports and asks; what it made before is replaced."""
    begun = time.perf_counter()
    folder = arguments.output
    encoder = arguments.encoder or default_encoder()
    preset, classifier = folder / "encoder_preset", folder / "reviews_classifier"
    served = folder / "reviews" / "1"

    _say(f"1/4  making a Keras preset of the encoder {encoder}")
    convert_encoder(encoder, preset, overwrite=True)
    _say(f"     {preset}")

    train, test = (read_examples(REVIEWS / name) for name in ("train.tsv", "test.tsv"))
    _say(f"2/4  fine-tuning on {len(train)} reviews, {SETTINGS.epochs} epochs")
    with progress() as verbose:
        run = finetune(
            SETTINGS, train, encoder=preset, output=classifier, overwrite=True, verbose=verbose
        )
    texts, labels = texts_and_labels(test, run.class_names)
    figures = run.classifier.evaluate(texts, labels, return_dict=True, verbose=0)
    _say(f"     {len(test)} reviews it has not seen: accuracy {figures['accuracy']:.3f}")

    _say("3/4  exporting the classifier as a SavedModel: text in, label out")
    export_classifier(run.classifier, served, overwrite=True)
    _say(f"     {served}")

    _say(f"4/4  asking it in a new process:\n\n     spanbert-tf predict {served} ...\n")
    answered = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "spanbert_tf", "predict", str(served), *SENTENCES],
        check=True,
        capture_output=True,
        text=True,
    )
    _say(answered.stdout)
    return {
        "accuracy": float(figures["accuracy"]),
        "f1": float(figures["f1"]),
        "encoder": str(encoder),
        "classifier": str(classifier),
        "saved_model": str(served),
        "answers": answered.stdout.splitlines(),
        "seconds": round(time.perf_counter() - begun),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
