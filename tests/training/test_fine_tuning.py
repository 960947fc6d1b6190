"""Fine-tuning runs on tiny models: results, stopping, resuming, and errors before any work."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertTextClassifier,
    SpanBertTokenizer,
    load_task,
)
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.tables import Example
from spanbert_tf.settings import FineTuning, TextClassification
from spanbert_tf.training import Interrupted, cross_validate, finetune
from spanbert_tf.training import fine_tuning as module

LETTERS = list("abcdefgh")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "good", "bad"]
SETTINGS = FineTuning(epochs=3, batch_size=8, learning_rate=1e-2, sequence_length=24)
NO_HOLD_OUT = FineTuning(
    epochs=3, batch_size=8, learning_rate=1e-2, sequence_length=24, validation_fraction=0
)


def make_examples(rows: int, pairs: bool = False, seed: int = 0) -> list[Example]:
    generator = np.random.default_rng(seed)
    examples = []
    for row in range(rows):
        words = generator.choice(LETTERS, generator.integers(0, 12)).tolist()
        text = " ".join([*words, ["bad", "good"][row % 2]])
        label = ["negative", "positive"][row % 2]
        examples.append(Example(text, "a b" if pairs else None, label, row + 1, "train.tsv"))
    return examples


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    keras.utils.set_random_seed(0)
    SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=32).save_to_preset(
        str(folder)
    )
    SpanBertTokenizer(VOCABULARY).save_to_preset(str(folder))
    return folder


def test_documents_longer_than_the_encoder_has_positions(encoder, tmp_path):
    settings = replace(
        SETTINGS,
        sequence_length=100,
        attention="bucketed",
        block_size=8,
        neighbors=0,
        long_positions="restart",
    )
    result = run(encoder, tmp_path / "out", settings)
    network = SpanBertTextClassifier.from_preset(str(result.folder)).backbone.get_config()
    wanted = {"attention": "bucketed", "block_size": 8, "neighbors": 0, "long_positions": "restart"}
    assert {name: network[name] for name in wanted} == wanted
    with pytest.raises(ValueError, match="positions for 32 tokens"):
        run(encoder, tmp_path / "refused", replace(settings, long_positions=None))


class StopAt(keras.callbacks.Callback):
    """Presses Ctrl-C in the given step of the given epoch."""

    def __init__(self, epoch: int, step: int = 1) -> None:
        super().__init__()
        self.place = epoch, step

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            raise KeyboardInterrupt


def run(encoder: Path, output: Path, settings: FineTuning = SETTINGS, rows=48, **options):
    options = {"verbose": 0, **options}
    return finetune(settings, make_examples(rows), encoder=encoder, output=output, **options)


def test_writes_a_classifier_that_has_learned(encoder, tmp_path):
    settings = TextClassification(
        epochs=6, batch_size=8, learning_rate=2e-2, sequence_length=24, pooling="mean"
    )
    validation = make_examples(20, seed=1)
    result = run(encoder, tmp_path / "out", settings, rows=120, validation=validation)
    assert (result.train_size, result.validation_size) == (120, 20)
    assert result.validation["accuracy"] > 0.9
    assert len(result.history) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]

    loaded = SpanBertTextClassifier.from_preset(str(result.folder))
    assert loaded.class_names == ("negative", "positive")
    assert (loaded.pooling, loaded.preprocessor.sequence_length) == ("mean", 24)
    texts = [example.text for example in validation]
    figures = loaded.evaluate(texts, [e.label for e in validation], return_dict=True, verbose=0)
    assert figures == pytest.approx(result.validation, abs=1e-6)
    np.testing.assert_array_equal(
        loaded.predict(texts, verbose=0), result.model.predict(texts, verbose=0)
    )

    kept = json.loads((result.folder / "metrics.json").read_text())
    assert kept["validation"] == result.validation
    assert kept["history"] == result.history
    assert kept["best_epoch"] == result.best_epoch
    assert kept["settings"]["pooling"] == "mean"
    accuracies = [logs["val_accuracy"] for logs in result.history]
    assert accuracies[result.best_epoch - 1] == max(accuracies)


def test_thresholds_are_tuned_kept_and_exported_by_whatever_process(encoder, tmp_path, monkeypatch):
    """Even by one that finds the training done, whose model has the last weights untuned."""
    settings = TextClassification(
        epochs=1, batch_size=8, learning_rate=5e-3, sequence_length=24, pooling="mean"
    )
    sets = {"negative": (), "positive": ("good",)}
    records = [replace(of, label=sets[of.label]) for of in make_examples(48)]
    records += [replace(of, label=("rare",)) for of in records[:6]]
    options = {
        "encoder": encoder,
        "output": tmp_path / "preset",
        "saved_model": tmp_path / "served",
        "validation": records,
        "verbose": 0,
    }

    def full_disk(*arguments, **others):
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(module, "export_task", full_disk)
        with pytest.raises(OSError, match="no room"):
            finetune(settings, records, **options)
    result = finetune(settings, records, **options)
    assert len(result.history) == 1
    tuned = SpanBertTextClassifier.from_preset(str(tmp_path / "preset")).thresholds
    assert all(0 < threshold < 1 for threshold in tuned)
    assert tuned != (0.5, 0.5)
    assert result.model.thresholds == load_task(tmp_path / "served").decoder.thresholds == tuned
    # They are the best there are for what was validated.
    figures = load_task(tmp_path / "served").assess(records)
    for name in ("micro_f1", "macro_f1"):
        assert figures[name] == pytest.approx(result.validation[name])
    given = finetune(
        replace(settings, threshold=0.3),
        records,
        **{**options, "output": tmp_path / "b"},
        overwrite=True,
    )
    assert given.model.thresholds == (0.3, 0.3)
    assert given.validation["macro_f1"] <= result.validation["macro_f1"] + 1e-9


def test_a_mixed_policy(encoder, tmp_path):
    settings = replace(SETTINGS, dtype="mixed_bfloat16", monitor="val_loss", validation_fraction=0)
    # The more is learned, the worse for labels that are swapped: an early epoch is loaded again.
    swapped = {"negative": "positive", "positive": "negative"}
    validation = [replace(of, label=swapped[of.label]) for of in make_examples(16)]
    result = run(encoder, tmp_path / "out", settings, validation=validation)
    assert result.best_epoch < len(result.history)
    assert result.model.backbone.dtype_policy.name == "mixed_bfloat16"
    for model in (SpanBertTextClassifier, keras_hub.models.TextClassifier):
        loaded = model.from_preset(str(result.folder))
        assert loaded.backbone.dtype_policy.name == "float32"
        for one, two in zip(loaded.weights, result.model.weights, strict=True):
            np.testing.assert_array_equal(one, two)


def test_stopped_and_resumed_is_bit_identical(encoder, tmp_path):
    straight = run(encoder, tmp_path / "straight", NO_HOLD_OUT)
    assert (straight.best_epoch, straight.validation) == (3, None)
    with pytest.raises(Interrupted, match="stopped after 1 of 3 epochs") as stopped:
        run(encoder, tmp_path / "stopped", NO_HOLD_OUT, callbacks=[StopAt(1, 2)])
    checkpoint = tmp_path / "stopped.checkpoint"
    assert (stopped.value.checkpoint, stopped.value.epochs_done) == (checkpoint, 1)
    assert not (tmp_path / "stopped").exists()

    changed = FineTuning(**{**NO_HOLD_OUT.__dict__, "learning_rate": 0.5})
    with pytest.raises(ValueError, match=r"learning_rate: 0.01 then, 0.5 now"):
        run(encoder, tmp_path / "stopped", changed, resume=True)
    # It is not thrown away by accident.
    with pytest.raises(FileExistsError, match=r"0.01 then, 0.5 now\n.*overwrite=True to throw"):
        run(encoder, tmp_path / "stopped", changed)
    with pytest.raises(ValueError, match="records: "):
        run(encoder, tmp_path / "stopped", NO_HOLD_OUT, rows=50, resume=True)

    resumed = run(encoder, tmp_path / "stopped", NO_HOLD_OUT)
    assert resumed.history == straight.history
    weights = zip(resumed.model.get_weights(), straight.model.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in weights)
    assert not checkpoint.exists()


def test_stopped_in_the_first_epoch_leaves_nothing(encoder, tmp_path):
    with pytest.raises(Interrupted, match="nothing is kept") as stopped:
        run(encoder, tmp_path / "out", callbacks=[StopAt(0)])
    assert stopped.value.checkpoint is None
    assert list(tmp_path.iterdir()) == []


def test_early_stopping_keeps_the_best_epoch_and_survives_a_stop(encoder, tmp_path):
    class Script(keras.callbacks.Callback):
        """Puts chosen figures in place of the measured ones."""

        def on_epoch_end(self, epoch, logs=None):
            logs["val_accuracy"] = [0.5, 0.8, 0.6, 0.8, 0.7, 0.9][epoch]
            logs["val_loss"] = 1.0 - 0.1 * epoch if epoch < 2 else 2.0

    class ScriptFirst(keras.callbacks.EarlyStopping):
        """Early stopping that sees the chosen figures, as all after it do."""

        def on_epoch_end(self, epoch, logs=None):
            Script.on_epoch_end(self, epoch, logs)
            super().on_epoch_end(epoch, logs)

    settings = FineTuning(
        epochs=6, batch_size=8, learning_rate=1e-3, sequence_length=24, patience=2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.callbacks, "EarlyStopping", ScriptFirst)
        with pytest.raises(Interrupted, match="stopped after 3 of 6"):
            run(encoder, tmp_path / "out", settings, rows=20, callbacks=[StopAt(3, 0)])
        assert sorted(path.name for path in (tmp_path / "out.checkpoint").iterdir()) == [
            "best-2",
            "epochs",
            "run.json",
        ]
        result = run(encoder, tmp_path / "out", settings, rows=20, resume=True)
    # Epoch 2 is the best, 3 and 4 are no better: that makes two, one of them before the stop.
    assert (len(result.history), result.best_epoch) == (4, 2)
    assert result.validation["accuracy"] == 0.8


def test_a_full_disk_at_the_end_loses_nothing(encoder, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    settings = FineTuning(epochs=1, batch_size=8, sequence_length=24)
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "copytree", full)
        with pytest.raises(OSError, match="No space") as failed:
            run(encoder, tmp_path / "out", settings, rows=20)
    assert "resume the run" in failed.value.__notes__[-1]
    assert not (tmp_path / "out").exists()

    class NoTraining(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise AssertionError("the training was done")

    result = run(
        encoder, tmp_path / "out", settings, rows=20, resume=True, callbacks=[NoTraining()]
    )
    assert (tmp_path / "out" / "metrics.json").exists()
    assert len(result.history) == 1


def test_a_diverged_run_says_so(encoder, tmp_path):
    class Diverge(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.output_dense.bias.assign([np.nan, np.nan])

    settings = FineTuning(epochs=1, batch_size=8, sequence_length=24)
    with pytest.raises(FloatingPointError, match="lower learning rate"):
        run(encoder, tmp_path / "out", settings, rows=20, callbacks=[Diverge()])
    assert list(tmp_path.iterdir()) == []


def test_errors_come_before_training(encoder, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="there exists"):
        run(encoder, tmp_path / "there")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        run(encoder, tmp_path / "file", overwrite=True)
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        run(encoder, tmp_path / "new", resume=True)
    with pytest.raises(ValueError, match="`patience` needs validation"):
        run(encoder, tmp_path / "new", FineTuning(patience=1, validation_fraction=0))
    with pytest.raises(DataError, match="at least two different labels"):
        finetune(SETTINGS, make_examples(1), encoder=encoder, output=tmp_path / "new")
    with pytest.raises(ValueError, match=r"`monitor` must be one of .*'val_bleu'"):
        run(encoder, tmp_path / "new", FineTuning(monitor="val_bleu"))
    stranger = [Example("a", None, "neutral", 7, "dev.tsv")]
    with pytest.raises(DataError, match=r"dev.tsv, line 7: unknown label 'neutral'"):
        run(encoder, tmp_path / "new", validation=stranger)
    mixed = [*make_examples(3, pairs=True), Example("a", None, "positive", 9, "train.tsv")]
    with pytest.raises(DataError, match="line 9: no second text"):
        finetune(NO_HOLD_OUT, mixed, encoder=encoder, output=tmp_path / "new")
    with pytest.raises(ValueError, match="positions for 32 tokens"):
        run(encoder, tmp_path / "new", FineTuning(sequence_length=64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_tensorboard_is_optional(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        run(encoder, tmp_path / "out", tensorboard=tmp_path / "logs")
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_serves_as_encoder_and_logs_go_to_tensorboard(encoder, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard's logs need its package")
    settings = FineTuning(epochs=1, batch_size=8, sequence_length=24)
    first = run(encoder, tmp_path / "first", settings, rows=20)
    pairs = [
        Example(e.text, e.pair, ["x", "y", "z"][n % 3], e.line)
        for n, e in enumerate(make_examples(21, pairs=True))
    ]
    second = finetune(
        settings,
        pairs,
        encoder=first.folder,
        output=tmp_path / "second",
        tensorboard=tmp_path / "logs",
        verbose=0,
    )
    assert second.model.class_names == ("x", "y", "z")
    assert second.model.predict((["a"], ["b"]), verbose=0).shape == (1, 3)
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))


def test_cross_validation_measures_each_fold_on_unseen_texts(encoder, monkeypatch):
    seen: list[set[int]] = []
    original = module.finetune

    def spy(settings, train, validation=None, **options):
        seen.append({example.line for example in train})
        return original(settings, train, validation, **options)

    monkeypatch.setattr("spanbert_tf.training.cross_validation.finetune", spy)
    settings = FineTuning(epochs=1, batch_size=8, sequence_length=24)
    result = cross_validate(settings, make_examples(24), 2, encoder=encoder, verbose=0)
    assert seen[0] | seen[1] == set(range(1, 25))
    assert not seen[0] & seen[1]
    assert len(result.folds) == 2
    accuracies = [fold["accuracy"] for fold in result.folds]
    assert result.mean["accuracy"] == pytest.approx(np.mean(accuracies))
    assert result.std["accuracy"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    lines = str(result).splitlines()
    assert lines[0].split() == ["fold", "accuracy", "precision", "recall", "f1"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "mean", "std"]


def test_cross_validation_shows_what_is_done_when_stopped(encoder, monkeypatch):
    original = module.finetune
    runs = []

    def stop_second(*args, **options):
        runs.append(args)
        if len(runs) == 2:
            raise Interrupted("stopped")
        return original(*args, **options)

    monkeypatch.setattr("spanbert_tf.training.cross_validation.finetune", stop_second)
    settings = FineTuning(epochs=1, batch_size=8, sequence_length=24)
    with pytest.raises(Interrupted, match=r"fold 2 of 2(.|\n)*accuracy"):
        cross_validate(settings, make_examples(24), 2, encoder=encoder, verbose=0)
