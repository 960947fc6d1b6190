"""The table that pairs variables of encoder and heads with the keys of a BERT checkpoint.

Pure data and array arithmetic: `spanbert_tf.checkpoints.convert` applies it, in both directions.
"""

import logging
from dataclasses import dataclass

import numpy as np

# Argument of `SpanBertBackbone` and its name in a BERT config.
SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
}
# What a BERT config must say, or leave out, for the encoder to compute the same.
SETTINGS = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
# Keys without a place in the encoder: why, and how loudly the log says so.
DROPPED = {
    r"embeddings\.position_ids": ("a buffer, the numbers from 0", logging.INFO),
    r"pooler\.dense\.(weight|bias)": ("the pooler; ours is the [CLS] state", logging.INFO),
    r"cls\.(predictions|seq_relationship)\..+": ("a pretraining head", logging.INFO),
    r"(classifier|qa_outputs)\.(weight|bias)": ("a fine-tuned task's head", logging.WARNING),
}
PREFIX = "bert."
# Where a checkpoint with a masked language model's head has it.  Two of its tensors are others,
# under a second name: the token embedding and the bias.
MLM_PREFIX = "cls.predictions."
MLM_COPIES = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True)
class Row:
    """One variable and the foreign tensors it is made of.

    Attributes:
        owner: Dotted name of the variable's layer, from the backbone or the head; "" for itself.
        attribute: Name of the variable in its layer.
        keys: Foreign keys, without prefix; several are laid side by side on the last axis.
        transposed: Whether the foreign tensors are the other way round, `[out, in]`.
    """

    owner: str
    attribute: str
    keys: tuple[str, ...]
    transposed: bool = False

    def to_keras(self, tensors: list[np.ndarray]) -> np.ndarray:
        """Makes the variable's value from the foreign tensors."""
        return np.concatenate([t.T if self.transposed else t for t in tensors], axis=-1)

    def to_foreign(self, value: np.ndarray) -> list[np.ndarray]:
        """Makes the foreign tensors from the variable's value; undoes `to_keras`."""
        parts = np.split(value, len(self.keys), axis=-1)
        return [np.ascontiguousarray(p.T if self.transposed else p) for p in parts]


def _dense(owner: str, *prefixes: str) -> list[Row]:
    return [
        Row(owner, "kernel", tuple(f"{p}.weight" for p in prefixes), transposed=True),
        Row(owner, "bias", tuple(f"{p}.bias" for p in prefixes)),
    ]


def _layer_norm(owner: str, prefix: str) -> list[Row]:
    return [
        Row(owner, "gamma", (f"{prefix}.weight",)),
        Row(owner, "beta", (f"{prefix}.bias",)),
    ]


def conversion_table(num_layers: int) -> list[Row]:
    """The table: each variable of a `SpanBertBackbone`, and its keys in a BERT checkpoint.

    Args:
        num_layers: Number of the encoder's layers.

    Returns:
        One row for each variable.

    Example:
        The fused kernel `[H, 3H]` of layer 0 is `Row("transformer_layers.0.attention.qkv_dense",
        "kernel", ("encoder.layer.0.attention.self.query.weight", "...key.weight",
        "...value.weight"), transposed=True)`.
    """
    rows = [
        Row("token_embedding", "embeddings", ("embeddings.word_embeddings.weight",)),
        Row("embeddings", "position_embeddings", ("embeddings.position_embeddings.weight",)),
        Row("embeddings", "segment_embeddings", ("embeddings.token_type_embeddings.weight",)),
        *_layer_norm("embeddings.layer_norm", "embeddings.LayerNorm"),
    ]
    for i in range(num_layers):
        ours, theirs = f"transformer_layers.{i}", f"encoder.layer.{i}"
        projections = [f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")]
        rows += [
            *_dense(f"{ours}.attention.qkv_dense", *projections),
            *_dense(f"{ours}.attention.output_dense", f"{theirs}.attention.output.dense"),
            *_layer_norm(f"{ours}.attention_layer_norm", f"{theirs}.attention.output.LayerNorm"),
            *_dense(f"{ours}.intermediate_dense", f"{theirs}.intermediate.dense"),
            *_dense(f"{ours}.output_dense", f"{theirs}.output.dense"),
            *_layer_norm(f"{ours}.output_layer_norm", f"{theirs}.output.LayerNorm"),
        ]
    return rows


def mlm_head_table() -> list[Row]:
    """The table of a `MaskedLMHead`, without the token embedding, which is the encoder's."""
    return [
        *_dense("transform.dense", f"{MLM_PREFIX}transform.dense"),
        *_layer_norm("transform.layer_norm", f"{MLM_PREFIX}transform.LayerNorm"),
        Row("", "logits_bias", (f"{MLM_PREFIX}bias",)),
    ]
