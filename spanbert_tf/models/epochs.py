"""What decides the order of texts in each epoch of `fit`."""

from typing import Any

import keras


class EpochNumber(keras.callbacks.Callback):
    """Tells batches which epoch comes next, so that a resumed run sees the order it would have.

    Args:
        batches: What the model is trained on.
    """

    def __init__(self, batches: Any) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.epoch = epoch


def with_callback(callbacks: Any, callback: keras.callbacks.Callback) -> Any:
    """Adds a callback to those that `fit` was given, in any of the forms that Keras takes."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(callback)
        return callbacks
    return [*keras.tree.flatten(callbacks or []), callback]


def global_seed() -> int:
    """Draws a seed as Keras' own layers do: `keras.utils.set_random_seed` decides it."""
    state = keras.random.SeedGenerator().state
    return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(state))[0])
