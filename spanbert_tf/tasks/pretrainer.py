"""Pretraining: a masked language model and the span boundary objective over one encoder.

Letters: b batch, t masked pieces of a row, p spans of a row, m pieces of a span, V vocabulary.
"""

from functools import lru_cache
from typing import Any

import keras
from keras import ops
from keras_hub.models import MaskedLM

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.features import POSITION_IDS, SPAN_IDS
from spanbert_tf.layers.pretraining_objectives import PretrainingObjectives
from spanbert_tf.models.encoder_task import EncoderTask, check_fit
from spanbert_tf.models.masked_text_preprocessor import SpanBertPretrainerPreprocessor
from spanbert_tf.models.optimizers import default_optimizer, resolve_jit_compile
from spanbert_tf.models.span_filling import Filling, fill_texts
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

__all__ = ["Filling", "SpanBertPretrainer", "SpanBertPretrainerPreprocessor"]

PEAK_LEARNING_RATE = 1e-4

Features = dict[str, Any]


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertPretrainer(EncoderTask, MaskedLM):
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
        check_fit(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.span_boundary = span_boundary
        self.max_targets = max_targets
        # It holds the network and the losses; this class, their layers as attributes of its own.
        self._objectives = PretrainingObjectives(backbone, span_boundary, max_targets)
        self.mlm_head = self._objectives.mlm_head
        self.sbo_head = self._objectives.sbo_head
        if span_boundary:
            self.span_target_slots = self._objectives.span_target_slots
        self.objectives = self._objectives.names
        self.objective_metrics = {
            f"{objective}_{figure}": keras.metrics.Mean(f"{objective}_{figure}")
            for objective in self.objectives
            for figure in ("loss", "accuracy")
        }
        inputs = self._objectives.inputs()
        super().__init__(inputs=inputs, outputs=self._objectives.logits(inputs), **kwargs)

    def call(self, inputs: Features, training: bool | None = None, mask: Any = None) -> Any:
        pieces = inputs[SPAN_IDS.name].shape[2] if self.span_boundary else None
        if pieces is not None and pieces > self.max_targets:
            raise ValueError(
                f"the features have {pieces} targets a span, more than the pretrainer's "
                f"max_targets={self.max_targets}: give the masking the same number"
            )
        if POSITION_IDS.name in inputs:
            return self._objectives.logits(inputs)
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
        return self._objectives.count_targets(features)

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
        return self._objectives.sums(features, self(features, training=training))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Computes the loss of a batch of masked features, for `fit` and `evaluate`."""
        sums = self._objectives.sums(x, y_pred)
        means = self._objectives.means(sums)
        loss = ops.sum(self.losses) if self.losses else ops.zeros((), "float32")
        for objective in self.objectives:
            for figure in ("loss", "accuracy"):
                name = f"{objective}_{figure}"
                self.objective_metrics[name].update_state(means[name], sums[f"{objective}_weight"])
            loss += means[f"{objective}_loss"]
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
        check_fit(self.backbone, self.preprocessor)
        return _recognizing_masks(tokenizer.vocabulary, tokenizer.lowercase, tokenizer.added_tokens)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "span_boundary": self.span_boundary,
            "max_targets": self.max_targets,
        }


@lru_cache(maxsize=1)
def _recognizing_masks(
    vocabulary: tuple[str, ...], lowercase: bool, added_tokens: tuple[Any, ...]
) -> SpanBertTokenizer:
    """A tokenizer for which special tokens in strings are tokens; it takes seconds to make."""
    return SpanBertTokenizer(
        vocabulary, lowercase, special_tokens_in_strings=True, added_tokens=added_tokens
    )
