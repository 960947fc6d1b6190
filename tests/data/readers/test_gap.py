"""GAP's files: an example, their defects, and the public one."""

import pytest

from spanbert_tf.data.readers.gap import GapExample, read_gap
from spanbert_tf.data.readers.lines import DataError

HEADER = "ID\tText\tPronoun\tPronoun-offset\tA\tA-offset\tA-coref\tB\tB-offset\tB-coref\tURL\n"
ROW = "d-1\tAnn saw Eve; she ran.\tshe\t13\tAnn\t0\tTRUE\tEve\t8\tFALSE\thttp://x\n"


def write(folder, content):
    path = folder / "gap.tsv"
    path.write_text(content, "utf-8")
    return path


def test_an_example(tmp_path):
    his = ROW.replace("she", "His").replace("TRUE", "False")
    first, second = read_gap(write(tmp_path, HEADER + ROW + his))
    assert first == GapExample(
        text="Ann saw Eve; she ran.",
        pronoun=(13, 16),
        names=((0, 3), (8, 11)),
        corefers=(True, False),
        is_feminine=True,
        id="d-1",
    )
    assert (second.is_feminine, second.corefers) == (False, (False, False))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file holds no example"),
        (HEADER, "the file holds no example"),
        (ROW, "line 1: expected a header with GAP's columns, found none for ID, Text, Pronoun,"),
        (HEADER + "\n", "line 2: expected 11 columns parted by tabs, found 1"),
        (HEADER + ROW.replace("\tshe", "\tthey"), "line 2: expected one of she, .* found 'they'"),
        (HEADER + ROW.replace("13", "12"), "line 2: 'she' does not stand in the text at 12"),
        (HEADER + ROW.replace("13", "-1"), "a number as Pronoun-offset of 'she', found '-1'"),
        (HEADER + ROW.replace("13", "9" * 5000), "a number as Pronoun-offset of 'she', found '99"),
        (HEADER + ROW.replace("\tEve", "\tBob"), "'Bob' does not stand in the text at 8, its B-of"),
        (HEADER + ROW.replace("\tEve", "\t"), "expected a number as B-offset of ''"),
        (HEADER + ROW.replace("TRUE", "1"), "line 2: expected TRUE or FALSE as A-coref, found '1'"),
    ],
)
def test_defects(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        read_gap(path)
    assert str(path) in str(caught.value)


def test_the_public_file(shared_data):
    examples = read_gap(shared_data / "gap" / "gap-development.tsv")
    assert len(examples) == 2000
    assert sum(example.is_feminine for example in examples) == 1000
    assert sum(sum(example.corefers) for example in examples) == 1799
    first = examples[0]
    spans = [first.text[start:end] for start, end in (first.pronoun, *first.names)]
    assert spans == ["her", "Cheryl Cassidy", "Pauline"]
