"""What every format of a task gives where a SavedModel's signature is asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

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
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "export" / "c_api_side.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def close(self) -> None:
        self._process.communicate()

    def __call__(
        self, folder: Path, signature: str = "serving_default", **columns: list[str]
    ) -> dict[str, np.ndarray]:
        """What a signature gives for texts by their names.

        Raises:
            RuntimeError: TensorFlow cannot load the SavedModel, or not answer.
        """
        # Which tensors a signature is about stands in the SavedModel; only this is read here.
        from tensorflow.core.protobuf import saved_model_pb2

        model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        wanted = model.meta_graphs[0].signature_def[signature]
        assert wanted.inputs.keys() == columns.keys()
        names = {name: info.name for name, info in wanted.outputs.items()}
        request = {
            "folder": str(folder),
            "feeds": {wanted.inputs[name].name: texts for name, texts in columns.items()},
            "fetches": list(names.values()),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the process ended with status {self._process.wait()}"
        reply = json.loads(line)
        assert NOT_THERE.isdisjoint(reply["modules"])
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return {output: _array(**reply["outputs"][name]) for output, name in names.items()}


def _array(dtype: str, shape: list[int], values: list[Any]) -> np.ndarray:
    if dtype == "object":
        values = [value.encode("utf-8", "surrogateescape") for value in values]
    return np.array(values, dtype).reshape(shape)
