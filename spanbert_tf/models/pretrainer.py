"""Pretraining: a masked language model and the span boundary objective over one encoder.

Letters: b batch, t masked pieces of a row, p spans of a row, m pieces of a span, V vocabulary.
"""

from functools import lru_cache
from typing import Any

import keras
from keras import ops
from keras_hub.models import MaskedLM

from spanbert_tf.features import (
    MASK_IDS,
    MASK_POSITIONS,
    MASK_WEIGHTS,
    POSITION_IDS,
    SPAN_FEATURES,
    SPAN_IDS,
    Feature,
)
from spanbert_tf.layers.cross_entropy import cross_entropy
from spanbert_tf.layers.pretraining_heads import (
    MaskedLMHead,
    SpanBoundaryHead,
    SpanTargets,
    SpanTargetSlots,
)
from spanbert_tf.models.backbone import SpanBertBackbone
from spanbert_tf.models.head_weights import HeadWeights
from spanbert_tf.models.optimizers import build_optimizer, default_optimizer, resolve_jit_compile
from spanbert_tf.models.pretrainer_preprocessor import SpanBertPretrainerPreprocessor
from spanbert_tf.models.span_filling import Filling, fill_texts
from spanbert_tf.tokenizer import SpanBertTokenizer

__all__ = ["Filling", "SpanBertPretrainer", "SpanBertPretrainerPreprocessor"]

PEAK_LEARNING_RATE = 1e-4
MOST_SPARE_EMBEDDINGS = 127  # Rows without a piece, which round their number up.

