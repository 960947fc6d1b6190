"""Exports in a process without Python's TensorFlow, asked through the C API: as TF Serving does.

Each task's tests ask its export so too, where they have made it.
"""

from pathlib import Path

import numpy as np
import pytest

from spanbert_tf.tasks import FINE_TUNED_TASKS, TASKS
from tests.conftest import ROOT
from tests.served_tensors import CApi

Arrays = dict[str, np.ndarray]
# Those of `fresh_process.py`.
SENTENCES = ["The snowman melts.", ""]
TEXTS = ["The snowman melts.", "a fine film, " * 30]
REVIEWS = ["A fine film.", "the plot was very, very dull and the music loud", ""]


@pytest.mark.slow
def test_a_classifier_answers_as_in_python(c_api: CApi, models: Path, in_fresh_process: Arrays):
    found = c_api(models / "classifier" / "1", text=REVIEWS)
    assert found.keys() == {"label", "score", "probabilities"}
    np.testing.assert_array_equal(found["label"], in_fresh_process["classifier_label"])
    pairs = c_api(models / "classifier" / "1", "pairs", text=REVIEWS, pair=REVIEWS[::-1])
    for tensor, name in (
        (found["score"], "score"),
        (found["probabilities"], "probabilities"),
        (pairs["probabilities"], "pairs"),
    ):
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, in_fresh_process[f"classifier_{name}"], atol=1e-5)
    assert c_api(models / "classifier" / "1", text=[])["label"].shape == (0,)


@pytest.mark.slow
def test_encoders_and_preprocessors_too(c_api: CApi, models: Path, in_fresh_process: Arrays):
    states = c_api(models / "encoder" / "1", text=TEXTS)
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_allclose(states[name], in_fresh_process[f"served_{name}"], atol=1e-5)
    rows = c_api(models / "preprocessor" / "1", text=SENTENCES)
    np.testing.assert_array_equal(rows["input_word_ids"], in_fresh_process["preprocessor_served"])


@pytest.mark.parametrize(
    "task", [name for name in FINE_TUNED_TASKS if name != "text-classification"]
)
def test_each_other_task_is_asked_so(task: str):
    """In its own tests, so that no export is made twice."""
    module = TASKS[task].split(".")[-2]
    source = (ROOT / "tests" / "tasks" / f"test_{module}.py").read_text("utf-8")
    assert "assert_same_tensors(c_api(" in source
