"""Pairs, triplets, scores and documents: what the formats give, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.text_tuples import (
    TextTuple,
    check_alike,
    check_learnable,
    draw_spans,
    read_span_pairs,
    read_text_tuples,
)


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, "utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.tsv", "anchor\tpositive\na\tb\nc\td\n", [(("a", "b"), None), (("c", "d"), None)]),
        ("a.csv", "id,Question,context\n1,a,b\n", [(("a", "b"), None)]),
        ("a.csv", "negative,text,pair\nx,a,b\n", [(("a", "b", "x"), None)]),
        ("a.tsv", "sentence1\tsentence2\tscore\na\tb\t0.25\n", [(("a", "b"), 0.25)]),
        ("a.jsonl", '{"query": "a", "passage": "b", "similarity": 1}', [(("a", "b"), 1.0)]),
        ("a.txt", "a\n\nb c\n", [(("a",), None), (("b c",), None)]),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"}', [(("a",), None), (("b",), None)]),
    ],
)
def test_columns_are_found(tmp_path: Path, name: str, content: str, expected: list):
    records = read_text_tuples(write(tmp_path, name, content))
    assert [(record.texts, record.score) for record in records] == expected
    assert {record.path for record in records} == {str(tmp_path / name)}


def test_columns_are_named_and_scores_scaled(tmp_path: Path):
    path = write(tmp_path, "sts.csv", "gold;one;two\n4;a;b\n0;c;d\n")
    records = read_text_tuples(path, "one", "two", score_column="gold", highest_score=5)
    assert [(record.texts, record.score, record.line) for record in records] == [
        (("a", "b"), 0.8, 2),
        (("c", "d"), 0.0, 3),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,pair,score\na,b,5\n", "line 2: expected a score from 0 to 1, found '5'; `highest_"),
        ("text,pair,score\na,b,x\n", "line 2: expected a score from 0 to 1, found 'x'"),
        ("text,pair,score\na,b,nan\n", "line 2: expected a score from 0 to 1"),
        ("text,pair,negative,score\na,b,c,1\n", "negatives .'negative'. and scores .'score'."),
        ("text,score\na,1\n", "'score' is of two texts, but there is no column of second"),
        ("text,pair\na,b\nc, \n", "line 3: the pair is empty"),
        ("x,pair\na,b\n", "no column for the text among 'x', 'pair'"),
    ],
)
def test_defects_are_named(tmp_path: Path, content: str, message: str):
    with pytest.raises(DataError, match=message):
        read_text_tuples(write(tmp_path, "a.csv", content))


def test_empty_files_and_booleans_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="the file is empty"):
        read_text_tuples(write(tmp_path, "a.txt", "\n \n"))
    with pytest.raises(DataError, match="found True"):
        read_text_tuples(write(tmp_path, "a.jsonl", '{"text": "a", "pair": "b", "score": true}'))


def test_records_are_all_of_one_form():
    pair, scored = TextTuple(("a", "b"), line=3, path="p"), TextTuple(("a", "b"), 0.5)
    with pytest.raises(DataError, match=r"expected 2 texts, a score .* found 2 texts, no score"):
        check_alike([scored, pair])
    check_learnable([pair, pair])
    taught = TextTuple(("a", "b"), 0.5, vectors=np.ones((2, 3), "float32"))
    for records, message in (
        ([], "no texts"),
        ([TextTuple(("a",), line=1, path="t")], "t, line 1: a text alone teaches nothing"),
        ([taught], "scores and a teacher's vectors both say"),
    ):
        with pytest.raises(DataError, match=message):
            check_learnable(records)


def test_spans_share_no_character_and_are_whole_words():
    words = [f"w{number}" for number in range(400)]  # Each stands there once.
    text = " ".join(words)
    lengths = []
    for seed in range(50):
        spans = draw_spans(text, 200, np.random.default_rng(seed))
        numbers = [[words.index(word) for word in span.split()] for span in spans]
        for of_span in numbers:
            assert of_span == list(range(of_span[0], of_span[-1] + 1))
        assert not set(numbers[0]) & set(numbers[1])
        lengths += map(len, spans)
    assert 30 < min(lengths) < 80
    assert 150 < max(lengths) <= 200


def test_texts_without_spaces_are_cut_anywhere_and_short_ones_left_out():
    text = "".join(chr(0x4E00 + number) for number in range(100))
    one, other = draw_spans(text, 400, np.random.default_rng(0))
    assert one in text
    assert other in text
    assert not set(one) & set(other)
    assert len(one) <= 50
    assert draw_spans("x" * 39, 400, np.random.default_rng(0)) is None


def test_documents_of_a_folder_give_pairs(tmp_path: Path):
    long, short = "ada met bo in oslo. " * 40, "it rained on all of us in the afternoon of monday."
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", "a.txt", f"{long}\n{long}\n\n{short}\n\nhi\n")
    write(tmp_path, "b.jsonl", json.dumps({"text": short}))
    records = read_span_pairs(tmp_path, 100)
    topics = [record.topic for record in records]
    counts = {topic.rpartition("/")[2]: topics.count(topic) for topic in topics}
    assert counts == {"a.txt:1": 1599 // 200, "a.txt:2": 1, "b.jsonl:1": 1}
    assert all(len(record.texts) == 2 for record in records)
    assert read_span_pairs(tmp_path, 100) == records
    assert read_span_pairs(tmp_path, 100, seed=1) != records
    # Two pairs of one document are not the same.
    assert len({record.texts for record in records}) > 5
    with pytest.raises(DataError, match="no document has 40 characters"):
        read_span_pairs(write(tmp_path, "c.txt", "hi\n"), 100)
