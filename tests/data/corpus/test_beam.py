"""Apache Beam: the same folder as without it, and a clear word where it is not installed."""

import importlib
import sys

import pytest

from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.readers.lines import DataError
from tests.data.corpora import (
    VOCABULARY,
    contents,
    prepare,
    random_documents,
    reuse_tokenizer,
    write_documents,
)

SETTINGS = CorpusSettings(sequence_length=16, shard_bytes=1000)


@pytest.fixture(scope="module")
def beam():
    pytest.importorskip("apache_beam")
    return importlib.import_module("spanbert_tf.data.corpus.beam")


def run(beam, paths, folder):
    return beam.prepare_corpus_with_beam(
        paths, folder, VOCABULARY, reuse_tokenizer, settings=SETTINGS
    )


@pytest.mark.filterwarnings("default")
def test_the_same_corpus(beam, tmp_path):
    paths = [
        write_documents(tmp_path / f"{number}.txt", random_documents(40, number))
        for number in range(3)
    ]
    expected = prepare(paths, tmp_path / "local")
    assert run(beam, paths, tmp_path / "out") == expected
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    # Gone on with by the other, after a shard is lost.
    (tmp_path / "out" / "shard-00001-00000.tfrecord").unlink()
    assert run(beam, paths, tmp_path / "out") == expected
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert prepare(paths, tmp_path / "out").reused == expected.shards


@pytest.mark.filterwarnings("default")
def test_defects(beam, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\nb\xff")
    with pytest.raises(DataError, match=r"^\S+a\.txt, line 2: not UTF-8[^\[]*$"):
        run(beam, [tmp_path / "a.txt"], tmp_path / "out")
    with pytest.raises(DataError, match="there is no such file"):
        run(beam, [tmp_path / "b.txt"], tmp_path / "out")


def test_without_beam(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("apache_beam")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("spanbert_tf.data.corpus.beam", "spanbert_tf.data.runners"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'spanbert-tf\[beam\]'"):
        importlib.import_module("spanbert_tf.data.corpus.beam")
