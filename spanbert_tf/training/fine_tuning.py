"""Fine-tuning of a task, from records to a preset folder and a SavedModel."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import keras

from spanbert_tf.atomic_files import locked, tidy, user_path
from spanbert_tf.export.saved_model import require_tensorflow
from spanbert_tf.export.serving import export_task
from spanbert_tf.models.lora import merge_lora
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.output_folders import check_outputs, check_places, output_folder
from spanbert_tf.settings import FineTuning
from spanbert_tf.tasks import DEFAULT_TASK, task_class
from spanbert_tf.training.checkpoints import Checkpoint, Interrupted
from spanbert_tf.training.networks import (
    ADAPTER_FOLDER,
    compile_network,
    make_network,
    write_network,
)
from spanbert_tf.training.pretraining.logs import require_tensorboard
from spanbert_tf.training.records import digest, hold_out
from spanbert_tf.training.teachers import Teacher
from spanbert_tf.training.validation import Validation

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class FineTuned:
    """What a run gives.

    Attributes:
        folder: The preset folder of the model; `metrics.json` in it tells of the run.
        model: The task that it holds, of the best epoch.
        history: Loss and metrics of each epoch, those of the validation data as `val_*`.
        best_epoch: Number of the best epoch, from 1; the last one without validation data.
        validation: Loss and the task's figures of the best epoch on the validation data, or
            `None`.
        test: The same on the test data, or `None`.
        train_size: Number of records trained on.
        validation_size: Number of records validated on.
    """

    folder: Path
    model: Any
    history: list[dict[str, float]]
    best_epoch: int
    validation: dict[str, float] | None
    test: dict[str, float] | None
    train_size: int
    validation_size: int


def checkpoint_folder(output: str | os.PathLike[str]) -> Path:
    """The folder where a run that writes to `output` keeps its state: `<output>.checkpoint`."""
    output = user_path(output)
    return output.with_name(f"{output.name}.checkpoint")


def finetune(
    settings: FineTuning,
    train: Sequence[Any],
    validation: Sequence[Any] | None = None,
    *,
    encoder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    task: str = DEFAULT_TASK,
    test: Sequence[Any] | None = None,
    out_of_scope: Columns | None = None,
    unlabelled: Columns | None = None,
    saved_model: str | os.PathLike[str] | None = None,
    adapter: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    tensorboard: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> FineTuned:
    """Fine-tunes a task on an encoder and writes it as a preset folder.

    After each epoch the run's state goes to `checkpoint_folder(output)`, which is deleted once
    all is written.  A run that was stopped or killed, at whatever moment, is taken up from there by
    the same call, and ends with the weights and the files that it would have had.

    Sets Keras' global seed (`keras.utils.set_random_seed`), which decides head and dropout.

    Args:
        settings: How to train: the task's `settings_cls`; or `FineTuning`, of which the task takes
            what differs from `FineTuning()`, and all else from its own defaults.
        train: Records, as the task's `read` gives them; with `unlabelled` there may be none.
        validation: Records to choose the best epoch by.  `None`: a part of `train`,
            `settings.validation_fraction` of it, is held out, stratified by the task's `strata`.
        encoder: Any handle of an encoder, see `load_backbone`.  A preset of a task serves too; its
            head is left behind.
        output: Preset folder to write.
        task: Name of the task, see `spanbert_tf.tasks.TASKS`.
        test: Records to score the model on, once, at the end.
        out_of_scope: Columns of texts that belong to no class, as the task's `read_asked` gives
            them; with the validation data they decide which answers are refused (`min_score`).
        unlabelled: Columns of texts, as the task's `read_asked` gives them, to train on too: what
            `settings.teacher` answers for them are their labels.
        saved_model: Folder of the SavedModel to write of it, such as `saved_models/mine/1`, or
            `None`.
        adapter: Folder of the adapter to write of it, see `save_adapter`, or `None`.  Only with
            `settings.lora_rank`; the preset and the SavedModel have it merged into their encoder.
        overwrite: Whether models in these folders may be replaced, and a stopped run of the same
            name thrown away.
        resume: Whether there must be a stopped run to take up, `overwrite` or not.
        tensorboard: Folder for TensorBoard's logs, or `None`.
        callbacks: More Keras callbacks.
        verbose: The progress bar, as in `keras.Model.fit`.

    Returns:
        The model of the best epoch, and the figures.

    Raises:
        FileExistsError: A folder to write or a stopped run of something else exists, or holds
            what this package did not write; nothing was done.
        FileNotFoundError: There is no run to resume.
        BlockingIOError: Another process is at work on one of the folders.
        DataError: The records do not make up a task, or validation has a label that training lacks.
        ValueError: Settings do not fit the records or the encoder, or differ from the run's
            that is resumed; `settings.teacher` is none for this task, these records or this
            encoder; or a folder to write is, holds or lies in the encoder's or the teacher's.
        ModuleNotFoundError: TensorBoard was asked for and is not installed.
        Interrupted: The user stopped it (`KeyboardInterrupt`); the message says what is kept.
        FloatingPointError: The loss became infinite or no number.
        OSError: The disk is full, for one; what was kept can be resumed.
    """
    output = user_path(output)
    if saved_model is not None:
        require_tensorflow()
    of = task_class(task)
    settings = settings_of(of, settings)
    if adapter is not None and settings.lora_rank is None:
        raise ValueError("`adapter` needs `settings.lora_rank`: without it all weights are trained")
    if settings.lora_rank is not None and settings.layers is not None:
        raise ValueError(
            "`layers` and `lora_rank` cannot be given together: an adapter belongs to the whole "
            "encoder."
        )
    if settings.lora_start != "zero" and None in (settings.lora_rank, settings.teacher):
        raise ValueError(
            f"`lora_start` is {settings.lora_start!r}, which needs `lora_rank` and `teacher`."
        )
    teacher = Teacher(of, settings)
    train, validation, test = map(teacher.records, (train, validation, test))
    answered = teacher.answered(unlabelled)
    learned = [*train, *answered]
    head = teacher.head(of.head_arguments(learned, settings))
    run = {
        "task": task,
        "settings": asdict(settings),
        "encoder": _resolved(encoder),
        "head": head,
        "records": digest(learned, validation, out_of_scope),
    }
    # Where there are labels, figures are by them alone.
    parts = hold_out(of, settings, train or answered, validation)
    parts[0].extend(answered if train else ())
    sizes: dict[str, Any] = {"train_size": len(parts[0]), "validation_size": len(parts[1])}
    scoring = Validation(parts[1], out_of_scope)
    monitor = scoring.check(of, head, settings)
    checkpoint = Checkpoint(checkpoint_folder(output), run, monitor)
    extra = [*callbacks, *_tensorboard(tensorboard)]
    outputs = [user_path(each) for each in (output, saved_model, adapter) if each is not None]
    inputs = [encoder, settings.teacher]
    check_places([*outputs, checkpoint.folder], inputs)
    with locked(outputs):
        _check(outputs, inputs, checkpoint, overwrite)
        checkpoint.open(resume, overwrite)
        try:
            model, identity = make_network(of, settings, encoder, head)
            teacher.start(model, settings.lora_start)
            checkpoint.write_best = lambda folder: write_network(model, identity, folder)
            # Before training, as their errors would otherwise come after it.
            data, *_ = [_data_of(model, part) for part in (*parts, test) if part]
            lesson = teacher.lesson(model)
            # From here on with what they left open.
            settings = compile_network(model, settings, data[0])
            checkpoint.restore(model)
            trains = not checkpoint.finished
            if trains:
                scored = [scoring] if parts[1] else []
                with lesson:
                    _train(model, settings, data, scored, checkpoint, extra, verbose)
            _check(outputs, inputs, checkpoint, overwrite)
            with checkpoint.kept():
                _write(checkpoint, {**run, **sizes, "settings": asdict(settings)}, output, adapter)
                # One that was trained before has its last weights, but not what was tuned by them.
                if not trains or checkpoint.best_epoch + 1 < len(checkpoint.history):
                    model = of.from_preset(str(output), dtype=settings.dtype)
                model = merge_lora(model)
                if saved_model is not None:
                    export_task(model, saved_model, overwrite=True)
            figures = model.assess(test) if test else None
        except KeyboardInterrupt:
            raise _interrupted(checkpoint, settings) from None
        finally:
            if not checkpoint.history:
                checkpoint.remove()
        checkpoint.remove()
    return FineTuned(output, model, test=figures, **sizes, **_figures(checkpoint))


def _check(
    outputs: Sequence[Path], inputs: Sequence[Any], checkpoint: Checkpoint, overwrite: bool
) -> None:
    """Refuses outputs that are not this run's to write."""
    tidy(checkpoint.folder.parent)
    replace = overwrite or checkpoint.may_replace
    # Not by the usual words, which name the way to replace it: hours of work may be in it.
    if not replace and (outputs[0] / METRICS_FILE).exists():
        raise FileExistsError(
            f"{outputs[0]} exists, the model of a finished run; choose another name for a new one"
        )
    check_outputs(outputs, replace, inputs)


