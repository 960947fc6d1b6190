"""What a pretraining run tells of itself on the way, as Keras callbacks.

Both callbacks take the logs of `pretrain`: `loss`, `<objective>_loss`, `<objective>_accuracy`,
`padding`, `tokens` and `learning_rate` of each step, and `val_*` at the end of each stretch.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spanbert_tf.data.batching.pretraining import PretrainingBatches
from spanbert_tf.features import (
    MASK_IDS,
    MASK_POSITIONS,
    MASK_WEIGHTS,
    PADDING_MASK,
    POSITION_IDS,
    SPAN_BOUNDARIES,
    TOKEN_IDS,
)
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer

_EXAMPLES = 4  # texts whose gaps are filled
_EXAMPLE_TOKENS = 48

Logs = dict[str, float]


def require_tensorboard() -> None:
    """Says before any work that TensorBoard's logs cannot be written.

    Raises:
        ModuleNotFoundError: Its package is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError(
            "TensorBoard's logs need its package: pip install 'spanbert-tf[tensorboard]'"
        )


class _Averages(keras.callbacks.Callback):
    """Hands on the figures of every so many steps: means, and tokens per second.

    Args:
        steps: From one report to the next.
        first_step: Steps that were done before this process began.
    """

    def __init__(self, steps: int, first_step: int) -> None:
        super().__init__()
        self.steps = steps
        self.step = first_step
        self._begin()

    def _begin(self) -> None:
        self._logs: list[Logs] = []
        self._began = time.monotonic()

    def on_train_begin(self, logs: Any = None) -> None:
        self._begin()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step += 1
        self._logs.append(dict(logs))
        if self.step % self.steps == 0:
            self._report()

    def on_test_begin(self, logs: Any = None) -> None:
        # Validation is no part of the speed.
        self._paused = time.monotonic()

    def on_test_end(self, logs: Any = None) -> None:
        self._began += time.monotonic() - self._paused

    def _report(self) -> None:
        means = {name: float(np.mean([of[name] for of in self._logs])) for name in self._logs[0]}
        means["tokens_per_second"] = (
            means.pop("tokens") * len(self._logs) / max(time.monotonic() - self._began, 1e-9)
        )
        means["learning_rate"] = self._logs[-1]["learning_rate"]
        self.report(means)
        self._begin()

    def report(self, means: Logs) -> None:
        """Tells the figures of the last steps."""
        raise NotImplementedError


