"""Files of questions about contexts -> records, with an error that names the file and record.

- SQuAD's JSON (`.json`), 1.1 and 2.0: articles of paragraphs of questions.
- JSON lines (`.jsonl`) as Hugging Face's `datasets` has them: `{"id": "1", "question": "Who?",
  "context": "Ada wrote.", "answers": {"text": ["Ada"], "answer_start": [0]}}`.
- To be asked only: TSV, CSV and JSON lines with columns `question` and `context`.

Each also gzipped.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.readers.lines import AnySource, DataError, as_source, quote, suffix_of
from spanbert_tf.data.readers.tables import (
    read_json_file,
    read_json_lines,
    read_texts,
    text_columns_of,
)

NEAR = 100  # characters on both sides of where an answer should begin
NAMED = 5  # questions that a message names

_Answers = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a context, and what people answered.

    Attributes:
        question: The question.
        context: The text that it is about.
        answers: Text of each answer, and its first character in `context`; empty where the context
            has no answer.
        id: What names it, once in a file.
        line: Number of its line, from 1; of SQuAD's JSON, which has no lines, of the question.
        path: The file that it is from.
    """

    question: str
    context: str
    answers: _Answers
    id: str = ""
    line: int = 0
    path: str = ""

    @property
    def target(self) -> tuple[int, int] | None:
        """The characters to learn: of the answer that most people gave, of equals the first.

        `None` where there is no answer.
        """
        if not self.answers:
            return None
        ((text, start), _), *_ = Counter(self.answers).most_common(1)
        return start, start + len(text)

    @property
    def place(self) -> str:
        """Its file and name, for messages."""
        return _place(self.path, self.line, {"id": self.id})


def read_questions(path: str | os.PathLike[str]) -> list[Question]:
    """Reads questions with their answers.

    The text of an answer must stand where its `answer_start` says.  Where it does not, but stands
    once within `NEAR` characters of there, that is taken; else the answer is left out, and a
    question that loses all of its answers too.  A warning counts both and names questions.

    Args:
        path: SQuAD's JSON, 1.1 or 2.0, if its name ends in `.json`, JSON lines in `.jsonl`; plain
            or `.gz`.

    Returns:
        The questions in the order of the file.

    Raises:
        DataError: The file cannot be read, holds no question, or has one that is not what is
            described here: without a question or a context, with answers although it is said to be
            impossible or none although it is not, or with the id of another one.
    """
    path = user_path(path)
    readers: dict[str, Any] = {".json": _squad_records, ".jsonl": read_json_lines}
    if suffix_of(path) not in readers:
        raise DataError(
            f"{path}: expected questions with answers in a file named {' or '.join(readers)}, or "
            "one of them .gz."
        )
    repairs = _Repairs(path)
    questions, ids = [], set()
    for line, record in readers[suffix_of(path)](path):
        question = _question(path, line, record, repairs)
        if question is None:
            continue
        if question.id in ids:
            raise DataError(f"{question.place}: the id is that of an earlier question too.")
        ids.add(question.id)
        questions.append(question)
    repairs.warn()
    if not questions:
        raise DataError(f"{path}: the file holds no question.")
    return questions


def read_asked(
    path: AnySource,
    question_column: str | None = None,
    context_column: str | None = None,
    delimiter: str | None = None,
    quoting: str | None = None,
) -> list[list[str]]:
    """Reads questions to be asked: a list of questions, and one of contexts.

    Args:
        path: What `read_questions` reads as `.json`, or a `.tsv`, `.csv` or `.jsonl` file, plain or
            `.gz`.
        question_column: Column of the questions; `None`: `question`.
        context_column: Column of the contexts; `None`: `context`.
        delimiter: What parts the fields of TSV and CSV, see `delimited.read_records`.
        quoting: `"double"` or `"none"`, see `delimited.read_records`.

    Raises:
        DataError: As `read_texts`, or a question is empty.
    """
    path = as_source(path)
    if isinstance(path, Path) and suffix_of(path) == ".json":
        if delimiter is not None or quoting is not None:
            raise DataError(f"{path}: `delimiter` and `quoting` are for TSV and CSV, not for JSON.")
        texts = [_texts(_place(path, *of), of[1]) for of in _squad_records(path)]
        return [list(column) for column in zip(*texts, strict=True)]
    columns = question_column or "question", context_column or "context"
    examples = read_texts(path, *columns, delimiter, quoting)
    for example in examples:
        if not example.text.strip():
            raise DataError(f"{path}, line {example.line}: the question is empty.")
    return text_columns_of(examples)


