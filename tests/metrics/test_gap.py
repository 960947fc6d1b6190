"""Figures of GAP: counted by hand, and on its own file."""

from dataclasses import replace

import pytest

from spanbert_tf.data.readers.gap import GapExample, read_gap
from spanbert_tf.metrics.gap import corefers, gap_scores

#       0         1         2         3
#       0123456789012345678901234567890123
TEXT = "Ann Lee saw Eve Roe and then she ran."
HER, ANN, EVE = (29, 32), (0, 7), (12, 19)
EXAMPLE = GapExample(TEXT, HER, (ANN, EVE), (True, False), is_feminine=True, id="1")
HIS = replace(EXAMPLE, corefers=(False, True), is_feminine=False)
NEITHER = replace(EXAMPLE, corefers=(False, False), is_feminine=False)


def test_the_example_is_what_it_says():
    assert [TEXT[start:end] for start, end in (HER, ANN, EVE)] == ["she", "Ann Lee", "Eve Roe"]


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [
        ([], False),
        ([[HER]], False),
        ([[ANN]], False),
        ([[ANN], [HER]], False),
        ([[ANN, HER]], True),
        ([[list(ANN), list(HER)]], True),
        ([[ANN, (28, 32)]], False),  # other borders than the pronoun's
        ([[(0, 3), HER]], True),  # "Ann"
        ([[(0, 19), HER]], True),  # "Ann Lee saw Eve Roe"
        ([[(0, 19), HER], [ANN]], False),  # the name is a mention of its own
        ([[(0, 3), HER], [(0, 19)]], True),  # 3 of 7 characters are more than 7 of 19
        ([[(7, 12), HER]], False),  # beside the name
        ([[ANN], [ANN, HER]], True),
        ([[], [HER, EVE]], False),
    ],
)
def test_which_clusters_join_a_pronoun_with_a_name(clusters, expected):
    assert corefers(clusters, HER, ANN) is expected


def test_figures_by_gender():
    figures = gap_scores(
        [[[HER, ANN]], [], [[HER, ANN, EVE]], [[HER, EVE]], [[HER, EVE]]],
        [EXAMPLE, EXAMPLE, EXAMPLE, HIS, NEITHER],
    )
    # Feminine: right 2, found 3, there 3; masculine: right 1, found 2, there 1.
    assert figures == pytest.approx(
        {
            **{"f1": 6 / 9, "precision": 3 / 5, "recall": 3 / 4},
            **{"feminine_f1": 4 / 6, "feminine_precision": 2 / 3, "feminine_recall": 2 / 3},
            **{"masculine_f1": 2 / 3, "masculine_precision": 1 / 2, "masculine_recall": 1},
            "bias": 1,
        }
    )
    assert set(gap_scores([], []).values()) == {0.0}
    with pytest.raises(ValueError, match=r"as many texts .* found 0 and 1"):
        gap_scores([], [EXAMPLE])


def test_right_clusters_of_the_public_file(shared_data):
    gold = read_gap(shared_data / "gap" / "gap-development.tsv")
    right = [
        [
            [
                one.pronoun,
                *(name for name, truth in zip(one.names, one.corefers, strict=True) if truth),
            ]
        ]
        for one in gold
    ]
    assert set(gap_scores(right, gold).values()) == {1.0}
    assert gap_scores([[[one.pronoun, *one.names]] for one in gold], gold)["precision"] == (
        pytest.approx(1799 / 4000)
    )
