"""Vectors of texts: the ready model `embeddings_en` against MiniLM and the shipped encoder.

    python benchmarks/text_embedding.py [--only sts banking77 questions training] [--limit N]

- sts: Spearman's correlation of cosines and scores, the mean over all sets of STS 2012 to 2014.
- banking77: accuracy of the nearest class mean of 5 examples a class, the mean of 10 draws.
- questions: the paragraph of each question of SQuAD 2.0's articles that has an answer, among all of
  them: recall@1 and MRR.
- training: pairs a second by multiple negatives ranking from MiniLM, questions and paragraphs in
  batches of 64, against sentence-transformers; texts in, both with their tokenizer.

`recipes/adapters/remake.py embeddings_en` trained the model, on none of these texts.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _peers import Peer, peers_python
from _support import Goal, data_folder, machine, median_ratio, report_goals, time_in_turn

sys.path.append(str(Path(__file__).resolve().parent.parent / "recipes" / "adapters"))

from make_data import questions_of

import spanbert_tf
from spanbert_tf import SpanBertTextEmbedder, SpanBertTextEmbedderPreprocessor
from spanbert_tf.data.readers.tables import read_examples
from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.metrics.similarity import (
    figures_of_ranks,
    ranks_of_positives,
    spearman,
    unit_rows,
)
from spanbert_tf.models.optimizers import default_optimizer

FIGURE_PARTS, TRAINING = ("sts", "banking77", "questions"), "training"
PARTS = (*FIGURE_PARTS, TRAINING)
MINILM, SHIPPED, OURS = "MiniLM", "shipped encoder", "embeddings_en"
PEER = "sentence-transformers"
SHOTS, DRAWS = 5, 10
EVALUATED, LEARNED = "qa/squad2_articles.json", "qa/new_wiki_v1.0.json"
BATCHES, BATCH_SIZE, LENGTH, TEMPERATURE, RATE = 4, 64, 128, 0.05, 2e-5
TRAINING_GOAL = 1.5
# By part and figure, in points of ours less MiniLM's.
GOALS = {
    ("sts", "spearman"): -2.0,
    ("banking77", "accuracy"): -2.0,
    ("questions", "recall_at_1"): 3.0,
}


def questions_in(path: Path) -> list[tuple[str, str]]:
    """Questions of a file that have an answer, and their paragraphs."""
    return questions_of(json.loads(path.read_text("utf-8"))["data"])


def training(folder: Path, rounds: int) -> Goal:
    """Prints pairs a second of both sides."""
    pairs = questions_in(folder / LEARNED)
    order = np.random.default_rng(0).permutation(len(pairs))[: BATCHES * BATCH_SIZE]
    chosen = sorted((pairs[at] for at in order), key=lambda pair: len(pair[1]))
    columns = tuple(map(list, zip(*chosen, strict=True)))
    backbone, tokenizer = spanbert_tf.load_backbone(bundled_minilm())
    embedder = SpanBertTextEmbedder(
        backbone,
        SpanBertTextEmbedderPreprocessor(tokenizer, LENGTH),
        temperature=TEMPERATURE,
    )
    embedder.compile(default_optimizer(RATE))
    sides: dict[str, Any] = {
        "spanbert_tf": lambda: embedder.fit(columns, batch_size=BATCH_SIZE, verbose=0)
    }
    python = peers_python(PEER)
    with tempfile.TemporaryDirectory() as temporary:
        if python:
            batches = [
                [column[at : at + BATCH_SIZE] for column in columns]
                for at in range(0, len(chosen), BATCH_SIZE)
            ]
            file = Path(temporary) / "batches.json"
            file.write_text(json.dumps(batches), "utf-8")
            options = ("--length", LENGTH, "--temperature", TEMPERATURE, "--learning-rate", RATE)
            sides[PEER] = Peer(
                "sentence_transformers_side.py", bundled_minilm(), file, *options, python=python
            )
            print(f"peer: {sides[PEER].facts['versions']}")
        seconds = time_in_turn(sides, rounds, warm_ups=1)
    print(f"{f'training, batch {BATCH_SIZE}':<24}{'pairs/s':>10}")
    for side, values in seconds.items():
        print(f"{side:<24}{len(chosen) / np.median(values):>10.1f}", flush=True)
    ratio = median_ratio(seconds[PEER], seconds["spanbert_tf"]) if python else None
    return Goal(f"training on pairs, against {PEER}", ratio, TRAINING_GOAL)


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
    pairs = questions_in(folder / EVALUATED)[:limit]
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
    parser.add_argument("--model", default=OURS, help="another in its place")
    parser.add_argument("--limit", type=int, help="the most texts or pairs of each data set")
    parser.add_argument("--rounds", type=int, default=3, help="of training")
    arguments = parser.parse_args()

    folder = data_folder()
    print(machine("tensorflow", "keras"), flush=True)
    sides = {MINILM: bundled_minilm(), SHIPPED: default_encoder(), OURS: arguments.model}
    parts = [part for part in FIGURE_PARTS if part in arguments.only]
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, handle in sides.items() if parts else ():
        embedder = spanbert_tf.load_embedder(handle)
        for part in parts:
            for figure, value in FIGURES[part](folder, embedder, arguments.limit).items():
                found.setdefault((part, figure), {})[name] = value
                print(f"{part}, {figure}, {name}: {value:.4f}", flush=True)
    goals = [
        Goal(
            f"{part}, {figure}, {OURS} less MiniLM, points",
            100 * (values[OURS] - values[MINILM]),
            GOALS[part, figure],
            "{:+.2f}",
        )
        for (part, figure), values in found.items()
        if (part, figure) in GOALS and arguments.limit is None
    ]
    if TRAINING in arguments.only:
        goals.append(training(folder, arguments.rounds))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