def settings_of(of: type[SpanBertTask], settings: FineTuning) -> Any:
    """The settings as the task's own class."""
    if isinstance(settings, of.settings_cls):
        return settings
    if type(settings) is not FineTuning:
        raise ValueError(
            f"expected settings of the class {of.settings_cls.__name__} for {of.task}, got "
            f"{type(settings).__name__}"
        )
    # What is as `FineTuning` has it by default is as the task has it, such as long rows.
    values = ((f, getattr(settings, f.name)) for f in fields(settings))
    return of.settings_cls(**{f.name: value for f, value in values if value != f.default})


def _data_of(model: SpanBertTask, records: Sequence[Any]) -> tuple[Any, Any]:
    """Records as `fit` takes them."""
    model.check_records(records)
    return model.columns_of(records)


def _train(
    model: Any,
    settings: FineTuning,
    data: tuple[Any, Any],
    scoring: Sequence[keras.callbacks.Callback],
    checkpoint: Checkpoint,
    extra: Sequence[keras.callbacks.Callback],
    verbose: int | str,
) -> None:
    """Trains the epochs that the checkpoint has not."""
    columns, y = data
    stopping = _early_stopping(settings, checkpoint)
    model.fit(
        tuple(columns),
        y,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        initial_epoch=len(checkpoint.history),
        seed=settings.seed,
        # The checkpoint records whether early stopping, before it, has stopped the training.
        callbacks=[*scoring, *stopping, checkpoint, *extra],
        verbose=verbose,
    )


