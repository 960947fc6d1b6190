"""Files of texts to search in -> texts with ids."""

import os
from dataclasses import dataclass
from pathlib import Path

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.readers.lines import DataError, quote, read_lines, suffix_of
from spanbert_tf.data.readers.tables import (
    SUFFIXES,
    TEXT_COLUMNS,
    find_columns,
    read_table,
    string_of,
)

_USUAL_COLUMNS = {"text": TEXT_COLUMNS, "id": ("id",)}


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that a search may find.

    Attributes:
        id: From the column of ids; where there is none, the line where the text starts, from 1.
        text: The text.
    """

    id: str | int
    text: str


def read_passages(
    path: str | os.PathLike[str],
    text_column: str | None = None,
    id_column: str | None = None,
    delimiter: str | None = None,
    quoting: str | None = None,
) -> list[Passage]:
    """Reads texts from a `.tsv`, `.csv` or `.jsonl` file, or one a line from any other.

    Args:
        path: The file, plain or `.gz`; `-` is standard input, plain text.
        text_column: As in `tables.read_examples`.
        id_column: The same for ids, strings or, in JSON lines, integers; `None`: a column named
            "id", if there is one.
        delimiter: As in `tables.read_examples`.
        quoting: As in `tables.read_examples`.

    Returns:
        The texts in the order of the file; blank lines of plain text are left out.

    Raises:
        DataError: The file cannot be read or is malformed, an id is there twice, a text is empty,
            or there is none.
    """
    path = user_path(path)
    rows: list[tuple[int, str | int, str]]
    if suffix_of(path) in SUFFIXES:
        rows = _rows_of_table(path, text_column, id_column, delimiter, quoting)
    else:
        rows = [(line, line, text) for line, text in read_lines(path) if text.strip()]
    if not rows:
        raise DataError(f"{path}: there are no texts; expected one a line.")
    first: dict[str | int, int] = {}
    for line, each, text in rows:
        if not text.strip():
            raise DataError(f"{path}, line {line}: the text is empty.")
        if each in first:
            raise DataError(
                f"{path}, line {line}: the id {quote(each)} is that of line {first[each]} too."
            )
        first[each] = line
    return [Passage(each, text) for _, each, text in rows]


def _rows_of_table(
    path: Path,
    text_column: str | None,
    id_column: str | None,
    delimiter: str | None,
    quoting: str | None,
) -> list[tuple[int, str | int, str]]:
    """Lists line, id and text of each record."""
    records = read_table(path, delimiter, quoting)
    columns = {"text": text_column, "id": id_column}
    names = find_columns(path, records, columns, _USUAL_COLUMNS, optional=("id",))
    rows: list[tuple[int, str | int, str]] = []
    for line, record in records:
        text = string_of(path, line, record, str(names["text"]))
        name = names["id"]
        each: str | int = line
        if name is not None:
            value = record.get(name)
            # Not a bool, which is an int too.
            each = value if type(value) is int else string_of(path, line, record, name)
        rows.append((line, each, text))
    return rows
