"""Exact match and F1 of extracted answers, as the evaluations of SQuAD and CMRC define them.

Figures are percentages, as these evaluations print them.  SQuAD: Rajpurkar et al., 2016 and 2018;
CMRC 2018: Cui et al., 2019, which parts Latin words by NLTK: here by white space and marks.

Letters: n questions.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from spanbert_tf.metrics.reports import Report

Measure = Callable[[str, str], float]  # of an answer and a gold one, 0 to 1

# Scripts that are written without spaces: Chinese characters and Japanese syllables.
_CHARACTER = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_CJK = re.compile(_CHARACTER)
# A character of these, a word of others, or a mark that CMRC's list of punctuation does not have.
_WORD = rf"(?:(?!{_CHARACTER})\w)+"
_SEGMENT = re.compile(rf"{_CHARACTER}|{_WORD}(?:[.,']{_WORD})*|[^\w\s]")
_CMRC_PUNCTUATION = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")  # noqa: RUF001
_SQUAD_PUNCTUATION = set(string.punctuation)


def normalize_answer(text: str) -> str:
    """Normalises an answer as SQuAD does.

    In this order: lower case; ASCII punctuation is taken out, not replaced; the words a, an and
    the become spaces; runs of white space become one space, and none is left at the ends.
    """
    text = "".join(character for character in text.lower() if character not in _SQUAD_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(answer: str, gold: str) -> float:
    """Whether two answers are the same once they are normalised, 0 or 1."""
    return float(normalize_answer(answer) == normalize_answer(gold))


def word_f1(answer: str, gold: str) -> float:
    """F1 of the words of two normalised answers as multisets; 0 if they share none."""
    words, gold_words = (Counter(normalize_answer(text).split()) for text in (answer, gold))
    shared = (words & gold_words).total()
    return 2 * shared / (words.total() + gold_words.total()) if shared else 0.0


def answer_segments(text: str) -> list[str]:
    """Parts an answer as CMRC does: Chinese and Japanese by characters, other scripts by words.

    "在 Oxford 大学。" -> ["在", "oxford", "大", "学"]
    """
    return _SEGMENT.findall(_without_punctuation(text))


def character_exact_match(answer: str, gold: str) -> float:
    """Whether two answers are the same without CMRC's punctuation, 0 or 1."""
    return float(_without_punctuation(answer) == _without_punctuation(gold))


def character_f1(answer: str, gold: str) -> float:
    """F1 of the longest run of segments that two answers share, as CMRC counts it."""
    segments, gold_segments = answer_segments(answer), answer_segments(gold)
    longest = _longest_common_run(segments, gold_segments)
    return 2 * longest / (len(segments) + len(gold_segments)) if longest else 0.0


def answer_figures(
    answers: Sequence[str],
    gold: Sequence[Sequence[str]],
    no_answer_scores: Sequence[float] | None = None,
    threshold: float = math.inf,
    by_characters: bool | None = None,
) -> dict[str, float]:
    """Scores answers by what each reaches at best against people's.

    With a question that has no answer, the rules are those of SQuAD 2.0, else of 1.1: they differ
    where nothing is left of an answer once it is normalised.

    Args:
        answers: One answer a question; empty: there is none.
        gold: Of each question what people answered; nothing: there is no answer.
        no_answer_scores: Of each question, how likely it is to have no answer.
        threshold: Where that is higher, "no answer" stands for the answer.
        by_characters: Whether to score as CMRC does, for Chinese and Japanese.  `None`: if most
            gold answers have a character of these.

    Returns:
        Percentages `exact_match` and `f1`; with a question that has no answer, the same of the
        questions that have one, `has_answer_*`, and of those that have none, `no_answer_*`, where
        there are such; and with `no_answer_scores` besides what the best threshold would give:
        `best_f1` and `best_f1_threshold`, `best_exact_match` and `best_exact_match_threshold`.

    Raises:
        ValueError: There are no questions, or arguments differ in length.
    """
    if not len(answers) or len(answers) != len(gold):
        raise ValueError(
            f"expected an answer for each question, found {len(answers)} for {len(gold)}."
        )
    if by_characters is None:
        given = [texts for texts in gold if texts]
        by_characters = 2 * sum(any(map(_CJK.search, texts)) for texts in given) > len(given)
    has_answer = np.array([bool(texts) for texts in gold])
    is_2 = not has_answer.all()
    if by_characters:
        measures: dict[str, Measure] = {
            "exact_match": character_exact_match,
            "f1": character_f1,
        }
    else:
        measures = {"exact_match": exact_match, "f1": word_f1}
    figures = {}
    for name, measure in measures.items():
        raw = np.array(
            [
                _best(measure, answer, texts, is_2 and not by_characters)
                for answer, texts in zip(answers, gold, strict=True)
            ]
        )
        scores = raw
        if no_answer_scores is not None:
            scores = np.where(np.asarray(no_answer_scores) > threshold, ~has_answer, raw)
        figures[name] = 100 * float(scores.mean())
        if not is_2:
            continue
        for kind, of in (("has_answer", has_answer), ("no_answer", ~has_answer)):
            if of.any():
                figures[f"{kind}_{name}"] = 100 * float(scores[of].mean())
        if no_answer_scores is not None:
            best = best_threshold(raw, has_answer, answers, no_answer_scores)
            figures[f"best_{name}"], figures[f"best_{name}_threshold"] = best
    return figures


