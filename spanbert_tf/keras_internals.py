"""What leans on private names of Keras and KerasHub, with a test that notices when one changes."""

import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras


def all_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Lists a layer and all layers within it, sublayers of sublayers too."""
    return model._flatten_layers()


def track_variable(layer: keras.layers.Layer, variable: Any) -> None:
    """Makes a TensorFlow variable one of a `keras.layers.TFSMLayer`'s own.

    Keras leaves the ":0" in TensorFlow's names, and then the first step of `fit` fails to name the
    optimizer's variables.
    """
    layer._track_variable(
        keras.Variable(
            variable,
            trainable=variable.trainable,
            dtype=variable.dtype.name,
            name=re.sub(r"[^A-Za-z0-9_.-]", "_", variable.name.removesuffix(":0")),
        )
    )


def share_variables(model: keras.layers.Layer, variables: Mapping[str, Any]) -> None:
    """Puts variables that keep their values in others' memory in the place of a model's own.

    They are frozen whatever the others are, and neither model's `trainable` reaches the other's.

    Args:
        model: Its variables of these paths are replaced, and their memory is freed.
        variables: Those whose memory is shared, by their paths, of the same shapes and dtypes.
    """
    for layer in all_layers(model):
        for own in [*layer._trainable_variables, *layer._non_trainable_variables]:
            if own.path not in variables:
                continue
            other = variables[own.path]
            shared = keras.Variable(other.value, trainable=False, dtype=other.dtype, name=own.name)
            shared._path = own.path
            names = [name for name, value in vars(layer).items() if value is own]
            layer._untrack_variable(own)
            layer._tracker.unlock()
            for name in names:
                setattr(layer, name, shared)
            layer._tracker.lock()


def can_quantize(layer: keras.layers.Layer) -> bool:
    """Whether a layer has weights that `keras.Model.quantize` can quantize.

    Of all others it asks too, and warns of each, or fails where they are not built.
    """
    # Keras wraps the method in each instance, so that only classes tell.
    return type(layer).quantize is not keras.layers.Layer.quantize and not isinstance(
        layer, keras.Model
    )


def quantize_as(layer: keras.layers.Layer, policy: Any) -> None:
    """Quantizes a layer as another one was, whose policy is given; its weights come later."""
    # From a map of policies, which it may share with an encoder, Keras quantizes no layer.
    layer._dtype_policy = getattr(layer.dtype_policy, "default_policy", layer.dtype_policy)
    layer.dtype_policy = policy


def write_weights(
    model: keras.Model, path: str | os.PathLike[str], objects_to_skip: Iterable[Any] = ()
) -> None:
    """Writes a `.weights.h5` file as `keras.saving.save_weights` does, by way of the memory.

    HDF5 ends the whole process (SIGSEGV) where the disk is full.

    Args:
        model: A model that is built.
        path: The file.
        objects_to_skip: Layers, metrics and optimizers whose variables are left out.

    Raises:
        OSError: It cannot be written.
    """
    from keras.src.saving import saving_lib

    file = io.BytesIO()
    store = saving_lib.H5IOStore(file, mode="w")
    saving_lib._save_state(
        model,
        weights_store=store,
        assets_store=None,
        inner_path="",
        visited_saveables={id(each) for each in objects_to_skip},
    )
    store.close()
    Path(path).write_bytes(file.getbuffer())


def preset_file(preset: str, name: str) -> Path | None:
    """Gets one file of a KerasHub preset, downloaded if need be; `None` if it has no such file.

    KerasHub's public names load whole models only, and of known classes.

    Args:
        preset: Handle or name of a preset, as `from_preset` takes it.
        name: The file's name in the preset.

    Raises:
        ImportError: The handle's hub needs a package that is not installed.
        ValueError: The handle is malformed, or of a hub that KerasHub does not know.
        Exception: Whatever else the hub's own library raises.
    """
    from keras_hub.src.utils.preset_utils import get_file

    try:
        return Path(get_file(preset, name))
    except FileNotFoundError:
        return None
