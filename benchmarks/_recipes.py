"""What the benchmarks of fine-tuning share: batches for PyTorch, and each side at its best rate."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _support import machine

# Figure and seconds of a training, of a learning rate and a seed.
Train = Callable[[float, int], tuple[float, float]]


def shuffled_batches(
    lengths: Sequence[int], batch_size: int, generator: np.random.Generator
) -> list[list[int]]:
    """Numbers of rows in batches of like length, in a random order."""
    order = generator.permutation(len(lengths)).tolist()
    order.sort(key=lambda row: lengths[row])
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    return [batches[at] for at in generator.permutation(len(batches))]


def add_resume(parser: ArgumentParser) -> None:
    """Adds the option whose value `Runs` takes."""
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="keeps there what single trainings gave, for the same command to go on with",
    )


class Runs:
    """What single trainings gave, so that hours of them can be stopped and gone on with.

    Args:
        path: A file of JSON lines, which is made.  `None`: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path is not None and path.exists():
            lines = [*map(json.loads, path.read_text("utf-8").splitlines())]
            self._known = {line["run"]: line["result"] for line in lines}
            places = "; ".join(sorted({line["machine"] for line in lines}))
            print(f"{len(self._known)} trainings are of an earlier start, on {places}", flush=True)

    def __call__(self, run: str, train: Callable[[], Any]) -> Any:
        """Trains, unless an earlier start has.

        Args:
            run: What tells the training from all others of the command.
            train: Gives its result, which JSON can hold.
        """
        if run not in self._known:
            self._known[run] = train()
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    line = {"run": run, "result": self._known[run], "machine": machine()}
                    file.write(json.dumps(line) + "\n")
        return self._known[run]


def compare(
    name: str, sides: dict[str, Train], arguments: Namespace
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Trains each side at its best rate, by its own F1 of the first seed, and prints a line of it.

    Args:
        name: What is trained on.
        sides: The sides.
        arguments: `rates` to choose from, how many `seeds`, and `resume` of `add_resume`.

    Returns:
        F1 `[seeds]` and seconds `[seeds]` of each.
    """
    figures, seconds = {}, {}
    runs_of_all = Runs(arguments.resume)
    for side, train in sides.items():

        def run(rate: float, seed: int, side: str = side, train: Train = train) -> Any:
            key = f"{name}, {side}, {rate:.0e}, seed {seed}"
            return runs_of_all(key, lambda: train(rate, seed))

        by_rate = {rate: run(rate, 0) for rate in arguments.rates}
        tried = ", ".join(f"{rate:.0e}: {f1:.4f}" for rate, (f1, _) in by_rate.items())
        best = max(by_rate, key=lambda rate: by_rate[rate][0])
        runs = [by_rate[best], *(run(best, seed) for seed in range(1, arguments.seeds))]
        figures[side], seconds[side] = (np.array(column) for column in zip(*runs, strict=True))
        print(
            f"{name:<20} {side:<14} F1 {figures[side].mean():.4f}, deviation "
            f"{figures[side].std():.4f}, {seconds[side].mean():.0f} s, at {best:.0e} ({tried})",
            flush=True,
        )
    return figures, seconds
