"""Windows of long texts: all is covered, each piece has one owner, in the middle."""

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.data.batching.windows import cut_windows, plan_windows


def test_the_example():
    windows = plan_windows(tf.constant([10]), room=6, overlap=2)
    assert windows.begins.numpy().tolist() == [0, 4]
    assert windows.ends.numpy().tolist() == [6, 10]
    assert windows.owned_begins.numpy().tolist() == [0, 5]
    assert windows.owned_ends.numpy().tolist() == [5, 10]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(1, 12), st.data())
def test_pieces_are_covered_and_owned_once(lengths: list[int], room: int, data: st.DataObject):
    overlap = data.draw(st.integers(0, room - 1))
    windows = [field.numpy() for field in plan_windows(tf.constant(lengths), room, overlap)]
    texts, begins, ends, owned_begins, owned_ends = windows
    assert (ends - begins <= room).all()
    assert (begins <= owned_begins).all()
    assert (owned_ends <= ends).all()
    for text, length in enumerate(lengths):
        of_text = np.flatnonzero(texts == text)
        owned = [piece for row in of_text for piece in range(owned_begins[row], owned_ends[row])]
        assert owned == list(range(length))
        assert len(of_text) == 1 or (ends[of_text] - begins[of_text] == room).all()
        assert (ends[of_text][:-1] - begins[of_text][1:] >= overlap).all()


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(2, 9))
def test_windows_hold_the_pieces_that_they_say(lengths: list[int], room: int):
    windows = plan_windows(tf.constant(lengths), room, room // 2)
    cut = cut_windows(tf.ragged.range(lengths), windows).to_list()
    expected = [
        list(range(b, e)) for b, e in zip(windows.begins.numpy(), windows.ends.numpy(), strict=True)
    ]
    assert cut == expected


def test_each_text_may_have_a_room_of_its_own():
    windows = plan_windows(tf.constant([8, 8]), tf.constant([8, 4]), tf.constant([0, 2]))
    assert windows.texts.numpy().tolist() == [0, 1, 1, 1]
