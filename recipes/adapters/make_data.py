"""The data that the ready models are trained and scored on, of public sets under one folder.

    python recipes/adapters/make_data.py entities_en runs/adapters/entities_en/data

writes `train.*` and, for each set that the model is scored on, `test_*.*`; what is in `train` is in
none of these.  Only sets whose licences allow weights that ship; the cards name them.
"""

import argparse
import csv
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spanbert_tf.cli.demo import REVIEWS
from spanbert_tf.data.readers.conll import read_tagged_words
from spanbert_tf.handles import bundled_minilm
from spanbert_tf.search.hard_negatives import mine_negatives

DATA = Path(os.environ.get("SPANBERT_DATA") or "../shared/data")

# Every fifth or tenth record, as they come: documents and classes stay as mixed as they are.
TESTED_OF_ENTITIES, TESTED_OF_RELATIONS = 5, 10
TESTED_ARTICLES = 5
QUESTIONS_A_PARAGRAPH = {"new_wiki_v1.0.json": 4, "reddit_v1.0.json": 1}

# What CoNLL-2003 calls names, by the types of CrossNER, WNUT-17 and Universal NER.  The others of
# CrossNER are no names there: fields, tasks, algorithms, metrics, genres, substances, instruments.
ENTITY_GROUPS = {
    "PER": "person politician writer musicalartist scientist researcher",
    "ORG": "organisation politicalparty band university org corporation group",
    "LOC": "location country loc astronomicalobject",
    "MISC": "misc award election book event album song poem magazine academicjournal conference "
    "product programlang creative-work",
}
GROUP_OF = {name: group for group, names in ENTITY_GROUPS.items() for name in names.split()}
GROUP_OF["per"] = "PER"

_DETACHED = re.compile(r" (n't|'(?:s|re|ve|ll|d|m)|[.,!?;:)%])")
_AFTER = re.compile(r"([(]) ")


def sentiment(folder: Path) -> None:
    """SST-2 and the package's own reviews.

    SST-2's texts are as a tokenizer left them, with "do n't".  Where a reader would write them in
    another way, they are there in both.
    """
    names = ("negative", "positive")

    def phrases(part: str) -> list[tuple[str, str]]:
        rows = list(_rows(DATA / "sst2" / f"{part}.tsv"))
        return [(row["sentence"].strip(), names[int(row["label"])]) for row in rows]

    def as_written(text: str) -> str:
        return _AFTER.sub(r"\1", _DETACHED.sub(r"\1", text))

    def reviews(part: str) -> list[tuple[str, str]]:
        return [(row["text"], row["label"]) for row in _rows(REVIEWS / f"{part}.tsv")]

    train = phrases("train") + phrases("dev")
    train += [(as_written(text), label) for text, label in train if as_written(text) != text]
    _write_rows(folder / "train.tsv", train + reviews("train"))
    _write_rows(folder / "test_sst2.tsv", phrases("test"))
    _write_rows(folder / "test_reviews.tsv", reviews("test"))


def intents(folder: Path) -> None:
    """Banking77, as it is."""
    shutil.copyfile(DATA / "banking77" / "train.csv", folder / "train.csv")
    shutil.copyfile(DATA / "banking77" / "test.csv", folder / "test_banking77.csv")


def entities(folder: Path) -> None:
    """CrossNER, Universal NER's English web treebank and WNUT-17, mapped to CoNLL-2003's types.

    Universal NER names no MISC, and WNUT-17 no nationalities, so part of what CrossNER calls MISC
    stands unmarked in them.
    """
    train: list[Any] = []
    tests: dict[str, list[Any]] = {"crossner": []}
    for domain in ("ai", "literature", "music", "politics", "science"):
        train += _sentences(DATA / "crossner" / domain / "train.txt")
        dev = _sentences(DATA / "crossner" / domain / "dev.txt")
        train += _others(dev, TESTED_OF_ENTITIES)
        tests["crossner"] += dev[::TESTED_OF_ENTITIES]
    web = _sentences(DATA / "uner_english" / "en_ewt-ud-dev.iob2")
    train += _others(web, TESTED_OF_ENTITIES)
    tests["web"] = web[::TESTED_OF_ENTITIES]
    train += _sentences(DATA / "wnut17" / "train.conll")
    tests["wnut17"] = _sentences(DATA / "wnut17" / "dev.conll")
    _write_sentences(folder / "train.conll", train)
    learned = {_words(sentence) for sentence in train}  # Some, such as greetings, recur.
    for name, sentences in tests.items():
        new = [sentence for sentence in sentences if _words(sentence) not in learned]
        _write_sentences(folder / f"test_{name}.conll", new)


