"""Steps of pretraining: gradients over several batches and workers, one update of the weights."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from spanbert_tf.features import PADDING_MASK
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from spanbert_tf.training.pretraining.workers import Workers

Features = dict[str, tf.Tensor]
Sums = dict[str, Any]


class Steps:
    """Trains and validates a pretrainer on batches of masked features.

    The loss of a step is the mean over all targets of its batches, on all workers, so that it does
    not matter how they are cut into batches.

    Args:
        pretrainer: Compiled, its optimizer built.
        workers: The workers, each with its part of each batch.
        spec: `element_spec` of the data set of features.
    """

    def __init__(self, pretrainer: SpanBertPretrainer, workers: Workers, spec: Any) -> None:
        self._pretrainer = pretrainer
        self._workers = workers
        self._variables = [variable.value for variable in pretrainer.trainable_variables]
        totals = {name: tf.TensorSpec([], tf.float32) for name in pretrainer.objectives}
        self._train_on = _function(self._train_on_one, spec)
        self._count = _function(self._count_targets, spec)
        self._accumulate = _function(self._add_gradients, spec, totals)
        self._update = _function(self._apply_gradients)
        self._validate_on = _function(self._validate_on_one, spec)
        self._gradients: list[tf.Variable] = []  # sums over the batches of a step

    def train(self, batches: Sequence[Features]) -> Sums:
        """Updates the weights once.

        Args:
            batches: The batches whose gradients make up the step.

        Returns:
            Sums over batches and workers, see `SpanBertPretrainer.compute_losses`; and `tokens`
            and `padded_tokens`, those without and with padding.
        """
        if len(batches) == 1:
            return _as_numbers(self._train_on(batches[0]))
        if not self._gradients:
            self._gradients = [tf.Variable(tf.zeros_like(of)) for of in self._variables]
        totals = _add([self._count(features) for features in batches])
        sums = _add([self._accumulate(features, totals) for features in batches])
        return _as_numbers(self._update(sums))

    def validate(self, batches: tf.data.Dataset) -> Sums:
        """Computes the sums of `train` over all batches of a data set, without dropout."""
        return _as_numbers(_add([self._validate_on(features) for features in batches]))

    def _train_on_one(self, features: Features) -> Sums:
        def replica(features: Features) -> Any:
            totals = self._workers.sum(self._pretrainer.count_targets(features))
            return self._workers.sum(self._sums_and_gradients(features, totals))

        sums, gradients = self._workers.run(replica, features)
        self._pretrainer.optimizer.apply(gradients, self._pretrainer.trainable_variables)
        return sums

    def _count_targets(self, features: Features) -> Sums:
        def replica(features: Features) -> Sums:
            return self._workers.sum(self._pretrainer.count_targets(features))

        return self._workers.run(replica, features)

    def _add_gradients(self, features: Features, totals: Sums) -> Sums:
        sums, gradients = self._sums_and_gradients(features, totals)
        for so_far, gradient in zip(self._gradients, gradients, strict=True):
            so_far.assign_add(gradient)
        return sums

    def _apply_gradients(self, sums: Sums) -> Sums:
        values = [gradient.read_value() for gradient in self._gradients]
        sums, gradients = self._workers.run(self._workers.sum, (sums, values))
        self._pretrainer.optimizer.apply(gradients, self._pretrainer.trainable_variables)
        for so_far in self._gradients:
            so_far.assign(tf.zeros_like(so_far))
        return sums

    def _sums_and_gradients(self, features: Features, totals: Sums) -> tuple[Sums, list[tf.Tensor]]:
        """Sums of this worker's part, and its part of the gradients."""
        with tf.GradientTape() as tape:
            sums = self._pretrainer.compute_losses(features, training=True)
            loss = tf.add_n(
                [
                    # A batch may be without targets of the span boundary objective.
                    sums[f"{objective}_loss_sum"] / tf.maximum(total, 1.0)
                    for objective, total in totals.items()
                ]
            )
        gradients = tape.gradient(loss, self._variables)
        # Those of the token embedding may come as rows.
        return sums | _count_tokens(features), [tf.convert_to_tensor(of) for of in gradients]

    def _validate_on_one(self, features: Features) -> Sums:
        def replica(features: Features) -> Sums:
            sums = self._pretrainer.compute_losses(features, training=False)
            return self._workers.sum(sums | _count_tokens(features))

        return self._workers.run(replica, features)


def _function(function: Any, *specs: Any) -> Any:
    return tf.function(function, input_signature=specs or None, autograph=False)


def _count_tokens(features: Features) -> Sums:
    mask = features[PADDING_MASK.name]
    return {
        "tokens": tf.cast(tf.reduce_sum(mask), tf.float32),
        "padded_tokens": tf.cast(tf.size(mask), tf.float32),
    }


def _add(sums: Sequence[Sums]) -> Sums:
    return {name: tf.add_n([each[name] for each in sums]) for name in sums[0]}


def _as_numbers(sums: Sums) -> dict[str, float]:
    return {name: float(value) for name, value in sums.items()}


def figures(sums: dict[str, float], objectives: Sequence[str]) -> dict[str, float]:
    """Computes losses and accuracies from sums.

    Returns:
        `loss`, `<objective>_loss` and `<objective>_accuracy` of each objective, and `padding`,
        the share of padding.
    """
    means = {}
    for objective in objectives:
        weight = max(sums[f"{objective}_weight"], 1.0)
        means[f"{objective}_loss"] = sums[f"{objective}_loss_sum"] / weight
        means[f"{objective}_accuracy"] = sums[f"{objective}_correct"] / weight
    loss = sum(means[f"{objective}_loss"] for objective in objectives)
    return {"loss": loss, **means, "padding": 1 - sums["tokens"] / sums["padded_tokens"]}
