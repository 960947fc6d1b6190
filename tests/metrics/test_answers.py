"""Exact match and F1 of answers: what the evaluations of SQuAD 1.1, 2.0 and CMRC say."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.metrics.answers import (
    answer_figures,
    answer_segments,
    best_threshold,
    character_exact_match,
    character_f1,
    exact_match,
    normalize_answer,
    word_f1,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Quick-brown\tfox.", "quickbrown fox"),
        ("a an the", ""),
        ("an apple a day, the end", "apple day end"),
        ("theatre Ana", "theatre ana"),
        ("U.S. $1,000", "us 1000"),
        ("the-end", "theend"),  # punctuation goes first
        ("“quoted” — dash", "“quoted” — dash"),  # not ASCII
    ],
)
def test_normalization(text: str, expected: str):
    assert normalize_answer(text) == expected


def test_f1_counts_words_as_often_as_both_have_them():
    assert word_f1("the red red fox", "Red fox!") == pytest.approx(0.8)  # 2 of 3 and 2 of 2
    assert word_f1("fox", "wolf") == 0
    assert exact_match("The fox.", "fox") == 1


def test_the_best_over_answers_counts():
    gold = [["in 1973", "October 1973"], ["the end"]]
    assert answer_figures(["1973 October", "End."], gold) == {"exact_match": 50.0, "f1": 100.0}
    figures = answer_figures(["1973", "nothing"], gold)
    assert figures == pytest.approx({"exact_match": 0, "f1": 50 * 2 / 3})


def test_both_versions_differ_where_nothing_is_left():
    """1.1: no word is shared.  2.0: nothing is as good as nothing."""
    assert answer_figures(["the"], [["a"]]) == {"exact_match": 100.0, "f1": 0.0}
    figures = answer_figures(["the", "the", "", "the", "x"], [["a"], ["the", "x"], ["x"], [], []])
    # "a" is a gold answer of which nothing is left; of "the" and "x" only "x" counts.
    assert figures["has_answer_f1"] == figures["has_answer_exact_match"] == pytest.approx(100 / 3)
    assert figures["no_answer_f1"] == 50
    assert figures["f1"] == figures["exact_match"] == 40


def test_figures_of_questions_with_and_without_an_answer():
    answers, gold = ["red fox", "x", "", ""], [["red"], [], ["x"], []]
    assert answer_figures(answers, gold) == pytest.approx(
        {
            "exact_match": 25,
            "has_answer_exact_match": 0,
            "no_answer_exact_match": 50,
            "f1": 100 * (2 / 3 + 0 + 0 + 1) / 4,
            "has_answer_f1": 100 / 3,
            "no_answer_f1": 50,
        }
    )
    only_none = answer_figures(["", "x"], [[], []])
    assert "has_answer_f1" not in only_none
    assert only_none["f1"] == 50


def test_a_threshold_makes_no_answer_of_an_answer():
    answers, gold = ["fox", "x", "fox", "y"], [["fox"], [], ["fox"], []]
    figures = answer_figures(answers, gold, [0.1, 0.5, 0.3, 0.9], threshold=0.2)
    assert figures["f1"] == 75
    assert figures["has_answer_f1"] == 50
    assert (figures["best_f1"], figures["best_f1_threshold"]) == (100, 0.3)
    # Without a threshold all are answered.
    assert answer_figures(answers, gold, [0.1, 0.5, 0.3, 0.9])["f1"] == 50


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.booleans(), st.floats(0, 1), st.sampled_from([0.1, 0.2, 0.3, 0.4])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_best_threshold_is_that_of_a_search(questions: list[tuple]):
    has_answer, answered, scores, none = map(np.array, zip(*questions, strict=True))
    none = none + np.arange(len(none)) * 1e-4  # all different
    answers = ["x" if one else "" for one in answered]
    raw = np.where(has_answer, scores * answered, ~answered)

    def mean_at(threshold: float) -> float:
        return 100 * np.mean(np.where(none > threshold, ~has_answer, raw))

    best, threshold = best_threshold(raw, has_answer, answers, none)
    assert best == pytest.approx(max(map(mean_at, [*none, none.min() - 1])))
    assert mean_at(threshold) == pytest.approx(best)


def test_chinese_and_japanese_are_scored_by_characters():
    assert answer_segments("在 Oxford 大学, 1920年。") == [
        "在",
        "oxford",
        "大",
        "学",
        ",",
        "1920",
        "年",
    ]
    assert answer_segments("東京タワー。") == ["東", "京", "タ", "ワ", "ー"]
    assert character_exact_match("《红楼梦》", "红楼梦。") == 1
    # The longest run, not all characters: 3 of 4 and of 5.
    assert character_f1("红楼梦书", "书红楼梦人") == pytest.approx(2 * 3 / 9)
    figures = answer_figures(["红楼"], [["红楼梦", "楼"]])
    assert figures == pytest.approx({"exact_match": 0, "f1": 80})
    assert answer_figures(["红楼"], [["红楼梦"]], by_characters=False)["f1"] == 0
    with_none = answer_figures(["", "红"], [[], ["红楼梦"]])
    assert with_none["no_answer_f1"] == 100
    assert with_none["has_answer_f1"] == 50


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="an answer for each question, found 1 for 2"):
        answer_figures(["a"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="found 0 for 0"):
        answer_figures([], [])


def test_gold_answers_of_squad_reach_all(shared_data: Path):
    data = json.loads((shared_data / "qa" / "squad2_articles.json").read_text("utf-8"))["data"]
    gold = [
        [answer["text"] for answer in qa["answers"]]
        for article in data[:3]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    figures = answer_figures([texts[0] if texts else "" for texts in gold], gold)
    assert set(figures.values()) == {100.0}
