"""Files of one word a line, as CoNLL's shared tasks have them -> words and tags of sentences.

    1<TAB>Ada<TAB>B-PER          Ada NNP I-NP B-PER
    2<TAB>Lovelace<TAB>I-PER     Lovelace NNP I-NP I-PER

Columns are parted by tabs, or, in a file without tabs, by spaces; a blank line ends a sentence.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from spanbert_tf.data.readers.lines import DataError, quote, read_lines
from spanbert_tf.data.readers.tags import is_tag

_DOCUMENT_BORDER = "-DOCSTART-"
_KEYED_COMMENT = re.compile(r"# [\w.:]+( \w+)* = ")  # `# sent_id = 3`, `# newdoc id = 1`
_TEXT_COMMENT = "# text = "
_INDEX = re.compile(r"\d+")
_RANGE = re.compile(r"\d+[-.]\d+")  # CoNLL-U's words of several parts, and empty nodes


@dataclass(frozen=True, slots=True)
class TaggedWords:
    """The words of a sentence with their tags.

    Attributes:
        words: The words.
        tags: The tag of each word.
        lines: Number of the line of each word, from 1.
        text: The sentence as it was before it was split into words, where the file tells.
    """

    words: list[str]
    tags: list[str]
    lines: list[int]
    text: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class _Sentence:
    rows: list[_Row]
    text: str | None


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a file parts its columns, and how many there are."""

    tabs: bool
    width: int

    def cells(self, text: str) -> list[str]:
        # Splitting at any white space would lose words such as U+3000.
        return text.split("\t") if self.tabs else re.split(" +", text.strip(" "))

    def is_comment(self, text: str) -> bool:
        """Tells a comment from a word that begins with `#`, such as a hashtag."""
        if not text.startswith("#") or _KEYED_COMMENT.match(text):
            return text.startswith("#")
        if self.tabs:
            return "\t" not in text
        cells = self.cells(text)
        return len(cells) != self.width or not any(map(is_tag, cells[1:]))


def read_tagged_words(
    path: Path, word_column: int | None = None, tag_column: int | None = None
) -> list[TaggedWords]:
    """Reads the sentences of a file of one word a line.

    Lines of white space only part sentences, and so do `-DOCSTART-` lines.  Comments (`# ...`)
    are skipped, of which `# text = ...` gives the sentence's text.

    Args:
        path: The file, plain or `.gz`.
        word_column: The column of words, from 0, or -1 for the last.  `None`: the first one that
            is neither the tags' nor counts the words of each sentence.
        tag_column: The column of tags.  `None`: the last one if it holds tags, else the only one
            that does.

    Raises:
        DataError: The file cannot be read or holds no words, lacks a column, or has a line that
            has more or fewer columns than the others, no word, or a tag that is none.
    """
    sentences = list(_sentences(path))
    if not sentences:
        raise DataError(f"{path}: the file holds no words; expected a word and its tag a line.")
    width = len(sentences[0].rows[0].cells)
    for name, column in (("word_column", word_column), ("tag_column", tag_column)):
        if column is not None and not -1 <= column < width:
            raise DataError(
                f"{path}: expected `{name}` from 0 to {width - 1}, or -1 for the last column, "
                f"found {column}."
            )
    tag_column = _find_tag_column(path, sentences) if tag_column is None else tag_column % width
    counts_words = width > 2 and tag_column != 0 and _counts_words(sentences)
    if word_column is None:
        word_column = next(c for c in range(counts_words, width) if c != tag_column)
    if word_column % width == tag_column:
        raise DataError(f"{path}: column {tag_column} cannot hold both words and tags.")
    tagged = []
    for sentence in sentences:
        rows = sentence.rows
        if counts_words:
            rows = [row for row in rows if not _RANGE.fullmatch(row.cells[0])]
        if rows:
            tagged.append(_tagged(path, rows, word_column, tag_column, sentence.text))
    return tagged


