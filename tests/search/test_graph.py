"""Approximate search finds nearly what the exact search finds, with the same scores."""

import sys
from pathlib import Path

import numpy as np
import pytest

from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.search.graph import Graph
from spanbert_tf.search.text_index import TextIndex
from spanbert_tf.search.vector_store import STORES, VectorStore
from spanbert_tf.settings import VECTORS
from tests.search.embedders import WordVectors, clustered_vectors

WIDTH = 70
ALL = clustered_vectors(3000, WIDTH)
QUERIES = clustered_vectors(40, WIDTH, seed=0)  # Of the same clusters.


@pytest.fixture(scope="module", params=VECTORS)
def graph(request: pytest.FixtureRequest) -> Graph:
    pytest.importorskip("usearch", reason="approximate search needs usearch")
    store = STORES[request.param](WIDTH)
    store.append(store.pack(ALL[:2000]))
    graph = Graph(store)
    rest = store.pack(ALL[2000:])
    store.append(rest)
    graph.append(rest)
    return graph


def test_recall_and_scores(graph: Graph):
    exact_scores, exact = graph._store.search(QUERIES, 10)
    scores, rows = graph.search(QUERIES, 10)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(exact, rows, strict=True)])
    assert recall > 0.9
    same = (rows == exact).all(axis=1)
    assert same.any()
    np.testing.assert_allclose(scores[same], exact_scores[same], atol=1e-6)
    one = graph.search(QUERIES[:1], 10)
    assert [of.shape for of in one] == [(1, 10)] * 2
    np.testing.assert_array_equal(one[1], rows[:1])


def test_file(graph: Graph, tmp_path: Path):
    path = tmp_path / "graph"
    graph.write(path)
    store = STORES[graph._store.kind](WIDTH)
    again = Graph(store)
    with pytest.raises(CheckpointError, match="expected a graph over 0 vectors"):
        again.read(path)
    store.append(store.pack(ALL))
    again = Graph(STORES[store.kind](WIDTH))
    again._store = store
    again.read(path)
    np.testing.assert_array_equal(again.search(QUERIES, 3)[1], graph.search(QUERIES, 3)[1])
    extra = store.pack(-ALL[:1])  # A graph that was read is added to.
    store.append(extra)
    again.append(extra)
    assert again.search(-ALL[:1], 1)[1].tolist() == [[3000]]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="graph is not a graph of usearch, or damaged"):
        Graph(store).read(path)


def test_fewer_than_are_asked_for():
    pytest.importorskip("usearch", reason="approximate search needs usearch")
    store = VectorStore(WIDTH)
    store.append(store.pack(ALL[:4]))
    scores, rows = Graph(store).search(QUERIES, 10)
    assert scores.shape == (40, 4)
    np.testing.assert_array_equal(rows, store.search(QUERIES, 10)[1])


def test_missing_usearch_is_named_before_texts_are_encoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    embedder = WordVectors()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'spanbert-tf\[search\]'"):
        TextIndex(embedder, approximate=True)
    index = TextIndex(embedder)  # The exact search does without.
    index.add(["a b", "c d"])
    assert index.search("c", 1)[0].id == 1
