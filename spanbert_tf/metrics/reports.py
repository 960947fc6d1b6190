"""What is behind a task's figures: what they are averages of, each class, and confusions.

Letters: n records, c classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NONE_OF_THESE = "(none of these)"  # In place of the label of an answer that has none.
MOST_CONFUSIONS = 10  # that people are shown

Row = dict[str, float]
Pairs = dict[tuple[str, str], int]


@dataclass(frozen=True)
class Report:
    """Tables behind the figures; `str()` shows them.

    Attributes:
        averages: What the figures are averages of, in a sentence.
        of: What the table has a row for, such as `class`.
        rows: The rows by name: precision, recall, F1 and support, the number of records, or other
            numbers by name.
        pairs: How often each right label was answered with each, confusions among them.  `None`:
            answers are no single labels.
    """

    averages: str = ""
    of: str = ""
    rows: dict[str, Row] = field(default_factory=dict)
    pairs: Pairs | None = None

    @property
    def confusions(self) -> list[dict[str, Any]]:
        """The wrong ones of `pairs`, the most frequent first: `gold`, `predicted`, `count`."""
        wrong = {pair: count for pair, count in (self.pairs or {}).items() if pair[0] != pair[1]}
        return [
            {"gold": gold, "predicted": predicted, "count": count}
            for (gold, predicted), count in sorted(wrong.items(), key=lambda of: (-of[1], of[0]))
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it but what was right of `pairs`, which the rows tell."""
        return {
            "averages": self.averages,
            "of": self.of,
            "rows": self.rows,
            "confusions": None if self.pairs is None else self.confusions,
        }

    def __str__(self) -> str:
        parts = [self.averages] if self.averages else []
        if self.rows:
            parts.append(_table(self.of, self.rows))
        if self.confusions:
            parts.append(_list_of(self.confusions))
        return "\n\n".join(parts)


def class_report(
    gold: Sequence[str], predicted: Sequence[str | None], class_names: Sequence[str]
) -> Report:
    """Reports on texts that have one class each.

    Args:
        gold: The right class of each text, by name.
        predicted: The class that it was given; `None`: none.
        class_names: Names of the classes, in their order.
    """
    if len(class_names) == 2:
        averages = f"precision, recall and f1 are those of the class {class_names[1]!r}"
    else:
        averages = (
            f"precision, recall and f1 are means over the {len(class_names)} classes, each "
            "counting alike (macro average)"
        )
    given = [NONE_OF_THESE if label is None else label for label in predicted]
    pairs = Counter(zip(gold, given, strict=True))
    right = {name: pairs[name, name] for name in class_names}
    rows = rows_of_counts(class_names, right, Counter(given), Counter(gold))
    return Report(averages, "class", rows, dict(pairs))


def label_set_report(gold: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> Report:
    """Reports on texts that may have several classes.

    Args:
        gold: bool `[n, c]`, the classes that each text has.
        predicted: bool `[n, c]`, those that it was given.
        class_names: Names of the classes.
    """
    averages = (
        "micro figures count all labels of all texts together; macro_f1 is the mean over the "
        f"{len(class_names)} classes, each counting alike; exact_match counts texts"
    )
    counts = [
        dict(zip(class_names, (int(number) for number in of.sum(axis=0)), strict=True))
        for of in (gold & predicted, predicted, gold)
    ]
    return Report(averages, "class", rows_of_counts(class_names, *counts))


def rows_of_counts(
    names: Sequence[str],
    right: Mapping[str, int],
    found: Mapping[str, int],
    there: Mapping[str, int],
) -> dict[str, Row]:
    """Rows of precision, recall, F1 and support; figures whose denominator is 0 are 0.

    Args:
        names: The rows.
        right: How often each was answered and right.
        found: How often it was answered.
        there: How often it would have been right.
    """
    return {
        name: {
            "precision": right[name] / max(found[name], 1),
            "recall": right[name] / max(there[name], 1),
            "f1": 2 * right[name] / max(found[name] + there[name], 1),
            "support": there[name],
        }
        for name in names
    }


def _table(of: str, rows: dict[str, Row]) -> str:
    """`PER  0.9000  0.8000  0.8471  40`, aligned below its names."""
    names = list(next(iter(rows.values())))
    cells = [[of, *names]]
    for title, row in rows.items():
        shown = (f"{x:.4f}" if isinstance(x, float) else f"{x:,}" for x in row.values())
        cells.append([title, *shown])
    return _aligned(cells)


def _list_of(confusions: list[dict[str, Any]]) -> str:
    shown = confusions[:MOST_CONFUSIONS]
    cells = [["right", "answered", "times"]]
    cells += [[each["gold"], each["predicted"], f"{each['count']:,}"] for each in shown]
    rest = len(confusions) - len(shown)
    return _aligned(cells, left=2) + (f"\nand {rest} confusions more, see --json" if rest else "")


def _aligned(cells: list[list[str]], left: int = 1) -> str:
    """Lines of columns, the first ones to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if place < left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
