"""TSV and CSV files -> records, with what parts their fields told from the header, and said."""

import csv
import logging
import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from spanbert_tf.data.readers.lines import DataError, Source, quote, read_lines, suffix_of

Record = tuple[int, dict[str, object]]  # the line it starts at, its fields by column
Row = tuple[int, list[str]]  # the line it starts at, its fields
Line = tuple[int, str]  # its number, its text

USUAL_DELIMITERS = {".tsv": "\t", ".csv": ","}
_DELIMITERS = (",", ";", "|")
_SPOKEN = {"tab": "\t", "\\t": "\t"}
_EXCEL = re.compile(r"sep=(.)")  # Excel's own first line.
_ADVICE = "`delimiter` and `quoting` say how the file is written"

_log = logging.getLogger(__name__)


class Dialect(NamedTuple):
    """How a file is written.

    Attributes:
        delimiter: The character that parts its fields.
        quoted: Whether a field may stand in double quotes, and then hold the delimiter, line
            breaks, and quotes that are written twice.  If not, quotes are characters like others.
    """

    delimiter: str
    quoted: bool


def read_records(
    path: Source, delimiter: str | None = None, quoting: str | None = None
) -> Iterator[Record]:
    """Yields line and fields of each row of a TSV or CSV file, plain or `.gz`.

    The first row holds the names of the columns; those without a name are left out.

    Args:
        path: The file.
        delimiter: What parts the fields, a character or `"tab"`.  `None`: a tab if the header has
            one, else that of comma, semicolon and bar which it has most often.
        quoting: `"double"`: as in CSV a field may stand in double quotes.  `"none"`: quotes are
            characters like others.  `None`: as in CSV, but in a `.tsv` only where the header is in
            quotes.

    Raises:
        DataError: The file cannot be read, its first row is no header, or a row has another number
            of fields, or quotes that do not match.
    """
    dialect, rows = read_rows(path, read_lines(path), delimiter, quoting)
    return iter(()) if dialect is None else _with_header(path, rows, dialect)


def written_as(
    path: Source, delimiter: str | None = None, quoting: str | None = None
) -> tuple[str | None, str | None]:
    """Delimiter and quoting of a TSV or CSV file, as `read_records` takes them and finds them.

    Of an empty file, and one of another kind, they stay as they are.
    """
    if suffix_of(path) not in USUAL_DELIMITERS:
        return delimiter, quoting
    dialect, _ = read_rows(path, read_lines(path), delimiter, quoting)
    if dialect is None:
        return delimiter, quoting
    return dialect.delimiter, "double" if dialect.quoted else "none"


def read_rows(
    path: Source, lines: Iterator[Line], delimiter: str | None, quoting: str | None
) -> tuple[Dialect | None, Iterator[Row]]:
    """Tells how a TSV or CSV file is written, and what its rows are, the header first.

    Blank lines, such as many files end with, are no rows, unless there is one column alone.

    Of `lines`, no more is taken than the rows so far have.

    Args:
        path: Names the file.
        lines: Number and text of its lines.
        delimiter: As for `read_records`.
        quoting: As for `read_records`.

    Returns:
        The dialect, `None` if there is no line; and the line where each row begins, with its
        fields.

    Raises:
        DataError: As `read_records`, but for what a row is like.
    """
    first = next(lines, None)
    excel = first and _EXCEL.fullmatch(first[1])
    if excel:
        if delimiter is None:
            delimiter = excel[1]
            _log.warning("%s: fields are parted by %r, as its first line says", path, delimiter)
        first = next(lines, None)
    if first is None:
        return None, iter(())
    dialect = _dialect(path, first[1], delimiter, quoting)
    lines = chain([first], lines)
    if dialect.quoted:
        rows = _quoted_rows(path, lines, dialect)
    else:
        rows = _rows(path, lines, dialect, warned=quoting is not None)
    return dialect, _without_blank_lines(rows)


