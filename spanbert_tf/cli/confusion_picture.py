"""The picture of `evaluate --confusions`: which label was taken for which."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import atomic_file
from spanbert_tf.metrics.reports import NONE_OF_THESE

SUFFIXES = (".png", ".svg")
_MOST_NUMBERED = 30  # Labels, up to which each cell shows its number.


def check_picture(path: Path) -> None:
    """Refuses what cannot be drawn, before anything is done.

    Raises:
        ValueError: The file's name ends in something else than .png or .svg.
        ModuleNotFoundError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: expected the name of a picture, {' or '.join(SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise ModuleNotFoundError(
            "pictures need matplotlib: pip install 'spanbert-tf[plots]'", name="matplotlib"
        )


def draw_confusions(report: Any, path: Path) -> None:
    """Draws how often each right label, a row, was answered with each, a column.

    Colors are parts of a row.

    Args:
        report: A `Report` with `pairs`.
        path: The file to write.
    """
    from matplotlib.figure import Figure

    gold, answered = labels_of(report)
    counts = [[report.pairs.get((row, column), 0) for column in answered] for row in gold]
    parts = [[count / max(sum(row), 1) for count in row] for row in counts]
    inches = min(3 + 0.35 * len(answered), 40)
    figure = Figure(figsize=(inches, inches), layout="constrained")
    axes = figure.subplots()
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(answered)), answered, rotation=90)
    axes.set_yticks(range(len(gold)), gold)
    axes.set_xlabel("answered")
    axes.set_ylabel("right")
    if len(answered) <= _MOST_NUMBERED:
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                color = "white" if parts[y][x] > 0.5 else "black"
                axes.text(x, y, count or "", ha="center", va="center", color=color, fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format=path.suffix.lower()[1:], dpi=150)


def labels_of(report: Any) -> tuple[list[str], list[str]]:
    """The labels of rows and columns that occur, in the order of the report's table."""
    met = {label for pair in report.pairs for label in pair}
    order = [*(name for name in report.rows if name in met), *sorted(met - report.rows.keys())]
    return [name for name in order if name != NONE_OF_THESE], order