def answer_report(figures: dict[str, float], has_answer: Sequence[bool]) -> Report:
    """Reports on the questions that have an answer and those that have none.

    Args:
        figures: What `answer_figures` gave.
        has_answer: Of each question, whether it has one.
    """
    kinds = {"has_answer": sum(has_answer), "no_answer": len(has_answer) - sum(has_answer)}
    rows = {
        kind: {
            "exact_match": figures[f"{kind}_exact_match"],
            "f1": figures[f"{kind}_f1"],
            "support": count,
        }
        for kind, count in kinds.items()
        if f"{kind}_f1" in figures
    }
    return Report("exact_match and f1 are percentages, means over all questions", "questions", rows)


def is_exact(answer: str, gold: Sequence[str]) -> bool:
    """Whether an answer is one of people's, none where there is none; as `answer_figures` counts.

    Chinese and Japanese are compared as CMRC does.
    """
    if not any(map(normalize_answer, gold)):
        return not normalize_answer(answer)
    same = character_exact_match if any(map(_CJK.search, gold)) else exact_match
    return any(same(answer, text) for text in gold)


def best_threshold(
    scores: np.ndarray,
    has_answer: np.ndarray,
    answers: Sequence[str],
    no_answer_scores: Sequence[float],
) -> tuple[float, float]:
    """Finds above which score of no answer none should be given, as SQuAD 2.0 does.

    Args:
        scores: float `[n]`, what each answer would reach, 0 to 1.
        has_answer: bool `[n]`, whether each question has an answer.
        answers: The answers; an empty one is right where there is none, whatever the threshold.
        no_answer_scores: How likely each question is to have no answer.

    Returns:
        The mean score at the best threshold, in percent, and the threshold: a score that is above
        it means no answer.  Below all scores (in SQuAD's script 0) where it is best never to
        answer.
    """
    answered = np.array([bool(answer) for answer in answers])
    gains = np.where(has_answer, scores, np.where(answered, -1.0, 0.0))
    scores_of_none = np.asarray(no_answer_scores, "float64")
    order = np.argsort(scores_of_none, kind="stable")
    # Begin with no answer to any question, and answer one more at a time, the surest first.
    totals = np.count_nonzero(~has_answer) + np.concatenate([[0.0], np.cumsum(gains[order])])
    best = int(np.argmax(totals))
    threshold = scores_of_none.min() - 1 if best == 0 else scores_of_none[order[best - 1]]
    return 100 * float(totals[best]) / len(order), float(threshold)


def _best(measure: Measure, answer: str, gold: Sequence[str], is_2: bool) -> float:
    """What an answer reaches at best."""
    if is_2:
        # 2.0 leaves out gold answers of which nothing is left, and one that is empty is none.
        gold = [text for text in gold if normalize_answer(text)]
        if not gold or not normalize_answer(answer):
            return float(not gold and not normalize_answer(answer))
    return max((measure(answer, text) for text in gold), default=float(not answer))


def _without_punctuation(text: str) -> str:
    """Takes out what CMRC takes for punctuation."""
    text = text.lower().strip()
    return "".join(character for character in text if character not in _CMRC_PUNCTUATION)


def _longest_common_run(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest stretch that both have."""
    longest, row = 0, [0] * (len(right) + 1)
    for segment in left:
        row = [0] + [
            before + 1 if segment == other else 0 for before, other in zip(row, right, strict=False)
        ]
        longest = max(longest, *row)
    return longest
