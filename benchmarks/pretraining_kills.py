"""A pretraining run whose processes are killed ends with the weights of one that nothing stopped.

    python benchmarks/pretraining_kills.py [--kills 50] [--seed 0]

Runs `spanbert-tf pretrain` for a new `spanbert_tiny` on a part of enwiki-00, with a checkpoint
every two steps.  Each process of the second run is ended by SIGKILL after a random number of lines
of progress, wherever it is then: in a step, a validation, or writing a checkpoint.  The next one
goes on by itself.  In the end all weights must be equal bit by bit.
"""

import argparse
import gzip
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np
from _support import data_folder, machine

COMMAND = (sys.executable, "-m", "spanbert_tf")
LINES = 40_000  # of the corpus
MOST_LINES = 8  # of progress before a kill


def prepare(folder: Path) -> None:
    """Prepares a part of the corpus."""
    with gzip.open(data_folder() / "pretrain_en" / "enwiki-00.txt.gz", "rt") as source:
        (folder / "texts.txt").write_text("".join(islice(source, LINES)))
    vocabulary = data_folder() / "vocab" / "bert-base-cased-vocab.txt"
    words = ["prepare", "texts.txt", "--vocabulary", str(vocabulary), "--output", "corpus"]
    subprocess.run([*COMMAND, *words, "--sequence-length", "64"], cwd=folder, check=True)


def start(folder: Path, name: str, steps: int) -> subprocess.Popen:
    """Starts or goes on with a run."""
    words = ["pretrain", "corpus", "--encoder", "spanbert_tiny", "--output", name]
    settings = {
        **{"steps": steps, "token-budget": 1024, "num-buckets": 2, "log-steps": 1},
        **{"validation-steps": 10, "validation-batches": 2, "checkpoint-steps": 2},
    }
    options = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    return subprocess.Popen(
        [*COMMAND, *words, *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def progress(process: subprocess.Popen, other: list[str] | None = None) -> Iterator[str]:
    """Lines of progress, until the process ends; all others are added to a list."""
    for line in process.stderr or ():
        if line.startswith("step "):
            yield line
        elif other is not None:
            other.append(line)


def difference(one: Path, other: Path) -> tuple[int, float]:
    """How many arrays two files of weights have, and the largest difference of any number."""
    found = []

    def compare(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(np.abs(item[()] - theirs[name][()]).max())

    with h5py.File(one) as ours, h5py.File(other) as theirs:
        ours.visititems(compare)
    return len(found), float(max(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"), flush=True)
    steps = (MOST_LINES + 1) * arguments.kills
    rng = np.random.default_rng(arguments.seed)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for _ in progress(start(folder, "whole", steps)):
            pass
        for last in rng.integers(1, MOST_LINES + 1, arguments.kills):
            process, lines, other = start(folder, "killed", steps), [], []
            for line in progress(process, other):
                lines.append(line)
                if len(lines) == last:
                    process.kill()
            code = process.wait()
            if code >= 0:
                said = "".join([*other[-20:], *lines[-1:]])
                raise RuntimeError(f"the run ended by itself, with {code}:\n{said}")
            # TensorFlow may crash too, though hardly ever: the same for the run that goes on.
            end = "killed" if code == -signal.SIGKILL else f"ended by signal {-code}"
            first = lines[0].split(":")[0] if lines else "no step"
            print(f"{end} after {len(lines)} lines; began at {first}", flush=True)
        last_process = start(folder, "killed", steps)
        print(next(progress(last_process)).strip())
        for _ in progress(last_process):
            pass
        results = [
            difference(folder / "whole" / "preset" / file, folder / "killed" / "preset" / file)
            for file in ("model.weights.h5", "task.weights.h5")
        ]
    arrays, largest = sum(n for n, _ in results), max(value for _, value in results)
    minutes = (time.monotonic() - begun) / 60
    print(
        f"{arguments.kills} kills in {steps} steps, {minutes:.0f} minutes: largest difference of "
        f"{arrays} arrays {largest:g}"
    )
    return int(largest != 0)


if __name__ == "__main__":
    sys.exit(main())
