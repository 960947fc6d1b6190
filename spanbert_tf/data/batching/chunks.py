"""Documents -> random chunks of them, as batches to learn mentions and their links from.

Letters: b batch, s sequence, m mentions of a chunk.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.pipeline import PARALLEL_BATCHES, without_autotuning
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.features import ENCODER_FEATURES, GOLD_MENTIONS, PADDING_MASK, TOKEN_IDS

PADDED_TO = 128  # Multiples of it are the lengths of batches: of few shapes few are compiled.
SPECIAL_TOKENS = 2
LEAST_CHUNK = SPECIAL_TOKENS + 1  # tokens


class ChunkBatches:
    """Chunks of documents, drawn anew in each epoch.

    A document gives as many chunks in an epoch, wherever they begin: those at its ends are drawn
    more often, so that all of its pieces are seen as often but for those.  One that is shorter than
    a chunk is seen as often, and whole.  Chunks depend on the arguments and the number of the epoch
    alone.

    Args:
        rows: A row a document, and `GOLD_MENTIONS` as its target.  A chunk weighs what its document
            does.
        tokenizer: Has `cls_token_id`, `sep_token_id` and `pad_token_id`.
        chunk_length: The most tokens of a chunk, special tokens counted.
        chunks: Chunks of a document in an epoch.
        batch_size: Chunks in a batch.
        seed: Seed of what is drawn.  `None`: chunks are the same in each epoch, spread evenly, in
            the order of the documents.

    Attributes:
        epoch: See `BucketedBatches`.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        tokenizer: Any,
        chunk_length: int,
        chunks: int,
        batch_size: int,
        seed: int | None,
    ) -> None:
        (segment,) = rows.segments
        self._pieces = np.split(segment.values.numpy(), segment.row_splits.numpy()[1:-1])
        mentions = rows.targets[GOLD_MENTIONS]
        self._mentions = np.split(mentions.values.numpy(), mentions.row_splits.numpy()[1:-1])
        self._weights = rows.sample_weight
        self._tokenizer = tokenizer
        self.most_pieces = chunk_length - SPECIAL_TOKENS
        self.chunks = chunks
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self._pieces) * self.chunks // self.batch_size)

    def plan(self, epoch: int) -> np.ndarray:
        """Document and first piece of each chunk of an epoch, int64 `[chunks, 2]`, in order."""
        documents = np.repeat(np.arange(len(self._pieces)), self.chunks)
        lengths = np.array([len(pieces) for pieces in self._pieces])[documents]
        beyond = np.maximum(lengths - self.most_pieces, 0)
        if self.seed is None:
            number = np.tile(np.arange(self.chunks), len(self._pieces))
            begins = beyond * number // max(self.chunks - 1, 1)
            return np.stack([documents, begins], axis=1)
        generator = np.random.default_rng([self.seed, epoch])
        half = self.most_pieces // 2
        begins = np.clip(generator.integers(-half, beyond + half + 1), 0, beyond)
        return generator.permutation(np.stack([documents, begins], axis=1))

    def batch(self, plan: np.ndarray) -> tuple[np.ndarray, ...]:
        """Makes a batch.

        Args:
            plan: Some rows of what `plan` gives.

        Returns:
            The encoder's features, int32 `[b, s]` each, and mentions, int32 `[b, m, 3]`, -1 past
            the last one.
        """
        chunks = [self._chunk(*each) for each in plan.tolist()]
        longest = max(len(ids) for ids, _ in chunks) + SPECIAL_TOKENS
        shape = len(chunks), -(-longest // PADDED_TO) * PADDED_TO
        most = max(len(mentions) for _, mentions in chunks)
        ids = np.full(shape, self._tokenizer.pad_token_id, "int32")
        mask = np.zeros(shape, "int32")
        gold = np.full((len(chunks), most, 3), -1, "int32")
        for row, (pieces, mentions) in enumerate(chunks):
            end = len(pieces) + 1
            ids[row, 0], ids[row, end] = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
            ids[row, 1:end] = pieces
            mask[row, : end + 1] = 1
            gold[row, : len(mentions)] = mentions
        by_name = {TOKEN_IDS.name: ids, PADDING_MASK.name: mask}
        return (*(by_name.get(of.name, np.zeros_like(ids)) for of in ENCODER_FEATURES), gold)

    def dataset(self) -> tf.data.Dataset:
        """Batches `(features, mentions)`, with weights `[b]` if rows have them; one epoch."""
        batches = tf.data.Dataset.from_tensors(0).flat_map(self._slice_plan)
        batches = batches.map(self._gather, PARALLEL_BATCHES, deterministic=True)
        batches = batches.apply(tf.data.experimental.assert_cardinality(len(self)))
        return without_autotuning(batches.prefetch(PARALLEL_BATCHES))

    def _chunk(self, document: int, begin: int) -> tuple[np.ndarray, np.ndarray]:
        """Pieces, and the mentions that are whole among them."""
        pieces = self._pieces[document][begin : begin + self.most_pieces]
        mentions = self._mentions[document]
        is_whole = (mentions[:, 0] > begin) & (mentions[:, 1] <= begin + len(pieces))
        return pieces, mentions[is_whole] - np.array([begin, begin, 0], "int32")

    def _next_plan(self) -> np.ndarray:
        plan = self.plan(self.epoch)
        self.epoch += 1
        return plan

    def _slice_plan(self, _: tf.Tensor) -> tf.data.Dataset:
        plan = tf.ensure_shape(tf.numpy_function(self._next_plan, [], tf.int64), [None, 2])
        return tf.data.Dataset.from_tensor_slices(plan).batch(self.batch_size)

    def _gather(self, plan: tf.Tensor) -> Any:
        *features, gold = tf.numpy_function(self.batch, [plan], [tf.int32] * 4)
        named = {
            of.name: tf.ensure_shape(feature, [None, None])
            for of, feature in zip(ENCODER_FEATURES, features, strict=True)
        }
        batch = named, tf.ensure_shape(gold, [None, None, 3])
        return batch if self._weights is None else (*batch, tf.gather(self._weights, plan[:, 0]))
