"""How much of each batch is padding, and how many batch shapes there are, by pipeline.

    python benchmarks/padding.py [--data FOLDER] [--goal 0.06]

Lengths are those of real word pieces (BERT's uncased vocabulary), cut at 512.  The pipelines are
planned, not run: a plan says exactly which rows share a batch.  Exits with 1 if the token-budget
pipeline misses the goal on either data set.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from _support import Goal, data_folder, read_movie_reviews, report_goals

from spanbert_tf.data.batching.bucketing import BatchPlan, PaddingReport
from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.data.batching.texts import tokenize_texts
from spanbert_tf.data.readers.tables import read_examples
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

SEQUENCE_LENGTH = 512
TOKEN_BUDGET = 4096
BATCH_SIZE = 32
SEED = 1


def plain_batches(lengths: np.ndarray, padded: int | None) -> PaddingReport:
    """Shuffled batches of one size, padded to their longest row or all to one length."""
    rows = np.random.default_rng(SEED).permutation(len(lengths))
    splits = np.append(np.arange(0, len(rows), BATCH_SIZE), len(rows))
    longest = np.maximum.reduceat(lengths[rows], splits[:-1])
    to = longest if padded is None else np.full_like(longest, padded)
    return BatchPlan(rows, splits, to).report(lengths)


def reports_of(texts: list[str], tokenizer: SpanBertTokenizer) -> dict[str, PaddingReport]:
    """What padding costs by the name of each pipeline; the token budget's is the first."""
    pieces = tokenize_texts(texts, tokenizer, SEQUENCE_LENGTH)
    common = {
        "start_token_id": tokenizer.cls_token_id,
        "end_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "sequence_length": SEQUENCE_LENGTH,
        "seed": SEED,
    }
    budget = BucketedBatches([pieces], token_budget=TOKEN_BUDGET, **common)
    fixed = BucketedBatches([pieces], batch_size=BATCH_SIZE, **common)
    lengths = budget.lengths
    return {
        f"buckets, {TOKEN_BUDGET} tokens a batch": budget.padding_report(),
        f"buckets, {BATCH_SIZE} rows a batch": fixed.padding_report(),
        f"shuffled, {BATCH_SIZE} rows, to the longest": plain_batches(lengths, None),
        f"shuffled, {BATCH_SIZE} rows, all to {SEQUENCE_LENGTH}": plain_batches(
            lengths, SEQUENCE_LENGTH
        ),
    }


def all_reports(folder: Path) -> dict[str, dict[str, PaddingReport]]:
    """The reports by data set and pipeline."""
    tokenizer = SpanBertTokenizer(
        str(folder / "vocab" / "bert-base-uncased-vocab.txt"), lowercase=True
    )
    phrases = [example.text for example in read_examples(folder / "sst2" / "train.tsv")]
    reviews = read_movie_reviews(folder / "movie_reviews" / "movie_reviews.zip")
    return {
        "sst2/train": reports_of(phrases, tokenizer),
        "movie_reviews": reports_of(reviews, tokenizer),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--goal", type=float, default=0.06, help="most padding, 0 to 1")
    arguments = parser.parse_args()

    goals = []
    print(f"{'data set':<15}{'pipeline':<38}{'padding':>8}{'batches':>9}{'shapes':>8}")
    for name, reports in all_reports(arguments.data).items():
        for pipeline, report in reports.items():
            print(
                f"{name:<15}{pipeline:<38}{report.waste:>8.1%}{report.batches:>9,}"
                f"{report.shapes:>8}"
            )
        (budget, *_) = reports.values()
        claim = f"padding, token budget, {name}"
        goals.append(Goal(claim, budget.waste, arguments.goal, "{:.1%}", at_most=True))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
