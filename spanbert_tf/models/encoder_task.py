"""What any task on an encoder needs to be checked, saved and loaded.  Imports no TensorFlow."""

import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from spanbert_tf.keras_internals import all_layers, can_quantize, quantize_as, write_weights
from spanbert_tf.models.optimizers import build_optimizer
from spanbert_tf.preset_files import check_preset, check_weights, reading_preset, with_policy

# Only for the type checker: Keras rebuilds the bases of functional models, and fails on two tasks.
if TYPE_CHECKING:
    from keras_hub.models import Task as _Base
else:
    _Base = object

MOST_SPARE_EMBEDDINGS = 127  # Rows without a piece, which round their number up.

_log = logging.getLogger(__name__)


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
        preset = os.path.expanduser(preset)
        # As KerasHub has it, with a number of classes the head is new.
        with_head = "num_classes" not in kwargs
        check_preset(preset, load_weights, cls.__name__, cls.has_head if with_head else None)
        with reading_preset(preset, kwargs):
            task = super().from_preset(preset, load_weights, **with_policy(preset, kwargs))
        if load_weights and "backbone" not in kwargs:
            of_encoder = {id(weight) for weight in task.backbone.weights}
            head = [weight for weight in task.weights if id(weight) not in of_encoder]
            check_weights(preset, task.backbone, head if with_head else ())
        check_fit(task.backbone, task.preprocessor)  # Only now does its tokenizer have pieces.
        return task

    @classmethod
    def has_head(cls, config: Mapping[str, Any]) -> bool:
        """Whether a task of such arguments has weights beside its encoder's."""
        return True

    def quantize(self, mode: Any = None, config: Any = None, filters: Any = None) -> None:
        """Quantizes encoder and head; see `keras.Model.quantize`.

        Args:
            mode: Such as `"int8"`.
            config: A `keras.quantizers.QuantizationConfig`.
            filters: Which layers: parts of their names, or a function of a layer.
        """

        def wanted(layer: keras.layers.Layer) -> bool:
            if not can_quantize(layer) or filters is None or callable(filters):
                return can_quantize(layer) and (filters is None or filters(layer))
            patterns = [filters] if isinstance(filters, str) else filters
            return any(re.search(pattern, layer.name) for pattern in patterns)

        super().quantize(mode, config=config, filters=wanted)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the class, and how layers of the head are quantized."""
        config = super().get_config()
        quantized = {
            layer.name: keras.dtype_policies.serialize(layer.dtype_policy)
            for layer in self._head_layers()
            if layer.quantization_mode is not None
        }
        return {**config, "head_policies": quantized} if quantized else config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes the task; its head quantized, where it was, so that its weights fit."""
        config = dict(config)
        policies = config.pop("head_policies", {})
        task = super().from_config(config)
        for layer in task._head_layers():
            if layer.name in policies:
                quantize_as(layer, keras.dtype_policies.deserialize(policies[layer.name]))
        return task

    def _head_layers(self) -> list[keras.layers.Layer]:
        of_encoder = set(map(id, all_layers(self.backbone)))
        return [layer for layer in all_layers(self) if id(layer) not in of_encoder]

    def mean_loss(
        self, losses: Any, counts: Any = None, sample_weight: Any = None, least: float = 1e-6
    ) -> Any:
        """The loss of a batch: that of its rows over what they count, and the regularizers'.

        Args:
            losses: float32 `[rows]`.
            counts: float32 `[rows]`, over what each is a sum.  `None`: over one thing.
            sample_weight: Weights `[rows]`, or `None`.
            least: What is divided by at least.
        """
        if counts is None:
            counts = keras.ops.ones_like(losses)
        if sample_weight is not None:
            weights = keras.ops.cast(sample_weight, "float32")
            losses, counts = losses * weights, counts * weights
        loss = keras.ops.sum(losses) / keras.ops.maximum(keras.ops.sum(counts), least)
        return self.regularized(loss)

    def regularized(self, loss: Any) -> Any:
        """A loss and those that layers have added."""
        return loss + keras.ops.sum(self.losses) if self.losses else loss

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
            pieces than the encoder has embeddings.  So many fewer that it may be another's are
            warned of in the log.
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
        ValueError: It has fewer.  So many more that the tokenizer may be another's are warned of in
            the log.
    """
    if getattr(tokenizer, "vocabulary", None) is None:  # In a preset it comes later.
        return
    rows, pieces = backbone.vocabulary_size, tokenizer.vocabulary_size()
    if pieces > rows:
        raise ValueError(
            f"the tokenizer has {pieces} pieces and the backbone vocabulary_size={rows}: they do "
            "not belong together"
        )
    if rows - pieces > MOST_SPARE_EMBEDDINGS:
        _log.warning(
            "the tokenizer has %d pieces and the backbone vocabulary_size=%d: as published, or not "
            "of one model?",
            pieces,
            rows,
        )
