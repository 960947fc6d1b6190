"""Strings -> what the encoder takes.

Letters: b batch, s sequence.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.bucketing import default_buckets
from spanbert_tf.data.batching.packing import pack_segments
from spanbert_tf.data.batching.rows import Rows, gather_rows
from spanbert_tf.features import TOKEN_IDS
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

if TYPE_CHECKING:
    from keras_hub.models import Preprocessor as _Base
else:
    _Base = object


class TextPreprocessor(_Base):
    """Turns texts into rows, and rows into what the encoder takes.

    A batch is padded to the smallest of a few lengths that holds its longest row.  Comes before
    KerasHub's preprocessor among the bases of a class.

    Args:
        tokenizer: A `SpanBertTokenizer`.
        sequence_length: The most tokens a row keeps, special tokens counted; longer texts are
            cut at their end, of a pair the longer one first.
        buckets: Padded lengths to choose from.  `None`: multiples of 8, two an octave.  Pass
            `[sequence_length]` for batches of that length always.
        **kwargs: `name` and other arguments of a Keras layer.

    Call arguments:
        x: Strings `[b]` (a list, NumPy array or `tf.Tensor`), or a tuple of two for pairs.  A
            single string gives features `[s]` with `s = sequence_length`, so that rows mapped
            one by one can be batched; where one may have several, `[rows, s]`.
        y: Labels, handed through as they are.
        sample_weight: Weights, handed through as they are.

    Returns:
        `features`, `(features, y)` or `(features, y, sample_weight)`.  Features are `token_ids`,
        `segment_ids` and `padding_mask`, each int32 `[b, s]`.

    Raises:
        TypeError: `x` is not made of strings.
        ValueError: `sequence_length` has no room for the special tokens.
    """

    backbone_cls = SpanBertBackbone
    tokenizer_cls = SpanBertTokenizer
    # The arguments that decide what rows are made of texts: LiteRT's models keep them.
    row_settings: ClassVar[tuple[str, ...]] = ("sequence_length",)
    makes_windows: ClassVar[bool] = False  # A record may have several rows.
    has_long_rows: ClassVar[bool] = False  # Those of a few texts may be too much for one batch.

    sequence_length: int
    buckets: tuple[int, ...] | None

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        # KerasHub takes a lone tuple of two for (x, y); two columns of strings are a pair.
        if not args and isinstance(x, tuple) and all(map(_is_text, x)):
            kwargs.setdefault("y", None)
        return super().__call__(x, *args, **kwargs)

    def build(self, input_shape: Any) -> None:
        self.built = True  # What KerasHub's own packs with is not used.

    def call(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        columns = [_string_tensor(column) for column in (x if isinstance(x, tuple) else (x,))]
        single = columns[0].shape.rank == 0
        with tf.device("cpu"):
            rows = self.rows(*(tf.reshape(column, [-1]) for column in columns))
            features = self.pack(rows, one_length=single)
            if single and not self.makes_windows:
                features = {name: feature[0] for name, feature in features.items()}
        return keras.utils.pack_x_y_sample_weight(
            keras.tree.map_structure(_backend_tensor, features),
            _backend_tensor(y),
            _backend_tensor(sample_weight),
        )

    def rows(self, *columns: tf.Tensor) -> Rows:
        """Makes rows of strings `[b]`, one string tensor a segment."""
        return Rows.one_each([self.tokenizer.tokenize(column) for column in columns])

    def default_buckets(self) -> Sequence[int]:
        """Padded lengths where none are given."""
        return default_buckets(self.sequence_length)

    def pack(self, rows: Rows, one_length: bool = False) -> dict[str, tf.Tensor]:
        """Makes a batch of rows.

        Args:
            rows: As `rows` makes them.
            one_length: Whether it is padded to `sequence_length` whatever the rows.

        Returns:
            The encoder's features, int32 `[b, s]`, and the further inputs that rows have.
        """
        buckets = self.buckets or self.default_buckets()
        # One length only is a static shape.
        one_length = one_length or min(buckets) >= self.sequence_length
        features = pack_segments(
            rows.segments,
            sequence_length=self.sequence_length,
            start_token_id=self.tokenizer.cls_token_id,
            end_token_id=self.tokenizer.sep_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
            buckets=None if one_length else buckets,
        )
        if not rows.inputs:
            return features
        shape = tf.shape(features[TOKEN_IDS.name])
        return features | gather_rows(rows.inputs, tf.range(shape[0]), shape[1])


def keep_buckets(buckets: Sequence[int] | None) -> tuple[int, ...] | None:
    """Buckets as an attribute, which Keras would wrap if they were a list."""
    return None if buckets is None else tuple(buckets)


def _is_text(column: Any) -> bool:
    """Whether a column holds strings, judged by its dtype or its first item."""
    if tf.is_tensor(column):
        return column.dtype == tf.string
    if not isinstance(column, str | bytes | list) and hasattr(column, "__array__"):
        column = np.asarray(column, object).ravel().tolist()
    return isinstance(column, str | bytes) or (
        isinstance(column, list) and len(column) > 0 and isinstance(column[0], str | bytes)
    )


def _string_tensor(column: Any) -> tf.Tensor:
    """Makes a string tensor, a scalar or `[b]`."""
    if not tf.is_tensor(column):
        if hasattr(column, "__array__"):
            column = np.asarray(column, object)
        try:
            column = tf.constant(column, tf.string)
        except (TypeError, ValueError) as error:
            raise TypeError(f"expected strings, got {column!r:.200}") from error
    if column.dtype != tf.string or column.shape.rank not in (0, 1):
        raise TypeError(
            "expected strings, a scalar or [b] (for pairs a tuple of two such); got "
            f"{column.dtype.name} of shape {column.shape}"
        )
    return column


def _backend_tensor(value: Any) -> Any:
    """Makes a tensor of the Keras backend, where there is more than a graph of TensorFlow's."""
    if value is None or not tf.executing_eagerly() or getattr(value, "dtype", None) == tf.string:
        return value
    return ops.convert_to_tensor(value)
