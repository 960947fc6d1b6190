"""Folders of the library sentence-transformers to text embedders and back.

Such a folder is a Hugging Face checkpoint with `modules.json`, which lists what follows the
encoder, each with a folder for its settings: the pooling, a linear layer or none, and the scaling
to length 1.
"""

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors.numpy import load_file

from spanbert_tf.checkpoints.convert import load_hugging_face, write_hugging_face
from spanbert_tf.checkpoints.hugging_face import (
    CONFIG_FILE,
    MODULES_FILE,
    PROMPTS_FILE,
    SAFETENSORS_FILE,
    SENTENCES_FILE,
)
from spanbert_tf.checkpoints.tensors import write_tensors
from spanbert_tf.foreign_files import (
    CheckpointError,
    Schema,
    check,
    check_finite,
    flag,
    integer,
    or_null,
    read_json,
    reading,
    text,
)
from spanbert_tf.output_folders import output_folder, size_of_weights
from spanbert_tf.tasks.text_embedder import (
    SpanBertTextEmbedder,
    SpanBertTextEmbedderPreprocessor,
)

_MODULE: Schema = {"path": text(required=True), "type": text(required=True)}
_SENTENCES: Schema = {"max_seq_length": or_null(integer(3)), "do_lower_case": or_null(flag())}
_PROMPTS: Schema = {"default_prompt_name": or_null(text())}
_PREFIX = "sentence_transformers.models."
# Modes of pooling: their names in new versions and in old ones, and ours.
_POOLINGS = {
    "mean": ("pooling_mode_mean_tokens", "mean"),
    "cls": ("pooling_mode_cls_token", "cls"),
}
_IDENTITY = "torch.nn.modules.linear.Identity"


def load_sentence_transformers(
    folder: str | os.PathLike[str], dtype: Any = None
) -> SpanBertTextEmbedder:
    """Loads a text embedder from a folder of sentence-transformers.

    Vectors are of length 1 whether the folder says so or not; cosines are the same.

    Args:
        folder: The folder.
        dtype: dtype or dtype policy of the backbone; by default Keras's.

    Returns:
        The embedder, with a preprocessor around the checkpoint's tokenizer.

    Raises:
        CheckpointError: It is damaged, or has other modules than an encoder like BERT, mean or
            [CLS] pooling, a linear layer without activation, and the scaling to length 1.
        FileNotFoundError: A file is missing.
    """
    folder = Path(folder)
    kinds = _modules(folder)
    pooling = _pooling(kinds["Pooling"] / CONFIG_FILE)
    dense = _dense(kinds["Dense"]) if "Dense" in kinds else None
    backbone, tokenizer = load_hugging_face(folder, dtype)
    length = backbone.max_sequence_length
    if (folder / SENTENCES_FILE).is_file():
        settings = read_json(folder / SENTENCES_FILE, _SENTENCES)
        length = min(settings.get("max_seq_length") or length, length)
        if settings.get("do_lower_case") and not tokenizer.lowercase:
            raise CheckpointError(
                f"{folder / SENTENCES_FILE}: expected no do_lower_case over a cased tokenizer"
            )
    if (folder / PROMPTS_FILE).is_file():
        prompt = read_json(folder / PROMPTS_FILE, _PROMPTS).get("default_prompt_name")
        if prompt is not None:
            raise CheckpointError(
                f"{folder / PROMPTS_FILE}: expected no default_prompt_name, got {prompt!r}, which "
                "is not put before texts here"
            )
    if dense is not None and dense[0].shape[0] != backbone.hidden_dim:
        raise CheckpointError(
            f"{kinds['Dense']}: expected {backbone.hidden_dim} numbers in, the encoder's width, "
            f"got {dense[0].shape[0]}"
        )
    embedder = SpanBertTextEmbedder(
        backbone,
        SpanBertTextEmbedderPreprocessor(tokenizer, sequence_length=length),
        projection_dim=None if dense is None else dense[0].shape[1],
        pooling=pooling,
    )
    if dense is not None:
        embedder.projection.set_weights(dense)
    return embedder


