"""Stratified k-fold cross-validation of a fine-tuning run."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spanbert_tf.settings import FineTuning
from spanbert_tf.tasks import DEFAULT_TASK, task_class
from spanbert_tf.training.checkpoints import Interrupted
from spanbert_tf.training.fine_tuning import finetune
from spanbert_tf.training.splitting import stratified_folds


@dataclass(frozen=True)
class CrossValidation:
    """The figures of each fold.

    Attributes:
        folds: The task's figures of each fold, on the records that its model never saw.
    """

    folds: list[dict[str, float]]

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each figure over the folds."""
        return {name: float(np.mean([fold[name] for fold in self.folds])) for name in self._names}

    @property
    def std(self) -> dict[str, float]:
        """The sample standard deviation of each figure; 0 of one fold."""
        ddof = min(1, len(self.folds) - 1)
        return {
            name: float(np.std([fold[name] for fold in self.folds], ddof=ddof))
            for name in self._names
        }

    @property
    def _names(self) -> list[str]:
        return list(self.folds[0])

    def __str__(self) -> str:
        """A table: a row for each fold, then mean and standard deviation."""
        rows = {str(number): fold for number, fold in enumerate(self.folds, start=1)}
        rows |= {"mean": self.mean, "std": self.std}
        widths = [max(len(name) + 2, 11) for name in self._names]
        columns = list(zip(self._names, widths, strict=True))
        lines = [f"{'fold':>4}" + "".join(f"{name:>{width}}" for name, width in columns)]
        for title, figures in rows.items():
            shown = "".join(f"{figures[name]:>{width}.4f}" for name, width in columns)
            lines.append(f"{title:>4}{shown}")
        return "\n".join(lines)


def cross_validate(
    settings: FineTuning,
    records: Sequence[Any],
    folds: int = 5,
    *,
    encoder: str | os.PathLike[str],
    task: str = DEFAULT_TASK,
    verbose: int | str = "auto",
) -> CrossValidation:
    """Fine-tunes on all folds but one, measures on that one, for each fold in turn.

    Each run is what `finetune` would do with the records it gets, its own hold-out included, so
    the fold it is measured on has no say in its training.  Nothing is kept on disk.

    Args:
        settings: How to train; the seed also decides the folds.
        records: Records, as the task's `read` gives them.
        folds: Number of folds, at least 2; each of the task's `strata` needs as many records.
        encoder: As for `finetune`.
        task: As for `finetune`.
        verbose: As for `finetune`.

    Returns:
        The figures of each fold.

    Raises:
        ValueError: A stratum has fewer records than there are folds.
        Interrupted: The user stopped it; the message has the figures of the folds that are done.
    """
    of = task_class(task)
    fold_of = stratified_folds(of.strata(records), folds, settings.seed)
    figures: list[dict[str, float]] = []
    for fold in range(folds):
        seen = [record for record, number in zip(records, fold_of, strict=True) if number != fold]
        unseen = [record for record, number in zip(records, fold_of, strict=True) if number == fold]
        with tempfile.TemporaryDirectory() as folder:
            try:
                run = finetune(
                    settings,
                    seen,
                    encoder=encoder,
                    output=Path(folder) / "preset",
                    task=task,
                    test=unseen,
                    verbose=verbose,
                )
            except Interrupted:
                done = f"\n{CrossValidation(figures)}" if figures else ""
                raise Interrupted(
                    f"stopped in fold {fold + 1} of {folds}; nothing is kept of it.{done}"
                ) from None
        measured = run.test or {}
        figures.append({name: value for name, value in measured.items() if name != "loss"})
    return CrossValidation(figures)
