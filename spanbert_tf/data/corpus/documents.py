"""Raw text files -> documents -> the texts of shards, streaming, in bounded memory.

`.txt` files hold one document after the other, parted by blank lines; `.jsonl` files hold one
document a line, an object with its text under a key.  Both may be gzipped.

Text is passed on as it is: the tokenizer is indifferent to the kind and amount of white space and
leaves out control characters itself.
"""

import codecs
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.tokenization.normalization import IDEOGRAPHS, PUNCTUATION, SPACES

SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")

# A longer line is passed on in parts, cut between words: a line of any length takes little memory.
LINE_PART = 1 << 20
# Characters; JSON is parsed a line at a time, which takes 3 to 12 bytes of memory for each.
LONGEST_RECORD = 64 << 20

_WORD_ENDS = SPACES | IDEOGRAPHS | PUNCTUATION


@dataclass(frozen=True, slots=True)
class ShardText:
    """The text that one shard is made of.

    Attributes:
        name: Name of the shard.
        lines: UTF-8, in order; what follows a line belongs to other words.
        document_starts: Numbers of the lines at which a document begins, the first always among
            them.
        documents: How many documents begin here: the first may be the rest of a long one.
        source: SHA-256 of the text and of where its documents begin.
    """

    name: str
    lines: list[bytes]
    document_starts: list[int]
    documents: int
    source: str


def corpus_files(paths: Sequence[str | os.PathLike[str]], output: Path | None = None) -> list[Path]:
    """Lists the files of a corpus in the order in which they are read.

    Args:
        paths: Files, in order.  A folder stands for the files in it, and in its folders, that
            have one of `SUFFIXES`, sorted by path.
        output: The folder that is written.

    Raises:
        DataError: A path does not exist, a file has another suffix, there is no file, or `output`
            lies in a folder that is read.
    """
    files = []
    for path in map(user_path, paths):
        if path.is_dir():
            if output is not None and output.resolve().is_relative_to(path.resolve()):
                raise DataError(f"{output}: lies in the folder {path}, which is read.")
            files += sorted(file for file in path.rglob("*") if _has_suffix(file))
        elif not path.exists():
            raise DataError(f"{path}: there is no such file.")
        elif not _has_suffix(path):
            raise DataError(f"{path}: expected a file named {', '.join(SUFFIXES)}, or a folder.")
        else:
            files.append(path)
    if not files:
        shown = ", ".join(map(str, paths)) or "no paths were given"
        raise DataError(f"{shown}: expected files named {', '.join(SUFFIXES)}, found none.")
    return files


def file_groups(files: Sequence[Path], least_bytes: int) -> list[list[Path]]:
    """Joins small files: consecutive ones share a group until it has `least_bytes` on disk.

    Groups share no shard, so that they can be read on different machines.
    """
    groups: list[list[Path]] = []
    size = least_bytes
    for file in files:
        if size >= least_bytes:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.stat().st_size
    return groups


def shard_texts(
    files: Sequence[Path], settings: CorpusSettings, group: int = 0
) -> Iterator[ShardText]:
    """Groups the documents of some files into the texts of shards.

    A shard ends with the document in which it reaches `shard_bytes`.  One that reaches twice as
    much within a document ends with the line, and the next begins with the document's rest.

    Args:
        files: Files to read, in order.
        settings: How to read them.
        group: Number of the group of files, part of the shards' names.

    Yields:
        The shards' texts, named `shard-GGGGG-NNNNN`.

    Raises:
        DataError: As `read_documents`.
    """
    lines: list[bytes] = []
    starts: list[int] = []
    size = number = documents = 0
    for begins, line in chain.from_iterable(read_documents(file, settings) for file in files):
        if lines and size >= (1 if begins else 2) * settings.shard_bytes:
            yield _shard_text(group, number, lines, starts, documents)
            lines, starts = [], []
            size = documents = 0
            number += 1
        if begins or not lines:
            starts.append(len(lines))
        documents += begins
        lines.append(line)
        size += len(line)
    if lines:
        yield _shard_text(group, number, lines, starts, documents)


def read_documents(path: Path, settings: CorpusSettings) -> Iterator[tuple[bool, bytes]]:
    """Reads a file line by line.

    Args:
        path: The file; its name says how it is read.
        settings: `text_key` and `undecodable` are used.

    Yields:
        Whether a document begins with the line, and the line (or a part of one that is long): not
        empty, UTF-8, ending where a word ends.

    Raises:
        DataError: The file cannot be read, holds NUL bytes, is not UTF-8 or, in JSON lines, has a
            line that is malformed, longer than `LONGEST_RECORD` or without a text.
    """
    name = path.name.lower().removesuffix(".gz")
    lines = _json_lines if name.endswith(".jsonl") else _text_lines
    yield from lines(path, settings)


