"""Files of text -> lines, and what all readers report."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

STANDARD_INPUT = Path("-")


class DataError(ValueError):
    """A file, or a line of one, is not what a reader expects."""


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line, without its line break, of a file, plain or `.gz`.

    The file `-` is standard input.  Lines end at line feeds only: characters such as U+2028 belong
    to the text.

    Raises:
        DataError: The file cannot be read, or a line is not UTF-8 or holds a NUL byte.
    """
    number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, start=1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if "\0" in text:
                    raise DataError(f"{path}, line {number}: a NUL byte; expected UTF-8 text.")
                yield number, text
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: expected a file, found a folder.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8: {error}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read after line {number}: {error}.") from error


def _open(path: Path) -> AbstractContextManager[Any]:
    if path == STANDARD_INPUT:
        return nullcontext(sys.stdin.buffer)
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def suffix_of(path: Path) -> str:
    """The suffix that tells the format: `.tsv` of `reviews.TSV.gz`."""
    path = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return path.suffix.lower()


def quote(value: object) -> str:
    """Shows a value in a message, cut short where it is long."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."
