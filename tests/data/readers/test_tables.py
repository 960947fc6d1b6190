"""Readers: what the formats give, and that every defect names its file and line."""

import csv
import gzip
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.readers.tables import (
    DataError,
    class_names_of,
    encode_labels,
    read_examples,
    read_texts,
)


def write(folder, name, content):
    path = folder / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def triples(examples):
    return [(example.text, example.pair, example.label) for example in examples]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "text\tlabel\nit's \"odd\tyes\nso, so\tno\n"),
        ("a.TSV", "\ufeffLabel\tid\tText_A\r\nyes\t1\tit's \"odd\r\n\r\nno \t2\tso, so\r\n"),
        ("a.csv", 'review,sentiment\n"it\'s ""odd",yes\n"so, so",no'),
        (
            "a.jsonl",
            '{"sentence": "it\'s \\"odd", "class": "yes"}\n\n{"sentence": "so, so", "class": "no"}',
        ),
    ],
)
def test_formats_agree(tmp_path, name, content, suffix):
    examples = read_examples(write(tmp_path, name + suffix, content))
    assert triples(examples) == [("it's \"odd", None, "yes"), ("so, so", None, "no")]


def test_pairs_named_columns_and_line_numbers(tmp_path):
    path = write(tmp_path, "a.csv", 'sentence1,sentence2,gold,x\n"a\nb",c,1,2\nd,e,0,3\n')
    examples = read_examples(path, label_column="gold")
    assert triples(examples) == [("a\nb", "c", "1"), ("d", "e", "0")]
    assert [example.line for example in examples] == [2, 4]
    assert {example.path for example in examples} == {str(path)}
    assert triples(read_examples(path, "x", "gold", "sentence2"))[1] == ("3", "0", "e")


def test_json_lines_of_which_only_later_ones_are_pairs(tmp_path):
    lone, pair = '{"text": "a", "label": "x"}\n', '{"text": "a", "text_pair": "b", "label": "x"}\n'
    for content, line in ((lone + pair, 1), (pair + lone, 2), (pair + pair + lone, 3)):
        for read in (read_examples, read_texts):
            with pytest.raises(DataError, match=f"line {line}: the key 'text_pair' is missing"):
                read(write(tmp_path, "a.jsonl", content))
    assert [of.pair for of in read_examples(write(tmp_path, "a.jsonl", pair * 2))] == ["b", "b"]


