"""Encoders from the SavedModels that `export_encoder` made of them, to be trained on."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from spanbert_tf.atomic_files import user_path
from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints.hugging_face import VOCABULARY_FILE
from spanbert_tf.checkpoints.tensors import own_weights
from spanbert_tf.foreign_files import (
    CheckpointError,
    Schema,
    check,
    check_finite,
    check_size,
    flag,
    integer,
    list_of,
    read_json,
    reading,
    table,
)
from spanbert_tf.preset_files import BACKBONE, implied_weights
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer, SpanBertPretrainerPreprocessor
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

ENCODER_FILE = "encoder.json"
ADDED_TOKENS_FILE = "kept_whole.json"

_DESCRIPTION: Schema = {"backbone": table(required=True), "word_pieces": integer(1)}
_ADDED_TOKENS: Schema = {"added_tokens": list_of(dict, "objects", required=True)}
_HEADS: Schema = {"span_boundary": flag(required=True), "max_targets": integer(1, required=True)}


def restore_encoder(
    path: str | os.PathLike[str], dtype: Any = None, tokenizer: SpanBertTokenizer | None = None
) -> SpanBertBackbone | SpanBertPretrainer:
    """Makes the encoder, or the pretrainer, that a SavedModel of `export_encoder` was made of.

    Args:
        path: The SavedModel's folder.
        dtype: dtype or dtype policy; by default Keras's.
        tokenizer: What `restore_tokenizer` made of the folder, if it has been called.

    Returns:
        A `SpanBertPretrainer` if the SavedModel has heads, a `SpanBertBackbone` otherwise.

    Raises:
        ValueError: As `restore_backbone`.
    """
    path = user_path(path)
    backbone, heads, weights = _restore(path, dtype)
    if heads is None:
        return backbone
    if tokenizer is None:
        tokenizer = restore_tokenizer(path)
    preprocessor = SpanBertPretrainerPreprocessor(
        tokenizer, backbone.max_sequence_length, max_targets=heads["max_targets"]
    )
    pretrainer = SpanBertPretrainer(backbone, preprocessor, **heads)
    for name, head in (("mlm", pretrainer.mlm_head), ("sbo", pretrainer.sbo_head)):
        if head is not None:
            _assign(own_weights(head), weights, f"{name}/variables", path)
    return pretrainer


def restore_backbone(path: str | os.PathLike[str], dtype: Any = None) -> SpanBertBackbone:
    """Makes the encoder of such a SavedModel, without heads that it may have.

    Args:
        path: The SavedModel's folder.
        dtype: dtype or dtype policy; by default Keras's.

    Raises:
        ValueError: The SavedModel does not say how its encoder is built, holds other weights than
            that encoder has, or such that are NaN or infinite; or a file is damaged.
    """
    return _restore(user_path(path), dtype)[0]


def restore_tokenizer(path: str | os.PathLike[str]) -> SpanBertTokenizer:
    """Makes the tokenizer of a SavedModel, without loading its graph and weights.

    Args:
        path: The folder of an exported encoder, preprocessor or classifier.

    Raises:
        FileNotFoundError: The SavedModel has no vocabulary.
        ValueError: It does not say whether it is lower-cased.
    """
    folder = user_path(path)
    vocabulary = folder / "assets" / VOCABULARY_FILE
    if not vocabulary.is_file():
        raise FileNotFoundError(
            f"{folder} is a SavedModel without {vocabulary.relative_to(folder)}"
        )
    variables = _open_variables(folder)
    key = "do_lower_case/.ATTRIBUTES/VARIABLE_VALUE"
    if not variables.has_tensor(key):
        raise ValueError(f"{folder} is a SavedModel without the variable do_lower_case")
    lowercase, added = bool(variables.get_tensor(key)), vocabulary.with_name(ADDED_TOKENS_FILE)
    tokens = read_json(added, _ADDED_TOKENS)["added_tokens"] if added.is_file() else ()
    tokenizer = SpanBertTokenizer(str(vocabulary), lowercase, added_tokens=tokens)
    description = folder / "assets" / ENCODER_FILE
    if description.is_file():
        _check_pieces(tokenizer.vocabulary_size(), _read_description(description), vocabulary)
    return tokenizer


def _restore(path: Path, dtype: Any) -> tuple[SpanBertBackbone, dict[str, Any] | None, Any]:
    """The encoder, what the SavedModel says of its heads, and its variables, to read theirs."""
    description = path / "assets" / ENCODER_FILE
    if not description.is_file():
        raise ValueError(
            f"{path} has no {description.relative_to(path)}, so it is no SavedModel of "
            f"export_encoder, or one of an early version: spanbert_tf.load makes a layer of it"
        )
    config = _read_description(description)
    weights = _open_variables(path)
    found = sum(math.prod(shape) for shape in weights.get_variable_to_shape_map().values())
    check_size(implied_weights(config["backbone"]), found, description)
    backbone = SpanBertBackbone(**config["backbone"], dtype=dtype)
    _assign(backbone.variables, weights, "variables", path)
    return backbone, config.get("pretrainer"), weights


def _read_description(path: Path) -> dict[str, Any]:
    """Reads how an encoder is built, and how many word pieces it was exported with."""
    description = read_json(path, _DESCRIPTION)
    check(description["backbone"], BACKBONE, path)
    if unknown := description["backbone"].keys() - BACKBONE.keys():
        raise CheckpointError(f"{path} says of its encoder what is not known: {sorted(unknown)}")
    if description.get("pretrainer") is not None:
        check(description, {"pretrainer": table()}, path)
        check(description["pretrainer"], _HEADS, path)
    return description


def _check_pieces(pieces: int, description: dict[str, Any], vocabulary: Path) -> None:
    rows = description["backbone"]["vocabulary_size"]
    expected = description.get("word_pieces", pieces)  # Early exports do not say it.
    if pieces != expected or pieces > rows:
        raise CheckpointError(
            f"{vocabulary} has {pieces} word pieces, but the encoder has {rows} embeddings and was "
            f"exported with {expected} pieces: the copy is not complete, or another model's"
        )


def _open_variables(folder: Path) -> Any:
    path = folder / "variables" / "variables"
    if not path.with_name(f"{path.name}.index").is_file():
        raise CheckpointError(f"{folder} is a SavedModel without variables/{path.name}.index")
    with reading(path, "the variables of a SavedModel"):
        return tf.train.load_checkpoint(str(path))


def _assign(variables: Sequence[Any], weights: Any, name: str, path: Path) -> None:
    """Sets variables to those of a list in the SavedModel, which has them in the same order."""
    shapes = weights.get_variable_to_shape_map()
    keys = [f"{name}/{number}/.ATTRIBUTES/VARIABLE_VALUE" for number in range(len(variables))]
    count = sum(key.startswith(f"{name}/") for key in shapes)
    expected = [tuple(variable.shape) for variable in variables]
    found = [tuple(shapes[key]) for key in keys if key in shapes]
    if count != len(variables) or found != expected:
        raise ValueError(
            f"{path} holds other weights in its {name} than its {ENCODER_FILE} describes: expected "
            f"{len(variables)} of the shapes {expected}, found {count}: {found}"
        )
    with reading(path, "a SavedModel whose variables are whole"):
        tensors = {key: weights.get_tensor(key) for key in keys}
    check_finite(tensors.items(), path)
    for key, variable in zip(keys, variables, strict=True):
        variable.assign(tensors[key])
