"""Lists of texts, checked and tokenised a chunk at a time."""

from collections.abc import Callable, Sequence

import tensorflow as tf

TEXTS_A_CALL = 1024  # given to the tokenizer at once: bounds its memory


def tokenize_texts(
    texts: Sequence[str], tokenizer: Callable, most_pieces: int, name: str = "texts"
) -> tf.RaggedTensor:
    """Tokenises texts a chunk at a time.

    Args:
        texts: Strings `[rows]`; they may be empty.
        tokenizer: Called with strings `[b]`, gives integers `[b, (pieces)]`, ragged or lists.
        most_pieces: Where a row is cut.
        name: What messages call `texts`.

    Returns:
        int32 `[rows, (pieces)]`.

    Raises:
        TypeError: A text is not a string.
    """
    texts = list_of_strings(texts, name)
    chunks = [tf.RaggedTensor.from_row_splits(tf.constant([], tf.int32), [0])]
    for begin in range(0, len(texts), TEXTS_A_CALL):
        pieces = tokenizer(tf.constant(texts[begin : begin + TEXTS_A_CALL], tf.string))
        if not isinstance(pieces, tf.RaggedTensor):  # KerasHub's own tokenizers give lists
            pieces = tf.ragged.constant(pieces, tf.int32, ragged_rank=1)
        pieces = pieces[:, :most_pieces]
        chunks.append(
            tf.RaggedTensor.from_row_splits(tf.cast(pieces.values, tf.int32), pieces.row_splits)
        )
    return tf.concat(chunks, axis=0)


def list_of_strings(texts: Sequence[str], name: str = "texts") -> list[str]:
    """Lists strings.

    Raises:
        TypeError: `texts`, or what messages call so, is one string, or has an item that is none.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(f"`{name}` must be a list of strings, but is one string.")
    texts = list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str | bytes):
            raise TypeError(f"`{name}`[{number}] must be a string, but is {text!r:.80}.")
    return texts


def as_str(text: str | bytes) -> str:
    """A string that may be encoded, as tensors have theirs."""
    return text.decode() if isinstance(text, bytes) else text
