"""Reading documents: nothing lost, in bounded parts, and a defect is named with file and line."""

import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.data.corpus import documents
from spanbert_tf.data.corpus.documents import corpus_files, file_groups, read_documents, shard_texts
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.readers.lines import DataError

STRICT = CorpusSettings()
REPLACE = CorpusSettings(undecodable="replace")


def write(folder, name, content):
    path = folder / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(path, settings=STRICT):
    """Documents as lists of lines."""
    found = []
    for begins, line in read_documents(path, settings):
        if begins:
            found.append([])
        found[-1].append(line.decode())
    return found


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "One.\nTwo \u2028two.\n\n\n \t\nThree.\n"),
        ("a.TXT", "\ufeff\r\nOne.\r\nTwo \u2028two.\r\n\r\nThree."),
        ("a.jsonl", '{"text": "One.\\n\\nTwo \u2028two."}\n\n{"id": 7, "text": "Three."}\n'),
        ("a.jsonl", '\ufeff{"text": "One.\\nTwo \u2028two."}\n{"text": " "}\n{"text": "Three."}'),
    ],
)
def test_formats(tmp_path, name, content, suffix):
    path = write(tmp_path, name + suffix.upper() if name.isupper() else name + suffix, content)
    assert read(path) == [["One.", "Two \u2028two."], ["Three."]]


def test_another_key(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"content": "a"}')
    assert read(path, CorpusSettings(text_key="content")) == [["a"]]


def words(lines):
    """Words as BERT sees them, of the letters below."""
    return [word for line in lines for word in re.findall(r"[ab\u00e9\U0001f600]+|[.\u4e00]", line)]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
@given(text=st.text("ab. \u4e00\u3000\u00e9\U0001f600\n", max_size=60), ended=st.booleans())
def test_long_lines_are_cut_between_words(tmp_path_factory, name, text, ended):
    content = text if name == "a.txt" else json.dumps({"text": text})
    path = write(tmp_path_factory.mktemp("long"), name, content + "\n" * ended)
    whole = read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "LINE_PART", 9)
        parts = read(path)
    assert all(len(line) < 2 * 9 for lines in parts for line in lines)
    assert ["".join(words(lines)) for lines in parts] == ["".join(words(lines)) for lines in whole]
    # Only a word that is as long as a part may be cut.
    if all(len(word.encode()) < 9 for word in words(text.split("\n"))):
        assert [words(lines) for lines in parts] == [words(lines) for lines in whole]


def test_a_line_longer_than_the_limit_is_no_blank_line(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "LINE_PART", 4)
    path = write(tmp_path, "a.txt", "a" + " " * 50 + "\nb\n" + " " * 50 + "\nc")
    assert [[line.strip() for line in lines] for lines in read(path)] == [["a", "b"], ["c"]]


def test_a_long_record(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "LONGEST_RECORD", 100)
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n' + json.dumps({"text": "b" * 100}))
    with pytest.raises(DataError, match=r"a.jsonl, line 2: a record of more than 100 characters"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"one\ntwo\0\n", "a.txt, line 2: a NUL byte; expected UTF-8"),
        ("a.txt", b"\x00\x01\x02", "a.txt, line 1: a NUL byte"),
        (
            "a.txt",
            "one\nna\u00efve\n".encode() + "na\u00efve\n".encode("latin-1"),
            "line 3: not UTF-8",
        ),
        ("a.txt", b"one\n\xe4\xb8", "a.txt, line 2: not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}', "a.jsonl, line 2: not UTF-8"),
        ("a.jsonl", '{"text": "a"}\n{"text"', "a.jsonl, line 2: malformed JSON"),
        ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: malformed JSON"),
        ("a.jsonl", '\n["a"]', "a.jsonl, line 2: expected an object"),
        ("a.jsonl", '{"body": "a"}', "line 1: expected a string under 'text', found only the keys"),
        ("a.jsonl", '{"text": 7}', "line 1: expected a string under 'text', found 7"),
        ("a.jsonl", '{"text": "\\ud800"}', "line 1: malformed text"),
    ],
)
def test_defects(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, name, content))


def test_undecodable_bytes_may_be_left_out(tmp_path):
    assert read(write(tmp_path, "a.txt", b"a\xffb\nc\n\nd\xe4"), REPLACE) == [
        ["a\ufffdb", "c"],
        ["d\ufffd"],
    ]
    assert read(write(tmp_path, "a.jsonl", '{"text": "a\\ud800b"}'), REPLACE) == [["ab"]]


def test_damaged_archives(tmp_path):
    whole = gzip.compress(b"some text\n" * 1000)
    path = tmp_path / "a.txt.gz"
    for data, message in ((whole[:-20], "cannot be read after line"), (b"text", "after line 0")):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"a\.txt\.gz: .*{message}"):
            read(path)


def test_files_of_a_corpus(tmp_path):
    names = ["b.txt", "a.jsonl.gz", "deep/c.TXT", "deep/d.csv"]
    (tmp_path / "deep").mkdir()
    for name in names:
        (tmp_path / name).touch()
    found = [tmp_path / name for name in ("a.jsonl.gz", "b.txt", "deep/c.TXT")]
    assert corpus_files([tmp_path]) == found
    assert corpus_files([str(found[1]), found[0]]) == [found[1], found[0]]
    for paths, message in (
        ([tmp_path / "none.txt"], "none.txt: there is no such file"),
        ([tmp_path / "deep" / "d.csv"], "d.csv: expected a file named .txt, .jsonl"),
        ([], "no paths were given: expected files"),
    ):
        with pytest.raises(DataError, match=message):
            corpus_files(paths)


def test_small_files_share_a_group(tmp_path):
    sizes = [3, 1, 7, 12, 5, 5, 5]
    files = [write(tmp_path, f"{n}.txt", "a" * size) for n, size in enumerate(sizes)]
    groups = file_groups(files, 10)
    assert [[file.stat().st_size for file in group] for group in groups] == [
        [3, 1, 7],
        [12],
        [5, 5],
        [5],
    ]


def test_shards_end_with_documents_unless_these_are_long(tmp_path):
    lines = ["aaaaa", "bbbbb", "", "ccccc", "", *["d" * 10] * 6, "", "e"]
    texts = [
        *shard_texts(
            [write(tmp_path, "a.txt", "\n".join(lines))], CorpusSettings(shard_bytes=10), 3
        )
    ]
    assert [b" ".join(text.lines).decode().split() for text in texts] == [
        ["aaaaa", "bbbbb"],
        ["ccccc", "d" * 10, "d" * 10],
        ["d" * 10] * 2,
        ["d" * 10] * 2,
        ["e"],
    ]
    assert [text.document_starts for text in texts] == [[0], [0, 1], [0], [0], [0]]
    assert [text.documents for text in texts] == [1, 2, 0, 0, 1]
    assert [text.name for text in texts][:2] == ["shard-00003-00000", "shard-00003-00001"]
    assert texts[2].source == texts[3].source != texts[1].source


def test_the_source_tells_documents_apart(tmp_path):
    sources = {
        next(shard_texts([write(tmp_path, "a.txt", content)], STRICT)).source
        for content in ("a\nb\nc", "a\n\nb\nc", "a\nb\n\nc", "a\nb\nd")
    }
    assert len(sources) == 4
