"""CorpusSettings: nothing lost, the same bytes however it comes about, and clear refusals."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanbert_tf import atomic_files
from spanbert_tf.data.corpus import preparation, shard_writer
from spanbert_tf.data.corpus.preparation import CorpusCounts, prepare_corpus
from spanbert_tf.data.corpus.shards import load_statistics, read_manifest
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer
from tests.conftest import ROOT
from tests.data.corpora import (
    VOCABULARY,
    contents,
    end_process,
    pieces,
    prepare,
    random_documents,
    read_blocks,
    reuse_tokenizer,
    write_documents,
)

LINES = st.lists(
    st.sampled_from(["cab", "bad", "abed", "hgfedcba", ".", "xyz", "a" * 30]), min_size=1
)
DOCUMENTS = st.lists(st.lists(LINES.map(" ".join), min_size=1, max_size=4), min_size=1, max_size=8)


@given(DOCUMENTS, st.integers(3, 20), st.integers(1, 200))
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_is_lost_or_joined(tmp_path_factory, documents, sequence_length, shard_bytes):
    folder = tmp_path_factory.mktemp("corpus")
    path = write_documents(folder / "a.txt", documents)
    counts = prepare(
        [path], folder / "out", sequence_length=sequence_length, shard_bytes=shard_bytes
    )
    manifest = read_manifest(folder / "out")
    blocks = [
        block for shard in manifest.shards for block in read_blocks(folder / "out", shard.name)
    ]
    assert max(map(len, blocks)) <= sequence_length - 2
    assert counts == CorpusCounts(
        len(manifest.shards), 0, len(documents), len(blocks), sum(map(len, blocks))
    )
    starts = {i for i, piece in enumerate(VOCABULARY) if not piece.startswith("##")}
    remaining = iter(blocks)
    for document in documents:
        expected = pieces(document)
        found, previous = [], []
        while len(found) < len(expected):
            block = next(remaining)
            found += block
            if block[0] not in starts:  # a word that fills the block before from its start
                assert len(previous) == sequence_length - 2
                assert not starts.intersection(previous[1:])
            previous = block
        assert found == expected
    assert next(remaining, None) is None
    statistics = load_statistics(folder / "out" / "statistics.npz")
    assert statistics.block_lengths.tolist() == [len(block) for block in blocks]
    flat = [piece for block in blocks for piece in block]
    assert statistics.piece_counts.tolist() == np.bincount(flat, minlength=len(VOCABULARY)).tolist()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of three files."""
    folder = tmp_path_factory.mktemp("source")
    for number in range(3):
        write_documents(folder / f"{number}.txt", random_documents(40, number))
    return folder


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The corpus that they make, of more than ten shards; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    prepare([source], folder)
    return folder


def test_the_manifest(whole):
    content = json.loads((whole / "manifest.json").read_text())
    manifest = read_manifest(whole)
    assert manifest.complete
    assert manifest.documents == 120
    assert len(manifest.shards) > 10
    assert content["settings"]["sequence_length"] == 16
    lengths = content["blocks_by_length"]
    assert sum(lengths.values()) == content["blocks"] == manifest.blocks
    assert sum(int(length) * count for length, count in lengths.items()) == manifest.pieces
    assert (whole / "vocab.txt").read_text().split() == VOCABULARY
    assert len(contents(whole)) == 3 + 2 * len(manifest.shards)


def test_batches_of_lines_do_not_matter(source, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "LINES_A_CALL", 3)
    monkeypatch.setattr(shard_writer, "LINE_PART", 200)
    prepare([source], tmp_path / "out")
    assert contents(tmp_path / "out") == contents(whole)


