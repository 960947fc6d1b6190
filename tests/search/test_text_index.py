"""Texts in, hits out; what is written is what is read; bad input is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from spanbert_tf import TextIndex
from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.search import text_index
from spanbert_tf.search.index_files import GRAPH_FILE, INDEX_FILE, PROBES_FILE, TEXTS_FILE
from spanbert_tf.settings import VECTORS
from tests.search.embedders import Constant, WordVectors

TEXTS = [
    "Snow melts in spring.",
    "The film was dull.",
    "A river flows through the town.",
    "Rivers rise when snow melts.",
    "",
    "第一 行\u2028still the first",
]
IDS = ["snow", "film", "river", 7, "empty", "ünï"]


@pytest.fixture
def index() -> TextIndex:
    index = TextIndex(WordVectors())
    index.add(TEXTS, IDS)
    return index


def test_the_nearest_come_first_with_their_cosines(index: TextIndex):
    vectors = index.embedder.encode_text([*TEXTS, "snow in spring"]).astype(float)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units[:-1] @ units[-1]
    order = np.argsort(-cosines)
    hits = index.search("snow in spring", k=4)
    assert [hit.id for hit in hits] == [IDS[row] for row in order[:4]]
    assert [hit.score for hit in hits] == pytest.approx(cosines[order[:4]], abs=1e-6)
    assert hits[0].text == TEXTS[0]
    assert str(hits[0]) == f"{hits[0].score:.3f}  {TEXTS[0]}"


def test_one_query_or_several(index: TextIndex):
    both = index.search(["dull film", "river"], k=1)
    assert [[hit.id for hit in hits] for hits in both] == [["film"], ["river"]]
    (one,) = index.search("dull film", k=1)
    assert one.id == "film"
    assert one.score == pytest.approx(both[0][0].score, abs=1e-6)
    assert index.search(b"dull film", k=1) == [one]
    assert index.search([], k=1) == []


def test_more_are_asked_for_than_there_are(index: TextIndex):
    assert sorted(hit.text for hit in index.search("snow", k=99)) == sorted(TEXTS)


def test_nothing_is_found_in_an_empty_index(tmp_path: Path):
    embedder = WordVectors()
    index = TextIndex(embedder)
    index.add([])
    assert len(index) == embedder.calls == 0
    assert index.search("snow") == []
    assert index.search(["snow", "film"]) == [[], []]
    assert index.search_vectors(np.ones((2, 40))) == [[], []]
    with pytest.raises(ValueError, match=r"holds no texts, so .*nowhere is not written"):
        index.save(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_one_text():
    index = TextIndex(WordVectors(), "bits")
    index.add(["Snow melts."])
    (hit,) = index.search("film")
    assert (hit.id, hit.text) == (0, "Snow melts.")


def index_of_all() -> TextIndex:
    index = TextIndex(WordVectors())
    index.add(TEXTS)
    return index


def test_ids_go_on_where_they_are_not_given():
    index = TextIndex(WordVectors())
    index.add(TEXTS[:2])
    index.add(TEXTS[2:], np.arange(2, 6))
    assert index.search(TEXTS, k=1) == index_of_all().search(TEXTS, k=1)
    assert [type(hits[0].id) for hits in index.search(TEXTS, k=1)] == [int] * 6


def test_texts_are_encoded_in_parts_and_all_or_none_are_added(
    index: TextIndex, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_index, "_TEXTS_A_CALL", 2)
    in_parts = TextIndex(WordVectors())
    in_parts.add(TEXTS, IDS)
    assert in_parts.embedder.calls == 1 + 3  # The first is of the probes.
    assert in_parts.search("river", 3) == index.search("river", 3)

    encode, seen = in_parts.embedder.encode_text, []

    def nan_in_second_part(texts: list[str]) -> np.ndarray:
        seen.append(texts)
        return encode(texts) * (np.nan if len(seen) == 2 else 1)

    in_parts.embedder.encode_text = nan_in_second_part
    with pytest.raises(ValueError, match="the vector of text 0 is NaN") as caught:
        in_parts.add(["a", "b", "c", "d"], ["a", "b", "c", "d"])
    assert caught.value.__notes__ == ["Texts are counted from `texts`[2] here."]
    assert len(in_parts) == len(in_parts.search("a", 99)) == 6


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "a"], r"`ids`\[1\], 'a', is there twice"),
        (["a", 7], r"`ids`\[1\], 7, is there in the index already"),
        (["a"], "an id for each of 2 texts, got 1"),
        (["a", 1.5], r"`ids`\[1\] must be a string or an integer, but is 1.5"),
        (["a", True], r"`ids`\[1\] must be a string or an integer, but is True"),
    ],
)
def test_bad_ids(ids: list, message: str, index: TextIndex):
    with pytest.raises((TypeError, ValueError), match=message):
        index.add(["x", "y"], ids)
    assert len(index) == 6


def test_bad_arguments(index: TextIndex):
    with pytest.raises(ValueError, match=r"`vectors` must be one of .*but is 'int4'"):
        TextIndex(WordVectors(), "int4")
    with pytest.raises(TypeError, match=r"`embedder` must have a method `encode_text`.*but is 3"):
        TextIndex(3)
    with pytest.raises(TypeError, match="`texts` must be a list of strings, but is one string"):
        index.add("abc")
    with pytest.raises(TypeError, match=r"`queries`\[1\] must be a string, but is 5"):
        index.search(["a", 5])
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"`k` must be at least 1, but is {k}"):
            index.search("snow", k)
        with pytest.raises(ValueError, match="`k` must be at least 1"):
            TextIndex(WordVectors()).search("snow", k)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((1, 40), np.nan), "the vector of text 0 is NaN or infinite"),
        (np.zeros((1, 40)), "the vector of text 0 is 0 and has no direction"),
        (np.ones((1, 39)), "vectors of width 40, but got vectors of width 39"),
        (np.ones((2, 40)), r"a vector for each of 1 texts, .* shape \(2, 40\)"),
        (np.ones(40), r"a vector for each of 1 texts, .* shape \(40,\)"),
    ],
)
def test_bad_vectors(array: np.ndarray, message: str, index: TextIndex):
    index.embedder = Constant(array)
    with pytest.raises(ValueError, match=message):
        index.add(["x"])
    with pytest.raises(ValueError, match=message):
        index.search("x")
    assert len(index) == 6


def test_vectors_are_searched_and_given(index: TextIndex):
    vectors = index.vectors_of([7, "snow"])
    assert vectors.shape == (2, 40)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    hits = index.search_vectors(5 * vectors, k=1)
    assert [of[0].id for of in hits] == [7, "snow"]
    with pytest.raises(ValueError, match="vectors of width 40, but got vectors of width 3"):
        index.search_vectors(np.ones((1, 3)))
    with pytest.raises(ValueError, match="the vector of query 1 is NaN"):
        index.search_vectors([[1.0] * 40, [np.nan] * 40])
    with pytest.raises(KeyError, match="no text of the id 'nobody'"):
        index.vectors_of(["nobody"])
    assert index.vectors_of([]).shape == (0, 40)


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("approximate", [False, True])
def test_what_is_saved_is_loaded(vectors: str, approximate: bool, tmp_path: Path):
    if approximate:
        pytest.importorskip("usearch", reason="approximate search needs usearch")
    index = TextIndex(WordVectors(), vectors, approximate)
    index.add(TEXTS, IDS)
    index.save(tmp_path / "index")
    again = TextIndex.load(tmp_path / "index", WordVectors())
    queries = ["snow melts", "dull", "第一"]
    assert again.search(queries, 4) == index.search(queries, 4)
    again.add(["Ice floats."], ["ice"])
    assert again.search("ice", 1)[0].id == "ice"
    with pytest.raises(ValueError, match="'ice', is there in the index already"):
        again.add(["Ice."], ["ice"])

    with pytest.raises(FileExistsError, match="overwrite=True"):
        again.save(tmp_path / "index")
    again.save(tmp_path / "index", overwrite=True)  # The files that it reads from.
    assert again.search("ice", 1) == TextIndex.load(tmp_path / "index", WordVectors()).search(
        "ice", 1
    )
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_what_is_not_an_index_is_not_replaced(index: TextIndex, tmp_path: Path):
    index.save(tmp_path / "index")
    (tmp_path / "index" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        index.save(tmp_path / "index", overwrite=True)


def test_a_save_that_fails_leaves_what_was_there(
    index: TextIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index.save(tmp_path / "index")
    index.add(["\ud800"], ["half a character, which UTF-8 has none for"])
    with pytest.raises(UnicodeEncodeError):
        index.save(tmp_path / "index", overwrite=True)
    assert len(TextIndex.load(tmp_path / "index", WordVectors())) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_another_encoder_is_refused(index: TextIndex, tmp_path: Path):
    index.save(tmp_path / "index")
    with pytest.raises(CheckpointError, match=r"index was made with another encoder: .* cosine"):
        TextIndex.load(tmp_path / "index", WordVectors(seed=1))
    with pytest.raises(CheckpointError, match="width 40, but the encoder's are of width 39"):
        TextIndex.load(tmp_path / "index", WordVectors(width=39))
    with pytest.raises(ValueError, match="made with an encoder in memory: pass it"):
        TextIndex.load(tmp_path / "index")

    class Nearly(WordVectors):  # As the same weights are in another format.
        def encode_text(self, texts: list[str]) -> np.ndarray:
            return super().encode_text(texts) * 7 + 1e-3

    assert len(TextIndex.load(tmp_path / "index", Nearly())) == 6


def test_what_is_no_index_is_named(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=f"holds no index of texts: .*{INDEX_FILE}"):
            TextIndex.load(folder, WordVectors())


@pytest.mark.parametrize(
    "name", [TEXTS_FILE, PROBES_FILE, "text_index.float32.npy", GRAPH_FILE, INDEX_FILE]
)
def test_files_that_are_cut_short_or_missing(name: str, tmp_path: Path):
    pytest.importorskip("usearch", reason="approximate search needs usearch")
    index = TextIndex(WordVectors(), approximate=True)
    index.add(TEXTS)
    index.save(tmp_path / "index")
    path = tmp_path / "index" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=rf"{name}.*(cut short|is not JSON)"):
        TextIndex.load(tmp_path / "index", WordVectors())
    path.unlink()
    with pytest.raises((CheckpointError, FileNotFoundError), match=f"lacks {name}"):
        TextIndex.load(tmp_path / "index", WordVectors())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vectors": "int4"}, "vectors: expected one of float32, int8"),
        ({"texts": 7}, r"expected float32 of shape \(7, 40\)"),
        ({"vectors": "int8"}, "lacks text_index.int8.npy|text_index.int8.npy"),
        ({"width": 0}, "width: expected an integer from 1"),
    ],
)
def test_descriptions_that_do_not_fit(
    changes: dict, message: str, index: TextIndex, tmp_path: Path
):
    index.save(tmp_path / "index")
    path = tmp_path / "index" / INDEX_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises((CheckpointError, FileNotFoundError), match=message):
        TextIndex.load(tmp_path / "index", WordVectors())


def test_texts_that_do_not_fit(index: TextIndex, tmp_path: Path):
    index.save(tmp_path / "index")
    path = tmp_path / "index" / TEXTS_FILE
    lines = path.read_text("utf-8").split("\n")
    assert json.loads(lines[1]) == ["film", "The film was dull."]
    for second, message in (
        ('["snow", "The film was d"]', "an id of its own"),
        ('[["film"], "The film was dull."]', "is not the texts of an index, or damaged"),
        ("x" * 30, "not"),
    ):
        path.write_text("\n".join([lines[0], second, *lines[2:]]), "utf-8")
        sizes = json.loads((path.parent / INDEX_FILE).read_text())
        sizes["files"][TEXTS_FILE] = path.stat().st_size
        (path.parent / INDEX_FILE).write_text(json.dumps(sizes))
        with pytest.raises(CheckpointError, match=rf"{TEXTS_FILE}.*{message}"):
            TextIndex.load(tmp_path / "index", WordVectors())
