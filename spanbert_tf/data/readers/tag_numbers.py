"""Entities as the numbers of tags that a network learns.

Type k of entities has the tags 2k + 1, which begins one (B-), and 2k + 2, which continues one (I-);
0 is outside of any (O).

Letters: t tags, p pieces of a row, e entities of a text.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from spanbert_tf.data.readers.entities import EntitySpan


def legal_moves(groups: int) -> tuple[Any, Any]:
    """Which tags may begin a path, bool `[t]`, and which may follow which, bool `[t, t]`.

    A tag that continues an entity may only follow one of the same type.
    """
    tags = np.arange(2 * groups + 1)
    continues = (tags % 2 == 0) & (tags > 0)
    group = (tags - 1) // 2
    same = (group[:, None] == group) & (tags[:, None] > 0)
    return ~continues, ~continues | same


def tag_words(
    starts: np.ndarray, ends: np.ndarray, word_starts: np.ndarray, spans: np.ndarray
) -> np.ndarray:
    """Tags the words of a row.

    A word is of the entity that covers its first character, or else of one that begins within it.

    Args:
        starts: int `[p]`, first character of each piece.
        ends: int `[p]`, the character after the last of each piece's word.
        word_starts: bool `[p]`, whether a piece is the first of its word.
        spans: int `[e, 3]`, start, end and number of the type of each entity, in order.

    Returns:
        int32 `[p]`, 0 where no word begins.

    Example:
        Words at 0-4, 5-9 and 10-14, an entity of type 0 at 5-14 -> tags 0, 1 and 2.
    """
    tags = np.zeros(len(starts), np.int32)
    words = np.flatnonzero(word_starts)
    if not len(words) or not len(spans):
        return tags
    begin, end = starts[words], ends[words]
    covering = np.searchsorted(spans[:, 0], begin, side="right") - 1
    covers = (covering >= 0) & (spans[covering, 1] > begin)
    within = np.searchsorted(spans[:, 0], end, side="left") - 1
    begins_within = (within >= 0) & (spans[within, 0] >= begin)
    of = np.where(covers, covering, np.where(begins_within, within, -1))
    is_first = of != np.append(-1, of[:-1])
    tags[words] = np.where(of >= 0, 2 * spans[of, 2] + np.where(is_first, 1, 2), 0)
    return tags


def numbered_spans(number: int, entities: Iterable[Any], groups: dict[str, int]) -> np.ndarray:
    """Numbers the types of a text's entities.

    Args:
        number: Of the text, for messages.
        entities: `EntitySpan`s, or `(start, end, label)`.
        groups: Number of each type.

    Returns:
        int `[e, 3]`, start, end and number of the type, in order.

    Raises:
        ValueError: A type is unknown, or two entities share characters.
    """
    spans = []
    for entity in entities:
        if isinstance(entity, EntitySpan):
            entity = (entity.start, entity.end, entity.label)
        start, end, label = entity
        if label not in groups:
            raise ValueError(
                f"`y`[{number}]: unknown entity type {label!r}; expected one of "
                f"{', '.join(groups)}."
            )
        spans.append((start, end, groups[label]))
    spans.sort()
    for one, other in pairwise(spans):
        if one[1] > other[0]:
            raise ValueError(
                f"`y`[{number}]: the entities at {one[0]}-{one[1]} and {other[0]}-{other[1]} share "
                "characters; expected entities that do not overlap or lie within one another."
            )
    return np.array(spans, int).reshape(-1, 3)
