"""`spanbert-tf demo`: from a pretrained encoder to a served sentiment model, step by step."""

import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from spanbert_tf.commands import progress
from spanbert_tf.convert import bundled_minilm, convert, load_hugging_face
from spanbert_tf.data.readers import read_examples
from spanbert_tf.export.hub import export_encoder
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
    """Converts, exports, fine-tunes, scores, exports and asks; what it made before is replaced."""
    begun = time.perf_counter()
    folder = arguments.output
    preset, encoder = folder / "minilm_preset", folder / "minilm" / "1"
    classifier, served = folder / "reviews_classifier", folder / "reviews" / "1"

    _say("1/5  converting MiniLM, 6 layers x 384, from its Hugging Face files to a Keras preset")
    checkpoint = bundled_minilm()
    convert(checkpoint, preset, overwrite=True)
    _say(f"     {preset}")

    _say("2/5  exporting the encoder as a SavedModel with TF Hub's interface")
    export_encoder(*load_hugging_face(checkpoint), encoder, overwrite=True)
    _say(f"     {encoder}")

    train, test = (read_examples(REVIEWS / name) for name in ("train.tsv", "test.tsv"))
    _say(f"3/5  fine-tuning on {len(train)} reviews, {SETTINGS.epochs} epochs")
    with progress() as verbose:
        run = finetune(
            SETTINGS, train, encoder=preset, output=classifier, overwrite=True, verbose=verbose
        )
    texts, labels = texts_and_labels(test, run.class_names)
    figures = run.classifier.evaluate(texts, labels, return_dict=True, verbose=0)
    _say(f"     {len(test)} reviews it has not seen: accuracy {figures['accuracy']:.3f}")

    _say("4/5  exporting the classifier as a SavedModel: text in, label out")
    export_classifier(run.classifier, served, overwrite=True)
    _say(f"     {served}")

    _say(f"5/5  asking it in a new process:\n\n     spanbert-tf predict {served} ...\n")
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
