"""The writer of shards: records byte by byte as TensorFlow's, whatever the number of threads."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from spanbert_tf.data.corpus.documents import ShardText
from spanbert_tf.data.corpus.shard_writer import ShardWriter, _examples, _write_records
from tests.data import corpora

# Where the number of bytes of an id changes, the largest one last.
EDGES = [0, 127, 128, 2**14 - 1, 2**14, 2**21, 2**28, 2**31 - 1]
IDS = st.one_of(st.sampled_from(EDGES), st.integers(0, 300), st.integers(0, 2**31 - 1))
BLOCKS = st.lists(st.lists(IDS, min_size=1, max_size=80), max_size=6)


def expected_records(blocks):
    for block in blocks:
        values = tf.train.Int64List(value=block)
        feature = {"token_ids": tf.train.Feature(int64_list=values)}
        yield tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def joined(blocks, dtype=np.int32):
    ids = np.array([token for block in blocks for token in block], dtype)
    return ids, np.cumsum([len(block) for block in blocks]).astype(np.int64)


@given(BLOCKS, st.sampled_from([np.int32, np.int64]))
@example([EDGES], np.int32)
@example([[0]], np.int32)
@example([[1] * length for length in range(100, 130)], np.int32)  # Fields of one byte, and two.
@example([[2**31 - 1] * 5000], np.int32)
def test_records_are_those_of_protocol_buffers(blocks, dtype):
    assert list(_examples(*joined(blocks, dtype))) == list(expected_records(blocks))


def test_a_file_is_that_of_tensorflow(tmp_path):
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 30_000, rng.integers(1, 510)).tolist() for _ in range(50)]
    _write_records(tmp_path / "ours", *joined(blocks))
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in expected_records(blocks):
            writer.write(record)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("lines_a_call", [1, 7, 1024])
def test_threads_do_not_matter(tmp_path, monkeypatch, lines_a_call):
    monkeypatch.setattr("spanbert_tf.data.corpus.shard_writer.LINES_A_CALL", lines_a_call)
    lines = [line.encode() for lines in corpora.random_documents(40) for line in lines]
    text = ShardText("shard-00000-00000", lines, [0, 11], 2, "source")
    found = []
    for threads in (1, 5):
        folder = tmp_path / str(threads)
        folder.mkdir()
        arguments = (corpora.VOCABULARY, corpora.reuse_tokenizer, False, 14, threads)
        ShardWriter(folder, *arguments).write(text)
        found.append(corpora.contents(folder))
    assert found[0] == found[1]
    flat = [token for block in corpora.read_blocks(folder, text.name) for token in block]
    assert flat == corpora.pieces([line.decode() for line in lines])
