"""Encoders and tokenizers behind handles: `spanbert_tf.load` and its kin."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import keras

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints.convert import load_hugging_face
from spanbert_tf.checkpoints.saved_models import (
    restore_backbone,
    restore_encoder,
    restore_tokenizer,
)
from spanbert_tf.checkpoints.vocabularies import read_vocabulary
from spanbert_tf.export.encoder_layers import BackboneEncoder, SavedModelEncoder
from spanbert_tf.export.operations import check_operations
from spanbert_tf.foreign_files import check_finite, reading
from spanbert_tf.handles import CHECKPOINTS, PRETRAINING_TASK, AnyHandle, Handle, Kind, find
from spanbert_tf.models.encoder_task import check_vocabulary
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer


def load(handle: AnyHandle, trainable: bool = True, trust: bool = False) -> keras.layers.Layer:
    """Loads an encoder as a Keras layer of two call forms.

        encoder = spanbert_tf.load("saved_models/spanbert_base/1")
        embeddings = encoder(input_ids, input_mask, segment_ids)
        outputs = encoder({"input_word_ids": ..., "input_mask": ..., "input_type_ids": ...})

    Both forms take tensors, arrays and `keras.Input`s; see `SavedModelEncoder` for their shapes and
    for how a model with the layer inside is saved.  Training changes the encoder's own variables.

    A SavedModel is a program.  One whose operations are not those of this package's exports, which
    only compute, is refused unless you trust it.

    Args:
        handle: One of
            - the folder of a SavedModel with TF Hub's encoder interface, as `export_encoder` makes,
            - the folder of a Keras preset, or its handle, such as `kaggle://user/model/keras/name`
              or `hf://user/repo`,
            - the folder of a Hugging Face checkpoint, or `hf://user/repo`,
            - the folder of a TensorFlow 1 checkpoint, as Google published BERT,
            - the URL of a TF Hub model, `https://tfhub.dev/...`; needs tensorflow-hub.
        trainable: Whether training changes the weights.
        trust: Whether a SavedModel may have any operations, such as those that write files.

    Returns:
        A `SavedModelEncoder` or a `BackboneEncoder`.

    Raises:
        FileNotFoundError: There is nothing of that name, or the folder holds none of the above.
        ConnectionError: The handle is on a hub that cannot be reached.
        ModuleNotFoundError: A TF Hub URL without tensorflow-hub.
        ValueError: What is there is damaged, has weights that are NaN or infinite, or is no
            encoder; or a SavedModel has other operations, and `trust` is false.
        OSError: See `spanbert_tf.handles.find` for others.
    """
    return _open(handle).layer(trainable, trust)


def load_tokenizer(handle: AnyHandle) -> SpanBertTokenizer:
    """Loads the tokenizer that belongs to an encoder.

    Args:
        handle: As for `load`; the folder of an exported preprocessor too.

    Returns:
        The tokenizer, with the case that the encoder was trained with.

    Raises:
        FileNotFoundError: There is nothing of that name, or no vocabulary there.
        ConnectionError, ModuleNotFoundError, OSError: As `load`.
        ValueError: The vocabulary is damaged, or the handle is one that `load` does not take.
    """
    return _open(handle).tokenizer()


def load_backbone(
    handle: AnyHandle, dtype: Any = None
) -> tuple[SpanBertBackbone, SpanBertTokenizer]:
    """Loads an encoder as a KerasHub backbone, with its tokenizer, to build tasks on.

        backbone, tokenizer = spanbert_tf.load_backbone("saved_models/spanbert_base/1")

    Args:
        handle: As for `load`; of SavedModels only those that `export_encoder` made.
        dtype: dtype or dtype policy of the backbone; by default Keras's, or the preset's.

    Returns:
        The backbone and its tokenizer.

    Raises:
        FileNotFoundError, ConnectionError, ModuleNotFoundError, OSError: As `load`.
        ValueError: What is there is damaged, or a SavedModel that `export_encoder` did not make.
    """
    return _open(handle).backbone(dtype)


def load_with_heads(
    handle: AnyHandle, dtype: Any = None
) -> tuple[SpanBertBackbone | SpanBertPretrainer, SpanBertTokenizer]:
    """Loads an encoder as `load_backbone` does, within its pretrainer if the handle holds one.

    Args:
        handle: As for `load_backbone`.  Of a Hugging Face checkpoint the head is not loaded, as
            that of the span boundary objective is missing: see `load_hugging_face_pretrainer`.
        dtype: As for `load_backbone`.

    Returns:
        A `SpanBertPretrainer` if `find(handle).task` is "fill-mask", else a `SpanBertBackbone`; and
        the tokenizer.

    Raises:
        FileNotFoundError, ConnectionError, ModuleNotFoundError, ValueError, OSError: As
            `load_backbone`.
    """
    return _open(handle).with_heads(dtype)


class _Encoder(ABC):
    """What an encoder of a kind can be loaded as."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.path = handle.path

    @abstractmethod
    def layer(self, trainable: bool, trust: bool) -> keras.layers.Layer: ...

    @abstractmethod
    def tokenizer(self) -> SpanBertTokenizer: ...

    @abstractmethod
    def backbone(self, dtype: Any) -> tuple[SpanBertBackbone, SpanBertTokenizer]: ...

    def with_heads(
        self, dtype: Any
    ) -> tuple[SpanBertBackbone | SpanBertPretrainer, SpanBertTokenizer]:
        return self.backbone(dtype)


