"""Files of documents with their coreference -> texts, and clusters of mentions in characters.

- One word a line (`.conll` and what ends so, such as `.v4_gold_conll`): see `coreference_columns`.
- JSON lines (`.jsonl`, `.jsonlines`, `.json`) of words, as the models coref and s2e read them:
  `{"doc_key": "nw/a_0", "sentences": [["Ann", "met", "Bo"]], "clusters": [[[0, 0]], [[2, 2]]],
  "speakers": [["", "", ""]]}`, with the first and the last word of each mention, counted from 0
  through all sentences.
- JSON lines of texts, with the first character of each mention and the one after its last:
  `{"text": "Ann met Bo", "clusters": [[[0, 3]], [[8, 10]]], "name": "a", "genre": "news"}`.

Each also gzipped.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.readers.coreference_columns import Mention, WordDocument, read_word_documents
from spanbert_tf.data.readers.lines import DataError, quote, suffix_of
from spanbert_tf.data.readers.tables import read_json_lines
from spanbert_tf.data.readers.words import detokenize

JSON_SUFFIXES = (".jsonl", ".jsonlines", ".json")
WORD_SUFFIX = "conll"
NAME_KEYS = ("name", "doc_key", "doc_id", "id")

# GUM's documents are named after their genre, OntoNotes' lie in a folder of its short name.
_GENRE = re.compile(r"GUM_([a-z]+)_|(bc|bn|mz|nw|pt|tc|wb)/")

Clusters = tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, slots=True)
class CoreferenceText:
    """One document with its coreference.

    Attributes:
        text: The document.
        clusters: What is the same, as far as the data has it, with clusters of one mention where
            the data has them: of each mention its first character and the one after its last, in
            order; clusters are in the order of their first mentions.  No two mentions are equal,
            but one may lie within another or cross it.
        name: What the file calls it, with the number of its part.
        genre: The sort of text, where the file tells or the name does (`GUM_news_iodine`,
            `bc/cnn/00/cnn_0003_0`).
        line: Number of the line where it starts, from 1.
        path: The file that it is from.
    """

    text: str
    clusters: Clusters
    name: str = ""
    genre: str = ""
    line: int = 0
    path: str = ""

    @property
    def place(self) -> str:
        """Where it is from, for messages."""
        return f"{self.path}, line {self.line}"


def read_coreference(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    speakers: bool = False,
    repair_clusters: bool = False,
) -> list[CoreferenceText]:
    """Reads documents with their clusters of mentions.

    Words are joined as people write them, see `detokenize`.

    Args:
        paths: A file in a form of this module, which its name tells; a folder: all such files that
            lie in it, not in folders of it, in the order of their names; or several of these.
        speakers: Writes the name of a speaker and a colon before the first word of a turn, where
            the file tells who speaks.
        repair_clusters: Keeps a mention that is in two clusters in the larger one only, of equals
            in the first.  Otherwise it is an error.

    Returns:
        The documents in the order of the files.

    Raises:
        DataError: A file cannot be read, or holds no document; a mention does not close, is not
            within its text, or is given twice.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    texts = []
    for path in chain.from_iterable(map(_files, map(user_path, paths))):
        documents = list(_reader(path)(path, speakers))
        if not documents:
            raise DataError(f"{path}: the file holds no document.")
        texts += [_finish(path, document, repair_clusters) for document in documents]
    return texts


@dataclass(frozen=True, slots=True)
class _Document:
    """A document whose mentions are characters, but not yet checked."""

    text: str
    clusters: list[list[Mention]]
    name: str
    genre: str
    line: int


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.is_file() and _is_known(file))
    if not files:
        raise DataError(f"{path}: the folder holds no file named {_NAMES}.")
    return files


_NAMES = f"{', '.join(JSON_SUFFIXES)} or ...{WORD_SUFFIX}, or one of them .gz"


def _is_known(path: Path) -> bool:
    return suffix_of(path) in JSON_SUFFIXES or suffix_of(path).endswith(WORD_SUFFIX)


def _reader(path: Path) -> Callable[[Path, bool], Iterator[_Document]]:
    if not _is_known(path):
        raise DataError(f"{path}: expected a file named {_NAMES}.")
    return _json_documents if suffix_of(path) in JSON_SUFFIXES else _column_documents


def _finish(path: Path, document: _Document, repair: bool) -> CoreferenceText:
    """Checks the mentions, and puts them in order."""
    text = document.text
    if not text.strip():
        raise DataError(f"{path}, line {document.line}: the text is empty.")
    # Larger clusters first: what is given twice stays where it is given first.
    given = sorted(document.clusters, key=len, reverse=True)
    cluster_of: dict[tuple[int, int], int] = {}
    for number, mentions in enumerate(given):
        for start, end, line in mentions:
            other = cluster_of.get((start, end))
            if other is not None and not repair:
                raise DataError(
                    f"{path}, line {line}: the mention {quote(text[start:end])} ({start} to "
                    f"{end}) is given twice, in {'one' if other == number else 'two'} of the "
                    "clusters; expected each mention once. `repair_clusters` "
                    "keeps it in the larger one only."
                )
            cluster_of.setdefault((start, end), number)
    clusters: dict[int, list[tuple[int, int]]] = {}
    for mention in sorted(cluster_of):
        clusters.setdefault(cluster_of[mention], []).append(mention)
    return CoreferenceText(
        text=text,
        clusters=tuple(map(tuple, clusters.values())),
        name=document.name,
        genre=document.genre or _genre_of(document.name),
        line=document.line,
        path=str(path),
    )


