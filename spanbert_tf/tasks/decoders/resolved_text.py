"""A text with its clusters, for people: as words, in colours, or without its pronouns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from spanbert_tf.tasks.decoders.coreference import FoundClusters


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# English; what is here has no name of its own to give, nor to be shown as.
_PRONOUNS = _words(
    """
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself
    it its itself we us our ours ourselves they them their theirs themselves themself this that
    these those who whom whose which
    """
)
_POSSESSIVE = _words("my your his its our their whose hers theirs")
_REPLACED = _words(
    """
    he him his himself she her hers herself it its itself they them their theirs themselves
    themself
    """
)
# Words that do not begin what is owned: "saw her in Rome".
_AFTER_OBJECTS = _words(
    """
    a about after again all an and as at away back because before but by down for from how if in
    into is more not now of off on or out over so than that the then there to too until up was what
    when where while who why with
    """
)
_ARTICLES = _words("a an the")
_LONGEST_NAME = 60  # characters of a mention that is put in a pronoun's place


@dataclass(frozen=True)
class Mention:
    """One mention.

    Attributes:
        start: Its first character in the text.
        end: The character after its last one.
        text: Its characters.
        score: Probability that it is a mention.
        link: Probability of the link by which it joined its cluster; 1 of a cluster's first.
    """

    start: int
    end: int
    text: str
    score: float
    link: float

    @property
    def is_pronoun(self) -> bool:
        """Whether it is an English pronoun."""
        return self.text.lower() in _PRONOUNS


@dataclass(frozen=True)
class Cluster:
    """Mentions of a text that refer to the same.

    Attributes:
        mentions: The mentions, in the order of the text.
        score: The mean probability of its links; of a single mention that it is one.
    """

    mentions: tuple[Mention, ...]
    score: float

    @property
    def name(self) -> str:
        """The mention that tells most: the first in which a word has a capital, and no pronoun.

        Nor does that of an article or a pronoun count, as in "The doctor" and "Her sister".
        """
        named = [mention.text for mention in self.mentions if not mention.is_pronoun]
        proper = [text for text in named if _is_proper(text)]
        return (proper or named or [self.mentions[0].text])[0]

    def __str__(self) -> str:
        mentions = ", ".join(
            f"{' '.join(one.text.split())} ({one.start}-{one.end})" for one in self.mentions
        )
        return f"{self.score:.3f}  {mentions}"


class ResolvedText(list[Cluster]):
    """The clusters of a text; a list of them that knows its text.

    Args:
        text: The text.
        clusters: Its clusters.

    Attributes:
        text: The text that the mentions' characters count in.
    """

    def __init__(self, text: str, clusters: Sequence[Cluster] = ()) -> None:
        super().__init__(clusters)
        self.text = text

    @classmethod
    def of_found(cls, text: str, clusters: FoundClusters) -> "ResolvedText":
        """Makes one of what a decoder found."""
        made = []
        for found in clusters:
            mentions = tuple(
                Mention(of.start, of.end, text[of.start : of.end], of.score, of.link)
                for of in found
            )
            links = [of.link for of in found[1:]] or [found[0].score]
            made.append(Cluster(mentions, sum(links) / len(links)))
        return cls(text, made)

    def replace_pronouns(self) -> str:
        """The text with names in the place of pronouns of the third person, for what reads on.

            Ann met Bo. She gave him her book. -> Ann met Bo. Ann gave Bo Ann's book.

        A pronoun whose cluster has nothing but pronouns stays, as does one within its own name.
        "A dog" comes back as "the dog", and with a capital where the pronoun has one.  English
        only.
        """
        places: list[tuple[int, int, str]] = []
        for cluster in self:
            name = cluster.name
            if name.lower() in _PRONOUNS or len(name) > _LONGEST_NAME:
                continue
            others = [of for of in cluster.mentions if not of.is_pronoun]
            for mention in cluster.mentions:
                word = mention.text.lower()
                within = any(of.start <= mention.start and mention.end <= of.end for of in others)
                if word in _REPLACED and not within:
                    replacement = _as_known(name, mention.text[0].isupper())
                    if self._owns(mention):
                        replacement = _possessive(replacement)
                    places.append((mention.start, mention.end, replacement))
        text, end = "", 0
        for start, stop, replacement in sorted(places):
            text += self.text[end:start] + replacement
            end = stop
        return text + self.text[end:]

    def to_html(self) -> str:
        """The text, each mention in the colour of its cluster; those within others are nested.

        Of mentions that cross one another the earlier one is shown.
        """
        sizes = [len(cluster.mentions) for cluster in self]
        spans = sorted(
            (mention.start, -mention.end, number)
            for number, cluster in enumerate(self)
            for mention in cluster.mentions
        )
        parts: list[str] = []
        at = 0
        ends: list[int] = []  # of the mentions that are open

        def write(until: int) -> None:
            nonlocal at
            while ends and ends[-1] <= until:
                parts.extend((escape(self.text[at : ends[-1]]), "</span>"))
                at = ends.pop()
            parts.append(escape(self.text[at:until]))
            at = until

        for start, end, number in spans:
            write(start)
            if ends and ends[-1] < -end:
                continue
            parts.append(_opening(number, sizes[number], self[number].name))
            ends.append(-end)
        write(len(self.text))
        body = "".join(parts)
        return f'<div style="white-space: pre-wrap; line-height: 1.9">{body}</div>'

    def _repr_html_(self) -> str:
        return self.to_html()

    def _owns(self, pronoun: Mention) -> bool:
        """Whether a pronoun stands before what it owns: "her book", but not "saw her"."""
        word = pronoun.text.lower()
        if word != "her":
            return word in _POSSESSIVE
        # A mention that goes on after it is what is owned; else a word follows that is no such.
        if any(of.start == pronoun.start and of.end > pronoun.end for of in self._mentions()):
            return True
        following = re.match(r"\s+(\w+)", self.text[pronoun.end :])
        return following is not None and following[1].lower() not in _AFTER_OBJECTS

    def _mentions(self) -> Any:
        return (mention for cluster in self for mention in cluster.mentions)


def html_page(texts: Sequence[ResolvedText]) -> str:
    """A page of texts in colours, for a browser."""
    body = "\n<hr>\n".join(text.to_html() for text in texts)
    return (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>Coreference</title></head>\n'
        f'<body style="font-family: sans-serif; max-width: 50em; margin: 2em auto">\n{body}\n'
        "</body></html>\n"
    )


def _is_proper(text: str) -> bool:
    """Whether a word has a capital that is not due to its place alone."""
    return any(
        word[0].isupper() and word.lower() not in _ARTICLES | _PRONOUNS
        for word in re.findall(r"\w+", text)
    )


def _as_known(name: str, begins: bool) -> str:
    """A name where it has been mentioned before, with a capital if it `begins` a sentence."""
    first = name.split()[0]
    if first.lower() in _ARTICLES:
        name = f"the{name[len(first) :]}"
    elif first.lower() in _PRONOUNS:  # "Her sister"
        name = f"{first.lower()}{name[len(first) :]}"
    return name[0].upper() + name[1:] if begins else name


def _possessive(name: str) -> str:
    if re.search(r"['\u2019]s?$", name):
        return name
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def _opening(number: int, size: int, name: str) -> str:
    # The golden angle parts the hues of clusters that follow one another.
    hue = round(number * 137.508) % 360
    style = f"border-bottom: 2px solid hsl({hue}, 60%, 45%)"
    if size > 1:
        style += f"; background: hsl({hue}, 75%, 88%); color: black; border-radius: 3px"
        style += "; padding: 0 2px"
    title = escape(f"{number}: {' '.join(name.split())}", quote=True)
    return f'<span style="{style}" title="{title}">'
