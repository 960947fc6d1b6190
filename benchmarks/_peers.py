"""Sides of a benchmark that run in processes of their own.

Two runtimes in one process have two pools of threads, which wait for work by spinning, and share
one allocator: neither is at its best.  A script in `peers/` gets ready, says so with a line of
JSON, and then answers each line it is sent with the seconds that a run took it (see
`peers/_protocol.py`).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(__file__).resolve().parent / "peers"


def peers_python(*skipped: str, of: str = "") -> str | None:
    """The interpreter of the peers' environment: `.venv-peers`, or the folder `SPANBERT_PEERS`.

    Args:
        skipped: Names of the sides that need it, for the line that says they are missing.
        of: The end of the name of an environment of its own, such as `-fastcoref`.

    Returns:
        Its path, or `None` if there is no such environment.
    """
    folder = os.environ.get("SPANBERT_PEERS") or ROOT / ".venv-peers"
    python = Path(f"{folder}{of}") / "bin" / "python"
    if python.exists():
        return str(python)
    print(f"`make peers` makes {python.parent.parent.name}; skipped: {', '.join(skipped)}")
    return None


class Peer:
    """A side in a process of its own, for `time_in_turn`.

    It ends when its input does, so with this process at the latest.

    Args:
        script: Name of a script in `peers/`.
        *arguments: Its arguments.
        python: The interpreter.  `None`: the one that runs this, with the project's packages.

    Attributes:
        facts: What the peer said when it was ready, such as its `versions`.

    Raises:
        RuntimeError: The peer ended; the message has what it said last.
    """

    def __init__(self, script: str, *arguments: object, python: str | None = None) -> None:
        self.script = script
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as it
        self._process = subprocess.Popen(
            [python or sys.executable, str(SCRIPTS / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, **quiet},
            text=True,
        )
        self.facts: dict[str, Any] = self._answer()

    def __call__(self) -> np.ndarray:
        """Runs once; gives seconds, of all or of each part of the run."""
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return np.array(self._answer(), np.float64)

    def close(self) -> None:
        """Ends the process, for scripts that have no memory to spare for one that has run."""
        self._process.communicate()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._complaints.seek(0)
            last = self._complaints.read()[-2000:]
            raise RuntimeError(f"peer {self.script} ended with exit code {code}:\n{last}")
        return json.loads(line)