def _modules(folder: Path) -> dict[str, Path]:
    """The folders of what a model is made of, by the last part of their types."""
    path = folder / MODULES_FILE
    with reading(path, "JSON"):
        listed = json.loads(path.read_text("utf-8"))
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise CheckpointError(f"{path}: expected a list of objects, got {listed!r:.80}")
    for each in listed:
        check(each, _MODULE, path)
        if Path(each["path"]).is_absolute() or ".." in Path(each["path"]).parts:
            raise CheckpointError(f"{path}: {each['path']!r} lies outside of its folder")
    kinds = [each["type"].rpartition(".")[2] for each in listed]
    rest = [kind for kind in kinds if kind not in ("Dense", "Normalize")]
    if rest != ["Transformer", "Pooling"] or kinds[2:] not in (
        [],
        ["Normalize"],
        ["Dense"],
        ["Dense", "Normalize"],
    ):
        raise CheckpointError(
            f"{path}: expected Transformer and Pooling, then Dense or none, then Normalize or "
            f"none; got {', '.join(kinds)}"
        )
    if listed[0]["path"]:
        raise CheckpointError(f"{path}: expected the encoder in the folder itself")
    return {kind: folder / each["path"] for kind, each in zip(kinds, listed, strict=True)}


def _pooling(path: Path) -> str:
    config = read_json(path)
    named = config.get("pooling_mode")
    modes = [named] if named is not None else []
    modes += [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    for ours, names in _POOLINGS.items():
        if len(modes) == 1 and modes[0] in names:
            return ours
    raise CheckpointError(f"{path}: expected the mean or [CLS] for pooling, got {modes}")


def _dense(folder: Path) -> list[np.ndarray]:
    """Kernel `[H, d]` and bias `[d]` of a linear layer."""
    config = read_json(folder / CONFIG_FILE)
    activation = config.get("activation_function")
    if activation != _IDENTITY:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: expected no activation ({_IDENTITY}), got {activation!r}"
        )
    path = folder / SAFETENSORS_FILE
    with reading(path, "a safetensors file of floats"):
        tensors = load_file(path)
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if weight is None or weight.ndim != 2:
        raise CheckpointError(f"{path}: expected a matrix linear.weight, got {sorted(tensors)}")
    if bias is None:
        bias = np.zeros(weight.shape[0], "float32")
    check_finite(tensors.items(), path)
    return [weight.T, bias]


def save_sentence_transformers(
    embedder: SpanBertTextEmbedder, path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Writes a folder that `sentence_transformers.SentenceTransformer(path)` loads.

    Its encoder, in the same folder, is what `save_hugging_face` writes, and loads as such too.

    Args:
        embedder: An embedder with a preprocessor; adapters of LoRA are merged.
        path: The folder to make; it appears whole or not at all.
        overwrite: Whether a folder that exists is replaced.

    Raises:
        FileExistsError, OSError: See `output_folder`.
        ValueError: The embedder has no preprocessor, or is quantized.
    """
    if embedder.preprocessor is None:
        raise ValueError("the embedder has no preprocessor, whose vocabulary is to be written")
    modules = ["Transformer", "Pooling", "Normalize"]
    if embedder.projection is not None:
        modules.insert(2, "Dense")
    places = ["", *(f"{place}_{name}" for place, name in enumerate(modules) if place)]
    with output_folder(path, overwrite, size_of_weights(embedder.weights)) as folder:
        write_hugging_face(embedder.backbone, embedder.preprocessor.tokenizer, folder)
        for place in places:
            (folder / place).mkdir(exist_ok=True)
        listed = [
            {"idx": number, "name": str(number), "path": place, "type": _PREFIX + name}
            for number, (place, name) in enumerate(zip(places, modules, strict=True))
        ]
        _write_json(folder / MODULES_FILE, listed)
        length = embedder.preprocessor.sequence_length
        _write_json(folder / SENTENCES_FILE, {"max_seq_length": length, "do_lower_case": False})
        pooling = {names[0]: ours == embedder.pooling for ours, names in _POOLINGS.items()}
        width = embedder.backbone.hidden_dim
        _write_json(
            folder / places[1] / CONFIG_FILE, {"word_embedding_dimension": width, **pooling}
        )
        if embedder.projection is not None:
            kernel, bias = map(keras.ops.convert_to_numpy, embedder.projection.weights)
            config = {"in_features": width, "out_features": embedder.width, "bias": True}
            _write_json(
                folder / places[2] / CONFIG_FILE, {**config, "activation_function": _IDENTITY}
            )
            tensors = {"linear.weight": np.ascontiguousarray(kernel.T), "linear.bias": bias}
            write_tensors(tensors, folder / places[2] / SAFETENSORS_FILE, {"format": "pt"})


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
