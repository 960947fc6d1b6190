"""Smaller models: what distillation, pruning and int8 give and cost, on SST-2.

    python benchmarks/smaller_models.py [--models runs/smaller_models] [--phrases N] [--seed 0]

The teacher is the shipped encoder (6 x 384), fine-tuned for an epoch; the distilled one is a
student of 3 layers, taught for three; the pruned one keeps half of the teacher's feed-forward
neurons and is trained for another epoch; the last is the distilled one with a third of its neurons,
taught for another.  Each is exported to LiteRT with weights of float32, float16 and int8: the size
of what is exported, one sentence (p50, in turn), all test phrases in one call, and accuracy on
test.tsv.

Models that are in `--models` already are taken as they are.  The picture is
benchmarks/plots/smaller_models.png.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _support import Goal, data_folder, machine, median_ratio, report_goals, time_in_turn
from one_sentence import TEXT
from plots import FOLDER, STYLE, plt

import spanbert_tf
from spanbert_tf import SpanBertTextClassifier
from spanbert_tf.data.readers.tables import Example
from spanbert_tf.handles import default_encoder
from spanbert_tf.output_folders import size_of_files
from spanbert_tf.settings import LITERT_WEIGHTS, TextClassification
from spanbert_tf.training import finetune

TEACHER, DISTILLED, PRUNED, BOTH = "teacher", "distilled", "pruned", "distilled, pruned"
STUDENT_LAYERS, PRUNED_NEURONS, FEWEST_NEURONS, TOLD_BY = 3, 768, 512, 2000
SETTINGS = TextClassification(
    epochs=1, batch_size=64, learning_rate=1e-4, pooling="mean", validation_fraction=0
)
SIZE_GOAL, SPEED_GOAL, LOSS_GOAL = 15.0, 2.0, -0.015
ROUNDS, CALLS = 7, 40
COLORS = {TEACHER: "#777777", DISTILLED: "#0b5394", PRUNED: "#e69138", BOTH: "#6aa84f"}
MARKERS = {"float32": "o", "float16": "s", "int8": "^"}


def make_models(folder: Path, train: list[Example], seed: int) -> dict[str, Path]:
    """Presets by name; those that are there stay."""
    settings = replace(SETTINGS, seed=seed)
    taught = replace(settings, teacher=str(folder / TEACHER))
    columns = [example.text for example in train], [example.label for example in train]

    def tune(name: str, of: TextClassification, encoder: Any) -> None:
        finetune(of, train, encoder=encoder, output=folder / name, verbose=2)

    def prune(name: str, whole: str, neurons: int, of: TextClassification) -> None:
        model = SpanBertTextClassifier.from_preset(str(folder / whole))
        smaller = spanbert_tf.prune(model, neurons, *(column[:TOLD_BY] for column in columns))
        untrained = folder / f"{name}, untrained"
        smaller.save_to_preset(str(untrained))
        tune(name, of, untrained)

    makers: dict[str, Callable[[], None]] = {
        TEACHER: lambda: tune(TEACHER, settings, default_encoder()),
        DISTILLED: lambda: tune(
            DISTILLED, replace(taught, epochs=3, layers=STUDENT_LAYERS), folder / TEACHER
        ),
        PRUNED: lambda: prune(PRUNED, TEACHER, PRUNED_NEURONS, settings),
        BOTH: lambda: prune(BOTH, DISTILLED, FEWEST_NEURONS, taught),
    }
    for name, make in makers.items():
        if not (folder / name).is_dir():
            make()
    return {name: folder / name for name in makers}


def measure(presets: dict[str, Path], test: list[Example]) -> dict[tuple[str, str], dict[str, Any]]:
    """Size, times and accuracy of each model in each dtype."""
    texts = [example.text for example in test]
    labels = np.array([example.label for example in test])
    found: dict[tuple[str, str], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        tasks = {}
        for name, preset in presets.items():
            model = SpanBertTextClassifier.from_preset(str(preset))
            for weights in LITERT_WEIGHTS:
                folder = Path(temporary) / name / weights
                spanbert_tf.export_litert(model, folder, weights=weights)
                tasks[name, weights] = spanbert_tf.load_task(folder)
                answers = tasks[name, weights].classify(texts)
                found[name, weights] = {
                    "megabytes": size_of_files(folder) / 1e6,
                    "accuracy": float(np.mean([a.label for a in answers] == labels)),
                }
        ways = {
            "one": (CALLS, lambda task: task.classify(TEXT)),
            "batch": (1, lambda task: task.classify(texts)),
        }
        for way, (calls, ask) in ways.items():
            sides = {
                key: lambda task=task, ask=ask, calls=calls: [ask(task) for _ in range(calls)]
                for key, task in tasks.items()
            }
            for key, seconds in time_in_turn(sides, ROUNDS, warm_ups=1).items():
                found[key][way] = seconds / calls
    return found


def draw(found: dict[tuple[str, str], dict[str, Any]], path: Path) -> None:
    """Accuracy over the time of a sentence, a mark for each dtype, as large as the model."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.8))
        for (name, weights), of in found.items():
            axes.scatter(
                np.median(of["one"]) * 1e3,
                of["accuracy"],
                s=of["megabytes"] * 3,
                color=COLORS[name],
                marker=MARKERS[weights],
                alpha=0.8,
                linewidths=0,
            )
        for name, color in COLORS.items():
            axes.scatter([], [], color=color, label=name)
        for weights, marker in MARKERS.items():
            axes.scatter([], [], color="#bbbbbb", marker=marker, label=weights)
        axes.set_xlim(left=0)
        axes.set_xlabel("one sentence, ms; marks are as large as the model")
        axes.set_title("accuracy on SST-2")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        figure.savefig(path)
        plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path("runs/smaller_models"))
    parser.add_argument("--phrases", type=int, help="to train on, the first ones")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"), flush=True)
    read = SpanBertTextClassifier.read
    train, test = (read(data_folder() / "sst2" / f"{part}.tsv") for part in ("train", "test"))
    arguments.models.mkdir(parents=True, exist_ok=True)
    presets = make_models(arguments.models, train[: arguments.phrases], arguments.seed)
    found = measure(presets, test)
    print(f"{'model':<20}{'weights':<9}{'MB':>7}{'sentence, ms':>14}{'test, s':>9}{'accuracy':>10}")
    for (name, weights), of in found.items():
        one, batch = np.median(of["one"]) * 1e3, np.median(of["batch"])
        print(
            f"{name:<20}{weights:<9}{of['megabytes']:>7.1f}{one:>14.2f}{batch:>9.2f}"
            f"{of['accuracy']:>10.4f}"
        )
    FOLDER.mkdir(exist_ok=True)
    draw(found, FOLDER / "smaller_models.png")
    smallest, whole = (found[name, "int8"] for name in (DISTILLED, TEACHER))
    lost = smallest["accuracy"] - found[TEACHER, "float32"]["accuracy"]
    return report_goals(
        [
            Goal(
                "distilled, int8, megabytes",
                smallest["megabytes"],
                SIZE_GOAL,
                "{:.1f}",
                at_most=True,
            ),
            Goal(
                "distilled, pruned, int8, megabytes",
                found[BOTH, "int8"]["megabytes"],
                SIZE_GOAL,
                "{:.1f}",
                at_most=True,
            ),
            Goal(
                "one sentence, distilled against the teacher, both int8",
                median_ratio(whole["one"], smallest["one"]),
                SPEED_GOAL,
            ),
            Goal("accuracy, distilled, int8, less the teacher's", lost, LOSS_GOAL, "{:+.4f}"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
