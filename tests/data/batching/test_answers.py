"""Answers as tokens of the windows that hold them, against a search of each window."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.batching.answers import answer_tokens, checked_spans
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.windows import cut_windows, plan_windows


def make_rows(
    characters: list[list[tuple[int, int]]], questions: list[int], room: int, overlap: int
) -> Rows:
    """Rows of contexts with pieces at such characters, and questions of so many pieces."""
    lengths = tf.constant([len(of) for of in characters], tf.int32)
    windows = plan_windows(lengths, room, overlap)
    flat = np.array([place for of in characters for place in of]).reshape(-1, 2)
    of_contexts = [tf.RaggedTensor.from_row_lengths(flat[:, side], lengths) for side in range(2)]
    places = dict(zip(("starts", "ends"), of_contexts, strict=True))
    places = {name: cut_windows(of, windows) for name, of in places.items()}
    places["pieces"] = tf.ragged.range(windows.begins, windows.ends)
    asked = tf.gather(tf.ragged.range(questions), windows.texts)
    return Rows((asked, places["pieces"]), windows.texts, tf.size(lengths), places=places)


@pytest.mark.filterwarnings("ignore:.*whole in no window")
@settings(max_examples=40)
@given(st.data())
def test_equal_a_search_of_each_window(data: st.DataObject):
    characters, spans = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        widths = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=12))
        at, places = 0, []
        for gap, width in widths:
            places.append((at + gap, at + gap + width))
            at += gap + width
        characters.append(places)
        start = data.draw(st.integers(0, at + 2))
        spans.append(data.draw(st.sampled_from([(-1, -1), (start, start + 3)])))
    questions = data.draw(st.lists(st.integers(0, 3), min_size=len(spans), max_size=len(spans)))
    room = data.draw(st.integers(1, 6))
    rows = make_rows(characters, questions, room, data.draw(st.integers(0, room - 1)))
    found = answer_tokens(rows, np.array(spans)).numpy().tolist()
    starts, pieces = rows.places["starts"].to_list(), rows.places["pieces"].to_list()
    for row, record in enumerate(rows.records.numpy()):
        begin, stop = spans[record]
        answer = [n for n, (a, b) in enumerate(characters[record]) if b > begin and a < stop]
        expected = [0, 0]
        if begin >= 0 and answer and set(answer) <= set(pieces[row]):
            before = questions[record] + 2
            expected = [pieces[row].index(n) + before for n in (answer[0], answer[-1])]
        assert found[row] == expected
    assert len(found) == len(starts)


def test_answers_that_no_window_holds_are_counted():
    pieces = [(n, n + 1) for n in range(10)]
    rows = make_rows([pieces] * 3, [1] * 3, room=4, overlap=1)
    spans = np.array([(0, 4), (2, 6), (-1, -1)])
    with pytest.warns(UserWarning, match="1 of 2 answers are whole in no window, .* question 1,"):
        found = answer_tokens(rows, spans)
    assert found.numpy().tolist() == [[3, 6], *[[0, 0]] * 8]


@pytest.mark.parametrize("span", [(0, 5), (3, 3), (-1, 2), (1,)])
def test_answers_outside_their_context_are_named(span: tuple):
    with pytest.raises(ValueError, match=r"`y`\[1\] must be \(start, end\) .* 4 characters"):
        checked_spans([(0, 4), span], ["abcd", "abcd"])


def test_as_many_answers_as_contexts_are_wanted():
    with pytest.raises(ValueError, match="answers of 1 questions, but there are 2"):
        checked_spans([None], ["a", "b"])
