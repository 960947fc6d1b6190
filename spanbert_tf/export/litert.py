"""Classifiers and encoders for LiteRT: text in, answers out, with the least latency on a CPU.

LiteRT (https://ai.google.dev/edge/litert, once TensorFlow Lite) packs weights for its XNNPACK
kernels when it loads a network, where TensorFlow packs them in each call: of a short sentence that
is most of the time.  It takes any shape without compiling, so rows are padded to the longest of
their batch and no further.

Letters: b batch, s sequence, c classes, H hidden.
"""

import json
import os
import tempfile
from typing import Any

import keras
import tensorflow as tf

from spanbert_tf.atomic import atomic_folder
from spanbert_tf.export.saved_model import write_vocabulary
from spanbert_tf.export.serving import check_classifier
from spanbert_tf.features import ENCODER_FEATURES
from spanbert_tf.layers.onednn import graphs_for_elsewhere
from spanbert_tf.models.backbone import SpanBertBackbone
from spanbert_tf.models.text_classifier import SpanBertTextClassifier
from spanbert_tf.settings import LITERT_WEIGHTS
from spanbert_tf.tokenizer import SpanBertTokenizer

NETWORK_FILE = "network.tflite"
DESCRIPTION_FILE = "litert.json"
SIGNATURE = "serving_default"


def export_litert_classifier(
    classifier: SpanBertTextClassifier,
    path: str | os.PathLike[str],
    weights: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes a classifier for LiteRT, to be asked by `load_litert(path).classify(texts)`.

    The folder holds `network.tflite`, from `token_ids`, `segment_ids` and `padding_mask` (int32
    `[b, s]`) to `probabilities` (float32 `[b, c]`) by its signature `serving_default`; the
    vocabulary, `vocab.txt`; and `litert.json`: the case, the longest text and the classes.

    Args:
        classifier: A classifier with a preprocessor and dense attention.
        path: The folder to make.
        weights: `"float32"`, or `"int8"`: a quarter of the size and several times as fast, at a
            loss of accuracy to be measured with your own texts.  Products then round their inputs
            to int8 too, with a scale for each row.
        overwrite: Whether a folder that exists is replaced.  Until the new one is complete, the
            old one stays.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
        ValueError: The classifier has no preprocessor, bucketed attention, or an activation that
            gives neither logits nor probabilities; or `weights` is unknown.
    """
    check_classifier(classifier)
    preprocessor = classifier.preprocessor
    backbone = _in_float32(classifier.backbone)
    if backbone is not classifier.backbone:
        config = {**classifier.get_config(), "backbone": backbone, "preprocessor": None}
        in_float32 = SpanBertTextClassifier(**config)
        in_float32.set_weights(classifier.get_weights())
        classifier = in_float32
    probabilities = classifier.output
    if classifier.activation is keras.activations.linear:
        probabilities = keras.ops.softmax(probabilities)
    network = keras.Model(classifier.input, {"probabilities": probabilities})
    description = {
        "classes": classifier.names_of_classes,
        "sequence_length": preprocessor.sequence_length,
    }
    _write(network, preprocessor.tokenizer, description, path, weights, overwrite)


def export_litert_encoder(
    backbone: SpanBertBackbone,
    tokenizer: SpanBertTokenizer,
    path: str | os.PathLike[str],
    pooling: str = "mean",
    weights: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes an encoder for LiteRT, to be asked by `load_litert(path).encode(texts)`.

    The folder is that of `export_litert_classifier`, with `vectors` (float32 `[b, H]`) in the
    place of `probabilities`.

    Args:
        backbone: An encoder with dense attention.
        tokenizer: The tokenizer that belongs to it.
        path: The folder to make.
        pooling: What a text's vector is: see `SpanBertBackbone.pooled_states`.
        weights: See `export_litert_classifier`.
        overwrite: See `export_litert_classifier`.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
        ValueError: Bucketed attention; or `pooling` or `weights` is unknown.
    """
    backbone = _in_float32(backbone)
    vectors = backbone.pooled_states(backbone.input, pooling)
    network = keras.Model(backbone.input, {"vectors": vectors})
    description = {"pooling": pooling, "sequence_length": backbone.max_sequence_length}
    _write(network, tokenizer, description, path, weights, overwrite)


def _in_float32(backbone: SpanBertBackbone) -> SpanBertBackbone:
    """The backbone itself, or a copy, as LiteRT computes in float32."""
    if backbone.attention != "dense":
        raise ValueError(
            f"LiteRT needs an encoder of attention='dense', but this one's is "
            f"{backbone.attention!r}"
        )
    if backbone.compute_dtype == "float32":
        return backbone
    in_float32 = SpanBertBackbone.from_config({**backbone.get_config(), "dtype": "float32"})
    in_float32.set_weights(backbone.get_weights())
    return in_float32


def _write(
    network: keras.Model,
    tokenizer: SpanBertTokenizer,
    description: dict[str, Any],
    path: str | os.PathLike[str],
    weights: str,
    overwrite: bool,
) -> None:
    """Writes a network from features to one output of rank 2, and how to ask it."""
    if weights not in LITERT_WEIGHTS:
        raise ValueError(f"`weights` must be one of {LITERT_WEIGHTS}, but is {weights!r}.")
    ((_, output),) = network.output.items()
    description = {
        **description,
        "lowercase": tokenizer.lowercase,
        "weights": weights,
        "width": output.shape[-1],
    }

    def run(*features: tf.Tensor) -> Any:
        names = (feature.name for feature in ENCODER_FEATURES)
        return network(dict(zip(names, features, strict=True)), training=False)

    # Their names become those of the signature's inputs.
    specs = [tf.TensorSpec([None, None], of.dtype, of.name) for of in ENCODER_FEATURES]
    root = tf.train.Checkpoint()
    root.variables = [variable.value for variable in network.variables]
    with graphs_for_elsewhere():
        signature = tf.function(run, autograph=False).get_concrete_function(*specs)
    with atomic_folder(path, overwrite) as folder, tempfile.TemporaryDirectory() as saved:
        tf.saved_model.save(root, saved, signatures={SIGNATURE: signature})
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if weights == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        (folder / NETWORK_FILE).write_bytes(converter.convert())
        write_vocabulary(tokenizer, folder)
        text = json.dumps(description, indent=2, ensure_ascii=False)
        (folder / DESCRIPTION_FILE).write_text(f"{text}\n", "utf-8")