class _Repairs:
    """What was repaired or left out of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moved: list[str] = []
        self.lost: list[str] = []
        self.questions = 0

    def warn(self) -> None:
        """Tells of both, if there is anything."""
        found = [
            f"{len(ids)} {what} ({', '.join(map(quote, ids[:NAMED]))}"
            f"{', ...' if len(ids) > NAMED else ''})"
            for ids, what in (
                (self.moved, "answers stand elsewhere nearby, where they are taken from"),
                (self.lost, "answers do not stand in the context where they should: left out"),
            )
            if ids
        ]
        if self.questions:
            found.append(f"{self.questions} questions have no other answer: left out")
        if found:
            warnings.warn(f"{self.path}: {'; '.join(found)}.", stacklevel=3)


def find_answer(context: str, text: str, start: int) -> int | None:
    """The first character of an answer, at `start` or once within `NEAR` characters; else `None`.

    "Ada met Bo", "Bo", 7 -> 8
    """
    if start >= 0 and context.startswith(text, start):
        return start
    near = context[max(start - NEAR, 0) : max(start + NEAR + len(text), 0)]
    place = near.find(text)
    if place < 0 or near.find(text, place + 1) >= 0:
        return None
    return max(start - NEAR, 0) + place


def _question(path: Path, line: int, record: Any, repairs: _Repairs) -> Question | None:
    """Checks a record; `None` if none of its answers can be found."""
    name, where = str(record.get("id", line)), _place(path, line, record)
    question, context = _texts(where, record)
    given = _answers(where, record.get("answers"))
    impossible = record.get("is_impossible")
    if impossible is not None and bool(impossible) == bool(given):
        raise DataError(
            f"{where}: `is_impossible` is {impossible}, but there are {len(given)} answers."
        )
    answers = []
    for text, start in given:
        found = find_answer(context, text, start) if text.strip() else None
        if found is None:
            repairs.lost.append(name)
            continue
        if found != start:
            repairs.moved.append(name)
        answers.append((text, found))
    if given and not answers:
        repairs.questions += 1
        return None
    return Question(question, context, tuple(answers), name, line, str(path))


def _place(path: str | os.PathLike[str], line: int, record: dict[str, Any]) -> str:
    """A record's file and name, for messages."""
    return f"{path}, question {quote(str(record.get('id', line)))}"


def _texts(where: str, record: dict[str, Any]) -> tuple[str, str]:
    """Question and context."""
    for key in ("question", "context"):
        value = record.get(key)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: expected a text as {key!r}, found {quote(value)}.")
    return record["question"], record["context"]


def _answers(where: str, answers: Any) -> list[tuple[str, int]]:
    """Answers as SQuAD lists them, or as `datasets` does: a list a field."""
    if isinstance(answers, dict):
        fields: list[Any] = [answers.get("text"), answers.get("answer_start")]
        lengths = {len(field) if isinstance(field, list) else -1 for field in fields}
        if len(lengths) > 1 or -1 in lengths:
            raise DataError(
                f"{where}: expected lists of one length as 'text' and 'answer_start' of the "
                f"answers, found {quote(answers)}."
            )
        pairs: Sequence[Any] = list(zip(*fields, strict=True))
    elif isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers):
        pairs = [(answer.get("text"), answer.get("answer_start")) for answer in answers]
    else:
        raise DataError(f"{where}: expected a list of answers, found {quote(answers)}.")
    for text, start in pairs:
        if not isinstance(text, str) or type(start) is not int:
            raise DataError(
                f"{where}: expected a string 'text' and an integer 'answer_start', found "
                f"{quote(text)} and {quote(start)}."
            )
    return list(pairs)


def _squad_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields number and fields of each question of SQuAD's JSON."""
    number = 0
    for article in _items(path, read_json_file(path), "data"):
        for paragraph in _items(path, article, "paragraphs"):
            for qa in _items(path, paragraph, "qas"):
                number += 1
                yield number, {**qa, "context": paragraph.get("context")}


def _items(path: Path, parent: Any, key: str) -> list[dict[str, Any]]:
    items = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(
            f"{path}: expected SQuAD's form, a list of objects as {key!r}, found {quote(parent)}."
        )
    return items
