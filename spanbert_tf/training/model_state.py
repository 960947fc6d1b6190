"""All that the next training step of a model depends on, by name."""

from typing import Any

import keras
import numpy as np


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


def seed_generators(model: keras.Model) -> list[Any]:
    """Gives the state of dropout's random numbers, which Keras leaves out of weights."""
    others = {id(v) for v in [*model.weights, *model.metrics_variables]}
    return [variable for variable in model.variables if id(variable) not in others]
