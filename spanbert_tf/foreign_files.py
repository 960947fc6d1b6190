"""Files that others made: one kind of error for all, and checks before anything is built of them.

A file that is not what it should be is a `CheckpointError`, whatever its reader raises, and names
the file; a traceback is left for faults of this package.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Beyond any model: a larger number is damage, or meant to exhaust the memory.
_LARGEST_SIZE = 2**31


class CheckpointError(ValueError):
    """A file of a model is damaged, or asks for what this package does not do."""


# Errors that say themselves what is the matter, or are none of the file.
_CLEAR = (CheckpointError, FileNotFoundError, PermissionError, ImportError, MemoryError)


@dataclass(frozen=True)
class Expected:
    """What a key of a JSON object may hold.

    Attributes:
        words: In words, for messages.
        holds: Whether a value is such.
        required: Whether the key must be there.
    """

    words: str
    holds: Callable[[Any], bool]
    required: bool = False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)  # A bool is an int, too, but none that was meant.


def integer(least: int, most: int = _LARGEST_SIZE, required: bool = False) -> Expected:
    """Integers of a range."""
    return Expected(
        f"an integer from {least} to {most}",
        lambda x: type(x) is int and least <= x <= most,
        required,
    )


def rate(required: bool = False) -> Expected:
    """Numbers from 0 to below 1."""
    return Expected("a number from 0 to below 1", lambda x: _is_number(x) and 0 <= x < 1, required)


def of_type(kind: type, words: str, required: bool = False) -> Expected:
    """Any value of a type."""
    return Expected(words, lambda x: type(x) is kind, required)


def text(required: bool = False) -> Expected:
    """Strings."""
    return of_type(str, "a string", required)


def flag(required: bool = False) -> Expected:
    """`true` and `false`."""
    return of_type(bool, "true or false", required)


def table(required: bool = False) -> Expected:
    """Objects."""
    return of_type(dict, "an object", required)


def list_of(kind: type, words: str, required: bool = False) -> Expected:
    """Lists whose items are all of a type."""
    return Expected(
        f"a list of {words}",
        lambda x: type(x) is list and all(type(item) is kind for item in x),
        required,
    )


def or_null(expected: Expected) -> Expected:
    """What another expects, or `null`."""
    return Expected(
        f"{expected.words}, or null",
        lambda x: x is None or expected.holds(x),
        expected.required,
    )


Schema = Mapping[str, Expected]


def problems(value: Mapping[str, Any], schema: Schema) -> list[str]:
    """Lists what is wrong of an object; keys that the schema does not name are not looked at."""
    wrong = []
    for key, expected in schema.items():
        if key not in value:
            wrong += [f"{key} is missing"] if expected.required else []
        elif not expected.holds(value[key]):
            wrong.append(f"{key}: expected {expected.words}, got {value[key]!r:.80}")
    return wrong


def check(value: Mapping[str, Any], schema: Schema, where: object) -> None:
    """Checks an object of a foreign file.

    Raises:
        CheckpointError: A key is missing, or holds what is not expected; all of them are listed.
    """
    if wrong := problems(value, schema):
        raise CheckpointError(f"{where}: {'; '.join(wrong)}")


def read_json(path: Path, schema: Schema | None = None) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        path: The file.
        schema: What its keys must hold.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: It may not be read.
        CheckpointError: It holds no JSON object, or not what the schema says.
    """
    with reading(path, "JSON"):
        # RecursionError of thousands of brackets, ValueError of numbers of thousands of digits.
        value = json.loads(Path(path).read_text("utf-8"))
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    check(value, schema or {}, path)
    return value


@contextmanager
def reading(path: object, what: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Names the file, and what it should be, in whatever error a library has with it.

    Around calls of the libraries that read a format, not around code of this package.

    Args:
        path: The file or folder.
        what: What it should be.
        passing: Errors that are left as they are.

    Raises:
        CheckpointError: The file cannot be read as what it should be.
        FileNotFoundError, PermissionError, ImportError, MemoryError: As they come.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (*_CLEAR, *passing)):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # A long reason has its gist at an end: first of a sentence, last of a wrapped error.
        reason = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
        raise CheckpointError(f"{path} is not {what}, or damaged: {reason:.400}") from error


def check_finite(tensors: Iterable[tuple[str, Any]], where: object) -> None:
    """Checks that no weight is NaN or infinite.

    Args:
        tensors: Names, and arrays or variables; what is no float is not looked at.
        where: What they are of, for the message.

    Raises:
        CheckpointError: Some are; they are listed.
    """
    wrong = []
    for name, tensor in tensors:
        array = np.asarray(tensor)
        # "V" is bfloat16's.
        if array.dtype.kind in "fV" and not np.isfinite(array).all():
            wrong.append(name)
    if wrong:
        listed = ", ".join(sorted(wrong)[:10]) + (" ..." if len(wrong) > 10 else "")
        raise CheckpointError(f"{where} has weights that are NaN or infinite: {listed}")


def check_size(implied: int, found: int, where: object) -> None:
    """Checks that a configuration does not ask for far more weights than there are.

    Called before anything is built of it, as building takes the memory.  Which weights lack or are
    of another shape is for a later check to say.

    Args:
        implied: How many numbers the encoder that it describes has.
        found: How many the weights' file has.
        where: The file of the configuration, for the message.

    Raises:
        CheckpointError: More than twice as many.
    """
    if implied > 2 * found:
        raise CheckpointError(
            f"{where} describes an encoder of {implied:,} weights, but the file of the weights has "
            f"{found:,}: its sizes are wrong, or the weights are another model's"
        )
