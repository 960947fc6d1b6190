"""What the benchmarks share: fair timing of several sides in one run, the machine, the goals."""

import os
import platform
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np


def data_folder() -> Path:
    """The folder of public data sets: `SPANBERT_DATA`, or `shared/data` beside the project."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("SPANBERT_DATA") or default)


MINILM = "minilm"


def encoder_source(name: str) -> str | Path:
    """What `load_backbone` takes for the name of an encoder: `minilm`, or a handle as it is."""
    from spanbert_tf.handles import bundled_minilm

    return bundled_minilm() if name == MINILM else name


def read_movie_reviews(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".txt")]
        # A few reviews hold bytes of an older encoding.
        return [archive.read(name).decode("utf-8", errors="replace") for name in names]


def machine(*packages: str) -> str:
    """One line: processor, cores and the versions of the packages."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        facts = dict(re.findall(r"^([\w ]+?)\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE))
        # Virtual machines hide the name, and generations differ twofold in speed.
        numbers = " ".join(f"{key} {facts[key]}" for key in ("cpu family", "model") if key in facts)
        model = f"{facts.get('model name', model)} ({numbers})" if numbers else model
    versions = [f"{package} {version(package)}" for package in packages]
    cores, python = f"{os.cpu_count()} cores", f"Python {platform.python_version()}"
    return ", ".join([model, cores, python, *versions])


def peak_megabytes() -> float:
    """Peak resident memory of this process so far (Linux)."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def peak_of_process(script: str, size: int) -> tuple[float, float]:
    """Runs `script --one SIZE` in a process of its own, which prints two figures.

    Returns:
        Its peak resident memory before and after the work, in MB.
    """
    command = [sys.executable, script, "--one", str(size)]
    outcome = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    before, peak = map(float, outcome.stdout.split())
    return before, peak


def linearity(sizes: Sequence[int], peaks: Sequence[float]) -> float:
    """Fits a line to peaks in MB by sizes in tokens, prints it and gives R^2."""
    slope, base = np.polyfit(sizes, peaks, 1)
    print(f"peak = {base:,.0f} MB + {slope * 1024:.1f} KB a token", flush=True)
    return float(np.corrcoef(sizes, peaks)[0, 1] ** 2)


def time_in_turn(
    sides: dict[str, Callable[[], object]], rounds: int, warm_ups: int = 2
) -> dict[str, np.ndarray]:
    """Times each side once a round, in turn, so that drift of the machine meets all alike.

    Args:
        sides: What to run, by name.  A side that returns a float64 array, as those of `_peers.py`
            do, has timed itself: the array holds the seconds of the run, or of each part of it.
        rounds: How often each is timed.
        warm_ups: How often each is run before, uncounted.

    Returns:
        float64 `[rounds]` seconds of each side, or `[rounds, parts]`.
    """
    for run in sides.values():
        for _ in range(warm_ups):
            run()
    seconds: dict[str, list[object]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            begun = time.perf_counter()
            outcome = run()
            took = time.perf_counter() - begun
            seconds[name].append(outcome if isinstance(outcome, np.ndarray) else took)
    return {name: np.array(values) for name, values in seconds.items()}


def median_ratio(theirs: np.ndarray, ours: np.ndarray) -> float:
    """The median over rounds of their time through ours: above 1, ours is faster."""
    return float(np.median(theirs / ours))


GEMM_SIZE, GEMMS_A_RUN = 2048, 8
GEMM_GFLOP = GEMMS_A_RUN * 2 * GEMM_SIZE**3 / 1e9


def gemm_side(dtype: str = "float32") -> Callable[[], object]:
    """Large matrix products in TensorFlow, `GEMM_GFLOP` a run: what the machine can reach."""
    import tensorflow as tf

    shape = (GEMM_SIZE, GEMM_SIZE)
    left, right = (tf.cast(tf.random.stateless_normal(shape, (0, n)), dtype) for n in (0, 1))
    product = tf.function(tf.matmul)

    def run() -> None:
        for _ in range(GEMMS_A_RUN):
            product(left, right)

    return run


@dataclass(frozen=True)
class Goal:
    """A claim that a benchmark tests.

    Attributes:
        claim: What is measured, without a colon.
        measured: The figure.  `None`: not measured here, as a peer is missing.
        goal: What it must reach.
        form: How to write both: a format with one place.
        at_most: Whether the goal is the most, not the least.
    """

    claim: str
    measured: float | None
    goal: float
    form: str = "{:.2f}x"
    at_most: bool = False

    def __str__(self) -> str:
        if self.measured is None:
            figure, outcome = "-", "not measured"
        else:
            figure, outcome = self.form.format(self.measured), "met" if self.is_met else "missed"
        most = "at most " if self.at_most else ""
        return f"{self.claim}: {figure}, goal {most}{self.form.format(self.goal)}: {outcome}"

    @property
    def is_met(self) -> bool:
        if self.measured is None:
            return False
        return self.measured <= self.goal if self.at_most else self.measured >= self.goal


def report_goals(goals: Iterable[Goal]) -> int:
    """Prints a line for each goal and gives the exit status: 1 if one was missed."""
    missed = 0
    for goal in goals:
        print(goal, flush=True)
        missed += goal.measured is not None and not goal.is_met
    return int(missed > 0)
