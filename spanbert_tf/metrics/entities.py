"""Precision, recall and F1 of named entities, as the library seqeval counts them.

An entity is right if its borders and its type are.  Figures are micro-averages: of all that was
predicted, of all that is there.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from spanbert_tf.metrics.reports import Report

Span = tuple[int, int, str]  # first character, the one after the last, label
Word = tuple[int, int]  # first character, the one after the last


@dataclass(frozen=True, slots=True)
class EntityScores:
    """The figures of one type of entities, or of all.

    Attributes:
        precision: Of what was predicted, the part that is right; 0 where nothing was.
        recall: Of what is there, the part that was found; 0 where nothing is.
        f1: Harmonic mean of the two; 0 where both are.
        support: Number of entities that are there.
    """

    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0
    support: int = 0


@dataclass(frozen=True, slots=True)
class EntityReport:
    """The figures of all entities together, and of each type; `str()` shows a table.

    Attributes:
        overall: All entities, in seqeval's strict mode: what is no legal IOB2 is no entity.
        types: The same for each type that is there or was predicted, sorted.
        lenient_f1: Overall F1 in seqeval's default mode, which is that of CoNLL's scorer
            conlleval: an `I-` that continues nothing begins an entity.  Tags made of spans are
            legal, so that it differs from the strict F1 for tags (`tag_report`) only.
    """

    overall: EntityScores
    types: dict[str, EntityScores]
    lenient_f1: float

    def figures(self) -> dict[str, float]:
        """The overall figures: `f1`, `precision`, `recall` and `lenient_f1`."""
        return {
            "f1": self.overall.f1,
            "precision": self.overall.precision,
            "recall": self.overall.recall,
            "lenient_f1": self.lenient_f1,
        }

    def by_type(self) -> Report:
        """The figures of each type, as the command line shows them."""
        averages = (
            "precision, recall and f1 count the entities of all types together (micro average)"
        )
        return Report(averages, "type", {name: asdict(of) for name, of in self.types.items()})

    def __str__(self) -> str:
        width = max(len(name) for name in ("overall", *self.types))
        rows = [f"{'':{width}}  precision  recall      f1  support"]
        rows += [
            f"{name:{width}}  {scores.precision:9.4f}  {scores.recall:6.4f}  {scores.f1:6.4f}  "
            f"{scores.support:7d}"
            for name, scores in [*self.types.items(), ("overall", self.overall)]
        ]
        return "\n".join(rows)


def entity_scores(
    gold: Sequence[Sequence[Span]],
    predicted: Sequence[Sequence[Span]],
    words: Sequence[Sequence[Word] | None] | None = None,
) -> dict[str, float]:
    """Gives `EntityReport.figures()` of `entity_report`, whose arguments it takes."""
    return entity_report(gold, predicted, words).figures()


def entity_report(
    gold: Sequence[Sequence[Span]],
    predicted: Sequence[Sequence[Span]],
    words: Sequence[Sequence[Word] | None] | None = None,
) -> EntityReport:
    """Scores the entities found in texts, given as spans of characters.

    Where the words of a text are given, they are what is scored, as on CoNLL's files: a word
    belongs to the entity that has its first character, so that it does not matter where in its
    last word an entity ends.  An entity that begins within a word parts it there, and is wrong
    unless the other side has the same.  Where no words are given, entities are right if they
    have the same characters.

    Args:
        gold: The entities that are there, of each text: first character, the one after the last,
            and label, in any order.
        predicted: The entities that were found, of each text.
        words: First character, and the one after the last, of each word of each text.  `None`,
            for a text or for all: no words are known.

    Raises:
        ValueError: The numbers of texts differ; or a span is empty, or shares characters with
            another of the same list.
    """
    if words is None:
        words = [None] * len(gold)
    if not len(gold) == len(predicted) == len(words):
        raise ValueError(
            "Expected as many texts in `predicted` and `words` as in `gold`, found "
            f"{len(predicted)}, {len(words)} and {len(gold)}."
        )
    gold_tags, predicted_tags = [], []
    for number, (there, found, its_words) in enumerate(zip(gold, predicted, words, strict=True)):
        _check_spans("gold", number, there)
        _check_spans("predicted", number, found)
        begins = _begins([*there, *found], its_words)
        gold_tags.append(_tags(there, begins))
        predicted_tags.append(_tags(found, begins))
    return tag_report(gold_tags, predicted_tags)


def tag_report(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> EntityReport:
    """Scores IOB2 tags (`O`, `B-PER`, `I-PER`), legal or not, of the words of texts.

    Args:
        gold: The right tag of each word, of each text.
        predicted: The tag that was predicted for each word.

    Raises:
        ValueError: The numbers of texts, or of the words of one, differ; or a string is no tag.
    """
    if [len(tags) for tags in gold] != [len(tags) for tags in predicted]:
        raise ValueError(
            "Expected as many tags in each text of `predicted` as in `gold`, found "
            f"{sum(map(len, predicted))} in {len(predicted)} texts and {sum(map(len, gold))} in "
            f"{len(gold)}."
        )
    tags = {tag for sequence in (*gold, *predicted) for tag in sequence} - {"O"}
    for tag in tags:
        if tag[:2] not in ("B-", "I-") or not tag[2:]:
            raise ValueError(f"Expected `O`, or `B-` or `I-` and a label, found {tag!r}.")
    if not tags:
        return EntityReport(EntityScores(), {}, 0.0)
    # Only here, for it imports scikit-learn, which takes seconds.
    from seqeval.metrics import classification_report, f1_score
    from seqeval.scheme import IOB2

    # Numbers for labels: seqeval drops hyphens, and its report has keys of its own.
    labels = sorted({tag[2:] for tag in tags})
    renamed = {tag: tag[:2] + str(labels.index(tag[2:])) for tag in tags} | {"O": "O"}
    gold = [[renamed[tag] for tag in sequence] for sequence in gold]
    predicted = [[renamed[tag] for tag in sequence] for sequence in predicted]
    report = {}
    if any(tag.startswith("B-") for tag in tags):  # in strict mode, nothing else is an entity
        report = classification_report(
            gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
        )
    return EntityReport(
        overall=_scores(report.get("micro avg")),
        types={
            label: _scores(report[str(number)])
            for number, label in enumerate(labels)
            if str(number) in report
        },
        lenient_f1=float(f1_score(gold, predicted, zero_division=0)),
    )


def same_entities(
    gold: Sequence[Span], predicted: Sequence[Span], words: Sequence[Word] | None = None
) -> bool:
    """Whether the entities of one text are those that are there, as `entity_report` compares."""
    begins = _begins([*gold, *predicted], words)
    return _tags(gold, begins) == _tags(predicted, begins)


def _scores(row: dict[str, float] | None) -> EntityScores:
    """Makes plain numbers of a row of seqeval's report."""
    if row is None:
        return EntityScores()
    return EntityScores(
        float(row["precision"]), float(row["recall"]), float(row["f1-score"]), int(row["support"])
    )


