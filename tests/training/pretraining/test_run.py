"""Pretraining runs: what they give, and that a stop of any kind changes nothing."""

import errno
import json
import os
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spanbert_tf import SpanBertBackbone, SpanBertPretrainer
from spanbert_tf.atomic_files import locked
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.models.random_state import seed_generators
from spanbert_tf.training import step_checkpoints
from spanbert_tf.training.checkpoints import Interrupted
from spanbert_tf.training.pretraining.run import Pretrained
from spanbert_tf.training.step_checkpoints import StepCheckpoints
from tests.training.pretraining.pretraining_runs import make_corpus, make_encoder, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretraining")
    make_corpus(folder)
    make_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def whole(folder: Path, lines: list[str]) -> Pretrained:
    """A run that nothing stopped."""
    return run(folder, "whole", tensorboard=True, write=lines.append)


class _At(keras.callbacks.Callback):
    """Calls a function after a step."""

    def __init__(self, step, function):
        super().__init__()
        self.step = step
        self.function = function

    def on_train_batch_end(self, batch, logs=None):
        self.step -= 1
        if not self.step:
            self.function(self.model)


def _assert_equal(ours: Pretrained, expected: Pretrained) -> None:
    for a, b in zip(ours.pretrainer.weights, expected.pretrainer.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=a.path)
    assert ours.history == expected.history
    assert (ours.steps, ours.tokens) == (expected.steps, expected.tokens)


def test_a_run_learns_and_its_preset_is_what_it_gives(whole: Pretrained, folder: Path):
    assert whole.steps == 12
    assert [figures["step"] for figures in whole.history] == [6, 12]
    assert whole.history[1]["loss"] < whole.history[0]["loss"] < 2 * np.log(25)
    read = SpanBertPretrainer.from_preset(str(folder / "whole" / "preset"))
    for a, b in zip(read.weights, whole.pretrainer.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=a.path)
    encoder = SpanBertBackbone.from_preset(str(folder / "whole" / "preset"))
    np.testing.assert_array_equal(
        np.asarray(encoder.token_embedding.embeddings),
        np.asarray(whole.pretrainer.backbone.token_embedding.embeddings),
    )
    metrics = json.loads((folder / "whole" / "preset" / "metrics.json").read_text())
    assert metrics["tokens"] == whole.tokens
    assert metrics["validation"] == whole.history
    assert metrics["settings"]["steps"] == 12
    assert not (folder / "whole" / "checkpoints").exists()


def test_lines_tell_of_the_progress(whole: Pretrained, lines: list[str]):
    steps = [line for line in lines if "tokens/s" in line]
    assert [line.split(":")[0] for line in steps] == [f"step {n} of 12" for n in range(2, 13, 2)]
    validations = [line for line in lines if "validation" in line]
    loss = whole.history[-1]["loss"]
    assert validations[-1].startswith(f"step 12, validation: loss {loss:.3f}, mlm ")


def test_tensorboard_has_curves_and_filled_texts(whole: Pretrained, folder: Path):
    events = EventAccumulator(str(folder / "whole" / "tensorboard")).Reload()
    tags = events.Tags()["tensors"]
    figures = {"loss", "mlm_loss", "mlm_accuracy", "sbo_loss", "sbo_accuracy", "padding"}
    assert figures | {f"val_{name}" for name in figures} <= {*tags}
    assert {"learning_rate", "tokens_per_second", "fillings"} <= {*tags}
    assert [event.step for event in events.Tensors("loss")] == [2, 4, 6, 8, 10, 12]
    assert [event.step for event in events.Tensors("val_loss")] == [6, 12]
    loss = tf.make_ndarray(events.Tensors("val_loss")[1].tensor_proto)
    assert loss == pytest.approx(whole.history[1]["loss"], rel=1e-6)
    table = tf.make_ndarray(events.Tensors("fillings")[0].tensor_proto).item().decode()
    assert "[MASK]" in table
    assert len(table.splitlines()) > 2


