"""Marks around two entities: where they stand, and what is kept of a text that is too long."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.batching.entity_marks import Spans, mark_entities, read_spans, write_span

AROUND, INSTEAD = [[101, 102], [103, 104]], [[101], [103]]


def spans_of(spans: list[tuple[int, int]]) -> Spans:
    starts, ends = (tf.constant(of, tf.int32) for of in zip(*spans, strict=True))
    return Spans(starts, ends, tf.fill(tf.shape(starts), ""))


def mark(lengths: list[int], heads: list, tails: list, marks: list, room: int = 1000) -> tuple:
    """Pieces 0, 1, 2 ... of two characters each, side by side."""
    ids = tf.ragged.range(lengths)
    pieces = SimpleNamespace(token_ids=ids, starts=2 * ids, ends=2 * ids + 2)
    each = tf.repeat(tf.constant([marks]), len(lengths), axis=0)
    marked = mark_entities(pieces, spans_of(heads), spans_of(tails), each, room)
    return marked.token_ids.to_list(), marked.entity_starts.numpy(), marked.lengths.numpy()


@pytest.mark.parametrize(
    ("head", "tail", "marks", "expected"),
    [
        ((2, 6), (8, 10), AROUND, [0, 101, 1, 2, 102, 3, 103, 4, 104]),
        ((2, 6), (8, 10), INSTEAD, [0, 101, 3, 103]),
        ((8, 10), (2, 6), AROUND, [0, 103, 1, 2, 104, 3, 101, 4, 102]),
        ((8, 10), (2, 6), INSTEAD, [0, 103, 3, 101]),
        # Side by side.
        ((2, 4), (4, 6), AROUND, [0, 101, 1, 102, 103, 2, 104, 3, 4]),
        ((4, 6), (2, 4), INSTEAD, [0, 103, 101, 3, 4]),
        # One within the other, at its start, at its end and amid; and overlapping.
        ((2, 8), (2, 4), AROUND, [0, 101, 103, 1, 104, 2, 3, 102, 4]),
        ((2, 4), (2, 8), AROUND, [0, 103, 101, 1, 102, 2, 3, 104, 4]),
        ((2, 8), (6, 8), AROUND, [0, 101, 1, 2, 103, 3, 104, 102, 4]),
        ((4, 6), (2, 8), AROUND, [0, 103, 1, 101, 2, 102, 3, 104, 4]),
        ((2, 6), (4, 8), AROUND, [0, 101, 1, 103, 2, 102, 3, 104, 4]),
        # Not whole pieces: all that they share a character with.
        ((3, 5), (9, 10), AROUND, [0, 101, 1, 2, 102, 3, 103, 4, 104]),
        # Two halves of one piece.
        ((2, 3), (3, 4), AROUND, [0, 101, 103, 1, 104, 102, 2, 3, 4]),
        ((2, 3), (3, 4), INSTEAD, [0, 101, 103, 2, 3, 4]),
    ],
)
def test_marks_stand_where_entities_begin_and_end(head, tail, marks, expected):
    tokens, starts, _ = mark([5, 0], [head, (0, 1)], [tail, (1, 2)], marks)
    assert tokens[0] == expected
    assert [tokens[0][place] for place in starts[0]] == [101, 103]
    # A text without pieces has its marks too.
    assert tokens[1] == ([101, 103, 104, 102] if marks is AROUND else [101, 103])


def cut_step_by_step(tokens: list[int], entities: list[range], room: int) -> list[int]:
    """Adds one token at a time: between the entities, then around them, from both in turn."""
    kept = set().union(*entities)
    first, last = min(kept), max(kept)

    def add(candidates: list[list[int]]) -> None:
        while any(candidates) and len(kept) < room:
            for side in candidates:
                if side and len(kept) < room:
                    place = side.pop(0)
                    kept.add(place)
                    for other in candidates:
                        if place in other:
                            other.remove(place)

    between = [place for place in range(first, last) if place not in kept]
    add([between[:], between[::-1]])
    add([list(range(first - 1, -1, -1)), list(range(last + 1, len(tokens)))])
    return [tokens[place] for place in sorted(kept)]


@settings(max_examples=30)
@given(st.data(), st.sampled_from([AROUND, INSTEAD]))
def test_a_long_text_is_cut_around_its_entities(data: st.DataObject, marks: list):
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    room = data.draw(st.integers(3, 26))
    heads, tails = [], []
    for length in lengths:
        for spans in (heads, tails):
            start = data.draw(st.integers(0, 2 * length - 1))
            spans.append((start, data.draw(st.integers(start + 1, 2 * length))))
        overlap = heads[-1][0] < tails[-1][1] and tails[-1][0] < heads[-1][1]
        if marks is INSTEAD and overlap:
            heads[-1], tails[-1] = (0, 1), (1, 2)
    whole, places, _ = mark(lengths, heads, tails, marks)
    cut, starts, needed = mark(lengths, heads, tails, marks, room)
    for text, tokens in enumerate(whole):
        assert len(tokens) <= lengths[text] + 2 * len(marks[0])
        entities = [range(tokens.index(of[0]), tokens.index(of[-1]) + 1) for of in marks]
        assert [entity.start for entity in entities] == places[text].tolist()
        assert needed[text] == len(set().union(*entities))
        if needed[text] <= room:
            assert cut[text] == cut_step_by_step(tokens, entities, room)
            assert [cut[text][place] for place in starts[text]] == [101, 103]


def test_entities_travel_as_strings():
    column = tf.constant([write_span(0, 3), write_span(10, 12, "PER"), "7:9:a:b c", "1:2:"])
    starts, ends, types = (of.numpy().tolist() for of in read_spans(column))
    assert (starts, ends) == ([0, 10, 7, 1], [3, 12, 9, 2])
    assert types == [b"", b"PER", b"a:b c", b""]
    for wrong in ("", "0", "3-5", "a:b", "-1:2"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="could not correctly convert"):
            read_spans(tf.constant([wrong]))


def test_no_texts_give_no_rows():
    empty = Spans(*(tf.zeros(0, of) for of in (tf.int32, tf.int32, tf.string)))
    ids = tf.RaggedTensor.from_row_splits(tf.zeros(0, tf.int32), [0])
    pieces = SimpleNamespace(token_ids=ids, starts=ids, ends=ids)
    marked = mark_entities(pieces, empty, empty, tf.zeros((0, 2, 2), tf.int32), 9)
    assert marked.token_ids.to_list() == []
    assert np.shape(marked.entity_starts) == (0, 2)