def test_json_labels_may_be_integers(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": 3, "more": [1]}')
    assert triples(read_examples(path)) == [("a", None, "3")]


def test_unicode_separators_belong_to_the_text(tmp_path):
    path = write(tmp_path, "a.tsv", "text\tlabel\na\u2028b\x85c\x0bd\t1\n")
    assert read_examples(path)[0].text == "a\u2028b\x85c\x0bd"


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_a_text_of_a_megabyte(tmp_path, name):
    limit = csv.field_size_limit()
    text = "word " * 200_000
    rows = {
        "a.tsv": f"text\tlabel\n{text}\t1\n",
        "a.csv": f"text,label\n{text},1\n",
        "a.jsonl": json.dumps({"text": text, "label": "1"}),
    }
    assert read_examples(write(tmp_path, name, rows[name]))[0].text == text
    assert csv.field_size_limit() == limit


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r")).filter(str.strip),
            st.sampled_from(["a", "b", "ü"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_csv_and_json_lines_written_by_python_read_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in rows]
    write(folder, "a.jsonl", "".join(lines))
    for name in ("a.csv", "a.jsonl"):
        examples = read_examples(folder / name)
        assert [(example.text, example.label) for example in examples] == rows


GZIPPED = gzip.compress(b"text\tlabel\n" + os.urandom(4000).hex().encode() + b"\t1\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "holds no examples"),
        ("a.tsv", "text\tlabel\n", "holds no examples"),
        ("a.jsonl", "\n\n", "holds no examples"),
        ("a.tsv", "good film\t1\nbad\t0\n", "no column for the text among 'good film', '1'"),
        ("a.tsv", "text\tstars\na\t0\n", "no column for the label .*`label_column`"),
        ("a.tsv", "text\ttext\na\t0\n", "line 1: expected a header row of different column"),
        ("a.tsv", "\ntext\tlabel\na\t0\n", "line 1: expected a header row"),
        ("a.tsv", "text\tlabel\na\t0\nb\n", r"line 3: expected 2 fields \('text', .*, found 1"),
        ("a.tsv", "text\tlabel\na\tb\t0\n", "line 2: expected 2 fields .* found 3"),
        ("a.tsv", "text\tlabel\n \t0\n", "line 2: the text is empty"),
        ("a.tsv", "text\tlabel\na\t\n", "line 2: the label is empty"),
        ("a.tsv", "text\ttext_b\tlabel\na\t\t1\n", "line 2: the second text is empty"),
        ("a.tsv", b"text\tlabel\na\t0\n\xff\t1\n", "line 3: not UTF-8"),
        ("a.tsv", "text\tlabel\na\t0\n".encode("utf-16-le"), "line 1: a NUL byte"),
        ("a.csv", 'text,label\na,0\n"b,1\nc,0\n', "line 3: malformed CSV: unexpected end"),
        ("a.csv", 'text,label\n"a"b,0\n', "line 2: malformed CSV"),
        ("a.csv", "text,label\na,0,1\n", "line 2: expected 2 fields"),
        ("a.jsonl", '{"text": "a", "label": "1"}\n{"text": "b"\n', "line 2: malformed JSON"),
        ("a.jsonl", '{"text": "\\ud800", "label": "1"}\n', "line 1: malformed JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: malformed JSON"),
        ("a.jsonl", "[1, 2]\n", r"line 1: expected an object, found \[1, 2\]"),
        ("a.jsonl", '{"text": "a", "label": "1"}\n{"text": "b"}', "line 2: the key 'label' is mis"),
        ("a.jsonl", '{"text": ["a"], "label": "1"}', "line 1: expected a string under 'text'"),
        ("a.jsonl", '{"text": null, "label": "1"}', "expected a string under 'text', found None"),
        ("a.jsonl", '{"text": "a", "label": 0.5}', "expected a string under 'label', found 0.5"),
        ("a.txt", "a\n", "expected a file named .tsv, .csv, .jsonl"),
    ],
)
def test_defects(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        read_examples(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", [GZIPPED[:-9], GZIPPED[:900], b"text\tlabel\na\t1\n", b""])
def test_damaged_gzip(tmp_path, content):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tsv\.gz"):
        read_examples(path)


def test_missing_file_folder_and_column(tmp_path):
    with pytest.raises(DataError, match=r"b\.tsv: there is no such file"):
        read_examples(tmp_path / "b.tsv")
    (tmp_path / "c.tsv").mkdir()
    with pytest.raises(DataError, match=r"c\.tsv: expected a file, found a folder"):
        read_examples(str(tmp_path / "c.tsv"))
    path = write(tmp_path, "a.tsv", "text\tlabel\na\t0\n")
    with pytest.raises(DataError, match="there is no column 'body' among 'text', 'label'"):
        read_examples(path, text_column="body")


def test_texts_to_predict_for(tmp_path):
    plain = write(tmp_path, "a.txt", "one, two\n\nthree\tfour")
    assert triples(read_texts(plain)) == [
        ("one, two", None, None),
        ("", None, None),
        ("three\tfour", None, None),
    ]
    table = write(tmp_path, "a.tsv", "text\n\nthree\n")
    assert [(e.text, e.line) for e in read_texts(table)] == [("", 2), ("three", 3)]
    pairs = write(tmp_path, "a.jsonl.gz", '{"a": "x", "b": "y"}\n')
    assert triples(read_texts(pairs, "a", "b")) == [("x", "y", None)]
    with pytest.raises(DataError, match=r"empty\.txt: the file is empty"):
        read_texts(write(tmp_path, "empty.txt", ""))
    with pytest.raises(DataError, match="no column for the text"):
        read_texts(write(tmp_path, "b.csv", "x,y\n1,2\n"))


def test_labels(tmp_path):
    path = write(tmp_path, "a.tsv", "text\tlabel\na\tpos\nb\tneg\nc\tpos\n")
    examples = read_examples(path)
    assert class_names_of(examples) == ["neg", "pos"]
    encoded = encode_labels(examples, ["neg", "pos"])
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"a\.tsv, line 3: unknown label 'neg'"):
        encode_labels(examples, ["pos", "other"])
    many = [f"c{number}" for number in range(77)]
    with pytest.raises(DataError, match="'c9' and 67 more"):
        encode_labels(examples, many)
    with pytest.raises(DataError, match=r"at least two different labels, found \['pos'\]"):
        class_names_of(examples[:1])
    with pytest.raises(DataError, match="no examples"):
        class_names_of([])


@pytest.mark.parametrize(
    ("name", "count", "classes"),
    [
        ("sst2/train.tsv", 60_614, 2),
        ("sst2/test.tsv", 872, 2),
        ("chnsenticorp/dev.tsv", 1_200, 2),
        ("banking77/train.csv", 10_003, 77),
        ("banking77/test.csv", 3_080, 77),
    ],
)
def test_public_files(shared_data, name, count, classes):
    examples = read_examples(shared_data / name)
    assert len(examples) == count
    assert len(class_names_of(examples)) == classes
