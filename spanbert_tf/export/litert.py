"""Tasks and encoders for LiteRT: text in, answers out, with the least latency on a CPU.

LiteRT (https://ai.google.dev/edge/litert, once TensorFlow Lite) packs weights for its XNNPACK
kernels when it loads a network, where TensorFlow packs them in each call: of a short sentence that
is most of the time.  It takes any shape without compiling, so rows are padded to the longest of
their batch and no further.

Letters: b batch, s sequence, H hidden.
"""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export.encoder_identity import sha256_of_pieces
from spanbert_tf.export.saved_model import os_errors, require_tensorflow, write_vocabulary
from spanbert_tf.export.text_task import description_of
from spanbert_tf.features import ENCODER_FEATURES, VECTORS, Feature
from spanbert_tf.handles import LITERT_FILE
from spanbert_tf.keras_internals import all_layers
from spanbert_tf.layers.kernels.onednn import portable_graphs
from spanbert_tf.models.lora import merge_lora
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.output_folders import output_folder, size_of_weights
from spanbert_tf.settings import LITERT_WEIGHTS
from spanbert_tf.tasks.text_classifier import (
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
)
from spanbert_tf.tokenization.added_tokens import added_tokens_to_json
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

NETWORK_FILE = "network.tflite"
SIGNATURE = "serving_default"


