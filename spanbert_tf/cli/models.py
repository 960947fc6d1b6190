"""`spanbert-tf models`: the tasks that come trained."""

from argparse import Namespace
from typing import Any

from spanbert_tf.ready_models import ready_models, summary_of

SUMMARY = "list the tasks that come trained, whose names `predict` and the other commands take"
EXAMPLE = "spanbert-tf models"
NEEDS_TENSORFLOW = False


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds nothing: it takes no options of its own."""


def run(arguments: Namespace) -> list[dict[str, Any]]:
    """Reads what each of them is."""
    from spanbert_tf.handles import find

    rows = []
    for name, folder in ready_models().items():
        size = sum(file.stat().st_size for file in folder.iterdir())
        rows.append(
            {"name": name, "task": find(folder).task, "bytes": size, "what": summary_of(folder)}
        )
    return rows


def show(result: list[dict[str, Any]]) -> str:
    """Each on two lines, and how they are asked."""
    if not result:
        return "none: they come with a checkout of the project, in saved_models/adapters"
    lines = []
    for row in result:
        size = f"{row['bytes'] / 1e6:.1f} MB"
        lines += [f"{row['name']:<20}{row['task']}, {size}", f"  {row['what']}"]
    return "\n".join([*lines, "", f'spanbert-tf predict {result[0]["name"]} "..."'])
