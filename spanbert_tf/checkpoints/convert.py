"""Checkpoints of BERT to Keras presets and back, by one strict table.

Every key of a checkpoint is in the table or named as dropped, every variable of the model is in the
table, both ways; anything else is an error that lists what is left over.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints import tensorflow_v1
from spanbert_tf.checkpoints.added_tokens import ADDED_TOKENS, added_tokens_decoder
from spanbert_tf.checkpoints.conversion_table import (
    MLM_PREFIX,
    PREFIX,
    SETTINGS,
    SIZES,
    conversion_table,
    mlm_head_table,
)
from spanbert_tf.checkpoints.hugging_face import (
    CONFIG_FILE,
    SAFETENSORS_FILE,
    SPECIAL_TOKENS,
    TOKENIZER_CONFIG_FILE,
    VOCABULARY_FILE,
    is_preset,
    locate,
    read_config,
    read_tensors,
)
from spanbert_tf.checkpoints.tensors import (
    assign,
    drop_copies,
    foreign_tensors,
    known_tensors,
    own_weights,
    write_tensors,
)
from spanbert_tf.checkpoints.vocabularies import read_vocabulary
from spanbert_tf.foreign_files import CheckpointError, Schema, check_size, integer, problems, rate
from spanbert_tf.models.encoder_task import MOST_SPARE_EMBEDDINGS
from spanbert_tf.output_folders import output_folder, size_of_weights
from spanbert_tf.preset_files import implied_weights
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer, SpanBertPretrainerPreprocessor
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

_DEFAULT_DROPOUT = 0.1  # Of a config that leaves it out.
_CONFIG: Schema = {
    **{key: integer(1, required=True) for key in SIZES.values()},
    "hidden_dropout_prob": rate(),
    "attention_probs_dropout_prob": rate(),
}

_PADDING_MULTIPLE = 8

_log = logging.getLogger(__name__)


def load_hugging_face(
    source: str | os.PathLike[str], dtype: Any = None, drop: Sequence[str] = ()
) -> tuple[SpanBertBackbone, SpanBertTokenizer]:
    """Loads a BERT or SpanBERT checkpoint of the Hugging Face library, or of TensorFlow 1.

    Weights may be float32, float16 or bfloat16, in safetensors or `.bin` files; no pickle is
    executed.  Without such files a checkpoint of TensorFlow 1 is read, as Google published BERT:
    `bert_model.ckpt.index` with its data, and `bert_config.json`.  Its GELU is taken for the exact
    one, as in all conversions of these models.

    Heads and the next-sentence pooler are dropped, with a line in the log.

    Args:
        source: Folder of the checkpoint, or `hf://user/repo[@revision]`.
        dtype: dtype or dtype policy of the backbone; by default Keras's, whatever the file has.
        drop: Patterns of keys to drop that are neither the encoder's nor a head's that is known,
            such as `crf.*`; `*` and `?` as in file names.

    Returns:
        The backbone and its tokenizer.

    Raises:
        CheckpointError: The checkpoint is damaged, or not an encoder that this one can equal; a
            `ValueError`.
        FileNotFoundError, PermissionError, ConnectionError: See `hugging_face.locate`.
        ModuleNotFoundError: A `.bin` checkpoint, and PyTorch is not installed.
    """
    backbone, tokenizer, _ = _load(source, dtype, drop, with_head=False)
    return backbone, tokenizer


def load_hugging_face_pretrainer(
    source: str | os.PathLike[str],
    dtype: Any = None,
    span_boundary: bool = True,
    max_targets: int = 20,
) -> SpanBertPretrainer:
    """Loads a BERT or SpanBERT checkpoint of the Hugging Face library, to pretrain it further.

    The head of the masked language model is the checkpoint's, if it has one; that of the span
    boundary objective, which no such checkpoint has, is new.

    Args:
        source: As for `load_hugging_face`.
        dtype: As for `load_hugging_face`.
        span_boundary: Whether the pretrainer has the span boundary objective.
        max_targets: The most pieces of a span that have targets of that objective.

    Returns:
        The pretrainer, with a preprocessor around the checkpoint's tokenizer.

    Raises:
        CheckpointError: As for `load_hugging_face`; or the head is not complete, or its output
            layer is not the token embedding.
        FileNotFoundError, PermissionError, ConnectionError: See `hugging_face.locate`.
        ModuleNotFoundError: A `.bin` checkpoint, and PyTorch is not installed.
    """
    backbone, tokenizer, head = _load(source, dtype, (), with_head=True)
    preprocessor = SpanBertPretrainerPreprocessor(
        tokenizer, sequence_length=backbone.max_sequence_length, max_targets=max_targets
    )
    pretrainer = SpanBertPretrainer(backbone, preprocessor, span_boundary, max_targets)
    if head:
        what = f"{source} does not hold a whole head of a masked language model"
        assign(pretrainer.mlm_head, mlm_head_table(), head, what)
    else:
        _log.warning("%s has no head of a masked language model: it is new", source)
    return pretrainer


def _load(
    source: str | os.PathLike[str], dtype: Any, drop: Sequence[str], *, with_head: bool
) -> tuple[SpanBertBackbone, SpanBertTokenizer, dict[str, np.ndarray]]:
    """Loads the encoder, and hands out the tensors of the masked language model's head."""
    folder = locate(source)
    config_file = tensorflow_v1.name_of_config(folder)
    config = read_config(folder, config_file)
    if is_preset(config):
        raise CheckpointError(f"{source} is a Keras preset: SpanBertBackbone.from_preset loads it")
    arguments = backbone_arguments(config, folder / config_file)
    pieces, lowercase, added = read_vocabulary(folder)
    _check_vocabulary_size(len(pieces), arguments["vocabulary_size"], folder)
    # Everything small is checked before the weights are read.
    read = tensorflow_v1.read_tensors if tensorflow_v1.is_checkpoint(folder) else read_tensors
    tensors = known_tensors(read(folder), folder, with_head=with_head, drop=drop)
    head = {key: tensors.pop(key) for key in list(tensors) if key.startswith(MLM_PREFIX)}
    drop_copies(head, tensors, folder)
    # Before it is built, for a size of millions would take all memory.
    found = sum(tensor.size for tensor in tensors.values())
    check_size(implied_weights(arguments), found, folder / config_file)
    backbone = SpanBertBackbone(**arguments, dtype=dtype)
    what = f"{folder} does not hold the encoder that its {config_file} describes"
    assign(backbone, conversion_table(backbone.num_layers), tensors, what)
    return backbone, SpanBertTokenizer(pieces, lowercase, added_tokens=added), head


