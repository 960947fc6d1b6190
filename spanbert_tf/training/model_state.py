"""All that the next training step of a model depends on, by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from spanbert_tf.keras_internals import all_layers
from spanbert_tf.models.random_state import seed_generators


def state_of(model: keras.Model) -> dict[str, Any]:
    """Gives weights, random state and optimizer of a compiled model, each under its own name."""
    variables = [*model.weights, *seed_generators(model), *model.optimizer.variables]
    # Not their paths: Keras counts the models of a process in those.
    return {f"{i:04d} {variable.name}": variable.value for i, variable in enumerate(variables)}


def assign_state(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Puts a state into a model that is made and compiled as it was.

    Raises:
        ValueError: It is the state of another network.
    """
    state = state_of(model)
    if state.keys() != tensors.keys():
        odd = min(state.keys() ^ tensors.keys())
        raise ValueError(f"the checkpoint is of another network: {odd!r} is only in one of them.")
    for name, variable in state.items():
        variable.assign(tensors[name])


@contextmanager
def dropout_rate(model: keras.Model, rate: float | None) -> Iterator[None]:
    """Changes the rate of all dropout in functions that are traced within; `None`: does not."""
    layers = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.Dropout)]
    rates = [layer.rate for layer in layers]
    for layer in layers:
        layer.rate = layer.rate if rate is None else rate
    try:
        yield
    finally:
        for layer, before in zip(layers, rates, strict=True):
            layer.rate = before
