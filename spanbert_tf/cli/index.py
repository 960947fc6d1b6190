"""`spanbert-tf index`: texts to an index that `search` finds them in."""

from argparse import Namespace
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import SOURCE_HELP, add_overwrite, add_settings
from spanbert_tf.cli.showing import counted, say
from spanbert_tf.settings import VECTORS, AskedColumns
from spanbert_tf.start_up import without_info

SUMMARY = "encode texts into an index that they are found in by their meaning"
EXAMPLE = "spanbert-tf index articles.jsonl --output indexes/articles --model runs/vectors/litert"

_TEXTS_A_LINE = 2**14  # Of progress.


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    command.add_argument(
        "file",
        metavar="FILE",
        help="texts, one a line, or .tsv, .csv or .jsonl; - reads lines of standard input",
    )
    command.add_argument(
        "--output", type=user_path, required=True, metavar="FOLDER", help="index to write"
    )
    command.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="what makes the vectors: a fine-tuned embedder in any format, an encoder for LiteRT, "
        f"or {SOURCE_HELP}",
    )
    command.add_argument(
        "--vectors",
        choices=VECTORS,
        default=VECTORS[0],
        help="how they are kept: int8 takes a quarter of float32, bits a 32nd; bits+float32 is "
        f"larger, and faster for single queries (default: {VECTORS[0]})",
    )
    command.add_argument(
        "--approximate",
        action="store_true",
        help="also make a graph, by usearch: far faster among hundreds of thousands of texts",
    )
    columns = ("text_column", "delimiter", "quoting")
    add_settings(command, AskedColumns, "how the file is read", columns)
    command.add_argument(
        "--id-column",
        metavar="NAME",
        help="column of what hits are known by (default: id, or the number of the line)",
    )
    add_overwrite(command)


def run(arguments: Namespace) -> dict[str, Any]:
    """Encodes the texts and writes the index."""
    from spanbert_tf.data.readers.passages import read_passages
    from spanbert_tf.handles import path_of
    from spanbert_tf.output_folders import check_outputs, size_of_files
    from spanbert_tf.search.text_index import TextIndex

    read = [arguments.file, path_of(arguments.model)]
    check_outputs([arguments.output], arguments.overwrite, read)
    names = ("text_column", "id_column", "delimiter", "quoting")
    options = {name: getattr(arguments, name) for name in names}
    passages = read_passages(arguments.file, **options)
    with without_info():
        index = TextIndex(arguments.model, arguments.vectors, arguments.approximate)
    for begin in range(0, len(passages), _TEXTS_A_LINE):
        part = passages[begin : begin + _TEXTS_A_LINE]
        try:
            index.add([each.text for each in part], [each.id for each in part])
        except ValueError as error:
            if begin:
                error.add_note(f"Texts are counted from that of the id {part[0].id!r} here.")
            raise
        say(f"{len(index):,} of {counted(len(passages), 'text')}")
    index.save(arguments.output, arguments.overwrite)
    return {
        "index": str(arguments.output),
        "texts": len(index),
        "bytes": size_of_files(arguments.output),
    }


def show(result: dict[str, Any]) -> str:
    """What was written, and where."""
    size = f"{result['bytes'] / 1e6:,.1f} MB"
    return f"wrote an index of {counted(result['texts'], 'text')}, {size}: {result['index']}"
