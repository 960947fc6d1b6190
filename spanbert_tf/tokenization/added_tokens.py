"""Tokens that text is searched for before it is split into words, each kept whole.

Letters: n strings, q parts (strings cut around such tokens), t pieces of all strings together,
k tokens, u bytes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from spanbert_tf.tokenization.normalization import (
    MOST_ADDED_TOKENS,
    SPECIAL_CHARACTERS,
    SPECIAL_TOKENS,
    added_character,
    compile_normalizer,
    normalized,
)

_BUCKETS = 2**62
_PUNCTUATION = re.compile(r"[!-/:-@\[-^`{-~]")


@dataclass(frozen=True)
class AddedToken:
    """A token of the vocabulary that is kept whole wherever it occurs, within a word too.

    Where several begin at one place, the longest is taken.  Spaces around a token are not part of
    it.  This is `AddedToken` of Hugging Face's `tokenizers`, but for its `single_word`, `lstrip`
    and `rstrip`.

    Attributes:
        content: The token.
        normalized: Whether it is looked for in normalised text, normalised itself: without regard
            to case and accents where the tokenizer is lower-cased.  Others are found before them.
        is_piece: Whether words may be split into it too, as into any other piece of the vocabulary.
    """

    content: str
    normalized: bool = False
    is_piece: bool = False


def added_tokens_from(values: Sequence[AddedToken | str | Mapping[str, Any]]) -> list[AddedToken]:
    """Makes tokens of their contents, or of what `added_tokens_to_json` gave.

    Raises:
        ValueError: A value is of another form.
    """
    tokens = []
    for place, value in enumerate(values if isinstance(values, list | tuple) else [values]):
        fields = dict(value) if isinstance(value, Mapping) else {"content": value}
        token = value if isinstance(value, AddedToken) else None
        if token is None and fields.keys() <= {"content", "normalized", "is_piece"}:
            token = AddedToken(**{"content": "", **fields})
        if token is None or [type(of) for of in vars(token).values()] != [str, bool, bool]:
            raise ValueError(
                f"added_tokens[{place}]: expected an AddedToken, a string, or an object of "
                f"`content`, `normalized` and `is_piece`, got {value!r:.80}"
            )
        tokens.append(token)
    return tokens


def added_tokens_to_json(tokens: Sequence[AddedToken]) -> list[dict[str, Any]]:
    """Tokens as JSON can hold them."""
    return [asdict(token) for token in tokens]


def check_added_tokens(
    tokens: Sequence[AddedToken], vocabulary: Iterable[str], lowercase: bool
) -> None:
    """Checks that text can be searched for tokens.

    Args:
        tokens: The tokens.
        vocabulary: The pieces of which they must be some.
        lowercase: Whether normalisation puts text in lower case and strips accents.

    Raises:
        ValueError: There are too many, one is not of the vocabulary or there twice, or is such that
            it cannot be found.
    """
    pieces = set(vocabulary)
    if len(tokens) > MOST_ADDED_TOKENS:
        raise ValueError(f"expected at most {MOST_ADDED_TOKENS} added tokens, got {len(tokens)}")
    found: dict[tuple[bool, str], str] = {}
    for token in tokens:
        content, wrong = token.content, ""
        sought = normalized(content, lowercase) if token.normalized else content
        if content in SPECIAL_TOKENS:
            wrong = "is a special token; see `special_tokens_in_strings`"
        elif content not in pieces:
            wrong = "is not in the vocabulary"
        elif content != content.encode("utf-8", "ignore").decode():
            wrong = "has half of a character"
        elif sought != sought.strip() or not sought:
            wrong = "begins or ends with white space, or is nothing else once it is normalised"
        elif any(character in content for character in "\0\r\n"):
            wrong = "has a line's end or U+0000 within"
        elif (token.normalized, sought) in found:
            wrong = f"cannot be told from {found[token.normalized, sought]!r}"
        if wrong:
            raise ValueError(f"the added token {content!r} {wrong}")
        found[token.normalized, sought] = content


class Parts(NamedTuple):
    """Strings cut around tokens that are kept whole.

    Attributes:
        texts: string `[q]`, to be normalised; of a token the character that stands for it.
        is_token: bool `[q]`.
        row_splits: int64 `[n + 1]`.
        begins: int64 `[q]`, where a text's first byte is: in its original string, or in `sources`.
        firsts: int64 `[q]`, a byte of a token's first character in its original string.
        lasts: int64 `[q]`, a byte of its last one.
        sources: int64 `[u]`, the bytes of the original strings that those of texts were made of, if
            they have been normalised once; else `None`.
    """

    texts: tf.Tensor
    is_token: tf.Tensor
    row_splits: tf.Tensor
    begins: tf.Tensor
    firsts: tf.Tensor
    lasts: tf.Tensor
    sources: tf.Tensor | None = None


class WholeTokens:
    """Cuts strings around tokens.

    Args:
        added: Tokens of the vocabulary.
        special: Whether special tokens are kept whole, too.
        lowercase: Whether normalisation puts text in lower case and strips accents.
    """

    def __init__(self, added: Sequence[AddedToken], special: bool, lowercase: bool) -> None:
        characters = {token: added_character(number) for number, token in enumerate(added)}
        first = dict(SPECIAL_CHARACTERS) if special else {}
        first |= {of.content: to for of, to in characters.items() if not of.normalized}
        then = {
            normalized(of.content, lowercase): to for of, to in characters.items() if of.normalized
        }
        self._first = _Search(first) if first else None
        self._then = _Search(then, {to: to for to in first.values()}) if then else None
        if then:
            model = np.frombuffer(compile_normalizer(lowercase), np.uint8)
            self._normalizer = tf_text.FastBertNormalizer(model_buffer=tf.constant(model))

    @property
    def normalizes(self) -> bool:
        """Whether the texts of parts are normalised already."""
        return self._then is not None

    def cut(self, texts: tf.Tensor) -> Parts:
        """Parts of strings `[n]`."""
        # The op takes U+0000 for the end; any other control character is removed as well.
        texts = tf.strings.regex_replace(texts, r"\x00", "\x01")
        count = tf.size(texts, out_type=tf.int64)
        nowhere = tf.zeros([count], tf.int64)
        parts = Parts(
            texts, tf.zeros([count], tf.bool), tf.range(count + 1), nowhere, nowhere, nowhere
        )
        if self._first is not None:
            found, begins, ends = self._first.split(texts)
            parts = Parts(
                *self._first.replaced(found.values),
                found.row_splits,
                begins.values,
                begins.values,
                ends.values - 1,
            )
        return parts if self._then is None else self._cut_normalized(parts, self._then)

    def _cut_normalized(self, parts: Parts, search: "_Search") -> Parts:
        """Cuts the texts of parts around tokens that are looked for in normalised text."""
        texts, sources = self._normalizer.normalize_with_offsets(parts.texts)
        origins = sources.values + tf.gather(parts.begins, row_of_value(sources.row_splits))
        texts = tf.where(parts.is_token, parts.texts, texts)
        found, begins, ends = search.split(texts)
        part = row_of_value(found.row_splits)
        base = tf.gather(sources.row_splits, part)
        was_token = tf.gather(parts.is_token, part)
        return Parts(
            *search.replaced(found.values),
            row_splits=tf.gather(found.row_splits, parts.row_splits),
            begins=base + begins.values,
            firsts=_places(origins, base + begins.values, was_token, tf.gather(parts.firsts, part)),
            lasts=_places(origins, base + ends.values - 1, was_token, tf.gather(parts.lasts, part)),
            sources=origins,
        )


def original_bytes(
    parts: Parts, part: tf.Tensor, sources: tf.RaggedTensor, places: tf.Tensor, of_tokens: tf.Tensor
) -> tf.Tensor:
    """The bytes of the original strings that bytes of normalised parts were made of.

    Args:
        parts: The parts.
        part: int64 `[t]`, the part of each byte.
        sources: int64 `[q, (u)]`, of each byte of a normalised part the one in its text.
        places: int64 `[t]`, the bytes.
        of_tokens: int64 `[q]`, what is given for a token's.

    Returns:
        int64 `[t]`.
    """
    is_token, of_tokens = tf.gather(parts.is_token, part), tf.gather(of_tokens, part)
    at = tf.gather(sources.row_splits, part) + places
    at = tf.gather(parts.begins, part) + _places(sources.values, at, is_token, of_tokens)
    if parts.sources is not None:
        at = _places(parts.sources, at, is_token, of_tokens)
    return tf.where(is_token, of_tokens, at)


def row_of_value(row_splits: tf.Tensor) -> tf.Tensor:
    """int64 `[t]`: the row that each value belongs to."""
    rows = tf.range(tf.size(row_splits, tf.int64) - 1)
    return tf.repeat(rows, row_splits[1:] - row_splits[:-1])


def _places(values: tf.Tensor, at: tf.Tensor, is_token: tf.Tensor, of_tokens: tf.Tensor) -> Any:
    """Values at places, but those of tokens, which have none, as given."""
    values = tf.pad(values, [[0, 1]])  # Tokens need a first one.
    at = tf.where(is_token, tf.zeros_like(at), at)
    return tf.where(is_token, of_tokens, tf.gather(values, at))


class _Search:
    """Finds the longest of some tokens at the first place where any is.

    Args:
        characters: Of each token what it is replaced by.
        others: Of parts that are known already the same.
    """

    def __init__(
        self, characters: Mapping[str, str], others: Mapping[str, str] | None = None
    ) -> None:
        # Of alternatives the first is taken.
        longest_first = sorted(characters, key=len, reverse=True)
        self._pattern = "|".join(_PUNCTUATION.sub(r"\\\g<0>", token) for token in longest_first)
        table = {**characters, **(others or {})}
        tokens = np.array([*table], object)
        hashes = tf.strings.to_hash_bucket_fast(tokens, _BUCKETS).numpy()
        order = np.argsort(hashes)
        self._hashes = tf.constant(hashes[order])
        self._tokens = tf.constant(tokens[order])
        self._characters = tf.constant(np.array([*table.values()], object)[order])

    def split(self, texts: tf.Tensor) -> Any:
        """Parts of strings `[n]`, tokens among them, and the bytes they begin and end at."""
        return tf_text.regex_split_with_offsets(texts, self._pattern, self._pattern)

    def replaced(self, parts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Parts `[q]`, those that are tokens replaced, and which are."""
        hashes = tf.strings.to_hash_bucket_fast(parts, _BUCKETS)
        # A search costs little for thousands of tokens, too.
        place = tf.minimum(tf.searchsorted(self._hashes, hashes), tf.size(self._tokens) - 1)
        is_token = tf.gather(self._tokens, place) == parts
        return tf.where(is_token, tf.gather(self._characters, place), parts), is_token