def save_hugging_face(
    model: SpanBertBackbone | SpanBertPretrainer,
    tokenizer: SpanBertTokenizer,
    path: str | os.PathLike[str],
    overwrite: bool = False,
) -> None:
    """Writes a checkpoint that `transformers.BertModel` and `BertTokenizerFast` load.

    Weights are written as float32 safetensors, LoRA adapters merged into them.  There is no pooler:
    load with `BertModel.from_pretrained(path, add_pooling_layer=False)`.  A pretrainer's has the
    head of the masked language model too: load with `BertForMaskedLM.from_pretrained(path)`.  The
    head of the span boundary objective has no place there and is dropped, with a warning in the
    log.

    Args:
        model: The encoder, or a pretrainer.
        tokenizer: Its tokenizer.
        path: The folder to make; it appears whole or not at all.
        overwrite: Whether a folder that exists is replaced.

    Raises:
        FileExistsError, OSError: See `output_folder`.
        CheckpointError: The backbone is quantized, or vocabulary and backbone do not match; a
            `ValueError`.
    """
    with output_folder(path, overwrite, size_of_weights(model.weights)) as folder:
        write_hugging_face(model, tokenizer, folder)


def write_hugging_face(
    model: SpanBertBackbone | SpanBertPretrainer, tokenizer: SpanBertTokenizer, folder: Path
) -> None:
    """Writes into a folder what `save_hugging_face` makes whole or not at all."""
    pretrainer = model if isinstance(model, SpanBertPretrainer) else None
    backbone = model.backbone if isinstance(model, SpanBertPretrainer) else model
    pieces = tokenizer.get_vocabulary()
    _check_vocabulary_size(len(pieces), backbone.vocabulary_size, "the tokenizer")
    if backbone.attention != "dense" or backbone.long_positions:
        _log.warning("BERT's configuration has no bucketed attention and no rule for long texts")
    tensors = foreign_tensors(backbone, conversion_table(backbone.num_layers))
    if pretrainer is not None:
        # The encoder of a model with a head has its prefix.
        tensors = {PREFIX + key: tensor for key, tensor in tensors.items()}
        tensors |= foreign_tensors(pretrainer.mlm_head, mlm_head_table())
        if pretrainer.sbo_head is not None:
            paths = ", ".join(variable.path for variable in own_weights(pretrainer.sbo_head))
            _log.warning("dropped, as BERT has no span boundary objective: %s", paths)
    write_tensors(tensors, folder / SAFETENSORS_FILE, {"format": "pt"})
    config = {
        **SETTINGS,
        **{theirs: getattr(backbone, ours) for ours, theirs in SIZES.items()},
        "architectures": ["BertModel" if pretrainer is None else "BertForMaskedLM"],
        "attention_probs_dropout_prob": backbone.dropout,
        "hidden_dropout_prob": backbone.dropout,
        "pad_token_id": tokenizer.pad_token_id,
    }
    _write_json(folder / CONFIG_FILE, config)
    behind = {token.content for token in tokenizer.added_tokens if not token.is_piece}
    own = [piece for piece in pieces if piece not in behind]
    (folder / VOCABULARY_FILE).write_bytes("".join(f"{p}\n" for p in own).encode())
    settings: dict[str, Any] = {
        **SPECIAL_TOKENS,
        "do_lower_case": tokenizer.lowercase,
        "model_max_length": backbone.max_sequence_length,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
    }
    if tokenizer.added_tokens:
        settings[ADDED_TOKENS] = added_tokens_decoder(tokenizer)
    _write_json(folder / TOKENIZER_CONFIG_FILE, settings)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


