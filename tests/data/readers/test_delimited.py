"""TSV and CSV as people and programs write them: read right, and what was told of them is said."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.cli.arguments import add_settings
from spanbert_tf.cli.main import in_options
from spanbert_tf.data.readers.lines import DataError, read_lines
from spanbert_tf.data.readers.tables import read_examples, read_texts
from spanbert_tf.settings import TextColumns


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(path: Path, *columns: str, **options: Any) -> list[tuple[str, str | None]]:
    return [(one.text, one.label) for one in read_examples(path, *columns, **options)]


@pytest.mark.parametrize(
    ("name", "content", "delimiter"),
    [
        ("a.csv", "text;label\na, b;yes\nc;no\n", ";"),
        ("a.csv", "id;text;label\n1;a, b;yes\n2;c;no\n", ";"),
        ("a.csv", "text\tlabel\na, b\tyes\nc\tno\n", "\t"),
        ("a.csv", "text|label\na, b|yes\nc|no\n", "|"),
        ("a.csv", '"i,d";text;label\n1;"a, b";yes\n2;c;no\n', ";"),
        ("a.csv", "sep=;\ntext;label\na, b;yes\nc;no\n", ";"),
        ("a.csv", 'text,label\n"a, b",yes\nc,no\n', None),
        ("a.csv", '"the text; raw",text,label\n1,"a, b",yes\n2,c,no\n', None),
        ("a.tsv", "text;label\na, b;yes\nc;no\n", ";"),
        ("a.tsv", '"text","label"\n"a, b","yes"\n"c","no"\n', ","),
        ("a.tsv", "as it is, or was, raw\ttext\tlabel\n1\ta, b\tyes\n2\tc\tno\n", None),
    ],
)
def test_the_delimiter_is_told_from_the_header(
    name: str, content: str, delimiter: str | None, tmp_path: Path, caplog: Any
):
    assert read(write(tmp_path, name, content)) == [("a, b", "yes"), ("c", "no")]
    said = f"fields are parted by {delimiter!r}, as "
    assert (said in caplog.text) == (delimiter is not None)


def test_fields_that_another_character_parts(tmp_path: Path):
    """The message says what was taken for the delimiter, and how to name another."""
    path = write(tmp_path, "a.tsv", 'text,label\n"a, b",yes\n')
    with pytest.raises(DataError, match=r"parted by ',', found 3. `delimiter` and `quoting` say"):
        read(path)
    assert read(path, quoting="double") == [("a, b", "yes")]


@pytest.mark.parametrize("delimiter", [";", "\t", "tab", "\\t", ":"])
def test_the_delimiter_can_be_named(delimiter: str, tmp_path: Path):
    character = "\t" if "t" in delimiter else delimiter
    path = write(tmp_path, "a.csv", f"text, raw,all{character}label\na, b{character}yes\n")
    assert read(path, "text, raw,all", delimiter=delimiter) == [("a, b", "yes")]
    assert read_texts(path, "text, raw,all", delimiter=delimiter)[0].text == "a, b"


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "\r"])
def test_what_is_no_delimiter(delimiter: str):
    with pytest.raises(ValueError, match="`delimiter` must be one character, or tab, or None"):
        TextColumns(delimiter=delimiter)


def test_what_has_no_delimiter(tmp_path: Path):
    with pytest.raises(DataError, match="`delimiter` must be one character, but is 'ab'"):
        read(write(tmp_path, "a.csv", "text,label\na,b\n"), delimiter="ab")
    with pytest.raises(DataError, match="`delimiter` and `quoting` are for TSV and CSV"):
        read(write(tmp_path, "a.jsonl", '{"text": "a", "label": "b"}\n'), quoting="none")


def test_a_header_with_spaces(tmp_path: Path):
    path = write(tmp_path, "a.csv", " transcript, medical_specialty\na, b\nc,d\n")
    for space in ("", " "):
        columns = (f"{space}transcript", None, f"{space}medical_specialty")
        assert read(path, *columns) == [("a", "b"), ("c", "d")]
    twice = write(tmp_path, "b.csv", "text, text,label\na,b,c\n")
    with pytest.raises(DataError, match="line 1: expected a header row of different column names"):
        read(twice)


def test_columns_without_a_name(tmp_path: Path, caplog: Any):
    path = write(tmp_path, "a.csv", "v1,v2,,,\nham,a,,,\nspam,b, and more,,\nham,c,,,\n")
    assert read(path, "v2", None, "v1") == [("a", "ham"), ("b", "spam"), ("c", "ham")]
    assert "1 rows have something in columns without a name" in caplog.text
    with pytest.raises(DataError, match="no column for the text among 'v1', 'v2'"):
        read(path)
    with pytest.raises(DataError, match="line 1: expected a header row"):
        read(write(tmp_path, "b.csv", ",,\na,b,c\n"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_encodings_and_line_ends(encoding: str, end: str, name: str, tmp_path: Path):
    content = end.join(["text,label", "grün\u2028e,yes", "\u4e2d,no", ""])
    path = write(tmp_path, name, content.encode(encoding))
    assert read(path) == [("grün\u2028e", "yes"), ("\u4e2d", "no")]
    assert [line for line, _ in read_lines(path)] == [1, 2, 3]


def test_big_endian_and_no_mark(tmp_path: Path):
    content = "text,label\na,b\n"
    path = write(tmp_path, "a.csv", b"\xfe\xff" + content.encode("utf-16-be"))
    assert read(path) == [("a", "b")]
    with pytest.raises(DataError, match=r"line 1: a NUL byte; .*UTF-16 that begins with a byte"):
        read(write(tmp_path, "b.csv", content.encode("utf-16-le")))
    with pytest.raises(DataError, match=r"line 2: not UTF-8: .*iconv -f WINDOWS-1252 -t UTF-8"):
        read(write(tmp_path, "c.csv", "text,label\ngrün,b\n".encode("latin-1")))
    with pytest.raises(DataError, match="not UTF-16"):
        read(write(tmp_path, "d.csv", content.encode("utf-16")[:-1]))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text,label\na,0\n"b,1\nc,0\n', 3),
        ('text,label\n"a"b,0\n', 2),
        ('text,label\na,0\n"say "hello" twice",1\n', 3),
        ('text,label\n"a\nb",0\n"c" d,1\n', 4),
    ],
)
def test_a_stray_quote_names_its_row_and_the_way_out(content: str, line: int, tmp_path: Path):
    path = write(tmp_path, "a.csv", content)
    with pytest.raises(DataError, match=rf"line {line}: malformed CSV: .*`quoting` none") as caught:
        read(path)
    assert str(path) in str(caught.value)
    rows = read(path, quoting="none") if line != 4 else []
    assert all('"' in text for text, label in rows if label == "1")


def test_a_quote_within_a_field_is_a_character(tmp_path: Path):
    path = write(tmp_path, "a.csv", 'text,label\na 5" disk,yes\n')
    assert read(path) == [('a 5" disk', "yes")]


def test_quotes_of_a_tsv(tmp_path: Path, caplog: Any):
    rows = '"a ""b"" c"\tyes\n"d"\tno\n'
    path = write(tmp_path, "a.tsv", f"text\tlabel\n{rows}")
    assert read(path) == [('"a ""b"" c"', "yes"), ('"d"', "no")]
    assert caplog.text.count("line 2: quotes around a field are kept as a part of it") == 1
    assert caplog.text.count("quotes around") == 1
    caplog.clear()
    assert read(path, quoting="double") == [('a "b" c', "yes"), ("d", "no")]
    assert read(path, quoting="none") == [('"a ""b"" c"', "yes"), ('"d"', "no")]
    assert not caplog.text  # It was told.
    path = write(tmp_path, "b.tsv", f'"text"\t"label"\n{rows}')
    assert read(path) == [('a "b" c', "yes"), ("d", "no")]
    assert "fields may stand in quotes, as those of its header do" in caplog.text
    with pytest.raises(DataError, match="no column for the text among"):
        read(path, quoting="none")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(",;|\t"),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r")).filter(str.strip),
        min_size=1,
        max_size=5,
    ),
)
def test_what_python_writes_is_read_whatever_parts_it(
    tmp_path_factory: pytest.TempPathFactory, delimiter: str, texts: list[str]
):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([("text", "label"), *((text, "x") for text in texts)])
    path = write(tmp_path_factory.mktemp("round"), "a.csv", file.getvalue())
    assert [text for text, _ in read(path)] == texts


def test_options_are_named_as_the_command_has_them(tmp_path: Path):
    options = {"--text-column", "--quoting", "--lora-rank", "--overwrite", "--batch-size"}
    assert in_options("`text_column` and `settings.lora_rank`", options) == (
        "`--text-column` and `--lora-rank`"
    )
    assert in_options("choose another or pass overwrite=True", options) == (
        "choose another or give --overwrite"
    )
    assert in_options("`batch_size=7`, `class_names`, `x`", options) == (
        "`--batch-size 7`, `class_names`, `x`"
    )
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, "a.csv", "x,y\n1,2\n"))
    assert "`--text-column`" in in_options(str(caught.value), options)


def test_reading_settings_are_options():
    class Command(list):
        def add_argument_group(self, title: str) -> "Command":
            return self

        def add_argument(self, flag: str, **_: Any) -> None:
            self.append(flag)

    command = Command()
    add_settings(command, TextColumns)
    assert {"--text-column", "--delimiter", "--quoting"} <= set(command)