def _figures(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the history says."""
    logs = checkpoint.history[checkpoint.best_epoch]
    validation = {
        name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")
    }
    return {
        "history": checkpoint.history,
        "best_epoch": checkpoint.best_epoch + 1,
        "validation": validation or None,
    }


def _early_stopping(settings: FineTuning, checkpoint: Checkpoint) -> list[keras.callbacks.Callback]:
    if settings.patience is None:
        return []
    monitor = str(checkpoint.monitor)
    checkpoint.early_stopping = keras.callbacks.EarlyStopping(
        monitor, patience=settings.patience, mode="min" if monitor.endswith("loss") else "max"
    )
    return [checkpoint.early_stopping]


def _tensorboard(folder: str | os.PathLike[str] | None) -> list[keras.callbacks.Callback]:
    if folder is None:
        return []
    require_tensorboard()
    return [keras.callbacks.TensorBoard(str(user_path(folder)), write_graph=False)]


def _write(checkpoint: Checkpoint, run: dict[str, Any], output: Path, adapter: Any) -> None:
    """Gives the best model the name that was asked for."""
    text = json.dumps({**run, **_figures(checkpoint)}, indent=2, ensure_ascii=False)
    with output_folder(output, overwrite=True) as folder:
        without_adapter = shutil.ignore_patterns(ADAPTER_FOLDER)
        shutil.copytree(checkpoint.best_preset, folder, ignore=without_adapter, dirs_exist_ok=True)
        (folder / METRICS_FILE).write_text(text + "\n", "utf-8")
    if adapter is not None:
        with output_folder(adapter, overwrite=True) as folder:
            shutil.copytree(checkpoint.best_preset / ADAPTER_FOLDER, folder, dirs_exist_ok=True)


def _interrupted(checkpoint: Checkpoint, settings: FineTuning) -> Interrupted:
    done = len(checkpoint.history)
    if not done:
        return Interrupted("stopped in the first epoch: nothing is kept.")
    return Interrupted(
        f"stopped after {done} of {settings.epochs or 'its'} epochs, which are kept in "
        f"{checkpoint.folder}; resume the run to go on from there.",
        checkpoint.folder,
        done,
    )


def _resolved(encoder: str | os.PathLike[str]) -> str:
    """An encoder's folder by its whole path, a handle as it is."""
    folder = user_path(encoder)
    return str(folder.resolve()) if folder.is_dir() else os.fspath(encoder)
