"""Rows of texts that others are written from."""

from collections.abc import Sequence
from typing import Any

import keras
from keras_hub.models import Preprocessor

from spanbert_tf.models.text_preprocessor import TextPreprocessor, keep_buckets
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertSeq2SeqLMPreprocessor(TextPreprocessor, Preprocessor):
    """Turns source texts into what the encoder takes; see `TextPreprocessor`.

    How long the texts that are written may be, and in which pieces, the task says: its decoder is
    made by it.
    """

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = 512,
        buckets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.buckets = keep_buckets(buckets)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sequence_length": self.sequence_length,
            "buckets": self.buckets and list(self.buckets),
        }
