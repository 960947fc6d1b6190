"""Batches of texts that come one after the other: generators and `keras.utils.PyDataset`s."""

from collections.abc import Callable, Iterator
from itertools import chain, count
from typing import Any

import keras
import tensorflow as tf


def is_batch_source(x: Any) -> bool:
    """Whether `x` gives batches one by one, and is no data set of TensorFlow's."""
    return isinstance(x, keras.utils.PyDataset | Iterator)


def dataset_of_source(source: Any, encode: Callable[[Any], Any]) -> tf.data.Dataset:
    """Makes a data set of what a generator or a `keras.utils.PyDataset` gives.

    Args:
        source: Gives batches `x`, `(x, y)` or `(x, y, sample_weight)`.  A `PyDataset` is read anew
            in each epoch; a generator goes on where the epoch before ended.
        encode: Makes of each what the network takes: tensors in one structure, of one rank each.

    Raises:
        ValueError: There is no batch.
    """
    if isinstance(source, keras.utils.PyDataset):
        batches = _batches_of(source)
        first = None if source.num_batches == 0 else source[0]
    else:
        first = next(source, None)
        rest = chain([first], source)

        def batches() -> Iterator[Any]:
            return rest

    if first is None:
        raise ValueError("expected batches of texts, but there is none.")
    specs = tf.nest.map_structure(
        lambda tensor: tf.TensorSpec([None] * len(tensor.shape), tensor.dtype), encode(first)
    )
    dataset = tf.data.Dataset.from_generator(lambda: map(encode, batches()), output_signature=specs)
    size = getattr(source, "num_batches", None)
    return dataset if size is None else dataset.apply(tf.data.experimental.assert_cardinality(size))


def parts_of_batch(batch: Any) -> tuple[Any, Any, Any]:
    """`x`, `y` and `sample_weight` of a batch as sources give it; what is missing is `None`."""
    if isinstance(batch, list) and not (batch and _is_text(batch[0])):
        batch = tuple(batch)
    parts = batch if isinstance(batch, tuple) else (batch,)
    if len(parts) > 3:
        raise ValueError(
            f"expected batches `x`, `(x, y)` or `(x, y, sample_weight)`, got {len(parts)} parts."
        )
    x, y, sample_weight = (*parts, None, None)[:3]
    return x, y, sample_weight


def _is_text(value: Any) -> bool:
    """Whether a value is a text, or a tuple of texts, such as a pair."""
    texts = value if isinstance(value, tuple) else (value,)
    return all(isinstance(text, str | bytes) for text in texts)


def _batches_of(source: keras.utils.PyDataset) -> Callable[[], Iterator[Any]]:
    def batches() -> Iterator[Any]:
        source.on_epoch_begin()
        size = source.num_batches
        for number in count() if size is None else range(size):
            yield source[number]
        source.on_epoch_end()

    return batches
