"""Texts to rows that hold them whole, however long they are.

Letters: b batch, p pieces of a row.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras_hub.models import Preprocessor

from spanbert_tf.data.batching.bucketing import default_buckets
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.models.text_preprocessor import TextPreprocessor, keep_buckets
from spanbert_tf.settings import LONGEST_TEXT
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

STEP = 64  # Longer rows are padded to multiples of it, or long texts would be mostly padding.


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertCoreferenceResolverPreprocessor(TextPreprocessor, Preprocessor):
    """Turns each text into one row, whatever its length.

    Args:
        tokenizer: A `SpanBertTokenizer`.
        sequence_length: The most tokens that are read of a text, special tokens counted; no mention
            is found in what is past them.
        buckets: Padded lengths to choose from.  `None`: up to 64 those of `TextPreprocessor`, then
            multiples of 64.
        **kwargs: `name` and other arguments of a Keras layer.

    Returns:
        The encoder's features.
    """

    row_settings: ClassVar = ("sequence_length",)
    has_long_rows: ClassVar = True

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = LONGEST_TEXT,
        buckets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.buckets = keep_buckets(buckets)

    @property
    def most_pieces(self) -> int:
        """The most pieces of a text that are read."""
        return self.sequence_length - 2

    def rows(self, *columns: tf.Tensor) -> Rows:
        """Makes a row of each text, string `[b]`; of each piece `starts` and `ends` are kept."""
        pieces = self.tokenizer.tokenize_with_offsets(columns[0], unit="character")
        places = {"starts": pieces.starts, "ends": pieces.ends}
        return Rows.one_each(
            [pieces.token_ids],
            places={
                name: of.with_values(tf.cast(of.values, tf.int32)) for name, of in places.items()
            },
        )

    def default_buckets(self) -> Sequence[int]:
        """Padded lengths where none are given."""
        short = default_buckets(min(STEP, self.sequence_length))
        return (*short, *range(2 * STEP, self.sequence_length, STEP), self.sequence_length)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sequence_length": self.sequence_length,
            "buckets": self.buckets and list(self.buckets),
        }
