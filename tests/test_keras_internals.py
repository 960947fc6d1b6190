"""Private names of Keras and KerasHub that the package leans on are what they were."""

import gc
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.keras_internals import (
    all_layers,
    preset_file,
    share_variables,
    track_variable,
)


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


def test_shared_variables_are_one_memory_and_two_variables():
    def model() -> keras.Model:
        inputs = keras.Input((3,))
        hidden = keras.layers.Dense(4, name="dense")(inputs)
        return keras.Model(inputs, keras.layers.LayerNormalization(name="norm")(hidden))

    one, other = model(), model()
    base = {weight.path: weight for weight in one.weights}
    share_variables(other, {path: base[path] for path in ("dense/kernel", "norm/gamma")})
    dense, norm = other.layers[1:]
    for layer, shared, own in ((dense, dense.kernel, dense.bias), (norm, norm.gamma, norm.beta)):
        assert shared.value is base[shared.path].value
        assert layer.trainable_weights == [own]
        assert layer.non_trainable_weights == [shared]
        assert own.value is not base[own.path].value
    other.trainable = False
    other.trainable = True
    assert other.trainable_weights == [dense.bias, norm.beta]
    assert len(one.trainable_weights) == 4
    one.layers[1].kernel.assign(keras.ops.ones((3, 4)))
    np.testing.assert_allclose(dense(keras.ops.ones((1, 3))), np.full((1, 4), 3.0))
    # The layer is locked as it was, and LoRA unlocks it.
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        dense.extra = keras.Variable(0.0)
    dense.enable_lora(2)
    assert len(dense.trainable_weights) == 3
    # Nothing keeps the memory that was replaced.
    old = weakref.ref(norm.beta.value)
    share_variables(other, {"norm/beta": base["norm/beta"]})
    del own, layer, shared
    gc.collect()
    assert old() is None


def test_files_of_a_preset(tmp_path: Path):
    (tmp_path / "config.json").touch()
    assert preset_file(str(tmp_path), "config.json") == tmp_path / "config.json"
    assert preset_file(str(tmp_path), "task.json") is None
    with pytest.raises(ValueError, match="Unknown preset identifier"):
        preset_file("nowhere://user/preset", "config.json")
