"""How a peer talks with the benchmark that started it; `../_peers.py` is the other end."""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

ROUNDS_OF_CHOICE = 2


def serve(
    run: Callable[[], object], *packages: str, calls: int | None = None, **facts: object
) -> None:
    """Says that the peer is ready, and then runs once for each line of standard input.

    Args:
        run: What is timed.
        packages: Those whose versions the benchmark shows.
        calls: How often a run calls it; the answer has the seconds of each call.  `None`: once,
            and the answer is a number.
        facts: What else the benchmark wants to know.
    """
    # Libraries print; only answers may go where the benchmark reads them.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    facts["versions"] = ", ".join(f"{package} {version(package)}" for package in packages)
    answers.write(json.dumps(facts) + "\n")
    for _ in sys.stdin:
        seconds = time_each(run, calls or 1)
        answers.write(json.dumps(seconds if calls else seconds[0]) + "\n")


def time_each(run: Callable[[], object], calls: int) -> list[float]:
    """Seconds of each of some calls."""
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return seconds


def fastest(run: Callable[[int], object], choices: tuple[int, ...]) -> int:
    """The choice, such as a batch size, with which a run takes the least time."""
    seconds = dict.fromkeys(choices, float("inf"))
    for _ in range(ROUNDS_OF_CHOICE):
        for choice in choices:
            (took,) = time_each(lambda choice=choice: run(choice), 1)
            seconds[choice] = min(seconds[choice], took)
    return min(choices, key=seconds.__getitem__)
