"""Figures of coreference: the reference scorer's published cases, and counts by naive loops."""

import math
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.metrics.coreference import METRICS, coreference_scores


def clusters(letters: str) -> list[list[tuple[int, int]]]:
    """`"a bc"` -> one cluster of the mention a, and one of b and c."""
    return [[(ord(letter), ord(letter) + 1) for letter in group] for group in letters.split()]


def scores(predicted: str, gold: str, singletons: bool = True) -> dict[str, float]:
    return coreference_scores([clusters(predicted)], [clusters(gold)], singletons)


def triple(figures: dict[str, float], name: str) -> list[float]:
    return [figures[f"{name}_{side}"] for side in ("recall", "precision", "f1")]


def f1(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall and precision else 0.0


# The published test cases of the reference scorer: key, response, and its figures of each metric as
# recall and precision, and F1 where it does not follow from the two.  Capital letters overlap the
# mentions of small ones; letters that stand twice are the same mention twice.
A = "a bc def"
TYPICAL = {
    "muc": (1 / 3, 1 / 3),
    "b_cubed": ((3 + 1 / 3) / 6, (1 + 4 / 3 + 1 / 2) / 7),
    "ceaf_m": (4 / 6, 4 / 7),
    "ceaf_e": (2.2 / 3, 2.2 / 4),
    "blanc": (0.35227, 0.27206, 0.30357),
}
PUBLISHED = {
    "A1": (A, A, dict.fromkeys(("muc", "b_cubed", "ceaf_m", "ceaf_e", "blanc"), (1, 1))),
    "A2": (
        A,
        "a de",
        {
            "muc": (1 / 3, 1),
            "b_cubed": ((7 / 3) / 6, 1),
            "ceaf_m": (0.5, 1),
            "ceaf_e": (0.6, 0.9),
            "blanc": (0.21591, 1, 0.35385),
        },
    ),
    "A3": (
        A,
        "a bcx defy z",
        {
            "muc": (1, 3 / 5),
            "b_cubed": (1, (4 + 7 / 12) / 9),
            "ceaf_m": (1, 0.66667),
            "ceaf_e": (0.88571, 0.66429),
            "blanc": (1, 0.42593, 0.59717),
        },
    ),
    "A4": (A, "a bcx dy z", TYPICAL),
    "A5": (
        A,
        "a bcxB dy z",
        {
            "muc": (1 / 3, 1 / 4),
            "b_cubed": ((3 + 1 / 3) / 6, 2.5 / 8),
            "ceaf_m": (0.66667, 0.5),
            "ceaf_e": (0.68889, 0.51667),
            "blanc": (0.35227, 0.19048, 0.24716),
        },
    ),
    "A6": (
        A,
        "a bcx dy Bz",
        {
            "muc": (1 / 3, 1 / 4),
            "b_cubed": ((10 / 3) / 6, (1 + 4 / 3 + 1 / 2) / 8),
            "ceaf_m": (0.66667, 0.5),
            "ceaf_e": (0.73333, 0.55),
            "blanc": (0.35227, 0.20870, 0.25817),
        },
    ),
    "A7": (A, "a bcxb dy z", TYPICAL),
    "A8": (A, "a bcx dy bz", TYPICAL),
    "A9": (A, "a bcx dy bbbbbbbbbbz", TYPICAL),
    "A10": (
        A,
        "a b c d e f",
        {"muc": (0, 0), "b_cubed": (3 / 6, 1), "blanc": (0.5, 0.36667, 0.42308)},
    ),
    "A11": (
        A,
        "abcdef",
        {
            "muc": (1, 3 / 5),
            "b_cubed": (1, (1 / 6 + 2 * 2 / 6 + 3 * 3 / 6) / 6),
            "blanc": (0.5, 0.13333, 0.21053),
        },
    ),
    "A12": (
        A,
        "a x y c d e z",
        {
            "muc": (0, 0),
            "b_cubed": ((1 + 1 / 2 + 2 / 3) / 6, 4 / 7),
            "blanc": (0.22727, 0.11905, 0.15625),
        },
    ),
    "A13": (
        A,
        "axycdez",
        {
            "muc": (1 / 3, 1 / 6),
            "b_cubed": ((1 + 1 / 2 + 2 * 2 / 3) / 6, (1 / 7 + 1 / 7 + 2 * 2 / 7) / 7),
            "blanc": (0.125, 0.02381, 0.04),
        },
    ),
    "B1": ("ab cde", "bcx de", {"blanc": (7 / 24, 7 / 24, 7 / 24)}),
    "C1": ("ab cde fg", "bcx de fg", {"blanc": (0.5125, 0.5125, 0.5125)}),
    "D1": ("12345 67 89ABC", "12345 6789ABC", {"muc": (1, 9 / 10), "b_cubed": (1, 16 / 21)}),
    "E1": ("12345 67 89ABC", "1234589ABC 67", {"muc": (1, 9 / 10), "b_cubed": (1, 7 / 12)}),
    "F1": ("abcd", "ab cd", {"muc": (2 / 3, 1)}),
    "G1": ("ab cd", "abcd", {"muc": (1, 2 / 3)}),
    "H1": ("abcd", "abcd", {"muc": (1, 1)}),
    "I1": ("abcd", "ab cd", {"muc": (2 / 3, 1)}),
    "J1": ("abc", "ac", {"muc": (1 / 2, 1)}),
    "K1": ("bcdeghj", "abc def ghi", {"muc": (3 / 6, 3 / 6)}),
    "L1": ("abc defg", "ab cd fgh", {"muc": (2 / 5, 2 / 4)}),
    "M1": (
        "abcdef",
        "abcdef",
        dict.fromkeys(("muc", "b_cubed", "ceaf_m", "ceaf_e", "blanc"), (1, 1)),
    ),
    "M2": ("abcdef", "a b c d e f", {"muc": (0, 0), "blanc": (0, 0)}),
    "M3": ("abcdef", "ab cde f", {"blanc": (0.26667, 1)}),
    "M4": ("abcdef", "abcxyz", {"blanc": (0.2, 0.2)}),
    "M5": ("abcdef", "a b c x y z", {"muc": (0, 0), "blanc": (0, 0)}),
    "M6": ("abcdef", "ab cxy z", {"blanc": (0.06667, 0.25)}),
    "N1": (
        "a b c d e f",
        "a b c d e f",
        {"muc": (0, 0), **dict.fromkeys(("b_cubed", "ceaf_m", "ceaf_e", "blanc"), (1, 1))},
    ),
    "N2": ("a b c d e f", "abcdef", {"muc": (0, 0), "blanc": (0, 0)}),
    "N3": ("a b c d e f", "ab cde f", {"blanc": (0.73333, 1)}),
    "N4": ("a b c d e f", "a b c x y z", {"muc": (0, 0), "blanc": (0.2, 0.2)}),
    "N5": ("a b c d e f", "abcxyz", {"blanc": (0, 0)}),
    "N6": ("a b c d e f", "ab cxy z", {"blanc": (0.13333, 0.18182)}),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_cases_of_the_reference_scorer(case):
    key, response, published = PUBLISHED[case]
    figures = scores(response, key)
    for name, expected in published.items():
        wanted = [*expected[:2], expected[2] if len(expected) > 2 else f1(*expected)]
        assert triple(figures, name) == pytest.approx(wanted, abs=1e-5), name


def test_published_example_of_lea():
    # Moosavi and Strube, 2016, section 4: gold {a, b, c} {d, e, f, g}, found {a, b} {c, d} {f, g,
    # h, i}.  Of three links one is found, of six one; of one one, of one none, of six one.
    figures = scores("ab cd fghi", "abc defg")
    recall = (3 * 1 / 3 + 4 * 1 / 6) / 7
    precision = (2 * 1 + 2 * 0 + 4 * 1 / 6) / 8
    assert triple(figures, "lea") == pytest.approx([recall, precision, f1(recall, precision)])
    assert [round(value, 2) for value in triple(figures, "lea")] == [0.24, 0.33, 0.28]


def naive(predicted, gold, singletons=True):
    """Recall, precision and F1 of each metric of one document without repeated mentions."""
    sides = [
        [set(one) for one in side if len(one) > (not singletons)] for side in (gold, predicted)
    ]
    key, response = sides
    mentions = [set().union(*side) for side in sides]
    counts = {"mentions": ratio_pair(len(mentions[0] & mentions[1]), *map(len, mentions))}
    for name, part in (("muc", muc), ("b_cubed", b_cubed), ("lea", lea)):
        counts[name] = part(key, response), part(response, key)
    for name, alike in (
        ("ceaf_m", lambda one, other: len(one & other)),
        ("ceaf_e", lambda one, other: 2 * len(one & other) / (len(one) + len(other))),
    ):
        sizes = [sum(alike(one, one) for one in side) for side in sides]
        counts[name] = ratio_pair(best(key, response, alike), *sizes)
    figures = {name: [*pair, f1(*pair)] for name, pair in counts.items()}
    kinds = [
        [*pair, f1(*pair)]
        for of in (pairs_within, pairs_between)
        for there, found in [(of(key), of(response))]
        for pair in [ratio_pair(len(there & found), len(there), len(found))]
        if there
    ]
    figures["blanc"] = [sum(kind[i] for kind in kinds) / max(len(kinds), 1) for i in range(3)]
    return figures


def ratio_pair(right, there, found):
    return (right / there if there else 0, right / found if found else 0)


def muc(side, other):
    """Of the links that hold clusters together, those left once the other side has cut them."""
    kept = links = 0
    for cluster in side:
        parent = {mention: mention for mention in cluster}

        def root(mention, parent=parent):
            return mention if parent[mention] == mention else root(parent[mention])

        for one in other:
            for first, second in combinations(sorted(one & cluster), 2):
                parent[root(first)] = root(second)
        kept += len(cluster) - len({root(mention) for mention in cluster})
        links += len(cluster) - 1
    return kept / links if links else 0


def b_cubed(side, other):
    parts = [
        sum(len(cluster & one) / len(cluster) for one in other if mention in one)
        for cluster in side
        for mention in cluster
    ]
    return sum(parts) / len(parts) if parts else 0


def lea(side, other):
    def links(cluster):
        return {(first, second) for first, second in combinations(sorted(cluster), 2)} or {
            (mention,) for mention in cluster
        }

    found = set().union(*map(links, other))
    total = sum(map(len, side))
    weighted = sum(len(one) * len(links(one) & found) / len(links(one)) for one in side)
    return weighted / total if total else 0


def best(key, response, alike):
    few, many = sorted((key, response), key=len)
    return max(
        sum(alike(one, other) for one, other in zip(few, chosen, strict=True))
        for chosen in permutations(many, len(few))
    )


def pairs_within(side):
    return {frozenset(pair) for cluster in side for pair in combinations(cluster, 2)}


def pairs_between(side):
    return {frozenset(pair) for pair in combinations(set().union(*side), 2)} - pairs_within(side)


@st.composite
def documents(draw):
    """Clusters of some of ten mentions, five at most."""
    of = draw(st.lists(st.integers(0, 5), min_size=10, max_size=10))
    mentions = draw(st.permutations([(start, start + 2) for start in range(10)]))
    groups = [[m for m, number in zip(mentions, of, strict=True) if number == n] for n in range(5)]
    return [group for group in groups if group]


@settings(max_examples=200)
@given(documents(), documents(), st.booleans())
def test_figures_equal_naive_counts(predicted, gold, singletons):
    figures = coreference_scores([predicted], [gold], singletons)
    for name, expected in naive(predicted, gold, singletons).items():
        assert triple(figures, name) == pytest.approx(expected), name
    averaged = [figures[f"{name}_f1"] for name in ("muc", "b_cubed", "ceaf_e")]
    assert figures["conll_f1"] == pytest.approx(sum(averaged) / 3)


@given(st.lists(st.tuples(documents(), documents()), max_size=3))
def test_figures_lie_within_0_and_1_and_sides_can_be_swapped(pairs):
    predicted, gold = ([pair[side] for pair in pairs] for side in (0, 1))
    figures, swapped = coreference_scores(predicted, gold), coreference_scores(gold, predicted)
    assert all(0 <= value <= 1 + 1e-12 for value in figures.values())
    for name in set(METRICS) - {"blanc"}:  # where gold has one kind of pairs, it reads that only
        recall, precision, both = triple(figures, name)
        assert triple(swapped, name) == pytest.approx([precision, recall, both])
    right = coreference_scores(gold, gold)
    if any(gold):
        for name in set(METRICS) - {"muc", "blanc"}:  # one mention has neither links nor pairs
            assert triple(right, name) == pytest.approx([1, 1, 1])
    if any(len(cluster) > 1 for document in gold for cluster in document):
        assert triple(right, "muc") == [1, 1, 1]
        assert triple(right, "blanc") == [1, 1, 1]
        assert right["conll_f1"] == pytest.approx(1)


def test_documents_are_added_up_and_kept_apart():
    figures = coreference_scores(
        [clusters("ab"), clusters("cde"), []], [clusters("abc"), clusters("cd e"), clusters("ab")]
    )
    assert triple(figures, "muc") == pytest.approx([2 / 4, 2 / 3, f1(2 / 4, 2 / 3)])
    assert triple(figures, "mentions") == pytest.approx([5 / 8, 1, f1(5 / 8, 1)])
    # By documents: 4/3 of 3 and 3 of 3 mentions, and none of 2.
    assert figures["b_cubed_recall"] == pytest.approx((4 / 3 + 3) / 8)
    assert figures["b_cubed_precision"] == pytest.approx((2 + 5 / 3) / 5)
    assert figures["ceaf_e_recall"] == pytest.approx((4 / 5 + 4 / 5) / 4)
    assert figures["blanc_recall"] == pytest.approx((2 / 5 + 0 / 2) / 2)


def test_without_singletons_neither_side_has_them():
    figures = scores("ab c de x", "ab c d e", singletons=False)
    assert figures == scores("ab de", "ab")
    assert triple(figures, "mentions") == pytest.approx([1, 1 / 2, 2 / 3])
    assert scores("a b", "a b", singletons=False) == dict.fromkeys(figures, 0.0)


@pytest.mark.parametrize(("predicted", "gold"), [("", ""), ("", "ab c"), ("ab c", "")])
def test_a_side_without_mentions(predicted, gold):
    figures = scores(predicted, gold)
    assert set(figures.values()) == {0.0}
    assert next(iter(figures)) == "conll_f1"
    assert len(figures) == 1 + 3 * len(METRICS)
    assert coreference_scores([], []) == figures
    assert scores("", "") == coreference_scores([[[]]], [[[], []]])


def test_repeated_mentions_that_the_gold_clusters_lack_count_each_time():
    # What version 8.01 of the reference scorer prints for these: it drops only repeated mentions
    # that are right.
    figures = scores("abxx xc", "abc")
    assert triple(figures, "muc")[:2] == pytest.approx([1 / 2, 1 / 4])
    assert triple(figures, "b_cubed")[:2] == pytest.approx([5 / 9, (2 * 2 / 4 + 1 / 2) / 6])
    assert triple(figures, "ceaf_e")[:2] == pytest.approx([4 / 7, 2 / 7])
    assert triple(figures, "ceaf_m")[:2] == pytest.approx([2 / 3, 2 / 6])
    assert triple(figures, "mentions")[:2] == [1, 3 / 4]
    # Pairs ab, ax, bx, xx and cx.
    assert triple(figures, "blanc")[:2] == pytest.approx([1 / 3, 1 / 5])


def test_large_documents_are_scored_without_a_table_of_pairs():
    gold = [[(number, number + 1) for number in range(first, 40_000, 500)] for first in range(500)]
    figures = coreference_scores([gold], [gold])
    assert all(math.isclose(value, 1) for value in figures.values())
    merged = [gold[0] + gold[1], *gold[2:]]
    # 500 clusters of 80: two of them make one of 160.
    figures = coreference_scores([merged], [gold])
    assert figures["b_cubed_precision"] == pytest.approx((498 * 80 + 160 / 2) / 40_000)
    assert figures["muc_precision"] == pytest.approx(39_500 / 39_501)
    between = math.comb(40_000, 2) - 500 * math.comb(80, 2)
    assert figures["blanc_recall"] == pytest.approx((1 + (between - 6400) / between) / 2)


@pytest.mark.parametrize(
    ("predicted", "gold", "message"),
    [
        ([[]], [], "as many documents in `predicted` as in `gold`, found 1 and 0"),
        ([[], [[(2, 2)]]], [[], []], r"Document 1: .* in `predicted`, found \(2, 2\)"),
        ([[[(0, 1, 2)]]], [[]], r"Document 0: .* found \(0, 1, 2\)"),
        ([[]], [[[(-1, 2)]]], r"in `gold`, found \(-1, 2\)"),
        ([[]], [[[(0, 1)], [(0, 1)]]], r"each mention once in `gold`, found \(0, 1\) in more"),
        ([[]], [[[(0, 1), (0, 1)]]], "each mention once in `gold`"),
    ],
)
def test_what_cannot_be_scored(predicted, gold, message):
    with pytest.raises(ValueError, match=message):
        coreference_scores(predicted, gold)
