"""Text -> masked, bucketed batches for pretraining: tokens per second of several ways, in one run.

    python benchmarks/pretraining_pipeline.py --data ../shared/data --megabytes 40

Ours is `prepare_corpus` and one epoch of `PretrainingBatches` with `SpanMasking`, by way of shards
on disk; "packed" puts several blocks into a row.  The others tokenise with Hugging Face's fast
tokenizer, keep all in memory, sort blocks into batches of like length, and mask:

- "collator": `DataCollatorForLanguageModeling` as its documentation has it, single pieces;
- "collator, tuned": the same, spared looking for special tokens and making PyTorch tensors;
- "NumPy spans": a plain loop over rows and draws, spans of the same law with the same targets.

All read the same file, cut documents into the same blocks, and run on the same cores in one
process.  Sides take turns, and the median over rounds of the ratio of their times counts.
"""

import argparse
import gzip
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
from _support import Goal, data_folder, machine, median_ratio, report_goals
from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

from spanbert_tf.data.batching.pretraining import PretrainingBatches
from spanbert_tf.data.corpus.blocks import cut_blocks, starts_word
from spanbert_tf.data.corpus.preparation import prepare_corpus
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.layers.masking.span_masking import SpanMasking
from spanbert_tf.layers.masking.span_sampling import length_distribution
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

BUDGET, MAX_TARGETS, LINES_A_CALL = 0.15, 20, 1024
GOALS = {"collator": 8.0, "NumPy spans": 3.0}
MOST_PADDING = 0.05

# Seconds of the stages of a side, and what it made: tokens without and with padding.
Outcome = tuple[dict[str, float], tuple[int, int]]
Masker = Callable[[list[list[int]]], dict[str, Any]]


