"""A disk that is full is an error that says what is kept, wherever something is written."""

import errno
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertBackbone, SpanBertTextClassifier, SpanBertTokenizer
from spanbert_tf.checkpoints.tensors import write_tensors
from spanbert_tf.cli.main import main
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.saved_model import os_errors
from spanbert_tf.export.serving import export_task
from spanbert_tf.keras_internals import write_weights
from spanbert_tf.search.vector_store import VectorStore
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifierPreprocessor
from spanbert_tf.training.step_checkpoints import StepCheckpoints

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefgh",
    *(f"w{n}" for n in range(900)),
]
LIMIT = 20_000  # Bytes of a file: room for each description, and for no weights.


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow above the limit, as if the disk were full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def classifier() -> SpanBertTextClassifier:
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=16)
    preprocessor = SpanBertTextClassifierPreprocessor(SpanBertTokenizer(VOCABULARY), 8)
    return SpanBertTextClassifier(backbone, preprocessor=preprocessor, class_names=["no", "yes"])


@pytest.fixture(scope="module")
def preset(classifier: SpanBertTextClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preset") / "preset"
    classifier.save_to_preset(str(folder))
    return folder


def test_weights_are_those_that_keras_writes(classifier: SpanBertTextClassifier, tmp_path: Path):
    keras.saving.save_weights(classifier, tmp_path / "theirs.weights.h5")
    write_weights(classifier, tmp_path / "ours.weights.h5")
    other = SpanBertTextClassifier.from_config(classifier.get_config())
    for name in ("ours", "theirs"):
        for weight in other.weights:
            weight.assign(keras.ops.zeros_like(weight))
        other.load_weights(tmp_path / f"{name}.weights.h5")
        for one, two in zip(other.weights, classifier.weights, strict=True):
            np.testing.assert_array_equal(one, two)


def write_vectors(_: Any, path: Path) -> None:
    store = VectorStore(10)
    store.append(store.pack(np.ones((LIMIT, 10), np.float32)))
    store.write(path.parent, "vectors.")


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "weights": lambda model, path: model.backbone.save_weights(f"{path}.weights.h5"),
    "preset": lambda model, path: model.save_to_preset(str(path)),
    "tensors": lambda model, path: write_tensors({"a": np.zeros(LIMIT)}, path),
    "vectors": write_vectors,
    "checkpoint": lambda model, path: StepCheckpoints(path, 1).save(1, {"a": np.zeros(LIMIT)}, {}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_is_written_by_others(classifier, tmp_path: Path, write):
    with full_disk(), pytest.raises(OSError, match="File too large") as failed:
        write(classifier, tmp_path / "out")
    assert failed.value.errno == errno.EFBIG


@pytest.mark.parametrize("export", [export_task, export_litert])
def test_exports(classifier: SpanBertTextClassifier, tmp_path: Path, export):
    with full_disk(), pytest.raises(OSError, match="could not write") as failed:
        export(classifier, tmp_path / "model")
    assert failed.value.__notes__ == [f"{tmp_path / 'model'} was not written."]
    assert not [*tmp_path.iterdir()]


def test_tensorflow_errors_become_those_of_the_system():
    def fail(error: Exception) -> None:
        with os_errors():
            raise error

    full = tf.errors.ResourceExhaustedError(None, None, "x.data; No space left on device")
    for error, number in (
        (full, errno.ENOSPC),
        (tf.errors.UnknownError(None, None, "x"), errno.EIO),
    ):
        with pytest.raises(OSError, match="TensorFlow could not write: x") as failed:
            fail(error)
        assert failed.value.errno == number


def test_commands(preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "out"
    with full_disk():
        assert main(["convert", str(preset), str(output)]) == 1
    message = capsys.readouterr().err
    assert "File too large" in message
    assert f"{output} was not written." in message
    assert not [*tmp_path.iterdir()]
    # The classifier as an encoder: what was there is kept.
    assert main(["convert", str(preset), str(output)]) == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with full_disk():
        assert main(["convert", str(preset), str(output), "--overwrite"]) == 1
    assert f"{output} was not written; what was there is kept." in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_finetune_checks_room_and_says_what_is_kept(
    preset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "a b\tyes\nc d\tno\n" * 8)
    words = ["finetune", "--train", str(tmp_path / "train.tsv"), "--encoder", str(preset)]
    words += ["--output", str(tmp_path / "run"), "--epochs", "1", "--batch-size", "8"]
    words += ["--sequence-length", "8"]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        assert main(words) == 1
    assert "no room for" in capsys.readouterr().err
    with full_disk():
        assert main(words) == 1
    message = capsys.readouterr().err
    assert "File too large" in message
    assert "Epoch 1 could not be kept; nothing is kept." in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.tsv"]
