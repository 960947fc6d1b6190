"""Figures of texts, by hand."""

import builtins
import math
from typing import Any

import pytest

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

from spanbert_tf.metrics.generation import FIGURES, generation_scores, text_scorer


def test_figures_by_hand():
    scores = generation_scores(
        ["the cat is on the mat now", "the cat on mat"],
        ["the cat is on the mat", "the cat sat on the mat"],
    )
    assert tuple(scores) == FIGURES
    # 11 pieces written, 12 wanted; n-grams that are right, of those there are: 10 of 11, 6 of 9, 4
    # of 7, 3 of 5.
    precision = math.prod([10 / 11, 6 / 9, 4 / 7, 3 / 5]) ** 0.25
    assert scores["bleu"] == pytest.approx(100 * precision * math.exp(1 - 12 / 11), rel=1e-6)
    # Longest common parts of 6 and 4 words.
    first, second = 2 * 6 / (7 + 6), 2 * 4 / (4 + 6)
    assert scores["rouge_l"] == pytest.approx(50 * (first + second), rel=1e-6)


def test_best_and_worst():
    same = generation_scores(["Ein Mann fährt Rad."], ["Ein Mann fährt Rad."])
    assert same == pytest.approx({"bleu": 100, "chrf": 100, "rouge_l": 100})
    assert generation_scores([""], ["a b c d"]) == pytest.approx(
        {"bleu": 0, "chrf": 0, "rouge_l": 0}
    )


def test_one_text_by_hand():
    text, reference = "the cat is on the mat now", "the cat is on the mat"
    precision = math.prod([6 / 7, 5 / 6, 4 / 5, 3 / 4]) ** 0.25
    assert text_scorer("bleu")(text, reference) == pytest.approx(100 * precision)
    assert text_scorer("rouge_l")(text, reference) == pytest.approx(100 * 2 * 6 / 13)
    # Of the n-grams that both are long enough for: one and two characters.
    recall = (2 / 3 + 1 / 2) / 2
    assert text_scorer("chrf")("ab", "abc") == pytest.approx(100 * 5 * recall / (4 + recall))
    assert text_scorer("bleu")("the cat", "the cat") == pytest.approx(100)
    for figure in FIGURES:
        assert text_scorer(figure)("", reference) == 0


def test_numbers_of_texts_are_checked():
    for texts, references in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="as many `references` as `texts`"):
            generation_scores(texts, references)


def test_missing_module_is_named(monkeypatch: pytest.MonkeyPatch):
    imported = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "sacrebleu":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="'sacrebleu': pip install 'spanbert-tf\\[gene"):
        generation_scores(["a"], ["a"])
