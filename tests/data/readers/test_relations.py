"""Files of relations: every form gives the same record, and every defect is named."""

import gzip
import json
from pathlib import Path

import pytest

from spanbert_tf.data.readers.entities import EntitySpan
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.relations import (
    RelationExample,
    negative_label,
    read_marks,
    read_relations,
)

TEXT = "😀 Ada née b́ (x) met Bo."
HEAD, TAIL = EntitySpan(2, 5, ""), EntitySpan(21, 23, "")
TACRED = {
    "id": "a1",
    "relation": "per:spouse",
    "token": ["😀", "Ada", "née", "-LRB-", "x", "-RRB-", "Bo", "Li", "."],
    **{"subj_start": 6, "subj_end": 7, "obj_start": 1, "obj_end": 1},
    **{"subj_type": "PERSON", "obj_type": "PERSON"},
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def lines(*records: dict) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


def of(record: RelationExample) -> tuple:
    words = [record.text[span.start : span.end] for span in (record.head, record.tail)]
    return (*words, record.head.label, record.tail.label, record.label)


def test_marked_texts(tmp_path: Path):
    marked = "😀 <e1>Ada</e1> née b́ (x) met <e2>Bo</e2>."
    assert read_marks(marked) == (TEXT, HEAD, TAIL)
    for name in ("a.tsv", "a.tsv.gz"):
        path = write(tmp_path, name, f"met(e1,e2)\t{marked}\n\nOther\t{marked}\n")
        first, second = read_relations(path)
        assert first == RelationExample(TEXT, HEAD, TAIL, "met(e1,e2)", 1, str(path))
        assert (second.label, second.line, second.place) == ("Other", 3, f"{path}, line 3")
    path = write(tmp_path, "b.tsv", f"sentence\tlabel\n{marked}\tmet\n")
    assert [record.label for record in read_relations(path)] == ["met"]


def test_white_space_in_marks_is_no_part_of_entities():
    text, head, tail = read_marks("in <e2:LOC> a big  city </e2>, <e1> Bo </e1> met")
    assert text == "in  a big  city ,  Bo  met"
    assert (text[head.start : head.end], head.label) == ("Bo", "")
    assert (text[tail.start : tail.end], tail.label) == ("a big  city", "LOC")
    # One within the other.
    text, head, tail = read_marks("<e1>Bank of <e2>China</e2></e1>")
    assert (text, head, tail) == ("Bank of China", EntitySpan(0, 13, ""), EntitySpan(8, 13, ""))


def test_semeval_as_published(tmp_path: Path):
    text = (
        '1\t"The <e1>cup</e1> holds "<e2>tea</e2>"."\nContent-Container(e2,e1)\nComment: so.\n\n'
        '2\t"<e1>A</e1> and <e2>B</e2>."\nOther\nComment:\n\n'
    )
    first, second = read_relations(write(tmp_path, "TRAIN_FILE.TXT", text))
    assert first.text == 'The cup holds "tea".'
    assert of(first) == ("cup", "tea", "", "", "Content-Container(e2,e1)")
    assert (of(second), second.line) == (("A", "B", "", "", "Other"), 5)


def test_tacred(tmp_path: Path):
    other = {**TACRED, "id": "a2", "relation": "no_relation"}
    for name, text in (("a.json", json.dumps([TACRED, other])), ("a.jsonl", lines(TACRED, other))):
        first, second = read_relations(write(tmp_path, name, text))
        assert first.text == "😀 Ada née ( x ) Bo Li ."
        assert of(first) == ("Bo Li", "Ada", "PERSON", "PERSON", "per:spouse")
        assert second.label == "no_relation"
    assert second.place.endswith("a.jsonl, line 2")


def test_json_lines_of_characters(tmp_path: Path):
    objects = {
        "text": TEXT,
        "head": {"start": 2, "end": 5, "type": "PER"},
        "tail": {"start": 21, "end": 23},
        "relation": "met",
    }
    lists = {"sentence": TEXT, "subject": [2, 5, "PER"], "object": [21, 23], "label": "met"}
    records = read_relations(write(tmp_path, "a.jsonl", lines(objects, lists)))
    assert [of(record) for record in records] == 2 * [("Ada", "Bo", "PER", "", "met")]
    named = {"t": TEXT, "h": [2, 5], "o": [21, 23], "r": "met"}
    columns = {"text_column": "t", "head_column": "h", "tail_column": "o", "label_column": "r"}
    (record,) = read_relations(write(tmp_path, "b.jsonl", lines(named)), **columns)
    assert of(record) == ("Ada", "Bo", "", "", "met")


SPANS = {"text": "Ada met Bo", "head": [0, 3], "tail": [8, 10], "relation": "met"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "x", r"expected a file named \.tsv, \.txt, \.json, \.jsonl"),
        ("a.tsv", "", "holds no texts with two entities"),
        ("a.tsv", "x\ty\n", "holds no texts with two entities"),
        ("a.tsv", "x\ty\nx\ty\n", r"line 2: expected two fields, .* found \['x', 'y'\]"),
        ("a.tsv", "x\t<e1>a</e1> b\n", "line 1: expected a text with <e1>, </e1>, <e2> and </e2>"),
        ("a.tsv", "x\t<e1>a</e1> <e1>b</e1> <e2>c</e2>\n", "once each"),
        ("a.tsv", "x\t<e1>a</e1> <e2> </e2>\n", "nothing is marked by <e2>"),
        ("a.tsv", "x\t</e1>a<e1> <e2>b</e2>\n", "nothing is marked by <e1>"),
        ("a.tsv", "x\t<e1><e2>a</e2></e1>\n", "line 1: head and tail are the same, 0 to 1, 'a'"),
        ("a.tsv", " \t<e1>a</e1> <e2>b</e2>\n", "expected the name of a relation, found ' '"),
        ("a.txt", "one\n", r"line 1: expected a number, a tab and a text in \"\""),
        ("a.txt", '1\t"<e1>a</e1> <e2>b</e2>"\n', "line 1: the text has no relation"),
        (
            "a.txt",
            2 * '1\t"<e1>a</e1> <e2>b</e2>"\nOther\n',
            r"line 3: the id '1' is that of .*a.txt, line 1",
        ),
        ("a.json", "{", "malformed JSON"),
        ("a.json", "{}", "expected a list of objects"),
        ("a.json", "[1]", "record 1: expected an object"),
        ("a.json", json.dumps([TACRED, TACRED]), "record 2: the id 'a1' is that of .*record 1"),
        ("a.json", json.dumps([{**TACRED, "obj_end": 9}]), "record 1: expected `obj_start` and"),
        ("a.json", json.dumps([{**TACRED, "subj_end": 5}]), "`subj_end`, the first and the last"),
        ("a.json", json.dumps([{**TACRED, "obj_type": None}]), "`obj_type`, a string"),
        ("a.json", json.dumps([{**TACRED, "token": "Ada"}]), "expected a list of words"),
        ("a.json", json.dumps([{**TACRED, "relation": None}]), "name of a relation, found None"),
        ("a.jsonl", lines({**SPANS, "head": [0, 11]}), "line 1: expected the head within the text"),
        ("a.jsonl", lines({**SPANS, "head": [3, 3]}), "0 <= start < end <= 10, found 3 to 3"),
        ("a.jsonl", lines({**SPANS, "tail": [3, 4]}), "the tail, 3 to 4, is white space alone"),
        ("a.jsonl", lines({**SPANS, "tail": [0, 3]}), "head and tail are the same"),
        ("a.jsonl", lines({**SPANS, "tail": [True, 3]}), "expected the tail as integers"),
        ("a.jsonl", lines({**SPANS, "tail": [0, 3, 4]}), "expected the tail as integers"),
        ("a.jsonl", lines({**SPANS, "tail": "Bo"}), "expected the tail as integers"),
        ("a.jsonl", lines({**SPANS, "text": 5}), "expected the text as a string"),
        ("a.jsonl", lines({"text": "a", "head": [0, 1]}), "no key for the tail among"),
        ("a.jsonl", lines(SPANS, {**SPANS, "relation": ""}), "line 2: expected the name of a rel"),
    ],
)
def test_defects_are_named(tmp_path: Path, name: str, text: str, message: str):
    path = write(tmp_path, name, text)
    with pytest.raises(DataError, match=message) as error:
        read_relations(path)
    assert str(path) in str(error.value)


def test_columns_are_for_json_lines(tmp_path: Path):
    with pytest.raises(DataError, match="names of columns are for JSON lines"):
        read_relations(write(tmp_path, "a.tsv", "x\ty\n"), text_column="text")


def test_the_negative_label_is_found_by_its_name():
    assert negative_label(["Cause-Effect(e1,e2)", "Other"]) == "Other"
    assert negative_label(["no_relation", "org:founded"]) == "no_relation"
    assert negative_label(["met", "knows"]) is None


def test_the_training_sentences_of_semeval(shared_data: Path):
    records = read_relations(shared_data / "semeval2010_task8" / "train.tsv")
    assert (len(records), len({record.label for record in records})) == (8000, 19)
    assert all(record.head.start < record.tail.start for record in records)
    assert of(records[0]) == ("configuration", "elements", "", "", "Component-Whole(e2,e1)")