def relations(folder: Path) -> None:
    """SemEval-2010 task 8: of its training part every tenth sentence is kept for the test."""
    lines = (DATA / "semeval2010_task8" / "train.tsv").read_text("utf-8").splitlines()
    _write_lines(folder / "train.tsv", _others(lines, TESTED_OF_RELATIONS))
    _write_lines(folder / "test_semeval.tsv", lines[::TESTED_OF_RELATIONS])


def questions(folder: Path) -> None:
    """SQuADShifts' Wikipedia questions, and 20 of 25 articles of SQuAD 2.0 dev."""
    squad = _articles("squad2_articles.json")
    train = squad[:-TESTED_ARTICLES] + _articles("new_wiki_v1.0.json")
    for name, articles in (("train", train), ("test_squad2", squad[-TESTED_ARTICLES:])):
        text = json.dumps({"version": "2.0", "data": articles}, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text, "utf-8")


def coreference(folder: Path) -> None:
    """LitBank and GUM by GUM's own rules, the parts whose licences allow weights that ship."""
    for part, name in (("train", "train"), ("dev", "test")):
        for data in ("litbank", "gum"):
            source = DATA / ("gum/gum" if data == "gum" else data) / part
            target = folder / (name if part == "train" else f"test_{data}")
            target.mkdir(exist_ok=True)
            for file in sorted(source.glob("*.conll")):
                shutil.copyfile(file, target / file.name)
    target = folder / "test_ontogum"
    target.mkdir(exist_ok=True)
    for file in sorted((DATA / "gum" / "ontogum" / "dev").glob("*.conll")):
        shutil.copyfile(file, target / file.name)


def questions_of(articles: Iterable[Any], most: int | None = None) -> list[tuple[str, str]]:
    """Questions that have an answer, so many of a paragraph at most, and their paragraphs."""
    paragraphs = (paragraph for article in articles for paragraph in article["paragraphs"])
    return [
        (qa["question"], paragraph["context"])
        for paragraph in paragraphs
        for qa in [qa for qa in paragraph["qas"] if qa["answers"]][:most]
    ]


def embeddings(folder: Path) -> None:
    """Questions with the paragraph that answers each, and one that MiniLM takes for it easily.

    Of SQuADShifts, from Wikipedia and Reddit; SQuAD's own are the test.
    """
    pairs = [
        pair
        for name, most in QUESTIONS_A_PARAGRAPH.items()
        for pair in questions_of(_articles(name), most)
    ]
    corpus = {
        text: None for name in QUESTIONS_A_PARAGRAPH for _, text in questions_of(_articles(name))
    }
    triplets = mine_negatives(bundled_minilm(), *zip(*pairs, strict=True), corpus=[*corpus])
    _write_texts(folder / "train.jsonl", zip(*triplets, strict=True))
    _write_texts(folder / "test_squad2.jsonl", questions_of(_articles("squad2_articles.json")))


MAKERS: dict[str, Callable[[Path], None]] = {
    "sentiment_en": sentiment,
    "intents_banking_en": intents,
    "entities_en": entities,
    "relations_en": relations,
    "questions_en": questions,
    "coreference_en": coreference,
    "embeddings_en": embeddings,
}


def _others(records: Sequence[Any], every: int) -> list[Any]:
    """All but what `records[::every]` has."""
    return [record for number, record in enumerate(records) if number % every]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _write_rows(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    _write_lines(path, ["text\tlabel", *("\t".join(row) for row in rows)])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _sentences(path: Path) -> list[list[tuple[str, str]]]:
    """Words and tags of sentences, mapped."""
    return [
        [(word, _mapped(tag)) for word, tag in zip(sentence.words, sentence.tags, strict=True)]
        for sentence in read_tagged_words(path)
    ]


def _words(sentence: list[tuple[str, str]]) -> str:
    return " ".join(word for word, _ in sentence).lower()


def _mapped(tag: str) -> str:
    place, _, name = tag.partition("-")
    group = GROUP_OF.get(name.lower())
    return f"{place}-{group}" if group else "O"


def _write_sentences(path: Path, sentences: Iterable[list[tuple[str, str]]]) -> None:
    blocks = ["".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences]
    path.write_text("\n".join(blocks), "utf-8")


def _write_texts(path: Path, tuples: Iterable[tuple[str, ...]]) -> None:
    names = ("text", "positive", "negative")
    rows = [dict(zip(names, texts, strict=False)) for texts in tuples]
    _write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows])


def _articles(file: str) -> list[Any]:
    return json.loads((DATA / "qa" / file).read_text("utf-8"))["data"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MAKERS)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    MAKERS[arguments.model](arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
