"""Files of texts -> parts of them, each read on its own, whoever reads the others.

A part is some whole records; of TSV and CSV, where one may have several lines, the header goes with
each part.

What is kept of a file is where its parts begin.  Of a `.gz` file that is a place in what is
unpacked: reaching it takes unpacking all that is before, so parts of one are best read in turn.
In a file that has changed since, parts would begin within lines: each place knows which file it is
of.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from spanbert_tf.data.readers.delimited import USUAL_DELIMITERS, Line, read_rows
from spanbert_tf.data.readers.lines import (
    STANDARD_INPUT,
    DataError,
    FilePart,
    check_no_nul,
    encoding_of,
    open_file,
    reading,
    suffix_of,
)

PART_BYTES = 4 << 20  # A part ends with the record that reaches it, which bounds memory.
LONGEST_LINE = 64 << 20  # bytes


class Place(NamedTuple):
    """Where a part of a file is.

    Attributes:
        number: Of the part, from 0.
        begin: Its first byte, in what is unpacked.
        first_line: Number of its first line, from 1.
        lines: How many lines it has.
        records: How many records they hold: in JSON lines those that are not blank.
        header_lines: How many lines the file has up to the names of its columns.
        file_bytes: The size of the file.
        file_time: When the file was last changed, in nanoseconds.
    """

    number: int
    begin: int
    first_line: int
    lines: int
    records: int
    header_lines: int
    file_bytes: int
    file_time: int


class _Read(NamedTuple):
    """What is read of a file so far: whole records, and a header."""

    lines: int = 0
    bytes: int = 0
    records: int = 0


def find_parts(
    path: Path, records: int, delimiter: str | None = None, quoting: str | None = None
) -> list[Place]:
    """Reads a file through, in bounded memory, and says where its parts are.

    Args:
        path: A `.jsonl`, `.tsv` or `.csv` file, or one whose lines are texts; plain or `.gz`,
            UTF-8.
        records: Records of a part, but for the last one, and for those of long records, which end
            once they have 4 MB.
        delimiter: How TSV and CSV are written, see `read_records`.
        quoting: The same.

    Raises:
        DataError: The file cannot be read, or a line is no text, see `read_lines`; it is one JSON
            object; it is not UTF-8; a line is longer than 64 MB; quotes do not match; or there is
            no record.
    """
    if path == STANDARD_INPUT:
        raise DataError("standard input cannot be read in parts: give the name of a file.")
    if suffix_of(path) == ".json":
        raise DataError(
            f"{path}: .json files are not read in parts: expected a .jsonl, .tsv, .csv or .txt "
            "file, or one of them .gz."
        )
    places: list[Place] = []
    with _opened(path) as file:
        state = _state_of(os.fstat(file.fileno()))
        header = begin = end = _Read()

        def close() -> None:
            lines, found = end.lines - begin.lines, end.records - begin.records
            place = len(places), begin.bytes, begin.lines + 1, lines, found, header.lines
            places.append(Place(*place, *state))

        if suffix_of(path) in USUAL_DELIMITERS:
            each = _read_rows(file, path, delimiter, quoting)
            header = begin = end = next(each, end)
        else:
            each = _read_lines(file, path)
        for read in each:
            found = end.records - begin.records
            if found == records or (found and end.bytes - begin.bytes >= PART_BYTES):
                close()
                begin = end
            end = read
        if end.records > begin.records:
            close()
    if not places:
        what = "there is no record after the header" if header.lines else "the file is empty"
        raise DataError(f"{path}: {what}; expected a record a line.")
    return places


def _read_lines(file: Any, path: Path) -> Iterator[_Read]:
    """Says after each line what is read."""
    is_json = suffix_of(path) == ".jsonl"
    size = records = 0
    for number, raw, text in _lines(file, path):
        size += raw
        records += bool(text.strip()) or not is_json
        yield _Read(number, size, records)


def _read_rows(
    file: Any, path: Path, delimiter: str | None, quoting: str | None
) -> Iterator[_Read]:
    """Says after the header, and after each row, what is read."""
    lines = size = 0

    def texts() -> Iterator[Line]:
        nonlocal lines, size
        for lines, raw, text in _lines(file, path):
            size += raw
            yield lines, text

    _, rows = read_rows(path, texts(), delimiter, quoting)
    for records, _ in enumerate(rows):  # The first one is the header.
        yield _Read(lines, size, records)


def read_parts(path: Path, places: Iterable[Place]) -> Iterator[tuple[Place, FilePart]]:
    """Yields parts of a file that `find_parts` has found, one at a time in memory.

    Raises:
        DataError: The file cannot be read, or is not the one any more that was read then.
    """
    header: list[str] = []
    with _opened(path) as file:
        for place in places:
            if len(header) < place.header_lines:
                header = [text for *_, text in islice(_lines(file, path), place.header_lines)]
            lines: list[str] = []
            for _, _, text in _lines(file, path, place.begin, place.first_line):
                lines.append(text)
                if len(lines) == place.lines:
                    break
            if len(lines) < place.lines:
                raise DataError(
                    f"{path}: changed while it was read: there is no line "
                    f"{place.first_line + len(lines)} any more."
                )
            check_unchanged(path, place)
            yield place, FilePart(path, place.first_line, lines, header)


def check_unchanged(path: Path, place: Place) -> None:
    """Refuses a file that is not the one any more in which a place was found.

    Raises:
        DataError: It has another size, was changed since, or is gone.
    """
    with reading(path, lambda: 0):
        size, time = _state_of(path.stat())
    if size != place.file_bytes:
        raise DataError(
            f"{path}: changed while it was read: it had {place.file_bytes:,} bytes, and has "
            f"{size:,} now."
        )
    if time != place.file_time:
        raise DataError(f"{path}: changed while it was read: it was written anew.")


def _state_of(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _opened(path: Path) -> Any:
    with reading(path, lambda: 0):
        return open_file(path)


def _lines(
    file: Any, path: Path, begin: int = 0, first_line: int = 1
) -> Iterator[tuple[int, int, str]]:
    """Yields number, bytes and text of each line of an open file, from one of them on."""
    last = first_line - 1
    with reading(path, lambda: last):
        file.seek(begin)
        while raw := file.readline(LONGEST_LINE):
            if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
                raise DataError(
                    f"{path}, line {last + 1}: more than {LONGEST_LINE:,} bytes; expected a record "
                    "a line."
                )
            if last == 0:
                _check_begin(path, raw)
            text = raw.decode()
            last += 1
            check_no_nul(path, last, text)
            yield last, len(raw), text.removeprefix("\ufeff" if last == 1 else "").rstrip("\r\n")


def _check_begin(path: Path, raw: bytes) -> None:
    """Refuses what `read_lines` would take for more than a line, by the first one."""
    if (encoding := encoding_of(raw[:4])) != "utf-8":
        raise DataError(
            f"{path}: {encoding.upper()} is not read in parts: save the file as UTF-8, by `iconv "
            f"-f {encoding.upper()} -t UTF-8`."
        )
    if not raw.endswith(b"\n") and b"\r" in raw.removesuffix(b"\r"):
        raise DataError(
            f"{path}: lines that end at carriage returns alone are not read in parts: save the "
            "file with line feeds."
        )
