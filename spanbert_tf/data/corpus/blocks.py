"""Pieces of documents -> blocks: what a row of pretraining holds between [CLS] and [SEP].

Letters: p pieces, d documents, k blocks, v the vocabulary.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from spanbert_tf.tokenization.normalization import continues_word


def cut_blocks(
    word_starts: np.ndarray, document_starts: Sequence[int] | np.ndarray, most_pieces: int
) -> np.ndarray:
    """Cuts documents into blocks, each as long as the limit and whole words allow.

    A block ends with its document, or before the first word that does not fit in; only a word
    that is longer than a block by itself is cut.  Every piece is in one block.

        pieces  a b ##b c | d        in blocks of 3 -> [a b ##b] [c] [d]
        pieces  a b ##b ##b | d      in blocks of 3 -> [a] [b ##b ##b] [d]

    Args:
        word_starts: bool `[p]`, whether a piece is the first of its word.
        document_starts: int `[d]`, where documents begin, ascending, from 0; a document may be
            empty.
        most_pieces: The most pieces in a block.

    Returns:
        int64 `[k]`, where each block ends; it begins where the one before ends, or at 0.
    """
    if most_pieces < 1:
        raise ValueError(f"`most_pieces` must be positive, but is {most_pieces}.")
    total = len(word_starts)
    # The last word start at or before each piece.
    latest = np.maximum.accumulate(np.where(word_starts, np.arange(total), 0))
    ends = []
    for begin, stop in pairwise([*np.asarray(document_starts).tolist(), total]):
        while stop - begin > most_pieces:
            end = int(latest[begin + most_pieces])
            begin = end if end > begin else begin + most_pieces
            ends.append(begin)
        if stop > begin:
            ends.append(stop)
    return np.asarray(ends, np.int64)


def starts_word(vocabulary: Sequence[str]) -> np.ndarray:
    """Tells which pieces of a vocabulary begin a word: bool `[v]`, special tokens among them."""
    return np.array([not continues_word(piece) for piece in vocabulary], np.bool_)
