"""Both objectives of pretraining over an encoder: the network, its targets and its losses.

Apart from the task, whose texts need TensorFlow: this runs where there is JAX or torch alone.

Letters: b batch, t masked pieces of a row, V vocabulary.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.features import (
    MASK_IDS,
    MASK_POSITIONS,
    MASK_WEIGHTS,
    SPAN_FEATURES,
    Feature,
)
from spanbert_tf.layers.kernels.cross_entropy import cross_entropy
from spanbert_tf.layers.pretraining_heads import (
    MaskedLMHead,
    SpanBoundaryHead,
    SpanTargets,
    SpanTargetSlots,
)

Features = dict[str, Any]


class PretrainingObjectives:
    """The masked language model and the span boundary objective of an encoder.

    No layer itself: whoever makes it keeps its layers, under the names that weights are saved by.

    Args:
        backbone: A `SpanBertBackbone`.
        span_boundary: Whether there is a span boundary objective beside the masked language
            model.  If not, the span features are not looked at.
        max_targets: The most pieces of a span that have targets of that objective.

    Attributes:
        names: `("mlm", "sbo")`, without `span_boundary` `("mlm",)`.
        mlm_head: The head of the masked language model.
        sbo_head: That of the span boundary objective, or `None`.
        span_target_slots: The layer that gathers the targets of that objective, or `None`.
    """

    def __init__(self, backbone: Any, span_boundary: bool = True, max_targets: int = 20) -> None:
        self.backbone = backbone
        self.names = ("mlm", "sbo") if span_boundary else ("mlm",)
        self.mlm_head = MaskedLMHead(
            backbone.token_embedding,
            keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=backbone.dtype_policy,
            name="mlm_head",
        )
        self.sbo_head: Any = None
        self.span_target_slots: Any = None
        if span_boundary:
            self.sbo_head = SpanBoundaryHead(
                backbone.token_embedding,
                max_targets,
                kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
                dtype=backbone.dtype_policy,
                name="sbo_head",
            )
            self.span_target_slots = SpanTargetSlots(dtype="float32", name="span_target_slots")

    def inputs(self) -> Features:
        """The `keras.Input`s of `logits`: those of the encoder, and where the targets are."""
        inputs = {**self.backbone.input, MASK_POSITIONS.name: _input(MASK_POSITIONS)}
        if self.sbo_head is not None:
            inputs |= {feature.name: _input(feature) for feature in SPAN_FEATURES}
        return inputs

    def logits(self, features: Features) -> Features:
        """Runs the encoder and the heads.

        Args:
            features: The encoder's features and `mask_positions`, and with a span boundary
                objective `span_boundaries`, `span_ids` and `span_weights`: see `features.py`.
                With `position_ids` among them, rows may hold several blocks.

        Returns:
            `mlm_logits`, float32 `[b, t, V]`, and with a span boundary objective `sbo_logits`,
            float32 `[b, t, V]`: of the targets in the order that `span_targets` gives them.
        """
        positions = features[MASK_POSITIONS.name]
        if self.sbo_head is None:
            return {"mlm_logits": self.mlm_head(self.backbone.states_at(features, positions))}
        targets = self._span_targets(features)
        # All of them at once, so that the last layer runs once.
        wanted = ops.concatenate([positions, targets.left, targets.right], axis=1)
        masked, left, right = ops.split(self.backbone.states_at(features, wanted), 3, axis=1)
        return {
            "mlm_logits": self.mlm_head(masked),
            "sbo_logits": self.sbo_head(left, right, targets.offsets),
        }

    def count_targets(self, features: Features) -> dict[str, Any]:
        """Sums the weights of each objective's targets: float32 scalars, by its name."""
        return {name: ops.sum(weights) for name, (_, weights) in self._labels(features).items()}

    def sums(self, features: Features, logits: Features) -> dict[str, Any]:
        """Computes what losses and accuracies are made of, as sums that add up.

        Args:
            features: Those of `logits`, with `mask_ids` and `mask_weights`.
            logits: What `logits` gives.

        Returns:
            float32 scalars: `mlm_loss_sum`, of losses times weights, `mlm_weight`, the sum of
            the weights, and `mlm_correct`, that of the hits'; with a span boundary objective also
            `sbo_loss_sum`, `sbo_weight` and `sbo_correct`.
        """
        sums = {}
        for name, (ids, weights) in self._labels(features).items():
            of_objective = logits[f"{name}_logits"]
            flat = ops.reshape(of_objective, (-1, of_objective.shape[-1]))
            losses, hits = cross_entropy(flat, ids)
            sums[f"{name}_loss_sum"] = ops.sum(losses * weights)
            sums[f"{name}_weight"] = ops.sum(weights)
            sums[f"{name}_correct"] = ops.sum(hits * weights)
        return sums

    def means(self, sums: dict[str, Any]) -> dict[str, Any]:
        """Divides `sums` by their weights: `mlm_loss`, `mlm_accuracy`, ...; 0 without targets."""
        means = {}
        for name in self.names:
            weight = sums[f"{name}_weight"]
            divisor = ops.where(weight > 0, weight, 1.0)
            means[f"{name}_loss"] = sums[f"{name}_loss_sum"] / divisor
            means[f"{name}_accuracy"] = sums[f"{name}_correct"] / divisor
        return means

    def _span_targets(self, features: Features) -> SpanTargets:
        values = (features[feature.name] for feature in SPAN_FEATURES)
        return self.span_target_slots(*values, features[MASK_POSITIONS.name])

    def _labels(self, features: Features) -> dict[str, tuple[Any, Any]]:
        """Ids and float32 weights of each objective's targets, flat."""
        labels = {"mlm": (features[MASK_IDS.name], features[MASK_WEIGHTS.name])}
        if self.sbo_head is not None:
            targets = self._span_targets(features)
            labels["sbo"] = (targets.ids, targets.weights)
        return {
            name: (ops.reshape(ids, (-1,)), ops.cast(ops.reshape(weights, (-1,)), "float32"))
            for name, (ids, weights) in labels.items()
        }


def _input(feature: Feature) -> Any:
    sizes = [int(letter) if letter.isdigit() else None for letter in feature.shape[1:]]
    return keras.Input(sizes, dtype=feature.dtype, name=feature.name)
