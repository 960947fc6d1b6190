"""Vectors of texts: ours after one run against MiniLM's and the shipped encoder's, in one run.

    python benchmarks/text_embedding.py [--only train sts banking77 questions] [--limit N]

- train: the shipped encoder learns, in one run of `finetune`, MiniLM's vectors and at the same time
  to find the paragraph of a question (SQuADShifts: new Wikipedia and Reddit) and a span of the same
  article (enwiki).  Articles that the questions below are about are left out of enwiki.
- sts: Spearman's correlation of cosines and scores, the mean over all sets of STS 2012 to 2014.
- banking77: accuracy of the nearest class mean of 5 examples a class, the mean of 10 draws.
- questions: the paragraph of each question of SQuAD 2.0's articles that has an answer, among all of
  them: recall@1 and MRR.

Each part runs alone; the parts after `train` take the model that it left in `--model`.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _support import Goal, data_folder, machine, report_goals

import spanbert_tf
from spanbert_tf.data.readers.tables import read_examples
from spanbert_tf.data.readers.text_tuples import TextTuple, read_span_pairs
from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.metrics.similarity import (
    figures_of_ranks,
    ranks_of_positives,
    spearman,
    unit_rows,
)
from spanbert_tf.tasks.text_embedder import SpanBertTextEmbedder, TextEmbedding
from spanbert_tf.training import finetune

PARTS = ("train", "sts", "banking77", "questions")
MINILM, SHIPPED, OURS = "MiniLM", "shipped encoder", "ours"
SHOTS, DRAWS = 5, 10
EVALUATED = "qa/squad2_articles.json"
LEARNED = ("qa/new_wiki_v1.0.json", "qa/reddit_v1.0.json")
TEXT = "pretrain_en/enwiki-00.txt.gz"
# By part and figure, in points of ours less MiniLM's.
GOALS = {
    ("sts", "spearman"): -2.0,
    ("banking77", "accuracy"): -2.0,
    ("questions", "recall_at_1"): 3.0,
}


def questions_of(path: Path) -> list[tuple[str, str]]:
    """Questions that have an answer, and their paragraphs."""
    return [
        (qa["question"], paragraph["context"])
        for article in json.loads(path.read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
        if qa["answers"]
    ]


def pairs_to_learn(folder: Path, spans: int, limit: int | None) -> list[TextTuple]:
    """Questions with their paragraphs, and spans of articles that no evaluated question is about.

    Args:
        folder: The data sets.
        spans: Pairs of spans.
        limit: The most pairs of each kind.
    """
    articles = json.loads((folder / EVALUATED).read_text("utf-8"))["data"]
    titles = [article["title"].replace("_", " ").lower() for article in articles]
    of_spans = [
        record
        for record in read_span_pairs(folder / TEXT, 400)
        if not any(title in text.lower() for title in titles for text in record.texts)
    ]
    generator = np.random.default_rng(0)
    chosen = generator.permutation(len(of_spans))[: min(spans, limit or spans)]
    questions = [
        TextTuple(pair, None, "", number, name)
        for name in LEARNED
        for number, pair in enumerate(questions_of(folder / name))
    ]
    order = generator.permutation(len(questions))[:limit]
    return [*(of_spans[at] for at in chosen), *(questions[at] for at in order)]


def train(folder: Path, arguments: argparse.Namespace) -> None:
    """Leaves ours in `arguments.model`."""
    begun = time.perf_counter()
    records = SpanBertTextEmbedder.taught(
        pairs_to_learn(folder, arguments.spans, arguments.limit),
        spanbert_tf.load_embedder(bundled_minilm()),
    )
    taught_after = time.perf_counter() - begun
    settings = TextEmbedding(
        epochs=1,
        batch_size=64,
        learning_rate=1e-4,
        sequence_length=128,
        symmetric=True,
        lora_rank=arguments.lora_rank,
        validation_fraction=0.02,
    )
    run = finetune(
        settings,
        records,
        task="text-embedding",
        encoder=default_encoder(),
        output=arguments.model,
        overwrite=True,
        verbose=2,
    )
    print(
        f"train: {run.train_size:,} pairs in {time.perf_counter() - begun:.0f} s, of which the "
        f"teacher took {taught_after:.0f} s; {run.validation}",
        flush=True,
    )


def sts(folder: Path, embedder: Any, limit: int | None) -> dict[str, float]:
    """The mean correlation over all sets."""
    figures = []
    for path in sorted((folder / "sts").glob("*/*.tsv")):
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines() if line.strip()]
        rows = rows[:limit]
        vectors = [embedder.encode_text([row[place] for row in rows]) for place in (1, 2)]
        cosines = (vectors[0] * vectors[1]).sum(1)
        figures.append(spearman(cosines, [float(row[0]) for row in rows]))
    return {"spearman": float(np.mean(figures))}


def banking77(folder: Path, embedder: Any, limit: int | None) -> dict[str, float]:
    """Accuracy of class means of a few examples."""
    sides = [
        read_examples(folder / "banking77" / name, label_column="category")
        for name in ("train.csv", "test.csv")
    ]
    known, asked = sides[0], sides[1][:limit]
    of_known, of_asked = (
        embedder.encode_text([example.text for example in side]) for side in (known, asked)
    )
    names = sorted({example.label for example in known})
    labels = np.array([names.index(example.label) for example in known])
    right = np.array([names.index(example.label) for example in asked])
    reached = []
    for draw in range(DRAWS):
        generator = np.random.default_rng(draw)
        means = [
            of_known[generator.permutation(np.flatnonzero(labels == number))[:SHOTS]].mean(0)
            for number in range(len(names))
        ]
        reached.append(np.mean((of_asked @ unit_rows(means).T).argmax(1) == right))
    return {"accuracy": float(np.mean(reached))}


def questions(folder: Path, embedder: Any, limit: int | None) -> dict[str, float]:
    """Recall@1 and MRR of questions' own paragraphs."""
    pairs = questions_of(folder / EVALUATED)[:limit]
    asked, paragraphs = map(list, zip(*pairs, strict=True))
    places = {text: number for number, text in enumerate(dict.fromkeys(paragraphs))}
    of_paragraphs = embedder.encode_text(list(places))
    positives = of_paragraphs[[places[text] for text in paragraphs]]
    ranks = ranks_of_positives(
        embedder.encode_text(asked), positives, paragraphs, [""] * len(pairs)
    )
    return figures_of_ranks(ranks)