def _dialect(path: Source, header: str, delimiter: str | None, quoting: str | None) -> Dialect:
    """How a file is written: as it was said, else as its header looks."""
    usual = USUAL_DELIMITERS[suffix_of(path)]
    bare = re.sub(r'"[^"]*"', "", header) if quoting != "none" else header
    if delimiter is not None:
        delimiter = _SPOKEN.get(delimiter, delimiter)
        if len(delimiter) != 1:
            raise DataError(f"{path}: `delimiter` must be one character, but is {delimiter!r}.")
    else:
        delimiter = _most_frequent(bare, usual)
        if delimiter != usual:
            _log.warning("%s: fields are parted by %r, as in its header", path, delimiter)
    if quoting is not None:
        quoted = quoting == "double"
    else:
        cells = header.split(delimiter)
        quoted = suffix_of(path) == ".csv" or all(map(_is_quoted, cells))
        if quoted and suffix_of(path) != ".csv":
            _log.warning("%s: fields may stand in quotes, as those of its header do", path)
    return Dialect(delimiter, quoted)


def _most_frequent(header: str, usual: str) -> str:
    if "\t" in header:
        return "\t"
    counts = {each: header.count(each) for each in _DELIMITERS}  # The comma wins a draw.
    return max(counts, key=counts.__getitem__) if any(counts.values()) else usual


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell.startswith('"') and cell.endswith('"')


def _rows(path: Source, lines: Iterator[Line], dialect: Dialect, warned: bool) -> Iterator[Row]:
    for line, text in lines:
        row = text.split(dialect.delimiter)
        if not warned and any(map(_is_quoted, row)):
            warned = True
            _log.warning(
                "%s, line %d: quotes around a field are kept as a part of it; `quoting` double "
                "reads them as CSV has them",
                path,
                line,
            )
        yield line, row


def _quoted_rows(path: Source, lines: Iterator[Line], dialect: Dialect) -> Iterator[Row]:
    line = 0  # Where the row begins; 0 before its first line.

    def texts() -> Iterator[str]:
        nonlocal line
        for number, text in lines:
            line = line or number
            yield text + "\n"

    reader = csv.reader(texts(), strict=True, delimiter=dialect.delimiter)
    while True:
        line = 0
        # The limit is the module's, not the reader's: raised for one row, then put back.
        limit = csv.field_size_limit(2**31 - 1)
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}, line {line}: malformed CSV: {error}. In the row that begins there, a "
                'quote opens a field and does not close it, or not at its end: write `""` for a '
                "quote within a quoted field, or give `quoting` none where quotes are characters "
                "like others."
            ) from error
        finally:
            csv.field_size_limit(limit)
        yield line, row or [""]


def _without_blank_lines(rows: Iterator[Row]) -> Iterator[Row]:
    header = next(rows)
    yield header
    for row in rows:
        if row[1] != [""] or len(header[1]) == 1:
            yield row


def _with_header(path: Source, rows: Iterator[Row], dialect: Dialect) -> Iterator[Record]:
    """Makes dictionaries of rows; the first row holds the keys."""
    line, header = next(rows)
    names = [name.strip() for name in header]
    named = [name for name in names if name]
    if len(set(named)) < len(named) or not named:
        raise DataError(
            f"{path}, line {line}: expected a header row of different column names, "
            f"found {quote(header)}."
        )
    overflowing = 0
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: expected {len(header)} fields "
                f"({', '.join(map(quote, header[:20]))}), parted by {dialect.delimiter!r}, found "
                f"{len(row)}. {_ADVICE}."
            )
        fields = list(zip(names, row, strict=True))
        overflowing += any(value for name, value in fields if not name)
        yield line, {name: value for name, value in fields if name}
    if overflowing:
        _log.warning(
            "%s: %d rows have something in columns without a name, which are not read",
            path,
            overflowing,
        )
