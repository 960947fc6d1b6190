"""The ways in which a task is asked; requests that ask in one way share a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from spanbert_tf.export.text_task import TextTask, answers_to_json
from spanbert_tf.features import PROBABILITIES
from spanbert_tf.json_values import finite
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.server import rest
from spanbert_tf.server.errors import wrong
from spanbert_tf.server.tensors import ServedTensors


@dataclass(frozen=True)
class ForTensors:
    """As TensorFlow Serving asks a signature.

    Attributes:
        num_columns: Of texts, which tells the signatures apart.
    """

    num_columns: int

    def __call__(self, task: TextTask, columns: Columns) -> ServedTensors:
        """Answers a batch."""
        return ServedTensors(task.answer_tensors(tuple(columns)), task.decoder.lists)

    def join(self, parts: Sequence[ServedTensors]) -> ServedTensors:
        """Joins the answers of the parts of a request."""
        return parts[0] if len(parts) == 1 else ServedTensors.join(parts)


class _ForLists:
    def join(self, parts: Sequence[list[Any]]) -> list[Any]:
        """Joins the answers of the parts of a request."""
        return [answer for part in parts for answer in part]


@dataclass(frozen=True)
class ForClasses(_ForLists):
    """As TensorFlow Serving asks a classifier; whoever answers has the names of its classes.

    Attributes:
        num_columns: Of texts.
    """

    num_columns: int

    def __call__(self, task: TextTask, columns: Columns) -> list[Any]:
        """Answers a batch: of each text the label and score of each class."""
        tensors = task.answer_tensors(tuple(columns))
        return rest.classes_of(task.decoder.class_names, tensors[PROBABILITIES.name])


@dataclass(frozen=True)
class ForAnswers(_ForLists):
    """As people ask: by the task's verb.

    Attributes:
        num_columns: Of texts.
        options: Arguments of the verb.
    """

    num_columns: int
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, task: TextTask, columns: Columns) -> list[dict[str, Any]]:
        """Answers a batch, as `spanbert-tf predict --json` does."""
        return finite(answers_to_json(columns[0], task.ask(columns, **dict(self.options))))


def asked_for_answers(task: TextTask, given: dict[str, Any]) -> tuple[ForAnswers, Columns]:
    """Reads a request to `:answer`.

    Args:
        task: Whom it is for.
        given: Its texts, each a string or a list of strings, by the names that the task's class has
            in `asked` or in a signature; and numbers or flags of its `asking_cls`, but for those by
            which the network decides: each value would make a graph.

    Returns:
        How it asks, and its columns of texts.

    Raises:
        RequestError: 400: a key is unknown or missing, or a value is of another type or range.
    """
    of = task.task_class
    known = {field.name: field for field in fields(of.asking_cls)}
    # What is a word there may name a file, and clients do not choose what a server reads.
    known = {
        name: field
        for name, field in known.items()
        if field.metadata["type"] is not str and name not in of.decoder_cls.in_network
    }
    names = [name for name in given if name not in known]
    forms = [of.asked, *(of_them for of_them in of.signatures.values() if "pair" in of_them)]
    columns_of_form = next((form for form in forms if set(form) == set(names)), None)
    if columns_of_form is None:
        expected = " or ".join(" and ".join(form) for form in forms)
        perhaps = f"; and perhaps {', '.join(known)}" if known else ""
        raise wrong(f"expected the keys {expected}{perhaps}; got {', '.join(given) or 'none'}")
    options = {name: _checked(known[name], given[name]) for name in given if name in known}
    try:
        of.asking_cls(**options)
    except ValueError as error:
        raise wrong(str(error)) from error
    columns = [_column(name, given[name]) for name in columns_of_form]
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(
            f"{len(column)} of {name}"
            for name, column in zip(columns_of_form, columns, strict=True)
        )
        raise wrong(f"expected as many texts under each key, but there are {sizes}")
    return ForAnswers(len(columns), tuple(sorted(options.items()))), columns


def _column(name: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise wrong(f"{name}: expected a string or a list of strings, got {value!r:.200}")
    return texts


def _checked(field: Any, value: Any) -> Any:
    kind = field.metadata["type"]
    is_number = type(value) in (int, float) and kind is float
    if (value is None and field.default is None) or type(value) is kind or is_number:
        return value
    words = {int: "an integer", float: "a number", bool: "true or false"}[kind]
    raise wrong(f"{field.name}: expected {words}, got {value!r:.80}")
