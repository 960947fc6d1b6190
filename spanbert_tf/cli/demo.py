"""`spanbert-tf demo`: from a pretrained encoder to a served sentiment model, step by step.

And what the models that come trained answer for a sentence each.
"""

import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import ENCODER_HELP
from spanbert_tf.cli.showing import progress, say
from spanbert_tf.settings import TextClassification

SUMMARY = "fine-tune a real encoder for sentiment, export and serve it"
EXAMPLE = "spanbert-tf demo"

REVIEWS = Path(__file__).parents[1] / "data" / "reviews"
# MiniLM was trained with the mean of its states; few texts want small batches and a high rate.
SETTINGS = TextClassification(
    epochs=5, batch_size=16, learning_rate=2e-4, pooling="mean", validation_fraction=0
)
SENTENCES = (
    "The plot is thin, but I smiled all the way home.",
    "Broke on the second day and nobody answers the phone.",
    "I wanted to like this hotel. I really did.",
    "Not a single thing I would change.",
)
SEARCHER, QUERY, HITS = "embeddings_en", "The waiter was rude.", 2


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    command.add_argument("--encoder", metavar="SRC", help=ENCODER_HELP)
    command.add_argument(
        "--output",
        type=user_path,
        default=Path("saved_models"),
        metavar="FOLDER",
        help="where models go; those of an earlier demo are replaced (default: saved_models)",
    )


def run(arguments: Namespace) -> dict[str, Any]:
    """Fine-tunes, scores, exports and asks; what it made before is replaced."""
    from spanbert_tf.export.serving import export_task
    from spanbert_tf.handles import default_encoder
    from spanbert_tf.tasks import DEFAULT_TASK, task_class
    from spanbert_tf.training.fine_tuning import finetune

    begun = time.perf_counter()
    folder = arguments.output
    encoder = arguments.encoder or default_encoder()
    classifier, served = folder / "reviews_classifier", folder / "reviews" / "1"

    read = task_class(DEFAULT_TASK).read
    train, test = (read(REVIEWS / name) for name in ("train.tsv", "test.tsv"))
    say(f"1/4  fine-tuning {encoder} on {len(train)} reviews, {SETTINGS.epochs} epochs")
    with progress() as verbose:
        tuned = finetune(
            SETTINGS,
            train,
            encoder=encoder,
            output=classifier,
            test=test,
            overwrite=True,
            verbose=verbose,
        )
    figures = tuned.test or {}
    say(f"     {len(test)} reviews it has not seen: accuracy {figures['accuracy']:.3f}")

    say("2/4  exporting the classifier as a SavedModel: text in, label out")
    export_task(tuned.model, served, overwrite=True)
    say(f"     {served}")

    say(f"3/4  asking it in a new process:\n\n     spanbert-tf predict {served} ...\n")
    answered = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "spanbert_tf", "predict", str(served), *SENTENCES],
        check=True,
        capture_output=True,
        text=True,
    )
    say(answered.stdout)
    ready = _ask_ready_models([example.text for example in test])
    return {
        "accuracy": figures["accuracy"],
        "f1": figures["f1"],
        "encoder": str(encoder),
        "classifier": str(classifier),
        "saved_model": str(served),
        "answers": answered.stdout.splitlines(),
        "ready_models": ready,
        "seconds": round(time.perf_counter() - begun),
    }


def _ask_ready_models(reviews: list[str]) -> dict[str, list[str]]:
    """Says, and gives, the lines that `predict` prints for the example of each.

    Of the one that makes vectors, those that `search` prints of the reviews.
    """
    from spanbert_tf.cli import predict, search
    from spanbert_tf.export.analyzer import load_tasks
    from spanbert_tf.models.graphs import asked_once
    from spanbert_tf.ready_models import EXAMPLES, example_of, ready_models
    from spanbert_tf.search.text_index import TextIndex

    names = [name for name in ready_models() if name in EXAMPLES]
    if not names:
        say("4/4  there are no models that come trained: they are in a checkout of the project")
        return {}
    say("4/4  asking the models that come trained, which `spanbert-tf models` lists:\n")
    lines = {}
    tasks: dict[str, Any] = load_tasks({name: name for name in names})
    for name, task in tasks.items():
        if name == SEARCHER:
            index = TextIndex(task)
            index.add(reviews)
            command = f'spanbert-tf search INDEX "{QUERY}" -k {HITS}'
            found = search.show([(QUERY, index.search(QUERY, HITS))])
        else:
            texts, command = EXAMPLES[name], example_of(name)
            with asked_once():
                found = predict.show([(texts[0], task(*texts))])
        lines[name] = found.splitlines()
        say("\n".join(f"     {line}" for line in [command, *lines[name], ""]))
    return lines


def show(result: dict[str, Any]) -> str:
    """What to do after the demo."""
    return (
        f"Done in {result['seconds']} s. Ask it yourself, or train on your own texts:\n"
        f'  spanbert-tf predict {result["saved_model"]} "..."\n'
        "  spanbert-tf finetune --train my.tsv --output runs/mine"
    )
