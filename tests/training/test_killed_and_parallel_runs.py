"""Pretraining in processes that are killed, and in several at once: `forked_runs.py`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training import forked_runs
from tests.training.pretraining.pretraining_runs import make_corpus, make_encoder

pytestmark = pytest.mark.slow

KILLS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forked")
    make_corpus(folder)
    make_encoder(folder)
    # Each worker drops its own states, so that only without dropout are they as one.
    make_encoder(folder / "steady", dropout=0.0)
    return folder


def _make_runs(what: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.training.forked_runs", what, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _results(folder: Path, name: str) -> list[np.ndarray]:
    with np.load(folder / f"{name}.npz") as arrays:
        return [arrays[key] for key in arrays.files]


def _largest_difference(ours: list[np.ndarray], expected: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(ours, expected, strict=True))


def test_a_killed_run_has_the_weights_of_a_whole_one(folder: Path):
    runs = _make_runs("kills", folder)
    assert len(runs["begun"]) == KILLS
    # Each process went on where a checkpoint was, none but the first at the beginning.
    assert sum(line.startswith("step 1 ") for line in runs["begun"]) == 1
    killed, whole = _results(folder, "killed-1-0"), _results(folder, "whole-1-0")
    for ours, expected in zip(killed, whole, strict=True):
        np.testing.assert_array_equal(ours, expected)
    leftovers = [path.name for path in folder.rglob(".incomplete-*")]
    assert not leftovers


def test_workers_train_as_one(folder: Path):
    _make_runs("workers", folder)
    one = _results(folder, "one-1-0")
    for count in (2, 3):
        of_each = [_results(folder, f"of_{count}-{count}-{index}") for index in range(count)]
        for ours in of_each:
            assert _largest_difference(ours, one) <= 1e-5
            assert _largest_difference(ours, of_each[0]) == 0


def test_a_lost_worker_ends_the_others_and_a_restart_goes_on(folder: Path):
    runs = _make_runs("loss", folder)
    assert runs["codes"] == [1, -9]
    assert runs["lines"][-1].startswith("WorkerLost: worker 0 of 2 stops, as worker 1 no longer")
    # What is promised is a bound; TensorFlow's heartbeats usually miss one much sooner.
    assert runs["seconds"] < 2 * forked_runs.TIMEOUT
    assert runs["begun_again"].startswith(("step 5 ", "step 7 "))
    assert runs["codes_again"] == [0, 0]
    two = _results(folder, "lost-2-0")
    assert _largest_difference(two, _results(folder, "one-1-0")) <= 1e-5
