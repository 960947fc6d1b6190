"""Handles to encoders and tokenizers: what `spanbert_tf.load` takes, and what it makes of it."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import keras

from spanbert_tf import hugging_face
from spanbert_tf.convert import load_hugging_face
from spanbert_tf.export.encoder_layers import BackboneEncoder, SavedModelEncoder
from spanbert_tf.models.backbone import SpanBertBackbone
from spanbert_tf.models.pretrainer import SpanBertPretrainer
from spanbert_tf.restoring import (
    is_saved_model,
    models_within,
    restore_encoder,
    restore_tokenizer,
)
from spanbert_tf.tokenizer import SpanBertTokenizer

_SAVED_MODEL, _PRESET, _HUGGING_FACE = "SavedModel", "Keras preset", "Hugging Face checkpoint"


class _Source(NamedTuple):
    """What a handle turned out to be, and the folder (or KerasHub's handle) where it is."""

    kind: str
    place: str


def load(handle: str | os.PathLike[str], trainable: bool = True) -> keras.layers.Layer:
    """Loads an encoder as a Keras layer of two call forms.

        encoder = spanbert_tf.load("saved_models/spanbert_base/1")
        embeddings = encoder(input_ids, input_mask, segment_ids)
        outputs = encoder({"input_word_ids": ..., "input_mask": ..., "input_type_ids": ...})

    Both forms take tensors, arrays and `keras.Input`s; see `SavedModelEncoder` for their shapes and
    for how a model with the layer inside is saved.  Training changes the encoder's own variables.

    A SavedModel, wherever it comes from, is a program: load none that you do not trust.

    Args:
        handle: One of
            - the folder of a SavedModel with TF Hub's encoder interface, as `export_encoder` makes,
            - the folder of a Keras preset, or its handle, such as `kaggle://user/model/keras/name`,
            - the folder of a Hugging Face checkpoint, or `hf://user/repo`,
            - the URL of a TF Hub model, `https://tfhub.dev/...`; needs tensorflow-hub.
        trainable: Whether training changes the weights.

    Returns:
        A `SavedModelEncoder` or a `BackboneEncoder`.

    Raises:
        FileNotFoundError: There is nothing of that name, or the folder holds none of the above.
        ConnectionError: The handle is on a hub that cannot be reached.
        ModuleNotFoundError: A TF Hub URL without tensorflow-hub.
        ValueError: What is there is damaged, or no encoder.
    """
    source = _find(handle)
    if source.kind == _SAVED_MODEL:
        _register_text_operations()
        return SavedModelEncoder(source.place, trainable=trainable)
    if source.kind == _PRESET:
        return BackboneEncoder(SpanBertBackbone.from_preset(source.place), trainable=trainable)
    backbone, _ = load_hugging_face(source.place)
    return BackboneEncoder(backbone, trainable=trainable)


def load_tokenizer(handle: str | os.PathLike[str]) -> SpanBertTokenizer:
    """Loads the tokenizer that belongs to an encoder.

    Args:
        handle: As for `load`; the folder of an exported preprocessor too.

    Returns:
        The tokenizer, with the case that the encoder was trained with.

    Raises:
        FileNotFoundError: There is nothing of that name, or no vocabulary there.
        ConnectionError: The handle is on a hub that cannot be reached.
        ModuleNotFoundError: A TF Hub URL without tensorflow-hub.
        ValueError: The vocabulary is damaged.
    """
    source = _find(handle)
    if source.kind == _SAVED_MODEL:
        return restore_tokenizer(source.place)
    if source.kind == _PRESET:
        return SpanBertTokenizer.from_preset(source.place)
    vocabulary = hugging_face.read_vocabulary(Path(source.place))
    return SpanBertTokenizer(vocabulary.pieces, lowercase=vocabulary.lowercase)


def load_backbone(
    handle: str | os.PathLike[str], dtype: Any = None
) -> tuple[SpanBertBackbone, SpanBertTokenizer]:
    """Loads an encoder as a KerasHub backbone, with its tokenizer, to build tasks on.

        backbone, tokenizer = spanbert_tf.load_backbone("saved_models/spanbert_base/1")

    Args:
        handle: As for `load`; of SavedModels only those that `export_encoder` made.
        dtype: dtype or dtype policy of the backbone; by default Keras's, or the preset's.

    Returns:
        The backbone and its tokenizer.

    Raises:
        FileNotFoundError, ConnectionError, ModuleNotFoundError: As `load`.
        ValueError: What is there is damaged, or a SavedModel that `export_encoder` did not make.
    """
    source = _find(handle)
    if source.kind == _HUGGING_FACE:
        return load_hugging_face(source.place, dtype)
    if source.kind == _SAVED_MODEL:
        model = restore_encoder(source.place, dtype)
        if isinstance(model, SpanBertPretrainer):
            return model.backbone, model.preprocessor.tokenizer
        return model, restore_tokenizer(source.place)
    options = {} if dtype is None else {"dtype": dtype}
    backbone = SpanBertBackbone.from_preset(source.place, **options)
    return backbone, SpanBertTokenizer.from_preset(source.place)


def _find(handle: str | os.PathLike[str]) -> _Source:
    """Says what a handle names; downloads it where it is on a hub."""
    handle = os.fspath(handle)
    if handle.startswith(hugging_face.HUB_PREFIX):
        folder = hugging_face.locate(handle)
        # A Keras preset on the Hub: KerasHub gets its files, which `locate` does not know.
        is_preset = hugging_face.is_preset(hugging_face.read_config(folder))
        return _Source(_PRESET, handle) if is_preset else _Source(_HUGGING_FACE, str(folder))
    if handle.startswith(("https://", "http://")):
        return _Source(_SAVED_MODEL, _download_from_tf_hub(handle))
    if "://" in handle or handle in SpanBertBackbone.presets:
        return _Source(_PRESET, handle)
    return _Source(_kind_of_folder(Path(handle)), handle)


def _kind_of_folder(folder: Path) -> str:
    if not folder.is_dir():
        names = sorted(SpanBertBackbone.presets) or "none is published yet"
        raise FileNotFoundError(
            f"found nothing under the handle {str(folder)!r}; tried a folder ({folder.absolute()}) "
            f"and the names of presets ({names}).  A handle may also be hf://user/repo or the URL "
            f"of a TF Hub model"
        )
    if is_saved_model(folder):
        return _SAVED_MODEL
    if (folder / hugging_face.CONFIG_FILE).is_file():
        is_preset = hugging_face.is_preset(hugging_face.read_config(folder))
        return _PRESET if is_preset else _HUGGING_FACE
    raise FileNotFoundError(
        f"{folder} holds neither a SavedModel (saved_model.pb) nor a Keras preset or a Hugging "
        f"Face checkpoint (config.json){models_within(folder)}"
    )


def _download_from_tf_hub(url: str) -> str:
    try:
        import tensorflow_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{url} needs tensorflow-hub, and the module {error.name!r} is missing: "
            f"pip install 'spanbert-tf[hub]'",
            name=error.name,
        ) from error
    try:
        return tensorflow_hub.resolve(url)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConnectionError(
            f"could not get {url} from TF Hub: {error}.  Without a network, download and unpack "
            f"the model where there is one, and pass the folder's path"
        ) from error


def _register_text_operations() -> None:
    # The SavedModel's text functions are made of them; without them it does not even load.
    import tensorflow_text  # noqa: F401
