"""Texts to mean-pooled vectors the way that suits a runtime without buckets best."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _protocol import fastest

BATCH_SIZES = (16, 32, 64)
SEQUENCE_LENGTH = 512
TEXTS_OF_CHOICE = 120  # the batch size is chosen on


def read_texts(path: str | Path) -> list[str]:
    return json.loads(Path(path).read_text("utf-8"))


def sorted_vectors(
    texts: list[str],
    tokenizer: Any,
    encode: Callable[[np.ndarray, np.ndarray], np.ndarray],
    batch_size: int,
) -> np.ndarray:
    """Tokenises all texts, sorts them by length, and pads each batch to its longest text.

    Args:
        texts: `[n]`.
        tokenizer: One of Hugging Face's fast tokenizers.
        encode: Gives mean-pooled vectors `[b, H]` of `input_ids` and `attention_mask`, int64
            `[b, s]`.
        batch_size: Texts in a batch.

    Returns:
        `[n, H]`, in the order of the texts.
    """
    rows = tokenizer(texts, truncation=True, max_length=SEQUENCE_LENGTH)["input_ids"]
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    vectors = []
    for begin in range(0, len(order), batch_size):
        batch = [rows[row] for row in order[begin : begin + batch_size]]
        input_ids = np.full((len(batch), len(batch[0])), tokenizer.pad_token_id, np.int64)
        attention_mask = np.zeros_like(input_ids)
        for ids, mask, row in zip(input_ids, attention_mask, batch, strict=True):
            ids[: len(row)] = row
            mask[: len(row)] = 1
        vectors.append(encode(input_ids, attention_mask))
    ordered = np.empty((len(texts), vectors[0].shape[1]), np.float32)
    ordered[order] = np.concatenate(vectors)
    return ordered


def best_batch_size(
    texts: list[str], tokenizer: Any, encode: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> int:
    """The fastest of `BATCH_SIZES` on some of the texts."""
    part = random.Random(0).sample(texts, min(TEXTS_OF_CHOICE, len(texts)))  # noqa: S311
    return fastest(lambda size: sorted_vectors(part, tokenizer, encode, size), BATCH_SIZES)
