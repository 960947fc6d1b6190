"""Pretraining of an encoder, from a prepared corpus to a preset folder."""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.atomic_files import locked, remove_folder, user_path
from spanbert_tf.data.batching.pretraining import PretrainingBatches
from spanbert_tf.export.hub import export_encoder
from spanbert_tf.export.saved_model import require_tensorflow
from spanbert_tf.handles import AnyHandle, path_of
from spanbert_tf.models.optimizers import build_optimizer, default_optimizer
from spanbert_tf.models.random_state import seed_generators
from spanbert_tf.output_folders import (
    check_places,
    check_room,
    output_folder,
    size_of_files,
    size_of_weights,
)
from spanbert_tf.settings import Pretraining, RunOptions
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from spanbert_tf.training.checkpoints import Interrupted, training_is_kept
from spanbert_tf.training.model_state import assign_state, dropout_rate, state_of
from spanbert_tf.training.pretraining.logs import (
    PretrainingBoard,
    ProgressLines,
    example_gaps,
    require_tensorboard,
)
from spanbert_tf.training.pretraining.run_folder import (
    CHECKPOINTS,
    PRESET,
    TENSORBOARD,
    check_run,
    open_run,
    stop_signals,
)
from spanbert_tf.training.pretraining.start import load_pretrainer, make_batches
from spanbert_tf.training.pretraining.steps import Steps, figures
from spanbert_tf.training.pretraining.workers import Workers
from spanbert_tf.training.schedules import WarmUpLinearDecay
from spanbert_tf.training.step_checkpoints import StepCheckpoints

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Pretrained:
    """What a run gives.

    Attributes:
        folder: The preset folder of the pretrainer; an encoder's classes load from it too.
        pretrainer: The pretrainer.
        steps: Updates of its weights.
        tokens: Word pieces that it has seen, special tokens counted.
        history: Figures of each validation: `step`, `loss`, `mlm_loss`, `mlm_accuracy` and so on.
    """

    folder: Path
    pretrainer: SpanBertPretrainer
    steps: int
    tokens: int
    history: list[dict[str, float]]


def pretrain(
    settings: Pretraining,
    corpus: str | os.PathLike[str],
    *,
    encoder: AnyHandle,
    output: str | os.PathLike[str],
    run_options: RunOptions | None = None,
    saved_model: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    skip_bad_shards: bool = False,
    tensorboard: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    write: Callable[[str], None] | None = print,
    workers: Workers | None = None,
) -> Pretrained:
    """Pretrains an encoder and writes it, with its heads, as a preset folder.

    Checkpoints go to `checkpoints` in the output folder, until all is written.  A run that was
    stopped, killed or lost its machine, at whatever moment, is taken up by the same call from the
    last one, and ends with the same weights, bit by bit on the same machine, that it would have
    had.

    To Keras' callbacks an epoch is the stretch from one validation to the next.

    Sets Keras' global seed (`keras.utils.set_random_seed`).

    Args:
        settings: How to train.
        corpus: What `prepare_corpus` wrote.
        encoder: Where to start: the handle of a trained encoder, as `load_backbone` takes it, or
            the name of a size for new weights, see `SpanBertBackbone.from_preset`.  Heads are new
            but for those that it has.
        output: Folder of the run.
        run_options: What is written when.  `None`: the defaults.
        saved_model: Folder of the SavedModel to write of the encoder with its heads, see
            `export_encoder`, or `None`.
        overwrite: Whether a run that is in `output` is thrown away.
        skip_bad_shards: Whether to leave out shards that are damaged, with a warning.
        tensorboard: Whether to write TensorBoard's logs to `tensorboard` in the output folder.
        callbacks: Keras callbacks.
        write: Takes lines that tell of the progress.  `None`: there are none.
        workers: The workers of the run.  `None`: this process alone.

    Returns:
        The pretrainer and figures.

    Raises:
        FileExistsError: `output` holds a finished run, or anything else that is no run; nothing
            was done.
        DataError: The corpus is damaged, or of another tokenizer than the encoder.
        DamagedCheckpoint: No checkpoint of the run can be read.
        ValueError: Settings do not fit the corpus or the encoder, or are not those of the run
            that is to be taken up.
        BlockingIOError: Another process trains in `output`.
        ModuleNotFoundError: TensorBoard was asked for and is not installed.
        Interrupted: It was told to stop (SIGINT or SIGTERM); the message says what is kept.
        FloatingPointError: Losses or weights became infinite or no number.
        WorkerLost: Another worker has stopped.
        OSError: The disk is full, for one; the checkpoints before stay.  Or the encoder cannot be
            found, see `spanbert_tf.handles.find`.
    """
    if tensorboard:
        require_tensorboard()
    require_tensorflow()
    output, workers = user_path(output), workers or Workers()
    served = None if saved_model is None else user_path(saved_model)
    inputs = [corpus, path_of(encoder)]
    check_places([output], inputs)
    with workers.telling_losses(), locked([output] if workers.is_chief else []):
        check_run(output, served, overwrite, inputs)
        keras.utils.set_random_seed(settings.seed)
        pretrainer = load_pretrainer(settings, encoder, corpus)
        settings = replace(settings, max_targets=pretrainer.max_targets)
        pretrainer.backbone.trainable = settings.trainable == "all"
        training, validation = make_batches(settings, corpus, pretrainer, workers, skip_bad_shards)
        network = pretrainer.backbone.get_config()
        del network["name"]  # Keras counts in it.
        record = {
            "settings": asdict(settings),
            "encoder": network,
            "batches": training.fingerprint,
        }
        if workers.is_chief:
            open_run(output, record, overwrite)
        workers.check_agreement(json.dumps(record), "settings or a corpus")
        run = _Run(settings, run_options or RunOptions(), pretrainer, workers, output)
        run.restore()
        extra: list[keras.callbacks.Callback] = []
        if workers.is_chief and write is not None:
            extra.append(ProgressLines(write, settings.steps, run.run_options.log_steps, run.step))
        if workers.is_chief and tensorboard:
            examples = example_gaps(validation or training, pretrainer)
            folder = output / TENSORBOARD
            extra.append(PretrainingBoard(folder, examples, run.run_options.log_steps, run.step))
        with dropout_rate(pretrainer.backbone, settings.dropout):
            run.train(training, validation, [*callbacks, *extra])
        pretrainer.backbone.trainable = True  # A preset keeps it.
        if workers.is_chief:
            run.finish(served)
    return Pretrained(output / PRESET, pretrainer, run.step, run.tokens, run.history)


