"""Vocabulary files: one word piece a line, its id the line's number counted from 0."""

import os
from collections import Counter
from collections.abc import Callable, Sequence

from spanbert_tf.atomic_files import user_path
from spanbert_tf.tokenization.normalization import (
    CONTINUATION,
    MAX_CHARACTERS_PER_WORD,
    SPECIAL_TOKENS,
)

# tf-text keeps a piece's length in one byte.
_MAX_BYTES_PER_PIECE = 256


def read_vocabulary(path: str | os.PathLike) -> list[str]:
    """Reads a vocabulary file: UTF-8, one piece a line, LF or CRLF, blank lines at the end ignored.

    White space after a piece is dropped, as the Hugging Face library does.

    Args:
        path: The file.

    Returns:
        The pieces; a piece's id is its line number, counted from 0.

    Raises:
        ValueError: If the file is missing, empty or not UTF-8, or a line is blank or stands twice.
    """
    path = user_path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"no vocabulary file at {path}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: expected UTF-8 text, got {error.reason}") from None
    lines = [line.rstrip() or line.rstrip("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    check_vocabulary(lines, lambda i: f"{path}, line {i + 1}", str(path))
    return lines


def check_vocabulary(pieces: Sequence[str], place: Callable[[int], str], source: str) -> None:
    """Checks that the tokenizer can use a vocabulary.

    Args:
        pieces: The word pieces.
        place: Says where the piece of an id stands.
        source: Says where the vocabulary comes from.

    Raises:
        ValueError: If it is empty, lacks a special token, or a piece is unusable or stands twice.
    """
    if not pieces:
        raise ValueError(f"{source}: expected one word piece a line, got an empty vocabulary")
    for i, piece in enumerate(pieces):
        if not isinstance(piece, str) or not piece:
            raise ValueError(f"{place(i)}: expected a word piece, got {piece!r}")
        stem = piece.removeprefix(CONTINUATION)
        size = len(stem.encode())
        # A longer word is unknown, so a longer piece never matches and may stay.
        if len(stem) <= MAX_CHARACTERS_PER_WORD and size > _MAX_BYTES_PER_PIECE:
            raise ValueError(
                f"{place(i)}: expected a word piece of at most {_MAX_BYTES_PER_PIECE} bytes, "
                f"got {size}"
            )
    piece, count = Counter(pieces).most_common(1)[0]
    if count > 1:
        first = pieces.index(piece)
        second = pieces.index(piece, first + 1)
        raise ValueError(f"{place(second)}: {piece!r} stands at {place(first)} already")
    missing = [token for token in SPECIAL_TOKENS if token not in pieces]
    if missing:
        raise ValueError(f"{source}: expected the special tokens {SPECIAL_TOKENS}, lacks {missing}")
