"""`spanbert-tf evaluate`: the figures of a fine-tuned task on labelled data."""

from argparse import Namespace
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import add_settings, flags_of, settings_from, task_of_model
from spanbert_tf.cli.showing import figures_in_a_row
from spanbert_tf.settings import TextColumns

SUMMARY = "score a fine-tuned task on labelled data"
EXAMPLE = "spanbert-tf evaluate runs/reviews/classifier --data test.tsv"


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options; how the file is read is for the model's task to say."""
    command.add_argument("model", metavar="MODEL", help="folder or handle of a task's preset")
    command.add_argument(
        "--data", type=user_path, required=True, metavar="FILE", help="labelled data"
    )
    of = task_of_model(words[1:], ["--data", *flags_of(TextColumns)])
    add_settings(command, of.reading_cls if of else TextColumns, "how the file is read")


def run(arguments: Namespace) -> dict[str, Any]:
    """Scores."""
    from spanbert_tf.export.task_loading import load_task

    model = getattr(load_task(arguments.model), "model", None)
    if model is None:
        raise ValueError(
            f"{arguments.model} is an export, which has no loss to measure; evaluate the preset "
            "that it was made of"
        )
    records = model.read(arguments.data, settings_from(model.reading_cls, arguments))
    return {"texts": len(records), **model.assess(records)}


def show(result: dict[str, Any]) -> str:
    """Figures, and on how many texts."""
    figures = {name: value for name, value in result.items() if name != "texts"}
    return f"{result['texts']} texts: {figures_in_a_row(figures)}"