class _Preset(_Encoder):
    def layer(self, trainable: bool, trust: bool) -> keras.layers.Layer:
        return BackboneEncoder(SpanBertBackbone.from_preset(self.path), trainable=trainable)

    def tokenizer(self) -> SpanBertTokenizer:
        return SpanBertTokenizer.from_preset(self.path)

    def backbone(self, dtype: Any) -> tuple[SpanBertBackbone, SpanBertTokenizer]:
        backbone, tokenizer = SpanBertBackbone.from_preset(self.path, dtype=dtype), self.tokenizer()
        check_vocabulary(backbone, tokenizer)
        return backbone, tokenizer

    def with_heads(
        self, dtype: Any
    ) -> tuple[SpanBertBackbone | SpanBertPretrainer, SpanBertTokenizer]:
        if self.handle.task != PRETRAINING_TASK:
            return self.backbone(dtype)
        return SpanBertPretrainer.from_preset(self.path, dtype=dtype), self.tokenizer()


class _Checkpoint(_Encoder):
    def layer(self, trainable: bool, trust: bool) -> keras.layers.Layer:
        backbone, _ = self.backbone(None)
        return BackboneEncoder(backbone, trainable=trainable)

    def tokenizer(self) -> SpanBertTokenizer:
        pieces, lowercase, added = read_vocabulary(Path(self.path))
        return SpanBertTokenizer(pieces, lowercase, added_tokens=added)

    def backbone(self, dtype: Any) -> tuple[SpanBertBackbone, SpanBertTokenizer]:
        return load_hugging_face(self.path, dtype)


class _SavedModel(_Encoder):
    def layer(self, trainable: bool, trust: bool) -> keras.layers.Layer:
        check_operations(self.path, trust)
        with reading(self.path, "the SavedModel of an encoder", passing=(ValueError,)):
            layer = SavedModelEncoder(self.path, trainable=trainable)
        check_finite(((variable.path, variable) for variable in layer.variables), self.path)
        return layer

    def tokenizer(self) -> SpanBertTokenizer:
        return restore_tokenizer(self.path)

    # The tokenizer first: a vocabulary that does not fit is found before the weights are read.

    def backbone(self, dtype: Any) -> tuple[SpanBertBackbone, SpanBertTokenizer]:
        tokenizer = self.tokenizer()
        return restore_backbone(self.path, dtype), tokenizer

    def with_heads(
        self, dtype: Any
    ) -> tuple[SpanBertBackbone | SpanBertPretrainer, SpanBertTokenizer]:
        tokenizer = self.tokenizer()
        return restore_encoder(self.path, dtype, tokenizer), tokenizer


_ENCODERS: dict[Kind, type[_Encoder]] = {
    Kind.PRESET: _Preset,
    **dict.fromkeys(CHECKPOINTS, _Checkpoint),
    Kind.SAVED_MODEL: _SavedModel,
}


def _open(handle: AnyHandle) -> _Encoder:
    found = find(handle)
    if found.kind is Kind.SIZE:
        raise ValueError(
            f"{found.source!r} names a size, which has no weights and no vocabulary: expected the "
            f"handle of a trained encoder, such as hf://SpanBERT/spanbert-base-cased"
        )
    if found.kind not in _ENCODERS:
        raise ValueError(
            f"{found.source} is a model of the kind {found.kind}; expected an encoder that is a "
            f"{', a '.join(_ENCODERS)}"
        )
    return _ENCODERS[found.kind](found)
