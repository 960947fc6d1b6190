"""Scores of entities: seqeval's, and the same from sets of spans where both can say it."""

import subprocess
import sys
from dataclasses import astuple
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.readers.entities import read_entities
from spanbert_tf.metrics.entities import (
    EntityReport,
    EntityScores,
    entity_report,
    entity_scores,
    tag_report,
)

LABELS = ["PER", "LOC", "creative-work", "-"]


def set_scores(gold, predicted, label=None) -> EntityScores:
    """Exact spans, counted as sets."""
    there, found = (
        {(number, *span) for number, spans in enumerate(texts) for span in spans}
        for texts in (gold, predicted)
    )
    if label is not None:
        there, found = ({one for one in spans if one[3] == label} for spans in (there, found))
    right = len(there & found)
    precision = right / len(found) if found else 0.0
    recall = right / len(there) if there else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return EntityScores(precision, recall, f1, len(there))


def assert_equals_sets(report: EntityReport, gold, predicted):
    labels = {span[2] for texts in (gold, predicted) for spans in texts for span in spans}
    assert list(report.types) == sorted(labels)
    for label, scores in [(None, report.overall), *report.types.items()]:
        expected = astuple(set_scores(gold, predicted, label))
        assert astuple(scores) == pytest.approx(expected)
    assert report.lenient_f1 == pytest.approx(report.overall.f1)


@st.composite
def tagged_words(draw):
    """The words of a text, some of which touch, and two lists of spans of whole words."""
    words, end = [], 0
    for gap, size in draw(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3)), max_size=8)):
        words.append((end + gap, end + gap + size))
        end += gap + size

    def spans():
        chosen = []
        borders = sorted(draw(st.sets(st.integers(0, len(words)))))
        for first, last in pairwise(borders):
            label = draw(st.sampled_from([None, *LABELS]))
            if label is not None:
                chosen.append((words[first][0], words[last - 1][1], label))
        return chosen

    return words, spans(), spans()


@settings(max_examples=100)
@given(st.lists(tagged_words(), max_size=4))
def test_equals_sets_of_spans_where_spans_are_words(texts):
    words = [text[0] for text in texts]
    gold = [text[1] for text in texts]
    predicted = [text[2] for text in texts]
    assert_equals_sets(entity_report(gold, predicted, words), gold, predicted)
    assert_equals_sets(entity_report(gold, predicted), gold, predicted)


@settings(max_examples=100)
@given(st.lists(tagged_words(), max_size=4), st.integers(1, 2))
def test_without_words_equals_sets_of_any_spans(texts, shift):
    gold = [text[1] for text in texts]
    predicted = [[(a + shift, b + shift, label) for a, b, label in text[2]] for text in texts]
    assert_equals_sets(entity_report(gold, predicted), gold, predicted)


def test_the_published_example_of_conlleval():
    # seqeval's own: one of two entities right, the other one word too long.
    gold = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    report = tag_report(gold, found)
    assert report.overall == EntityScores(0.5, 0.5, 0.5, 2)
    assert report.types == {"MISC": EntityScores(0, 0, 0, 1), "PER": EntityScores(1, 1, 1, 1)}


def test_strict_and_lenient_differ_on_illegal_tags():
    report = tag_report([["B-PER", "I-PER", "O", "B-LOC"]], [["I-PER", "I-PER", "O", "B-LOC"]])
    assert report.figures() == {
        "f1": pytest.approx(2 / 3),
        "precision": 1.0,
        "recall": 0.5,
        "lenient_f1": 1.0,
    }
    nothing_legal = tag_report([["B-PER", "O"]], [["I-PER", "O"]])
    assert (nothing_legal.overall.f1, nothing_legal.lenient_f1) == (0.0, 1.0)
    nothing_at_all = tag_report([["I-PER"]], [["I-PER"]])
    assert nothing_at_all == EntityReport(EntityScores(), {}, 1.0)


WORDS = [[(0, 3), (4, 8), (8, 9)]]  # "New York."


@pytest.mark.parametrize(
    ("span", "is_right"),
    [
        ((0, 8), True),
        ((0, 6), True),  # where in its last word an entity ends does not matter
        ((0, 9), False),
        ((0, 4), False),
        ((1, 8), False),  # it begins within a word
        ((4, 8), False),
    ],
)
def test_words_are_what_is_scored(span, is_right):
    scores = entity_scores([[(0, 8, "LOC")]], [[(*span, "LOC")]], WORDS)
    assert scores["f1"] == scores["precision"] == scores["recall"] == float(is_right)
    without_words = entity_scores([[(0, 8, "LOC")]], [[(*span, "LOC")]])
    assert without_words["f1"] == float(span == (0, 8))


