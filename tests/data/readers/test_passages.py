"""Files of texts to search in."""

from pathlib import Path

import pytest

from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.passages import Passage, read_passages


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, "utf-8")
    return path


def test_lines_are_known_by_their_numbers(tmp_path: Path):
    path = write(tmp_path, "texts.txt", "one\n\n two words\n")
    assert read_passages(path) == [Passage(1, "one"), Passage(3, " two words")]


def test_tables_have_ids_or_lines(tmp_path: Path):
    path = write(tmp_path, "a.tsv", "id\ttext\tdoc\nx1\tone\tA\nx2\ttwo\tB\n")
    assert read_passages(path) == [Passage("x1", "one"), Passage("x2", "two")]
    assert read_passages(path, "doc", "text") == [Passage("one", "A"), Passage("two", "B")]
    path = write(tmp_path, "b.csv", "text;n\none;1\ntwo;2\n")
    assert read_passages(path) == [Passage(2, "one"), Passage(3, "two")]
    path = write(tmp_path, "c.jsonl", '{"id": 5, "text": "one"}\n{"text": "two", "id": "5"}\n')
    assert read_passages(path) == [Passage(5, "one"), Passage("5", "two")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\n \n", "a.txt: there are no texts"),
        ("a.tsv", "id\ttext\n1\ta\n1\tb\n", "a.tsv, line 3: the id '1' is that of line 2 too"),
        ("a.tsv", "id\ttext\n1\ta\n2\t \n", "a.tsv, line 3: the text is empty"),
        ("a.jsonl", '{"id": 1.5, "text": "a"}\n', "line 1: expected a string under 'id', found"),
        ("a.jsonl", '{"id": 1, "text": "a"}\n{"text": "b"}\n', "line 2: the key 'id' is missing"),
        ("a.jsonl", '{"body": "a"}\n', "no column for the text among 'body'"),
    ],
)
def test_bad_files_are_named(name: str, content: str, message: str, tmp_path: Path):
    with pytest.raises(DataError, match=message):
        read_passages(write(tmp_path, name, content))


def test_a_column_that_is_not_there(tmp_path: Path):
    path = write(tmp_path, "a.tsv", "text\none\n")
    with pytest.raises(DataError, match="there is no column 'key' among 'text'"):
        read_passages(path, id_column="key")
