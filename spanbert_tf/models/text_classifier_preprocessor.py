"""Rows of texts, or of pairs of texts, for classification."""

from collections.abc import Sequence
from typing import Any

import keras
from keras_hub.models import TextClassifierPreprocessor

from spanbert_tf.models.text_preprocessor import TextPreprocessor, keep_buckets
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTextClassifierPreprocessor(TextPreprocessor, TextClassifierPreprocessor):
    """Turns texts, or pairs of texts, into what the encoder takes; see `TextPreprocessor`."""

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = 512,
        buckets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, sequence_length=sequence_length, **kwargs)
        self.buckets = keep_buckets(buckets)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "buckets": self.buckets and list(self.buckets)}
        del config["truncate"]
        return config
