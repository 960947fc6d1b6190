"""Mentions, as characters of texts, to the tokens of rows that a network learns.

Letters: r rows, each a whole text, p pieces of a row, m mentions of a row.
"""

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.texts import as_str


def mention_tokens(
    rows: Rows, y: Sequence[Any], texts: Sequence[str | bytes], max_length: int, most_pieces: int
) -> tf.RaggedTensor:
    """Finds the first and the last token of each mention.

    A mention's pieces are those that share a character with it.  A warning counts the mentions that
    are left out: those of more than `max_length` pieces, of pieces past a row's end or of none, and
    those of the same pieces as one before.

    Args:
        rows: One row a text; of each piece `starts` and `ends` are its characters.
        y: Of each text its clusters, each of mentions `(start, end)` in characters; they may lie
            within one another or cross.
        texts: The texts.
        max_length: The most pieces of a mention.
        most_pieces: The most pieces that a row keeps.

    Returns:
        int32 `[r, (m), 3]`: first and last token, [CLS] counted, and the number of the cluster,
        from 0; in the order of the tokens.

    Raises:
        ValueError: `y` is of another form, or a mention is not within its text.
    """
    if len(y) != len(texts):
        raise ValueError(f"`y` has clusters of {len(y)} texts, but there are {len(texts)}.")
    starts, ends = (rows.places[name].values.numpy() for name in ("starts", "ends"))
    splits = rows.places["starts"].row_splits.numpy()
    found: list[np.ndarray] = []
    left_out = {"too wide": 0, "cut or without a piece": 0, "there twice": 0}
    for row, (clusters, text) in enumerate(zip(y, texts, strict=True)):
        of_row = slice(*splits[row : row + 2])
        spans = _checked(f"`y`[{row}]", clusters, len(as_str(text)))
        tokens, is_cut = _tokens_of(spans, starts[of_row], ends[of_row], most_pieces)
        is_wide = ~is_cut & (tokens[:, 1] - tokens[:, 0] >= max_length)
        tokens = tokens[~is_cut & ~is_wide]
        kept = tokens[np.unique(tokens[:, :2], axis=0, return_index=True)[1]]
        for reason, count in zip(
            left_out, (is_wide.sum(), is_cut.sum(), len(tokens) - len(kept)), strict=True
        ):
            left_out[reason] += int(count)
        found.append(kept)
    _warn(left_out, sum(map(len, found)), max_length)
    return _ragged(found)


def given_mention_tokens(
    rows: Rows, mentions: Sequence[Any], texts: Sequence[str | bytes], most_pieces: int
) -> tf.RaggedTensor:
    """Finds the first and the last token of each of the mentions that are to be linked.

    Args:
        rows: As for `mention_tokens`.
        mentions: Of each text its mentions, `(start, end)` in characters.
        texts: The texts.
        most_pieces: The most pieces that a row keeps.

    Returns:
        int32 `[r, (m), 3]`: first and last token, [CLS] counted, and the mention's place among
        those of its text; in the order of the tokens.

    Raises:
        ValueError: `mentions` is of another form; a mention is not within its text, or in a part
            of it that is not read, has no word piece, or the same ones as another.
    """
    if len(mentions) != len(texts):
        raise ValueError(
            f"`mentions` has those of {len(mentions)} texts, but there are {len(texts)}."
        )
    starts, ends = (rows.places[name].values.numpy() for name in ("starts", "ends"))
    splits = rows.places["starts"].row_splits.numpy()
    found = []
    for row, (of_text, text) in enumerate(zip(mentions, texts, strict=True)):
        of_row = slice(*splits[row : row + 2])
        spans = _checked(f"`mentions`[{row}]", [[one] for one in of_text], len(as_str(text)))
        tokens, is_cut = _tokens_of(spans, starts[of_row], ends[of_row], most_pieces)
        for number in np.flatnonzero(is_cut):
            raise ValueError(
                f"`mentions`[{row}][{number}], {tuple(of_text[number])}, has no word piece, or one "
                f"past the {most_pieces} that are read."
            )
        tokens = tokens[np.lexsort(tokens.T[::-1])]
        for at in np.flatnonzero((tokens[1:, :2] == tokens[:-1, :2]).all(axis=1)):
            one, other = (tuple(of_text[number]) for number in tokens[at : at + 2, 2])
            raise ValueError(f"`mentions`[{row}]: {one} and {other} have the same word pieces.")
        found.append(tokens)
    return _ragged(found)


def _tokens_of(
    spans: np.ndarray, starts: np.ndarray, ends: np.ndarray, most_pieces: int
) -> tuple[np.ndarray, np.ndarray]:
    """First token, last token and number of spans, int `[m, 3]`, and which are not all there.

    Args:
        spans: int `[m, 3]`, first character, character after the last, and a number.
        starts: int `[p]`, first character of each piece.
        ends: int `[p]`, the one after its last.
        most_pieces: How many of them are read.
    """
    first = np.searchsorted(ends, spans[:, 0], "right")
    last = np.searchsorted(starts, spans[:, 1], "left") - 1
    is_cut = (last < first) | (last >= most_pieces)
    return np.stack([first + 1, last + 1, spans[:, 2]], axis=1), is_cut


def _ragged(tokens: Sequence[np.ndarray]) -> tf.RaggedTensor:
    values = np.concatenate([np.empty((0, 3)), *tokens]).astype("int32")
    return tf.RaggedTensor.from_row_lengths(values, [len(of_text) for of_text in tokens])


def _checked(name: str, clusters: Any, length: int) -> np.ndarray:
    """First character, character after the last, and cluster of each mention, int `[m, 3]`."""
    spans = []
    for cluster, mentions in enumerate(clusters):
        for mention in mentions:
            if not _is_span(mention, length):
                raise ValueError(
                    f"{name}[{cluster}] must have mentions (start, end) in the text of {length} "
                    f"characters, but has {mention!r:.80}."
                )
            spans.append((*mention, cluster))
    return np.array(spans, int).reshape(-1, 3)


def _is_span(mention: Any, length: int) -> bool:
    try:
        start, end = mention
        return 0 <= operator.index(start) < operator.index(end) <= length
    except (TypeError, ValueError):
        return False


def _warn(left_out: dict[str, int], kept: int, max_length: int) -> None:
    reasons = [f"{count} {reason}" for reason, count in left_out.items() if count]
    if reasons:
        warnings.warn(
            f"of {kept + sum(left_out.values())} mentions {' and '.join(reasons)} are not learned; "
            f"the widest may have {max_length} word pieces.",
            stacklevel=3,
        )
