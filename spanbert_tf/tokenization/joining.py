"""Word pieces of ragged ids, joined to strings."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from spanbert_tf.tokenization.normalization import CONTINUATION, continues_word


def spaced(piece: str) -> str:
    """A piece as it goes on a text: with a space before it where a word begins."""
    return piece.removeprefix(CONTINUATION) if continues_word(piece) else f" {piece}"


class PieceJoiner:
    """Joins word pieces to strings, words separated by single spaces.

    Args:
        pieces: One piece per id.
        padding_id: The id of what is left out.
    """

    def __init__(self, pieces: Sequence[str], padding_id: int) -> None:
        self._padding_id = padding_id
        with tf.init_scope(), tf.device("cpu"):
            self._spaced_pieces = tf.constant([*map(spaced, pieces)])
            self._whole_pieces = tf.constant(pieces)

    def join(self, ids: tf.RaggedTensor) -> Any:
        """Strings, with an axis less than the ids."""
        if ids.ragged_rank > 1:
            return ids.with_values(self.join(ids.values))
        ids = tf.ragged.boolean_mask(ids, ids != self._padding_id)
        pieces = tf.gather(self._spaced_pieces, ids.values)
        # A row's first piece has nothing to be joined to.
        filled = tf.boolean_mask(ids.row_starts(), ids.row_lengths() > 0)
        whole = tf.gather(self._whole_pieces, tf.gather(ids.values, filled))
        pieces = tf.tensor_scatter_nd_update(pieces, filled[:, None], whole)
        return tf.strings.reduce_join(ids.with_values(pieces), axis=-1)
