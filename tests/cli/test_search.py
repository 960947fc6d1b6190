"""`index` and `search`: from a file of texts to what is near to a query."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spanbert_tf import TextIndex
from spanbert_tf.cli import index as index_command
from spanbert_tf.cli.main import main
from spanbert_tf.cli.search import show
from spanbert_tf.search import text_index
from spanbert_tf.search.index_files import INDEX_FILE, TEXTS_FILE
from spanbert_tf.search.text_index import Hit
from tests.checkpoints.foreign_folders import CONFIG, random_tensors, write_checkpoint
from tests.search.embedders import WordVectors

# Pieces of `tests.checkpoints.foreign_folders.vocabulary`.
TEXTS = {"a": "w1 w4 w4", "b": "w2 w5", "c": "w7 w7 w5 w1"}


def run(capsys: pytest.CaptureFixture[str], *words: Any, code: int = 0) -> Any:
    assert main([*map(str, words), "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("search") / "checkpoint")


@pytest.fixture(scope="module")
def index(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    file = folder / "texts.jsonl"
    file.write_text("".join(f'{{"id": "{n}", "text": "{t}"}}\n' for n, t in TEXTS.items()))
    words = ["index", file, "--output", folder / "index", "--model", checkpoint]
    assert main([*map(str, words)]) == 0
    return folder / "index"


def test_queries_find_their_texts(index: Path, capsys: pytest.CaptureFixture[str]):
    found = run(capsys, "search", index, *TEXTS.values(), "-k", 2)
    assert [of["query"] for of in found] == [*TEXTS.values()]
    assert [of["hits"][0]["id"] for of in found] == [*TEXTS]
    assert [of["hits"][0]["text"] for of in found] == [*TEXTS.values()]
    assert [len(of["hits"]) for of in found] == [2, 2, 2]
    for of in found:
        assert of["hits"][0]["score"] == pytest.approx(1, abs=1e-5)


def test_output_for_people(index: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["search", str(index), "w2 w5", "-k", "1"]) == 0
    assert capsys.readouterr().out == "1.000  b  w2 w5\n"
    several = [("one", [Hit(5, 0.5, "a\nb"), Hit("ab", 0.25, "c")]), ("two", [])]
    assert show(several) == "one\n  0.500   5  a b\n  0.250  ab  c\ntwo"


def test_forms_of_vectors_and_plain_text(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS.values()))
    words = ("index", file, "--output", tmp_path / "index", "--model", checkpoint)
    result = run(capsys, *words, "--vectors", "int8")
    assert result["texts"] == 3
    assert result["bytes"] == sum(path.stat().st_size for path in (tmp_path / "index").iterdir())
    assert "exists" in run(capsys, *words, code=1)
    run(capsys, *words, "--vectors", "bits", "--overwrite")
    description = json.loads((tmp_path / "index" / INDEX_FILE).read_text())
    assert description["vectors"] == "bits"
    assert description["model"] == str(checkpoint)
    texts = (tmp_path / "index" / TEXTS_FILE).read_text().splitlines()
    assert json.loads(texts[1]) == [2, "w2 w5"]  # The line is its id.


def test_bad_input(
    index: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "`k` must be at least 1" in run(capsys, "search", index, "w1", "-k", 0, code=1)
    assert "holds no index of texts" in run(capsys, "search", checkpoint, "w1", code=1)
    other = write_checkpoint(tmp_path / "other", random_tensors(CONFIG, seed=5))
    message = run(capsys, "search", index, "w1", "--model", other, code=1)
    assert "was made with another encoder" in message
    file = tmp_path / "texts.tsv"
    file.write_text("text\tkey\nw1\t1\nw2\t1\n")
    words = ("index", file, "--output", tmp_path / "index", "--model", checkpoint)
    assert "the id '1' is that of line 2" in run(capsys, *words, "--id-column", "key", code=1)
    assert "no column 'id2'" in run(capsys, *words, "--id-column", "id2", code=1)
    assert not (tmp_path / "index").exists()


def test_an_index_is_saved_again_with_the_place_that_its_model_was_moved_to(
    index: Path, checkpoint: Path, tmp_path: Path
):
    moved = shutil.copytree(checkpoint, tmp_path / "moved")
    TextIndex.load(index, moved).save(tmp_path / "index")
    assert json.loads((tmp_path / "index" / INDEX_FILE).read_text())["model"] == str(moved)


def test_an_error_of_a_later_part_says_from_where_texts_are_counted(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    class Fragile(WordVectors):
        def encode_text(self, texts: Any) -> np.ndarray:
            bad = np.array([[np.nan if text == "bad" else 1.0] for text in texts])
            return super().encode_text(texts) * bad

    monkeypatch.setattr(text_index, "as_embedder", lambda _: Fragile())
    monkeypatch.setattr(index_command, "_TEXTS_A_LINE", 2)
    file = tmp_path / "texts.txt"
    file.write_text("a\nb\nc\nbad\n")
    words = ("index", file, "--output", tmp_path / "index", "--model", checkpoint)
    message = run(capsys, *words, code=1)
    assert "the vector of text 1 is NaN" in message
    assert "Texts are counted from that of the id 3 here." in message
