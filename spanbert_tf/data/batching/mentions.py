"""Mentions, as characters of texts, to the tokens of rows that a network learns.

Letters: r rows, each a whole text, p pieces of a row, m mentions of a row.
"""

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
    found, left_out = [], {"too wide": 0, "cut or without a piece": 0, "there twice": 0}
    for row, (clusters, text) in enumerate(zip(y, texts, strict=True)):
        of_row = slice(splits[row], min(splits[row + 1], splits[row] + most_pieces))
        spans = _checked(row, clusters, len(as_str(text)))
        first = np.searchsorted(ends[of_row], spans[:, 0], "right")
        last = np.searchsorted(starts[of_row], spans[:, 1], "left") - 1
        is_cut = (last < first) | (spans[:, 1] > ends[of_row].max(initial=0))
        is_wide = ~is_cut & (last - first >= max_length)
        tokens = np.stack([first + 1, last + 1, spans[:, 2]], axis=1)[~is_cut & ~is_wide]
        kept = tokens[np.unique(tokens[:, :2], axis=0, return_index=True)[1]]
        for reason, count in zip(
            left_out, (is_wide.sum(), is_cut.sum(), len(tokens) - len(kept)), strict=True
        ):
            left_out[reason] += int(count)
        found.append(kept)
    _warn(left_out, sum(map(len, found)), max_length)
    values = np.concatenate([np.empty((0, 3)), *found]).astype("int32")
    return tf.RaggedTensor.from_row_lengths(values, [len(tokens) for tokens in found])


def _checked(number: int, clusters: Any, length: int) -> np.ndarray:
    """First character, character after the last, and cluster of each mention, int `[m, 3]`."""
    spans = []
    for cluster, mentions in enumerate(clusters):
        for mention in mentions:
            if len(mention) != 2 or not 0 <= mention[0] < mention[1] <= length:
                raise ValueError(
                    f"`y`[{number}][{cluster}] must have mentions (start, end) in the text of "
                    f"{length} characters, but has {mention!r:.80}."
                )
            spans.append((*mention, cluster))
    return np.array(spans, int).reshape(-1, 3)


def _warn(left_out: dict[str, int], kept: int, max_length: int) -> None:
    reasons = [f"{count} {reason}" for reason, count in left_out.items() if count]
    if reasons:
        warnings.warn(
            f"of {kept + sum(left_out.values())} mentions {' and '.join(reasons)} are not learned; "
            f"the widest may have {max_length} word pieces.",
            stacklevel=3,
        )
