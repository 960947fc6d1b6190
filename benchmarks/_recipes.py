"""What the benchmarks of fine-tuning share: batches for PyTorch, and each side at its best rate."""

from argparse import Namespace
from collections.abc import Callable, Sequence

import numpy as np

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


def compare(
    name: str, sides: dict[str, Train], arguments: Namespace
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Trains each side at its best rate, by its own F1 of the first seed, and prints a line of it.

    Args:
        name: What is trained on.
        sides: The sides.
        arguments: `rates` to choose from, and how many `seeds`.

    Returns:
        F1 `[seeds]` and seconds `[seeds]` of each.
    """
    figures, seconds = {}, {}
    for side, run in sides.items():
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
