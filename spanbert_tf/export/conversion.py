"""A handle of any kind to a Keras preset, and a preset to a Hugging Face checkpoint."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.checkpoints.convert import load_hugging_face, write_hugging_face
from spanbert_tf.export.loading import load_with_heads
from spanbert_tf.handles import (
    CHECKPOINTS,
    PRETRAINING_TASK,
    AnyHandle,
    Handle,
    Kind,
    find,
    path_of,
)
from spanbert_tf.output_folders import check_outputs, output_folder, size_of_weights
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer

_log = logging.getLogger(__name__)


def convert(
    source: AnyHandle,
    destination: str | os.PathLike[str],
    overwrite: bool = False,
    drop: Sequence[str] = (),
) -> Path:
    """Converts an encoder to a Keras preset, or a preset to a Hugging Face checkpoint.

    Args:
        source: A handle, see `spanbert_tf.handles.find`: a preset becomes a checkpoint, a
            checkpoint or a SavedModel of `export_encoder` becomes a preset.  Pretraining heads of a
            preset or a SavedModel are converted too, as far as the other form has a place for them,
            see `save_hugging_face`.  Another task's head is dropped, with a warning in the log.
        destination: The folder to make; it appears whole or not at all.
        overwrite: Whether a folder that exists is replaced.
        drop: Patterns of keys of a checkpoint that are left out, see `load_hugging_face`.

    Returns:
        The folder made.  A preset loads with `SpanBertBackbone.from_preset(folder)` and
        `keras_hub.models.TextClassifier.from_preset(folder, num_classes=2)`.

    Raises:
        FileExistsError: `destination` exists and `overwrite` is false, or it holds what this
            package did not write.
        ValueError: `destination` is the source, holds it or lies in it.  The source is damaged, or
            of a kind that cannot be converted; see `load_hugging_face`, `restore_encoder` and
            `save_hugging_face`.
        FileNotFoundError, ConnectionError, ImportError, OSError: See `spanbert_tf.handles.find`.
    """
    destination = user_path(destination)
    # First: a destination that exists is an error before a download.
    check_outputs([destination], overwrite, [path_of(source)])
    found = find(source)
    model, tokenizer = _load(found, drop)
    with output_folder(destination, overwrite, size_of_weights(model.weights)) as folder:
        if found.kind is Kind.PRESET:
            if found.task not in (None, PRETRAINING_TASK):
                _log.warning("dropped, as only encoders are converted: the head for %s", found.task)
            write_hugging_face(model, tokenizer, folder)
        else:
            model.save_to_preset(os.fspath(folder))
            if not isinstance(model, SpanBertPretrainer):  # It has a tokenizer of its own.
                tokenizer.save_to_preset(os.fspath(folder))
    return destination


def _load(found: Handle, drop: Sequence[str]) -> Any:
    if not drop:
        return load_with_heads(found)
    if found.kind not in CHECKPOINTS:
        raise ValueError(f"{found.source} is a {found.kind}; `drop` is for a checkpoint's keys")
    return load_hugging_face(found.path, drop=drop)
