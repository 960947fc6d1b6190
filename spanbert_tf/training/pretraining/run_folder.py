"""The folder of a run, and the signals that end a run."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import INCOMPLETE, atomic_file, remove_folder, tidy
from spanbert_tf.output_folders import check_outputs, refuse_foreign
from spanbert_tf.training.checkpoints import refuse_differences

PRESET = "preset"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
_RUN = "run.json"


def check_run(output: Path, saved_model: Path | None, overwrite: bool, inputs: list[Any]) -> None:
    """Refuses, before anything is done, a run that cannot be written.

    A run is finished once its checkpoints are gone; until then it may write its outputs again.

    Raises:
        FileExistsError: The run is finished, or its folders hold what this package did not write.
        ValueError: See `check_outputs`.
    """
    tidy(output)
    if (output / PRESET).exists() and not (overwrite or (output / CHECKPOINTS).exists()):
        raise FileExistsError(
            f"{output / PRESET} exists: the run is finished; choose another name for a new one"
        )
    for name in (CHECKPOINTS, TENSORBOARD) if overwrite else ():
        if (output / name).exists():
            refuse_foreign(output / name)
    outputs = [output / PRESET, *([] if saved_model is None else [saved_model])]
    check_outputs(outputs, overwrite or (output / CHECKPOINTS).exists(), inputs)


def open_run(output: Path, record: dict[str, Any], overwrite: bool) -> None:
    """Makes the folder of a run or finds that it holds this one."""
    known = output / _RUN
    if output.exists() and not known.exists() and _others(output) and not overwrite:
        raise FileExistsError(f"{output} exists and holds no run; choose another name.")
    output.mkdir(parents=True, exist_ok=True)
    if overwrite:
        # The checkpoints first: without them, a preset that is there is a finished run's.
        for name in (CHECKPOINTS, PRESET, TENSORBOARD):
            remove_folder(output / name)
    elif known.exists():
        refuse_differences(json.loads(known.read_text("utf-8")), record, output)
    with atomic_file(known) as path:
        path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _others(output: Path) -> bool:
    """Whether a folder holds more than what a process that was killed at once may leave in it."""
    own = (INCOMPLETE, ".lock")  # Earlier versions had the lock inside.
    return any(not path.name.startswith(own) for path in output.iterdir())


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