def whole_documents(path: Path) -> Iterator[list[str]]:
    """Reads a file document by document.

    Args:
        path: The file; its name says how it is read.

    Yields:
        A document's lines, without white space around them.

    Raises:
        DataError: As `read_documents`.
    """
    lines: list[str] = []
    for begins, line in read_documents(path, CorpusSettings()):
        if begins and lines:
            yield lines
            lines = []
        lines.append(line.decode().strip())
    if lines:
        yield lines


def _has_suffix(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _shard_text(
    group: int, number: int, lines: list[bytes], starts: list[int], documents: int
) -> ShardText:
    # No line holds a line feed, so an empty one is unmistakable.
    digest = hashlib.sha256()
    begins = set(starts)
    for line_number, line in enumerate(lines):
        digest.update(b"\n" + line + b"\n" if line_number in begins else line + b"\n")
    name = f"shard-{group:05d}-{number:05d}"
    return ShardText(name, lines, starts, documents, digest.hexdigest())


def _text_lines(path: Path, settings: CorpusSettings) -> Iterator[tuple[bool, bytes]]:
    begins = blank = True
    rest = ""
    for _, part, ended in _parts(path, settings.undecodable):
        text = rest + part
        end = len(text) if ended else _last_word_end(text, 0, len(text))
        text, rest = text[:end], text[end:]
        if text.strip():
            yield begins, text.rstrip("\r\n").encode()
            begins = blank = False
        elif ended and blank:
            begins = True
        blank = blank or ended


def _json_lines(path: Path, settings: CorpusSettings) -> Iterator[tuple[bool, bytes]]:
    surrogates = "strict" if settings.undecodable == "strict" else "ignore"
    for number, record in _records(path, settings.undecodable):
        begins = True
        for line in _text_of(path, number, record, settings.text_key).split("\n"):
            for text in _short_parts(line):
                try:
                    encoded = text.encode("utf-8", surrogates)
                except UnicodeEncodeError as error:  # an escape may stand for half a character
                    raise DataError(f"{path}, line {number}: malformed text: {error}.") from error
                yield begins, encoded
                begins = False


def _records(path: Path, undecodable: str) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line of JSON that is not blank."""
    parts: list[str] = []
    for number, part, ended in _parts(path, undecodable):
        parts.append(part)
        if sum(map(len, parts)) > LONGEST_RECORD:
            raise DataError(
                f"{path}, line {number}: a record of more than {LONGEST_RECORD:,} characters; "
                "split its text into several documents, or give it as a .txt file."
            )
        if ended:
            record = "".join(parts)
            parts = []
            if record.strip():
                yield number, record


def _text_of(path: Path, number: int, record: str, key: str) -> str:
    try:
        document = json.loads(record)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: malformed JSON: {error}.") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}, line {number}: expected an object, found {document!r:.80}.")
    if not isinstance(document.get(key), str):
        found = repr(document[key]) if key in document else f"only the keys {list(document)}"
        raise DataError(
            f"{path}, line {number}: expected a string under {key!r}, found {found:.80}."
        )
    return document[key]


def _short_parts(line: str) -> Iterator[str]:
    """Cuts a line between words into parts of `LINE_PART` characters, those with text."""
    begin = 0
    while begin < len(line):
        end = min(begin + LINE_PART, len(line))
        if end < len(line):
            end = _last_word_end(line, begin, end)
        if (text := line[begin:end]).strip():
            yield text
        begin = end


def _last_word_end(text: str, begin: int, end: int) -> int:
    """Finds the last place where `text[begin:end]` may be cut.

    A "word" that fills all of it may be cut anywhere: the tokenizer takes it, and any long part
    of it, for an unknown one.
    """
    for place in range(end, begin, -1):
        if ord(text[place - 1]) in _WORD_ENDS:
            return place
    return end


def _parts(path: Path, undecodable: str) -> Iterator[tuple[int, str, bool]]:
    """Yields lines in parts of `LINE_PART` bytes: the line's number, text, whether it ends there.

    Lines end at line feeds only: characters such as U+2028 belong to the text.
    """
    number, ended = 1, True
    decode = codecs.getincrementaldecoder("utf-8")(undecodable).decode
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            while raw := file.readline(LINE_PART):
                is_first = number == 1 and ended
                ended = raw.endswith(b"\n") or len(raw) < LINE_PART
                if b"\0" in raw:
                    raise DataError(f"{path}, line {number}: a NUL byte; expected UTF-8 text.")
                text = decode(raw, ended)
                yield number, text.removeprefix("\ufeff") if is_first else text, ended
                number += ended
            if not ended:
                yield number, decode(b"", True), True
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8: {error}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read after line {number - 1}: {error}.") from error
