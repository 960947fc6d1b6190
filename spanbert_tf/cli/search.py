"""`spanbert-tf search`: the texts of an index that are nearest to a query."""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from spanbert_tf.cli.showing import one_line
from spanbert_tf.start_up import without_info

SUMMARY = "find the texts of an index that are nearest to a query in meaning"
EXAMPLE = 'spanbert-tf search indexes/articles "how bridges are built" -k 5'


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    command.add_argument("index", metavar="INDEX", help="folder that `spanbert-tf index` wrote")
    command.add_argument("texts", metavar="QUERY", nargs="+", help="what to look for")
    command.add_argument(
        "-k", type=int, default=10, metavar="N", help="how many texts to find (default: 10)"
    )
    command.add_argument(
        "--model",
        metavar="MODEL",
        help="where the encoder is that the index was made with, if it was moved",
    )


def run(arguments: Namespace) -> list[tuple[str, list[Any]]]:
    """Searches; gives each query with its hits."""
    from spanbert_tf.search.text_index import TextIndex

    with without_info():
        index = TextIndex.load(arguments.index, arguments.model)
    hits = index.search(arguments.texts, arguments.k)
    return list(zip(arguments.texts, hits, strict=True))


def to_json(result: list[tuple[str, list[Any]]]) -> list[dict[str, Any]]:
    """Each query with the id, score and text of each hit."""
    return [{"query": query, "hits": [asdict(hit) for hit in hits]} for query, hits in result]


def show(result: list[tuple[str, list[Any]]]) -> str:
    """A line for each hit, below its query if there are several."""
    lines = []
    for query, hits in result:
        if len(result) > 1:
            lines.append(one_line(query))
        indent = "  " if len(result) > 1 else ""
        width = max((len(str(hit.id)) for hit in hits), default=0)
        lines += [
            f"{indent}{hit.score:.3f}  {hit.id!s:>{width}}  {one_line(hit.text)}" for hit in hits
        ]
    return "\n".join(lines)
