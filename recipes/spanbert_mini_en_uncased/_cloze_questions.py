"""Questions without people: a sentence with a blank, and a passage of its article that fills it.

Span selection pretraining (Glass et al., 2020) trains an encoder on such; here query and passage
come from the same article of enwiki, the passage being the paragraph whose words are most like the
query's, without the query itself.
"""

import gzip
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from spanbert_tf.data.readers.questions import Question

BLANK = "[MASK]"
QUERY_WORDS = range(7, 41)
PASSAGE_CHARACTERS = range(200, 1001)
LEAST_SHARED_WORDS = 2  # of query and passage, beside the answer

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"(])")
_WORD = re.compile(r"\w{4,}")
_NAME = r"[A-Z][\w'\u2019-]+(?: (?:(?:of|the|and|de|von) )?[A-Z][\w'\u2019-]+)*"
_NUMBER = r"\d[\d,.]*\d(?: (?:[A-Z]\w+|million|billion|percent|years|people))?|\d+"
_LOWER = r"(?:[a-z]{4,} )?[a-z]{6,}"
_ANSWER = re.compile(rf"\b(?:{_NAME}|{_NUMBER}|{_LOWER})\b")


def read_articles(paths: Iterable[Path]) -> Iterator[list[str]]:
    """Reads gzipped files of a paragraph a line and an empty line between articles."""
    for path in paths:
        paragraphs: list[str] = []
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    paragraphs.append(line.strip())
                elif paragraphs:
                    yield paragraphs
                    paragraphs = []
        if paragraphs:
            yield paragraphs


def cloze_questions(
    paragraphs: Sequence[str], generator: np.random.Generator, most: int
) -> list[Question]:
    """Makes questions of an article, so many at most, one of each sentence and of each answer.

    The answer is a name, a number or one or two longer words; it stands once in the passage.
    """
    sentences = [_SENTENCE_END.split(paragraph) for paragraph in paragraphs]
    passages = list(_passages(sentences))
    words = [set(_WORD.findall(passage.lower())) for passage, _ in passages]
    places = [(p, s) for p, of in enumerate(sentences) for s in range(len(of))]
    questions: list[Question] = []
    answered: set[str] = set()
    for place in generator.permutation(len(places)):
        query = sentences[places[place][0]][places[place][1]]
        if len(query.split()) not in QUERY_WORDS:
            continue
        found = list(_ANSWER.finditer(query))
        for number in generator.permutation(len(found))[:4]:
            match = found[number]
            answer = match.group()
            # The first word of a sentence is a name only by its place.
            if answer in answered or (match.start() == 0 and " " not in answer):
                continue
            rest = set(_WORD.findall((query[: match.start()] + query[match.end() :]).lower()))
            rest -= set(answer.lower().split())
            best = _best_passage(answer, query, rest, passages, words)
            if best is None:
                continue
            passage, begin = best
            blanked = f"{query[: match.start()]}{BLANK}{query[match.end() :]}"
            questions.append(Question(blanked, passage, ((answer, begin),)))
            answered.add(answer)
            break
        if len(questions) == most:
            break
    return questions


def _passages(sentences: Sequence[Sequence[str]]) -> Iterator[tuple[str, frozenset[str]]]:
    """Paragraphs, long ones in parts, with the sentences they are made of."""
    for of_paragraph in sentences:
        part: list[str] = []
        for sentence in [*of_paragraph, None]:
            length = sum(map(len, part)) + len(part) + len(sentence or "")
            if part and (sentence is None or length not in range(PASSAGE_CHARACTERS.stop)):
                if len(" ".join(part)) in PASSAGE_CHARACTERS:
                    yield " ".join(part), frozenset(part)
                part = []
            part += [sentence] if sentence else []


def _best_passage(
    answer: str,
    query: str,
    rest: set[str],
    passages: Sequence[tuple[str, frozenset[str]]],
    words: Sequence[set[str]],
) -> tuple[str, int] | None:
    """The passage with most words of the query, and where the answer stands in it."""
    pattern = re.compile(rf"\b{re.escape(answer)}\b")
    shared = [len(rest & of) for of in words]
    for number in np.argsort(shared, kind="stable")[::-1][:12]:
        if shared[number] < LEAST_SHARED_WORDS:
            return None
        passage, of = passages[number]
        if query in of:
            passage = " ".join(passage.replace(query, "").split())
        matches = list(pattern.finditer(passage))
        if len(matches) == 1 and len(passage) >= PASSAGE_CHARACTERS.start:
            return passage, matches[0].start()
    return None
