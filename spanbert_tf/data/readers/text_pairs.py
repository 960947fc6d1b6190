"""Files of texts and what they shall become, translations or summaries -> records.

TSV, CSV and JSON lines, see `tables`, with columns `source` and `target`.
"""

import os
from dataclasses import dataclass

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.readers.lines import AnySource, DataError, suffix_of
from spanbert_tf.data.readers.tables import SUFFIXES, read_texts

SOURCE, TARGET = "source", "target"


@dataclass(frozen=True, slots=True)
class TextPair:
    """A text and what it shall become.

    Attributes:
        source: The text.
        target: The other one.
        line: Number of the line where it starts, from 1.
        path: The file that it is from.
    """

    source: str
    target: str
    line: int = 0
    path: str = ""


def read_text_pairs(
    path: str | os.PathLike[str],
    source_column: str | None = None,
    target_column: str | None = None,
    delimiter: str | None = None,
    quoting: str | None = None,
) -> list[TextPair]:
    """Reads pairs of texts.

    Args:
        path: A `.tsv`, `.csv` or `.jsonl` file, plain or `.gz`.
        source_column: Column of the sources; `None`: `source`.
        target_column: Column of the targets; `None`: `target`.
        delimiter: What parts the fields of TSV and CSV, see `delimited.read_records`.
        quoting: `"double"` or `"none"`, see `delimited.read_records`.

    Returns:
        The pairs in the order of the file.

    Raises:
        DataError: As `tables.read_examples`, or a text is empty.
    """
    path = user_path(path)
    if suffix_of(path) not in SUFFIXES:
        raise DataError(f"{path}: expected a file named {', '.join(SUFFIXES)}, or one of them .gz.")
    columns = source_column or SOURCE, target_column or TARGET
    pairs = []
    for example in read_texts(path, *columns, delimiter, quoting):
        pair = TextPair(example.text, example.pair or "", example.line, example.path)
        for name in (SOURCE, TARGET):
            if not getattr(pair, name).strip():
                raise DataError(f"{path}, line {pair.line}: the {name} is empty.")
        pairs.append(pair)
    return pairs


def read_sources(
    path: AnySource,
    source_column: str | None = None,
    delimiter: str | None = None,
    quoting: str | None = None,
) -> list[str]:
    """Reads texts alone: a column of what `read_text_pairs` reads, or a text a line of other files.

    Raises:
        DataError: As `tables.read_texts`.
    """
    examples = read_texts(path, source_column or SOURCE, None, delimiter, quoting)
    return [example.text for example in examples]