def main() -> int:
    arguments = _arguments()
    vocabulary = str(arguments.data / "vocab" / "bert-base-cased-vocab.txt")
    ours = SpanBertTokenizer(vocabulary)
    theirs = BertTokenizerFast(vocab=vocabulary, do_lower_case=False)
    if len(theirs) != ours.vocabulary_size():
        raise SystemExit(
            f"the other tokenizer has {len(theirs)} pieces, not {ours.vocabulary_size()}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "text.txt"
        _copy_text(arguments.data / "pretrain_en" / "enwiki-00.txt.gz", text, arguments.megabytes)
        sides: dict[str, Callable[[], Outcome]] = {
            "ours": lambda: run_ours(text, ours, arguments),
            "ours, packed": lambda: run_ours(text, ours, arguments, packing=True),
            "collator": lambda: run_theirs(text, theirs, collate, arguments),
            "collator, tuned": lambda: run_theirs(text, theirs, collate_tuned, arguments),
            "NumPy spans": lambda: run_theirs(text, theirs, PlainSpanMasker, arguments),
        }
        outcomes = _take_turns(sides, arguments.rounds)
    print(machine("tensorflow", "transformers", "tokenizers"))
    print(
        f"{arguments.megabytes} MB of text, blocks of up to {arguments.sequence_length} tokens, "
        f"{arguments.token_budget:,} tokens a batch, {arguments.rounds} rounds"
    )
    return _report(outcomes)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the data sets")
    parser.add_argument("--megabytes", type=int, default=40, help="how much text to take")
    parser.add_argument("--sequence-length", type=int, default=512)
    parser.add_argument("--token-budget", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _copy_text(source: Path, target: Path, megabytes: int) -> None:
    with gzip.open(source) as file:
        target.write_bytes(file.read(megabytes << 20).rpartition(b"\n")[0] + b"\n")


def _take_turns(sides: dict[str, Callable[[], Outcome]], rounds: int) -> dict[str, list[Outcome]]:
    """What each side gives in each round."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            outcomes[name].append(run())
    return outcomes


def run_ours(
    text: Path, tokenizer: SpanBertTokenizer, arguments: argparse.Namespace, packing: bool = False
) -> Outcome:
    """Prepares the corpus in this process, and makes one epoch of it."""
    clock = _Clock()
    with tempfile.TemporaryDirectory() as scratch:
        prepare_corpus(
            [text],
            folder := Path(scratch) / "corpus",
            tokenizer.get_vocabulary(),
            lambda *_: tokenizer,
            settings=CorpusSettings(sequence_length=arguments.sequence_length),
            workers=1,
        )
        batches = PretrainingBatches(folder, token_budget=arguments.token_budget, packing=packing)
        clock.lap("tokenise and cut")
        masking = SpanMasking(
            tokenizer.vocabulary_size(),
            tokenizer.mask_token_id,
            tokenizer.special_token_ids,
            budget=BUDGET,
            random_token_weights=batches.piece_counts,
            max_targets=MAX_TARGETS,
        )
        batches.transform = lambda features, seeds: masking(features, seed=seeds)
        for _ in batches.dataset(endless=False):
            pass
        clock.lap("batch and mask")
        report = batches.padding_report()
    return clock.seconds, (report.tokens, report.padded_tokens)


def run_theirs(
    text: Path,
    tokenizer: BertTokenizerFast,
    make_masker: Callable[[BertTokenizerFast, np.ndarray], Masker],
    arguments: argparse.Namespace,
) -> Outcome:
    """Tokenises line by line, cuts documents into blocks, sorts them into batches and masks."""
    clock = _Clock()
    pieces, document_starts = _tokenise(text, tokenizer)
    vocabulary = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    word_starts = starts_word(vocabulary)[pieces]
    ends = cut_blocks(word_starts, document_starts, arguments.sequence_length - 2)
    clock.lap("tokenise and cut")
    mask = make_masker(tokenizer, np.bincount(pieces, minlength=len(tokenizer)))
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    rows = [[cls, *pieces[begin:end].tolist(), sep] for begin, end in pairwise([0, *ends])]
    tokens = padded = 0
    for batch in _batches(rows, arguments.token_budget):
        rows_and_width = mask(batch)["input_ids"].shape
        tokens, padded = tokens + sum(map(len, batch)), padded + np.prod(rows_and_width)
    clock.lap("batch and mask")
    return clock.seconds, (tokens, padded)


def _tokenise(text: Path, tokenizer: BertTokenizerFast) -> tuple[np.ndarray, list[int]]:
    """Ids of all pieces, and where documents begin."""
    ids, starts, total = [], [0], 0
    paragraphs = [line.strip() for line in text.read_text("utf-8").split("\n")]
    for begin in range(0, len(paragraphs), LINES_A_CALL):
        lines = paragraphs[begin : begin + LINES_A_CALL]
        encoded = tokenizer(
            lines,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        for line, of_line in zip(lines, encoded, strict=True):
            if not line and starts[-1] != total:
                starts.append(total)
            total += len(of_line)
            ids.append(np.asarray(of_line, np.int32))
    return np.concatenate(ids), starts


def _batches(rows: list[list[int]], token_budget: int) -> Iterator[list[list[int]]]:
    """Rows of like length, as many as the budget allows, batches in random order."""
    generator = np.random.default_rng(0)
    lengths = np.array([len(row) for row in rows])
    order = np.lexsort([generator.random(len(rows)), lengths])
    batches, batch = [], []
    for number in order.tolist():
        if (len(batch) + 1) * lengths[number] > token_budget:
            batches.append(batch)
            batch = []
        batch.append(number)
    batches.append(batch)
    for number in generator.permutation(len(batches)):
        yield [rows[row] for row in batches[number]]


def collate(tokenizer: BertTokenizerFast, _: np.ndarray) -> Masker:
    """As its documentation has it."""
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=BUDGET)
    return lambda rows: collator([{"input_ids": row} for row in rows])


def collate_tuned(tokenizer: BertTokenizerFast, _: np.ndarray) -> Masker:
    """In its fastest form."""
    collator = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=BUDGET, return_tensors="np"
    )

    def mask(rows: list[list[int]]) -> dict[str, Any]:
        return collator(
            [
                {"input_ids": row, "special_tokens_mask": [1, *[0] * (len(row) - 2), 1]}
                for row in rows
            ]
        )

    return mask


class PlainSpanMasker:
    """SpanBERT's masking as a loop over rows and draws: the law of `sample_spans`.

    Args:
        tokenizer: Has the special tokens.
        counts: How often each piece is put in at random.
    """

    def __init__(self, tokenizer: BertTokenizerFast, counts: np.ndarray) -> None:
        self.generator = np.random.default_rng(0)
        self.pad, self.mask_id = tokenizer.pad_token_id, tokenizer.mask_token_id
        vocabulary = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        self.starts_word = starts_word(vocabulary)
        self.is_special = np.zeros(len(vocabulary), bool)
        self.is_special[tokenizer.all_special_ids] = True
        self.lengths = np.cumsum(length_distribution(0.2, 10))
        weights = np.cumsum(np.where(self.is_special, 0, counts))
        self.random_ids = weights / weights[-1]

    def __call__(self, rows: list[list[int]]) -> dict[str, np.ndarray]:
        """Masks a batch and pads everything."""
        width = max(map(len, rows))
        slots = -(-width * 3 // 20)
        made = {
            "input_ids": np.full((len(rows), width), self.pad, np.int32),
            "mask_positions": np.zeros((len(rows), slots), np.int32),
            "mask_ids": np.zeros((len(rows), slots), np.int32),
            "mask_weights": np.zeros((len(rows), slots), np.float32),
            "span_boundaries": np.zeros((len(rows), slots, 2), np.int32),
            "span_ids": np.zeros((len(rows), slots, MAX_TARGETS), np.int32),
            "span_weights": np.zeros((len(rows), slots, MAX_TARGETS), np.float32),
        }
        for number, row in enumerate(rows):
            ids = np.asarray(row, np.int32)
            masked = self._choose(ids)
            positions = np.flatnonzero(masked)
            count = len(positions)
            made["mask_positions"][number, :count] = positions
            made["mask_ids"][number, :count] = ids[positions]
            made["mask_weights"][number, :count] = 1
            new_ids = ids.copy()
            gaps = np.flatnonzero(np.diff(positions) > 1) + 1
            for span, of_span in enumerate(np.split(positions, gaps) if count else []):
                begin, end = of_span[0], of_span[-1] + 1
                chance = self.generator.random()
                if chance < 0.8:
                    new_ids[begin:end] = self.mask_id
                elif chance < 0.9:
                    drawn = self.generator.random(end - begin)
                    new_ids[begin:end] = np.searchsorted(self.random_ids, drawn, "right")
                targets = ids[begin:end][:MAX_TARGETS]
                made["span_boundaries"][number, span] = begin - 1, end
                made["span_ids"][number, span, : len(targets)] = targets
                made["span_weights"][number, span, : len(targets)] = 1
            made["input_ids"][number, : len(ids)] = new_ids
        return made

    def _choose(self, ids: np.ndarray) -> np.ndarray:
        maskable = ~self.is_special[ids]
        pieces = np.flatnonzero(maskable)
        follows = np.concatenate([[False], maskable[:-1]])
        is_start = maskable & (self.starts_word[ids] | ~follows)
        starts = np.flatnonzero(is_start)
        # Where the word of each number ends: at the next one, or at what is not maskable.
        breaks = np.flatnonzero(is_start | ~maskable)
        ends = np.append(breaks, len(ids))[np.searchsorted(breaks, starts, "right")]
        word_of = np.cumsum(is_start) - 1
        masked = np.zeros(len(ids), bool)
        left = -(-len(pieces) * 3 // 20)
        while left > 0:
            words = int(np.searchsorted(self.lengths, self.generator.random(), "right")) + 1
            word = word_of[pieces[self.generator.integers(len(pieces))]]
            if masked[starts[word]]:
                continue
            for number in range(word, min(word + words, len(starts))):
                if number > word and starts[number] != ends[number - 1]:
                    break
                for position in range(starts[number], ends[number]):
                    if left and not masked[position]:
                        masked[position] = True
                        left -= 1
        return masked


class _Clock:
    """Seconds from lap to lap."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._begun
        self._begun = now


def _report(outcomes: dict[str, list[Outcome]]) -> int:
    stages = list(outcomes["ours"][0][0])
    total = {
        name: np.array([sum(seconds.values()) for seconds, _ in rounds])
        for name, rounds in outcomes.items()
    }
    heads = "".join(f"{stage:>18}" for stage in stages)
    print(f"million tokens a second\n{'':<17}{heads}{'all':>7}{'ratio to ours':>15}{'padding':>9}")
    goals = []
    for name, rounds in outcomes.items():
        tokens, padded = rounds[0][1]
        cells = "".join(
            f"{tokens / np.median([seconds[stage] for seconds, _ in rounds]) / 1e6:>18.2f}"
            for stage in stages
        )
        ratio, waste = median_ratio(total[name], total["ours"]), 1 - tokens / padded
        print(
            f"{name:<17}{cells}{tokens / np.median(total[name]) / 1e6:>7.2f}{ratio:>15.2f}"
            f"{waste:>9.1%}"
        )
        if name in GOALS:
            goals.append(Goal(f"text to masked batches against {name}", ratio, GOALS[name]))
        if name.startswith("ours"):
            claim = f"text to masked batches, {name}, padding"
            goals.append(Goal(claim, waste, MOST_PADDING, "{:.1%}", at_most=True))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