Features = dict[str, Any]


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertPretrainer(HeadWeights, MaskedLM):
    """Pretrains an encoder as SpanBERT is pretrained (Joshi et al., 2020).

    The masked language model predicts masked pieces from their own final states, the span
    boundary objective from the states beside their span.  The loss is the mean cross-entropy of
    the one plus that of the other, each over its own targets.

    `fit` and `evaluate` take data sets of features, masked already, as `SpanMasking` makes them,
    or texts if there is a preprocessor.  Their metrics are `mlm_loss` and `mlm_accuracy`,
    `sbo_loss` and `sbo_accuracy`.  A training loop of one's own calls `compute_losses`.

    Args:
        backbone: A `SpanBertBackbone`.
        preprocessor: A `SpanBertPretrainerPreprocessor`, or `None` for masked features alone.
        span_boundary: Whether there is a span boundary objective beside the masked language
            model.  If not, the span features are not looked at.
        max_targets: The most pieces m of a span that have targets of that objective.
        **kwargs: `name`, `trainable`, `compile`.

    Call arguments:
        features: The encoder's features and `mask_positions`; with `span_boundary` also
            `span_boundaries`, `span_ids` and `span_weights`, see `features.py`.  With
            `position_ids` among them, rows may hold several blocks.
        training: Whether dropout is active.

    Returns:
        `mlm_logits`, float32 `[b, t, V]`, and with `span_boundary` `sbo_logits`, float32
        `[b, t, V]`: of the targets in the order that `span_targets` gives them.

    Raises:
        ValueError: The preprocessor gives rows that are longer than the backbone's
            `max_sequence_length`, or its tokenizer is of another vocabulary.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertPretrainerPreprocessor

    def __init__(
        self,
        backbone: SpanBertBackbone,
        preprocessor: Any = None,
        span_boundary: bool = True,
        max_targets: int = 20,
        **kwargs: Any,
    ) -> None:
        _check_preprocessor(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.span_boundary = span_boundary
        self.max_targets = max_targets
        self.mlm_head = MaskedLMHead(
            backbone.token_embedding,
            keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=backbone.dtype_policy,
            name="mlm_head",
        )
        self.sbo_head: Any = None
        if span_boundary:
            self.sbo_head = SpanBoundaryHead(
                backbone.token_embedding,
                max_targets,
                kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
                dtype=backbone.dtype_policy,
                name="sbo_head",
            )
            self.span_target_slots = SpanTargetSlots(dtype="float32", name="span_target_slots")
        self.objectives = ("mlm", "sbo") if span_boundary else ("mlm",)
        self.objective_metrics = {
            f"{objective}_{figure}": keras.metrics.Mean(f"{objective}_{figure}")
            for objective in self.objectives
            for figure in ("loss", "accuracy")
        }
        inputs = {**backbone.input, MASK_POSITIONS.name: _input(MASK_POSITIONS)}
        if span_boundary:
            inputs |= {feature.name: _input(feature) for feature in SPAN_FEATURES}
        super().__init__(inputs=inputs, outputs=self._logits(inputs), **kwargs)

    def _logits(self, inputs: Features) -> dict[str, Any]:
        positions = inputs[MASK_POSITIONS.name]
        if self.sbo_head is None:
            return {"mlm_logits": self.mlm_head(self.backbone.states_at(inputs, positions))}
        targets = self._span_targets(inputs)
        # All of them at once, so that the last layer runs once.
        wanted = ops.concatenate([positions, targets.left, targets.right], axis=1)
        masked, left, right = ops.split(self.backbone.states_at(inputs, wanted), 3, axis=1)
        return {
            "mlm_logits": self.mlm_head(masked),
            "sbo_logits": self.sbo_head(left, right, targets.offsets),
        }

    def _span_targets(self, features: Features) -> SpanTargets:
        values = (features[feature.name] for feature in SPAN_FEATURES)
        return self.span_target_slots(*values, features[MASK_POSITIONS.name])

    def call(self, inputs: Features, training: bool | None = None, mask: Any = None) -> Any:
        pieces = inputs[SPAN_IDS.name].shape[2] if self.span_boundary else None
        if pieces is not None and pieces > self.max_targets:
            raise ValueError(
                f"the features have {pieces} targets a span, more than the pretrainer's "
                f"max_targets={self.max_targets}: give the masking the same number"
            )
        if POSITION_IDS.name in inputs:
            return self._logits(inputs)
        # Features bring labels too, which are for the losses.
        return super().call({name: inputs[name] for name in self.input}, training=training)

    def count_targets(self, features: Features) -> dict[str, Any]:
        """Sums the weights of each objective's targets, without a forward pass.

        Args:
            features: Masked features.

        Returns:
            float32 scalars `mlm` and, with `span_boundary`, `sbo`: what `compute_losses` gives as
            `mlm_weight` and `sbo_weight`.
        """
        return {
            objective: ops.sum(weights)
            for objective, (_, weights) in self._labels(features).items()
        }

    def compute_losses(self, features: Features, training: bool | None = None) -> dict[str, Any]:
        """Computes what losses and accuracies are made of, as sums that add up.

        A mean over replicas, or over the parts of an accumulated gradient, is the sum of all
        their loss sums by the sum of all their weights.

        Args:
            features: The call's, with `mask_ids` and `mask_weights`.
            training: Whether dropout is active.

        Returns:
            float32 scalars: `mlm_loss_sum`, of losses times weights, `mlm_weight`, the sum of
            the weights, and `mlm_correct`, that of the hits'; with `span_boundary` also
            `sbo_loss_sum`, `sbo_weight` and `sbo_correct`.
        """
        return self._sums(features, self(features, training=training))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Computes the loss of a batch of masked features, for `fit` and `evaluate`."""
        sums = self._sums(x, y_pred)
        loss = ops.sum(self.losses) if self.losses else ops.zeros((), "float32")
        for objective in self.objectives:
            weight = sums[f"{objective}_weight"]
            divisor = ops.where(weight > 0, weight, 1.0)
            means = {
                "loss": sums[f"{objective}_loss_sum"] / divisor,
                "accuracy": sums[f"{objective}_correct"] / divisor,
            }
            for figure, mean in means.items():
                self.objective_metrics[f"{objective}_{figure}"].update_state(mean, weight)
            loss += means["loss"]
        return loss

    def compile(self, optimizer: Any = "auto", *, jit_compile: Any = "auto", **kwargs: Any) -> None:
        """Configures training; see `keras.Model.compile`.

        Args:
            optimizer: `"auto"`: `default_optimizer()` with a learning rate of 1e-4.
            jit_compile: `"auto"`: not on a CPU under TensorFlow; elsewhere as Keras decides.
            **kwargs: Other arguments of `keras.Model.compile`.  Loss and metrics are the model's
                own.

        Raises:
            ValueError: A loss or metrics are given.
        """
        given = [n for n in ("loss", "metrics", "weighted_metrics") if kwargs.pop(n, None)]
        if given:
            raise ValueError(
                f"`{given[0]}` cannot be given: the pretrainer has losses and metrics of its own"
            )
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = default_optimizer(PEAK_LEARNING_RATE)
        jit_compile = resolve_jit_compile(jit_compile)
        kwargs |= {"loss": None, "weighted_metrics": None}
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the saved model was, for `.keras` files."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        build_optimizer(self)

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Masks texts; features pass through, as they are masked already."""
        if isinstance(x, dict):
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        return super().preprocess_samples(x, y, sample_weight)

    def fill_spans(self, texts: Any, top_k: int = 5) -> Any:
        """Fills each run of adjacent `[MASK]`s in texts.

        A filling's score is the product of the probabilities that the masked language model gives
        its pieces, each in its place, all the others being masked; by it the `top_k` best ones
        are found exactly.  Special tokens are no answers.

        ```python
        (answers,) = pretrainer.fill_spans("Paris is the [MASK] [MASK] of France.")
        answers[0].text, answers[0].score  # The best of five, two pieces long.
        ```

        Args:
            texts: A string, or a list of them.  Each `[MASK]` stands for one word piece.
            top_k: How many fillings a run.

        Returns:
            For a string, a list with one list of `Filling`s, best first, for each run; for a list
            of strings, a list of such.

        Raises:
            ValueError: A text has no `[MASK]` or too many tokens, `top_k` is below 1, or there
                is no preprocessor whose tokenizer belongs to the encoder.
        """
        tokenizer = self._mask_tokenizer()
        single = isinstance(texts, str)
        answers = fill_texts(
            [texts] if single else texts,
            top_k,
            tokenizer=tokenizer,
            sequence_length=self.backbone.max_sequence_length,
            log_probabilities=self._log_probabilities,
        )
        return answers[0] if single else answers

    def _log_probabilities(self, features: Features, positions: Any) -> Any:
        states = self.backbone.states_at(features, positions)
        return ops.log_softmax(self.mlm_head(states), axis=-1)

    def _mask_tokenizer(self) -> SpanBertTokenizer:
        """The preprocessor's tokenizer, for which `[MASK]` in a string is one token."""
        if self.preprocessor is None:
            raise ValueError(
                "`fill_spans` takes texts and needs a tokenizer: pass "
                "preprocessor=SpanBertPretrainerPreprocessor(tokenizer)"
            )
        tokenizer = self.preprocessor.tokenizer
        _check_vocabulary(self.backbone, tokenizer)
        return _recognizing_masks(tokenizer.vocabulary, tokenizer.lowercase)

    def _labels(self, features: Features) -> dict[str, tuple[Any, Any]]:
        """Ids and float32 weights of each objective's targets, flat."""
        labels = {"mlm": (features[MASK_IDS.name], features[MASK_WEIGHTS.name])}
        if self.span_boundary:
            targets = self._span_targets(features)
            labels["sbo"] = (targets.ids, targets.weights)
        return {
            objective: (ops.reshape(ids, (-1,)), ops.cast(ops.reshape(weights, (-1,)), "float32"))
            for objective, (ids, weights) in labels.items()
        }

    def _sums(self, features: Features, logits: dict[str, Any]) -> dict[str, Any]:
        sums = {}
        for objective, (ids, weights) in self._labels(features).items():
            of_objective = logits[f"{objective}_logits"]
            flat = ops.reshape(of_objective, (-1, of_objective.shape[-1]))
            losses, hits = cross_entropy(flat, ids)
            sums[f"{objective}_loss_sum"] = ops.sum(losses * weights)
            sums[f"{objective}_weight"] = ops.sum(weights)
            sums[f"{objective}_correct"] = ops.sum(hits * weights)
        return sums

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "span_boundary": self.span_boundary,
            "max_targets": self.max_targets,
        }


