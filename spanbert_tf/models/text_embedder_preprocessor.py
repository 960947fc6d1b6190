"""Rows of texts, each on its own, for vectors."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras_hub.models import TextEmbedderPreprocessor

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.models.text_preprocessor import TextPreprocessor, keep_buckets
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTextEmbedderPreprocessor(TextPreprocessor, TextEmbedderPreprocessor):
    """Turns texts into what the encoder takes; see `TextPreprocessor`."""

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = 256,
        buckets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, sequence_length=sequence_length, **kwargs)
        self.buckets = keep_buckets(buckets)

    def pack(self, rows: Rows, one_length: bool = False) -> dict[str, tf.Tensor]:
        """Makes a batch of rows of one text each.

        Raises:
            ValueError: They are of several: a row would be read as one text.
        """
        if len(rows.segments) > 1:
            raise ValueError(
                f"an embedder reads each text on its own, but got {len(rows.segments)} texts at a "
                "time; give `fit` pairs and triplets as lists of strings in memory."
            )
        return super().pack(rows, one_length)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "buckets": self.buckets and list(self.buckets)}
        del config["truncate"]
        return config
