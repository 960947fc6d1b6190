"""Private names of Keras and KerasHub that the package leans on are what they were."""

from pathlib import Path

import keras
import pytest
import tensorflow as tf

from spanbert_tf.keras_internals import all_layers, preset_file, track_variable


def test_all_layers_finds_sublayers_of_sublayers():
    inner = keras.Sequential([keras.layers.Dropout(0.5, name="deep")])
    model = keras.Sequential([inner, keras.layers.Activation("relu", name="shallow")])
    assert {"deep", "shallow"} <= {layer.name for layer in all_layers(model)}


def test_a_tracked_variable_is_the_same_one_by_a_name_that_fit_can_use():
    layer = keras.layers.Layer()
    variable = tf.Variable([1.0, 2.0], name="dense/kernel")
    track_variable(layer, variable)
    (tracked,) = layer.weights
    assert tracked.name == "dense_kernel"
    assert layer.trainable_weights == [tracked]
    variable.assign([3.0, 4.0])
    assert keras.ops.convert_to_numpy(tracked).tolist() == [3.0, 4.0]


def test_files_of_a_preset(tmp_path: Path):
    (tmp_path / "config.json").touch()
    assert preset_file(str(tmp_path), "config.json") == tmp_path / "config.json"
    assert preset_file(str(tmp_path), "task.json") is None
    with pytest.raises(ValueError, match="Unknown preset identifier"):
        preset_file("nowhere://user/preset", "config.json")
