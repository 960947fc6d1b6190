"""Word pieces of a flat batch of strings, as TensorFlow ops.

Letters: n strings, q parts (strings cut around tokens that are kept whole), t pieces of all strings
together, w words, u bytes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from spanbert_tf.tokenization.added_tokens import (
    AddedToken,
    Parts,
    WholeTokens,
    original_bytes,
    row_of_value,
)
from spanbert_tf.tokenization.normalization import (
    MAX_CHARACTERS_PER_WORD,
    SPECIAL_CHARACTERS,
    compile_models,
    continues_word,
)

# The word piece op limits words by bytes: within the first limit all words are right, and every
# word beyond the second has too many characters.  Words between the two are rare and looked at.
_SURE_BYTES = MAX_CHARACTERS_PER_WORD
_MAX_BYTES = 4 * MAX_CHARACTERS_PER_WORD


class TokenizedText(NamedTuple):
    """Word pieces and where they stand in the text, all of one shape.

    Attributes:
        token_ids: int32, ids of the pieces.
        starts: int64, place of the piece's first character in the original string.
        ends: int64, place behind its last character.
        word_starts: bool, true where a piece is the first of its word (words as BERT sees them:
            split at white space, around punctuation and around ideographs).
    """

    token_ids: Any
    starts: Any
    ends: Any
    word_starts: Any


class _Pieces(NamedTuple):
    """Pieces of all parts, end to end; places are bytes of the normalised part."""

    ids: tf.Tensor  # int32 [t]
    starts: tf.Tensor  # int32 [t]
    ends: tf.Tensor  # int32 [t]
    row_splits: tf.Tensor  # int64 [q + 1]


class WordPieceSplitter:
    """Splits strings into BERT's word pieces.

    Args:
        vocabulary: One piece per id, the special tokens among them.
        lowercase: Whether text is put in lower case and stripped of accents.
        special_tokens_in_strings: Whether special tokens in strings are recognised.
        added_tokens: Tokens of the vocabulary that are kept whole.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        lowercase: bool,
        special_tokens_in_strings: bool,
        added_tokens: Sequence[AddedToken] = (),
    ) -> None:
        ids = {piece: number for number, piece in enumerate(vocabulary)}
        no_pieces = {token.content for token in added_tokens if not token.is_piece}
        inner = [continues_word(piece) for piece in vocabulary]
        self._unknown_id = ids["[UNK]"]
        self._whole: WholeTokens | None = None
        self._ids: tf.Tensor | None = None
        # Eager tensors, whatever graph is being built: datasets and functions capture them.
        with tf.init_scope(), tf.device("cpu"):
            if added_tokens or special_tokens_in_strings:
                self._whole = WholeTokens(added_tokens, special_tokens_in_strings, lowercase)
            if added_tokens:
                added_ids = [ids[token.content] for token in added_tokens]
                self._ids = tf.constant([*range(len(vocabulary)), *added_ids], tf.int32)
                inner += [False] * len(added_tokens)
            folds = lowercase and not (self._whole and self._whole.normalizes)
            model, op_vocabulary = compile_models(vocabulary, folds, len(added_tokens), no_pieces)
            self._normalizer = tf_text.FastBertNormalizer(
                model_buffer=tf.constant(np.frombuffer(model, np.uint8))
            )
            self._word_pieces, self._long_word_pieces = (
                tf_text.FastWordpieceTokenizer(
                    op_vocabulary,
                    max_bytes_per_word=limit,
                    token_out_type=tf.int32,
                    unknown_token=SPECIAL_CHARACTERS["[UNK]"],
                )
                for limit in (_SURE_BYTES, _MAX_BYTES)
            )
            self._starts_word = tf.constant(np.logical_not(inner))

    def split(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids of the pieces.

        Args:
            texts: string `[n]`.

        Returns:
            int32 `[t]` ids and their int64 `[n + 1]` row splits.
        """
        if self._whole is None:
            pieces = self._pieces(self._normalizer.normalize(texts))
            return pieces.ids, pieces.row_splits
        parts = self._whole.cut(texts)
        pieces = self._pieces_of_parts(parts, self._normalizer.normalize(parts.texts))
        return self._own_ids(pieces), tf.gather(pieces.row_splits, parts.row_splits)

    def split_with_offsets(self, texts: tf.Tensor, unit: str) -> tuple[TokenizedText, tf.Tensor]:
        """Pieces with their places in the original strings.

        Args:
            texts: string `[n]`.
            unit: `"byte"` or `"character"`.

        Returns:
            The pieces, `[t]` each, and their int64 `[n + 1]` row splits.
        """
        if self._whole is None:
            normalized, sources = self._normalizer.normalize_with_offsets(texts)
            pieces = self._pieces(normalized)
            row_splits = pieces.row_splits
            row = row_of_value(row_splits)
            base = tf.gather(sources.row_splits, row)
            first = tf.gather(sources.values, base + tf.cast(pieces.starts, tf.int64))
            last = tf.gather(sources.values, base + tf.cast(pieces.ends - 1, tf.int64))
        else:
            parts = self._whole.cut(texts)
            normalized, sources = self._normalizer.normalize_with_offsets(parts.texts)
            pieces = self._pieces_of_parts(parts, normalized)
            row_splits = tf.gather(pieces.row_splits, parts.row_splits)
            row, part = row_of_value(row_splits), row_of_value(pieces.row_splits)
            first, last = (
                original_bytes(parts, part, sources, tf.cast(places, tf.int64), of_tokens)
                for places, of_tokens in (
                    (pieces.starts, parts.firsts),
                    (pieces.ends - 1, parts.lasts),
                )
            )
        starts, ends = _character_spans(texts, row, first, last, unit)
        word_starts = tf.gather(self._starts_word, pieces.ids)
        return TokenizedText(self._own_ids(pieces), starts, ends, word_starts), row_splits

    def _own_ids(self, pieces: _Pieces) -> tf.Tensor:
        """Ids of the vocabulary: the op has more, of added tokens."""
        return pieces.ids if self._ids is None else tf.gather(self._ids, pieces.ids)

    def _pieces_of_parts(self, parts: Parts, normalized: tf.Tensor) -> _Pieces:
        """Pieces of parts, a token as one piece: the normaliser removed what stands for it."""
        return self._pieces(tf.where(parts.is_token, parts.texts, normalized))

    def _pieces(self, normalized: tf.Tensor) -> _Pieces:
        """Pieces of normalised texts."""
        pieces = _run(self._word_pieces, normalized)
        # A piece beyond the first limit is a word taken for unknown, nearly always rightly so.
        suspects = tf.where(pieces.ends - pieces.starts > _SURE_BYTES)[:, 0]
        rows = tf.searchsorted(pieces.row_splits, suspects, side="right") - 1
        begins = tf.gather(pieces.starts, suspects)
        lengths = tf.gather(pieces.ends, suspects) - begins
        words = tf.strings.substr(tf.gather(normalized, rows), begins, lengths)
        return tf.cond(
            tf.reduce_any(tf.strings.length(words, unit="UTF8_CHAR") <= MAX_CHARACTERS_PER_WORD),
            lambda: self._pieces_of_long_words(normalized),
            lambda: pieces,
        )

    def _pieces_of_long_words(self, normalized: tf.Tensor) -> _Pieces:
        """Pieces where words of few characters but many bytes stand beside too long ones."""
        pieces = _run(self._long_word_pieces, normalized)
        starts_word = tf.gather(self._starts_word, pieces.ids)
        first = tf.where(starts_word)[:, 0]
        bounds = tf.concat([first, [tf.size(pieces.ids, tf.int64)]], axis=0)
        rows = tf.gather(row_of_value(pieces.row_splits), first)
        begins = tf.gather(pieces.starts, first)
        ends = tf.gather(pieces.ends, bounds[1:] - 1)
        words = tf.strings.substr(tf.gather(normalized, rows), begins, ends - begins)
        long = tf.strings.length(words, unit="UTF8_CHAR") > MAX_CHARACTERS_PER_WORD
        word = row_of_value(bounds)
        unknown = tf.gather(long, word)
        kept = starts_word | ~unknown
        kept_before = tf.pad(tf.cumsum(tf.cast(kept, tf.int64)), [[1, 0]])
        return _Pieces(
            tf.boolean_mask(tf.where(unknown, self._unknown_id, pieces.ids), kept),
            tf.boolean_mask(pieces.starts, kept),
            tf.boolean_mask(tf.where(unknown, tf.gather(ends, word), pieces.ends), kept),
            tf.gather(kept_before, pieces.row_splits),
        )


def _run(word_pieces: tf_text.FastWordpieceTokenizer, normalized: tf.Tensor) -> _Pieces:
    ids, starts, ends = word_pieces.tokenize_with_offsets(normalized)
    return _Pieces(ids.values, starts.values, ends.values, ids.row_splits)


def _character_spans(
    texts: tf.Tensor, row: tf.Tensor, first: tf.Tensor, last: tf.Tensor, unit: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """From a byte of the first and of the last character to where a piece starts and ends.

    Args:
        texts: string `[n]`, the original strings.
        row: int64 `[t]`, each piece's string.
        first: int64 `[t]`, a byte of the piece's first character.
        last: int64 `[t]`, a byte of its last character.
        unit: `"byte"` or `"character"`.

    Returns:
        int64 `[t]` starts and ends.
    """
    # The byte that joins the strings marks where the last character of each ends.
    data = tf.io.decode_raw(tf.strings.reduce_join(texts, separator="\0") + "\0", tf.uint8)
    begins_character = tf.bitwise.bitwise_and(data, 0xC0) != 0x80
    character = tf.cumsum(tf.cast(begins_character, tf.int64)) - 1
    string_begins = tf.cumsum(tf.cast(tf.strings.length(texts), tf.int64) + 1, exclusive=True)
    begin = tf.gather(string_begins, row)
    start = tf.gather(character, begin + first)
    end = tf.gather(character, begin + last) + 1
    if unit == "character":
        origin = tf.gather(tf.gather(character, string_begins), row)
    else:
        place = tf.where(begins_character)[:, 0]
        start, end, origin = tf.gather(place, start), tf.gather(place, end), begin
    return start - origin, end - origin
