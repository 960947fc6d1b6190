"""Conversations, as turns of speakers, to texts."""

from collections.abc import Mapping
from typing import Any


def join_turns(x: Any) -> Any:
    r"""Writes conversations as texts, each turn a line that begins with its speaker's name.

        [{"speaker": "Ann", "text": "I'm off."}, {"text": "Bye."}] -> "Ann: I'm off.\nBye."

    An encoder that reads texts knows by it who "I" and "you" are (Wu et al., 2020).

    Args:
        x: A list of turns, `{"speaker": ..., "text": ...}`, or a list of texts and such lists; the
            speaker may be missing, `None` or empty.

    Returns:
        A string for one conversation, a list for several; what has no turns as it is.

    Raises:
        ValueError: A turn is of another form.
    """
    if not isinstance(x, list) or not x:
        return x
    if all(isinstance(turn, Mapping) for turn in x):
        return "\n".join(_line(number, turn) for number, turn in enumerate(x))
    return [join_turns(each) if isinstance(each, list) else each for each in x]


def _line(number: int, turn: Mapping[str, Any]) -> str:
    speaker, text = turn.get("speaker") or "", turn.get("text")
    if not isinstance(text, str) or not isinstance(speaker, str) or set(turn) - {"speaker", "text"}:
        raise ValueError(
            f'turn {number}, counted from 0, must be {{"speaker": ..., "text": ...}}, both '
            f"strings, but is {dict(turn)!r:.80}."
        )
    return f"{speaker}: {text}" if speaker else text
