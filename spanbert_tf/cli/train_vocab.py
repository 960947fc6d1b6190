"""`spanbert-tf train-vocab`: word pieces from raw text."""

from argparse import Namespace
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import add_corpus, add_overwrite

SUMMARY = "learn a vocabulary of word pieces from raw text"
EXAMPLE = "spanbert-tf train-vocab texts/ --output vocab.txt --size 30000"
NEEDS_TENSORFLOW = False


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    add_corpus(command)
    command.add_argument(
        "--output",
        type=user_path,
        required=True,
        metavar="FILE",
        help="file to write, a piece a line",
    )
    command.add_argument(
        "--size", type=int, default=30_000, metavar="N", help="number of pieces (default: 30000)"
    )
    command.add_argument(
        "--unused",
        type=int,
        metavar="N",
        help="number of pieces [unused0], [unused1], ... among them, which tasks such as "
        "relation-extraction give a meaning (default: a twentieth of the pieces, at most 99)",
    )
    add_overwrite(command)


def run(arguments: Namespace) -> dict[str, Any]:
    """Learns a vocabulary and writes it."""
    from spanbert_tf.atomic_files import atomic_file
    from spanbert_tf.data.corpus.vocabulary_training import train_vocabulary
    from spanbert_tf.output_folders import check_places

    check_places([arguments.output], arguments.paths)
    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(
            f"{arguments.output} exists: choose another --output or --overwrite it"
        )
    pieces = train_vocabulary(
        arguments.paths, arguments.size, lowercase=arguments.lowercase, unused=arguments.unused
    )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(arguments.output) as path:
        path.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")
    return {"vocabulary": str(arguments.output), "pieces": len(pieces)}


def show(result: dict[str, Any]) -> str:
    """What was written, and where."""
    return f"wrote {result['pieces']:,} word pieces to {result['vocabulary']}"