class _Run:
    """The state of a run: what is in a checkpoint."""

    def __init__(
        self,
        settings: Pretraining,
        run_options: RunOptions,
        pretrainer: SpanBertPretrainer,
        workers: Workers,
        output: Path,
    ) -> None:
        self.settings = settings
        self.run_options = run_options
        self.pretrainer = pretrainer
        self.workers = workers
        self.output = output
        self.checkpoints = StepCheckpoints(output / CHECKPOINTS, run_options.keep)
        self.step = 0
        self.place = (0, 0)  # epoch and batch that come next
        self.tokens = 0
        self.history: list[dict[str, float]] = []
        self._saved_at = time.monotonic()
        schedule = WarmUpLinearDecay(
            settings.learning_rate,
            settings.steps,
            int(settings.steps * settings.warmup_proportion),
        )
        pretrainer.compile(default_optimizer(schedule, settings.weight_decay, settings.clip_norm))
        build_optimizer(pretrainer)

    def restore(self) -> None:
        """Takes up the last checkpoint, if there is one; all workers that of the chief."""
        found = None
        if self.workers.is_chief:
            self.checkpoints.clean()
            found = self.checkpoints.restore()
            self._check_room()
        if found is not None:
            tensors, record = found
            assign_state(self.pretrainer, tensors)
            self.step, self.place = record["step"], tuple(record["place"])
            self.tokens, self.history = record["tokens"], record["history"]
        self._follow_chief()

    def _check_room(self) -> None:
        """Refuses to train what there is no room to keep: all checkpoints, and one more."""
        weights = size_of_weights(self.pretrainer.weights)
        state = weights + size_of_weights(self.pretrainer.optimizer.variables)
        needed = (self.run_options.keep + 1) * state + weights
        check_room(self.output, needed - size_of_files(self.output))

    def train(
        self,
        training: PretrainingBatches,
        validation: PretrainingBatches | None,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Makes the steps that are left."""
        dataset = training.dataset(*self.place)
        steps = Steps(self.pretrainer, self.workers, dataset.element_spec)
        batches = iter(dataset)
        held_out = None
        if validation is not None:
            # From the first batch of epoch 0: the same blocks and masks each time.
            held_out = validation.dataset(endless=False).take(self.run_options.validation_batches)
        each = self.settings.accumulation
        told = keras.callbacks.CallbackList(list(callbacks), model=self.pretrainer)
        self.pretrainer.stop_training = False
        told.on_train_begin()
        with stop_signals() as stop:
            while self.step < self.settings.steps and not self.pretrainer.stop_training:
                stretch, in_stretch = divmod(self.step, self.run_options.validation_steps)
                if in_stretch == 0:
                    told.on_epoch_begin(stretch)
                told.on_train_batch_begin(in_stretch)
                rate = float(self.pretrainer.optimizer.learning_rate)
                sums = steps.train([next(batches) for _ in range(each)])
                self.step += 1
                self.place = training.advance(*self.place, each)
                self.tokens += int(sums["tokens"])
                logs = figures(sums, self.pretrainer.objectives)
                self._check_finite(math.isfinite(logs["loss"]), "losses")
                logs |= {"tokens": sums["tokens"], "learning_rate": rate}
                told.on_train_batch_end(in_stretch, logs)
                done = self.step == self.settings.steps
                if done or in_stretch + 1 == self.run_options.validation_steps:
                    told.on_epoch_end(stretch, logs | self._validate(steps, held_out, told))
                if self.workers.is_chief and (done or stop.is_set() or self._is_due()):
                    self._save()
                if stop.is_set() and not done:
                    raise Interrupted(
                        f"stopped after {self.step:,} of {self.settings.steps:,} steps; the "
                        f"checkpoint is in {self.checkpoints.folder}.",
                        self.checkpoints.folder,
                    )
        told.on_train_end()

    def finish(self, saved_model: Path | None) -> None:
        """Writes the preset, the figures and the SavedModel, then deletes the checkpoints."""
        metrics = {
            "steps": self.step,
            "tokens": self.tokens,
            "validation": self.history,
            "settings": asdict(self.settings),
        }
        size = size_of_weights(self.pretrainer.weights)
        with training_is_kept(self.checkpoints.folder):
            with output_folder(self.output / PRESET, overwrite=True, size=size) as folder:
                self.pretrainer.save_to_preset(str(folder))
                (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
            if saved_model is not None:
                tokenizer = self.pretrainer.preprocessor.tokenizer
                export_encoder(self.pretrainer, tokenizer, saved_model, overwrite=True)
        remove_folder(self.checkpoints.folder)

    def _validate(
        self, steps: Steps, held_out: tf.data.Dataset | None, told: Any
    ) -> dict[str, float]:
        if held_out is None:
            return {}
        told.on_test_begin()
        logs = figures(steps.validate(held_out), self.pretrainer.objectives)
        told.on_test_end(logs)
        self.history.append({"step": self.step, **logs})
        return {f"val_{name}": value for name, value in logs.items()}

    def _is_due(self) -> bool:
        minutes = (time.monotonic() - self._saved_at) / 60
        return (
            self.step % self.run_options.checkpoint_steps == 0
            or minutes >= self.run_options.checkpoint_minutes
        )

    def _save(self) -> None:
        record = {
            "step": self.step,
            "place": self.place,
            "tokens": self.tokens,
            "history": self.history,
        }
        tensors = {name: np.asarray(v) for name, v in state_of(self.pretrainer).items()}
        # A run that goes on from such a checkpoint is lost.
        self._check_finite(all(np.isfinite(each).all() for each in tensors.values()), "weights")
        self.checkpoints.save(self.step, tensors, record)
        self._saved_at = time.monotonic()

    def _check_finite(self, finite: bool, what: str) -> None:
        if not finite:
            raise FloatingPointError(
                f"step {self.step:,} gave {what} that are infinite or no number: a lower learning "
                f"rate or a longer warm-up may help.  Checkpoints from before are in "
                f"{self.checkpoints.folder}."
            )

    def _follow_chief(self) -> None:
        """Takes over the chief's state, and makes the random numbers this worker's own."""
        if self.workers.count == 1:
            return
        state = state_of(self.pretrainer)
        counts = np.array([self.step, *self.place, self.tokens])
        arrays = self.workers.broadcast([*map(np.asarray, state.values()), counts])
        assign_state(self.pretrainer, dict(zip(state, arrays, strict=False)))
        self.step, *place, self.tokens = map(int, arrays[-1])
        self.place = (place[0], place[1])
        for generator in seed_generators(self.pretrainer):
            seed, count = np.asarray(generator)
            generator.assign(np.array([seed + self.workers.index, count], generator.dtype))
