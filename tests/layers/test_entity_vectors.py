"""Vectors of entities: the states at their places, in order, side by side."""

import numpy as np

from spanbert_tf.layers.entity_vectors import EntityVectors


def test_states_stand_side_by_side():
    states = np.random.default_rng(0).standard_normal((3, 7, 5)).astype("float32")
    positions = np.array([[2, 0], [6, 6], [0, 5]], "int32")
    layer = EntityVectors()
    vectors = np.array(layer(states, positions))
    expected = [np.concatenate(row[at]) for row, at in zip(states, positions, strict=True)]
    np.testing.assert_array_equal(vectors, expected)
    assert layer.compute_output_shape(states.shape, positions.shape) == vectors.shape
    assert EntityVectors.from_config(layer.get_config())(states, positions).shape == (3, 10)
