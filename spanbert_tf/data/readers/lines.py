"""Files of text -> lines, whatever their encoding and line breaks; and what all readers report."""

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

STANDARD_INPUT = Path("-")

# What a file may begin with, and how it is read then: UTF-32's mark begins with UTF-16's.
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"", "utf-8"),
)


class DataError(ValueError):
    """A file, or a line of one, is not what a reader expects."""


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line, without its line break, of a file, plain or `.gz`.

    The file `-` is standard input.  Lines end at line feeds, with or without a carriage return
    before; in a file without any line feed, at carriage returns.  Characters such as U+2028 belong
    to the text.  The encoding is UTF-8, or UTF-16 or UTF-32 where the file begins with their byte
    order mark.

    Raises:
        DataError: The file cannot be read, or a line is not in its encoding or holds a NUL byte.
    """
    number = 0
    try:
        with _open(path) as file:
            for number, text in _texts(file):
                if "\0" in text:
                    raise DataError(
                        f"{path}, line {number}: a NUL byte; expected UTF-8 text, or UTF-16 that "
                        "begins with a byte order mark."
                    )
                yield number, text
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: expected a file, found a folder.") from error
    except UnicodeDecodeError as error:
        # The one that could not be decoded, after the last one that could.
        raise DataError(
            f"{path}, line {number + 1}: not {error.encoding.upper()}: {error}. Save the file as "
            "UTF-8: `iconv -f WINDOWS-1252 -t UTF-8` does it for many."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read after line {number}: {error}.") from error


def _open(path: Path) -> Any:
    if path == STANDARD_INPUT:  # A copy, which may be closed.
        return io.BufferedReader(io.BytesIO(sys.stdin.buffer.read()))
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _texts(file: Any) -> Iterator[tuple[int, str]]:
    begin = file.peek(4)
    encoding = next(name for mark, name in _ENCODINGS if begin.startswith(mark))
    # UTF-8 line by line, so that an error is of a line.
    is_utf8 = encoding == "utf-8"
    number = 0
    with nullcontext(file) if is_utf8 else io.TextIOWrapper(file, encoding, newline="\n") as lines:
        for line in lines:
            text = line if isinstance(line, str) else line.decode(encoding)
            parts = [text]
            if number == 0 and not text.endswith("\n"):  # The whole file, maybe an old Macintosh's.
                parts = text.removesuffix("\r").split("\r")
            for part in parts:
                number += 1
                yield number, part.removeprefix("\ufeff" if number == 1 else "").rstrip("\r\n")


def suffix_of(path: Path) -> str:
    """The suffix that tells the format: `.tsv` of `reviews.TSV.gz`."""
    path = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return path.suffix.lower()


def quote(value: object) -> str:
    """Shows a value in a message, cut short where it is long."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."
