"""What TensorFlow prints on its way, and what is left of it."""

import os
import subprocess
import sys

import pytest

from spanbert_tf.start_up import without_info

NOISE = ("cudart", "absl::InitializeLog", "oneDNN", "cpu_feature_guard", "cuInit")


def run(program: str, **environment: str) -> str:
    """What a new process prints to standard error."""
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**kept, **environment},
        check=True,
    )
    return done.stderr


@pytest.mark.slow
def test_nothing_is_printed_before_a_command():
    program = """
import os, sys
from spanbert_tf.start_up import import_tensorflow
import_tensorflow()
assert sys.modules.keys().isdisjoint(["pandas", "rouge_score", "sklearn"])
import pandas, rouge_score, sklearn  # Only Keras does without them.
import tensorflow as tf
tf.constant([1.0])
@tf.function
def double(x):
    return 2 * x
for size in range(12):  # Which it would warn of.
    double(tf.zeros([size]))
print("mine", file=sys.stderr)
os.write(2, b"a library's\\n")
"""
    assert run(program) == "mine\na library's\n"
    assert "a library's" in run(program, TF_CPP_MIN_LOG_LEVEL="0")


def test_only_lines_of_information_are_left_out(capfd: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)

    def fail() -> None:
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: no\n")
        sys.stderr.write("a warning\n")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), without_info():
        fail()
    sys.stderr.write("after\n")
    assert sorted(capfd.readouterr().err.splitlines()) == ["ERROR: no", "a warning", "after"]
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with without_info():
        os.write(2, b"INFO: all\n")
    assert capfd.readouterr().err == "INFO: all\n"
