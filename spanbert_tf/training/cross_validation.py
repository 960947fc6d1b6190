"""Stratified k-fold cross-validation of a fine-tuning run."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spanbert_tf.data.readers import Example, class_names_of, encode_labels
from spanbert_tf.settings import FineTuning
from spanbert_tf.training.checkpoints import Interrupted
from spanbert_tf.training.fine_tuning import finetune, texts_and_labels
from spanbert_tf.training.splitting import stratified_folds

FIGURES = ("accuracy", "precision", "recall", "f1")


@dataclass(frozen=True)
class CrossValidation:
    """The figures of each fold.

    Attributes:
        folds: `accuracy`, `precision`, `recall` and `f1` of each fold, on the examples that its
            model never saw.
        class_names: Names of the classes.
    """

    folds: list[dict[str, float]]
    class_names: list[str]

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each figure over the folds."""
        return {name: float(np.mean([fold[name] for fold in self.folds])) for name in FIGURES}

    @property
    def std(self) -> dict[str, float]:
        """The sample standard deviation of each figure; 0 of one fold."""
        ddof = min(1, len(self.folds) - 1)
        return {
            name: float(np.std([fold[name] for fold in self.folds], ddof=ddof)) for name in FIGURES
        }

    def __str__(self) -> str:
        """A table: a row for each fold, then mean and standard deviation."""
        rows = {str(number): fold for number, fold in enumerate(self.folds, start=1)}
        rows |= {"mean": self.mean, "std": self.std}
        lines = [f"{'fold':>4}" + "".join(f"{name:>11}" for name in FIGURES)]
        for title, figures in rows.items():
            lines.append(f"{title:>4}" + "".join(f"{figures[name]:>11.4f}" for name in FIGURES))
        return "\n".join(lines)


def cross_validate(
    settings: FineTuning,
    examples: Sequence[Example],
    folds: int = 5,
    *,
    encoder: str | os.PathLike[str],
    verbose: int | str = "auto",
) -> CrossValidation:
    """Fine-tunes on all folds but one, measures on that one, for each fold in turn.

    Each run is what `finetune` would do with the examples it gets, its own hold-out included, so
    the fold it is measured on has no say in its training.  Nothing is kept on disk.

    Args:
        settings: How to train; the seed also decides the folds.
        examples: Labelled examples.
        folds: Number of folds, at least 2; each class needs as many examples.
        encoder: As for `finetune`.
        verbose: As for `finetune`.

    Returns:
        The figures of each fold.

    Raises:
        ValueError: A class has fewer examples than there are folds.
        Interrupted: The user stopped it; the message has the figures of the folds that are done.
    """
    class_names = class_names_of(examples)
    fold_of = stratified_folds(encode_labels(examples, class_names), folds, settings.seed)
    figures: list[dict[str, float]] = []
    for fold in range(folds):
        seen = [example for example, of in zip(examples, fold_of, strict=True) if of != fold]
        unseen = [example for example, of in zip(examples, fold_of, strict=True) if of == fold]
        with tempfile.TemporaryDirectory() as folder:
            try:
                run = finetune(
                    settings,
                    seen,
                    encoder=encoder,
                    output=Path(folder) / "classifier",
                    verbose=verbose,
                )
            except Interrupted:
                done = f"\n{CrossValidation(figures, class_names)}" if figures else ""
                raise Interrupted(
                    f"stopped in fold {fold + 1} of {folds}; nothing is kept of it.{done}"
                ) from None
            texts, labels = texts_and_labels(unseen, class_names)
            measured = run.classifier.evaluate(
                texts, labels, settings.batch_size, return_dict=True, verbose=0
            )
        figures.append({name: float(measured[name]) for name in FIGURES})
    return CrossValidation(figures, class_names)
