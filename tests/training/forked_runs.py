"""Pretraining runs in processes of their own, which can be killed.

    python -m tests.training.forked_runs WHAT FOLDER

This process imports everything and computes nothing; each run is a fork of it, which has its own
TensorFlow runtime without the seconds that importing takes.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from spanbert_tf.training.pretraining.workers import Workers
from tests.training.pretraining.pretraining_runs import run

STEPS = 30
TIMEOUT = 60.0  # seconds after which a worker is taken for dead


class Fork:
    """A run in a fork of this process; its output, line by line."""

    def __init__(self, run: Callable[[Callable[[str], None]], Any]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(reader)
            self._be_the_child(run, writer)
        os.close(writer)
        self._lines = os.fdopen(reader)

    def lines(self) -> Iterator[str]:
        """Lines as they come, until the process ends."""
        yield from (line.rstrip("\n") for line in self._lines)

    def kill(self) -> None:
        """Ends the process at once."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Waits for the end, and gives the exit code or the number of the signal, negative."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _be_the_child(self, run: Callable[[Callable[[str], None]], Any], writer: int) -> NoReturn:
        lines = os.fdopen(writer, "w", buffering=1)
        try:
            run(lambda line: print(line, file=lines))
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=lines)
            code = 1
        lines.flush()
        os._exit(code)


def train(folder: Path, name: str, write: Callable[[str], None], **options: Any) -> None:
    """Makes a run and writes its weights and validations beside it."""
    workers = Workers.from_environment(TIMEOUT)
    done = run(
        folder,
        name,
        {"steps": STEPS},
        {"log_steps": 1, "checkpoint_steps": 2},
        write=write,
        workers=workers,
        **options,
    )
    arrays = [np.asarray(weight) for weight in done.pretrainer.weights]
    losses = [figures["loss"] for figures in done.history]
    np.savez(folder / f"{name}-{workers.count}-{workers.index}.npz", losses, *arrays)


def kill_at_random(folder: Path, kills: int = 5) -> dict[str, Any]:
    """Makes a whole run, and one whose processes are killed."""
    Fork(lambda write: train(folder, "whole", write)).wait()
    rng = np.random.default_rng(0)
    begun = []
    for last in rng.integers(1, 6, kills):
        # It is somewhere after the line: in a step, a validation, or writing a checkpoint.
        process, seen = Fork(lambda write: train(folder, "killed", write)), []
        for line in process.lines():
            seen.append(line)
            if len(seen) == last:
                process.kill()
        begun.append(seen[0])
        assert process.wait() == -signal.SIGKILL, seen
    assert Fork(lambda write: train(folder, "killed", write)).wait() == 0
    return {"begun": begun}


def start_workers(folder: Path, name: str, count: int) -> list[Fork]:
    """Starts the processes of a data-parallel run on this machine."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(count)]

    def train_as(index: int) -> Callable[[Callable[[str], None]], None]:
        def start(write: Callable[[str], None]) -> None:
            task = {"type": "worker", "index": index}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": hosts}, "task": task})
            train(folder, name, write, encoder=folder / "steady" / "encoder")

        return start

    return [Fork(train_as(index)) for index in range(count)]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def compare_workers(folder: Path) -> dict[str, Any]:
    """Trains with one, two and three workers."""
    Fork(lambda write: train(folder, "one", write, encoder=folder / "steady" / "encoder")).wait()
    ends = {}
    for count in (2, 3):
        workers = start_workers(folder, f"of_{count}", count)
        ends[count] = [[*worker.lines()][-1:] for worker in workers]
        assert [worker.wait() for worker in workers] == [0] * count, ends
    return {"ends": ends}


def lose_a_worker(folder: Path) -> dict[str, Any]:
    """Kills one of two workers, then starts both again."""
    chief, other = start_workers(folder, "lost", 2)
    lines, killed = [], 0.0
    for line in chief.lines():
        lines.append(line)
        if line.startswith("step 5"):
            other.kill()
            killed = time.monotonic()
    outcome = {"lines": lines, "seconds": time.monotonic() - killed}
    outcome["codes"] = [chief.wait(), other.wait()]
    again = start_workers(folder, "lost", 2)
    return {
        **outcome,
        "begun_again": next(again[0].lines()),
        "codes_again": [worker.wait() for worker in again],
    }


if __name__ == "__main__":
    what = {"kills": kill_at_random, "workers": compare_workers, "loss": lose_a_worker}
    sys.stdout.write(json.dumps(what[sys.argv[1]](Path(sys.argv[2]))))
