"""Functions that are kept as graphs."""

import tensorflow as tf

from spanbert_tf.models.graphs import Graphs


def test_the_functions_that_were_used_last_are_kept():
    graphs, traced = Graphs(), []

    def call(key: int) -> int:
        def function(x: tf.Tensor) -> tf.Tensor:
            traced.append(key)
            return x + key

        return int(graphs.call(key, function, (), tf.constant(1)))

    assert [call(key) for key in (*range(16), 0, 16, 0)] == [*range(1, 17), 1, 17, 1]
    assert traced == [*range(17)]
    assert call(1) == 2  # It was the oldest, and made room.
    assert traced == [*range(17), 1]
