"""Questions and contexts to rows: the windows of question answering.

Letters: b batch, s sequence, p pieces of a row.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras_hub.models import Preprocessor

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.windows import cut_windows, plan_windows
from spanbert_tf.models.text_preprocessor import TextPreprocessor, keep_buckets
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

SPECIAL_TOKENS = 3  # [CLS] question [SEP] context [SEP]


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertQuestionAnswererPreprocessor(TextPreprocessor, Preprocessor):
    """Turns questions and contexts into rows `[CLS] question [SEP] context [SEP]`.

    A context that is longer than what its question leaves of a row is read in windows that overlap;
    none is cut.  Where a question has no word piece, its context is left out: it has no answer.

    Args:
        tokenizer: A `SpanBertTokenizer`.
        sequence_length: The most tokens of a row, special tokens counted.
        doc_stride: Pieces of a context that neighboring windows share, as Hugging Face counts it
            (in BERT's scripts, the step from one to the next); half of a window at most.
        buckets: See `TextPreprocessor`.
        **kwargs: `name` and other arguments of a Keras layer.

    Returns:
        The encoder's features.

    Raises:
        ValueError: `doc_stride` is negative, or a row has no room for a question and a context.
        tf.errors.InvalidArgumentError: A question is longer than three quarters of a row.
    """

    row_settings: ClassVar = ("sequence_length", "doc_stride")
    makes_windows: ClassVar = True

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = 256,
        doc_stride: int = 96,
        buckets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.doc_stride = doc_stride
        self.buckets = keep_buckets(buckets)
        if doc_stride < 0:
            raise ValueError(f"`doc_stride` must be 0 or above, but is {doc_stride}.")
        if self.most_question_pieces < 1:
            raise ValueError(
                f"`sequence_length` must be at least {SPECIAL_TOKENS + 2}, to hold a question and "
                f"a context, but is {sequence_length}."
            )

    @property
    def most_question_pieces(self) -> int:
        """The most word pieces of a question: three quarters of a row; its context has the rest."""
        return (self.sequence_length - SPECIAL_TOKENS) * 3 // 4

    def rows(self, *columns: tf.Tensor) -> Rows:
        """Makes windows of contexts, each behind its question; both string `[b]`."""
        questions = self.tokenizer.tokenize(columns[0])
        contexts = self.tokenizer.tokenize_with_offsets(columns[1], unit="character")
        question_lengths = tf.cast(questions.row_lengths(), tf.int32)
        most, limit = tf.reduce_max(question_lengths, axis=0), self.most_question_pieces
        message = (
            f"a question has more than {limit} word pieces, three quarters of a row of "
            f"{self.sequence_length} tokens; shorten it or raise `sequence_length`"
        )
        tf.raw_ops.Assert(condition=most <= limit, data=[tf.constant(message)])

        lengths = tf.cast(contexts.token_ids.row_lengths(), tf.int32)
        lengths = tf.where(question_lengths > 0, lengths, 0)
        room = self.sequence_length - SPECIAL_TOKENS - question_lengths
        windows = plan_windows(lengths, room, tf.minimum(self.doc_stride, room // 2))
        places = {
            "starts": cut_windows(contexts.starts, windows),
            "ends": cut_windows(contexts.ends, windows),
        }
        places = {name: of.with_values(tf.cast(of.values, tf.int32)) for name, of in places.items()}
        return Rows(
            (tf.gather(questions, windows.texts), cut_windows(contexts.token_ids, windows)),
            windows.texts,
            tf.size(lengths),
            places={**places, "pieces": tf.ragged.range(windows.begins, windows.ends)},
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sequence_length": self.sequence_length,
            "doc_stride": self.doc_stride,
            "buckets": self.buckets and list(self.buckets),
        }
