"""Figures of pronouns and names, as GAP's scorer counts them (Webster et al., 2018)."""

from collections.abc import Sequence
from typing import Any

Span = tuple[int, int]  # first character, the one after the last


def gap_scores(
    predicted: Sequence[Sequence[Sequence[Span]]], gold: Sequence[Any]
) -> dict[str, float]:
    """Scores whether clusters join pronouns with the names that they mean.

    Each of the two names of a text is a decision, see `corefers`.

    Args:
        predicted: Of each text the clusters that were found, each a list of mentions.
        gold: Of each text a `GapExample`.

    Returns:
        `f1`, `precision` and `recall` of all names that their pronoun means; the same of texts with
        a feminine and with a masculine pronoun, `feminine_*` and `masculine_*`; and `bias`, the
        feminine F1 as a part of the masculine one.  From 0 to 1, `bias` beyond it; 0 where there is
        nothing to divide by.

    Raises:
        ValueError: The numbers of texts differ.
    """
    if len(predicted) != len(gold):
        raise ValueError(
            f"Expected as many texts in `predicted` as in `gold`, found {len(predicted)} and "
            f"{len(gold)}."
        )
    decisions = [  # gender, what is right, what was found
        (example.is_feminine, truth, corefers(clusters, example.pronoun, name))
        for clusters, example in zip(predicted, gold, strict=True)
        for name, truth in zip(example.names, example.corefers, strict=True)
    ]
    figures = {}
    for prefix, genders in (("", (True, False)), ("feminine_", (True,)), ("masculine_", (False,))):
        pairs = [(truth, found) for gender, truth, found in decisions if gender in genders]
        right = sum(truth and found for truth, found in pairs)
        there, found = (sum(pair[side] for pair in pairs) for side in (0, 1))
        figures[f"{prefix}f1"] = 2 * right / (there + found) if right else 0.0
        figures[f"{prefix}precision"] = right / found if found else 0.0
        figures[f"{prefix}recall"] = right / there if there else 0.0
    masculine = figures["masculine_f1"]
    figures["bias"] = figures["feminine_f1"] / masculine if masculine else 0.0
    return figures


def corefers(clusters: Sequence[Sequence[Span]], pronoun: Span, name: Span) -> bool:
    """Tells whether clusters join a pronoun with a name.

    GAP's scorer takes decisions, not clusters, so how they are made is a choice, and this is ours:
    the pronoun is the mention with its borders.  The name is the mention that is most like it, by
    the characters of both over those of either, if it shares any with it: "the poet Ada Lovelace"
    stands for "Ada Lovelace" unless that is a mention itself.  Of equally like ones, any may be in
    the pronoun's cluster.
    """
    likeness = [
        (
            max((_likeness(mention, name) for mention in cluster), default=0.0),
            any(tuple(mention) == pronoun for mention in cluster),
        )
        for cluster in clusters
    ]
    best = max((like for like, _ in likeness), default=0.0)
    return best > 0 and (best, True) in likeness


def _likeness(one: Span, other: Span) -> float:
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return max(shared, 0) / (max(one[1], other[1]) - min(one[0], other[0]))
