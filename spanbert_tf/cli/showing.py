"""What commands answer people; `--json` prints the results themselves."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any


def say(line: str) -> None:
    """Tells how it goes, on standard error."""
    print(line, file=sys.stderr, flush=True)


BAR, LINE_AN_EPOCH = 1, 2  # Keras' `verbose`.


@contextmanager
def progress() -> Iterator[int]:
    """Sends Keras' progress to standard error: a bar on a terminal, a line an epoch elsewhere."""
    with redirect_stdout(sys.stderr):
        yield BAR if sys.stderr.isatty() else LINE_AN_EPOCH


def counted(number: int, thing: str) -> str:
    """`1 shard`, `1,200 shards`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def figures_in_a_row(figures: dict[str, float]) -> str:
    """`accuracy 0.9000, loss 0.3000`."""
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())


def one_line(text: str, width: int = 100) -> str:
    """A text without line breaks, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def shown(answer: Any) -> Any:
    """An answer as people see it: of an array the first numbers, and how many there are."""
    if not hasattr(answer, "tolist"):
        return answer
    first = " ".join(f"{number:7.4f}" for number in answer.tolist()[:3])
    return f"{first} ... ({len(answer)} numbers)"
