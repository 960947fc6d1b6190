"""Encoders from the SavedModels that `export_encoder` made of them, to be trained on."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from spanbert_tf.atomic import atomic_folder
from spanbert_tf.checkpoint_tensors import own_weights
from spanbert_tf.hugging_face import CONFIG_FILE, VOCABULARY_FILE
from spanbert_tf.models.backbone import SpanBertBackbone
from spanbert_tf.models.pretrainer import SpanBertPretrainer, SpanBertPretrainerPreprocessor
from spanbert_tf.tokenizer import SpanBertTokenizer

ENCODER_FILE = "encoder.json"


def is_saved_model(folder: Path) -> bool:
    """Whether a folder is a SavedModel's."""
    return (folder / tf.saved_model.SAVED_MODEL_FILENAME_PB).is_file()


def models_within(folder: Path) -> str:
    """What a message that a folder is no model adds if its folders are models; else nothing."""
    files = (tf.saved_model.SAVED_MODEL_FILENAME_PB, CONFIG_FILE)
    found = {
        path.parent for file in files for at in ("*", "*/*") for path in folder.glob(f"{at}/{file}")
    }
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return f"; it has models in its folders {names}: name one of them" if names else ""


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


def convert_saved_model(
    source: str | os.PathLike[str], destination: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Makes a Keras preset of a SavedModel of `export_encoder`, with the heads that it has.

    Args:
        source: The SavedModel's folder.
        destination: The folder to make; it appears whole or not at all.
        overwrite: Whether a folder that exists is replaced.

    Raises:
        FileExistsError: `destination` exists and `overwrite` is false.
        ValueError: See `restore_encoder`.
    """
    with atomic_folder(destination, overwrite) as folder:
        model = restore_encoder(source)
        model.save_to_preset(str(folder))
        if isinstance(model, SpanBertBackbone):  # A pretrainer has a tokenizer of its own.
            restore_tokenizer(source).save_to_preset(str(folder))


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
