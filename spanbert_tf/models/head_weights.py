"""Presets of tasks whose heads hold weights: those are saved beside the encoder's, and alone."""

from typing import TYPE_CHECKING, Any

import keras

# Only for the type checker: Keras rebuilds the bases of functional models, and fails on two tasks.
if TYPE_CHECKING:
    from keras_hub.models import Task as _Base
else:
    _Base = object


class HeadWeights(_Base):
    """Lets a KerasHub task save its heads' weights without the state of optimizer and metrics.

    Comes before KerasHub's task among the bases of a class.
    """

    def save_task_weights(self, filepath: Any) -> None:
        """Writes the heads' weights."""
        keras.saving.save_weights(self, filepath, objects_to_skip=self._not_heads())

    def load_task_weights(self, filepath: Any) -> None:
        """Reads what `save_task_weights` wrote."""
        keras.saving.load_weights(self, filepath, objects_to_skip=self._not_heads())

    def _not_heads(self) -> list[Any]:
        optimizer = [] if self.optimizer is None else [self.optimizer]
        return [*self.backbone._flatten_layers(), *self.metrics, *optimizer]