def test_stops_of_all_kinds_change_nothing(
    whole: Pretrained, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    saved = []
    write_tensors = step_checkpoints.write_tensors

    def full_disk(tensors, path):
        saved.append(path)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_tensors(tensors, path)

    monkeypatch.setattr(step_checkpoints, "write_tensors", full_disk)
    with pytest.raises(OSError, match="No space left") as error:
        run(folder, "stopped", run_options={"checkpoint_steps": 3})
    assert error.value.__notes__ == [
        "The checkpoint of step 6 was not written; that of step 3 is kept."
    ]
    checkpoints = folder / "stopped" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000003"]

    # Two steps on, so in the middle of a stretch, and told by another signal than Ctrl-C's.
    stop = _At(2, lambda model: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="stopped after 5 of 12 steps"):
        run(folder, "stopped", callbacks=[stop])

    # The last checkpoint is damaged: that of step 3 is taken.
    tensors = checkpoints / "step-00000005" / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.warns(UserWarning, match="left out a damaged checkpoint: .*step-00000005"):
        resumed = run(folder, "stopped")
    _assert_equal(resumed, whole)


def test_accumulated_batches_are_a_run_of_their_own(folder: Path):
    stop = _At(3, lambda model: os.kill(os.getpid(), signal.SIGINT))
    settings = {"steps": 5, "accumulation": 2, "validation_shards": 0, "objective": "mlm"}
    settings |= {"dropout": 0.0, "rows": "packed"}
    with pytest.raises(Interrupted):
        run(folder, "accumulated", settings, callbacks=[stop])
    stopped = run(folder, "accumulated", settings)
    _assert_equal(stopped, run(folder, "accumulated_whole", settings))
    assert stopped.history == []
    # No dropout, no random numbers; the encoder is to be fine-tuned with its own again.
    assert all(np.asarray(state)[1] == 0 for state in seed_generators(stopped.pretrainer))
    layers = stopped.pretrainer.backbone._flatten_layers()
    assert {each.rate for each in layers if isinstance(each, keras.layers.Dropout)} == {0.1}


def test_heads_alone_learn_on_an_encoder_that_stays(folder: Path):
    heads = run(folder, "heads", {"trainable": "heads"})
    encoder = SpanBertBackbone.from_preset(str(folder / "encoder"))
    for before, after in zip(encoder.weights, heads.pretrainer.backbone.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    first, *_, last = heads.history
    assert last["mlm_loss"] < first["mlm_loss"]
    # The preset goes on with all weights.
    assert SpanBertPretrainer.from_preset(str(heads.folder)).backbone.trainable_variables


def test_callbacks_see_stretches_and_may_end_the_training(folder: Path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(f"stretch {epoch}")

        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)
            assert logs["loss"] > 0

        def on_epoch_end(self, epoch, logs=None):
            seen.append(f"val_loss {logs['val_loss'] > 0}")

    stop = keras.callbacks.EarlyStopping("val_loss", min_delta=100, patience=1)
    stopped = run(folder, "early", run_options={"validation_steps": 2}, callbacks=[Watch(), stop])
    assert stopped.steps == 4
    assert seen == [*("stretch 0", 0, 1, "val_loss True"), *("stretch 1", 0, 1, "val_loss True")]


@pytest.mark.parametrize(("minutes", "spoilt"), [(1e-9, "step 3 gave weights"), (60, "losses")])
def test_numbers_that_are_none_end_the_run(folder: Path, minutes: float, spoilt: str):
    def spoil(model):
        kernel = model.mlm_head.trainable_variables[0]
        kernel.assign(np.full(kernel.shape, np.nan))

    name = f"nan_{minutes}"
    # Due by the clock: after each step, or never.
    run_options = {"checkpoint_minutes": minutes, "keep": 2}
    with pytest.raises(FloatingPointError, match=rf"{spoilt}.* infinite or no number.*checkpoints"):
        run(folder, name, run_options=run_options, callbacks=[_At(3, spoil)])
    kept = StepCheckpoints(folder / name / "checkpoints", keep=2).steps
    assert kept == ([1, 2] if minutes < 1 else [])


def test_another_run_in_the_folder_is_refused(whole: Pretrained, folder: Path):
    with pytest.raises(FileExistsError, match=r"whole.preset exists"):
        run(folder, "whole")
    (folder / "whole" / "preset").rename(folder / "whole" / "elsewhere")
    with pytest.raises(ValueError, match=r"(?s)something else:\n  budget: 0.15 then, 0.2 now$"):
        run(folder, "whole", {"budget": 0.2})
    with locked([folder / "whole"]), pytest.raises(BlockingIOError):
        run(folder, "whole")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds no run"):
        run(folder, "mine")
    with pytest.raises(ValueError, match=r"corpus cannot be written, as it is .*, which is read"):
        run(folder, "corpus", overwrite=True)


def test_settings_that_do_not_fit_the_corpus(folder: Path):
    with pytest.raises(ValueError, match="the last 100 are held out: none is left"):
        run(folder, "all_held_out", {"validation_shards": 100})
    with pytest.raises(DataError, match=r"expected a prepared corpus"):
        run(folder / "encoder", "../run", encoder=folder / "encoder")
