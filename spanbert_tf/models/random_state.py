"""The random numbers of a model's dropout."""

from typing import Any

import keras


def seed_generators(model: keras.Model) -> list[Any]:
    """Gives the state of dropout's random numbers, which Keras leaves out of weights."""
    others = {id(v) for v in [*model.weights, *model.metrics_variables]}
    return [variable for variable in model.variables if id(variable) not in others]
