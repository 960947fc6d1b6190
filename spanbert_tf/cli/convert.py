"""`spanbert-tf convert`: an encoder from one format to another."""

from argparse import Namespace
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import SOURCE_HELP, add_overwrite

SUMMARY = "convert an encoder: a checkpoint or SavedModel to Keras, or Keras to Hugging Face"
EXAMPLE = "spanbert-tf convert hf://SpanBERT/spanbert-base-cased presets/spanbert_base"


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    command.add_argument("source", metavar="SRC", help=SOURCE_HELP)
    command.add_argument("destination", metavar="DST", type=user_path, help="folder to write")
    command.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="KEYS",
        help="leave out a checkpoint's tensors of such keys, as 'crf.*'; may be repeated",
    )
    add_overwrite(command)


def run(arguments: Namespace) -> dict[str, Any]:
    """Converts."""
    from spanbert_tf.export.conversion import convert
    from spanbert_tf.handles import find

    path = convert(arguments.source, arguments.destination, arguments.overwrite, arguments.drop)
    return {"path": str(path), "format": f"a {find(path).kind}"}


def show(result: dict[str, Any]) -> str:
    """What was written, and where."""
    return f"wrote {result['format']} to {result['path']}"
