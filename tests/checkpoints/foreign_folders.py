"""Small random BERT checkpoints in the Hugging Face layout, and what a preset is known by."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Sizes that share no factor, so that swapped axes fail.
CONFIG: dict[str, Any] = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 6,
    "intermediate_size": 7,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 11,
    "model_type": "bert",
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 13,
}


def vocabulary(size: int) -> list[str]:
    """The special tokens, and made-up pieces up to `size`."""
    return SPECIAL + [f"##w{i}" if i % 3 == 0 else f"w{i}" for i in range(size - len(SPECIAL))]


def random_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Float32 tensors by their keys: what a `BertModel` with a pooler saves."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
    }
    norms, denses = ["embeddings.LayerNorm"], {"pooler.dense": (hidden, hidden)}
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            denses[f"{layer}.attention.{name}"] = (hidden, hidden)
        denses[f"{layer}.intermediate.dense"] = (inner, hidden)
        denses[f"{layer}.output.dense"] = (hidden, inner)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in denses.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    generator = np.random.default_rng(seed)
    return {
        key: (0.5 * generator.standard_normal(shape)).astype("float32")
        for key, shape in shapes.items()
    }


def write_checkpoint(
    folder: Path,
    tensors: dict[str, np.ndarray] | None = None,
    config: dict[str, Any] | None = None,
    lowercase: bool | None = True,
) -> Path:
    """Writes a checkpoint and returns its folder.

    Args:
        folder: Where.
        tensors: The weights; by default `random_tensors(config)`.
        config: Entries that take the place of those in `CONFIG`.
        lowercase: What `tokenizer_config.json` says; `None`: there is no such file.
    """
    full_config = {**CONFIG, **(config or {})}
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(full_config) if tensors is None else tensors
    save_file(
        {key: np.ascontiguousarray(t) for key, t in tensors.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(full_config))
    pieces = vocabulary(full_config["vocab_size"])
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    if lowercase is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    return folder


def write_preset(folder: Path, class_name: str | None = None) -> Path:
    """Writes the files of a Keras preset that say what it is, and returns its folder.

    Args:
        folder: Where.
        class_name: The class of the task; `None`: it is the preset of an encoder.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"registered_name": "spanbert_tf>SpanBertBackbone"}')
    if class_name is not None:
        (folder / "task.json").write_text(json.dumps({"class_name": class_name}))
    return folder


def random_inputs(
    config: dict[str, Any], batch: int, length: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Encoder inputs with padding in every row but the first, and all segments."""
    generator = np.random.default_rng(seed)
    lengths = [length, *generator.integers(1, length + 1, batch - 1)]
    mask = (np.arange(length) < np.array(lengths)[:, None]).astype("int32")
    return {
        "token_ids": generator.integers(0, config["vocab_size"], (batch, length), "int32"),
        "segment_ids": generator.integers(0, config["type_vocab_size"], (batch, length), "int32"),
        "padding_mask": mask,
    }


def edit_json(path: Path, **entries: Any) -> None:
    """Sets entries of a JSON file, and removes those that are `None`."""
    value = json.loads(path.read_text()) if path.exists() else {}
    value.update(entries)
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))


def assert_same_backbone(one: Any, two: Any) -> None:
    """Checks that two backbones have the same weights, bit by bit."""
    assert [v.path for v in one.weights] == [v.path for v in two.weights]
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def encoder_part(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors without the pooler's: those that have a place in the backbone."""
    return {key: tensor for key, tensor in tensors.items() if not key.startswith("pooler.")}