def backbone_arguments(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Makes the arguments of a `SpanBertBackbone` of a BERT's configuration.

    Raises:
        CheckpointError: It is of another encoder, or a size is no size.
    """
    wrong = [
        f"{key}: expected {expected!r}, got {config[key]!r}"
        for key, expected in SETTINGS.items()
        if config.get(key, expected) != expected
    ]
    wrong += problems(config, _CONFIG)
    if wrong:
        raise CheckpointError(f"{path} is not of an encoder like SpanBERT: {'; '.join(wrong)}")
    dropout = config.get("hidden_dropout_prob", _DEFAULT_DROPOUT)
    attention_dropout = config.get("attention_probs_dropout_prob", _DEFAULT_DROPOUT)
    if dropout != attention_dropout:
        _log.warning(
            "%s: one rate serves all dropout: hidden_dropout_prob=%s is taken, "
            "attention_probs_dropout_prob=%s is not",
            path,
            dropout,
            attention_dropout,
        )
    return {**{ours: config[theirs] for ours, theirs in SIZES.items()}, "dropout": dropout}


def _check_vocabulary_size(num_pieces: int, num_rows: int, where: object) -> None:
    padding = num_rows - num_pieces
    if padding < 0:
        raise CheckpointError(
            f"{where}: {num_pieces} word pieces for {num_rows} embeddings; expected as many, or "
            "less where the last embeddings stand for no piece"
        )
    if padding:
        # Few round the number up to a multiple of 8 or 128.  Of many one cannot know.
        expected = padding <= MOST_SPARE_EMBEDDINGS and num_rows % _PADDING_MULTIPLE == 0
        _log.log(
            logging.INFO if expected else logging.WARNING,
            "%s: the last %d of %d embeddings have no word piece; they are kept%s",
            where,
            padding,
            num_rows,
            "" if expected else ".  If the vocabulary's file was cut short, they are not spare",
        )