def export_litert(
    task: SpanBertTask,
    path: str | os.PathLike[str],
    weights: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes a task for LiteRT, to be asked by `load_litert(path)(texts)`.

    The folder holds `network.tflite`, from the task's features (int32 `[b, s]`) to what its
    `decode` gives, by its signature `serving_default`; the vocabulary, `vocab.txt`; and
    `litert.json`: the task, how rows are made of texts and answers of numbers.

    Args:
        task: A task with a preprocessor.
        path: The folder to make.
        weights: `"float32"`; `"float16"`: half of the size, as fast, as good but for the last
            digits; or `"int8"`: a quarter of the size and several times as fast, at a loss of
            accuracy to be measured with your own texts.  Products then round their inputs to int8
            too, with a scale for each row.
        overwrite: Whether a folder that exists is replaced.  Until the new one is complete, the
            old one stays.

    Raises:
        FileExistsError, OSError: See `output_folder`.
        ValueError: The task has no preprocessor, or an activation that gives no probabilities; it
            is quantized and computes in another dtype than float32; it writes texts piece by piece;
            `weights` is unknown, or float16 has no room for one.
    """
    if task.has_loop:
        raise ValueError(
            f"the {task.task} task goes on until all rows are done, which exports for LiteRT "
            "cannot; export it as a SavedModel"
        )
    description = description_of(task)
    task = merge_lora(task)
    preprocessor = task.preprocessor
    backbone = _in_float32(task.backbone, task)
    if backbone is not task.backbone:
        config = {**task.get_config(), "backbone": backbone, "preprocessor": None}
        in_float32 = type(task)(**config)
        in_float32.set_weights(task.get_weights())
        task = in_float32

    def run(features: dict[str, tf.Tensor]) -> Any:
        return task.decode(task(features, training=False), features)

    inputs = [*ENCODER_FEATURES, *task.extra_inputs]
    _write(run, inputs, task.variables, preprocessor, description, path, weights, overwrite)


def export_litert_classifier(
    classifier: SpanBertTextClassifier,
    path: str | os.PathLike[str],
    weights: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes a text classifier for LiteRT; see `export_litert`.

    The network gives `probabilities`, float32 `[b, c]`.
    """
    export_litert(classifier, path, weights, overwrite)


def export_litert_encoder(
    backbone: SpanBertBackbone,
    tokenizer: SpanBertTokenizer,
    path: str | os.PathLike[str],
    pooling: str = "mean",
    weights: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes an encoder for LiteRT, to be asked by `load_litert(path).encode_text(texts)`.

    The folder is that of `export_litert`; the network gives `vectors`, float32 `[b, H]`.

    Args:
        backbone: An encoder.
        tokenizer: The tokenizer that belongs to it.
        path: The folder to make.
        pooling: What a text's vector is: see `SpanBertBackbone.pooled_states`.
        weights: See `export_litert`.
        overwrite: See `export_litert`.

    Raises:
        FileExistsError, OSError: See `output_folder`.
        ValueError: `pooling` or `weights` is unknown; or the encoder is quantized and computes in
            another dtype than float32.
    """
    backbone = merge_lora(backbone)
    backbone = _in_float32(backbone, backbone)
    network = keras.Model(backbone.input, backbone.pooled_states(backbone.input, pooling))

    def run(features: dict[str, tf.Tensor]) -> Any:
        return {VECTORS.name: network(features, training=False)}

    preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, backbone.max_sequence_length)
    description = {"task": None, "pooling": pooling, "width": backbone.hidden_dim}
    inputs = ENCODER_FEATURES
    _write(run, inputs, network.variables, preprocessor, description, path, weights, overwrite)


def _in_float32(backbone: SpanBertBackbone, model: keras.Model) -> SpanBertBackbone:
    """The backbone of a model, or a copy, as LiteRT computes in float32."""
    if backbone.compute_dtype == "float32":
        return backbone
    modes = {layer.quantization_mode for layer in all_layers(model)} - {None}
    if modes:
        raise ValueError(
            f"the model is quantized to {', '.join(sorted(modes))} and computes in "
            f"{backbone.compute_dtype}, but LiteRT in float32: quantize a model of dtype float32, "
            'or export this one as it was before `quantize`, with weights="int8"'
        )
    in_float32 = SpanBertBackbone.from_config({**backbone.get_config(), "dtype": "float32"})
    in_float32.set_weights(backbone.get_weights())
    return in_float32


def _write(
    run: Callable[[dict[str, tf.Tensor]], dict[str, Any]],
    inputs: Sequence[Feature],
    variables: Sequence[Any],
    preprocessor: Any,
    description: dict[str, Any],
    path: str | os.PathLike[str],
    weights: str,
    overwrite: bool,
) -> None:
    """Writes a network from features to numbers, and how to ask it."""
    if weights not in LITERT_WEIGHTS:
        raise ValueError(f"`weights` must be one of {LITERT_WEIGHTS}, but is {weights!r}.")
    require_tensorflow()
    if weights == "float16":
        most = np.finfo(np.float16).max
        for of in variables:
            values = keras.ops.convert_to_numpy(of)
            if "float" in of.dtype and np.abs(values).max(initial=0) > most:
                raise ValueError(f"{of.path} has a value beyond {most:g}, the most in float16.")
    config = preprocessor.get_config()
    # Its name, dtype and tokenizer are made anew; rows are padded to the longest of their batch.
    rows = {name: config[name] for name in preprocessor.row_settings}
    tokenizer = preprocessor.tokenizer
    description = {
        **description,
        "preprocessor": rows,
        "lowercase": tokenizer.lowercase,
        "added_tokens": added_tokens_to_json(tokenizer.added_tokens),
        "vocabulary": sha256_of_pieces(tokenizer),
        "weights": weights,
    }

    # The specs' names become those of the signature's inputs.
    specs = [tf.TensorSpec([None, None], of.dtype, of.name) for of in inputs]

    def run_in_order(*tensors: tf.Tensor) -> Any:
        return run(dict(zip((of.name for of in inputs), tensors, strict=True)))

    root = tf.train.Checkpoint()
    root.variables = [variable.value for variable in variables]
    with portable_graphs():
        signature = tf.function(run_in_order, autograph=False).get_concrete_function(*specs)
    writing = output_folder(path, overwrite, size_of_weights(variables))
    with tempfile.TemporaryDirectory() as saved, writing as folder, os_errors():
        tf.saved_model.save(root, saved, signatures={SIGNATURE: signature})
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        (folder / NETWORK_FILE).write_bytes(converter.convert())
        write_vocabulary(tokenizer, folder)
        text = json.dumps(description, indent=2, ensure_ascii=False)
        (folder / LITERT_FILE).write_text(f"{text}\n", "utf-8")
