"""Entities: fine-tuned by one recipe in this package and in transformers, scored by seqeval.

    python benchmarks/token_classification.py [--seeds 3] [--epochs 3] [--rates 1e-4 2e-4 4e-4]
    python benchmarks/token_classification.py --data crossner/ai crossner/literature crossner/music
        crossner/politics crossner/science --epochs 20 --batch-size 16 --adapter

Ours is `finetune` on the shipped encoder, theirs `BertForTokenClassification` on MiniLM, which that
encoder started from, each at the best of the same learning rates by its own dev F1 of the first
seed; heads learn five times as fast on both sides.  Batches of 32 sentences, AdamW, warm-up over a
tenth of the steps, linear decay, clipping at 1.  Both predict a word by its first piece, and what
they predict for dev is scored by the same call of seqeval.  Tokens a second are real ones, without
padding, of the whole training, in turn on the same machine.  `--adapter` trains ours also by LoRA
of rank 16 in place of all weights, at ten times the rates; `--crf` adds a CRF to ours.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _recipes import add_resume, compare, shuffled_batches
from _support import Goal, data_folder, machine, report_goals

from spanbert_tf.data.readers.entities import TaggedText, read_entities
from spanbert_tf.data.readers.tags import spans_of, tags_of
from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.metrics.entities import entity_scores
from spanbert_tf.tasks.token_classifier import TokenClassification
from spanbert_tf.training import finetune

SEQUENCE_LENGTH, HEAD_FACTOR = 128, 5
LORA_RANK, LORA_FACTOR = 16, 10  # LoRA learns faster: Hu et al. 2021 take such rates too.
GOALS = {"wnut17": 0.01, "crossner": 0.02}
TIMED, SPEED_GOAL = "wnut17", 1.8  # Longer trainings may share the machine with other work.


def read_splits(name: str) -> tuple[list[TaggedText], list[TaggedText]]:
    """Training and dev sentences of a data set, by the name of its folder."""
    folder = data_folder() / name
    suffix = ".conll" if name == "wnut17" else ".txt"
    train, dev = (read_entities(folder / f"{part}{suffix}") for part in ("train", "dev"))
    return train, dev


@dataclass(frozen=True)
class Recipe:
    """What all sides share."""

    epochs: int
    batch_size: int
    crf: bool = False
    lora_rank: int | None = None


def ours(
    train: list[TaggedText], dev: list[TaggedText], rate: float, seed: int, recipe: Recipe
) -> tuple[float, float]:
    """F1 on dev and seconds of the training of this package."""
    head_rate = HEAD_FACTOR * rate
    if recipe.lora_rank:
        rate *= LORA_FACTOR
    settings = TokenClassification(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=rate,
        head_learning_rate=head_rate,
        sequence_length=SEQUENCE_LENGTH,
        validation_fraction=0,
        seed=seed,
        crf=recipe.crf,
        lora_rank=recipe.lora_rank,
    )
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run = finetune(
            settings,
            train,
            task="token-classification",
            encoder=default_encoder(),
            output=Path(folder) / "preset",
            verbose=0,
        )
        seconds = time.perf_counter() - begun
    return run.model.assess(dev)["f1"], seconds


def theirs(
    train: list[TaggedText], dev: list[TaggedText], rate: float, seed: int, recipe: Recipe
) -> tuple[float, float]:
    """The same of transformers on PyTorch, at its best: batches of like length, fused AdamW."""
    import torch
    import transformers

    transformers.set_seed(seed)
    groups = sorted({entity.label for record in train for entity in record.entities})
    names = ["O", *(f"{kind}-{group}" for group in groups for kind in "BI")]
    tokenizer = transformers.AutoTokenizer.from_pretrained(bundled_minilm())
    model = transformers.BertForTokenClassification.from_pretrained(
        bundled_minilm(), num_labels=len(names), attn_implementation="sdpa"
    )
    head = [p for name, p in model.named_parameters() if name.startswith("classifier")]
    body = [p for name, p in model.named_parameters() if not name.startswith("classifier")]
    optimizer = torch.optim.AdamW(
        [{"params": body}, {"params": head, "lr": HEAD_FACTOR * rate}],
        rate,
        eps=1e-8,
        weight_decay=0.01,
        fused=True,
    )
    rows = [encode(record, tokenizer, names) for record in train]
    lengths = [len(row[0]) for row in rows]
    steps = recipe.epochs * -(-len(rows) // recipe.batch_size)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    begun = time.perf_counter()
    for epoch in range(recipe.epochs):
        generator = np.random.default_rng([seed, epoch])
        for batch in shuffled_batches(lengths, recipe.batch_size, generator):
            input_ids, mask, labels = padded([rows[row] for row in batch])
            model(input_ids=input_ids, attention_mask=mask, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    seconds = time.perf_counter() - begun

    model.eval()
    predicted = []
    for record in dev:
        input_ids, firsts, _ = encode(record, tokenizer, names)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([input_ids])).logits[0]
        tags = [names[tag] for tag in logits.argmax(-1)[firsts].tolist()]
        spans = spans_of(tags, "IOB2", repair=True)
        words = record.words[: len(tags)]
        predicted.append([(words[a][0], words[b - 1][1], label) for a, b, label in spans])
    gold = [[(e.start, e.end, e.label) for e in record.entities] for record in dev]
    return entity_scores(gold, predicted, [record.words for record in dev])["f1"], seconds


def encode(
    record: TaggedText, tokenizer: object, names: Sequence[str]
) -> tuple[list[int], list[int], list[int]]:
    """Ids of a sentence, the place of each word's first piece, and a label for each piece."""
    words = [record.text[start:end] for start, end in record.words]
    encoded = tokenizer(
        words, is_split_into_words=True, truncation=True, max_length=SEQUENCE_LENGTH
    )
    starts = {start: number for number, (start, _) in enumerate(record.words)}
    ends = {end: number + 1 for number, (_, end) in enumerate(record.words)}
    spans = [(starts[e.start], ends[e.end], e.label) for e in record.entities]
    tags = tags_of(spans, len(words))
    firsts, labels, before = [], [], None
    for place, word in enumerate(encoded.word_ids()):
        is_first = word is not None and word != before
        # One that dev has and training lacks is never learned.
        known = is_first and tags[word] in names
        labels.append(names.index(tags[word]) if known else -100)
        if is_first:
            firsts.append(place)
        before = word
    return encoded["input_ids"], firsts, labels


