"""What settings are made of: fields that explain themselves and know their range."""

from collections.abc import Callable, Sequence
from dataclasses import field, fields
from typing import Any, NamedTuple


class Range(NamedTuple):
    """What values a setting may have.

    Attributes:
        expected: In words, for messages.
        holds: Whether a value is one of them.
    """

    expected: str
    holds: Callable[[Any], bool]


ABOVE_0 = Range("above 0", lambda x: x > 0)
NOT_BELOW_0 = Range("0 or above", lambda x: x >= 0)
PART = Range("from 0 to below 1", lambda x: 0 <= x < 1)
PART_ABOVE_0 = Range("above 0 and 1 at most", lambda x: 0 < x <= 1)


def at_least(least: int) -> Range:
    """Values from a number on."""
    return Range(f"at least {least}", lambda x: x >= least)


def below(limit: int, words: str) -> Range:
    """Values from 0 to below a number."""
    return Range(f"from 0 to below {words}", lambda x: 0 <= x < limit)


def setting(
    default: Any,
    of: type,
    explanation: str,
    fits: Range | None = None,
    *,
    choices: Sequence[str] = (),
    is_model: bool = False,
) -> Any:
    """A field of a settings class.

    Args:
        default: Its value where none is given.  Where that is `None`, `None` is in its range.
        of: Its type: int, float, str or bool.
        explanation: What the command line says of it.
        fits: Its range.
        choices: Its values, where they are few.
        is_model: Whether it names a model.
    """
    if choices:
        fits = Range(f"one of {tuple(choices)}", lambda x: x in choices)
    metadata = {"type": of, "help": explanation, "choices": choices or None, "range": fits}
    return field(default=default, metadata={**metadata, "is_model": is_model})


class Settings:
    """A dataclass whose fields are made by `setting`.

    Each explains itself to the command line: `field.metadata`, of `dataclasses.fields`, has its
    `type`, `help` and, where they are few, its `choices`.

    Raises:
        ValueError: A setting is out of its range.
    """

    def __post_init__(self) -> None:
        for of in fields(self):  # type: ignore[arg-type]
            value, fits = getattr(self, of.name), of.metadata.get("range")
            if fits is None or (of.default is None if value is None else fits.holds(value)):
                continue
            expected = f"{fits.expected}, or None" if of.default is None else fits.expected
            raise ValueError(f"`{of.name}` must be {expected}, but is {value!r}.")
