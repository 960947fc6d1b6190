"""Tags <-> spans in every scheme, against encoders written here and against seqeval."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.data.readers.tags import (
    SCHEMES,
    TagError,
    detect_scheme,
    is_tag,
    spans_of,
    tags_of,
)

LABELS = ["PER", "LOC", "creative-work"]


def encode(spans, length: int, scheme: str) -> list[str]:
    """Writes tags in a scheme, by its definition."""
    tags = ["O"] * length
    before = None
    for first, end, label in spans:
        letters = ["I"] * (end - first)
        touches = before is not None and before[1:] == (first, label)
        if scheme != "IOB1" or touches:
            letters[0] = "B"
        if scheme == "BIOES":
            letters[-1] = "E"
        if scheme in ("BIOS", "BIOES") and len(letters) == 1:
            letters = ["S"]
        tags[first:end] = [f"{letter}-{label}" for letter in letters]
        before = (first, end, label)
    return tags


@st.composite
def sentences(draw):
    """Spans side by side, many of them touching, and the number of words."""
    spans, end = [], 0
    for gap, size, label in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(LABELS)))
    ):
        spans.append((end + gap, end + gap + size, label))
        end += gap + size
    return spans, end + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(sentences())
def test_spans_to_tags_to_spans(scheme, sentence):
    spans, length = sentence
    tags = encode(spans, length, scheme)
    assert spans_of(tags, scheme) == spans
    assert spans_of(tags, scheme, repair=True) == spans
    assert spans_of(tags, detect_scheme([tags])) == spans
    assert tags_of(reversed(spans), length) == encode(spans, length, "IOB2")


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB1", "I-PER I-PER B-PER I-LOC O I-PER"),
        ("IOB2", "B-PER I-PER B-PER B-LOC O B-PER"),
        ("BIOS", "B-PER I-PER S-PER S-LOC O S-PER"),
        ("BIOES", "B-PER E-PER S-PER S-LOC O S-PER"),
        ("BIOES", "B-PER L-PER U-PER U-LOC O U-PER"),
        ("BIOES", "B-PER E-PER W-PER W-LOC O W-PER"),
    ],
)
def test_one_sentence_in_every_scheme(scheme, tags):
    tags = tags.split()
    assert detect_scheme([tags]) == scheme
    assert spans_of(tags, scheme) == [(0, 2, "PER"), (2, 3, "PER"), (3, 4, "LOC"), (5, 6, "PER")]


def test_bmes_writes_m_inside():
    assert spans_of(["B-PER", "M-PER", "M-PER", "E-PER"], "BIOES") == [(0, 4, "PER")]


@pytest.mark.parametrize(
    ("sequences", "scheme"),
    [
        ([], "IOB2"),
        (["O O", "O"], "IOB2"),
        (["B-PER O"], "IOB2"),  # several schemes have it
        (["B-PER I-PER", "B-PER B-PER"], "IOB2"),
        (["O I-PER"], "IOB1"),
        (["B-PER I-PER", "O I-PER"], "IOB2"),  # a `B` that IOB1 has not: the `I` is a mistake
        (["I-PER B-PER", "I-LOC I-PER"], "IOB1"),
        (["I-PER B-LOC"], "IOB2"),
        (["S-PER O"], "BIOS"),
        (["S-PER O", "B-PER E-PER"], "BIOES"),
    ],
)
def test_detection_takes_all_sentences_together(sequences, scheme):
    assert detect_scheme([tags.split() for tags in sequences]) == scheme


@pytest.mark.parametrize(
    ("scheme", "tags", "index", "message", "repaired"),
    [
        ("IOB2", "O I-PER", 1, "'I-PER' after 'O' continues no entity", [(1, 2, "PER")]),
        ("IOB2", "I-PER", 0, "'I-PER' after the beginning", [(0, 1, "PER")]),
        (
            "IOB2",
            "B-PER I-LOC I-LOC",
            1,
            "'I-LOC' after 'B-PER'",
            [(0, 1, "PER"), (1, 3, "LOC")],
        ),
        ("IOB2", "B-PER I-PER S-PER", 2, "not a tag of IOB2", [(0, 2, "PER"), (2, 3, "PER")]),
        ("IOB1", "O B-PER I-PER", 1, "'B-PER' after 'O'", [(1, 3, "PER")]),
        ("IOB1", "I-LOC B-PER", 1, "'B-PER' after 'I-LOC'", [(0, 1, "LOC"), (1, 2, "PER")]),
        ("BIOS", "S-PER I-PER", 1, "'I-PER' after 'S-PER'", [(0, 1, "PER"), (1, 2, "PER")]),
        ("BIOES", "O E-PER O", 1, "'E-PER' after 'O' continues no", [(1, 2, "PER")]),
        ("BIOES", "B-PER O", 0, "'B-PER' before 'O' leaves", [(0, 1, "PER")]),
        ("BIOES", "B-PER I-PER", 1, "'I-PER' before the end leaves", [(0, 2, "PER")]),
        ("BIOES", "B-PER B-PER", 0, "'B-PER' before 'B-PER'", [(0, 1, "PER"), (1, 2, "PER")]),
        (
            "BIOES",
            "B-PER E-PER E-PER I-PER",
            2,
            "'E-PER' after 'E-PER'",
            [(0, 2, "PER"), (2, 3, "PER"), (3, 4, "PER")],
        ),
    ],
)
def test_illegal_moves_raise_or_are_repaired(scheme, tags, index, message, repaired):
    with pytest.raises(TagError, match=message) as caught:
        spans_of(tags.split(), scheme)
    assert caught.value.index == index
    assert spans_of(tags.split(), scheme, repair=True) == repaired


@given(
    st.lists(
        st.builds("{}-{}".format, st.sampled_from("BIES"), st.sampled_from(["A", "B"]))
        | st.just("O")
    )
)
def test_repair_is_conllevals_rule(tags):
    get_entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    expected = [(first, last + 1, label) for label, first, last in get_entities(tags)]
    assert spans_of(tags, "IOB2", repair=True) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"), [("IOB1", "IOB1"), ("IOB2", "IOB2"), ("BIOES", "IOBES")]
)
@given(sentences())
def test_equals_seqeval_on_legal_tags(ours, theirs, sentence):
    scheme = pytest.importorskip("seqeval.scheme")
    spans, length = sentence
    tags = encode(spans, length, ours)
    entities = scheme.Tokens(tags, getattr(scheme, theirs)).entities
    assert spans_of(tags, ours) == [(one.start, one.end, one.tag) for one in entities]


@pytest.mark.parametrize(
    "tag", ["", "o", "PER", "B", "B-", "B_PER", "X-PER", "PER-B", "B- PER", "-"]
)
def test_what_is_no_tag(tag):
    assert not is_tag(tag)
    for read in (spans_of, lambda tags: detect_scheme([tags])):
        with pytest.raises(TagError, match="is no tag: expected O, or B-") as caught:
            read(["O", tag])
        assert caught.value.index == 1


def test_arguments():
    with pytest.raises(ValueError, match="IOB1, IOB2, BIOS, BIOES, but is 'BIO'"):
        spans_of(["O"], "BIO")
    for span in ((0, 0, "PER"), (2, 4, "PER"), (-1, 1, "PER")):
        with pytest.raises(ValueError, match=r"\(PER\) is not within 3 words"):
            tags_of([span], 3)
    with pytest.raises(ValueError, match=r"1 to 3 \(LOC\) overlaps another"):
        tags_of([(0, 2, "PER"), (1, 3, "LOC")], 3)
