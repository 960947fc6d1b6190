"""Files of texts that belong together, or of documents -> records to learn vectors from."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.corpus.documents import corpus_files, whole_documents
from spanbert_tf.data.readers.lines import DataError, quote, read_lines, suffix_of
from spanbert_tf.data.readers.tables import (
    PAIR_COLUMNS,
    SUFFIXES,
    TEXT_COLUMNS,
    find_columns,
    read_table,
    string_of,
)

USUAL_COLUMNS = {
    "text": ("anchor", "query", "question", *TEXT_COLUMNS),
    "pair": ("positive", "context", "paragraph", "passage", "answer", *PAIR_COLUMNS),
    "negative": ("negative", "hard_negative"),
    "score": ("score", "similarity"),
}

SHORTEST_SPAN = 20  # Characters; a document of less than two such spans is left out.


@dataclass(frozen=True, slots=True)
class TextTuple:
    """Texts that belong together.

    Attributes:
        texts: One text; two that mean the same, or have a score; or two that mean the same and one
            that does not.
        score: How alike two texts are, 0 to 1; `None`: nobody has said.
        topic: What the record is about.  Texts of records of one topic are no negatives of one
            another.  `""`: nothing that is named.
        line: Number of the line where it starts, from 1; of a document its number in the file.
        path: The file that it is from.
        vectors: Of each text that of a teacher, float32 `[texts, d]`, or `None`.
    """

    texts: tuple[str, ...]
    score: float | None = None
    topic: str = ""
    line: int = 0
    path: str = ""
    vectors: Any = field(default=None, compare=False)


def read_text_tuples(
    path: str | os.PathLike[str],
    text_column: str | None = None,
    pair_column: str | None = None,
    negative_column: str | None = None,
    score_column: str | None = None,
    highest_score: float = 1.0,
    delimiter: str | None = None,
    quoting: str | None = None,
) -> list[TextTuple]:
    """Reads texts, pairs, triplets or scored pairs.

    A `.tsv`, `.csv` or `.jsonl` file, plain or `.gz`, has columns (keys, in JSON lines); any other
    file is plain text, one text a line.

    Args:
        path: The file.
        text_column: Name of the column of first texts.  `None`: the first of `USUAL_COLUMNS` that
            the file has.
        pair_column: The same for the second texts; a file that has none of them holds single texts.
        negative_column: The same for texts that do not mean the same; not every file has it.
        score_column: The same for scores; not every file has it.
        highest_score: The score of texts that mean the same; 0 is that of those that do not.
        delimiter: What parts the fields of TSV and CSV, see `delimited.read_records`.
        quoting: `"double"` or `"none"`, see `delimited.read_records`.

    Returns:
        The records in the order of the file.

    Raises:
        DataError: The file cannot be read, lacks a column, or holds nothing; has negatives or
            scores of single texts, or both; or a line has an empty text, or a score that is none.
    """
    path = user_path(path)
    if suffix_of(path) not in SUFFIXES:
        lines = [TextTuple((text,), None, "", n, str(path)) for n, text in read_lines(path)]
        texts = [record for record in lines if record.texts[0].strip()]
        if not texts:
            raise DataError(f"{path}: the file is empty; expected one text a line.")
        return texts
    columns = {
        "text": text_column,
        "pair": pair_column,
        "negative": negative_column,
        "score": score_column,
    }
    records = read_table(path, delimiter, quoting)
    optional = ("pair", "negative", "score")
    names = find_columns(path, records, columns, USUAL_COLUMNS, optional)
    score_name = names.pop("score")
    if names["negative"] and score_name:
        if bool(negative_column) == bool(score_column):
            raise DataError(
                f"{path}: there are negatives ({quote(names['negative'])}) and scores "
                f"({quote(score_name)}); expected one of the two: name it as `negative_column` or "
                "`score_column`."
            )
        names["negative"] = names["negative"] if negative_column else None
        score_name = score_name if score_column else None
    if names["pair"] is None and (names["negative"] or score_name):
        found = quote(names["negative"] or score_name)
        raise DataError(
            f"{path}: {found} is of two texts, but there is no column of second texts; name it as "
            "`pair_column`."
        )
    read = []
    for line, fields in records:
        texts_of = {
            role: string_of(path, line, fields, name) for role, name in names.items() if name
        }
        for role, text in texts_of.items():
            if not text.strip():
                raise DataError(f"{path}, line {line}: the {role} is empty.")
        score = None
        if score_name is not None:
            score = _score(f"{path}, line {line}", fields.get(score_name), highest_score)
        read.append(TextTuple(tuple(texts_of.values()), score, "", line, str(path)))
    return read


def _score(where: str, value: Any, highest: float) -> float:
    """A score as 0 to 1."""
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if isinstance(value, bool) or not 0 <= score <= highest:
        raise DataError(
            f"{where}: expected a score from 0 to {highest:g}, found {quote(value)}; "
            "`highest_score` says what the highest one is."
        )
    return score / highest


def read_span_pairs(
    path: str | os.PathLike[str], most_characters: int, seed: int = 0
) -> list[TextTuple]:
    """Reads documents, and draws from each pairs of spans that are about the same.

    As DeCLUTR has it (Giorgi et al., 2021): no labels are needed, as what stands in one document is
    more alike than what stands in two.  The spans of a pair share no character; each has a quarter
    of `most_characters` to all of them, or half of a document that is short, and begins and ends
    between words where there are spaces.  A document gives a pair for each `2 * most_characters`
    of it, one at least.

    Args:
        path: A folder of `.txt` files, whose blank lines part documents, and `.jsonl` files; or one
            such file.  Plain or `.gz`.
        most_characters: Characters of the longest spans.
        seed: Seed of what is drawn.

    Returns:
        Pairs with their document for a topic.

    Raises:
        DataError: A file cannot be read, or no document has two spans of `SHORTEST_SPAN`.
    """
    pairs = []
    for file in corpus_files([path]):
        for number, lines in enumerate(whole_documents(file), start=1):
            text = " ".join(lines)
            generator = np.random.default_rng([seed, number, len(text)])
            for _ in range(max(len(text) // (2 * most_characters), 1)):
                texts = draw_spans(text, most_characters, generator)
                if texts is not None:
                    pairs.append(TextTuple(texts, None, f"{file}:{number}", number, str(file)))
    if not pairs:
        raise DataError(
            f"{path}: no document has {2 * SHORTEST_SPAN} characters, for two spans of it."
        )
    return pairs


def draw_spans(
    text: str, most_characters: int, generator: np.random.Generator
) -> tuple[str, str] | None:
    """Draws two spans of a text that share no character; `None` where it has no room for them."""
    half = min(most_characters, len(text) // 2)
    least = max(half // 4, min(SHORTEST_SPAN, most_characters))
    if half < least:
        return None
    lengths = generator.integers(least, half + 1, 2)
    gaps = np.sort(generator.integers(0, len(text) - lengths.sum() + 1, 2))
    begins = gaps[0], gaps[1] + lengths[0]
    spans = [_whole_words(text, b, b + n) for b, n in zip(begins, lengths, strict=True)]
    if not all(spans):
        return None
    one, other = generator.permutation(2)
    return spans[one], spans[other]


def _whole_words(text: str, begin: int, end: int) -> str:
    """A part of a text without the words that it begins or ends within, if it has spaces."""
    part = text[begin:end]
    words = part.split()
    if len(words) > 2:
        if begin and not (text[begin - 1].isspace() or part[0].isspace()):
            words = words[1:]
        if end < len(text) and not (text[end].isspace() or part[-1].isspace()):
            words = words[:-1]
    return " ".join(words)


def with_vectors(
    records: Sequence[TextTuple], encode: Callable[[list[str]], Any]
) -> list[TextTuple]:
    """The records, with a vector of each of their texts.

    Args:
        records: They stay as they are.
        encode: From texts to vectors, float32 `[texts, d]`; it has each text once.
    """
    texts = dict.fromkeys(text for record in records for text in record.texts)
    places = {text: number for number, text in enumerate(texts)}
    vectors = encode(list(places))
    return [
        replace(record, vectors=vectors[[places[text] for text in record.texts]])
        for record in records
    ]


def check_learnable(records: Sequence[TextTuple]) -> None:
    """Checks that there is something to learn from records: from pairs, or from a teacher.

    Raises:
        DataError: There is not, or scores and a teacher say twice what a cosine should be; or see
            `check_alike`.
    """
    if not records:
        raise DataError("no texts: expected some to learn from.")
    check_alike(records)
    first, where = records[0], f"{records[0].path}, line {records[0].line}"
    if first.vectors is None and len(first.texts) < 2:
        raise DataError(
            f"{where}: a text alone teaches nothing; give pairs, a folder of documents, or a "
            "`teacher`."
        )
    if first.vectors is not None and first.score is not None:
        raise DataError(
            f"{where}: scores and a teacher's vectors both say what a cosine should be; leave out "
            "one of them."
        )


def check_alike(records: Sequence[TextTuple]) -> None:
    """Checks that records have as many texts, and all or none of them scores, and vectors.

    Raises:
        DataError: One differs from the first; it is named.
    """

    def form(record: TextTuple) -> tuple[int, bool, bool]:
        return len(record.texts), record.score is None, record.vectors is None

    for record in records:
        if form(record) != form(records[0]):
            raise DataError(
                f"{record.path}, line {record.line}: expected {_described(records[0])}, as "
                f"{records[0].path}, line {records[0].line} has; found {_described(record)}."
            )


def _described(record: TextTuple) -> str:
    score = "no score" if record.score is None else "a score"
    vectors = "none" if record.vectors is None else "those"
    return f"{len(record.texts)} texts, {score} and {vectors} of a teacher's vectors"
