"""Encoders and preprocessors as TF Hub's reusable SavedModels.

What is written here is used without this package: `hub.load(path)` or
`tf.saved_model.load(path)`, in a process that has imported `tensorflow` and `tensorflow_text`
(the text functions inside are made of its operations; TF Serving brings them).
The interface is https://www.tensorflow.org/hub/common_saved_model_apis/text.

Letters: b batch, s sequence, H hidden.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.bucketing import default_buckets
from spanbert_tf.data.batching.packing import pack_segments
from spanbert_tf.export.pretraining_heads import head_objects
from spanbert_tf.export.saved_model import saved_model_folder, track_encoder, track_vocabulary
from spanbert_tf.features import TF_HUB_NAMES
from spanbert_tf.models.lora import merge_lora
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

_TEXT = tf.TensorSpec([None], tf.string, "text")
_SENTENCES = tf.TensorSpec([None], tf.string, "sentences")


def all_outputs(backbone: SpanBertBackbone) -> keras.Model:
    """Makes a model of a backbone's features with TF Hub's outputs.

    Args:
        backbone: The encoder; the model shares its layers.

    Returns:
        A model from `token_ids`, `segment_ids` and `padding_mask` (int32 `[b, s]`) to
        `sequence_output` `[b, s, H]`, `pooled_output` and its alias `default` `[b, H]`, and
        `encoder_outputs`, the list of all layers' outputs `[b, s, H]`.
    """
    outputs = backbone.output
    return keras.Model(
        backbone.input,
        {
            "sequence_output": outputs["sequence_output"],
            "pooled_output": outputs["pooled_output"],
            "default": outputs["pooled_output"],
            "encoder_outputs": [layer.output for layer in backbone.transformer_layers],
        },
    )


def export_encoder(
    model: SpanBertBackbone | SpanBertPretrainer,
    tokenizer: SpanBertTokenizer,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    sequence_length: int | None = None,
) -> None:
    """Writes an encoder as a reusable SavedModel.

    The loaded object has

    - `__call__(inputs, training=False)`: a dict of `input_word_ids`, `input_mask` and
      `input_type_ids` (int32 `[b, s]`) to a dict of `sequence_output` `[b, s, H]`,
      `pooled_output` and `default` `[b, H]`, and the list `encoder_outputs`, one `[b, s, H]` a
      layer.  All are float32, whatever the encoder computes in.
    - `__call__(input_ids, input_mask, segment_ids, training=False)`: three tensors to the pooled
      embedding `[b, H]`.  The rule: dict in, dict out; tensors in, embedding out.
    - `variables`, `trainable_variables`, `regularization_losses` (none), `vocab_file`,
      `do_lower_case`, and `encoder_file`, by which `load_backbone` makes a backbone again.  Every
      weight is exported as trainable, frozen here or not: what to train is for those to say who
      train.
    - `serve(inputs)` and `call_training(inputs)`, the dict form without and with dropout, for
      `keras.layers.TFSMLayer(path, "serve", "call_training")`.

    Its signatures are `serving_default`, from `text` (string `[b]`), and `tokens`, from the three
    int32 tensors; both give `default`, `pooled_output` and `sequence_output`.  A batch of texts is
    padded to the smallest of a few lengths that holds its longest one, and cut after
    `sequence_length` tokens.

    Args:
        model: The encoder, or a pretrainer, whose heads are exported with its encoder.
        tokenizer: The tokenizer that belongs to it.
        path: The folder to make.  TF Serving wants `<name>/<version>`, such as
            `saved_models/spanbert_base/1`.
        overwrite: Whether a folder that exists is replaced.  Until the new one is complete, the
            old one stays.
        sequence_length: Tokens that are read of a text, [CLS] and [SEP] counted.  `None`: the
            backbone's `max_sequence_length`, the most unless it has `long_positions`.

    Raises:
        FileExistsError, OSError: See `output_folder`.
        ValueError: Backbone and tokenizer have different vocabulary sizes, the encoder has no
            positions for `sequence_length`, or the graph has an operation that TF Serving lacks.
    """
    model = merge_lora(model)
    pretrainer = model if isinstance(model, SpanBertPretrainer) else None
    backbone = model.backbone if isinstance(model, SpanBertPretrainer) else model
    if backbone.vocabulary_size < tokenizer.vocabulary_size():
        raise ValueError(
            f"the tokenizer has {tokenizer.vocabulary_size()} pieces, more than the backbone's "
            f"vocabulary_size={backbone.vocabulary_size}: they do not belong together"
        )
    length = backbone.max_sequence_length if sequence_length is None else sequence_length
    if length > backbone.max_sequence_length and not backbone.long_positions:
        raise ValueError(
            f"sequence_length={length}, but the encoder has positions for "
            f"{backbone.max_sequence_length} tokens and no rule for more (long_positions)"
        )
    writing = saved_model_folder(path, overwrite, model.weights)
    with tempfile.TemporaryDirectory() as assets, writing as folder:
        root, signatures = _encoder_object(backbone, tokenizer, length)
        for name, head in head_objects(pretrainer).items() if pretrainer else ():
            setattr(root, name, head)
        track_vocabulary(root, tokenizer, Path(assets))
        track_encoder(root, model, tokenizer.vocabulary_size(), Path(assets))
        tf.saved_model.save(root, str(folder), signatures=signatures)


def export_preprocessor(
    tokenizer: SpanBertTokenizer,
    path: str | os.PathLike[str],
    sequence_length: int = 128,
    overwrite: bool = False,
) -> None:
    """Writes the preprocessor that belongs to an exported encoder, as a SavedModel.

    The loaded object has

    - `__call__(sentences)`: string `[b]` to the encoder's inputs, a dict of `input_word_ids`,
      `input_mask` and `input_type_ids`, int32 `[b, sequence_length]`.
    - `tokenize(sentences)`: string `[b]` to ids, ragged int32 `[b, (pieces)]`.
    - `tokenize_with_offsets(sentences)`: the ids, and where each piece starts and ends in its
      string, in bytes: ragged int32, int64 and int64.
    - `tokenize.get_special_tokens_dict()`: int32 scalars `vocab_size`, `padding_id`,
      `start_of_sequence_id`, `end_of_segment_id`, `mask_id` and `unknown_id`.
    - `bert_pack_inputs(segments, seq_length=sequence_length)`: a list of one or two segments,
      ragged int32 `[b, (pieces)]` or `[b, (words), (pieces)]`, to the encoder's inputs.  What is
      too long is cut at the end of the longer segment.
    - `vocab_file` and `do_lower_case`.

    Its signature `serving_default` is `__call__` with the input `text`.

    Args:
        tokenizer: The tokenizer.
        path: The folder to make.  TF Serving wants `<name>/<version>`, such as
            `saved_models/spanbert_base_preprocessor/1`.
        sequence_length: Length of the rows, [CLS] and [SEP] counted.
        overwrite: Whether a folder that exists is replaced.  Until the new one is complete, the
            old one stays.

    Raises:
        FileExistsError, OSError: See `output_folder`.
        ValueError: `sequence_length` has no room for [CLS] and [SEP].
    """
    with saved_model_folder(path, overwrite) as folder, tempfile.TemporaryDirectory() as assets:
        root, signatures = _preprocessor_object(tokenizer, sequence_length)
        track_vocabulary(root, tokenizer, Path(assets))
        tf.saved_model.save(root, str(folder), signatures=signatures)


def _encoder_object(
    backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer, length: int
) -> tuple[tf.train.Checkpoint, dict[str, Any]]:
    """Makes what `export_encoder` saves: the object and its signatures."""
    # All else calls these two, so that the graph of the layers is in the file only twice.
    serve = _encode_function(backbone, training=False)
    call_training = _encode_function(backbone, training=True)
    root = tf.train.Checkpoint()
    root.__call__ = _two_form_call(serve, call_training)
    root.serve = serve
    root.call_training = call_training
    root.variables = [variable.value for variable in backbone.variables]
    root.trainable_variables = [variable for variable in root.variables if variable.trainable]
    root.regularization_losses = []

    pack = _packer(tokenizer)

    def serve_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = pack([tokenizer(text)], length, default_buckets(length))
        return _without_lists(serve(inputs))

    def serve_tokens(
        input_word_ids: tf.Tensor, input_mask: tf.Tensor, input_type_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        tensors = (input_word_ids, input_mask, input_type_ids)
        return _without_lists(serve(dict(zip(_encoder_specs(), tensors, strict=True))))

    return root, {
        "serving_default": _function(serve_text, _TEXT),
        "tokens": _function(serve_tokens, *_encoder_specs().values()),
    }


def _preprocessor_object(
    tokenizer: SpanBertTokenizer, sequence_length: int
) -> tuple[tf.train.Checkpoint, dict[str, Any]]:
    """Makes what `export_preprocessor` saves: the object and its signatures."""
    pack = _packer(tokenizer)

    def preprocess(sentences: tf.Tensor) -> dict[str, tf.Tensor]:
        return pack([tokenizer(sentences)], sequence_length)

    root = tf.train.Checkpoint()
    root.__call__ = _function(preprocess, _SENTENCES)
    root.tokenize = tf.train.Checkpoint()
    root.tokenize.__call__ = _function(lambda sentences: tokenizer(sentences), _SENTENCES)
    root.tokenize.get_special_tokens_dict = _function(_special_tokens_function(tokenizer))
    root.tokenize_with_offsets = _function(
        # Three plain tensors, as tf-text's tokenizers give them.
        lambda sentences: tuple(tokenizer.tokenize_with_offsets(sentences)[:3]),
        _SENTENCES,
    )
    root.bert_pack_inputs = tf.train.Checkpoint()
    root.bert_pack_inputs.__call__ = _pack_function(pack, sequence_length)
    return root, {"serving_default": _function(preprocess, _TEXT)}


def _function(function: Callable[..., Any], *specs: Any) -> tf.types.experimental.GenericFunction:
    """Makes a graph function of one signature; nothing here needs rewritten Python control flow."""
    return tf.function(function, input_signature=specs, autograph=False)


def _encoder_specs() -> dict[str, tf.TensorSpec]:
    """The encoder's inputs by TF Hub's names, in the order of the three-tensor call."""
    names = [TF_HUB_NAMES[name] for name in ("token_ids", "padding_mask", "segment_ids")]
    return {name: tf.TensorSpec([None, None], tf.int32, name) for name in names}


def _encode_function(
    backbone: SpanBertBackbone, training: bool
) -> tf.types.experimental.GenericFunction:
    """Makes a graph function of a backbone, with TF Hub's names and dtypes."""
    model = all_outputs(backbone)

    def encode(inputs: dict[str, tf.Tensor]) -> dict[str, Any]:
        features = {ours: inputs[theirs] for ours, theirs in TF_HUB_NAMES.items()}
        outputs = model(features, training=training)
        return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), outputs)

    return _function(encode, _encoder_specs())


