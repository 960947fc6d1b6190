"""What stands for several entities of a text together.

Letters: b batch, s sequence, e entities, H hidden.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.kernels.gathering import take_positions


@keras.saving.register_keras_serializable("spanbert_tf")
class EntityVectors(keras.layers.Layer):
    """The states at the tokens that stand for entities, side by side (Baldini Soares et al., 2019).

    Call arguments:
        states: float `[b, s, H]`.
        positions: int `[b, e]`, where the entities' tokens stand; e is known.

    Returns:
        `[b, e x H]`, of the dtype of the states.
    """

    def build(self, states_shape: Any, positions_shape: Any) -> None:
        self.width = positions_shape[1] * states_shape[2]
        self.built = True

    def call(self, states: Any, positions: Any) -> Any:
        return ops.reshape(take_positions(states, positions), (-1, self.width))

    def compute_output_shape(self, states_shape: Any, positions_shape: Any) -> Any:
        return (states_shape[0], positions_shape[1] * states_shape[2])
