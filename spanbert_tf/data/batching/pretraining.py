"""A prepared corpus -> batches for pretraining, each a pure function of seed, epoch and number.

An epoch goes through the shards in a new order, a group of them in memory at a time; the blocks
of a group are planned by `bucketing.plan_batches`.  Hence the state of the input is two numbers,
and a run that is taken up again sees the rest of its batches bit by bit.

A row holds one block, padded, or with `packing` several that do not see each other.

Letters: b batch, s sequence, k blocks of a batch, v the vocabulary.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.batching.block_rows import block_rows, join_blocks
from spanbert_tf.data.batching.bucketing import (
    BatchPlan,
    PaddingReport,
    choose_bucket_boundaries,
    plan_batches,
    plan_packed_batches,
)
from spanbert_tf.data.batching.pipeline import PARALLEL_BATCHES, without_autotuning
from spanbert_tf.data.corpus.shards import (
    STATISTICS,
    check_tokenizer,
    load_statistics,
    load_vocabulary,
    read_manifest,
    sound_shards,
)
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.features import TOKEN_IDS

SPECIAL_TOKENS = 2  # [CLS] and [SEP] of each block

Transform = Callable[[dict[str, tf.Tensor], tf.Tensor], Any]


class PretrainingBatches:
    """The batches that a prepared corpus makes in each epoch.

    They depend on the arguments and the number of the epoch alone, whatever the machine.  To hold
    data out, give the last shards to one object and the others to another:

    ```python
    training = PretrainingBatches(folder, token_budget=16_384, shards=slice(None, -1))
    validation = PretrainingBatches(folder, token_budget=16_384, shards=slice(-1, None))
    validation.dataset(epoch=0, endless=False)  # the same batches, and masks, at each look
    ```

    Args:
        folder: What `prepare_corpus` wrote.
        token_budget: The most tokens in a batch, padding counted.
        num_buckets: How many padded lengths there may be; they are chosen to fit the corpus.
        packing: Fill rows of the corpus's `sequence_length` with several blocks each, instead of
            padding rows of one to their bucket.  Masks and losses are those of the same blocks in
            rows of their own, as the rows' `position_ids` tell the encoder what belongs together.
        seed: Seed of the order of the blocks and of the rows' own seeds.
        shards: Which shards of the corpus to take.
        shards_in_memory: How many shards are in memory, and shuffled with one another, at a time.
        part: Number of this worker, from 0, and of all workers of a data-parallel run: each has
            an equal part of the rows of each batch, in order.  Where they do not divide evenly,
            the last parts are filled with rows of padding; a part may hold nothing else.
        tokenizer: Has `get_vocabulary()` and `lowercase`: is refused if the corpus was prepared
            with another.  `None`: the corpus is taken as it is.
        transform: Called in the graph with the features and the seeds of a batch, gives what the
            data set gives: the masking.  `None`: the two themselves.  With `packing` it is called
            with rows of one block, and gives the features that `join_blocks` takes.
        skip_bad_shards: Leave out shards that are damaged, with a warning.  They are found here,
            not on the way, so that plans are the same from the first batch on.

    Attributes:
        manifest: What is known of the corpus.
        vocabulary: Its word pieces.
        piece_counts: int64 `[v]`, how often each occurs in the whole corpus.
        boundaries: The padded lengths.
        shards: Numbers of the shards that are taken, in the order of the corpus.
        bad_shards: What is wrong with each shard that was left out.

    Raises:
        DataError: The folder holds no complete corpus, one of another vocabulary, or a damaged
            shard.
        ValueError: The arguments do not fit the corpus or one another.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        token_budget: int,
        num_buckets: int = 8,
        packing: bool = False,
        seed: int = 0,
        shards: slice = slice(None),
        shards_in_memory: int = 8,
        part: tuple[int, int] = (0, 1),
        tokenizer: Any = None,
        transform: Transform | None = None,
        skip_bad_shards: bool = False,
    ) -> None:
        if shards_in_memory < 1 or not 0 <= part[0] < part[1]:
            raise ValueError(
                "`shards_in_memory` must be positive and `part` (number, parts), but they are "
                f"{shards_in_memory} and {part}."
            )
        self.folder = user_path(folder)
        self.manifest = read_manifest(folder)
        if not self.manifest.complete:
            raise DataError(f"{folder}: the preparation of this corpus did not come to its end.")
        self.vocabulary = load_vocabulary(self.folder, self.manifest)
        check_tokenizer(self.folder, self.manifest, tokenizer)
        statistics = load_statistics(self.folder / STATISTICS)
        self.piece_counts = statistics.piece_counts
        blocks = [shard.blocks for shard in self.manifest.shards]
        self._first_block = np.concatenate([[0], np.cumsum(blocks)])
        self._lengths = statistics.block_lengths.astype(np.int64) + SPECIAL_TOKENS
        if len(self._lengths) != self._first_block[-1]:
            raise DataError(
                f"{self.folder / STATISTICS}: expected the lengths of {self._first_block[-1]:,} "
                f"blocks, found {len(self._lengths):,}."
            )
        # Of the whole corpus: the same shapes whichever shards are taken.
        longest = self.manifest.settings.sequence_length
        self.packing = packing
        self.boundaries: tuple[int, ...] = (longest,)
        if not packing:
            self.boundaries = choose_bucket_boundaries(self._lengths, num_buckets, 8, longest)
        self.token_budget = token_budget
        self.seed = seed
        self.shards_in_memory = shards_in_memory
        self.part = part
        self.transform = transform
        self._counts: dict[int, int] = {}  # of the batches of an epoch, as they become known
        wanted = range(len(blocks))[shards]
        self.shards, self.bad_shards = sound_shards(
            self.folder, self.manifest, wanted, skip_bad_shards
        )
        if not sum(blocks[number] for number in self.shards):
            raise ValueError(f"there are no blocks in the shards {shards} of {len(blocks)}.")

    @property
    def fingerprint(self) -> str:
        """What batches depend on, in short: a run is taken up again only if it is the same."""
        shards = [self.manifest.shards[number].sha256 for number in self.shards]
        parts = [self.manifest.vocabulary_sha256, *shards]
        parts += map(str, (self.boundaries, self.token_budget, self.seed, self.shards_in_memory))
        # Left out where rows are not packed: runs from before there was a choice go on.
        parts += ["packing"] * self.packing
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def groups(self) -> int:
        """How many groups of shards there are in an epoch."""
        return -(-len(self.shards) // self.shards_in_memory)

    def plan(self, epoch: int = 0) -> BatchPlan:
        """Tells which blocks of the corpus make up which batch of an epoch."""
        first = epoch * self.groups
        blocks, plans = zip(
            *(self._plan_group(first + group) for group in range(self.groups)), strict=True
        )
        return BatchPlan(
            rows=np.concatenate([of[plan.rows] for of, plan in zip(blocks, plans, strict=True)]),
            splits=_joined_splits(plan.splits for plan in plans),
            lengths=np.concatenate([plan.lengths for plan in plans]),
            row_splits=(
                _joined_splits(plan.row_splits for plan in plans) if self.packing else None
            ),
        )

    def batches(self, epoch: int = 0) -> int:
        """Counts the batches of an epoch, which are not the same number in each."""
        if epoch not in self._counts:
            first = epoch * self.groups
            plans = (self._plan_group(first + group)[1] for group in range(self.groups))
            self._counts[epoch] = sum(map(len, plans))
        return self._counts[epoch]

    def padding_report(self, epoch: int = 0) -> PaddingReport:
        """Counts the padding of an epoch without making its batches."""
        return self.plan(epoch).report(self._lengths)

    def advance(self, epoch: int, batch: int, steps: int) -> tuple[int, int]:
        """Says which epoch and batch come `steps` batches after those given."""
        batch += steps
        while batch >= (batches := self.batches(epoch)):
            epoch, batch = epoch + 1, batch - batches
        return epoch, batch

    def dataset(
        self, epoch: int = 0, start_batch: int = 0, endless: bool = True
    ) -> tf.data.Dataset:
        """Makes the data set that begins with a batch of an epoch; those before are not made.

        Args:
            epoch: Number of the epoch, from 0.
            start_batch: Number of the batch in it, from 0.
            endless: Whether the epochs after it follow.

        Returns:
            Batches `transform(features, seeds)`, or `(features, seeds)`.  Features are int32
            `[b, s]`: `token_ids`, `segment_ids`, `padding_mask` and `word_starts`.  Seeds are
            int32 `[b, 2]`: a number made of seed and epoch, and the place of the row's block in
            the corpus (0 and 0 for a row of padding).  With `packing` there are `position_ids`,
            too, and seeds are int32 `[k, 2]`, of each block.

        Raises:
            ValueError: The epoch has fewer batches.
        """
        first = epoch * self.groups
        end = np.iinfo(np.int64).max if endless else first + self.groups
        skipped = start_batch
        while skipped and skipped >= (batches := len(self._plan_group(first)[1])):
            first, skipped = first + 1, skipped - batches
            if first == (epoch + 1) * self.groups and skipped:
                raise ValueError(
                    f"epoch {epoch} has {start_batch - skipped} batches, but `start_batch` is "
                    f"{start_batch}."
                )
        groups = tf.data.Dataset.range(first, end)
        batches = groups.flat_map(
            lambda group: self._read_group(group, tf.where(group == first, skipped, 0))
        )
        # Deterministic: batches come in the order of the plan however many threads make them.
        make = tf.autograph.experimental.do_not_convert(self._features)  # It takes a second.
        batches = batches.map(make, PARALLEL_BATCHES, deterministic=True)
        if not endless:
            left = max(0, self.batches(epoch) - start_batch)
            batches = batches.apply(tf.data.experimental.assert_cardinality(left))
        return without_autotuning(batches.prefetch(PARALLEL_BATCHES))

    def _group(self, group: int) -> np.ndarray:
        """Numbers of the shards of a group; groups are numbered through all epochs."""
        epoch, group = divmod(group, self.groups)
        # One number more than `plan_batches` gives its generator: another stream.
        order = np.random.default_rng([self.seed, epoch, 0]).permutation(self.shards)
        return order[group * self.shards_in_memory :][: self.shards_in_memory]

    def _plan_group(self, group: int) -> tuple[np.ndarray, BatchPlan]:
        """Gives the places of a group's blocks in the corpus, and the plan of those blocks."""
        blocks = np.concatenate(
            [
                np.arange(self._first_block[number], self._first_block[number + 1])
                for number in self._group(group)
            ]
        )
        lengths = self._lengths[blocks]
        options: dict[str, Any] = {"token_budget": self.token_budget, "seed": self.seed}
        if self.packing:
            plan = plan_packed_batches(lengths, self.boundaries[0], epoch=group, **options)
        else:
            plan = plan_batches(lengths, self.boundaries, epoch=group, **options)
        return blocks, plan

    def _describe_group(self, number: np.ndarray) -> tuple[np.ndarray, ...]:
        """What TensorFlow needs to make a group's batches: its files and the plan."""
        group = int(number)
        paths = [str(self.manifest.shards[n].path(self.folder)) for n in self._group(group)]
        blocks, plan = self._plan_group(group)
        mix = np.random.SeedSequence([self.seed, group // self.groups]).generate_state(1)
        places = blocks[plan.rows].astype(np.int32)
        seeds = np.stack([np.full_like(places, mix.view(np.int32)[0]), places], axis=1)
        row_splits = np.arange(len(plan.rows) + 1) if plan.row_splits is None else plan.row_splits
        return np.array(paths, object), plan.rows, row_splits, plan.splits, plan.lengths, seeds

    def _read_group(self, group: tf.Tensor, skipped: tf.Tensor) -> tf.data.Dataset:
        """Loads the shards of a group and gives the blocks, length and seeds of its batches."""
        paths, order, row_splits, splits, lengths, seeds = tf.numpy_function(
            self._describe_group, [group], [tf.string, *[tf.int64] * 3, tf.int32, tf.int32]
        )
        for tensor in (paths, order, row_splits, splits, lengths):
            tensor.set_shape([None])
        seeds.set_shape([None, 2])
        records = tf.data.TFRecordDataset(paths).batch(self._most_blocks())

        def batches(serialized: tf.Tensor) -> tf.data.Dataset:
            blocks = tf.io.parse_example(
                serialized,
                {TOKEN_IDS.name: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)},
            )[TOKEN_IDS.name]
            blocks = tf.cast(blocks, tf.int32)
            begins, ends = splits[:-1][skipped:], splits[1:][skipped:]
            plan = tf.data.Dataset.from_tensor_slices((begins, ends, lengths[skipped:]))

            def gather(begin: tf.Tensor, end: tf.Tensor, length: tf.Tensor) -> tuple[Any, ...]:
                each = -(-(end - begin) // self.part[1])
                start = tf.minimum(begin + self.part[0] * each, end)
                stop = tf.minimum(start + each, end)
                missing = tf.cast(each - (stop - start), tf.int32)
                of_rows = row_splits[start : stop + 1]
                wanted = slice(of_rows[0], of_rows[-1])
                return (
                    tf.gather(blocks, order[wanted]),
                    tf.cast(of_rows[1:] - of_rows[:-1], tf.int32),
                    length,
                    seeds[wanted],
                    missing,
                )

            return plan.map(gather)

        return records.flat_map(batches)

    def _most_blocks(self) -> int:
        blocks = sorted(
            (self.manifest.shards[number].blocks for number in self.shards), reverse=True
        )
        return sum(blocks[: self.shards_in_memory])

    def _features(
        self,
        blocks: tf.RaggedTensor,
        blocks_a_row: tf.Tensor,
        length: tf.Tensor,
        seeds: tf.Tensor,
        missing: tf.Tensor,
    ) -> Any:
        if self.packing:
            longest = tf.reduce_max(tf.concat([[0], blocks.row_lengths()], 0))
            length = tf.cast(longest, tf.int32) + SPECIAL_TOKENS
        features = block_rows(blocks, length, self.vocabulary)
        pad = self.vocabulary.index("[PAD]")
        if self.part[1] > 1:
            below = [[0, missing], [0, 0]]
            features = {
                name: tf.pad(rows, below, constant_values=pad if name == TOKEN_IDS.name else 0)
                for name, rows in features.items()
            }
            seeds = tf.pad(seeds, below)
            blocks_a_row = tf.pad(blocks_a_row, below[:1], constant_values=1)
        if self.transform is not None:
            features = self.transform(features, seeds)
        if self.packing:
            features = join_blocks(
                features, blocks_a_row, sequence_length=self.boundaries[0], pad_token_id=pad
            )
        return (features, seeds) if self.transform is None else features


def _joined_splits(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.cumsum(np.concatenate([[0], *map(np.diff, parts)]))
