"""Runs killed between any two of their stages end, by the same call, with the same files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer
from spanbert_tf.data.readers.tables import Example
from spanbert_tf.output_folders import output_folder
from spanbert_tf.settings import TextClassification
from spanbert_tf.training import fine_tuning, finetune
from spanbert_tf.training.pretraining import run as pretraining
from tests.training.pretraining.pretraining_runs import make_corpus, make_encoder, run
from tests.training.stages import Borders, contents

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "a"]
SETTINGS = TextClassification(epochs=2, batch_size=8, learning_rate=1e-2, sequence_length=8)
EXAMPLES = [Example(f"{word} a", None, word, n) for n, word in enumerate(["good", "bad"] * 8)]
# The later, the worse: the best epoch is the first.
SWAPPED = [replace(each, label={"good": "bad", "bad": "good"}[each.label]) for each in EXAMPLES]


# Of `eagerly`.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")


@pytest.fixture(autouse=True)
def eagerly() -> Iterator[None]:
    """A run is started a dozen times for a few steps, and a graph takes seconds to trace."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=16)
    backbone.save_to_preset(str(tmp_path / "encoder"))
    SpanBertTokenizer(VOCABULARY).save_to_preset(str(tmp_path / "encoder"))
    return tmp_path / "encoder"


def fake_export(model: Any, *arguments: Any, **options: Any) -> None:
    """Writes what is quicker to make than a SavedModel, the way that all exports are written."""
    path = next(each for each in arguments if isinstance(each, Path))
    with output_folder(path, options["overwrite"]) as folder:
        (folder / "saved_model.pb").write_text("graph")
        model.backbone.save_weights(str(folder / "model.weights.h5"))


@pytest.mark.slow
def test_fine_tuning(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fine_tuning, "export_task", fake_export)

    def tune(name: str) -> Any:
        folder = tmp_path / name
        return finetune(
            SETTINGS,
            EXAMPLES,
            SWAPPED,
            encoder=encoder,
            output=folder / "classifier",
            saved_model=folder / "saved_model" / "1",
            verbose=0,
        )

    tune("whole")
    (tmp_path / "killed").mkdir()
    with monkeypatch.context() as patch:
        borders = Borders(tmp_path / "killed", patch)
        with pytest.raises(FileExistsError, match="finished run; choose another name"):
            borders.run(lambda: tune("killed"))
    stages = (
        *("classifier.checkpoint", "best-1", "step-00000001", "step-00000002"),
        *("classifier", "1"),
    )
    for stage in stages:
        assert f".incomplete-*-{stage} -> {stage}" in borders.seen
    for stage in ("classifier", "1"):
        assert f"{stage} -> .replaced-*-{stage}" in borders.seen
        assert f".replaced-*-{stage} -> {stage}" in borders.seen
    assert borders.seen[-1] == "classifier.checkpoint -> .incomplete-*-classifier.checkpoint"
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_pretraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretraining, "export_encoder", fake_export)
    make_corpus(tmp_path)
    make_encoder(tmp_path)

    def pretrain(name: str) -> Any:
        served = tmp_path / name / "run" / "saved_model" / "1"
        options = {"checkpoint_steps": 2, "validation_steps": 4, "keep": 1}
        return run(tmp_path, f"{name}/run", {"steps": 4}, options, saved_model=served)

    pretrain("whole")
    (tmp_path / "killed").mkdir()
    with monkeypatch.context() as patch:
        borders = Borders(tmp_path / "killed", patch)
        with pytest.raises(FileExistsError, match="the run is finished; choose another name"):
            borders.run(lambda: pretrain("killed"))
    for stage in ("step-00000002", "step-00000004", "preset", "1"):
        assert f".incomplete-*-{stage} -> {stage}" in borders.seen
    assert borders.seen[-1] == "checkpoints -> .incomplete-*-checkpoints"
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
