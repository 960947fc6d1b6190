"""What the benchmarks share: fair timing of several sides in one run, and the machine in words."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np


def data_folder() -> Path:
    """The folder of public data sets: `SPANBERT_DATA`, or `shared/data` beside the project."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("SPANBERT_DATA") or default)


def machine(*packages: str) -> str:
    """One line: processor, cores and the versions of the packages."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def time_in_turn(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Times each side once a round, in turn, so that drift of the machine meets all alike.

    Args:
        sides: What to run, by name.  Each is run twice before, uncounted.
        rounds: How often each is timed.

    Returns:
        float64 `[rounds]` seconds of each side.
    """
    for run in sides.values():
        run()
        run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    return {name: np.array(values) for name, values in seconds.items()}


def median_ratio(theirs: np.ndarray, ours: np.ndarray) -> float:
    """The median over rounds of their time through ours: above 1, ours is faster."""
    return float(np.median(theirs / ours))