def _two_form_call(
    serve: Callable[..., Any], call_training: Callable[..., Any]
) -> tf.types.experimental.GenericFunction:
    """Makes one function of both call forms, traced for each of them and for both modes."""

    @tf.function(autograph=False)
    def call(
        input_ids: Any, input_mask: Any = None, segment_ids: Any = None, training: bool = False
    ) -> Any:
        encode = call_training if training else serve
        if isinstance(input_ids, dict):
            return encode(input_ids)
        tensors = (input_ids, input_mask, segment_ids)
        return encode(dict(zip(_encoder_specs(), tensors, strict=True)))["default"]

    specs = _encoder_specs()
    for training in (False, True):
        call.get_concrete_function(specs, training=training)
        # Unnamed: a name given here is the one that the loaded function would insist on.
        unnamed = [tf.TensorSpec(spec.shape, spec.dtype) for spec in specs.values()]
        call.get_concrete_function(*unnamed, training=training)
    return call


def _without_lists(outputs: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Leaves out what a signature cannot give."""
    return {name: output for name, output in outputs.items() if not isinstance(output, list)}


def _packer(tokenizer: SpanBertTokenizer) -> Callable[..., dict[str, tf.Tensor]]:
    """Binds `pack_segments` to a tokenizer's special tokens and to TF Hub's names."""

    def pack(
        segments: Sequence[tf.RaggedTensor],
        sequence_length: int | tf.Tensor,
        buckets: Sequence[int] | None = None,
    ) -> dict[str, tf.Tensor]:
        features = pack_segments(
            segments,
            sequence_length=sequence_length,
            start_token_id=tokenizer.cls_token_id,
            end_token_id=tokenizer.sep_token_id,
            pad_token_id=tokenizer.pad_token_id,
            buckets=buckets,
        )
        return {TF_HUB_NAMES[name]: tensor for name, tensor in features.items()}

    return pack


def _special_tokens_function(tokenizer: SpanBertTokenizer) -> Callable[[], dict[str, tf.Tensor]]:
    special_tokens = {
        "vocab_size": tokenizer.vocabulary_size(),
        "padding_id": tokenizer.pad_token_id,
        "start_of_sequence_id": tokenizer.cls_token_id,
        "end_of_segment_id": tokenizer.sep_token_id,
        "mask_id": tokenizer.mask_token_id,
        "unknown_id": tokenizer.unk_token_id,
    }
    return lambda: {name: tf.constant(value, tf.int32) for name, value in special_tokens.items()}


def _pack_function(
    pack: Callable[..., dict[str, tf.Tensor]], sequence_length: int
) -> tf.types.experimental.GenericFunction:
    """Traces packing for one and two segments, with and without words, of any length."""

    @tf.function(autograph=False)
    def bert_pack_inputs(
        inputs: list[tf.RaggedTensor], seq_length: int | tf.Tensor = sequence_length
    ) -> dict[str, tf.Tensor]:
        return pack(inputs, seq_length)

    pieces = tf.RaggedTensorSpec([None, None], tf.int32)
    words = tf.RaggedTensorSpec([None, None, None], tf.int32)
    for segments in ([pieces], [words], [pieces, pieces], [words, words]):
        # The default is traced as a number, so that its static shape is known.
        bert_pack_inputs.get_concrete_function(segments)
        bert_pack_inputs.get_concrete_function(segments, tf.TensorSpec([], tf.int32))
    return bert_pack_inputs