class ProgressLines(_Averages):
    """Writes a line of figures every so many steps, and one for each validation.

    Args:
        write: Takes the lines.
        total_steps: Steps of the whole run.
        steps: From one line to the next.
        first_step: Steps that were done before this process began.
    """

    def __init__(
        self, write: Callable[[str], None], total_steps: int, steps: int, first_step: int
    ) -> None:
        super().__init__(steps, first_step)
        self.write = write
        self.total_steps = total_steps

    def report(self, means: Logs) -> None:
        """Writes the line of the last steps."""
        seconds = len(self._logs) and (time.monotonic() - self._began) / len(self._logs)
        left = _duration(seconds * (self.total_steps - self.step))
        self.write(
            f"step {self.step:,} of {self.total_steps:,}: {_losses(means)}, "
            f"rate {means['learning_rate']:.2e}, {means['tokens_per_second']:,.0f} tokens/s, "
            f"{left} left"
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the line of a validation."""
        found = {name.removeprefix("val_"): v for name, v in logs.items() if name[:4] == "val_"}
        if found:
            self.write(f"step {self.step:,}, validation: {_losses(found)}")


class PretrainingBoard(_Averages):
    """Writes TensorBoard's logs: every figure, and gaps in held-out texts as the model fills them.

    Args:
        folder: Where the logs go.
        texts: Texts with `[MASK]`s, filled at the end of each stretch, and what was there.
        steps: From one point of a curve to the next.
        first_step: Steps that were done before this process began.
    """

    def __init__(
        self, folder: Path, texts: Sequence[tuple[str, str]], steps: int, first_step: int
    ) -> None:
        import tensorflow as tf

        super().__init__(steps, first_step)
        self._tf = tf
        self._writer = tf.summary.create_file_writer(str(folder))
        self._texts = texts

    def report(self, means: Logs) -> None:
        """Writes a point of each curve."""
        self._write(means)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the figures of a validation, and the filled texts."""
        self._write({name: value for name, value in logs.items() if name.startswith("val_")})
        if not self._texts:
            return
        rows = [
            f"| {text} | {self.model.fill_spans(text, top_k=1)[0][0].text} | {truth} |"
            for text, truth in self._texts
        ]
        table = "\n".join(["| text | filled | was |", "|---|---|---|", *rows])
        with self._writer.as_default(step=self.step):
            self._tf.summary.text("fillings", table)
        self._writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the files."""
        self._writer.close()

    def _write(self, values: Logs) -> None:
        with self._writer.as_default(step=self.step):
            for name, value in values.items():
                self._tf.summary.scalar(name, value)
        self._writer.flush()


def _losses(logs: Logs) -> str:
    parts = [f"loss {logs['loss']:.3f}"]
    for objective in ("mlm", "sbo"):
        if f"{objective}_loss" in logs:
            loss, accuracy = logs[f"{objective}_loss"], logs[f"{objective}_accuracy"]
            parts.append(f"{objective} {loss:.3f} ({accuracy:.1%} right)")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def example_gaps(
    batches: PretrainingBatches, pretrainer: SpanBertPretrainer
) -> list[tuple[str, str]]:
    """Takes a few texts out of the first batch, each with one of its spans as `[MASK]`s.

    Args:
        batches: Masked batches.
        pretrainer: Has the tokenizer.

    Returns:
        Texts, and what was in the gap of each.
    """
    tokenizer = pretrainer.preprocessor.tokenizer
    features = {name: tensor.numpy() for name, tensor in next(iter(batches.dataset())).items()}
    examples = []
    for ids, boundaries in islice(_texts(features), _EXAMPLES):
        ids = ids[:_EXAMPLE_TOKENS]
        whole_words = [
            (left + 1, right)
            for left, right in boundaries
            if 0 < left < right < len(ids) and not {left + 1, right} & _inside_words(ids, tokenizer)
        ]
        if whole_words:
            start, end = whole_words[0]
            before, span, after = (
                tokenizer.detokenize([part]).numpy()[0].decode()
                for part in (ids[1:start], ids[start:end], ids[end:])
            )
            gap = " ".join(["[MASK]"] * (end - start))
            examples.append((f"{before} {gap} {after}", span))
    return examples


def _inside_words(ids: list[int], tokenizer: Any) -> set[int]:
    """Positions of pieces that go on with a word: a text cannot begin with them."""
    pieces = tokenizer.convert_ids_to_tokens(ids)
    return {position for position, piece in enumerate(pieces) if piece.startswith("##")}


def _texts(features: dict[str, np.ndarray]) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yields the pieces of each block of a batch before they were masked, without [SEP].

    With them come the boundaries of spans, counted from the block's [CLS]; those that are not
    within the block belong to others of its row.
    """
    for row in range(len(features[TOKEN_IDS.name])):
        values = {name: array[row] for name, array in features.items()}
        ids, used = values[TOKEN_IDS.name].copy(), values[MASK_WEIGHTS.name] > 0
        ids[values[MASK_POSITIONS.name][used]] = values[MASK_IDS.name][used]
        tokens = values[PADDING_MASK.name].sum()
        # Where rows hold several blocks, each one's positions begin anew.
        positions = values.get(POSITION_IDS.name, np.arange(len(ids)))[:tokens]
        for begin, end in pairwise([*np.flatnonzero(positions == 0), tokens]):
            yield ids[begin : end - 1].tolist(), values[SPAN_BOUNDARIES.name] - begin
