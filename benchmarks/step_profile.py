"""Where the time of a pretraining step goes, by TensorFlow's profiler and product by product.

    python benchmarks/step_profile.py

The step of `pretraining_step.py`, masked language model alone.  The profiler's table has the self
time of each kind of operation; it adds up to more than the step, as operations overlap.  The second
table has what each product of the step reaches alone, as does its gradient to the inputs and to
the weights.
"""

import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _pretraining_batch import HIDDEN, INTERMEDIATE, LENGTH, TARGETS, VOCABULARY, make_features
from _support import machine
from pretraining_step import ROWS, STEPS, ours
from tensorflow.tsl.profiler.protobuf import xplane_pb2

SHOWN = 24
TOKENS = ROWS * LENGTH
# Rows, inputs, outputs.
PRODUCTS = (
    (TOKENS, HIDDEN, 3 * HIDDEN),
    (TOKENS, HIDDEN, HIDDEN),
    (TOKENS, HIDDEN, INTERMEDIATE),
    (TOKENS, INTERMEDIATE, HIDDEN),
    (ROWS * TARGETS, HIDDEN, VOCABULARY),
)
RUNS = 9


def self_times(folder: str) -> Counter[str]:
    """Milliseconds of each kind of operation, without those within it."""
    (path,) = Path(folder).rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    times: Counter[str] = Counter()
    for plane in space.planes:
        if "CPU" not in plane.name:
            continue
        for line in plane.lines:
            within: list[tuple[int, str]] = []
            for event in sorted(line.events, key=lambda e: (e.offset_ps, -e.duration_ps)):
                name = plane.event_metadata[event.metadata_id].name.split(":")[-1]
                name = re.sub(r"[._]\d+$", "", name)
                while within and within[-1][0] <= event.offset_ps:
                    within.pop()
                if within:
                    times[within[-1][1]] -= event.duration_ps / 1e9
                times[name] += event.duration_ps / 1e9
                within.append((event.offset_ps + event.duration_ps, name))
    return times


def seconds_of(run: Callable[..., object], *arguments: tf.Tensor) -> float:
    """The median of some runs."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        run(*arguments)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def main() -> None:
    print(machine("tensorflow", "keras"))
    run = ours(make_features(ROWS), span_boundary=False)
    run()
    run()
    print(f"a step: {seconds_of(run) / STEPS * 1e3:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run()
        times = self_times(folder)
    print(f"{'operation':<32}{'ms a step':>10}")
    for name, milliseconds in times.most_common(SHOWN):
        print(f"{name:<32}{milliseconds / STEPS:>10.1f}")

    kinds = {
        "forward": tf.function(tf.matmul),
        "to inputs": tf.function(lambda d_y, w: tf.matmul(d_y, w, transpose_b=True)),
        "to weights": tf.function(lambda x, d_y: tf.matmul(x, d_y, transpose_a=True)),
    }
    print(f"{'product, GFLOP/s':<22}" + "".join(f"{kind:>12}" for kind in kinds))
    for rows, inputs, outputs in PRODUCTS:
        x, w, d_y = (
            tf.random.normal(s) for s in ((rows, inputs), (inputs, outputs), (rows, outputs))
        )
        taken = dict(zip(kinds, ((x, w), (d_y, w), (x, d_y)), strict=True))
        gflop = 2 * rows * inputs * outputs / 1e9
        rates = [gflop / seconds_of(kinds[kind], *tensors) for kind, tensors in taken.items()]
        print(f"{f'{rows} x {inputs} x {outputs}':<22}" + "".join(f"{r:>12.0f}" for r in rates))


if __name__ == "__main__":
    main()
