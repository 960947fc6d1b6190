"""Answers, as characters of contexts, to the tokens of rows that a network learns.

Letters: n questions, r rows, p pieces of a row.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.texts import as_str


def checked_spans(y: Sequence[Any], contexts: Sequence[str | bytes]) -> np.ndarray:
    """Checks answers.

    Args:
        y: Of each question `(start, end)`, its answer's first character and the one after its last,
            or `None` where there is no answer.
        contexts: The contexts.

    Returns:
        int `[n, 2]`, -1 where there is no answer.

    Raises:
        ValueError: There are not as many as contexts, or one is not within its context.
    """
    if len(y) != len(contexts):
        raise ValueError(f"`y` has answers of {len(y)} questions, but there are {len(contexts)}.")
    spans = np.full((len(y), 2), -1)
    for number, (span, context) in enumerate(zip(y, contexts, strict=True)):
        if span is None:
            continue
        length = len(as_str(context))
        if len(span) != 2 or not 0 <= span[0] < span[1] <= length:
            raise ValueError(
                f"`y`[{number}] must be (start, end) of an answer in its context of {length} "
                f"characters, or None, but is {span!r:.80}."
            )
        spans[number] = span
    return spans


def answer_tokens(rows: Rows, spans: np.ndarray) -> tf.Tensor:
    """Finds the first and the last token of each answer in the windows that hold all of it.

    An answer's pieces are those that share a character with it.  A warning counts the answers that
    no window holds.

    Args:
        rows: Questions and windows of their contexts; of each piece of the context, `starts` and
            `ends` are its characters, and `pieces` its number in the whole context.
        spans: int `[n, 2]`, as `checked_spans` gives them.

    Returns:
        int32 `[r, 2]`; the place of [CLS], 0, where a window does not hold the whole answer.
    """
    records, counts = rows.records.numpy(), rows.places["pieces"].row_lengths().numpy()
    pieces, starts, ends = (
        rows.places[name].values.numpy() for name in ("pieces", "starts", "ends")
    )
    of_piece = np.repeat(records, counts)
    begins, stops = spans[of_piece].T
    shared = (ends > begins) & (starts < stops)
    firsts, lasts = np.full(len(spans), np.iinfo(np.int32).max), np.full(len(spans), -1)
    np.minimum.at(firsts, of_piece[shared], pieces[shared])
    np.maximum.at(lasts, of_piece[shared], pieces[shared])

    # A window has pieces one after the other, so it has all if it has the first and the last.
    row_begins = np.zeros(len(records), int)
    row_begins[counts > 0] = pieces[(np.cumsum(counts) - counts)[counts > 0]]
    first, last = firsts[records] - row_begins, lasts[records] - row_begins
    whole = (first >= 0) & (first <= last) & (last < counts)
    before = 1 + rows.segments[0].row_lengths().numpy() + 1  # [CLS] question [SEP]
    tokens = np.stack([first, last], axis=1) + before[:, None]
    _warn_of_the_cut(spans, records[whole])
    return tf.constant(np.where(whole[:, None], tokens, 0), tf.int32)


def _warn_of_the_cut(spans: np.ndarray, held: np.ndarray) -> None:
    given = np.flatnonzero(spans[:, 0] >= 0)
    cut = np.setdiff1d(given, held)
    if len(cut):
        warnings.warn(
            f"{len(cut)} of {len(given)} answers are whole in no window, the first of them that of "
            f"question {cut[0]}, counted from 0; they are learned as none. A larger `doc_stride` "
            "or `sequence_length` may hold them.",
            stacklevel=2,
        )
