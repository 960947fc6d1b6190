"""What all exports share: a SavedModel written whole or not at all, of known operations only."""

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints.hugging_face import VOCABULARY_FILE
from spanbert_tf.checkpoints.saved_models import ADDED_TOKENS_FILE, ENCODER_FILE
from spanbert_tf.export.operations import (
    SERVABLE_CUSTOM_OPS,
    check_operations,
    custom_operations,
)
from spanbert_tf.layers.kernels.onednn import portable_graphs
from spanbert_tf.output_folders import output_folder, size_of_weights
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from spanbert_tf.tokenization.added_tokens import added_tokens_to_json
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

_BY_THE_LOADER = ("name", "trainable", "dtype")  # What is left to the one who loads.


@contextmanager
def saved_model_folder(
    path: str | os.PathLike[str], overwrite: bool = False, weights: Iterable[Any] = ()
) -> Iterator[Path]:
    """Yields a temporary folder to write a SavedModel into, checks it and gives it its name.

    Args:
        path: The folder to make, whose last part TF Serving wants to be a version number:
            `saved_models/<name>/<version>`.
        overwrite: Whether a folder that exists is replaced.
        weights: The variables that are about to be written, for which there must be room.

    Yields:
        The temporary folder.

    Raises:
        FileExistsError, OSError: See `output_folder`.
        ValueError: Keras computes with another backend than TensorFlow, or the graph has an
            operation that TF Serving lacks.
    """
    require_tensorflow()
    size = size_of_weights(weights)
    with output_folder(path, overwrite, size) as folder, os_errors(), portable_graphs():
        yield folder
        unknown = custom_operations(folder) - SERVABLE_CUSTOM_OPS
        if unknown:
            raise ValueError(
                f"the model has operations that TF Serving lacks: {sorted(unknown)}; beside "
                f"TensorFlow's own it may have {sorted(SERVABLE_CUSTOM_OPS)}"
            )
        check_operations(folder)  # What is exported can be loaded.


def require_tensorflow() -> None:
    """Refuses what is made of TensorFlow's variables, as exports are, with another backend.

    Raises:
        ValueError: It has another.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f'this needs Keras\' backend "tensorflow", but it is {backend!r}: set '
            "KERAS_BACKEND=tensorflow"
        )


@contextmanager
def os_errors() -> Iterator[None]:
    """Makes of TensorFlow's errors, while it writes, the `OSError`s that they stand for."""
    try:
        yield
    except tf.errors.OpError as error:
        number = errno.ENOSPC if isinstance(error, tf.errors.ResourceExhaustedError) else errno.EIO
        raise OSError(number, f"TensorFlow could not write: {error.message}") from error


def track_vocabulary(root: tf.train.Checkpoint, tokenizer: SpanBertTokenizer, folder: Path) -> None:
    """Gives a SavedModel `vocab_file` and `do_lower_case`, as TF Hub's text models have them.

    Where tokens are kept whole, `added_tokens_file` lists them.

    Args:
        root: Gets the attributes.
        tokenizer: Whose vocabulary and case to write.
        folder: Where the vocabulary waits until the SavedModel is written.
    """
    root.vocab_file = tf.saved_model.Asset(str(write_vocabulary(tokenizer, folder)))
    if tokenizer.added_tokens:
        added = folder / ADDED_TOKENS_FILE
        tokens = {"added_tokens": added_tokens_to_json(tokenizer.added_tokens)}
        added.write_text(json.dumps(tokens, indent=2) + "\n", "utf-8")
        root.added_tokens_file = tf.saved_model.Asset(str(added))
    root.do_lower_case = tf.Variable(tokenizer.lowercase, trainable=False, name="do_lower_case")


def write_vocabulary(tokenizer: SpanBertTokenizer, folder: Path) -> Path:
    """Writes a tokenizer's pieces, one a line, into a folder and gives the file."""
    vocabulary = folder / VOCABULARY_FILE
    pieces = tokenizer.get_vocabulary()
    vocabulary.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8", newline="\n")
    return vocabulary


def track_encoder(
    root: tf.train.Checkpoint,
    model: SpanBertBackbone | SpanBertPretrainer,
    word_pieces: int,
    folder: Path,
) -> None:
    """Gives a SavedModel `encoder_file`: how to build the encoder, and the heads, it was made of.

    Args:
        root: Gets the attribute.
        model: What is exported.
        word_pieces: How many its tokenizer has, by which a vocabulary that was cut is noticed.
        folder: Where the file waits until the SavedModel is written.
    """
    heads = None
    backbone = model
    if isinstance(model, SpanBertPretrainer):
        backbone = model.backbone
        heads = {"span_boundary": model.span_boundary, "max_targets": model.max_targets}
    config = backbone.get_config()
    config = {name: value for name, value in config.items() if name not in _BY_THE_LOADER}
    path = folder / ENCODER_FILE
    description = {"backbone": config, "pretrainer": heads, "word_pieces": word_pieces}
    path.write_text(json.dumps(description, indent=2) + "\n", "utf-8")
    root.encoder_file = tf.saved_model.Asset(str(path))
