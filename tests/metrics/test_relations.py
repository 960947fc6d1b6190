"""Scores of relations: by hand, and as the official definitions count, step by step."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.metrics.relations import FIGURES, macro_f1, relation_scores, undirected

CAUSE, EFFECT = "Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)"
PART, WHOLE = "Component-Whole(e1,e2)", "Component-Whole(e2,e1)"
OTHER = "Other"
LABELS = [CAUSE, EFFECT, PART, WHOLE, "Message-Topic(e1,e2)", OTHER]


def official_macro_f1(gold: list[str], predicted: list[str]) -> float:
    """The steps of SemEval's scorer: a confusion matrix, with a column for a wrong direction."""
    matrix: dict[tuple[str, str], int] = defaultdict(int)  # proposed, answer
    proposed_of: dict[str, int] = defaultdict(int)
    answer_of: dict[str, int] = defaultdict(int)
    for answer, proposed in zip(gold, predicted, strict=True):
        plain, plain_proposed = answer.split("(")[0], proposed.split("(")[0]
        answer_of[plain] += 1
        column = "wrong" if plain == plain_proposed and answer != proposed else plain_proposed
        matrix[column, plain] += 1
        proposed_of[column] += 1
    total = 0.0
    for relation, count in answer_of.items():
        if relation == OTHER or not proposed_of[relation]:
            continue
        precision = matrix[relation, relation] / (proposed_of[relation] + matrix["wrong", relation])
        recall = matrix[relation, relation] / count
        if precision + recall:
            total += 2 * precision * recall / (precision + recall)
    relations = len(answer_of) - (OTHER in answer_of)
    return total / relations if relations else 0.0


def test_a_wrong_direction_is_wrong_and_counts_as_proposed():
    gold = [CAUSE, CAUSE, EFFECT, PART, OTHER, OTHER]
    predicted = [CAUSE, EFFECT, EFFECT, OTHER, CAUSE, OTHER]
    # Cause-Effect: 2 right, 4 proposed, 3 there.  Component-Whole: none proposed.
    cause = 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)
    scores = relation_scores(gold, predicted, OTHER)
    assert tuple(scores) == FIGURES
    assert scores["macro_f1"] == pytest.approx(cause / 2)
    assert scores["precision"] == pytest.approx(2 / 4)
    assert scores["recall"] == pytest.approx(2 / 4)
    assert scores["micro_f1"] == pytest.approx(1 / 2)
    assert scores["accuracy"] == pytest.approx(3 / 6)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40)
)
def test_macro_f1_is_the_official_one(pairs: list[tuple[str, str]]):
    gold, predicted = map(list, zip(*pairs, strict=True))
    assert macro_f1(gold, predicted, OTHER) == pytest.approx(official_macro_f1(gold, predicted))


def test_tacred_counts_no_relation_neither_as_found_nor_as_there():
    none = "no_relation"
    gold = ["per:title", none, none, "org:founded", "per:age"]
    predicted = ["per:title", none, "per:age", none, "per:title"]
    scores = relation_scores(gold, predicted, none)
    assert scores["precision"] == pytest.approx(1 / 3)
    assert scores["recall"] == pytest.approx(1 / 3)
    # Nothing is proposed: TACRED's precision is 1 then, and F1 is 0.
    scores = relation_scores(["per:title", none], [none, none], none)
    assert (scores["precision"], scores["recall"], scores["micro_f1"]) == (1.0, 0.0, 0.0)
    # Without a negative class all three are the accuracy.
    scores = relation_scores(gold, predicted)
    assert scores["micro_f1"] == scores["precision"] == scores["accuracy"] == pytest.approx(2 / 5)


def test_names_lose_nothing_but_their_direction():
    assert undirected(EFFECT) == "Cause-Effect"
    assert undirected("per:title") == "per:title"
    assert undirected("made (by)") == "made (by)"


@pytest.mark.parametrize(("gold", "predicted"), [([], []), ([CAUSE], [])])
def test_numbers_of_labels_must_agree(gold: list[str], predicted: list[str]):
    with pytest.raises(ValueError, match="as many labels"):
        relation_scores(gold, predicted)
