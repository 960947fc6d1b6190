"""`spanbert-tf models`: the tasks that come trained."""

from argparse import Namespace
from typing import Any

from spanbert_tf.ready_models import example_of, ready_models, summary_of, task_of

SUMMARY = "list the tasks that come trained, whose names `predict` and the other commands take"
EXAMPLE = "spanbert-tf models"
NEEDS_TENSORFLOW = False


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds nothing: it takes no options of its own."""


def run(arguments: Namespace) -> list[dict[str, Any]]:
    """Reads what each of them is."""
    return [
        {
            "name": name,
            "task": task_of(folder),
            "bytes": sum(file.stat().st_size for file in folder.iterdir()),
            "what": summary_of(folder),
            "example": example_of(name),
        }
        for name, folder in ready_models().items()
    ]


def show(result: list[dict[str, Any]]) -> str:
    """What each is, and how it is asked."""
    if not result:
        return "none: they come with a checkout of the project, in saved_models/adapters"
    return "\n\n".join(
        f"{row['name']} ({row['task']}, {row['bytes'] / 1e6:.1f} MB)\n"
        f"  {row['what']}\n  {row['example']}"
        for row in result
    )
