"""Parts of a file: together they are the file, line by line, whatever their sizes."""

import csv
import gzip
import io
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.data.readers import file_parts
from spanbert_tf.data.readers.file_parts import find_parts, read_parts
from spanbert_tf.data.readers.lines import DataError, read_lines
from spanbert_tf.data.readers.tables import read_texts

LINES = st.lists(st.sampled_from(["", " ", "a", "é\u2028b", "中" * 5, '{"text": "x"}']), min_size=1)


@given(LINES, st.integers(1, 5), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_parts_are_the_file(tmp_path_factory, lines, records, newline, ends, packed):
    path = tmp_path_factory.getbasetemp() / ("lines.txt.gz" if packed else "lines.txt")
    text = "\ufeff" + newline.join(lines) + newline * (ends or not lines[-1])
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    places = find_parts(path, records)
    read = list(read_parts(path, places))
    assert [place for place, _ in read] == places
    assert [line for _, part in read for line in read_lines(part)] == list(read_lines(path))
    assert {place.records for place in places[:-1]} <= {records}
    assert sum(place.records for place in places) == len(lines)
    # Any of them, without those before it.
    assert list(read_parts(path, places[1::2])) == read[1::2]


CHARACTERS = ["a", "é", "\u2028", '"', ",", ";", " ", "\n", "\r\n", "中"]
FIELDS = st.lists(st.sampled_from(CHARACTERS), max_size=6).map("".join)


def written(rows: list[list[str]], delimiter: str, quoted: bool, newline: str) -> str:
    """A table as a program would write it; without quotes, fields lose what would need them."""
    if not quoted:
        rows = [[re.sub(r"\s", " ", field) for field in row] for row in rows]
        return "".join(delimiter.join(row) + newline for row in rows)
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator=newline).writerows(rows)
    return file.getvalue()