def _input(feature: Feature) -> Any:
    sizes = [int(letter) if letter.isdigit() else None for letter in feature.shape[1:]]
    return keras.Input(sizes, dtype=feature.dtype, name=feature.name)


@lru_cache(maxsize=1)
def _recognizing_masks(vocabulary: tuple[str, ...], lowercase: bool) -> SpanBertTokenizer:
    """A tokenizer for which special tokens in strings are tokens; it takes seconds to make."""
    return SpanBertTokenizer(vocabulary, lowercase, special_tokens_in_strings=True)


def _check_preprocessor(backbone: Any, preprocessor: Any) -> None:
    if not isinstance(preprocessor, SpanBertPretrainerPreprocessor):
        return
    length, limit = preprocessor.sequence_length, backbone.max_sequence_length
    if length > limit and not backbone.long_positions:
        raise ValueError(
            f"the preprocessor's `sequence_length` is {length}, but the backbone has positions "
            f"for {limit} tokens; pass a preprocessor with `sequence_length={limit}`."
        )
    if preprocessor.tokenizer.vocabulary is not None:  # In a preset it comes later.
        _check_vocabulary(backbone, preprocessor.tokenizer)


def _check_vocabulary(backbone: Any, tokenizer: SpanBertTokenizer) -> None:
    rows, pieces = backbone.vocabulary_size, tokenizer.vocabulary_size()
    if not 0 <= rows - pieces <= MOST_SPARE_EMBEDDINGS:
        raise ValueError(
            f"the tokenizer has {pieces} pieces and the backbone vocabulary_size={rows}: they do "
            "not belong together"
        )
