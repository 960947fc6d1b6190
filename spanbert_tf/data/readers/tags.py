"""Tags of words <-> entities as spans of words.

A tag is `O`, or a letter, a hyphen and a label, as in `B-PER`:

| scheme | an entity's words | one word | tells a neighbour of the same label apart by |
|---|---|---|---|
| IOB1 | `I I I` | `I` | `B` at the beginning of the second, and only there |
| IOB2 | `B I I` | `B` | `B`, which every entity begins with; also named BIO |
| BIOS | `B I I` | `S` or `B` | `B` or `S` |
| BIOES | `B I E` | `S` | `E` and `S`; also named IOBES |

Files name the letters differently.  BILOU writes `L` and `U` for `E` and `S`, BMES and BMEWO write
`M` for `I` and `W` for `S`; no letter has two meanings, so all of them are read everywhere.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

Span = tuple[int, int, str]  # first word, the word after the last one, label
Tag = tuple[str, str]  # one of the letters O, B, I, E and S, and the label

SCHEMES = {"IOB1": "OBI", "IOB2": "OBI", "BIOS": "OBIS", "BIOES": "OBIES"}

_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
_TAG = re.compile(r"([BIMELSUW])-(\S.*)", re.DOTALL)
_OUTSIDE = ("O", "")


class TagError(ValueError):
    """A string that is no tag, or a tag in a place where its scheme does not allow it.

    Args:
        index: Position of the tag in its sequence, from 0.
        message: What is wrong, without the place.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def is_tag(value: str) -> bool:
    """Tells whether a string is `O`, or a letter, a hyphen and a label."""
    return value == "O" or _TAG.fullmatch(value) is not None


def detect_scheme(sequences: Iterable[Sequence[str]]) -> str:
    """Tells which of `SCHEMES` the tags of a whole file follow.

    `E` is written in BIOES only, and `S` without `E` in BIOS.  Of the others, a file is IOB1 if an
    entity begins with `I` somewhere, and every `B` is where IOB1 has it, after a word of the same
    label.  All else is IOB2: what several schemes allow, and what none of them does.

    Args:
        sequences: The tags of each sentence.

    Raises:
        TagError: A string is no tag.
    """
    letters: set[str] = set()
    begins_inside = begins_plainly = False
    for tags in sequences:
        for before, tag in pairwise([_OUTSIDE, *_split(tags)]):
            letters.add(tag[0])
            continues = _continues(before, tag)
            begins_inside |= tag[0] == "I" and not continues
            begins_plainly |= tag[0] == "B" and not continues
    if "E" in letters:
        return "BIOES"
    if "S" in letters:
        return "BIOS"
    return "IOB1" if begins_inside and not begins_plainly else "IOB2"


def spans_of(tags: Sequence[str], scheme: str = "IOB2", repair: bool = False) -> list[Span]:
    """Gives the entities that a sentence's tags stand for.

    `["O", "B-PER", "I-PER", "B-PER"]` -> `[(1, 3, "PER"), (3, 4, "PER")]`

    Args:
        tags: The tag of each word.
        scheme: One of `SCHEMES`.
        repair: Reads tags in places that the scheme does not allow, by the rule of CoNLL's scorer
            conlleval: an `I` or `E` that continues nothing begins an entity, and an entity ends
            where the next tag does not continue it.

    Returns:
        First word, the word after the last one, and label of each entity, in order.

    Raises:
        TagError: A string is no tag; or, unless `repair`, a tag is in a place that the scheme does
            not allow.
        ValueError: There is no such scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"`scheme` must be one of {', '.join(SCHEMES)}, but is {scheme!r}.")
    split = _split(tags)
    if not repair:
        _check_moves(tags, split, scheme)
    # Where a scheme is kept, conlleval's rule finds what the scheme says.
    spans: list[Span] = []
    begin: int | None = None
    for index, (before, tag) in enumerate(pairwise([_OUTSIDE, *split, _OUTSIDE])):
        if begin is not None and not (tag[0] in "IE" and _continues(before, tag)):
            spans.append((begin, index, before[1]))
            begin = None
        if begin is None and tag[0] != "O":
            begin = index
    return spans


def tags_of(spans: Iterable[Span], length: int) -> list[str]:
    """Gives the IOB2 tags of a sentence; the reverse of `spans_of`.

    `[(1, 3, "PER"), (3, 4, "PER")]`, 4 words -> `["O", "B-PER", "I-PER", "B-PER"]`

    Args:
        spans: First word, the word after the last one, and label of each entity, in any order.
        length: Number of words.

    Raises:
        ValueError: A span is empty or outside of the sentence, or two of them overlap.
    """
    tags = ["O"] * length
    for first, end, label in spans:
        if not 0 <= first < end <= length:
            raise ValueError(f"The span {first} to {end} ({label}) is not within {length} words.")
        if any(tag != "O" for tag in tags[first:end]):
            raise ValueError(f"The span {first} to {end} ({label}) overlaps another.")
        tags[first:end] = [f"B-{label}"] + [f"I-{label}"] * (end - first - 1)
    return tags


def _split(tags: Sequence[str]) -> list[Tag]:
    """Gives letter and label of each tag; the letter is BIOES', however the file names it."""
    split = []
    for index, tag in enumerate(tags):
        match = _TAG.fullmatch(tag)
        if match is None and tag != "O":
            raise TagError(index, f"{tag!r} is no tag: expected O, or B-, I- ... and a label")
        split.append((_LETTERS[match[1]], match[2]) if match else _OUTSIDE)
    return split


def _continues(before: Tag, tag: Tag) -> bool:
    """Tells whether the word before is of an entity that has the same label and is not ended."""
    return before[0] in "BI" and before[1] == tag[1]


def _check_moves(tags: Sequence[str], split: list[Tag], scheme: str) -> None:
    """Raises at the first tag that the scheme does not allow where it is."""
    names = ["the beginning", *map(repr, tags), "the end"]
    for index, (before, tag) in enumerate(pairwise([_OUTSIDE, *split, _OUTSIDE])):
        if tag[0] not in SCHEMES[scheme]:
            raise TagError(index, f"{tags[index]!r} is not a tag of {scheme}")
        continues = _continues(before, tag)
        if scheme == "BIOES" and before[0] in "BI" and not (tag[0] in "IE" and continues):
            raise TagError(
                index - 1, f"{names[index]} before {names[index + 1]} leaves an entity without end"
            )
        needs_entity = tag[0] in ("B" if scheme == "IOB1" else "IE")
        if needs_entity and not continues:
            raise TagError(index, f"{names[index + 1]} after {names[index]} continues no entity")
