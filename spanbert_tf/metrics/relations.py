"""Figures of relations, as SemEval-2010 task 8 and TACRED score them."""

import re
from collections import Counter
from collections.abc import Sequence

from spanbert_tf.metrics.reports import Report, rows_of_counts

FIGURES = ("macro_f1", "micro_f1", "precision", "recall", "accuracy")

_DIRECTION = re.compile(r"\(e[12],e[12]\)$")


def undirected(label: str) -> str:
    """A relation's name without its direction: `Cause-Effect` of `Cause-Effect(e2,e1)`."""
    return _DIRECTION.sub("", label)


def relation_scores(
    gold: Sequence[str], predicted: Sequence[str], negative: str | None = None
) -> dict[str, float]:
    """Scores the labels of pairs of entities.

    Args:
        gold: The right label of each pair.
        predicted: The label that was predicted for it.
        negative: The label of pairs that are in no relation, such as `Other` or `no_relation`.

    Returns:
        `macro_f1`, the official figure of SemEval-2010 task 8, see `macro_f1`; `micro_f1`,
        `precision` and `recall` as TACRED's scorer counts them, see `micro_scores`; and
        `accuracy`, the part of all pairs that is right.

    Raises:
        ValueError: There are not as many of both, or none.
    """
    if len(gold) != len(predicted) or not gold:
        raise ValueError(
            f"Expected as many labels in `predicted` as in `gold`, one at least, found "
            f"{len(predicted)} and {len(gold)}."
        )
    right = sum(one == other for one, other in zip(gold, predicted, strict=True))
    return {
        "macro_f1": macro_f1(gold, predicted, negative),
        **micro_scores(gold, predicted, negative),
        "accuracy": right / len(gold),
    }


def relation_report(
    gold: Sequence[str], predicted: Sequence[str], negative: str | None = None
) -> Report:
    """Reports on the relations that `macro_f1` is the mean over, and on `negative`.

    Args:
        gold: The right label of each pair.
        predicted: The label that was predicted for it.
        negative: As for `relation_scores`.
    """
    right, found, there = _counts(gold, predicted)
    names = sorted(there.keys() | found.keys(), key=lambda name: (name == negative, name))
    without = "" if negative is None else f" without {negative!r}"
    averages = (
        f"macro_f1 is the mean over the relations that are there{without}, both directions of one "
        f"together; micro_f1, precision and recall count all pairs{without} together"
    )
    pairs = Counter(zip(gold, predicted, strict=True))
    return Report(averages, "relation", rows_of_counts(names, right, found, there), dict(pairs))


def macro_f1(gold: Sequence[str], predicted: Sequence[str], negative: str | None = None) -> float:
    """The mean over relations of F1, "(9+1)-way with directionality taken into account".

    Both directions of a relation are one relation, but what is predicted is right only if its
    direction is.  The mean is over the relations that `gold` has, without `negative`; F1 is 0 of
    one that is never predicted right.  Source: the scorer of SemEval-2010 task 8, version 1.2
    (Hendrickx et al., 2010).
    """
    right, found, there = _counts(gold, predicted)
    # F1 = 2PR / (P + R) with P = right / found and R = right / there.
    scores = [
        2 * right[relation] / (found[relation] + there[relation])
        for relation in there
        if relation != negative
    ]
    return sum(scores) / len(scores) if scores else 0.0


def micro_scores(
    gold: Sequence[str], predicted: Sequence[str], negative: str | None = None
) -> dict[str, float]:
    """`micro_f1`, `precision` and `recall` of all that is in a relation.

    Of the pairs that were predicted to be in a relation the part whose label is right, and of those
    that are in one.  Precision is 1 where nothing was predicted, as TACRED's scorer has it (Zhang
    et al., 2017); F1 is 0 then.
    """
    found = sum(label != negative for label in predicted)
    there = sum(label != negative for label in gold)
    right = sum(one == other != negative for one, other in zip(gold, predicted, strict=True))
    return {
        "micro_f1": 2 * right / (found + there) if right else 0.0,
        "precision": right / found if found else 1.0,
        "recall": right / there if there else 0.0,
    }


def _counts(gold: Sequence[str], predicted: Sequence[str]) -> tuple[Counter[str], ...]:
    """How often each relation, without its direction, is right, was predicted and is there."""
    right = [one for one, other in zip(gold, predicted, strict=True) if one == other]
    first, second, third = (Counter(map(undirected, of)) for of in (right, predicted, gold))
    return first, second, third
