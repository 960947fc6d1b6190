"""Masks spans of a batch and states what was masked, for the masked language model and for SBO.

Letters: b batch, s sequence, t masked pieces of a row, p spans of a row, m pieces of a span, g
given spans of a row.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from spanbert_tf.features import (
    GIVEN_SPANS,
    MASK_IDS,
    MASK_POSITIONS,
    MASK_WEIGHTS,
    PADDING_MASK,
    SPAN_BOUNDARIES,
    SPAN_IDS,
    SPAN_WEIGHTS,
    TOKEN_IDS,
    WORD_STARTS,
)
from spanbert_tf.layers.masking.random_bits import drawing_table, drawn_ids, threefry_2x32, unsigned
from spanbert_tf.layers.masking.span_sampling import (
    RunningCount,
    at,
    draws_for,
    first_pieces,
    row_numbers,
    sample_spans,
    share_of,
)
from spanbert_tf.settings import REPLACEMENTS

SCHEMES = ("spans", "whole_word", "subword", "given", "last_words")

# Of the spans, or pieces, to predict (Devlin et al., 2019).  The rest is kept as it is.
MASK_SHARE = 0.8
RANDOM_SHARE = 0.1

# Where the counters of each use of random bits begin: none of them meet.
STREAMS = {"span": 0, "token": 2**28, "coin": 2**29, "given": 2**30}

# Of larger budgets, the last pieces would take a great many draws to find.
MOST_BUDGET = 0.9


Features = dict[str, Any]


def slot_counts(length: Any, scheme: str = "spans", budget: float = 0.15) -> tuple[Any, Any]:
    """Says how many slots for targets the rows of a padded length have.

    Args:
        length: Padded length s of the rows, an int (or an int32 scalar in a graph).
        scheme: As given to `SpanMasking`.
        budget: As given to `SpanMasking`.

    Returns:
        t, slots for masked pieces, and p, slots for spans: as many as a row can come to need.

    Example:
        `slot_counts(128)` is `(20, 20)`; `slot_counts(128, "last_words")` is `(128, 63)`.
    """
    pieces = length if scheme == "last_words" else share_of(length, budget)
    spans = (length - 1) // 2  # A piece that is not masked parts each from the next.
    if isinstance(length, int):
        return pieces, min(pieces, spans)
    return pieces, ops.minimum(pieces, spans)


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanMasking(keras.layers.Layer):
    """Masks spans of words, as SpanBERT does (Joshi et al., 2020), and states the targets.

    `sample_spans` says how spans are drawn.  Those that overlap or touch are one span from then
    on, so that the two pieces beside a span are never masked.  80 % of the spans become [MASK]
    throughout, 10 % random pieces, 10 % stay as they are; their pieces are targets all the same.

    Masks are a function of each row and its seed: they are the same in any batch, on every
    backend, in and outside of `tf.data`.  The layer has no weights.

    A span at the row's edge, which lacks a piece beside it, gives no target to the span boundary
    objective.  Rows that begin with [CLS] and end with [SEP] have no such spans.

    Args:
        vocabulary_size: Number of word pieces V.
        mask_token_id: Id of [MASK].
        special_token_ids: Ids that are never masked and never put in at random, beside [MASK].
        scheme: What is masked.  `"spans"`: spans of up to `max_words` words.  `"whole_word"`:
            words, drawn uniformly.  `"subword"`: pieces, drawn uniformly.  `"given"`: the spans of
            the feature `given_spans` in random order and, once a row has no more of them, spans.
            `"last_words"`: the last words of each row, whatever the budget.
        budget: Share of the pieces to mask, padding and special tokens not counted, rounded up
            to a whole piece.  Taken as the nearest fraction of a denominator up to 1000.
        p: Probability that a span ends after a word, until `max_words` ends it.
        max_words: The longest span.
        last_words: How many words the scheme `"last_words"` masks.
        replacement: `"span"`: what becomes of a span is drawn once for all its pieces.
            `"piece"`: it is drawn for each piece.
        random_token_weights: `[V]` weights of the pieces put in at random, such as their counts in
            a corpus.  `None`: uniform.
        max_targets: The most pieces m of a span that are targets of the span boundary objective.
        **kwargs: `name`, `dtype`.

    Call arguments:
        features: `token_ids` and `padding_mask`, int `[b, s]`, and optionally `word_starts`
            `[b, s]` (default: each piece is a word) and `given_spans` `[b, g, 2]`, `[start, end)`
            positions, padded with zeros.  Padding stands at the ends of rows.
        seed: Two int32 numbers, such as the run's seed and the step's; the number of the row
            comes to them.  Or int32 `[b, 2]`, such as the run's seed and the example's number.

    Returns:
        The features, without `word_starts` and `given_spans`, with masked `token_ids` and with
        `mask_positions`, `mask_ids`, `mask_weights`, `span_boundaries`, `span_ids` and
        `span_weights` as `features.py` describes them, for the slots that `slot_counts` says.
        Targets come in the order of their positions; slots that are not used come last.

    Raises:
        ValueError: An argument is out of range, or the scheme is `"given"` without spans.

    Example:
        `SpanMasking(9, 4, [0, 1, 2, 3], budget=0.5, max_targets=3)` with `seed=[0, 0]` makes of
        `token_ids` `[[2, 5, 6, 7, 3]]`, which are [CLS] 5 6 7 [SEP], without padding:

            token_ids         [[2, 5, 4, 4, 3]]
            mask_positions    [[2, 3, 0]]
            mask_ids          [[6, 7, 0]]
            mask_weights      [[1, 1, 0]]
            span_boundaries   [[[1, 4], [0, 0]]]
            span_ids          [[[6, 7, 0], [0, 0, 0]]]
            span_weights      [[[1, 1, 0], [0, 0, 0]]]
    """

    def __init__(
        self,
        vocabulary_size: int,
        mask_token_id: int,
        special_token_ids: Sequence[int],
        scheme: str = "spans",
        budget: float = 0.15,
        p: float = 0.2,
        max_words: int = 10,
        last_words: int = 10,
        replacement: str = "span",
        random_token_weights: Sequence[float] | np.ndarray | None = None,
        max_targets: int = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.mask_token_id = mask_token_id
        self.special_token_ids = tuple(int(token) for token in special_token_ids)
        self.scheme = scheme
        self.budget = budget
        self.p = p
        self.max_words = max_words
        self.last_words = last_words
        self.replacement = replacement
        self.random_token_weights = (
            None if random_token_weights is None else np.asarray(random_token_weights, "float64")
        )
        self.max_targets = max_targets
        self._check_arguments()
        self._is_special = np.zeros(vocabulary_size, bool)
        self._is_special[[mask_token_id, *self.special_token_ids]] = True
        self._random_tokens = drawing_table(self._is_special, self.random_token_weights)

    def call(self, features: Features, seed: Any) -> Features:
        ids = ops.cast(features[TOKEN_IDS.name], "int32")
        is_token = ops.cast(features[PADDING_MASK.name], "bool")
        rows = row_numbers(ids)
        length = ops.shape(ids)[1]
        slots, span_slots = slot_counts(length, self.scheme, self.budget)
        row_slots = rows * slots
        bits = self._random_bits(features, seed, rows, length, slots)
        masked = self._masked(features, ids, is_token, bits)

        counts = RunningCount(ops.cast(masked, "int32"), rows, length)
        positions = counts.first_at(ops.arange(1, slots + 1, dtype="int32"))  # [b, t]
        used = positions < length
        positions = ops.where(used, positions, 0)
        mask_ids = ops.where(used, at(ids, positions, counts.row_starts), 0)
        before = ops.pad(positions[:, :-1], ((0, 0), (1, 0)), constant_values=-2)
        begins = ops.cast(ops.not_equal(positions, before + 1), "int32")
        spans = RunningCount(begins, rows, slots)

        new_ids = self._new_ids(mask_ids, spans.counts, bits, row_slots)
        slot = ops.maximum(counts.counts - 1, 0)
        passed_on = {
            name: value
            for name, value in features.items()
            if name not in (WORD_STARTS.name, GIVEN_SPANS.name)
        }
        return {
            **passed_on,
            TOKEN_IDS.name: ops.where(masked, at(new_ids, slot, row_slots), ids),
            MASK_POSITIONS.name: positions,
            MASK_IDS.name: mask_ids,
            MASK_WEIGHTS.name: ops.cast(used, "float32"),
            **self._span_targets(
                is_token, positions, mask_ids, spans, counts.counts[:, -1:], span_slots, slots, rows
            ),
        }

    def get_config(self) -> dict[str, Any]:
        weights = self.random_token_weights
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "mask_token_id": self.mask_token_id,
            "special_token_ids": list(self.special_token_ids),
            "scheme": self.scheme,
            "budget": self.budget,
            "p": self.p,
            "max_words": self.max_words,
            "last_words": self.last_words,
            "replacement": self.replacement,
            "random_token_weights": None if weights is None else weights.tolist(),
            "max_targets": self.max_targets,
        }

    def _random_bits(
        self, features: Features, seed: Any, rows: Any, length: Any, slots: Any
    ) -> dict[str, Any]:
        """Makes all the bits that a batch takes, in one go: pairs of int32 `[b, ...]` by use."""
        seed = ops.cast(ops.convert_to_tensor(seed), "int32")
        numbers_rows = len(seed.shape) == 1
        key = (seed[0], seed[1]) if numbers_rows else (seed[:, 0:1], seed[:, 1:2])
        sizes = {"token": slots, "coin": slots}
        if self.scheme != "last_words":
            sizes["span"] = draws_for(length, self.budget)
        if self.scheme == "given":
            sizes["given"] = ops.shape(_given_spans(features))[1]
        counters = ops.concatenate(
            [ops.arange(size, dtype="int32") + STREAMS[use] for use, size in sizes.items()]
        )
        first, second = threefry_2x32(key, (counters, rows * int(numbers_rows)))
        bits, begin = {}, 0
        for use, size in sizes.items():
            bits[use] = first[:, begin : begin + size], second[:, begin : begin + size]
            begin = begin + size
        return bits

    def _masked(self, features: Features, ids: Any, is_token: Any, bits: dict[str, Any]) -> Any:
        """Says which pieces are masked: bool `[b, s]`."""
        is_special = ops.take(ops.convert_to_tensor(self._is_special), ids)
        maskable = ops.logical_and(is_token, ops.logical_not(is_special))
        word_starts = features.get(WORD_STARTS.name)
        if word_starts is None or self.scheme == "subword":
            word_starts = maskable
        word_starts = ops.cast(word_starts, "bool")
        if self.scheme == "last_words":
            words = ops.cumsum(ops.cast(first_pieces(maskable, word_starts), "int32"), axis=1)
            return ops.logical_and(maskable, words > words[:, -1:] - self.last_words)
        is_given = self.scheme == "given"
        single = self.scheme in ("whole_word", "subword")
        return sample_spans(
            maskable,
            word_starts,
            bits["span"],
            budget=self.budget,
            p=self.p,
            max_words=1 if single else self.max_words,
            by_word=single,
            given_spans=_given_spans(features) if is_given else None,
            given_bits=bits["given"][0] if is_given else None,
        )[0]

    def _new_ids(self, mask_ids: Any, span: Any, bits: dict[str, Any], row_slots: Any) -> Any:
        """Says what stands in place of each masked piece: int32 `[b, t]`."""
        (chance, token), (coin, _) = bits["token"], bits["coin"]
        random_ids = drawn_ids(self._random_tokens, token, coin)
        chance = unsigned(chance, 24)
        if self.replacement == "span":
            chance = at(chance, span - 1, row_slots)
        become_mask = round(MASK_SHARE * 2**24)
        become_random = round((MASK_SHARE + RANDOM_SHARE) * 2**24)
        new_ids = ops.where(chance < become_random, random_ids, mask_ids)
        return ops.where(chance < become_mask, self.mask_token_id, new_ids)

    def _span_targets(
        self,
        is_token: Any,
        positions: Any,
        mask_ids: Any,
        spans: RunningCount,
        count: Any,
        span_slots: Any,
        slots: Any,
        rows: Any,
    ) -> Features:
        """States boundaries and pieces of each span that has both of its boundaries."""
        tokens = ops.sum(ops.cast(is_token, "int32"), axis=1, keepdims=True)
        # A row's first span is passed over where nothing stands before it.
        passed_over = ops.cast(ops.equal(positions[:, :1], 0), "int32")
        numbers = ops.arange(1, span_slots + 2, dtype="int32") + passed_over
        first = ops.minimum(spans.first_at(numbers), count)
        first, after = first[:, :-1], first[:, 1:]  # slots of mask_ids, [b, p]
        left = at(positions, ops.minimum(first, slots - 1), spans.row_starts) - 1
        right = left + 1 + after - first
        whole = ops.logical_and(after > first, right < tokens)

        offsets = ops.arange(self.max_targets, dtype="int32")
        lengths = ops.where(whole, after - first, 0)
        is_target = offsets < lengths[:, :, None]
        padded = ops.pad(mask_ids, ((0, 0), (0, self.max_targets)))
        starts = first + rows * (slots + self.max_targets)
        span_ids = ops.take(padded, starts[:, :, None] + offsets)
        boundaries = ops.stack([left, right], axis=-1)
        return {
            SPAN_BOUNDARIES.name: ops.where(whole[:, :, None], boundaries, 0),
            SPAN_IDS.name: ops.where(is_target, span_ids, 0),
            SPAN_WEIGHTS.name: ops.cast(is_target, "float32"),
        }

    def _check_arguments(self) -> None:
        choices = {"scheme": SCHEMES, "replacement": REPLACEMENTS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(allowed)}; received {getattr(self, name)}"
                )
        for name in ("max_words", "last_words", "max_targets"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1; received {getattr(self, name)}")
        if not 0.001 <= self.budget <= MOST_BUDGET:
            raise ValueError(
                f"`budget` must be from 0.001 to {MOST_BUDGET}; received {self.budget}"
            )
        if not 0 < self.p < 1:
            raise ValueError(f"`p` must be above 0 and below 1; received {self.p}")
        for token in (self.mask_token_id, *self.special_token_ids):
            if not 0 <= token < self.vocabulary_size:
                raise ValueError(
                    f"`mask_token_id` and `special_token_ids` must be from 0 below "
                    f"vocabulary_size={self.vocabulary_size}; received {token}"
                )


def _given_spans(features: Features) -> Any:
    if GIVEN_SPANS.name not in features:
        raise ValueError(
            f'scheme="given" needs the feature `{GIVEN_SPANS.name}`; received {sorted(features)}'
        )
    return ops.cast(features[GIVEN_SPANS.name], "int32")
