"""Which encoder an adapter belongs to: what it was called, and a fingerprint of its weights."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import keras

from spanbert_tf.atomic_files import user_path
from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.handles import AnyHandle, Handle, default_encoder, find
from spanbert_tf.models.lora import lora_layers
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer


@dataclass(frozen=True)
class EncoderIdentity:
    """What an encoder is known by.

    Attributes:
        handle: Its handle as it was given.
        name: Of a folder its name, with its parent's where it is but a version, such as
            `spanbert_mini_en_uncased/1`.  `None`: it is no folder.
        dtype: Of its weights: they were rounded to it.
        sha256: Of the names, shapes and float32 values of its weights.
        vocabulary: SHA-256 of its word pieces and their case.
    """

    handle: str
    name: str | None
    dtype: str
    sha256: str
    vocabulary: str

    def __str__(self) -> str:
        return (
            f"{self.handle} (weights {self.sha256[:12]}, word pieces {self.vocabulary[:12]}, "
            f"{self.dtype})"
        )

    def fits(self, other: "EncoderIdentity") -> bool:
        """Whether both are one encoder, wherever they lie."""
        return (self.dtype, self.sha256, self.vocabulary) == (
            other.dtype,
            other.sha256,
            other.vocabulary,
        )


def identify(
    handle: AnyHandle | None,
    backbone: SpanBertBackbone,
    tokenizer: SpanBertTokenizer,
    dtype: str | None = None,
) -> EncoderIdentity:
    """Says what an encoder is known by.

    Args:
        handle: What it was loaded from.  `None`: it is in memory, wherever it came from.
        backbone: The encoder, not adapted.
        tokenizer: Its tokenizer.
        dtype: Takes its weights as if they were rounded to it; by default their own.

    Raises:
        ValueError: The encoder is adapted or quantized, so that its weights are others.
    """
    if lora_layers(backbone) or any(layer.quantization_mode for layer in backbone.layers):
        raise ValueError(
            "expected an encoder as it is loaded; this one has an adapter or is quantized"
        )
    source = handle.source if isinstance(handle, Handle) else handle and os.fspath(handle)
    folder = user_path(source) if source else None
    dtype = dtype or backbone.variable_dtype
    return EncoderIdentity(
        handle=source or "the encoder in memory",
        name=name_of_folder(folder) if folder and folder.is_dir() else None,
        dtype=dtype,
        sha256=_sha256_of_weights(backbone, dtype),
        vocabulary=sha256_of_pieces(tokenizer),
    )


def locate(identity: EncoderIdentity, adapter: Path) -> Handle:
    """Finds an adapter's encoder.

    Tried are its handle, which if relative may also be seen from the adapter's folder, and the
    default encoder, if that has the name.

    Args:
        identity: What the adapter says of its encoder.
        adapter: The adapter's folder.

    Raises:
        FileNotFoundError: It is in none of these places.
        ConnectionError, ImportError, ValueError, OSError: See `spanbert_tf.handles.find`.
    """
    candidates = [identity.handle]
    if "://" not in identity.handle:
        candidates.append(os.fspath(adapter / identity.handle))
    default = _default_of_name({identity.handle, identity.name})
    candidates += [default] if default else []
    for candidate in candidates:
        try:
            return find(candidate)
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError(
        f"{adapter} is an adapter of the encoder {identity}, which is not there; tried "
        f"{', '.join(candidates)}.  Name its place by `encoder`"
    )


def name_of_folder(folder: Path) -> str:
    """A folder's name, with its parent's where it is but the number of a version."""
    folder = folder.resolve()
    return "/".join(folder.parts[-2:]) if folder.name.isdigit() else folder.name


def _default_of_name(names: set[str | None]) -> str | None:
    try:
        default = default_encoder()
    except ModuleNotFoundError:
        return None
    return os.fspath(default) if name_of_folder(default) in names else None


def _sha256_of_weights(backbone: SpanBertBackbone, dtype: str) -> str:
    digest = hashlib.sha256()
    for weight in sorted(backbone.weights, key=lambda weight: weight.path):
        rounded = keras.ops.convert_to_numpy(keras.ops.cast(weight, dtype))
        digest.update(f"{weight.path} {tuple(weight.shape)}\n".encode())
        digest.update(rounded.astype("<f4").tobytes())
    return digest.hexdigest()


def sha256_of_pieces(tokenizer: SpanBertTokenizer) -> str:
    """A fingerprint of a tokenizer's word pieces, their case, and which of them are kept whole."""
    lines = [f"lowercase {bool(tokenizer.lowercase)}", *tokenizer.get_vocabulary()]
    lines += [str([*vars(token).values()]) for token in tokenizer.added_tokens]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
