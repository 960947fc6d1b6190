"""transformers' side of question answering: the recipe of its example `run_qa`, restated.

Only torch, transformers and NumPy are needed, so that the peers' environment runs it too.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

LONGEST_ANSWER = 30  # pieces
BEST = 20  # firsts and lasts of a window that are paired


@dataclass(frozen=True)
class Window:
    """One window of a context, behind its question.

    Attributes:
        record: Number of the question.
        ids: Token ids.
        segments: 0 for the question, 1 for the context.
        offsets: Characters of the context of each token; `None` of tokens that are not of it.
    """

    record: int
    ids: list[int]
    segments: list[int]
    offsets: list[tuple[int, int] | None]


class QuestionAnswerer:
    """`BertForQuestionAnswering` on a checkpoint, at its best: SDPA, batches of like length.

    Args:
        checkpoint: Folder of a checkpoint; its head is new.
        length: Tokens of a window.
        stride: Tokens that windows share.
        seed: Seed of the head.
    """

    def __init__(self, checkpoint: Any, length: int, stride: int, seed: int = 0) -> None:
        transformers.set_seed(seed)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        self.model = transformers.BertForQuestionAnswering.from_pretrained(
            checkpoint, attn_implementation="sdpa"
        )
        self.length, self.stride = length, stride

    def windows(self, questions: Sequence[str], contexts: Sequence[str]) -> list[Window]:
        """Windows of all questions, in order."""
        encoded = self.tokenizer(
            list(questions),
            list(contexts),
            truncation="only_second",
            max_length=self.length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        return [
            Window(
                record,
                encoded["input_ids"][row],
                encoded["token_type_ids"][row],
                [
                    place if of == 1 else None
                    for place, of in zip(
                        encoded["offset_mapping"][row], encoded.sequence_ids(row), strict=True
                    )
                ],
            )
            for row, record in enumerate(encoded["overflow_to_sample_mapping"])
        ]

    def train(
        self,
        windows: Sequence[Window],
        spans: Sequence[tuple[int, int] | None],
        rate: float,
        batch_size: int,
        seed: int,
    ) -> tuple[float, int]:
        """Trains for an epoch; gives seconds and how many real tokens there were."""
        rows = [(window, targets(window, spans[window.record])) for window in windows]
        optimizer = torch.optim.AdamW(
            self.model.parameters(), rate, eps=1e-8, weight_decay=0.01, fused=True
        )
        steps = -(-len(rows) // batch_size)
        schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
        order = np.random.default_rng(seed).permutation(len(rows))
        order = sorted(order, key=lambda row: len(rows[row][0].ids))
        batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        self.model.train()
        begun = time.perf_counter()
        for batch in np.random.default_rng([seed, 1]).permutation(len(batches)):
            of_batch = [rows[row] for row in batches[batch]]
            firsts, lasts = torch.tensor([target for _, target in of_batch]).T
            inputs = padded([window for window, _ in of_batch])
            self.model(**inputs, start_positions=firsts, end_positions=lasts).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        return time.perf_counter() - begun, sum(len(window.ids) for window in windows)

    def answers(
        self, questions: Sequence[str], contexts: Sequence[str], batch_size: int
    ) -> tuple[list[str], list[float]]:
        """Answers in batches of like length, and how much better no answer would be."""
        windows = self.windows(questions, contexts)
        order = sorted(range(len(windows)), key=lambda row: len(windows[row].ids))
        best = [(-np.inf, "")] * len(questions)
        none = [np.inf] * len(questions)
        self.model.eval()
        for at in range(0, len(order), batch_size):
            batch = [windows[row] for row in order[at : at + batch_size]]
            with torch.inference_mode():
                outputs = self.model(**padded(batch))
            logits = zip(outputs.start_logits.numpy(), outputs.end_logits.numpy(), strict=True)
            for window, (starts, ends) in zip(batch, logits, strict=True):
                record = window.record
                none[record] = min(none[record], float(starts[0] + ends[0]))
                score, span = best_span(window, starts, ends)
                if span and score > best[record][0]:
                    best[record] = score, contexts[record][span[0] : span[1]]
        gaps = [less - score for less, (score, _) in zip(none, best, strict=True)]
        return [text for _, text in best], gaps

    def answers_one_by_one(self, questions: Sequence[str], contexts: Sequence[str]) -> list[str]:
        """As the question-answering pipeline did, which transformers 5 no longer has.

        A window at a time, as its default batch size says; softmaxes, and the product of all pairs.
        """
        found = []
        self.model.eval()
        for question, context in zip(questions, contexts, strict=True):
            best = (-1.0, "")
            for window in self.windows([question], [context]):
                with torch.inference_mode():
                    outputs = self.model(**padded([window]))
                allowed = np.array([place is not None for place in window.offsets])
                allowed[0] = True
                parts = []
                for logits in (outputs.start_logits[0], outputs.end_logits[0]):
                    logits = np.where(allowed, logits.numpy(), -10000.0)
                    part = np.exp(logits - logits.max())
                    parts.append(part / part.sum())
                parts[0][0] = parts[1][0] = 0
                pairs = np.tril(np.triu(np.outer(*parts)), LONGEST_ANSWER - 1)
                first, last = np.unravel_index(pairs.argmax(), pairs.shape)
                if pairs[first, last] > best[0] and window.offsets[first]:
                    begin, end = window.offsets[first][0], window.offsets[last][1]
                    best = float(pairs[first, last]), context[begin:end]
            found.append(best[1])
        return found


def targets(window: Window, span: tuple[int, int] | None) -> tuple[int, int]:
    """First and last token of an answer; [CLS] where the window does not hold the whole."""
    if span is None:
        return 0, 0
    places = [number for number, place in enumerate(window.offsets) if place is not None]
    if (
        not places
        or window.offsets[places[0]][0] > span[0]
        or window.offsets[places[-1]][1] < span[1]
    ):
        return 0, 0
    inside = [
        n for n in places if window.offsets[n][1] > span[0] and window.offsets[n][0] < span[1]
    ]
    return (inside[0], inside[-1]) if inside else (0, 0)


def best_span(
    window: Window, starts: np.ndarray, ends: np.ndarray
) -> tuple[float, tuple[int, int] | None]:
    """The best of the pairs of the best firsts and lasts, and its characters."""
    best, span = -np.inf, None
    starts, ends = starts[: len(window.ids)], ends[: len(window.ids)]  # The rest is padding.
    lasts = np.argsort(ends)[: -BEST - 1 : -1]
    for first in np.argsort(starts)[: -BEST - 1 : -1]:
        for last in lasts:
            if window.offsets[first] is None or window.offsets[last] is None:
                continue
            if 0 <= last - first < LONGEST_ANSWER and starts[first] + ends[last] > best:
                best = float(starts[first] + ends[last])
                span = window.offsets[first][0], window.offsets[last][1]
    return best, span


def padded(windows: Sequence[Window]) -> dict[str, torch.Tensor]:
    """A batch, padded to its longest window."""
    longest = max(len(window.ids) for window in windows)

    def pad(rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])

    return {
        "input_ids": pad([window.ids for window in windows]),
        "token_type_ids": pad([window.segments for window in windows]),
        "attention_mask": pad([[1] * len(window.ids) for window in windows]),
    }
