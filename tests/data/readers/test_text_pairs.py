"""Files of sources and targets."""

import json
from pathlib import Path

import pytest

from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.text_pairs import TextPair, read_sources, read_text_pairs


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_formats_are_read_alike(tmp_path: Path):
    pairs = [("Ein Mann.", "A man."), ('zwei "Hunde"', "two dogs")]
    tsv = "source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in pairs)
    lines = "".join(json.dumps({"target": b, "source": a}) + "\n" for a, b in pairs)
    for name, text, first in (("a.tsv", tsv, 2), ("a.jsonl", lines, 1)):
        path = written(tmp_path, name, text)
        assert read_text_pairs(path) == [
            TextPair(a, b, line, str(path)) for line, (a, b) in enumerate(pairs, first)
        ]
        assert read_sources(path) == [a for a, _ in pairs]
    path = written(tmp_path, "b.csv", "de;en\nja;yes\n")
    (pair,) = read_text_pairs(path, "de", "en", delimiter=";")
    assert (pair.source, pair.target) == ("ja", "yes")


def test_texts_alone_may_be_lines(tmp_path: Path):
    assert read_sources(written(tmp_path, "a.txt", "Ein Mann.\n\nJa.\n")) == [
        "Ein Mann.",
        "",
        "Ja.",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "source\ttarget\na\t \n", "a.tsv, line 2: the target is empty"),
        ("a.tsv", "source\ttarget\n\tb\n", "a.tsv, line 2: the source is empty"),
        ("a.tsv", "source\tsummary\na\tb\n", "no column 'target' among 'source', 'summary'"),
        ("a.jsonl", '{"source": "a"}\n', "no column 'target'"),
        ("a.txt", "a\n", "expected a file named .tsv, .csv, .jsonl"),
        ("a.tsv", "source\ttarget\n", "holds no examples"),
    ],
)
def test_defects_are_named(tmp_path: Path, name: str, text: str, message: str):
    with pytest.raises(DataError, match=message):
        read_text_pairs(written(tmp_path, name, text))