@given(
    st.lists(st.tuples(FIELDS, FIELDS, st.booleans()), min_size=1, max_size=9),
    st.integers(1, 4),
    st.sampled_from([(".csv", ",", True), (".csv", ";", True), (".tsv", "\t", False)]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_parts_of_a_table_hold_its_rows(
    tmp_path_factory, rows, records, kind, newline, excel, packed
):
    suffix, delimiter, quoted = kind
    path = tmp_path_factory.getbasetemp() / f"table{suffix}{'.gz' if packed else ''}"
    table = [["id", "text"], *([number, text] for number, text, _ in rows)]
    text = "".join(
        # Blank lines are no rows.
        written([row], delimiter, quoted, newline) + newline * blank
        for row, blank in zip(table, [False, *(blank for *_, blank in rows)], strict=True)
    )
    text = "\ufeff" + f"sep={delimiter}{newline}" * (excel and quoted) + text
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    whole = read_texts(path)
    assert len(whole) == len(rows)
    places = find_parts(path, records)
    read = list(read_parts(path, places))
    parts = [read_texts(part) for _, part in read]
    assert [example for part in parts for example in part] == whole
    assert [len(part) for part in parts] == [place.records for place in places]
    assert {place.records for place in places[:-1]} <= {records}
    assert list(read_parts(path, places[1::2])) == read[1::2]


def test_rows_of_several_lines_stay_whole_and_errors_name_their_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"a\n\nb",1\nc 5" d,2\n\n"e\nf",3\ng\n')
    places = find_parts(path, 2)
    assert [(of.first_line, of.lines, of.records, of.header_lines) for of in places] == [
        *((2, 4, 2, 1), (6, 4, 2, 1)),
    ]
    (_, first), (_, second) = read_parts(path, places)
    texts = [(of.line, of.text) for of in read_texts(first)]
    assert texts == [(2, "a\n\nb"), (5, 'c 5" d')]
    with pytest.raises(DataError, match=r"a\.csv, line 9: expected 2 fields .*, found 1"):
        read_texts(second)
    path.write_text('text,label\n"a\nb",1\n"c,2\n')
    with pytest.raises(DataError, match=r"a\.csv, line 4: malformed CSV"):
        find_parts(path, 2)


def test_blank_lines_are_no_records_of_json(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = ["", '{"text": "a"}', " ", "\u3000", '{"text": "b"}', '{"text": "c"}', "", ""]
    path.write_text("\n".join(lines))
    places = find_parts(path, 2)
    assert [(place.first_line, place.lines, place.records) for place in places] == [
        *((1, 5, 2), (6, 2, 1)),
    ]
    texts = [
        [(of.line, of.text) for of in read_texts(part)] for _, part in read_parts(path, places)
    ]
    assert texts == [[(2, "a"), (5, "b")], [(6, "c")]]


def test_long_records_make_short_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(file_parts, "PART_BYTES", 10)
    path = tmp_path / "a.txt"
    path.write_text("123456\n1\n12345678901\n1\n1\n")
    assert [place.records for place in find_parts(path, 3)] == [3, 2]
    path.write_text("1234567890\n1\n12345678901\n1\n1\n")
    assert [place.records for place in find_parts(path, 3)] == [1, 2, 2]


def test_errors_name_the_lines_of_the_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n' * 3 + '{"text": 1}\n')
    ((_, first), (_, second)) = read_parts(path, find_parts(path, 2))
    assert len(read_texts(first)) == 2
    with pytest.raises(DataError, match=r"a\.jsonl, line 4: expected a string under 'text'"):
        read_texts(second)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{}", r"a\.json: \.json files are not read in parts"),
        ("a.tsv", b"text\n", r"a\.tsv: there is no record after the header"),
        ("a.csv", b"", r"a\.csv: the file is empty; expected a record a line"),
        ("a.txt", b"", r"a\.txt: the file is empty; expected a record a line"),
        ("a.jsonl", b"\n \n", r"a\.jsonl: the file is empty"),
        ("a.txt", "a\nb".encode("utf-16"), r"UTF-16 is not read in parts: .* by `iconv -f UTF-16"),
        ("a.txt", b"a\rb\r", "lines that end at carriage returns alone"),
        ("a.txt", b"a\nb\xff\n", r"a\.txt, line 2: not UTF-8"),
        ("a.txt", b"a\nb\n\0\n", r"a\.txt, line 3: a NUL byte"),
        ("a.txt", b"a\n" + b"b" * 99, r"a\.txt, line 2: more than 50 bytes"),
        # Without a time of its own the packed text, and so the test's name, changes each second.
        ("a.txt.gz", gzip.compress(b"a\n" * 9999, mtime=0)[:30], r"cannot be read .* Compr"),
        ("a.txt.gz", b"no such format", "cannot be read after line 0: Not a gzipped file"),
        ("b.txt", None, r"b\.txt: there is no such file"),
    ],
)
def test_files_that_have_no_parts(tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(file_parts, "LONGEST_LINE", 50)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        find_parts(tmp_path / name, 2)


def test_no_part_of_standard_input_or_of_what_has_changed(tmp_path):
    with pytest.raises(DataError, match="give the name of a file"):
        find_parts(file_parts.STANDARD_INPUT, 2)
    path = tmp_path / "a.txt"
    path.write_text("a\nb\nc\n")
    places = find_parts(path, 2)
    path.write_text("a\nb\n")
    with pytest.raises(DataError, match="changed while it was read: there is no line 3 any more"):
        list(read_parts(path, places[1:]))
    # Parts would begin within lines, and a line be lost.
    path.write_text("aa\nb\nc\n")
    with pytest.raises(DataError, match="it had 6 bytes, and has 7 now"):
        list(read_parts(path, places))
    path.write_text("a\n\nbc\n")
    os.utime(path, ns=(0, 1))
    with pytest.raises(DataError, match="it was written anew"):
        list(read_parts(path, places))
