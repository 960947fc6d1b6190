"""`spanbert-tf evaluate`: the figures of a fine-tuned task on labelled data."""

import argparse
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanbert_tf.cli.arguments import add_settings, settings_from
from spanbert_tf.cli.showing import figures_in_a_row
from spanbert_tf.cli.silence import import_tensorflow
from spanbert_tf.settings import TextColumns
from spanbert_tf.tasks import DEFAULT_TASK, FINE_TUNED_TASKS, task_class

SUMMARY = "score a fine-tuned task on labelled data"
EXAMPLE = "spanbert-tf evaluate runs/reviews/classifier --data test.tsv"


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options; how the file is read is for the model's task to say."""
    command.add_argument("model", metavar="MODEL", help="folder or handle of a task's preset")
    command.add_argument("--data", type=Path, required=True, metavar="FILE", help="labelled data")
    add_settings(command, _reading_class(words[1:]), "how the file is read")


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


def _reading_class(words: Sequence[str]) -> type:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--data")
    try:
        model = parser.parse_known_args(list(words))[0].model
    except (SystemExit, argparse.ArgumentError):  # The whole parser says what is wrong.
        model = None
    if model is None:
        return TextColumns
    import_tensorflow()
    from spanbert_tf.handles import find

    try:
        task = find(model).task
    except (OSError, ValueError):  # Running the command says what is wrong.
        task = None
    return task_class(task if task in FINE_TUNED_TASKS else DEFAULT_TASK).reading_cls
