"""The folder of a run, which one process at a time may have, and the signals that end a run."""

import fcntl
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import atomic_file
from spanbert_tf.training.checkpoints import refuse_differences
from spanbert_tf.training.pretraining.workers import Workers

PRESET = "preset"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
_RUN = "run.json"


@contextmanager
def open_run(
    output: Path, record: dict[str, Any], overwrite: bool, workers: Workers
) -> Iterator[None]:
    """Makes the folder of a run or finds that it holds this one, and keeps others out of it."""
    if not workers.is_chief:
        yield
        return
    known = output / _RUN
    if output.exists() and not known.exists() and any(output.iterdir()) and not overwrite:
        raise FileExistsError(f"{output} exists and holds no run; choose another name.")
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another process trains in {output}.") from None
        if overwrite:
            for name in (CHECKPOINTS, PRESET, TENSORBOARD):
                shutil.rmtree(output / name, ignore_errors=True)
        elif known.exists():
            refuse_differences(json.loads(known.read_text("utf-8")), record, output)
        with atomic_file(known) as path:
            path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        yield


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turns the first SIGINT or SIGTERM into an event; a second SIGINT interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
