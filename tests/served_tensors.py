"""What every format of a task gives where a SavedModel's signature is asked."""

from typing import Any

import numpy as np


def assert_same_tensors(found: dict[str, np.ndarray], outputs: dict[str, Any]) -> None:
    """Checks `answer_tensors` against what a signature gave for the same texts."""
    assert found.keys() == outputs.keys()
    for name, output in outputs.items():
        expected = output.numpy()
        assert (found[name].shape, found[name].dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found[name], expected, atol=2e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], expected, err_msg=name)
