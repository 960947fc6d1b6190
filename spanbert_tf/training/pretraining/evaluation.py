"""Losses and accuracies of a pretrainer on a prepared corpus."""

import os
from typing import Any

from spanbert_tf.data.corpus.shards import read_manifest
from spanbert_tf.export.loading import load_with_heads
from spanbert_tf.handles import PRETRAINING_TASK, AnyHandle, find
from spanbert_tf.settings import Pretraining
from spanbert_tf.training.pretraining.start import check_length, masked_batches, with_preprocessor
from spanbert_tf.training.pretraining.steps import Steps, figures
from spanbert_tf.training.pretraining.workers import Workers


def evaluate_pretrainer(
    model: AnyHandle,
    corpus: str | os.PathLike[str],
    settings: Pretraining | None = None,
    shards: int | None = None,
) -> dict[str, float]:
    """Computes what `pretrain` does on the shards that it holds out.

    Args:
        model: Handle of an encoder with its pretraining heads: a preset or a SavedModel.
        corpus: What `prepare_corpus` wrote, with the encoder's vocabulary.
        settings: How batches are made and masked: the same settings, the same masks.  `None`: the
            defaults.
        shards: How many shards to take, the last ones.  `None`: all.

    Returns:
        `loss`, `mlm_loss`, `mlm_accuracy` and, where the model has the span boundary objective,
        `sbo_loss` and `sbo_accuracy`; and `tokens`, the pieces that were read.

    Raises:
        DataError: The corpus is damaged, or of another tokenizer.
        ValueError: The model has no pretraining heads, there are not so many shards, or the
            corpus has blocks that are longer than the encoder has positions.
        FileNotFoundError, ConnectionError, ImportError, OSError: See `spanbert_tf.handles.find`.
    """
    settings, found = settings or Pretraining(), find(model)
    if found.task != PRETRAINING_TASK:
        raise ValueError(
            f"{found.source} has no pretraining heads; expected a preset or a SavedModel of a "
            "pretrainer"
        )
    there = len(read_manifest(corpus).shards)
    if shards is not None and not 1 <= shards <= there:
        raise ValueError(f"`shards` must be from 1 to {there}, the corpus's, but is {shards}.")
    loaded: Any = load_with_heads(found, settings.dtype)
    pretrainer = with_preprocessor(*loaded)
    check_length(pretrainer, corpus, found.source)
    taken = slice(None) if shards is None else slice(-shards, None)
    batches = masked_batches(settings, corpus, pretrainer, taken)
    dataset = batches.dataset(endless=False)
    sums = Steps(pretrainer, Workers(), dataset.element_spec).validate(dataset)
    means = figures(sums, pretrainer.objectives)
    del means["padding"]
    return {**means, "tokens": sums["tokens"]}
