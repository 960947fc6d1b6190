"""What `finetune` reaches without a flag, and transformers at its best of a grid beside it.

    python benchmarks/default_recipes.py [--data banking77 sst2 wnut17 semeval] [--seed 0]
        [--rates 5e-5 1e-4 2e-4] [--rows 16000] [--alone]

Ours is `finetune` with the settings that it chooses itself, on the shipped encoder, scored on the
data's test part (WNUT's dev; of SemEval's train every tenth sentence).  Theirs, where texts have
classes, is `BertForSequenceClassification` on MiniLM: batches of 32 of like length, fused AdamW,
warm-up over a tenth of the steps, linear decay, clipping at 1, as many epochs as ours, on all of
the training data, at the best of `--rates` by its accuracy on that very test.  `--rows` trains on
so many random ones alone; `--alone` leaves transformers out.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _recipes import Runs, add_resume, shuffled_batches
from _support import Goal, data_folder, machine, report_goals

from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.tasks import task_class
from spanbert_tf.training import finetune

# Task, training file, test file; without one a tenth of the first is held out.
SETS = {
    "banking77": ("text-classification", "banking77/train.csv", "banking77/test.csv"),
    "sst2": ("text-classification", "sst2/train.tsv", "sst2/test.tsv"),
    "wnut17": ("token-classification", "wnut17/train.conll", "wnut17/dev.conll"),
    "semeval": ("relation-extraction", "semeval2010_task8/train.tsv", None),
}
GOALS = {"banking77": 0.930, "sst2": 0.890}
BATCH_SIZE, MOST_TOKENS = 32, 128


def read(name: str, rows: int | None) -> tuple[str, list, list]:
    """Task, training records and test records of a data set."""
    task, train, test = SETS[name]
    of = task_class(task)
    records = of.read(data_folder() / train)
    if test is None:
        tested = records[::10]
        records = [record for number, record in enumerate(records) if number % 10]
    else:
        tested = of.read(data_folder() / test)
    if rows is not None:
        order = np.random.default_rng(0).permutation(len(records))[:rows]
        records = [records[row] for row in order]
    return task, records, tested


def ours(task: str, train: list, test: list, seed: int) -> tuple[float, int, int, float]:
    """Figure on the test part, epochs, best epoch and seconds of a run without settings."""
    settings = task_class(task).settings_cls(seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run = finetune(
            settings,
            train,
            task=task,
            test=test,
            encoder=default_encoder(),
            output=Path(folder) / "preset",
            verbose=0,
        )
        seconds = time.perf_counter() - begun
    figure, *_ = task_class(task).figures
    return run.test[figure], len(run.history), run.best_epoch, seconds


def theirs(train: list, test: list, rate: float, epochs: int, seed: int) -> float:
    """Accuracy of transformers on PyTorch."""
    import torch
    import transformers

    transformers.set_seed(seed)
    names = sorted({record.label for record in train})
    tokenizer = transformers.AutoTokenizer.from_pretrained(bundled_minilm())
    model = transformers.BertForSequenceClassification.from_pretrained(
        bundled_minilm(), num_labels=len(names), attn_implementation="sdpa"
    )
    optimizer = torch.optim.AdamW(model.parameters(), rate, eps=1e-8, weight_decay=0.01, fused=True)
    encoded = tokenizer([r.text for r in train], truncation=True, max_length=MOST_TOKENS)
    rows = encoded["input_ids"]
    labels = [names.index(record.label) for record in train]
    steps = epochs * -(-len(rows) // BATCH_SIZE)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    for epoch in range(epochs):
        generator = np.random.default_rng([seed, epoch])
        for batch in shuffled_batches(list(map(len, rows)), BATCH_SIZE, generator):
            right = torch.tensor([labels[row] for row in batch])
            model(**padded([rows[row] for row in batch]), labels=right).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

    model.eval()
    hits = 0
    with torch.inference_mode():
        for record in test:
            ids = tokenizer(record.text, truncation=True, max_length=MOST_TOKENS)["input_ids"]
            hits += names[int(model(**padded([ids])).logits[0].argmax())] == record.label
    return hits / len(test)


def padded(rows: Sequence[list[int]]) -> dict:
    import torch

    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([ids + [0] * (longest - len(ids)) for ids in rows]),
        "attention_mask": torch.tensor(
            [[1] * len(ids) + [0] * (longest - len(ids)) for ids in rows]
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rates", nargs="+", type=float, default=[5e-5, 1e-4, 2e-4])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--alone", action="store_true")
    add_resume(parser)
    arguments = parser.parse_args()

    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(machine("tensorflow", "keras", "torch", "transformers"))
    goals, runs = [], Runs(arguments.resume)
    for name in arguments.data:
        task, train, test = read(name, arguments.rows)
        of_ours = partial(ours, task, train, test, arguments.seed)
        measured, epochs, best_epoch, seconds = runs(f"{name}, ours", of_ours)
        figure, *_ = task_class(task).figures
        print(
            f"{name}: {len(train)} to train on, {len(test)} to score; no flag, {epochs} epochs, "
            f"best {best_epoch}, {seconds:.0f} s: {figure} {measured:.4f}",
            flush=True,
        )
        if name in GOALS and arguments.rows is None:
            goals.append(Goal(f"{name}, no flag, {figure}", measured, GOALS[name], "{:.4f}"))
        if task != "text-classification" or arguments.alone:
            continue
        by_rate = {}
        for rate in arguments.rates:
            of_theirs = partial(theirs, train, test, rate, epochs, arguments.seed)
            by_rate[rate] = runs(f"{name}, transformers, {rate:.0e}", of_theirs)
            print(f"{name}: transformers, {epochs} epochs, {rate:.0e}: {by_rate[rate]:.4f}")
        best = max(by_rate.values())
        goals.append(Goal(f"{name}, less transformers at its best", measured - best, 0, "{:+.4f}"))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
