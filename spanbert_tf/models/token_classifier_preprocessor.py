"""Windows of texts whose words are tagged."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras_hub.models import Preprocessor

from spanbert_tf.data.batching.rows import Rows, with_special_tokens
from spanbert_tf.data.batching.windows import cut_windows, plan_windows
from spanbert_tf.features import WORD_STARTS
from spanbert_tf.models.text_preprocessor import TextPreprocessor, keep_buckets
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

OVERLAP = 32  # Few entities are longer than half of it.


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTokenClassifierPreprocessor(TextPreprocessor, Preprocessor):
    """Turns texts into what the encoder takes, long ones into windows that overlap.

    Args:
        tokenizer: A `SpanBertTokenizer`.
        sequence_length: The most tokens of a row, special tokens counted.
        overlap: Pieces that neighboring windows of a text share, at most half of a row: entities up
            to half as long are never cut.  `None`: 32, or half of a short row.
        buckets: See `TextPreprocessor`.
        **kwargs: `name` and other arguments of a Keras layer.

    Returns:
        The encoder's features, and `word_starts`, int32 `[b, s]`.

    Raises:
        ValueError: `overlap` is more than half of a row.
    """

    row_settings: ClassVar = ("sequence_length", "overlap")
    makes_windows: ClassVar = True

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = 512,
        overlap: int | None = None,
        buckets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        most = (sequence_length - 2) // 2
        self.overlap = min(OVERLAP, most) if overlap is None else overlap
        self.buckets = keep_buckets(buckets)
        if not 0 <= self.overlap <= most:
            raise ValueError(
                f"`overlap` must be from 0 to half of a row without its special tokens, {most}, "
                f"but is {overlap}."
            )

    def rows(self, *columns: tf.Tensor) -> Rows:
        """Makes windows of texts, string `[b]`."""
        pieces = self.tokenizer.tokenize_with_offsets(columns[0], unit="character")
        lengths = tf.cast(pieces.token_ids.row_lengths(), tf.int32)
        windows = plan_windows(lengths, self.sequence_length - 2, self.overlap)
        # A word ends where its last piece does; a window may cut it.
        word_of = tf.cumsum(tf.cast(pieces.word_starts.values, tf.int32)) - 1
        ends = tf.cast(pieces.ends.values, tf.int32)
        ends = tf.gather(tf.math.segment_max(ends, word_of), word_of)
        of_pieces = {
            "starts": pieces.starts.with_values(tf.cast(pieces.starts.values, tf.int32)),
            "ends": pieces.ends.with_values(ends),
            "word_starts": pieces.word_starts,
        }
        places = {name: cut_windows(of, windows) for name, of in of_pieces.items()}
        position = tf.ragged.range(windows.begins, windows.ends)
        of_window = position.value_rowids()
        owned = (position.values >= tf.gather(windows.owned_begins, of_window)) & (
            position.values < tf.gather(windows.owned_ends, of_window)
        )
        words = places["word_starts"]
        words = words.with_values(tf.cast(words.values, tf.int32))
        return Rows(
            (cut_windows(pieces.token_ids, windows),),
            windows.texts,
            tf.size(lengths),
            inputs={WORD_STARTS: with_special_tokens([words])},
            places={**places, "owned": position.with_values(owned)},
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sequence_length": self.sequence_length,
            "overlap": self.overlap,
            "buckets": self.buckets and list(self.buckets),
        }
