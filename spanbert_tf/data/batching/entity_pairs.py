"""Pairs of entities that people or a token classifier give -> columns of strings.

The columns are what a relation extractor takes: texts, heads and tails, one row a pair.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, permutations
from typing import Any

from spanbert_tf.data.batching.entity_marks import write_span
from spanbert_tf.data.readers.entities import EntitySpan
from spanbert_tf.data.readers.lines import quote
from spanbert_tf.data.readers.relations import Pair, check_pair, read_marks


def columns_of_pairs(pairs: Iterable[Pair]) -> list[list[str]]:
    """Writes texts, heads and tails."""
    columns: list[list[str]] = [[], [], []]
    for text, *spans in pairs:
        row = [text, *(write_span(span.start, span.end, span.label) for span in spans)]
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


def marked_pairs(texts: Sequence[str]) -> list[Pair]:
    """The pair that is marked in each text, see `read_marks`.

    Raises:
        ValueError: A text has other marks; it is named by its number.
    """
    pairs = []
    for number, text in enumerate(texts):
        try:
            pair = read_marks(text)
            check_pair(*pair)
        except ValueError as error:
            raise ValueError(f"text {number}: {error}") from error
        pairs.append(pair)
    return pairs


def given_pairs(texts: Sequence[str], pairs: Sequence[Any]) -> list[list[Pair]]:
    """The pairs of each text that people give.

    Args:
        texts: The texts.
        pairs: Of each text a list of heads and tails, each an `EntitySpan`, `(start, end)`,
            `(start, end, type)`, or what has `start`, `end` and `entity_group`.

    Raises:
        ValueError: There are not as many lists as texts, or a pair is none; it is named.
    """
    if not isinstance(pairs, list | tuple) or len(pairs) != len(texts):
        raise ValueError(
            f"expected `entities` as a list of pairs for each of {len(texts)} texts, got "
            f"{quote(pairs)}"
        )
    found = []
    for number, (text, of_text) in enumerate(zip(texts, pairs, strict=True)):
        of = []
        for place, pair in enumerate(of_text):
            try:
                head, tail = map(_span_of, pair)
                check_pair(text, head, tail)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"`entities`, text {number}, pair {place}: {quote(pair)}: {error}"
                ) from error
            of.append((text, head, tail))
        found.append(of)
    return found


def all_pairs(
    texts: Sequence[str], entities: Sequence[Sequence[Any]], have_direction: bool
) -> list[list[Pair]]:
    """All pairs of the entities that were found in each text.

    Args:
        texts: The texts.
        entities: As a token classifier finds them in each.
        have_direction: Whether relations say by their names which entity is which, so that one
            order of two entities, that of the text, is enough; else there are both.
    """
    pairs_of = combinations if have_direction else permutations
    return [
        [(text, head, tail) for head, tail in pairs_of(map(_span_of, found), 2)]
        for text, found in zip(texts, entities, strict=True)
    ]


def _span_of(entity: Any) -> EntitySpan:
    if isinstance(entity, EntitySpan):
        return entity
    if hasattr(entity, "entity_group"):
        return EntitySpan(entity.start, entity.end, entity.entity_group)
    start, end, *label = entity
    return EntitySpan(int(start), int(end), *(label or [""]))
