"""Files of labelled texts -> examples, with an error that names the file and line of a defect.

TSV, CSV and JSON lines, each also gzipped (`reviews.tsv.gz`).  TSV and CSV start with a header
row, and columns are found by name.  A TSV field ends at the next tab, whatever quotes it holds;
a CSV field may be quoted, and may then hold commas and line breaks.  See `delimited` for other
files of these names.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.readers.delimited import Record, read_records
from spanbert_tf.data.readers.label_sets import (
    Labels,
    label_sets_of,
    labels_of_columns,
    labels_of_value,
    unknown_label,
)
from spanbert_tf.data.readers.lines import (
    AnySource,
    DataError,
    Source,
    as_source,
    quote,
    read_lines,
    suffix_of,
)

TEXT_COLUMNS = ("text", "sentence", "review", "sentence1", "text_a", "premise", "question1")
PAIR_COLUMNS = ("sentence2", "text_pair", "text_b", "pair", "hypothesis", "question2")
LABEL_COLUMNS = ("label", "labels", "class", "category", "sentiment")
USUAL_COLUMNS = {"text": TEXT_COLUMNS, "pair": PAIR_COLUMNS, "label": LABEL_COLUMNS}
SUFFIXES = (".tsv", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Example:
    """One text, or pair of texts, with its label.

    Attributes:
        text: The text, or the first one of a pair.
        pair: The second text, or `None`.
        label: Name of its class; a tuple of names where texts may have several, or none; `None`
            where the file was read for prediction.
        line: Number of the line where it starts, from 1.
        path: The file that it is from.
    """

    text: str
    pair: str | None
    label: str | Labels | None
    line: int
    path: str = ""


def read_examples(
    path: str | os.PathLike[str],
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    label_columns: Sequence[str] = (),
    delimiter: str | None = None,
    quoting: str | None = None,
) -> list[Example]:
    """Reads labelled examples from a `.tsv`, `.csv` or `.jsonl` file, plain or `.gz`.

    Args:
        path: The file.
        text_column: Name of the text's column (of its key, in JSON lines).  `None`: the first of
            `TEXT_COLUMNS` that the file has.
        pair_column: The same for the second text.  `None`: the first of `PAIR_COLUMNS`; a file
            that has none of them holds single texts.
        label_column: The same for the label.  `None`: the first of `LABEL_COLUMNS`.  Labels are
            strings (or, in JSON lines, integers); spaces around them do not count.  A list, in JSON
            lines, is of the labels of a text that may have several.
        label_separator: What parts the labels of a text that may have several.
        label_columns: Names of columns that are labels: 1 where the text has it, 0 where not.  They
            take the place of `label_column`.
        delimiter: What parts the fields of TSV and CSV, see `delimited.read_records`.
        quoting: `"double"` or `"none"`, see `delimited.read_records`.

    Returns:
        The examples in the order of the file.

    Raises:
        DataError: The file cannot be read, lacks a column, holds no example, or has a line that
            is malformed, not UTF-8, or empty in a column that is wanted.
    """
    path = user_path(path)
    columns = {"text": text_column, "pair": pair_column, "label": label_column}
    if label_columns:
        del columns["label"]
    examples = []
    for line, record, text, pair, label in _fields(path, columns, delimiter, quoting):
        try:
            if label_columns:
                label = labels_of_columns(record, label_columns)
            else:
                label = labels_of_value(label, label_separator)
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}.") from error
        for name, value in (("text", text), ("second text", pair), ("label", label)):
            if isinstance(value, str) and not value.strip():
                raise DataError(f"{path}, line {line}: the {name} is empty.")
        label = label.strip() if isinstance(label, str) else label
        examples.append(Example(text, pair, label, line, str(path)))
    return examples


def read_texts(
    path: AnySource,
    text_column: str | None = None,
    pair_column: str | None = None,
    delimiter: str | None = None,
    quoting: str | None = None,
) -> list[Example]:
    """Reads texts to predict for: each is one `Example` with the label `None`.

    A `.tsv`, `.csv` or `.jsonl` file is read as `read_examples` reads it, but needs no labels;
    any other file is plain text, one text a line.  Empty texts are kept, so that answers line up
    with the file.

    Args:
        path: The file, or a part of one; `-` is standard input, plain text.
        text_column: As in `read_examples`.
        pair_column: As in `read_examples`.
        delimiter: As in `read_examples`.
        quoting: As in `read_examples`.

    Returns:
        The texts in the order of the file.

    Raises:
        DataError: As in `read_examples`, empty texts excepted.
    """
    path = as_source(path)
    if suffix_of(path) in SUFFIXES:
        columns = {"text": text_column, "pair": pair_column}
        fields = _fields(path, columns, delimiter, quoting)
        return [Example(text, pair, None, line, str(path)) for line, _, text, pair, _ in fields]
    lines = [Example(text, None, None, line, str(path)) for line, text in read_lines(path)]
    if not lines:
        raise DataError(f"{path}: the file is empty; expected one text a line.")
    return lines


def text_column_names(
    path: AnySource,
    text_column: str | None = None,
    pair_column: str | None = None,
    delimiter: str | None = None,
    quoting: str | None = None,
) -> tuple[str | None, str | None]:
    """Names the columns that `read_texts` reads, as it takes them; arguments and errors are its."""
    path, columns = as_source(path), {"text": text_column, "pair": pair_column}
    if suffix_of(path) in SUFFIXES:
        records = read_table(path, delimiter, quoting)
        columns = find_columns(path, records, columns, USUAL_COLUMNS, optional=("pair",))
    return columns["text"], columns["pair"]


def class_names_of(examples: Sequence[Example]) -> list[str]:
    """Lists the labels of `examples`, sorted, each once.

    Raises:
        DataError: There are fewer than two.
    """
    names = sorted({label for example in examples for label in label_sets_of([example])[0]})
    if len(names) < 2:
        where = examples[0].path if examples else "no examples"
        raise DataError(f"{where}: expected at least two different labels, found {names}.")
    return names


def encode_labels(examples: Sequence[Example], class_names: Sequence[str]) -> np.ndarray:
    """Numbers the labels of `examples`: int32 `[examples]`, positions in `class_names`.

    Raises:
        DataError: A label is not among `class_names`.
    """
    numbers: dict[Any, int] = {name: number for number, name in enumerate(class_names)}
    for example in examples:
        if example.label not in numbers:
            raise unknown_label(example, example.label, class_names)
    return np.array([numbers[example.label] for example in examples], np.int32)


def text_columns_of(examples: Sequence[Example]) -> list[list[str]]:
    """Lists the texts of `examples`, and in a second column, if they are pairs, the second ones.

    Raises:
        DataError: Some have a second text and some have none.
    """
    texts = [example.text for example in examples]
    pairs = [example.pair for example in examples if example.pair is not None]
    if not pairs:
        return [texts]
    if len(pairs) < len(texts):
        lone = next(example for example in examples if example.pair is None)
        raise DataError(f"{lone.path}, line {lone.line}: no second text, which others have.")
    return [texts, pairs]


def _fields(
    path: Source, columns: dict[str, str | None], delimiter: str | None, quoting: str | None
) -> Iterator[tuple[int, dict[str, object], str, str | None, Any]]:
    """Yields line, record, text, pair and label of each record of a TSV, CSV or JSON lines file."""
    records = read_table(path, delimiter, quoting)
    names = find_columns(path, records, columns, USUAL_COLUMNS, optional=("pair",))
    for line, record in records:
        values = {
            role: None if name is None else string_of(path, line, record, name, role == "label")
            for role, name in names.items()
        }
        yield line, record, str(values["text"]), values.get("pair"), values.get("label")


def read_table(path: Source, delimiter: str | None, quoting: str | None) -> list[Record]:
    """Reads line and fields of each record of a TSV, CSV or JSON lines file, plain or `.gz`.

    Raises:
        DataError: The file is named otherwise, cannot be read, or holds no record.
    """
    if suffix_of(path) not in SUFFIXES:
        raise DataError(f"{path}: expected a file named {', '.join(SUFFIXES)}, or one of them .gz.")
    if suffix_of(path) != ".jsonl":
        records = list(read_records(path, delimiter, quoting))
    elif delimiter is None and quoting is None:
        records = list(read_json_lines(path))
    else:
        raise DataError(f"{path}: `delimiter` and `quoting` are for TSV and CSV, not for JSON.")
    if not records:
        raise DataError(f"{path}: the file holds no examples; expected a header row and rows.")
    return records


def string_of(
    path: Source, line: int, record: dict[str, object], name: str, is_label: bool = False
) -> Any:
    """Gives the string, or the list of labels, under a key, which JSON does not promise."""
    if name not in record:
        raise DataError(f"{path}, line {line}: the key {quote(name)} is missing.")
    value = record[name]
    if is_label and isinstance(value, list):
        return value
    if is_label and type(value) is int:  # not bool, which is an int too
        return str(value)
    if not isinstance(value, str):
        raise DataError(
            f"{path}, line {line}: expected a string under {quote(name)}, found {quote(value)}."
        )
    return value


def find_columns(
    path: Source,
    records: Sequence[Record],
    columns: dict[str, str | None],
    usual: Mapping[str, Sequence[str]],
    optional: Collection[str],
) -> dict[str, str | None]:
    """Names the column of each role: the one asked for, else the first usual one.

    Args:
        path: The file, for messages.
        records: What `read_table` gave.
        columns: The roles, and the columns that are asked for.
        usual: Names, in lower case, that columns of each role usually have.
        optional: The roles that need no column.

    Raises:
        DataError: A column that is asked for is missing, or one that is needed.
    """
    # Of all records: in JSON lines the first may lack a key that later ones have.
    found = list(dict.fromkeys(chain.from_iterable(record for _, record in records)))
    line = records[0][0]
    listed = ", ".join(map(quote, found[:20]))
    by_name = {name.strip(): name for name in reversed(found)}
    by_lower = {name.strip().lower(): name for name in reversed(found)}
    chosen: dict[str, str | None] = {}
    for role, wanted in columns.items():
        if wanted is not None and wanted.strip() not in by_name:
            raise DataError(f"{path}: there is no column {quote(wanted)} among {listed}.")
        matches = [by_lower[name] for name in usual[role] if name in by_lower]
        if wanted is not None:
            matches = [by_name[wanted.strip()]]
        chosen[role] = next(iter(matches), None)
        if chosen[role] is None and role not in optional:
            raise DataError(
                f"{path}: no column for the {role} among {listed}. Expected a header row (keys, "
                f"in JSON lines, as on line {line}) with one of {', '.join(usual[role])}, or its "
                f"name given as `{role}_column`."
            )
    return chosen


def read_json_lines(path: Source) -> Iterator[Record]:
    """Yields line and object of each record of a JSON lines file, plain or `.gz`.

    Raises:
        DataError: The file cannot be read, or a line is not UTF-8 or holds no JSON object.
    """
    for line, text in read_lines(path):
        if not text.strip():
            continue
        record = _parse_json(text, f"{path}, line {line}")
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {line}: expected an object, found {quote(record)}.")
        yield line, record


def read_json_file(path: Path) -> Any:
    """Reads a file that is JSON as a whole, plain or `.gz`.

    Raises:
        DataError: The file cannot be read, is not UTF-8 or not JSON.
    """
    return _parse_json("\n".join(text for _, text in read_lines(path)), str(path))


def _parse_json(text: str, where: str) -> Any:
    try:
        value = json.loads(text)
        # An escape may stand for half a character, which no later stage could encode.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: malformed JSON: {error}.") from error
    return value
