"""Encoders from the SavedModels that `export_encoder` made of them, to be trained on."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints.hugging_face import VOCABULARY_FILE
from spanbert_tf.checkpoints.tensors import own_weights
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer, SpanBertPretrainerPreprocessor
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

ENCODER_FILE = "encoder.json"


def restore_encoder(
    path: str | os.PathLike[str], dtype: Any = None
) -> SpanBertBackbone | SpanBertPretrainer:
    """Makes the encoder, or the pretrainer, that a SavedModel of `export_encoder` was made of.

    Args:
        path: The SavedModel's folder.
        dtype: dtype or dtype policy; by default Keras's.

    Returns:
        A `SpanBertPretrainer` if the SavedModel has heads, a `SpanBertBackbone` otherwise.

    Raises:
        ValueError: The SavedModel does not say how its encoder is built, or holds other weights
            than that encoder has.
    """
    path = Path(path)
    description = path / "assets" / ENCODER_FILE
    if not description.is_file():
        raise ValueError(
            f"{path} has no {description.relative_to(path)}, so it is no SavedModel of "
            f"export_encoder, or one of an early version: spanbert_tf.load makes a layer of it"
        )
    config = json.loads(description.read_text("utf-8"))
    backbone = SpanBertBackbone(**config["backbone"], dtype=dtype)
    weights = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    _assign(backbone.variables, weights, "variables", path)
    if config["pretrainer"] is None:
        return backbone
    tokenizer = restore_tokenizer(path)
    heads = config["pretrainer"]
    preprocessor = SpanBertPretrainerPreprocessor(
        tokenizer, backbone.max_sequence_length, max_targets=heads["max_targets"]
    )
    pretrainer = SpanBertPretrainer(backbone, preprocessor, **heads)
    for name, head in (("mlm", pretrainer.mlm_head), ("sbo", pretrainer.sbo_head)):
        if head is not None:
            _assign(own_weights(head), weights, f"{name}/variables", path)
    return pretrainer


def restore_tokenizer(path: str | os.PathLike[str]) -> SpanBertTokenizer:
    """Makes the tokenizer of a SavedModel, without loading its graph and weights.

    Args:
        path: The folder of an exported encoder, preprocessor or classifier.

    Raises:
        FileNotFoundError: The SavedModel has no vocabulary.
        ValueError: It does not say whether it is lower-cased.
    """
    folder = Path(path)
    vocabulary = folder / "assets" / VOCABULARY_FILE
    if not vocabulary.is_file():
        raise FileNotFoundError(
            f"{folder} is a SavedModel without {vocabulary.relative_to(folder)}"
        )
    variables = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    key = "do_lower_case/.ATTRIBUTES/VARIABLE_VALUE"
    if not variables.has_tensor(key):
        raise ValueError(f"{folder} is a SavedModel without the variable do_lower_case")
    return SpanBertTokenizer(str(vocabulary), lowercase=bool(variables.get_tensor(key)))


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
    for key, variable in zip(keys, variables, strict=True):
        variable.assign(weights.get_tensor(key))
