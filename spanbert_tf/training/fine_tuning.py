"""Fine-tuning of a text classifier, from labelled examples to a preset folder."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from spanbert_tf.atomic import atomic_folder
from spanbert_tf.data.readers import DataError, Example, class_names_of, encode_labels
from spanbert_tf.models.backbone import SpanBertBackbone
from spanbert_tf.models.optimizers import default_optimizer
from spanbert_tf.models.text_classifier import (
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
)
from spanbert_tf.settings import FineTuning
from spanbert_tf.training.checkpoints import Checkpoint, Interrupted, refuse_existing
from spanbert_tf.training.pretraining_logs import require_tensorboard
from spanbert_tf.training.schedules import WarmUpLinearDecay
from spanbert_tf.training.splitting import stratified_split

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class FineTuned:
    """What a run gives.

    Attributes:
        folder: The preset folder of the classifier; `metrics.json` in it tells of the run.
        classifier: The classifier that it holds, of the best epoch.
        history: Loss and metrics of each epoch, those of the validation texts as `val_*`.
        best_epoch: Number of the best epoch, from 1; the last one without validation texts.
        validation: Loss, accuracy, precision, recall and F1 of the best epoch on the validation
            texts, or `None`.
        class_names: Names of the classes, in their order.
        train_size: Number of texts trained on.
        validation_size: Number of texts validated on.
    """

    folder: Path
    classifier: SpanBertTextClassifier
    history: list[dict[str, float]]
    best_epoch: int
    validation: dict[str, float] | None
    class_names: list[str]
    train_size: int
    validation_size: int


def checkpoint_folder(output: str | os.PathLike[str]) -> Path:
    """The folder where a run that writes to `output` keeps its state: `<output>.checkpoint`."""
    output = Path(output)
    return output.with_name(f"{output.name}.checkpoint")


def finetune(
    settings: FineTuning,
    train: Sequence[Example],
    validation: Sequence[Example] | None = None,
    *,
    encoder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    overwrite: bool = False,
    resume: bool = False,
    tensorboard: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> FineTuned:
    """Fine-tunes a classifier and writes it as a preset folder.

    After each epoch the run's state goes to `checkpoint_folder(output)`, which is deleted once
    `output` is written.  A run that was stopped can be taken up from there, and ends with the
    weights that it would have had.

    Sets Keras' global seed (`keras.utils.set_random_seed`), which decides head and dropout.

    Args:
        settings: How to train.
        train: Labelled examples, all with a second text or none.
        validation: Labelled examples to choose the best epoch by.  `None`: a stratified part of
            `train`, `settings.validation_fraction` of it, is held out.
        encoder: Preset of the encoder, a folder or a KerasHub handle.  A classifier's preset
            serves too; its head is left behind.
        output: Folder to write.
        overwrite: Whether `output`, and a stopped run of the same name, may be replaced.
        resume: Whether to take up the run that was stopped.
        tensorboard: Folder for TensorBoard's logs, or `None`.
        callbacks: More Keras callbacks.
        verbose: The progress bar, as in `keras.Model.fit`.

    Returns:
        The classifier of the best epoch, and the figures.

    Raises:
        FileExistsError: `output` or a stopped run exists; nothing was done.
        FileNotFoundError: There is no run to resume.
        DataError: There are fewer than two classes, a validation label that training lacks, or
            some examples have a second text and some none.
        ValueError: Settings do not fit the examples or the encoder, or differ from the run's
            that is resumed.
        ModuleNotFoundError: TensorBoard was asked for and is not installed.
        Interrupted: The user stopped it (`KeyboardInterrupt`); the message says what is kept.
        FloatingPointError: The loss became infinite or no number.
        OSError: The disk is full, for one; what was kept can be resumed.
    """
    output = Path(output)
    refuse_existing(output, overwrite)
    class_names = class_names_of(train)
    run = {
        "settings": asdict(settings),
        "encoder": _resolved(encoder),
        "class_names": class_names,
        "examples": _digest(train, validation),
    }
    parts = _hold_out(settings, train, validation, class_names)
    data = [texts_and_labels(part, class_names) if part else None for part in parts]
    sizes: dict[str, Any] = {"train_size": len(parts[0]), "validation_size": len(parts[1])}
    if settings.patience is not None and not parts[1]:
        raise ValueError("`patience` needs validation examples, but there are none.")
    monitor = settings.monitor if parts[1] else None
    checkpoint = Checkpoint(checkpoint_folder(output), run, monitor)
    extra = [*callbacks, *_tensorboard(tensorboard)]
    checkpoint.open(resume, overwrite)
    try:
        classifier = _make_classifier(settings, encoder, class_names, len(parts[0]))
        checkpoint.restore(classifier)
        if not checkpoint.finished:
            _train(classifier, settings, data, checkpoint, extra, verbose)
        _write(checkpoint, {**run, **sizes}, output, overwrite)
    except KeyboardInterrupt:
        raise _interrupted(checkpoint, settings) from None
    finally:
        if not checkpoint.history:
            checkpoint.remove()
    if checkpoint.best_epoch + 1 < len(checkpoint.history):
        classifier = SpanBertTextClassifier.from_preset(str(output), dtype=settings.dtype)
    checkpoint.remove()
    return FineTuned(output, classifier, class_names=class_names, **sizes, **_figures(checkpoint))


def _train(
    classifier: SpanBertTextClassifier,
    settings: FineTuning,
    data: Sequence[Any],
    checkpoint: Checkpoint,
    extra: Sequence[keras.callbacks.Callback],
    verbose: int | str,
) -> None:
    """Trains the epochs that the checkpoint has not."""
    (texts, labels), validation = data
    classifier.fit(
        texts,
        labels,
        batch_size=settings.batch_size,
        validation_data=validation,
        epochs=settings.epochs,
        initial_epoch=len(checkpoint.history),
        seed=settings.seed,
        # The checkpoint records whether early stopping, before it, has stopped the training.
        callbacks=[*_early_stopping(settings, checkpoint), checkpoint, *extra],
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


def _hold_out(
    settings: FineTuning,
    train: Sequence[Example],
    validation: Sequence[Example] | None,
    class_names: Sequence[str],
) -> tuple[list[Example], list[Example]]:
    """Parts a validation set from the training examples where none is given."""
    if validation is not None or not settings.validation_fraction:
        return list(train), list(validation or [])
    labels = encode_labels(train, class_names)
    rows = stratified_split(labels, settings.validation_fraction, settings.seed)
    kept, held_out = ([train[row] for row in part] for part in rows)
    return kept, held_out


def texts_and_labels(examples: Sequence[Example], class_names: Sequence[str]) -> tuple[Any, Any]:
    """Columns of texts, a tuple of two for pairs, and the number of each label."""
    texts, labels = [example.text for example in examples], encode_labels(examples, class_names)
    pairs = [example.pair for example in examples if example.pair is not None]
    if not pairs:
        return texts, labels
    if len(pairs) < len(texts):
        lone = next(example for example in examples if example.pair is None)
        raise DataError(f"{lone.path}, line {lone.line}: no second text, which others have.")
    return (texts, pairs), labels


def _make_classifier(
    settings: FineTuning, encoder: Any, class_names: list[str], rows: int
) -> SpanBertTextClassifier:
    """Loads the encoder and puts a new head on it, ready to train."""
    keras.utils.set_random_seed(settings.seed)
    encoder = os.fspath(encoder)
    classifier = SpanBertTextClassifier(
        SpanBertBackbone.from_preset(encoder, **_encoder_options(settings)),
        class_names=class_names,
        pooling=settings.pooling,
        dropout=settings.dropout,
        preprocessor=SpanBertTextClassifierPreprocessor.from_preset(
            encoder, sequence_length=settings.sequence_length
        ),
    )
    steps = -(-rows // settings.batch_size) * settings.epochs
    schedule = WarmUpLinearDecay(
        settings.learning_rate, steps, round(settings.warmup_proportion * steps)
    )
    classifier.compile(default_optimizer(schedule, settings.weight_decay, settings.clip_norm))
    return classifier


def _encoder_options(settings: FineTuning) -> dict[str, Any]:
    """What the settings change in the encoder."""
    options: dict[str, Any] = {"dtype": settings.dtype, "long_positions": settings.long_positions}
    if settings.attention is not None:
        options |= {
            "attention": settings.attention,
            "block_size": settings.block_size,
            "neighbors": settings.neighbors,
        }
    return {name: value for name, value in options.items() if value is not None}


def _early_stopping(settings: FineTuning, checkpoint: Checkpoint) -> list[keras.callbacks.Callback]:
    if settings.patience is None:
        return []
    checkpoint.early_stopping = keras.callbacks.EarlyStopping(
        settings.monitor,
        patience=settings.patience,
        mode="min" if settings.monitor.endswith("loss") else "max",
    )
    return [checkpoint.early_stopping]


def _tensorboard(folder: str | os.PathLike[str] | None) -> list[keras.callbacks.Callback]:
    if folder is None:
        return []
    require_tensorboard()
    return [keras.callbacks.TensorBoard(os.fspath(folder), write_graph=False)]


def _write(checkpoint: Checkpoint, run: dict[str, Any], output: Path, overwrite: bool) -> None:
    """Gives the best classifier the name that was asked for."""
    text = json.dumps({**run, **_figures(checkpoint)}, indent=2, ensure_ascii=False)
    try:
        with atomic_folder(output, overwrite=overwrite) as folder:
            shutil.copytree(checkpoint.best_preset, folder, dirs_exist_ok=True)
            (folder / METRICS_FILE).write_text(text + "\n", "utf-8")
    except OSError as error:
        error.add_note(
            f"the training is done and kept in {checkpoint.folder}: resume the run to write it."
        )
        raise


def _interrupted(checkpoint: Checkpoint, settings: FineTuning) -> Interrupted:
    done = len(checkpoint.history)
    if not done:
        return Interrupted("stopped in the first epoch: nothing is kept.")
    return Interrupted(
        f"stopped after {done} of {settings.epochs} epochs, which are kept in {checkpoint.folder}; "
        "resume the run to go on from there.",
        checkpoint.folder,
        done,
    )


def _resolved(encoder: str | os.PathLike[str]) -> str:
    """An encoder's folder by its whole path, a handle as it is."""
    return str(Path(encoder).resolve()) if Path(encoder).is_dir() else os.fspath(encoder)


def _digest(train: Sequence[Example], validation: Sequence[Example] | None) -> str:
    """A fingerprint of what is trained and validated on."""
    parts = [
        None if examples is None else [(e.text, e.pair, e.label) for e in examples]
        for examples in (train, validation)
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