def _genre_of(name: str) -> str:
    match = _GENRE.match(name)
    return (match[1] or match[2]) if match else ""


def _column_documents(path: Path, speakers: bool) -> Iterator[_Document]:
    for document in read_word_documents(path):
        yield _of_words(document, speakers)


def _of_words(document: WordDocument, speakers: bool, genre: str = "") -> _Document:
    """Joins words, with the names of speakers, and makes characters of mentions."""
    words: list[str] = []
    at = []  # of each word of the document, which of the words to join it is
    before = ""
    for word, speaker in zip(document.words, document.speakers, strict=True):
        if speakers and speaker and speaker != before:
            words.append(f"{speaker}:")
        before = speaker
        at.append(len(words))
        words.append(word)
    text, places = detokenize(words)
    clusters = [
        [(places[at[first]][0], places[at[last]][1], line) for first, last, line in mentions]
        for mentions in document.clusters
    ]
    return _Document(text, clusters, document.name, genre, document.line)


def _json_documents(path: Path, speakers: bool) -> Iterator[_Document]:
    for line, record in read_json_lines(path):
        try:
            if "sentences" in record:
                yield _of_words(_json_words(line, record), speakers, _string(record, "genre"))
            else:
                yield _json_text(line, record)
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}") from error


def _json_words(line: int, record: dict[str, Any]) -> WordDocument:
    sentences = record["sentences"]
    words = _flat(sentences, "sentences")
    for number, word in enumerate(words):
        if not word.strip():
            raise ValueError(f"the word {number} is empty.")
    speakers = [""] * len(words)
    if record.get("speakers"):
        speakers = _flat(record["speakers"], "speakers")
        if list(map(len, record["speakers"])) != list(map(len, sentences)):
            raise ValueError("expected a speaker under 'speakers' for each word of 'sentences'.")
    speakers = ["" if speaker in ("-", "_") else speaker.strip() for speaker in speakers]
    clusters = _json_clusters(line, record)
    for first, last, _ in chain.from_iterable(clusters):
        if not 0 <= first <= last < len(words):
            raise ValueError(
                f"expected a mention of words with 0 <= first <= last < {len(words)}, the number "
                f"of words, found [{first}, {last}]."
            )
    return WordDocument(words, speakers, clusters, _name(record), line)


def _flat(lists: Any, key: str) -> list[str]:
    """Strings of all sentences."""
    if isinstance(lists, list) and all(isinstance(one, list) for one in lists):
        strings = list(chain.from_iterable(lists))
        if all(isinstance(one, str) for one in strings):
            return strings
    raise ValueError(
        f"expected a list of sentences, which are lists of strings, under {key!r}, found "
        f"{quote(lists)}."
    )


def _json_text(line: int, record: dict[str, Any]) -> _Document:
    text = record.get("text")
    if not isinstance(text, str):
        raise ValueError(f"expected a string under 'text', or 'sentences', found {quote(text)}.")
    clusters = _json_clusters(line, record)
    for start, end, _ in chain.from_iterable(clusters):
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"expected a mention with 0 <= start < end <= {len(text)}, the number of "
                f"characters of the text, found [{start}, {end}]."
            )
        if not text[start:end].strip():
            raise ValueError(f"the mention [{start}, {end}] is white space only.")
    return _Document(text, clusters, _name(record), _string(record, "genre"), line)


def _json_clusters(line: int, record: dict[str, Any]) -> list[list[Mention]]:
    """Clusters as lists of mentions, mentions as lists of two integers."""
    clusters = record.get("clusters")
    if not isinstance(clusters, list) or not all(isinstance(one, list) for one in clusters):
        raise ValueError(
            f"expected a list of clusters, which are lists of mentions, under 'clusters', found "
            f"{quote(clusters)}."
        )
    for mention in chain.from_iterable(clusters):
        is_pair = isinstance(mention, list) and len(mention) == 2
        # `type`, for True and False are integers too.
        if not is_pair or any(type(border) is not int for border in mention):
            raise ValueError(f"expected a mention as two integers, found {quote(mention)}.")
    return [[(start, end, line) for start, end in mentions] for mentions in clusters]


def _name(record: dict[str, Any]) -> str:
    return next((_string(record, key) for key in NAME_KEYS if key in record), "")


def _string(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value)
    raise ValueError(f"expected a string under {key!r}, found {quote(value)}.")