def _check_spans(role: str, number: int, spans: Sequence[Span]) -> None:
    for start, end, label in spans:
        if not 0 <= start < end:
            raise ValueError(
                f"Text {number}: expected spans with 0 <= start < end in `{role}`, found "
                f"{start} to {end} ({label})."
            )
    for (start, end, label), after in pairwise(sorted(spans)):
        if after[0] < end:
            raise ValueError(
                f"Text {number}: expected spans side by side in `{role}`, found {start} to {end} "
                f"({label}), which shares characters with {after[0]} to {after[1]} ({after[2]})."
            )


def _begins(spans: Iterable[Span], words: Sequence[Word] | None) -> list[int]:
    """Gives the first character of each unit that is scored: the words, or parts of them.

    No span gets lost: each has the first character of at least one unit.
    """
    if words is None:
        return sorted({border for start, end, _ in spans for border in (start, end)})
    words = sorted(words)
    begins = [start for start, _ in words]
    more = set()
    for start, end, _ in spans:
        before = bisect_right(begins, start) - 1
        begins_within = before >= 0 and start < words[before][1]
        has_a_word = bisect_left(begins, start) < bisect_left(begins, end)
        # A span may begin at the white space before its first word, but not hold only that.
        if begins_within or not has_a_word:
            more.add(start)
    return sorted(more.union(begins))


def _tags(spans: Iterable[Span], begins: Sequence[int]) -> list[str]:
    """Gives the IOB2 tag of each unit, by the span that has its first character."""
    tags = ["O"] * len(begins)
    for start, end, label in spans:
        first, last = bisect_left(begins, start), bisect_left(begins, end)
        tags[first:last] = [f"B-{label}"] + [f"I-{label}"] * (last - first - 1)
    return tags
