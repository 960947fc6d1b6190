"""Files of one word a line, with brackets of mentions -> words and mentions of documents.

    #begin document (nw/ann); part 000
    nw/ann  0  0  Ann    NNP  (TOP(S(NP*)  -  -  -  Speaker_1  (PERSON)  (0)
    nw/ann  0  1  lost   VBD  (VP*         -  -  -  Speaker_1  *         -
    nw/ann  0  2  her    PRP$ (NP*         -  -  -  Speaker_1  *         (1|(0)
    nw/ann  0  3  keys   NNS  *)))         -  -  -  Speaker_1  *         1)

    #end document

Columns are parted by tabs, or, in a line without tabs, by spaces; the last one holds the brackets.
CoNLL-2012 and LitBank have five columns or more, with the word in the fourth, GUM has three, `index
word brackets`.  A blank line ends a sentence, which a mention may go beyond.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spanbert_tf.data.readers.lines import DataError, quote, read_lines

Mention = tuple[int, int, int]  # two borders, and the line where it is given

_BEGIN = re.compile(r"#\s*begin document\s*(?P<name>.*)")
_NAME_AND_PART = re.compile(r"\((?P<name>.*)\);?\s*(?:part\s+(?P<part>\d{1,9}))?\s*")
_END = re.compile(r"#\s*end document")
_BRACKET = re.compile(r"\((?P<opened>[^()|]+)(?P<closes>\))?|(?P<closed>[^()|]+)\)")
_GUM_ENTITY = re.compile(r"[^-]+-(\d+)(?:-.*)?")  # `person-2-Noam_Chomsky`
_NONE = ("", "-", "_", "*")
# Columns from 0: of words and speakers, and how many columns a file with speakers has at least.
_WORD, _GUM_WORD, _SPEAKER, _WITH_SPEAKERS = 3, 1, 9, 12


@dataclass(frozen=True, slots=True)
class WordDocument:
    """A document as words.

    Attributes:
        words: Its words.
        speakers: Who says each word; empty where that is not known.
        clusters: Of each mention its first and its last word, and the line where it begins.
        name: What the file calls it, with the number of its part.
        line: Number of the line where it starts, from 1.
    """

    words: list[str]
    speakers: list[str]
    clusters: list[list[Mention]]
    name: str
    line: int


def read_word_documents(path: Path) -> Iterator[WordDocument]:
    """Yields the documents of a file of one word a line.

    A closing bracket closes the mention of its cluster that was opened last.  Where GUM names
    entities (`person-2-Noam_Chomsky`), the number is the cluster's.  A line without a word and
    brackets is passed over.

    Args:
        path: The file, plain or `.gz`.

    Raises:
        DataError: The file cannot be read; a document or a mention does not end, or ends without
            having begun; a line has no word, or other columns than the module says or than the
            line before it in its sentence.
    """
    document = None
    for number, text in read_lines(path):
        where = f"{path}, line {number}"
        if begin := _BEGIN.match(text):
            if document is not None:
                raise DataError(f"{where}: {document.name!r}, begun above, has no `#end document`.")
            document = _Reading(_name(begin["name"]), number)
        elif _END.match(text):
            if document is None:
                raise DataError(f"{where}: no document begins above this end of one.")
            yield document.finish(path)
            document = None
        elif text.startswith("#"):
            continue
        elif document is not None:
            document.add(where, number, text)
        elif text.strip():
            raise DataError(
                f"{where}: expected `#begin document (name); part 000` above the first word, "
                f"found {quote(text)}."
            )
    if document is not None:
        raise DataError(
            f"{path}, line {document.line}: {document.name!r} has no `#end document`; the file may "
            "be cut off."
        )


def _name(text: str) -> str:
    """`(nw/ann); part 000` -> `nw/ann_0`, as `doc_key` is in files of coref."""
    match = _NAME_AND_PART.fullmatch(text)
    if match is None:
        return text.strip()
    return f"{match['name']}_{int(match['part'])}" if match["part"] else match["name"]


@dataclass
class _Reading:
    """A document that is being read."""

    name: str
    line: int
    words: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    width: int = 0  # how many columns the sentence has
    clusters: dict[str, list[Mention]] = field(default_factory=dict)
    # Of each cluster the first word, and its line, of mentions that are not closed yet.
    open: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, where: str, line: int, text: str) -> None:
        """Adds a word, and opens and closes mentions; or ends a sentence."""
        if not text.strip():
            self.width = 0
            return
        cells = text.split("\t") if "\t" in text else re.split(" +", text.strip(" "))
        if self.width and len(cells) != self.width:
            raise DataError(
                f"{where}: expected {self.width} columns, as above, found {len(cells)}: "
                f"{quote(text)}."
            )
        self.width = len(cells)
        column = _GUM_WORD if len(cells) == 3 else _WORD
        if len(cells) in (1, 2, 4) or not cells[column - 1].isdecimal():
            raise DataError(
                f"{where}: expected CoNLL-2012's columns, with the number of a word in the third, "
                f"or `number word brackets`, found {quote(cells)}."
            )
        word, brackets = cells[column].strip(), cells[-1].strip()
        if not word and brackets in _NONE:
            return
        if not word:
            raise DataError(f"{where}: the word is empty.")
        speaker = cells[_SPEAKER].strip() if len(cells) >= _WITH_SPEAKERS else ""
        self.speakers.append("" if speaker in _NONE else speaker.replace("_", " "))
        self.words.append(word)
        if brackets not in _NONE:
            self._mark(where, line, brackets)

    def _mark(self, where: str, line: int, brackets: str) -> None:
        """Reads brackets such as `(2)`, `(1|(0)`, `(8(2)` or `1)|0)` at the last word."""
        last = len(self.words) - 1
        end = 0
        for match in _BRACKET.finditer(brackets):
            if brackets[end : match.start()] not in ("", "|"):
                break
            end = match.end()
            name = match["opened"] or match["closed"]
            entity = _GUM_ENTITY.fullmatch(name)
            name = entity[1] if entity else name
            if match["opened"]:
                self.clusters.setdefault(name, [])
                self.open[name].append((last, line))
            if match["closed"] or match["closes"]:
                if not self.open[name]:
                    raise DataError(
                        f"{where}: a mention of the cluster {quote(name)} closes, but none is open."
                    )
                self.clusters[name].append((self.open[name][-1][0], last, self.open[name].pop()[1]))
        if end != len(brackets):
            raise DataError(
                f"{where}: expected brackets of mentions in the last column, such as (1), (1 and "
                f"1), parted by | or nothing, found {quote(brackets)}."
            )

    def finish(self, path: Path) -> WordDocument:
        """Checks that all that was opened is closed."""
        for name, mentions in self.open.items():
            for _, line in mentions:
                raise DataError(
                    f"{path}, line {line}: the mention of the cluster {quote(name)} that begins "
                    f"here does not close before the end of {self.name!r}."
                )
        return WordDocument(
            self.words, self.speakers, list(self.clusters.values()), self.name, self.line
        )