def test_a_second_call_redoes_nothing(source, whole, tmp_path):
    seen = []
    prepare([source], tmp_path / "out")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard*")}
    counts = prepare([source], tmp_path / "out", progress=seen.append)
    assert counts.reused == counts.shards == len(seen)
    assert seen[-1] == counts
    assert times == {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard*")
    }
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize("name", ["shard-00001-00000.tfrecord", "shard-00001-00000.npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_shards_are_made_again(source, whole, tmp_path, name, damage):
    prepare([source], tmp_path / "out")
    path = tmp_path / "out" / name
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        data[len(data) // 2] ^= 4
        path.write_bytes(data if damage == "flip" else data[:-1])
    counts = prepare([source], tmp_path / "out")
    assert counts.reused == counts.shards - 1
    assert contents(tmp_path / "out") == contents(whole)


def test_changed_text(source, tmp_path):
    path = write_documents(tmp_path / "a.txt", random_documents(40, 0))
    before = prepare([path, source / "1.txt"], tmp_path / "out")
    write_documents(path, random_documents(3, 9))
    after = prepare([path, source / "1.txt"], tmp_path / "out")
    fresh = prepare([path, source / "1.txt"], tmp_path / "fresh")
    assert dataclasses.replace(after, reused=0) == fresh
    assert after.shards < before.shards
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_an_error_on_the_way_keeps_what_is_finished(source, whole, tmp_path):
    broken = tmp_path / "2.txt"
    broken.write_bytes((source / "2.txt").read_bytes() + b"\xff\n")
    paths = [source / "0.txt", source / "1.txt", broken]
    with pytest.raises(DataError, match=r"2\.txt, line \d+: not UTF-8"):
        prepare(paths, tmp_path / "out")
    assert not read_manifest(tmp_path / "out").complete
    broken.write_bytes((source / "2.txt").read_bytes())
    counts = prepare(paths, tmp_path / "out")
    assert counts.reused >= counts.shards - 1
    assert contents(tmp_path / "out") == contents(whole)


def test_a_full_disk_keeps_what_is_finished(source, whole, tmp_path, monkeypatch):
    flush, calls = atomic_files._flush, []

    def full(path):
        calls.append(path)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    monkeypatch.setattr(atomic_files, "_flush", full)
    with pytest.raises(
        DataError, match=r"cannot write shard-.* No space left .*the same call goes on"
    ):
        prepare([source], tmp_path / "out")
    monkeypatch.undo()
    assert not list((tmp_path / "out").glob(".incomplete*"))
    # Two shards are written at a time, so the last one that had room may wait for its statistics.
    finished = len(list((tmp_path / "out").glob("shard-*.npz")))
    assert finished in (3, 4)
    assert prepare([source], tmp_path / "out").reused == finished
    assert contents(tmp_path / "out") == contents(whole)


def test_a_full_disk_as_tensorflow_reports_it(tmp_path, monkeypatch):
    write_records = shard_writer._write_records
    monkeypatch.setattr(
        shard_writer, "_write_records", lambda _, *rest: write_records(Path("/dev/full"), *rest)
    )
    path = write_documents(tmp_path / "a.txt", random_documents(1))
    with pytest.raises(DataError, match="No space left on device"):
        prepare([path], tmp_path / "out")


def test_a_disk_that_is_full_at_the_end(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preparation, "write_vocabulary", full)
    with pytest.raises(DataError, match=r"out: cannot be written: .*the same call goes on"):
        prepare([source], tmp_path / "out")
    monkeypatch.undo()
    counts = prepare([source], tmp_path / "out")
    assert counts.reused == counts.shards


def test_other_settings_are_refused(source, whole):
    with pytest.raises(DataError, match="sequence_length is 16 there, 17 now; shard_bytes is 1000"):
        prepare([source], whole, sequence_length=17, shard_bytes=9)
    with pytest.raises(
        DataError, match=r"vocabulary is '\w{64}' there, '\w{64}' now; lowercase is"
    ):
        prepare_corpus(
            [source],
            whole,
            [*VOCABULARY, "x"],
            reuse_tokenizer,
            lowercase=True,
            settings=read_manifest(whole).settings,
            workers=1,
        )


def test_a_folder_of_something_else_is_refused(source, tmp_path):
    with pytest.raises(DataError, match=r"no manifest.json among its 3 files, such as '0.txt'"):
        prepare([source / "1.txt"], source)
    (tmp_path / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(DataError, match=r"manifest.json: not the manifest of a prepared corpus"):
        prepare([source], tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 9}')
    with pytest.raises(DataError, match="format 9; this version reads 1"):
        prepare([source], tmp_path)
    with pytest.raises(DataError, match="cannot make the folder"):
        prepare([source / "1.txt"], source / "0.txt")
    with pytest.raises(DataError, match=r"out: lies in the folder .*, which is read"):
        prepare([source], source / "deep" / "out")


@pytest.mark.parametrize("text", ["", "\n \n\t\n", "\u200b\n\n\x01"])
def test_an_empty_corpus(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match="there is no text in the corpus"):
        prepare([tmp_path / "a.txt"], tmp_path / "out")


def test_settings_out_of_range(tmp_path):
    with pytest.raises(ValueError, match="`sequence_length` must be from 3 to 65535, but is 2"):
        prepare([tmp_path], tmp_path / "out", sequence_length=2)
    with pytest.raises(ValueError, match="`undecodable` must be one of"):
        prepare([tmp_path], tmp_path / "out", undecodable="ignore")
    for workers in (0, -1):
        with pytest.raises(ValueError, match="`workers` must be at least 1"):
            prepare([tmp_path], tmp_path / "out", workers=workers)


SCRIPT = """
import sys
if __name__ == "__main__":
    from tests.data.corpora import prepare
    prepare([sys.argv[1]], sys.argv[2], workers=int(sys.argv[3]),
            progress=lambda counts: print(counts.shards, flush=True))
"""


@pytest.mark.slow
def test_killed_with_workers_and_taken_up_again(source, whole, tmp_path):
    script = tmp_path / "prepare.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "out"
    command = [sys.executable, script, source, folder, "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        for line in process.stdout:
            if int(line) == 3:
                process.send_signal(signal.SIGKILL)
                break
        # The end of the workers' output as well: none outlives its parent.
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    assert not read_manifest(folder).complete
    counts = prepare([source], folder)
    assert 3 <= counts.reused < counts.shards
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_workers_agree_with_one_process(source, whole, tmp_path):
    prepare([source], tmp_path / "out", workers=2)
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.slow
def test_a_worker_that_dies(source, tmp_path):
    with pytest.raises(DataError, match="a worker process came to a sudden end"):
        prepare_corpus([source], tmp_path / "out", VOCABULARY, end_process, workers=2)


@pytest.mark.slow
def test_an_error_in_a_worker(source, tmp_path):
    with pytest.raises(ValueError, match="lacks"):
        prepare_corpus([source], tmp_path / "out", VOCABULARY[4:], SpanBertTokenizer, workers=2)
