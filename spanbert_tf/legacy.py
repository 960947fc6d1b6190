"""The Keras 2 lane: exported encoders under `tf_keras`, with tensorflow-addons if need be.

Keras 3 is for new work.  This is for programs that still need Keras 2: tensorflow-hub's
`KerasLayer` and tensorflow-addons know nothing else.  TensorFlow chooses its Keras once, when it is
imported, so the variable stands first:

    TF_USE_LEGACY_KERAS=1 python train.py

    from spanbert_tf import legacy
    tfa = legacy.import_addons()
    encoder = legacy.keras2_encoder("saved_models/spanbert_base/1")
    outputs = encoder({"input_word_ids": ..., "input_mask": ..., "input_type_ids": ...})

Everything is in the extra `addons`: `pip install 'spanbert-tf[addons]'`.  The rest of the package
speaks Keras 3; do not import it in the same process.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from spanbert_tf.replaced_modules import replaced_modules

_INSTALL = "pip install 'spanbert-tf[addons]'"
# Where addons looks for insides of Keras 2; today's `keras` is Keras 3.
_KERAS_2_INSIDES = ("src", "src.engine", "src.engine.keras_tensor", "src.utils")


def keras2_encoder(path: str | os.PathLike[str], trainable: bool = True) -> Any:
    """Makes a Keras 2 layer of an exported encoder.

    Args:
        path: Folder of a SavedModel that `spanbert_tf.export_encoder` wrote.
        trainable: Whether training changes the encoder's weights.

    Returns:
        A `tensorflow_hub.KerasLayer`, from a dict of `input_word_ids`, `input_mask` and
        `input_type_ids` (int32 `[batch, sequence]`) to a dict of `default`, `pooled_output`,
        `sequence_output` and `encoder_outputs`.

    Raises:
        RuntimeError: TensorFlow does not run with Keras 2.
        ModuleNotFoundError: A package is missing; the message says how to install it.
    """
    _require_keras_2()
    hub = _import("tensorflow_hub")
    # Registers the operations without which the SavedModel does not load.
    _import("tensorflow_text")
    return hub.KerasLayer(os.fspath(path), trainable=trainable)


def import_addons() -> ModuleType:
    """Imports tensorflow-addons, which by itself no longer imports.

    The project is archived and was written for TensorFlow before 2.16; its warnings about that
    are left out.  What needs its compiled operations does not work.

    Returns:
        The module `tensorflow_addons`.

    Raises:
        RuntimeError: Python is 3.12 or later, or TensorFlow does not run with Keras 2.
        ModuleNotFoundError: A package is missing; the message says how to install it.
    """
    if sys.version_info >= (3, 12):
        raise RuntimeError(
            f"tensorflow-addons is archived and its last release is for Python 3.11 and older; "
            f"this is Python {sys.version.split()[0]}"
        )
    _require_keras_2()
    with _keras_is_keras_2(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _import("tensorflow_addons")


def _require_keras_2() -> None:
    if os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
        raise RuntimeError(
            "the Keras 2 lane needs the environment variable TF_USE_LEGACY_KERAS=1, set before "
            f"TensorFlow is imported; it is {os.environ.get('TF_USE_LEGACY_KERAS')!r}"
        )
    keras_2 = _import("tf_keras")
    tensorflow = _import("tensorflow")
    if tensorflow.keras.layers.Layer is not keras_2.layers.Layer:
        raise RuntimeError(
            "TF_USE_LEGACY_KERAS=1 was set after TensorFlow had been imported, too late to have an "
            "effect: set it before Python starts"
        )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = f"module {error.name!r} is missing"
        if error.name == "pkg_resources":
            missing += ", which setuptools 82 removed"
        raise ModuleNotFoundError(
            f"the Keras 2 lane needs {name}, and the {missing}: {_INSTALL}", name=error.name
        ) from error


@contextmanager
def _keras_is_keras_2() -> Iterator[None]:
    """Lets `from keras.src...` find the same part of `tf_keras`, for as long as it lasts."""
    aliases = {f"keras.{part}": _import(f"tf_keras.{part}") for part in _KERAS_2_INSIDES}
    with replaced_modules(aliases):
        yield
