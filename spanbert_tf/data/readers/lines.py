"""Files of text -> lines, whatever their encoding and line breaks; and what all readers report."""

import codecs
import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path

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


@dataclass(frozen=True, slots=True)
class FilePart:
    """Some lines of a file, which readers take in the place of the whole file.

    Attributes:
        path: The file.
        first_line: Number of the first of the lines, from 1.
        lines: Their text, without line breaks.
        header: The lines that all parts begin with, the first ones of the file: of TSV and CSV
            those up to the names of the columns.
    """

    path: Path
    first_line: int
    lines: Sequence[str]
    header: Sequence[str] = ()

    def __str__(self) -> str:
        """The file, for messages."""
        return str(self.path)


Source = Path | FilePart
AnySource = str | os.PathLike[str] | FilePart


def as_source(path: AnySource) -> Source:
    """A path as people write it, see `user_path`; a part of a file stays as it is."""
    return path if isinstance(path, FilePart) else user_path(path)


def read_lines(path: Source) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line, without its line break, of a file, plain or `.gz`.

    The file `-` is standard input.  Lines end at line feeds, with or without a carriage return
    before; in a file without any line feed, at carriage returns.  Characters such as U+2028 belong
    to the text.  The encoding is UTF-8, or UTF-16 or UTF-32 where the file begins with their byte
    order mark.

    Raises:
        DataError: The file cannot be read, or a line is not in its encoding or holds a NUL byte.
    """
    if isinstance(path, FilePart):
        yield from enumerate(path.header, 1)
        yield from enumerate(path.lines, path.first_line)
        return
    number = 0
    with reading(path, lambda: number), open_file(path) as file:
        for number, text in _texts(file):
            check_no_nul(path, number, text)
            yield number, text


@contextmanager
def reading(path: Path, last_line: Callable[[], int]) -> Iterator[None]:
    """Makes a `DataError` of whatever keeps a file from being read.

    Args:
        path: The file.
        last_line: Gives the number of the last line that was read well.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: expected a file, found a folder.") from error
    except UnicodeDecodeError as error:
        # The one that could not be decoded, after the last one that could.
        raise DataError(
            f"{path}, line {last_line() + 1}: not {error.encoding.upper()}: {error}. Save the file "
            "as UTF-8: `iconv -f WINDOWS-1252 -t UTF-8` does it for many."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read after line {last_line()}: {error}.") from error


def check_no_nul(path: Path, number: int, text: str) -> None:
    """Refuses a line that holds a NUL byte.

    Raises:
        DataError: It does.
    """
    if "\0" in text:
        raise DataError(
            f"{path}, line {number}: a NUL byte; expected UTF-8 text, or UTF-16 that begins with a "
            "byte order mark."
        )


def open_file(path: Path) -> Any:
    """Opens a file, plain or `.gz`, to read bytes; `-` is standard input."""
    if path == STANDARD_INPUT:  # A copy, which may be closed.
        return io.BufferedReader(io.BytesIO(sys.stdin.buffer.read()))
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def encoding_of(begin: bytes) -> str:
    """The encoding of a file by its first four bytes."""
    return next(name for mark, name in _ENCODINGS if begin.startswith(mark))


def _texts(file: Any) -> Iterator[tuple[int, str]]:
    encoding = encoding_of(file.peek(4))
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


def suffix_of(path: Source) -> str:
    """The suffix that tells the format: `.tsv` of `reviews.TSV.gz`."""
    path = path.path if isinstance(path, FilePart) else path
    path = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return path.suffix.lower()


def quote(value: object) -> str:
    """Shows a value in a message, cut short where it is long."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."
