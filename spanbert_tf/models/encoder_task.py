"""What any task on an encoder needs to be checked, saved and loaded.  Imports no TensorFlow."""

import os
from typing import TYPE_CHECKING, Any

import keras

from spanbert_tf.keras_internals import all_layers, write_weights
from spanbert_tf.models.optimizers import build_optimizer
from spanbert_tf.preset_files import check_preset, check_weights, reading_preset

# Only for the type checker: Keras rebuilds the bases of functional models, and fails on two tasks.
if TYPE_CHECKING:
    from keras_hub.models import Task as _Base
else:
    _Base = object

MOST_SPARE_EMBEDDINGS = 127  # Rows without a piece, which round their number up.


class EncoderTask(_Base):
    """What any KerasHub task on a `SpanBertBackbone` needs to be saved and loaded.

    Comes before KerasHub's task among the bases of a class.
    """

    def save_task_weights(self, filepath: Any) -> None:
        """Writes the head's weights, without the state of optimizer and metrics."""
        write_weights(self, filepath, self._not_heads())

    def load_task_weights(self, filepath: Any) -> None:
        """Reads what `save_task_weights` wrote."""
        keras.saving.load_weights(self, filepath, objects_to_skip=self._not_heads())

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the saved model was, for `.keras` files."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        build_optimizer(self)

    @classmethod
    def from_preset(cls, preset: Any, load_weights: bool = True, **kwargs: Any) -> Any:
        """Makes a task from the preset of an encoder or of such a task.

        Args:
            preset: Folder or handle.
            load_weights: Whether to load the weights.
            **kwargs: Arguments that take the place of the preset's, `dtype` among them.

        Raises:
            ValueError: The preset's tokenizer is of another vocabulary than its encoder; a file is
                damaged or, as the head's weights, missing; the weights are not those of the config,
                or one is NaN or infinite.
        """
        preset = os.fspath(preset)
        # As KerasHub has it, with a number of classes the head is new.
        with_head = "num_classes" not in kwargs
        check_preset(preset, load_weights, cls.__name__, with_head)
        with reading_preset(preset, kwargs):
            task = super().from_preset(preset, load_weights, **kwargs)
        if load_weights and "backbone" not in kwargs:
            of_encoder = {id(weight) for weight in task.backbone.weights}
            head = [weight for weight in task.weights if id(weight) not in of_encoder]
            check_weights(preset, task.backbone, head if with_head else ())
        check_fit(task.backbone, task.preprocessor)  # Only now does its tokenizer have pieces.
        return task

    @property
    def head_variables(self) -> list[Any]:
        """The trainable variables that are not the encoder's."""
        of_encoder = {id(variable) for variable in self.backbone.variables}
        return [each for each in self.trainable_variables if id(each) not in of_encoder]

    def _not_heads(self) -> list[Any]:
        optimizer = [] if self.optimizer is None else [self.optimizer]
        return [*all_layers(self.backbone), *self.metrics, *optimizer]


def check_fit(backbone: Any, preprocessor: Any) -> None:
    """Checks that an encoder can read what a preprocessor makes.

    Args:
        backbone: A `SpanBertBackbone`.
        preprocessor: A preprocessor, or `None`: there is nothing to check then.

    Raises:
        ValueError: Rows may be longer than the encoder has positions, or the tokenizer has more
            pieces than the encoder has embeddings, or so many fewer that it is another's.
    """
    length = getattr(preprocessor, "sequence_length", None)
    limit = backbone.max_sequence_length
    if length is not None and length > limit and not backbone.long_positions:
        raise ValueError(
            f"the preprocessor's `sequence_length` is {length}, but the backbone has positions for "
            f"{limit} tokens; pass a preprocessor with `sequence_length={limit}`, or a backbone "
            f"with `long_positions='restart'`."
        )
    check_vocabulary(backbone, getattr(preprocessor, "tokenizer", None))


def check_vocabulary(backbone: Any, tokenizer: Any) -> None:
    """Checks that an encoder has embeddings for a tokenizer's word pieces.

    Args:
        backbone: A `SpanBertBackbone`.
        tokenizer: A `SpanBertTokenizer`.  Without a vocabulary there is nothing to check.

    Raises:
        ValueError: It has fewer, or so many more that the tokenizer is another's.
    """
    if getattr(tokenizer, "vocabulary", None) is None:  # In a preset it comes later.
        return
    rows, pieces = backbone.vocabulary_size, tokenizer.vocabulary_size()
    if not 0 <= rows - pieces <= MOST_SPARE_EMBEDDINGS:
        raise ValueError(
            f"the tokenizer has {pieces} pieces and the backbone vocabulary_size={rows}: they do "
            "not belong together"
        )
