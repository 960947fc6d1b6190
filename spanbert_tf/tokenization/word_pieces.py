"""Word pieces of a flat batch of strings, as TensorFlow ops.

Letters: n strings, q parts (strings cut around special tokens), t pieces of all strings together,
w words, u bytes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from spanbert_tf.tokenization.normalization import (
    CONTINUATION,
    MAX_CHARACTERS_PER_WORD,
    SPECIAL_CHARACTERS,
    SPECIAL_TOKENS,
    compile_models,
)

_SPECIAL_PATTERN = "|".join(rf"\[{token[1:-1]}\]" for token in SPECIAL_TOKENS)
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


class _Parts(NamedTuple):
    """Strings cut around special tokens."""

    texts: tf.Tensor  # string [q]
    begins: tf.Tensor  # int64 [q], bytes of the original string
    special: tf.Tensor  # bool [q]
    row_splits: tf.Tensor  # int64 [n + 1]


class WordPieceSplitter:
    """Splits strings into BERT's word pieces.

    Args:
        vocabulary: One piece per id, the special tokens among them.
        lowercase: Whether text is put in lower case and stripped of accents.
        special_tokens_in_strings: Whether special tokens in strings are recognised.
    """

    def __init__(
        self, vocabulary: Sequence[str], lowercase: bool, special_tokens_in_strings: bool
    ) -> None:
        model, op_vocabulary = compile_models(vocabulary, lowercase)
        inner = [piece.startswith(CONTINUATION) and piece != CONTINUATION for piece in vocabulary]
        self._special_tokens_in_strings = special_tokens_in_strings
        self._unknown_id = vocabulary.index("[UNK]")
        # Eager tensors, whatever graph is being built: datasets and functions capture them.
        with tf.init_scope(), tf.device("cpu"):
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
        parts = self._cut(texts)
        normalized = self._normalizer.normalize(parts.texts)
        pieces = self._pieces(parts, normalized)
        return pieces.ids, self._row_splits(parts, pieces)

    def split_with_offsets(self, texts: tf.Tensor, unit: str) -> tuple[TokenizedText, tf.Tensor]:
        """Pieces with their places in the original strings.

        Args:
            texts: string `[n]`.
            unit: `"byte"` or `"character"`.

        Returns:
            The pieces, `[t]` each, and their int64 `[n + 1]` row splits.
        """
        parts = self._cut(texts)
        normalized, sources = self._normalizer.normalize_with_offsets(parts.texts)
        pieces = self._pieces(parts, normalized)
        part = _row_of_piece(pieces.row_splits)
        source_base = tf.gather(sources.row_splits, part)
        special = tf.gather(parts.special, part)
        length = tf.gather(tf.strings.length(parts.texts), part)
        # A special token was never normalised, so it has no entry among the sources.
        zero = tf.zeros([], tf.int64)
        first = tf.where(special, zero, source_base + tf.cast(pieces.starts, tf.int64))
        last = tf.where(special, zero, source_base + tf.cast(pieces.ends - 1, tf.int64))
        first = tf.where(special, zero, tf.gather(sources.values, first))
        last = tf.where(special, tf.cast(length, tf.int64) - 1, tf.gather(sources.values, last))
        begin = tf.gather(parts.begins, part)
        row_splits = self._row_splits(parts, pieces)
        row = _row_of_piece(row_splits)
        starts, ends = _character_spans(texts, row, begin + first, begin + last, unit)
        word_starts = tf.gather(self._starts_word, pieces.ids)
        return TokenizedText(pieces.ids, starts, ends, word_starts), row_splits

    def _cut(self, texts: tf.Tensor) -> _Parts:
        if self._special_tokens_in_strings:
            # The op takes U+0000 for the end; any other control character is removed as well.
            texts = tf.strings.regex_replace(texts, r"\x00", "\x01")
            parts, begins, _ = tf_text.regex_split_with_offsets(
                texts, _SPECIAL_PATTERN, _SPECIAL_PATTERN
            )
            special = tf.reduce_any(parts.values[:, None] == tf.constant(SPECIAL_TOKENS), axis=1)
            return _Parts(parts.values, begins.values, special, parts.row_splits)
        count = tf.size(texts, out_type=tf.int64)
        return _Parts(
            texts, tf.zeros(count, tf.int64), tf.zeros(count, tf.bool), tf.range(count + 1)
        )

    def _row_splits(self, parts: _Parts, pieces: _Pieces) -> tf.Tensor:
        if self._special_tokens_in_strings:
            return tf.gather(pieces.row_splits, parts.row_splits)
        return pieces.row_splits

    def _pieces(self, parts: _Parts, normalized: tf.Tensor) -> _Pieces:
        """Pieces of the parts, a special token as one piece."""
        if self._special_tokens_in_strings:
            for token, character in SPECIAL_CHARACTERS.items():
                normalized = tf.where(parts.texts == token, character, normalized)
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
        rows = tf.gather(_row_of_piece(pieces.row_splits), first)
        begins = tf.gather(pieces.starts, first)
        ends = tf.gather(pieces.ends, bounds[1:] - 1)
        words = tf.strings.substr(tf.gather(normalized, rows), begins, ends - begins)
        long = tf.strings.length(words, unit="UTF8_CHAR") > MAX_CHARACTERS_PER_WORD
        word = _row_of_piece(bounds)
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


def _row_of_piece(row_splits: tf.Tensor) -> tf.Tensor:
    """int64 `[t]`: the row that each piece belongs to."""
    rows = tf.range(tf.size(row_splits, tf.int64) - 1)
    return tf.repeat(rows, row_splits[1:] - row_splits[:-1])


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
