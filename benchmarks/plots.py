"""Pictures of what the benchmarks say, as PNGs in benchmarks/plots/.

    python benchmarks/plots.py [--tokens 512 1024 ... 16384] [--draw]

- throughput.png and memory.png: one text of growing length through the encoder of
  `long_text.py`, with bucketed and with dense attention, and through transformers' Longformer.
  Each point is a process of its own: the median of its runs, and its peak resident memory.  The
  last two stop at 4,096 tokens, Longformer's most.
- padding.png: the share of padding in the batches of each pipeline of `padding.py`.

What was measured is kept in points.json there; `--draw` draws it again.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib as mpl
import numpy as np
from _support import data_folder
from long_text import LENGTH
from padding import all_reports

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullLocator

FOLDER = Path(__file__).resolve().parent / "plots"
POINTS = "points.json"
POINT_SCRIPT = Path(__file__).with_name("_long_text_point.py")
BUCKETED, DENSE, LONGFORMER = "bucketed", "dense", "longformer"
# Colours that differ in lightness too; ours is the strong one.
SIDES = {
    BUCKETED: ("bucketed attention", "#0b5394"),
    DENSE: ("dense attention", "#e69138"),
    LONGFORMER: ("transformers Longformer", "#777777"),
}
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "grid.color": "#e5e5e5",
    "font.size": 10,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
}


def measure(lengths: list[int]) -> dict[str, Any]:
    """Everything that the pictures show, fit for JSON."""
    growth: dict[str, list[tuple[int, float, float]]] = {}
    for side in SIDES:
        growth[side] = []
        for tokens in lengths:
            if side != BUCKETED and tokens > LENGTH:
                continue
            command = [sys.executable, str(POINT_SCRIPT), side, str(tokens)]
            outcome = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            seconds, peak = map(float, outcome.stdout.split())
            growth[side].append((tokens, seconds, peak))
            print(
                f"{side:<12}{tokens:>8,} tokens{tokens / seconds:>9,.0f} tokens/s{peak:>8,.0f} MB",
                flush=True,
            )
    padding = {
        name: {pipeline: report.waste for pipeline, report in reports.items()}
        for name, reports in all_reports(data_folder()).items()
    }
    return {"growth": growth, "padding": padding}


def with_thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"


def draw_growth(growth: dict[str, list], path: Path, *, memory: bool) -> None:
    """Lines over the length: tokens a second, or peak memory, whose straight lines must show."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8))
    for side, (label, color) in SIDES.items():
        tokens, seconds, peaks = np.array(growth[side]).T
        values = peaks if memory else tokens / seconds
        axes.plot(tokens, values, color=color, marker="o", markersize=4, linewidth=2, label=label)
    lengths = [point[0] for point in growth[BUCKETED]]
    if memory:
        axes.set_xlim(left=0)
        axes.set_xticks(lengths[-3:])
    else:
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths)
        axes.xaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(with_thousands))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens of the text")
    axes.set_title("peak memory of the process, MB" if memory else "tokens a second")
    axes.legend(frameon=False, loc="lower right" if memory else "lower left")
    figure.savefig(path)
    plt.close(figure)


def draw_padding(padding: dict[str, dict[str, float]], path: Path) -> None:
    """Bars by pipeline, a panel for each data set."""
    figure, panels = plt.subplots(
        1, len(padding), figsize=(8.4, 2.4), sharey=True, layout="constrained"
    )
    for axes, (name, wastes) in zip(panels, padding.items(), strict=True):
        colors = [SIDES[BUCKETED][1] if "buckets" in label else "#bbbbbb" for label in wastes]
        bars = axes.barh(list(wastes), list(wastes.values()), color=colors)
        axes.bar_label(bars, [f"{waste:.1%}" for waste in wastes.values()], padding=3)
        axes.set_xlim(0, 1.2)
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"padding, {name}")
    panels[0].invert_yaxis()  # They share it.
    figure.savefig(path)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[2**n for n in range(9, 15)])
    parser.add_argument("--draw", action="store_true", help="what was measured before")
    arguments = parser.parse_args()

    FOLDER.mkdir(exist_ok=True)
    points_file = FOLDER / POINTS
    if not arguments.draw:
        points_file.write_text(json.dumps(measure(arguments.tokens), indent=1) + "\n", "utf-8")
    points = json.loads(points_file.read_text("utf-8"))
    with plt.rc_context(STYLE):
        draw_growth(points["growth"], FOLDER / "throughput.png", memory=False)
        draw_growth(points["growth"], FOLDER / "memory.png", memory=True)
        draw_padding(points["padding"], FOLDER / "padding.png")
    for path in sorted(FOLDER.glob("*.png")):
        print(path.relative_to(FOLDER.parent.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
