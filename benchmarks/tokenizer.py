"""Tokens per second of three BERT tokenizers on the same paragraphs, in one run.

    python benchmarks/tokenizer.py --data ../shared/data --paragraphs 15000

Ours and KerasHub's `BertTokenizer`, called on batches of Python strings ("call") and mapped over a
dataset of batches ("tf.data"), and Hugging Face's `tokenizers`, called on batches of the same size
(it has threads of its own, ours and KerasHub's have none here).  They take turns, and the median of
all rounds counts.  Every paragraph's ids are compared with Hugging Face's.  Ratios travel from
machine to machine, absolute figures do not.
"""

import argparse
import gzip
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras_hub
import tensorflow as tf
from _support import Goal, data_folder, machine, report_goals
from tokenizers import BertWordPieceTokenizer

from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

# Vocabulary, whether text is put in lower case, texts.
CASES = (
    ("cased", False, "pretrain_en/enwiki-00.txt.gz"),
    ("uncased", True, "pretrain_en/enwiki-00.txt.gz"),
    ("chinese", True, "pretrain_zh/lctt.txt.gz"),
)
GOAL = 4.0  # times KerasHub's


def main() -> int:
    arguments = _arguments()
    print(machine("tensorflow", "keras-hub", "tokenizers"))
    print(
        f"Up to {arguments.paragraphs} paragraphs in batches of {arguments.batch_size}; million "
        f"tokens per second, median of {arguments.rounds} rounds."
    )
    print(
        f"{'vocabulary':<12}{'way':<9}{'ours':>7}{'KerasHub':>10}{'ratio':>7}{'HF fast':>9}"
        f"{'ratio':>7}{'paragraphs':>12}{'ours differ':>13}{'KerasHub differ':>17}"
    )
    goals = []
    for name, lowercase, file in CASES:
        texts = _paragraphs(arguments.data / file, arguments.paragraphs)
        vocabulary = arguments.data / "vocab" / f"bert-base-{name}-vocab.txt"
        goals += _compare(name, str(vocabulary), lowercase, texts, arguments)
    return report_goals(goals)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the data sets")
    parser.add_argument("--paragraphs", type=int, default=15_000, help="paragraphs per vocabulary")
    parser.add_argument("--batch-size", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _paragraphs(path: Path, count: int) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        texts = [line for line in map(str.strip, lines) if line]
    return texts[:count]


def _compare(
    name: str, vocabulary: str, lowercase: bool, texts: list[str], arguments: argparse.Namespace
) -> list[Goal]:
    peers = {
        "ours": SpanBertTokenizer(vocabulary, lowercase=lowercase),
        "KerasHub": keras_hub.models.BertTokenizer(
            vocabulary, lowercase=lowercase, strip_accents=lowercase
        ),
    }
    reference = BertWordPieceTokenizer(vocabulary, lowercase=lowercase)
    size = arguments.batch_size
    batches = [texts[i : i + size] for i in range(0, len(texts), size)]
    expected = [
        encoding.ids
        for batch in batches
        for encoding in reference.encode_batch(batch, add_special_tokens=False)
    ]
    # One endless iterator per peer: starting one costs the same whatever its length.
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(size).cache().repeat()
    # Nothing is made ahead of its turn, which is when the other sides are timed.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    mapped = {key: iter(dataset.map(peer).with_options(options)) for key, peer in peers.items()}
    differ = {
        key: sum(row != ids for row, ids in zip(_rows(mapped[key], batches), expected, strict=True))
        for key in peers
    }
    seconds = _take_turns(
        {
            **{("call", key): partial(_each, peer, batches) for key, peer in peers.items()},
            **{("tf.data", key): partial(_draw, mapped[key], batches) for key in peers},
            ("HF", "HF"): partial(
                _each, partial(reference.encode_batch, add_special_tokens=False), batches
            ),
        },
        arguments.rounds,
    )
    tokens = sum(map(len, expected))
    speed = {key: tokens / value / 1e6 for key, value in seconds.items()}
    reference_speed = speed["HF", "HF"]
    goals = []
    for way in ("call", "tf.data"):
        ours, theirs = speed[way, "ours"], speed[way, "KerasHub"]
        print(
            f"{name:<12}{way:<9}{ours:>7.2f}{theirs:>10.2f}{ours / theirs:>7.1f}"
            f"{reference_speed:>9.2f}{ours / reference_speed:>7.1f}{len(texts):>12}"
            f"{differ['ours']:>13}{differ['KerasHub']:>17}",
            flush=True,
        )
        claim = f"tokenisation, {name}, {way}, against KerasHub"
        goals.append(Goal(claim, ours / theirs, GOAL))
    return goals


def _each(tokenize: Callable[[list[str]], Any], batches: list[list[str]]) -> None:
    for batch in batches:
        tokenize(batch)


def _draw(mapped: Iterator[Any], batches: list[list[str]]) -> None:
    for _ in batches:
        next(mapped)


def _rows(mapped: Iterator[Any], batches: list[list[str]]) -> Iterator[list[int]]:
    for _ in batches:
        yield from next(mapped).to_list()


def _take_turns(
    runs: dict[tuple[str, str], Callable[[], None]], rounds: int
) -> dict[tuple[str, str], float]:
    """Median seconds of each run, one after the other in every round, after one warm-up."""
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for i in range(rounds + 1):
        for key, run in runs.items():
            begin = time.perf_counter()
            run()
            if i:
                seconds[key].append(time.perf_counter() - begin)
    return {key: statistics.median(values) for key, values in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
