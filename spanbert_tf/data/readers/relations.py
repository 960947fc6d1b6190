"""Files of texts with two entities -> text, head, tail, and the relation between the two.

- SemEval-2010 task 8, one text a line with its relation, in either order, parted by a tab (`.tsv`),
  or as it was published, with numbers, quotation marks and comments (`.txt`):
  `The <e1>cup</e1> holds <e2>tea</e2>.`
- TACRED: a JSON list (`.json`), or one object a line (`.jsonl`), of words and borders
  `{"token": [...], "subj_start": 0, "subj_end": 1, "subj_type": "PERSON", ..., "relation": ...}`.
- JSON lines with characters: `{"text": "Ada met Bo", "head": {"start": 0, "end": 3, "type": "PER"},
  "tail": {"start": 8, "end": 10}, "relation": "met"}`, or entities as `[0, 3, "PER"]`, `[8, 10]`.

Each also gzipped.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.readers.entities import TYPE_KEYS, EntitySpan
from spanbert_tf.data.readers.lines import DataError, quote, read_lines, suffix_of
from spanbert_tf.data.readers.tables import read_json_file, read_json_lines
from spanbert_tf.data.readers.words import TREEBANK_BRACKETS

# Keys of JSON lines, by what they hold.
KEYS = {
    "text": ("text", "sentence"),
    "head": ("head", "subject", "e1"),
    "tail": ("tail", "object", "e2"),
    "relation": ("relation", "label"),
}
# How the relation is called of pairs that are in none.
NEGATIVE_LABELS = ("no_relation", "Other", "other", "NA", "none", "None")

_MARK = re.compile(r"<(/?)(e[12])(?::([^<>]+))?>")
_NUMBERED = re.compile(r'(\d+)\t"?(.*?)"?\s*')

Pair = tuple[str, EntitySpan, EntitySpan]  # a text, its head and its tail


@dataclass(frozen=True, slots=True)
class RelationExample:
    """One text with two entities and the relation between them.

    Attributes:
        text: The text.
        head: The first entity of the relation; its label is empty where no type is known.
        tail: The second one.
        label: Name of the relation.
        line: Number of the line where it starts, from 1; in a JSON list of the record.
        path: The file that it is from.
    """

    text: str
    head: EntitySpan
    tail: EntitySpan
    label: str
    line: int
    path: str = ""

    @property
    def place(self) -> str:
        """Where it is from, for messages."""
        return _place(Path(self.path), self.line)


def read_relations(
    path: str | os.PathLike[str],
    text_column: str | None = None,
    head_column: str | None = None,
    tail_column: str | None = None,
    label_column: str | None = None,
) -> list[RelationExample]:
    """Reads texts, each with two entities and their relation.

    Words of TACRED are joined by spaces, its `-LRB-` and the like are brackets again.

    Args:
        path: The file, in a form of this module, which its name tells.
        text_column: Key of the text in JSON lines.  `None`: the first of `KEYS` that is there.
        head_column: The same for the first entity.
        tail_column: The same for the second one.
        label_column: The same for the relation.

    Returns:
        The examples in the order of the file.

    Raises:
        DataError: The file cannot be read, or holds nothing; a record is not what is described
            here, has the `id` of another, or no relation; an entity is empty, not within its text,
            or both are the same.
    """
    path = user_path(path)
    columns = dict(zip(KEYS, (text_column, head_column, tail_column, label_column), strict=True))
    if suffix_of(path) not in _READERS:
        raise DataError(f"{path}: expected a file named {', '.join(_READERS)}, or one of them .gz.")
    if suffix_of(path) != ".jsonl" and any(columns.values()):
        raise DataError(f"{path}: names of columns are for JSON lines (.jsonl).")
    examples, ids = [], dict[str, int]()
    for line, name, found in _READERS[suffix_of(path)](path):
        place = _place(path, line)
        try:
            (text, head, tail), label = _parse(found, columns)
            check_pair(text, head, tail)
        except ValueError as error:
            raise DataError(f"{place}: {error}") from error
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{place}: expected the name of a relation, found {quote(label)}.")
        if name is not None and ids.setdefault(str(name), line) != line:
            raise DataError(
                f"{place}: the id {quote(name)} is that of {_place(path, ids[str(name)])}."
            )
        examples.append(RelationExample(text, head, tail, label.strip(), line, str(path)))
    if not examples:
        raise DataError(f"{path}: the file holds no texts with two entities and their relation.")
    return examples


def read_marks(marked: str) -> Pair:
    """Reads a text whose entities are marked by `<e1>`, `</e1>`, `<e2>` and `</e2>`.

    White space within a mark is not the entity's.  A type may be given: `<e1:PER>Ada</e1>`.

        "<e1> Ada </e1> met <e2>Bo</e2>." -> " Ada  met Bo.", 1 to 4 and 10 to 12

    Args:
        marked: The text.

    Returns:
        The text without the marks, head (e1) and tail (e2), in characters of it.

    Raises:
        ValueError: A mark is missing, or is there twice, or an entity is empty.
    """
    text, at = "", 0
    borders: dict[tuple[str, str], int] = {}
    types: dict[str, str] = {}
    marks = list(_MARK.finditer(marked))
    for mark in marks:
        closes, name, label = mark.groups()
        text += marked[at : mark.start()]
        at = mark.end()
        borders[name, closes] = len(text)
        types[name] = types.get(name) or label or ""
    text += marked[at:]
    if not len(borders) == len(marks) == 4:
        raise ValueError(
            f"expected a text with <e1>, </e1>, <e2> and </e2>, once each, found {quote(marked)}."
        )
    spans = []
    for name in ("e1", "e2"):
        start, end = borders[name, ""], borders[name, "/"]
        inner = text[start:end]
        if not inner.strip():
            raise ValueError(f"nothing is marked by <{name}> and </{name}> in {quote(marked)}.")
        start += len(inner) - len(inner.lstrip())
        spans.append(EntitySpan(start, start + len(inner.strip()), types[name]))
    return text, spans[0], spans[1]


def check_pair(text: str, head: EntitySpan, tail: EntitySpan) -> None:
    """Checks that two entities are within a text, and two.

    They may lie within or overlap one another, and begin or end within words.

    Raises:
        ValueError: One is empty, white space alone or not within the text, or they are the same.
    """
    for role, span in (("head", head), ("tail", tail)):
        if not 0 <= span.start < span.end <= len(text):
            raise ValueError(
                f"expected the {role} within the text, 0 <= start < end <= {len(text)}, found "
                f"{span.start} to {span.end}."
            )
        if not text[span.start : span.end].strip():
            raise ValueError(f"the {role}, {span.start} to {span.end}, is white space alone.")
    if (head.start, head.end) == (tail.start, tail.end):
        raise ValueError(
            f"head and tail are the same, {head.start} to {head.end}, "
            f"{quote(text[head.start : head.end])}; expected two entities."
        )


def negative_label(labels: Sequence[str]) -> str | None:
    """The label of pairs in no relation: the first of `NEGATIVE_LABELS` that is there."""
    return next((label for label in NEGATIVE_LABELS if label in labels), None)


# What a file has for each record: line, id, and either marked text and label, or an object.
_Found = tuple[int, Any, Any]


def _marked_table(path: Path) -> Iterator[_Found]:
    for line, text in read_lines(path):
        if not text.strip():
            continue
        fields = text.split("\t")
        marked = [field for field in fields if _MARK.search(field)]
        if line == 1 and not marked and len(fields) == 2:
            continue  # a header
        if len(fields) != 2 or len(marked) != 1:
            raise DataError(
                f"{path}, line {line}: expected two fields, a relation and a text with <e1> and "
                f"<e2>, found {quote(fields)}."
            )
        fields.remove(marked[0])
        yield line, None, (marked[0], fields[0])


def _numbered_texts(path: Path) -> Iterator[_Found]:
    begun: tuple[int, str, str] | None = None  # line, number and text, until its relation comes
    for line, text in read_lines(path):
        if not text.strip() or text.startswith("Comment:"):
            continue
        if begun is not None:
            yield begun[0], begun[1], (begun[2], text)
            begun = None
            continue
        match = _NUMBERED.fullmatch(text)
        if match is None:
            raise DataError(
                f'{path}, line {line}: expected a number, a tab and a text in "", and its relation '
                f"on the next line, found {quote(text)}."
            )
        begun = (line, match[1], match[2])
    if begun is not None:
        raise DataError(f"{path}, line {begun[0]}: the text has no relation on the next line.")


def _json_list(path: Path) -> Iterator[_Found]:
    records = read_json_file(path)
    if not isinstance(records, list):
        raise DataError(f"{path}: expected a list of objects, found {quote(records)}.")
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f"{_place(path, number)}: expected an object, found {quote(record)}.")
        yield number, record.get("id"), record


def _json_lines(path: Path) -> Iterator[_Found]:
    for line, record in read_json_lines(path):
        yield line, record.get("id"), record


_READERS = {
    ".tsv": _marked_table,
    ".txt": _numbered_texts,
    ".json": _json_list,
    ".jsonl": _json_lines,
}


def _place(path: Path, line: int) -> str:
    return f"{path}, {'record' if suffix_of(path) == '.json' else 'line'} {line}"


def _parse(found: Any, columns: dict[str, str | None]) -> tuple[Pair, Any]:
    """Text, head and tail of what a file has, and the relation."""
    if isinstance(found, tuple):
        return read_marks(found[0]), found[1]
    if "subj_start" in found:
        return _of_words(found), found.get("relation")
    text, head, tail, label = (_value(found, role, columns[role]) for role in KEYS)
    if not isinstance(text, str):
        raise ValueError(f"expected the text as a string, found {quote(text)}.")
    return (text, _span("head", head), _span("tail", tail)), label


def _value(record: dict[str, Any], role: str, wanted: str | None) -> Any:
    keys = KEYS[role] if wanted is None else (wanted,)
    for key in keys:
        if key in record:
            return record[key]
    option = "label" if role == "relation" else role
    raise ValueError(
        f"no key for the {role} among {quote(list(record))}; expected {' or '.join(keys)}"
        + ("." if wanted else f", or its name as `{option}_column`.")
    )


def _span(role: str, item: Any) -> EntitySpan:
    """An entity of JSON lines: an object, or a list."""
    fields: Any = item
    if isinstance(item, dict):
        label = next((item[key] for key in TYPE_KEYS if key in item), None)
        fields = [item.get("start"), item.get("end"), label]
    elif isinstance(item, list) and len(item) == 2:
        fields = [*item, None]
    start, end, label = fields if isinstance(fields, list) and len(fields) == 3 else [None] * 3
    # `type`, for True and False are integers too.
    if type(start) is not int or type(end) is not int or not isinstance(label, str | None):
        raise ValueError(
            f"expected the {role} as integers `start` and `end`, and if its type is known a "
            f"string under {', '.join(TYPE_KEYS)}, or as a list of these, found {quote(item)}."
        )
    return EntitySpan(start, end, (label or "").strip())


def _of_words(record: dict[str, Any]) -> Pair:
    """A record of TACRED: words, and the first and the last one of each entity."""
    words = record.get("token", record.get("tokens"))
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"expected a list of words under `token`, found {quote(words)}.")
    words = [TREEBANK_BRACKETS.get(word, word) for word in words]
    begins = [0]
    for word in words:
        begins.append(begins[-1] + len(word) + 1)
    spans = []
    for role in ("subj", "obj"):
        first: Any = record.get(f"{role}_start")
        last: Any = record.get(f"{role}_end")
        label = record.get(f"{role}_type", "")
        in_order = type(first) is int and type(last) is int and 0 <= first <= last < len(words)
        if not in_order or not isinstance(label, str):
            raise ValueError(
                f"expected `{role}_start` and `{role}_end`, the first and the last word, from 0 to "
                f"{len(words) - 1}, and `{role}_type`, a string; found {first!r}, {last!r} and "
                f"{label!r}."
            )
        spans.append(EntitySpan(begins[first], begins[last + 1] - 1, label.strip()))
    return " ".join(words), spans[0], spans[1]
