"""Words that a file parts a text into -> the text, and where each word is in it."""

import re
from collections.abc import Iterable

# Scripts that are written without spaces, their punctuation, and the fullwidth forms.
UNSPACED = re.compile(
    r"[\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
    r"\U00020000-\U0003ffff]"
)
# How the Penn Treebank writes brackets, so that they are not those of its trees.
TREEBANK_BRACKETS = {
    **{"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]"},
    **{"-LCB-": "{", "-RCB-": "}"},
}
# What else it writes its own way, and OntoNotes: quotation marks, marks after a slash.
_TREEBANK = {**TREEBANK_BRACKETS, "``": '"', "''": '"', "/.": ".", "/?": "?", "/-": "-"}

_TO_THE_LEFT = re.compile(
    r"[,.;:!?%)\]}…”’]+|''|-R[RSC]B-|/[.?]|n['’]t|['’](s|d|m|re|ve|ll)",  # noqa: RUF001
    re.IGNORECASE,
)
_TO_THE_RIGHT = re.compile(r"[(\[{“‘$£€]|``|-L[RSC]B-", re.IGNORECASE)  # noqa: RUF001


def detokenize(words: Iterable[str]) -> tuple[str, list[tuple[int, int]]]:
    """Joins words as people write them, by rules that need one word on each side.

    One space parts two words; none stands before a closing mark (`,` `.` `)` ...) or what English
    shortens (`'s`, `n't` ...), after an opening one, or between two characters of a script without
    spaces.  A mark that opens and closes (`"`, `'`, `-`) has a space on both sides.  What the Penn
    Treebank writes its own way (`-LRB-`, the double backquote) is plain again.

    `["Ann", "'s", "car", "(", "red", ")", "did", "n't", "start", "."]` ->
    `"Ann's car (red) didn't start."`

    Returns:
        The text, and the first character of each word and the one after its last.
    """
    parts: list[str] = []
    places = []
    length = 0
    before = "("  # nothing stands before the first word
    for word in words:
        plain = _TREEBANK.get(word, word)
        if not (
            _TO_THE_LEFT.fullmatch(word)
            or _TO_THE_RIGHT.fullmatch(before)
            or (UNSPACED.match(before[-1]) and UNSPACED.match(plain))
        ):
            parts.append(" ")
            length += 1
        places.append((length, length + len(plain)))
        parts.append(plain)
        length += len(plain)
        before = word
    return "".join(parts), places