def _tagged(
    path: Path, rows: list[_Row], word_column: int, tag_column: int, text: str | None
) -> TaggedWords:
    for row in rows:
        if not row.cells[word_column]:
            raise DataError(f"{path}, line {row.line}: the word is empty.")
        if not is_tag(row.cells[tag_column].strip()):
            raise DataError(
                f"{path}, line {row.line}: expected a tag (O, or B-, I- ... and a label) in column "
                f"{tag_column}, found {quote(row.cells[tag_column])}."
            )
    return TaggedWords(
        words=[row.cells[word_column] for row in rows],
        tags=[row.cells[tag_column].strip() for row in rows],
        lines=[row.line for row in rows],
        text=text,
    )


def _sentences(path: Path) -> Iterator[_Sentence]:
    """Yields the rows of each sentence, all with the same number of columns."""
    lines = list(read_lines(path))
    layout = _find_layout(path, lines)
    for is_border, group in groupby(lines, key=lambda line: _is_border(line[1])):
        if is_border:
            continue
        rows, text = [], None
        for number, line in group:
            if layout.is_comment(line):
                text = line.removeprefix(_TEXT_COMMENT) if line.startswith(_TEXT_COMMENT) else text
                continue
            cells = layout.cells(line)
            if len(cells) != layout.width:
                raise DataError(
                    f"{path}, line {number}: expected {layout.width} columns parted by "
                    f"{'tabs' if layout.tabs else 'spaces'}, as above, found {len(cells)}: "
                    f"{quote(line)}."
                )
            rows.append(_Row(number, cells))
        if rows:
            yield _Sentence(rows, text)


def _is_border(line: str) -> bool:
    return not line.strip() or line.startswith(_DOCUMENT_BORDER)


def _find_layout(path: Path, lines: Sequence[tuple[int, str]]) -> _Layout:
    """Takes the layout of the first line that is surely a word, or might be one."""
    possible = [
        line for line in lines if not _is_border(line[1]) and not _KEYED_COMMENT.match(line[1])
    ]
    # Of a file that has words such as `#` only, the first one of them.
    sure = [line for line in possible if not line[1].startswith("#")] or possible
    if not sure:
        return _Layout(tabs=True, width=0)
    number, text = sure[0]
    layout = _Layout(tabs="\t" in text, width=0)
    width = len(layout.cells(text))
    if width < 2:
        raise DataError(
            f"{path}, line {number}: expected a word and its tag, parted by a tab or spaces, found "
            f"{quote(text)}."
        )
    return _Layout(layout.tabs, width)


def _find_tag_column(path: Path, sentences: list[_Sentence]) -> int:
    """Finds the column of tags: the last one if it holds tags, else the only one that does.

    More than half of what it holds must be tags.  Asking for all would make another column the
    only one (the chunks of CoNLL-2003, say) for one misspelt tag.
    """
    rows = [row for sentence in sentences for row in sentence.rows]
    width = len(rows[0].cells)
    likely = []
    for column in range(width):
        counts = Counter(row.cells[column].strip() for row in rows)
        if 2 * sum(count for cell, count in counts.items() if is_tag(cell)) > len(rows):
            likely.append(column)
    if width - 1 in likely:
        return width - 1
    if len(likely) == 1:
        return likely[0]
    found = f"{', '.join(map(str, likely))} do" if likely else "none does"
    raise DataError(
        f"{path}, line {rows[0].line}: expected one column of tags (O, or B-, I- ... and a label), "
        f"found that {found} among the columns 0 to {width - 1}: {quote(rows[0].cells)}. Its "
        "number can be given as `tag_column`."
    )


def _counts_words(sentences: list[_Sentence]) -> bool:
    """Tells whether the first column numbers the words of each sentence, from 0 or 1."""
    for sentence in sentences:
        cells = [row.cells[0] for row in sentence.rows]
        plain = [cell for cell in cells if not _RANGE.fullmatch(cell)]
        if not all(map(_INDEX.fullmatch, plain)):
            return False
        numbers = list(map(int, plain))
        if numbers not in (list(range(len(plain))), list(range(1, len(plain) + 1))):
            return False
    return True
