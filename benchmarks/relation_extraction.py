"""Relations: fine-tuned by one recipe in this package and in transformers, SemEval-2010 task 8.

    python benchmarks/relation_extraction.py [--seeds 3] [--epochs 5] [--rates 1e-4 2e-4 4e-4]
        [--marking around] [--sentences 8000]

A tenth of the training sentences, drawn label by label, is the test; the official test is kept
apart.  Ours is `finetune` on the shipped encoder; theirs is MiniLM, which that encoder started
from, in transformers, with the same marks around the entities and the same head in PyTorch: a
linear layer on the states at the two first marks.  Each is at the best of the same learning rates
by its own score of the first seed; heads learn five times as fast on both sides.  Batches of 32
sentences of like length, AdamW, warm-up over a tenth of the steps, linear decay, clipping at 1.
The score is the official macro F1, over nine relations with their directions.  Tokens a second are
real ones, without padding, of the whole training, in turn on the same machine.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _recipes import Train, add_resume, compare, shuffled_batches
from _support import Goal, data_folder, machine, report_goals

from spanbert_tf.data.readers.relations import RelationExample, read_relations
from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.metrics.relations import relation_scores
from spanbert_tf.tasks.relation_extractor import RelationExtraction, SpanBertRelationExtractor
from spanbert_tf.training import finetune
from spanbert_tf.training.splitting import stratified_split

BATCH_SIZE, SEQUENCE_LENGTH, HEAD_FACTOR, DROPOUT = 32, 128, 5, 0.1
F1_GOAL, SPEED_GOAL = 0.01, 1.8
NEGATIVE = "Other"

Split = tuple[list[RelationExample], list[RelationExample]]


def read_split(sentences: int | None) -> Split:
    """Sentences to train on, and a tenth of all to test on."""
    records = read_relations(data_folder() / "semeval2010_task8" / "train.tsv")[:sentences]
    parts = stratified_split(SpanBertRelationExtractor.strata(records), 0.1, seed=0)
    train, test = ([records[row] for row in part] for part in parts)
    return train, test


def ours(split: Split, rate: float, seed: int, epochs: int, marking: str) -> tuple[float, float]:
    """Macro F1 on the test and seconds of the training of this package."""
    train, test = split
    settings = RelationExtraction(
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=rate,
        head_learning_rate=HEAD_FACTOR * rate,
        sequence_length=SEQUENCE_LENGTH,
        dropout=DROPOUT,
        validation_fraction=0,
        seed=seed,
        marking=marking,
    )
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run = finetune(
            settings,
            train,
            task="relation-extraction",
            encoder=default_encoder(),
            output=Path(folder) / "preset",
            verbose=0,
        )
        seconds = time.perf_counter() - begun
    return run.model.assess(test)["macro_f1"], seconds


def theirs(split: Split, rate: float, seed: int, epochs: int) -> tuple[float, float]:
    """The same of transformers on PyTorch, at its best: batches of like length, fused AdamW."""
    import torch
    import transformers

    transformers.set_seed(seed)
    train, test = split
    names = sorted({record.label for record in train})
    tokenizer = transformers.AutoTokenizer.from_pretrained(bundled_minilm())
    encoder = transformers.BertModel.from_pretrained(
        bundled_minilm(), attn_implementation="sdpa", add_pooling_layer=False
    )
    head = torch.nn.Linear(2 * encoder.config.hidden_size, len(names))
    torch.nn.init.normal_(head.weight, std=0.02)
    torch.nn.init.zeros_(head.bias)
    dropout = torch.nn.Dropout(DROPOUT)
    optimizer = torch.optim.AdamW(
        [{"params": encoder.parameters()}, {"params": head.parameters(), "lr": HEAD_FACTOR * rate}],
        rate,
        eps=1e-8,
        weight_decay=0.01,
        fused=True,
    )
    parameters = [*encoder.parameters(), *head.parameters()]

    def logits_of(batch: list) -> "torch.Tensor":
        input_ids, mask, starts = padded(batch)
        states = encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        at_marks = states[torch.arange(len(batch))[:, None], starts]
        return head(dropout(at_marks.flatten(1)))

    rows = [encode(record, tokenizer) for record in train]
    lengths = [len(row[0]) for row in rows]
    labels = [names.index(record.label) for record in train]
    steps = epochs * -(-len(rows) // BATCH_SIZE)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    encoder.train()
    begun = time.perf_counter()
    for epoch in range(epochs):
        generator = np.random.default_rng([seed, epoch])
        for batch in shuffled_batches(lengths, BATCH_SIZE, generator):
            logits = logits_of([rows[row] for row in batch])
            right = torch.tensor([labels[row] for row in batch])
            torch.nn.functional.cross_entropy(logits, right).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    seconds = time.perf_counter() - begun

    encoder.eval()
    dropout.eval()
    with torch.inference_mode():
        predicted = [names[int(logits_of([encode(record, tokenizer)]).argmax())] for record in test]
    gold = [record.label for record in test]
    return relation_scores(gold, predicted, NEGATIVE)["macro_f1"], seconds


def encode(record: RelationExample, tokenizer: object) -> tuple[list[int], list[int]]:
    """Ids of a sentence with the marks [unused0] to [unused3], and the places of two of them."""
    head, tail = record.head, record.tail
    borders = [(head.start, 0), (head.end, 1), (tail.start, 2), (tail.end, 3)]
    ids, starts, at = [tokenizer.cls_token_id], [0, 0], 0
    for border, mark in sorted(borders):
        ids += tokenizer.encode(record.text[at:border], add_special_tokens=False)
        at = border
        if mark % 2 == 0:
            starts[mark // 2] = len(ids)
        ids.append(tokenizer.convert_tokens_to_ids(f"[unused{mark}]"))
    ids += tokenizer.encode(record.text[at:], add_special_tokens=False)
    ids.append(tokenizer.sep_token_id)
    if len(ids) > SEQUENCE_LENGTH:
        raise ValueError(f"{record.place}: {len(ids)} tokens, more than {SEQUENCE_LENGTH}")
    return ids, starts


def padded(batch: list) -> tuple:
    import torch

    longest = max(len(ids) for ids, _ in batch)
    input_ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
    return input_ids, mask, torch.tensor([starts for _, starts in batch])


def real_tokens(records: Sequence[RelationExample]) -> int:
    """Tokens of sentences, marks and special tokens counted."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(bundled_minilm())
    return sum(len(encode(record, tokenizer)[0]) for record in records)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-4, 2e-4, 4e-4])
    parser.add_argument("--marking", default="around", help="of our side")
    parser.add_argument("--sentences", type=int, help="the first ones alone, for a trial")
    add_resume(parser)
    arguments = parser.parse_args()

    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(machine("tensorflow", "keras", "torch", "transformers"))
    split = read_split(arguments.sentences)
    tokens = arguments.epochs * real_tokens(split[0])
    print(f"{len(split[0])} sentences to train on, {len(split[1])} to test on; {tokens:,} tokens")
    sides: dict[str, Train] = {
        "ours": lambda rate, seed: ours(split, rate, seed, arguments.epochs, arguments.marking),
        "transformers": lambda rate, seed: theirs(split, rate, seed, arguments.epochs),
    }
    figures, seconds = compare("SemEval task 8", sides, arguments)
    for side, taken in seconds.items():
        print(f"{side:<14} {tokens / np.median(taken):,.0f} tokens/s")
    gain = figures["ours"].mean() - figures["transformers"].mean()
    speed = float(np.median(seconds["transformers"]) / np.median(seconds["ours"]))
    return report_goals(
        [
            Goal("SemEval task 8, macro F1 less that of transformers", gain, F1_GOAL, "{:+.4f}"),
            Goal("SemEval task 8, tokens a second of training", speed, SPEED_GOAL),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
