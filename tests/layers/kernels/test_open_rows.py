"""Rows that end one by one, against a loop over each row alone."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from spanbert_tf.layers.kernels import open_rows
from spanbert_tf.layers.kernels.open_rows import ENDED_PART, repeat_while_open

LENGTH = 6


def run(ends: list[int], beams: int = 2) -> tuple[Any, int]:
    """Adds numbers of its own to each row's, up to its end; also how many rows took steps."""
    taken = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def graph(ends: tf.Tensor) -> Any:
        rows = tf.shape(ends)[0]

        def is_open(kept: Any) -> Any:
            steps, ends, _ = kept
            return steps < ends

        def body(place: Any, kept: Any, state: Any) -> Any:
            steps, ends, total = kept
            of_beams, numbers = state
            taken.assign_add(tf.size(steps))
            is_still = (steps < ends)[:, None]
            own = ops.reshape(of_beams, (-1, beams)) * (place + 1) + numbers[:, None]
            total = total + ops.where(is_still, own, 0)
            steps = steps + ops.cast(steps < ends, "int32")
            return (steps, ends, total), (of_beams + 1, numbers)

        kept = (tf.zeros_like(ends), ends, tf.zeros((rows, beams), tf.int32))
        return repeat_while_open(is_open, body, kept, (tf.range(rows * beams), ends * 100), LENGTH)

    kept = graph(tf.constant(ends, tf.int32))
    return [of.numpy() for of in kept], int(taken.numpy())


def expected(ends: list[int], beams: int = 2) -> tuple[list[int], np.ndarray]:
    steps = [min(end, LENGTH) for end in ends]
    total = np.zeros((len(ends), beams), int)
    for row, end in enumerate(ends):
        for place in range(steps[row]):
            for beam in range(beams):
                total[row, beam] += (row * beams + beam + place) * (place + 1) + end * 100
    return steps, total


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, LENGTH + 2), max_size=9))
def test_each_row_is_as_if_it_were_alone(ends: list[int]):
    (steps, _, total), taken = run(ends)
    of_each, sums = expected(ends)
    assert steps.tolist() == of_each
    np.testing.assert_array_equal(total, sums)
    # Of the rows that take a step, at most so large a part has ended.
    open_rows_of = [sum(end > place for end in ends) for place in range(LENGTH)]
    assert sum(open_rows_of) <= taken
    assert taken <= sum(of / (1 - ENDED_PART) for of in open_rows_of) + 1e-6


def test_rows_that_have_ended_take_no_steps():
    _, taken = run([1] * 12 + [LENGTH] * 4)
    assert taken == 16 + 4 * (LENGTH - 1)
    _, taken = run([0] * 5)
    assert taken == 0


def test_where_shapes_are_fixed_all_rows_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(open_rows, "_leaving", open_rows._staying)
    ends = [1, 6, 3, 8]
    (steps, _, total), taken = run(ends)
    assert steps.tolist() == expected(ends)[0]
    np.testing.assert_array_equal(total, expected(ends)[1])
    assert taken == 4 * LENGTH
