"""GAP's files -> texts with a pronoun and two names, one or none of which it may mean.

`ID, Text, Pronoun, Pronoun-offset, A, A-offset, A-coref, B, B-offset, B-coref, URL`, parted by tabs
(`.tsv`, plain or `.gz`).  Source: Webster et al., 2018.
"""

import os
from dataclasses import dataclass

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.readers.lines import DataError, quote, read_lines

_COLUMNS = ("ID", "Text", "Pronoun", "Pronoun-offset")
_NAME_COLUMNS = (("A", "A-offset", "A-coref"), ("B", "B-offset", "B-coref"))
_IS_FEMININE = {
    **dict.fromkeys(("she", "her", "hers"), True),
    **dict.fromkeys(("he", "him", "his"), False),
}
_TRUTHS = {"TRUE": True, "FALSE": False}


@dataclass(frozen=True, slots=True)
class GapExample:
    """One text with a pronoun and two names.

    Attributes:
        text: The text.
        pronoun: First character of the pronoun, and the one after its last.
        names: The same of both names.
        corefers: Whether the pronoun means the first name, and the second one.
        is_feminine: Whether it is one of "she", "her" and "hers"; else of "he", "him" and "his".
        id: What names the example.
    """

    text: str
    pronoun: tuple[int, int]
    names: tuple[tuple[int, int], tuple[int, int]]
    corefers: tuple[bool, bool]
    is_feminine: bool
    id: str = ""


def read_gap(path: str | os.PathLike[str]) -> list[GapExample]:
    """Reads GAP's texts.

    Raises:
        DataError: The file cannot be read, or holds no example; a column is missing; the pronoun or
            a name does not stand where it should, or the pronoun has no gender; or a truth is
            neither TRUE nor FALSE.
    """
    path = user_path(path)
    header: list[str] = []
    examples = []
    for line, text in read_lines(path):
        cells = text.split("\t")
        if not header:
            header = cells
            wanted = [*_COLUMNS, *_NAME_COLUMNS[0], *_NAME_COLUMNS[1]]
            missing = [name for name in wanted if name not in header]
            if missing:
                raise DataError(
                    f"{path}, line {line}: expected a header with GAP's columns, found none for "
                    f"{', '.join(missing)}."
                )
        elif len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}: expected {len(header)} columns parted by tabs, found "
                f"{len(cells)}."
            )
        else:
            try:
                examples.append(_example(dict(zip(header, cells, strict=True))))
            except ValueError as error:
                raise DataError(f"{path}, line {line}: {error}") from error
    if not examples:
        raise DataError(f"{path}: the file holds no example.")
    return examples


def _example(row: dict[str, str]) -> GapExample:
    pronoun = row["Pronoun"]
    if pronoun.lower() not in _IS_FEMININE:
        raise ValueError(
            f"expected one of {', '.join(_IS_FEMININE)} as the pronoun, found {quote(pronoun)}."
        )
    names, truths = [], []
    for name, offset, truth in _NAME_COLUMNS:
        names.append(_span(row, name, offset))
        if row[truth].upper() not in _TRUTHS:
            raise ValueError(f"expected TRUE or FALSE as {truth}, found {quote(row[truth])}.")
        truths.append(_TRUTHS[row[truth].upper()])
    return GapExample(
        text=row["Text"],
        pronoun=_span(row, "Pronoun", "Pronoun-offset"),
        names=(names[0], names[1]),
        corefers=(truths[0], truths[1]),
        is_feminine=_IS_FEMININE[pronoun.lower()],
        id=row["ID"],
    )


def _span(row: dict[str, str], name: str, offset: str) -> tuple[int, int]:
    words, start = row[name], row[offset]
    # Not longer than any text may be: `int` refuses thousands of digits.
    if not (start.isdecimal() and len(start) < 10 and words):
        raise ValueError(f"expected a number as {offset} of {quote(words)}, found {quote(start)}.")
    if not row["Text"].startswith(words, int(start)):
        raise ValueError(f"{quote(words)} does not stand in the text at {start}, its {offset}.")
    return int(start), int(start) + len(words)