FIGURES = {"sts": sts, "banking77": banking77, "questions": questions}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--model", type=Path, default=Path("runs/text_embedding"))
    parser.add_argument("--spans", type=int, default=20_000, help="pairs of spans to learn from")
    parser.add_argument("--lora-rank", type=int, help="train an adapter, not the encoder")
    parser.add_argument("--limit", type=int, help="the most texts or pairs of each data set")
    arguments = parser.parse_args()

    folder = data_folder()
    print(machine("tensorflow", "keras"), flush=True)
    if "train" in arguments.only:
        train(folder, arguments)
    sides: dict[str, Any] = {MINILM: bundled_minilm(), SHIPPED: default_encoder()}
    if arguments.model.is_dir():
        sides[OURS] = arguments.model
    parts = [part for part in PARTS if part in FIGURES and part in arguments.only]
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, handle in sides.items() if parts else ():
        embedder = spanbert_tf.load_embedder(handle)
        for part in parts:
            for figure, value in FIGURES[part](folder, embedder, arguments.limit).items():
                found.setdefault((part, figure), {})[name] = value
                print(f"{part}, {figure}, {name}: {value:.4f}", flush=True)
    goals = [
        Goal(
            f"{part}, {figure}, ours less MiniLM's, points",
            100 * (values[OURS] - values[MINILM]) if OURS in values else None,
            GOALS[part, figure],
            "{:+.2f}",
        )
        for (part, figure), values in found.items()
        if (part, figure) in GOALS and arguments.limit is None
    ]
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