def padded(batch: list) -> tuple:
    import torch

    longest = max(len(ids) for ids, _, _ in batch)

    def pad(of: int, fill: int) -> "torch.Tensor":
        return torch.tensor([row[of] + [fill] * (longest - len(row[of])) for row in batch])

    input_ids, labels = pad(0, 0), pad(2, -100)
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _, _ in batch])
    return input_ids, mask, labels


OURS, ADAPTER, THEIRS = "ours", "ours, adapter", "transformers"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["wnut17"], metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-4, 2e-4, 4e-4])
    parser.add_argument("--crf", action="store_true")
    parser.add_argument("--adapter", action="store_true")
    add_resume(parser)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(machine("tensorflow", "keras", "torch", "transformers", "seqeval"))
    recipe = Recipe(arguments.epochs, arguments.batch_size, arguments.crf)
    lora = replace(recipe, lora_rank=LORA_RANK)
    gains: dict[str, list[float]] = {}
    speeds = []
    for name in arguments.data:
        train, dev = read_splits(name)
        print(f"{name}: {len(train)} sentences to train on, {len(dev)} to find entities in")
        sides = {OURS: partial(ours, train, dev, recipe=recipe)}
        if arguments.adapter:
            sides[ADAPTER] = partial(ours, train, dev, recipe=lora)
        sides[THEIRS] = partial(theirs, train, dev, recipe=recipe)
        figures, seconds = compare(name, sides, arguments)
        for side in set(sides) - {THEIRS}:
            gains.setdefault(side, []).append(figures[side].mean() - figures[THEIRS].mean())
        speeds.append(np.median(seconds[THEIRS]) / np.median(seconds[OURS]))
    title = ", ".join(arguments.data)
    goals = [
        Goal(
            f"{title}, mean F1 of {side} less that of transformers",
            float(np.mean(values)),
            GOALS.get(arguments.data[0].partition("/")[0], 0),
            "{:+.4f}",
        )
        for side, values in sorted(gains.items())
    ]
    if arguments.data == [TIMED]:
        speed = float(np.mean(speeds))
        goals.append(Goal(f"{title}, tokens a second of training", speed, SPEED_GOAL))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