def test_white_space_before_the_first_word_does_not_matter():
    assert entity_scores([[(4, 8, "LOC")]], [[(3, 8, "LOC")]], WORDS)["f1"] == 1.0


@pytest.mark.parametrize("span", [(5, 6), (3, 4), (20, 30)])
def test_no_span_gets_lost(span):
    report = entity_report([[(0, 3, "LOC")]], [[(0, 3, "LOC"), (*span, "LOC")]], WORDS)
    assert report.overall == EntityScores(0.5, 1.0, pytest.approx(2 / 3), 1)
    report = entity_report([[(0, 3, "LOC"), (*span, "LOC")]], [[(0, 3, "LOC")]], WORDS)
    assert report.overall == EntityScores(1.0, 0.5, pytest.approx(2 / 3), 2)


@pytest.mark.parametrize("words", [None, [[(0, 3)], None], [[], []]])
def test_no_entities_anywhere_score_zero(words):
    report = entity_report([[], []], [[], []], words)
    assert report == EntityReport(EntityScores(), {}, 0.0)
    assert set(report.figures()) == {"f1", "precision", "recall", "lenient_f1"}
    assert set(report.figures().values()) == {0.0}
    assert entity_report([], []) == report
    assert "overall" in str(report)


def test_one_side_empty_scores_zero():
    assert set(entity_scores([[(0, 1, "PER")]], [[]]).values()) == {0.0}
    assert set(entity_scores([[]], [[(0, 1, "PER")]]).values()) == {0.0}


def test_the_table_is_aligned():
    gold = [[(0, 5, "PER"), (6, 14, "creative-work")]]
    lines = str(entity_report(gold, [[(0, 5, "PER")]])).splitlines()
    assert [line.split() for line in lines] == [
        ["precision", "recall", "f1", "support"],
        ["PER", "1.0000", "1.0000", "1.0000", "1"],
        ["creative-work", "0.0000", "0.0000", "0.0000", "1"],
        ["overall", "1.0000", "0.5000", "0.6667", "2"],
    ]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("gold", "predicted", "words", "message"),
    [
        ([[]], [], None, "found 0, 1 and 1"),
        ([[]], [[]], [], "found 1, 0 and 1"),
        ([[], [(3, 3, "PER")]], [[], []], None, r"Text 1: .* in `gold`, found 3 to 3 \(PER\)"),
        ([[]], [[(-1, 3, "PER")]], None, "Text 0: .* in `predicted`, found -1 to 3"),
        (
            [[]],
            [[(2, 5, "PER"), (0, 3, "LOC")]],
            None,
            r"found 0 to 3 \(LOC\), which shares characters with 2 to 5 \(PER\)",
        ),
    ],
)
def test_spans_that_cannot_be_scored(gold, predicted, words, message):
    with pytest.raises(ValueError, match=message):
        entity_report(gold, predicted, words)


def test_tags_that_cannot_be_scored():
    with pytest.raises(ValueError, match="found 1 in 1 texts and 2 in 1"):
        tag_report([["O", "O"]], [["O"]])
    for tag in ("S-PER", "B", "B-", ""):
        with pytest.raises(ValueError, match="Expected `O`, or `B-` or `I-` and a label, found"):
            tag_report([["O"]], [[tag]])


@pytest.mark.parametrize("name", ["wnut17/dev.conll", "uner_chinese/zh_gsdsimp-ud-dev.iob2"])
def test_real_files_against_sets(shared_data, name):
    texts = read_entities(shared_data / name)
    gold = [[(one.start, one.end, one.label) for one in text.entities] for text in texts]
    words = [text.words for text in texts]
    # Every third entity missed, every fifth given another type, and one invented a text.
    predicted = [
        [
            (start, end, "invented" if (start + number) % 5 == 0 else label)
            for start, end, label in spans
            if (start + number) % 3
        ]
        or [(*words[number][0], "invented")]
        for number, spans in enumerate(gold)
    ]
    assert_equals_sets(entity_report(gold, gold, words), gold, gold)
    assert_equals_sets(entity_report(gold, predicted, words), gold, predicted)


def test_importing_is_cheap():
    code = (
        "import sys, spanbert_tf.metrics.entities, spanbert_tf.data.readers.entities;"
        "print({'tensorflow', 'keras', 'sklearn', 'seqeval'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
