"""The text of a shard -> its files: tokenise, cut, write.  What each worker does.

Letters: n lines, p pieces, k blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.atomic_files import atomic_file
from spanbert_tf.data.corpus.blocks import cut_blocks, starts_word
from spanbert_tf.data.corpus.documents import LINE_PART, ShardText
from spanbert_tf.data.corpus.shards import Shard, Statistics, file_sha256, save_statistics
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.features import TOKEN_IDS

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
        threads: Number of threads that tokenise.
    """

    def __init__(
        self,
        folder: Path,
        vocabulary: Sequence[str],
        make_tokenizer: MakeTokenizer,
        lowercase: bool,
        most_pieces: int,
        threads: int = 1,
    ) -> None:
        self.folder = folder
        self.tokenizer = make_tokenizer(vocabulary, lowercase)
        self.starts_word = starts_word(vocabulary)
        self.most_pieces = most_pieces
        self.threads = threads

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
        with ThreadPoolExecutor(self.threads) as threads:
            ids, counts = zip(*threads.map(self._tokenize_at_once, _calls(lines)), strict=True)
        return np.concatenate(ids), np.cumsum(np.concatenate([[0], *counts]))[:-1]

    def _tokenize_at_once(self, lines: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        pieces = self.tokenizer(tf.constant(lines, tf.string))
        return pieces.values.numpy(), pieces.row_lengths().numpy()


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
        for record in _examples(ids, ends):
            writer.write(record)


def _examples(ids: np.ndarray, ends: np.ndarray) -> Iterator[bytes]:
    """Serialises `tf.train.Example`s of the one feature `token_ids`, without making them.

    Args:
        ids: Integers `[p]`, not negative.
        ends: int `[k]`, where each block ends, ascending; no block is empty.

    Yields:
        What `SerializeToString` gives for each block, byte by byte.
    """
    data, sizes = _varints(ids)
    name = _field(1, TOKEN_IDS.name.encode())
    begin = 0
    for end in np.cumsum(sizes)[ends - 1].tolist():
        # An Int64List in a Feature in an entry of the map that is Features.
        feature = _field(3, _field(1, data[begin:end].tobytes()))
        yield _field(1, _field(1, name + _field(2, feature)))
        begin = end


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer: number and kind, length, content."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Digits to base 128, the lowest first, each but the last with its highest bit set."""
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _varints(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Many varints at once: uint8, the digits of all, and int64 `[p]`, how many each has."""
    most = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    digits = np.empty((len(values), most), np.uint8)
    used = np.ones((len(values), most), np.bool_)
    sizes = np.ones(len(values), np.int64)
    for place in range(most):
        rest = values >> 7 * place
        digits[:, place] = rest & 127
        if place > 0:
            used[:, place] = rest > 0
            sizes += used[:, place]
    digits[:, :-1] |= used[:, 1:].view(np.uint8) << 7
    return digits[used], sizes
