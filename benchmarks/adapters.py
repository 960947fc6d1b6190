"""Adapters against full fine-tuning: the recipes of the ready models, trained in both ways.

    python benchmarks/adapters.py [--models entities_en ...] [--seeds 3] [--resume FILE]

Data, epochs and options are those of `recipes/adapters/remake.py`; learning rates are those that
`finetune` chooses for each way, or the recipe for an adapter.  Both are scored, as they are, on all
sets that the recipe keeps for it; a model's figure is the mean over them of its task's first one.
All models take a day on 2 cores.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from _recipes import Runs, add_resume
from _support import Goal, machine, report_goals

sys.path.append(str(Path(__file__).resolve().parent.parent / "recipes" / "adapters"))

import remake

from spanbert_tf.cli.finetune import PRESET_FOLDER, PRESET_FOLDERS
from spanbert_tf.tasks import task_class

WAYS = {"adapter": True, "full": False}
LOSS_GOAL = -1.0  # points


def train_and_score(name: str, data: Path, adapter: bool, seed: int) -> dict[str, float]:
    """The first figure on each set."""
    task = remake.RECIPES[name].task
    figure, *_ = task_class(task).figures
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model"
        remake.train(name, data, output, "--seed", seed, adapter=adapter)
        model = output / ("adapter" if adapter else PRESET_FOLDERS.get(task, PRESET_FOLDER))
        return {test: of[figure] for test, of in remake.score(name, data, model).items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=remake.RECIPES, default=[*remake.RECIPES])
    parser.add_argument("--seeds", type=int, default=3)
    add_resume(parser)
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"), flush=True)
    runs, goals = Runs(arguments.resume), []
    for name in arguments.models:
        data, means = remake.make_files(name), {}
        for way, adapter in WAYS.items():
            found = [
                runs(
                    f"{name}, {way}, seed {seed}",
                    partial(train_and_score, name, data, adapter, seed),
                )
                for seed in range(arguments.seeds)
            ]
            by_seed = np.array([[*of.values()] for of in found]) * 100
            sets = ", ".join(
                f"{test} {value:.2f}"
                for test, value in zip(found[0], by_seed.mean(axis=0), strict=True)
            )
            means[way] = by_seed.mean()
            print(
                f"{name:<20}{way:<9}{means[way]:>7.2f}, deviation {by_seed.mean(axis=1).std():.2f} "
                f"({sets})",
                flush=True,
            )
        lost = float(means["adapter"] - means["full"])
        goals.append(Goal(f"{name}, adapter less full, points", lost, LOSS_GOAL, "{:+.2f}"))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
