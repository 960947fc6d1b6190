"""Texts that a decoder shall write, as the numbers that it learns."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.texts import list_of_strings, tokenize_texts
from spanbert_tf.features import TARGET_IDS

# Rows are padded to multiples of it: XLA compiles parts of a training step for each length.
MULTIPLE = 8


def too_long(texts: Sequence[str], tokenizer: Callable, most: int) -> np.ndarray:
    """Numbers of the texts that have more pieces than `most`, int `[n]`."""
    lengths = tokenize_texts(texts, tokenizer, most + 1).row_lengths()
    return np.flatnonzero(lengths.numpy() > most)


def target_ids(y: Any, count: int, tokenizer: Callable, end_id: int, most: int) -> tf.RaggedTensor:
    """Pieces of texts to learn, each text with its end.

    Args:
        y: The texts, a list or an array of strings.
        count: How many there must be.
        tokenizer: Makes pieces of strings `[n]`, int `[n, (p)]`.
        end_id: What ends each text.
        most: The most pieces of a text, its end among them.

    Returns:
        int32 `[n, (o)]`, filled up to multiples of `MULTIPLE`, or to `most`.

    Raises:
        TypeError: A text is not a string.
        ValueError: There are not `count` texts, or one has more pieces.
    """
    texts = list_of_strings(y.tolist() if hasattr(y, "tolist") else y, "y")
    if len(texts) != count:
        raise ValueError(f"`y` has {len(texts)} texts, but there are {count}.")
    pieces = tokenize_texts(texts, tokenizer, most, "y")
    lengths = tf.cast(pieces.row_lengths(), tf.int32) + 1
    wrong = np.flatnonzero(lengths > most)
    if len(wrong):
        raise ValueError(
            f"`y`[{wrong[0]}] must have at most {most - 1} word pieces, one fewer than "
            "`target_length`, but has more."
        )
    past = tf.minimum(-(-lengths // MULTIPLE) * MULTIPLE, most) - lengths
    padding = tf.fill([tf.reduce_sum(past)], TARGET_IDS.pad_value)
    padding = tf.RaggedTensor.from_row_lengths(padding, tf.cast(past, tf.int64))
    return tf.concat([pieces, tf.fill([len(texts), 1], end_id), padding], axis=1)
