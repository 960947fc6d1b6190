"""The text of a shard -> its files: tokenise, cut, write.  What each worker does.

Letters: n lines, p pieces, k blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.atomic import atomic_file
from spanbert_tf.data.blocks import cut_blocks, starts_word
from spanbert_tf.data.documents import LINE_PART, ShardText
from spanbert_tf.data.readers import DataError
from spanbert_tf.data.shards import Shard, Statistics, file_sha256, save_statistics

MakeTokenizer = Callable[[Sequence[str], bool], Any]

LINES_A_CALL = 1024  # given to the tokenizer at once, and no more bytes than a long line may have


class ShardWriter:
    """Writes shards into a folder.

    Args:
        folder: The folder; it exists.
        vocabulary: Word pieces, at the places of their ids.
        make_tokenizer: Called with `vocabulary` and `lowercase`, gives what turns strings `[n]`
            into ragged integers `[n, (p)]`.
        lowercase: Whether the tokenizer puts text in lower case.
        most_pieces: The most pieces in a block.
    """

    def __init__(
        self,
        folder: Path,
        vocabulary: Sequence[str],
        make_tokenizer: MakeTokenizer,
        lowercase: bool,
        most_pieces: int,
    ) -> None:
        self.folder = folder
        self.tokenizer = make_tokenizer(vocabulary, lowercase)
        self.starts_word = starts_word(vocabulary)
        self.most_pieces = most_pieces

    def write(self, text: ShardText) -> Shard:
        """Writes the records of a shard, then its statistics.

        Raises:
            DataError: They cannot be written.
        """
        ids, line_starts = self._tokenize(text.lines)
        ends = cut_blocks(
            self.starts_word[ids], line_starts[text.document_starts], self.most_pieces
        )
        try:
            with atomic_file(self.folder / f"{text.name}.tfrecord") as path:
                _write_records(path, ids, ends)
                shard = Shard(
                    name=text.name,
                    source=text.source,
                    documents=text.documents,
                    blocks=len(ends),
                    pieces=len(ids),
                    bytes=path.stat().st_size,
                    sha256=file_sha256(path),
                )
            statistics = Statistics(
                np.bincount(ids, minlength=len(self.starts_word)),
                np.diff(ends, prepend=0).astype(np.uint16),
            )
            save_statistics(self.folder / f"{text.name}.npz", statistics, shard)
        except (OSError, tf.errors.OpError) as error:
            raise DataError(
                f"{self.folder}: cannot write {text.name}: {error}. The shards that are finished "
                "stay: once there is room, the same call goes on where this one stopped."
            ) from error
        return shard

    def _tokenize(self, lines: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Gives pieces int32 `[p]`, and where each line's begin, int64 `[n]`."""
        ids, counts = [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
        for some in _calls(lines):
            pieces = self.tokenizer(tf.constant(some, tf.string))
            ids.append(pieces.values.numpy())
            counts.append(pieces.row_lengths().numpy())
        return np.concatenate(ids), np.cumsum(np.concatenate(counts))[:-1]


def _calls(lines: list[bytes]) -> Iterator[list[bytes]]:
    begin = size = 0
    for number, line in enumerate(lines):
        if number - begin == LINES_A_CALL or (number > begin and size + len(line) > LINE_PART):
            yield lines[begin:number]
            begin, size = number, 0
        size += len(line)
    if lines:
        yield lines[begin:]


def _write_records(path: Path, ids: np.ndarray, ends: np.ndarray) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for begin, end in pairwise([0, *ends.tolist()]):
            values = tf.train.Int64List(value=ids[begin:end].tolist())
            feature = {"token_ids": tf.train.Feature(int64_list=values)}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
