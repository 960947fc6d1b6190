"""Strings -> masked rows and their targets, for pretraining on texts in memory.

Letters: b batch, s sequence.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from keras_hub.models import MaskedLMPreprocessor

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.bucketing import default_buckets
from spanbert_tf.data.batching.packing import pack_segments
from spanbert_tf.features import TOKEN_IDS, WORD_STARTS
from spanbert_tf.layers.masking.span_masking import SpanMasking
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

# Of KerasHub's own masking, which is not used.
_UNUSED_SETTINGS = (
    "truncate",
    "mask_selection_rate",
    "mask_selection_length",
    "mask_token_rate",
    "random_token_rate",
)


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertPretrainerPreprocessor(MaskedLMPreprocessor):
    """Turns texts into masked rows and their targets.

    A batch is padded to the smallest of a few lengths that holds its longest row.

    Args:
        tokenizer: A `SpanBertTokenizer`.
        sequence_length: The most tokens a row keeps, special tokens counted; longer texts are
            cut at their end.
        masking: A layer such as `SpanMasking`, called with features and `seed`.  `None`:
            `SpanMasking` with its default settings.
        buckets: Padded lengths to choose from.  `None`: multiples of 8, two an octave.
        max_targets: The most targets of a span that the default masking states: no more than the
            pretrainer's `max_targets`.
        **kwargs: `name` and other arguments of a Keras layer.

    Call arguments:
        x: Strings `[b]` (a list, NumPy array or `tf.Tensor`).
        y: Not used; targets are made of the texts.
        sample_weight: Not used.
        seed: Two int32 numbers; the same ones give the same masks.  `None`: drawn anew in each
            call, by TensorFlow's generator, which `keras.utils.set_random_seed` sets.

    Returns:
        What `masking` returns: the encoder's features, masked, and targets, see `features.py`.

    Raises:
        ValueError: `x` is not made of strings, or `sequence_length` has no room for the special
            tokens.
    """

    backbone_cls = SpanBertBackbone
    tokenizer_cls = SpanBertTokenizer

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = 512,
        masking: Any = None,
        buckets: Sequence[int] | None = None,
        max_targets: int = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, sequence_length=sequence_length, **kwargs)
        self.masking = masking
        self.max_targets = max_targets
        self.buckets = None if buckets is None else tuple(buckets)

    def build(self, input_shape: Any) -> None:
        self.built = True  # The packer and the masker of the base class are not used.

    def call(self, x: Any, y: Any = None, sample_weight: Any = None, seed: Any = None) -> Any:
        masking = self.masking or self._default_masking()
        with tf.device("cpu"):
            pieces = self.tokenizer.tokenize_with_offsets(x)
            features = self._packed(pieces.token_ids, with_special_tokens=True)
            starts = self._packed(tf.cast(pieces.word_starts, tf.int32), with_special_tokens=False)
            features[WORD_STARTS.name] = starts[TOKEN_IDS.name]
            if seed is None:
                seed = tf.random.uniform([2], 0, 2**31 - 1, tf.int32)
        if tf.executing_eagerly():
            features = {name: ops.convert_to_tensor(value) for name, value in features.items()}
        return masking(features, seed=seed)

    def _packed(
        self, pieces: tf.RaggedTensor, *, with_special_tokens: bool
    ) -> dict[str, tf.Tensor]:
        tokenizer = self.tokenizer
        special = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
        start, end, pad = special if with_special_tokens else (0, 0, 0)
        return pack_segments(
            [pieces],
            sequence_length=self.sequence_length,
            start_token_id=start,
            end_token_id=end,
            pad_token_id=pad,
            buckets=self.buckets or default_buckets(self.sequence_length),
        )

    def _default_masking(self) -> SpanMasking:
        # Not before the first call: a tokenizer of a preset gets its vocabulary late.
        tokenizer = self.tokenizer
        return SpanMasking(
            tokenizer.vocabulary_size(),
            tokenizer.mask_token_id,
            tokenizer.special_token_ids,
            max_targets=self.max_targets,
        )

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "masking": self.masking and keras.saving.serialize_keras_object(self.masking),
            "buckets": self.buckets and list(self.buckets),
            "max_targets": self.max_targets,
        }
        return {name: value for name, value in config.items() if name not in _UNUSED_SETTINGS}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if isinstance(config.get("masking"), dict):
            masking = keras.saving.deserialize_keras_object(config["masking"])
            config = {**config, "masking": masking}
        return super().from_config(config)
