"""Texts -> batches of encoder features with little padding, as a `tf.data.Dataset`.

Token ids stay in memory (a million take 4 MB).  `bucketing.plan_batches` plans each epoch as a
whole, in one call, and TensorFlow operations do the rest.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.bucketing import (
    BatchPlan,
    PaddingReport,
    choose_bucket_boundaries,
    plan_batches,
)
from spanbert_tf.data.batching.labels import number_tensor
from spanbert_tf.data.batching.packing import concatenate_padded, kept_lengths, pack_segments
from spanbert_tf.data.batching.rows import Rows, gather_rows
from spanbert_tf.data.batching.texts import tokenize_texts
from spanbert_tf.features import LABELS, Feature

PARALLEL_BATCHES = 2  # made at once and kept ready: a training step takes far longer than they do
# A data set takes a tenth of a second or two before it gives anything, as long as these to make.
FEW_BATCHES = 8


class BucketedBatches:
    """Rows of token ids, and the batches that they make in each epoch.

    Batches depend on the arguments and the number of the epoch alone, whatever the machine.

    Args:
        segments: Integers `[rows, (s)]` without special tokens, one ragged tensor a segment.
        labels: Numbers `[rows, ...]`, or `None`; or a dictionary, as `Rows.targets` is.
        sample_weight: Numbers `[rows]`, or `None`; needs labels.
        inputs: What the network takes beside the encoder's features, as `Rows.inputs` is.
        start_token_id: Id of the token before the first segment.
        end_token_id: Id of the token after each segment.
        pad_token_id: Id that fills a row's end.
        sequence_length: The most tokens a row keeps, special tokens counted.
        token_budget: The most tokens in a batch, padding counted; a row longer than that makes a
            batch of its own.
        batch_size: Rows in a batch.  Give either this or `token_budget`.
        num_buckets: How many padded lengths there may be; they are chosen to fit the rows.
        seed: Seed of the shuffling, which is new each epoch.  `None`: short rows first.
        drop_remainder: Leave out the rows that are left at the end and do not fill a batch.

    Attributes:
        epoch: Number of the epoch that the next iteration of the data set gives.  It counts up
            by itself.  To be sure of it in `model.fit`, which looks at a batch before the first
            epoch of a model that is not built, set it in `on_epoch_begin`.
        boundaries: The padded lengths.
        lengths: int64 `[rows]`, tokens of each packed row.

    Raises:
        ValueError: There are no rows, or the arguments do not fit one another.
    """

    keeps_names: ClassVar[bool] = False  # Whether labels are a dictionary of one kind too.

    def __init__(
        self,
        segments: Sequence[tf.RaggedTensor],
        labels: Any = None,
        sample_weight: Any = None,
        *,
        inputs: dict[Feature, Any] | None = None,
        start_token_id: int,
        end_token_id: int,
        pad_token_id: int,
        sequence_length: int = 512,
        token_budget: int | None = None,
        batch_size: int | None = None,
        num_buckets: int = 16,
        seed: int | None = None,
        drop_remainder: bool = False,
    ):
        self.segments = list(segments)
        self.special_tokens: dict[str, Any] = {
            "start_token_id": start_token_id,
            "end_token_id": end_token_id,
            "pad_token_id": pad_token_id,
        }
        self.lengths = self.row_lengths(sequence_length)
        if not len(self.lengths):
            raise ValueError("there are no rows to make batches of.")
        if sample_weight is not None and labels is None:
            raise ValueError("`sample_weight` weighs labels, but `labels` is None.")
        self.inputs = inputs or {}
        if not isinstance(labels, dict):
            labels = (
                {}
                if labels is None
                else {LABELS: number_tensor("labels", labels, len(self.lengths))}
            )
        self.labels = labels
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = number_tensor("sample_weight", sample_weight, len(self.lengths))
        self.boundaries = choose_bucket_boundaries(
            self.lengths, num_buckets, max_length=sequence_length
        )
        self._options: dict[str, Any] = {
            "token_budget": token_budget,
            "batch_size": batch_size,
            "seed": seed,
            "drop_remainder": drop_remainder,
        }
        self.epoch = 0
        self._batches = len(self.plan())

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        labels: Any = None,
        pairs: Sequence[str] | None = None,
        *,
        tokenizer: Any,
        sequence_length: int = 512,
        **options: Any,
    ) -> "BucketedBatches":
        """Tokenises texts and makes batches of them.

        Args:
            texts: Strings `[rows]`.
            labels: Numbers `[rows, ...]`, or `None`.
            pairs: Second strings `[rows]`, or `None`.
            tokenizer: Called with strings `[b]`, gives integers `[b, (pieces)]`, ragged; has
                `cls_token_id`, `sep_token_id` and `pad_token_id`.
            sequence_length: The most tokens a row keeps, special tokens counted.
            **options: Other arguments of the class.

        Raises:
            ValueError: There are no texts, or the arguments do not fit one another.
            TypeError: A text is not a string.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise ValueError(f"`pairs` has {len(pairs)} texts, but `texts` has {len(texts)}.")
        columns = {"texts": texts} | ({} if pairs is None else {"pairs": pairs})
        return cls(
            [
                tokenize_texts(column, tokenizer, sequence_length, n)
                for n, column in columns.items()
            ],
            labels,
            start_token_id=tokenizer.cls_token_id,
            end_token_id=tokenizer.sep_token_id,
            pad_token_id=tokenizer.pad_token_id,
            sequence_length=sequence_length,
            **options,
        )

    @classmethod
    def from_rows(cls, rows: Rows, *, tokenizer: Any, **options: Any) -> "BucketedBatches":
        """Makes batches of what a task's preprocessor made of its records.

        Args:
            rows: The rows.
            tokenizer: Has `cls_token_id`, `sep_token_id` and `pad_token_id`.
            **options: Other arguments of the class.
        """
        return cls(
            rows.segments,
            rows.targets or None,
            rows.sample_weight,
            inputs=rows.inputs,
            start_token_id=tokenizer.cls_token_id,
            end_token_id=tokenizer.sep_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **options,
        )

    def row_lengths(self, sequence_length: int) -> np.ndarray:
        """Tokens of each row once it is packed, int64 `[rows]`."""
        return packed_lengths(self.segments, sequence_length)

    def plan(self, epoch: int = 0) -> BatchPlan:
        """Tells which rows make up which batch of an epoch."""
        return plan_batches(self.lengths, self.boundaries, epoch=epoch, **self._options)

    def padding_report(self, epoch: int = 0) -> PaddingReport:
        """Counts the padding of an epoch without making its batches."""
        return self.plan(epoch).report(self.lengths)

    def dataset(self) -> tf.data.Dataset:
        """Makes the data set; each iteration of it is one epoch.

        Returns:
            Batches `features`, `(features, labels)` or `(features, labels, sample_weight)`, as
            the class was given them.  Features are int32 `[b, s]`: `token_ids`, `segment_ids`
            and `padding_mask`, and the further `inputs`.  Labels of one kind are a tensor, of
            several a dictionary.
        """
        batches = tf.data.Dataset.from_tensors(0).flat_map(self._slice_plan)
        # Deterministic: batches come in the order of the plan however many threads make them.
        batches = batches.map(self._gather, PARALLEL_BATCHES, deterministic=True)
        batches = batches.apply(tf.data.experimental.assert_cardinality(self._batches))
        return without_autotuning(batches.prefetch(PARALLEL_BATCHES))

    def first_epoch(self) -> Iterable[Any]:
        """The first epoch's batches, once: without a data set where there are few."""
        if self._batches > FEW_BATCHES:
            return self.dataset()
        plan = self.plan()
        parts = zip(plan.splits[:-1], plan.splits[1:], plan.lengths, strict=True)
        return (
            self._gather(tf.constant(plan.rows[begin:end]), int(length))
            for begin, end, length in parts
        )

    def only_batch(self, in_row_order: bool = False) -> Any:
        """Makes the first epoch's batch if it has but one, else gives `None`."""
        if self._batches != 1:
            return None
        plan = self.plan()
        rows = np.sort(plan.rows) if in_row_order else plan.rows
        return self._gather(tf.constant(rows), int(plan.lengths[0]))

    def in_row_order(self, outputs: np.ndarray) -> np.ndarray:
        """Puts what a model gave for the batches back into the order of the rows.

        Args:
            outputs: `[rows, ...]`, such as `model.predict(batches.dataset())` returns.

        Raises:
            ValueError: The batches are shuffled or leave rows out.
        """
        rows = self._ordered_plan().rows
        ordered = np.empty_like(outputs)
        ordered[rows] = outputs
        return ordered

    def outputs_of_rows(
        self, outputs: Iterable[dict[str, np.ndarray]], specs: Sequence[Feature]
    ) -> dict[str, Any]:
        """Parts what a network gave for each batch into what it gave for each row.

        Args:
            outputs: Arrays by name, one dictionary a batch.
            specs: Describes them: those with a number for each token are cut to the row's tokens.

        Returns:
            By name, in the order of the rows: an array `[rows, ...]`, padded to the largest batch's
            shape, or of what has a number for each token a list of `rows` arrays `[tokens]`.

        Raises:
            ValueError: The batches are shuffled or leave rows out.
        """
        plan = self._ordered_plan()
        batches = list(outputs)
        found: dict[str, Any] = {}
        for spec in specs:
            of_batches = [batch[spec.name] for batch in batches]
            if spec.is_of_tokens:
                in_plan = [row for batch in of_batches for row in batch]
                found[spec.name] = [np.empty(0)] * len(in_plan)
                for row, values in zip(plan.rows, in_plan, strict=True):
                    found[spec.name][row] = values[: self.lengths[row]]
            else:
                found[spec.name] = self.in_row_order(concatenate_padded(of_batches, spec.pad_value))
        return found

    def _ordered_plan(self) -> BatchPlan:
        if self._options["seed"] is not None or self._options["drop_remainder"]:
            raise ValueError("only batches with neither `seed` nor `drop_remainder` have an order.")
        return self.plan()

    def pack(self, segments: Sequence[tf.RaggedTensor], length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes the encoder's features of the segments of a batch, padded to a length."""
        return pack_segments(segments, sequence_length=length, **self.special_tokens)

    def _next_plan(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        plan = self.plan(self.epoch)
        self.epoch += 1
        return plan.rows, plan.splits, plan.lengths

    def _slice_plan(self, _: tf.Tensor) -> tf.data.Dataset:
        """Plans the next epoch, once an iteration, and gives rows and length of each batch."""
        rows, splits, lengths = tf.numpy_function(
            self._next_plan, [], [tf.int64, tf.int64, tf.int32]
        )
        rows.set_shape([None])
        splits.set_shape([self._batches + 1])
        lengths.set_shape([self._batches])
        batches = tf.data.Dataset.from_tensor_slices((splits[:-1], splits[1:], lengths))
        return batches.map(lambda begin, end, length: (rows[begin:end], length))

    def _gather(self, rows: tf.Tensor, length: tf.Tensor) -> Any:
        segments = [tf.gather(segment, rows) for segment in self.segments]
        features = self.pack(segments, length) | gather_rows(self.inputs, rows, length)
        if not self.labels:
            return features
        labels = gather_rows(self.labels, rows, length)
        if len(labels) == 1 and not self.keeps_names:
            (labels,) = labels.values()
        if self.sample_weight is None:
            return features, labels
        return features, labels, tf.gather(self.sample_weight, rows)


def bucketed_batches(
    texts: Sequence[str],
    labels: Any = None,
    pairs: Sequence[str] | None = None,
    *,
    tokenizer: Any,
    **options: Any,
) -> tf.data.Dataset:
    """Makes a data set of bucketed batches of texts; each iteration of it is one epoch.

    Arguments, results and errors are those of `BucketedBatches.from_texts` and of
    `BucketedBatches.dataset`.
    """
    batches = BucketedBatches.from_texts(texts, labels, pairs, tokenizer=tokenizer, **options)
    return batches.dataset()


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Fixes a data set's parallelism as it was given.

    TensorFlow's tuner sleeps between its looks at the pipeline, each time twice as long, up to a
    minute, and an iterator is not freed before it wakes: `fit` would return that much later.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def packed_lengths(segments: Sequence[tf.RaggedTensor], sequence_length: int) -> np.ndarray:
    """Counts the tokens of each row once it is packed: int64 `[rows]`."""
    special_tokens = len(segments) + 1
    if sequence_length < special_tokens:
        raise ValueError(
            f"`sequence_length` must have room for {special_tokens} special tokens, "
            f"but is {sequence_length}."
        )
    counts = [tf.cast(segment.row_lengths(), tf.int32) for segment in segments]
    kept = kept_lengths(counts, sequence_length - special_tokens)
    return tf.add_n(kept).numpy().astype(np.int64) + special_tokens
