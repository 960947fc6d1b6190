"""What every format of a task gives where a SavedModel's signature is asked."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

SIDE = Path(__file__).parent / "export" / "c_api_side.py"
PROCESSES = 30  # at most
NOT_THERE = {"tensorflow", "tensorflow_text", "keras", "spanbert_tf"}


def assert_same_tensors(
    found: dict[str, np.ndarray], outputs: dict[str, Any], atol: float = 2e-5
) -> None:
    """Checks `answer_tensors` against what a signature gave for the same texts."""
    assert found.keys() == outputs.keys()
    for name, output in outputs.items():
        expected = np.asarray(output)
        assert (found[name].shape, found[name].dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found[name], expected, atol=atol, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], expected, err_msg=name)


class CApi:
    """SavedModels asked through TensorFlow's C API, in a process without its Python.

    This is how TensorFlow Serving loads and runs them.  A task's tests ask their export so as well,
    as it is there; see `export/test_c_api.py`.

    The wheel of tensorflow-text has a copy of protobuf beside TensorFlow's.  They hash names by
    seeds of their own, so that its operations find one attribute of several by chance, anew in each
    process, and else end it.  TensorFlow Serving has one copy for all; here another process is
    started.
    """

    def __init__(self) -> None:
        self._errors = TemporaryFile()  # noqa: SIM115 - `close` closes it.
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SIDE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )

    def close(self) -> None:
        self._process.communicate()
        self._errors.close()

    def __call__(
        self, folder: Path, signature: str = "serving_default", **columns: list[str]
    ) -> dict[str, np.ndarray]:
        """What a signature gives for texts by their names.

        Raises:
            RuntimeError: TensorFlow cannot load the SavedModel, or not answer.
        """
        request = {"folder": str(folder), "signature": signature, "inputs": columns}
        for _ in range(PROCESSES):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            if line:
                break
            self._process.communicate()
            self._errors.seek(0)
            errors = self._errors.read()
            self._errors.truncate(0)
            self._start()
            assert b"key not found: get_offsets" in errors, errors.decode()
        assert line, f"{PROCESSES} processes found no attribute"
        reply = json.loads(line)
        assert NOT_THERE.isdisjoint(reply["packages"])
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return {name: _array(**of) for name, of in reply["outputs"].items()}


def _array(dtype: str, shape: list[int], values: list[Any]) -> np.ndarray:
    if dtype == "object":
        values = [value.encode("utf-8", "surrogateescape") for value in values]
    return np.array(values, dtype).reshape(shape)
