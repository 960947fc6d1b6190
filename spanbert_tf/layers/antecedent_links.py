"""Links from mentions to those before them, in a window: a cost linear in the length.

Letters: b batch, s sequence, H hidden, m mentions of a row, w mentions of a window, l longest span,
f features of a pair.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from spanbert_tf.layers.kernels.gathering import take_positions, take_values
from spanbert_tf.layers.span_scoring import (
    NEVER,
    BoundaryStates,
    banded_products,
    banded_values,
    small_values,
)

Shape = tuple[int | None, ...]

# A pair has as many of these features as it is tokens apart, first token from first token.
DISTANCES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
NUM_FEATURES = len(DISTANCES) + 4


def span_hashes(token_ids: Any, firsts: Any, lasts: Any, max_length: int) -> Any:
    """Numbers that are equal where spans have equal tokens, and else hardly ever.

    A sum of the ids, each times a random number of its place, modulo 2^32: two spans that differ
    have equal sums with a probability of 2^-31 at most.

    Args:
        token_ids: int32 `[b, s]`.
        firsts: int32 `[b, m]`, first token of each span.
        lasts: int32 `[b, m]`, its last one.
        max_length: The most tokens of a span, l.

    Returns:
        int32 `[b, m]`.
    """
    batch, length = ops.shape(token_ids)
    places = ops.expand_dims(firsts, 2) + ops.arange(max_length, dtype="int32")  # [b, m, l]
    flat = ops.reshape(ops.minimum(places, length - 1), (batch, -1))
    ids = ops.reshape(take_values(token_ids, flat), ops.shape(places))
    factors = np.random.default_rng(0).integers(-(2**31), 2**31, max_length).astype("int32") | 1
    within = ops.cast(places <= ops.expand_dims(lasts, 2), "int32")
    return ops.sum((ids + 1) * within * factors, axis=2)


@keras.saving.register_keras_serializable("spanbert_tf")
class AntecedentLinks(keras.layers.Layer):
    """Scores how likely each mention refers to what one before it does, 0 being to none.

    The score of a pair is bilinear in both mentions' boundaries (Kirstain et al., 2021), and has
    what features of the pair weigh for the later mention (a pronoun needs no equal string, a name
    does), how likely that mention refers to anything, and how likely the earlier one is a mention.

    Args:
        window: Mentions before each that it is compared with, w.
        max_length: The most tokens of a mention, l.
        dropout: Rate of dropout on the boundaries' states.

    Call arguments:
        states: float `[b, s, H]`.
        training: Whether dropout is active.

    Returns:
        The boundaries' states, float `[b, s, 2 x H]`, of which `links` makes scores.
    """

    def __init__(self, window: int, max_length: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = window
        self.max_length = max_length
        self.dropout = dropout

    def build(self, states_shape: Shape) -> None:
        width: Any = states_shape[-1]
        self.width = width
        dtype = self.dtype_policy
        self.boundaries = BoundaryStates(self.dropout, dtype=dtype, name="boundaries")
        self.boundaries.build(states_shape)
        self.bilinear = keras.layers.Dense(
            2 * self.width,
            use_bias=False,
            kernel_initializer=small_values(),
            dtype=dtype,
            name="bilinear",
        )
        self.weights_of_features = keras.layers.Dense(
            1 + NUM_FEATURES,
            kernel_initializer=small_values(),
            dtype=dtype,
            name="weights_of_features",
        )
        for dense in (self.bilinear, self.weights_of_features):
            dense.build((None, 2 * self.width))

    def call(self, states: Any, training: bool | None = None) -> Any:
        return self.boundaries(states, training=training)

    def compute_output_shape(self, states_shape: Shape) -> Shape:
        return (*states_shape[:-1], 2 * self.width)

    def links(
        self, boundaries: Any, token_ids: Any, firsts: Any, lasts: Any, mention_scores: Any
    ) -> Any:
        """Scores of each mention with those before it; the layer must be built.

        Args:
            boundaries: What the layer gave.
            token_ids: int32 `[b, s]`.
            firsts: int32 `[b, m]`, first token of each mention, ascending.
            lasts: int32 `[b, m]`, its last one.
            mention_scores: float32 `[b, m]`, log odds that it is a mention, from which no gradient
                flows.

        Returns:
            float32 `[b, m, w]`: of mention i with the mentions i - w to i - 1.  Below `NEVER / 2`
            where there is none.
        """
        mentions = self._mentions(boundaries, firsts, lasts)
        scaled = self.bilinear(mentions) * ops.cast((2 * self.width) ** -0.5, mentions.dtype)
        scores = ops.cast(banded_products(scaled, mentions, self.window, -self.window), "float32")
        weights = ops.cast(self.weights_of_features(mentions), "float32")
        scores = scores + weights[..., :1]
        for number, feature in enumerate(self._features(token_ids, firsts, lasts), 1):
            weight = weights[..., number : number + 1]
            scores = scores + weight * ops.cast(feature, "float32")
        likely = ops.log_sigmoid(ops.stop_gradient(ops.cast(mention_scores, "float32")))
        return scores + self._before(likely, NEVER)

    def _mentions(self, boundaries: Any, firsts: Any, lasts: Any) -> Any:
        """What begins at the first token and what ends at the last one, `[b, m, 2H]`."""
        batch, length = ops.shape(boundaries)[:2]
        flat = ops.reshape(boundaries, (batch, 2 * length, self.width))
        places = ops.stack([2 * firsts, 2 * lasts + 1], axis=2)
        states = take_positions(flat, ops.reshape(places, (batch, -1)))
        return ops.reshape(states, (batch, -1, 2 * self.width))

    def _features(self, token_ids: Any, firsts: Any, lasts: Any) -> Any:
        """Yields each feature of the pairs, bool `[b, m, w]`."""
        apart = ops.expand_dims(firsts, 2) - self._before(firsts)
        for distance in DISTANCES:
            yield apart >= distance
        whole = span_hashes(token_ids, firsts, lasts, self.max_length)
        first, last = (take_values(token_ids, places) for places in (firsts, lasts))
        for values in (whole, first, last):
            yield ops.equal(ops.expand_dims(values, 2), self._before(values))
        # One is within the other, or they cross.
        yield self._before(lasts, -1) >= ops.expand_dims(firsts, 2)

    def _before(self, values: Any, fill: Any = 0) -> Any:
        return banded_values(values, self.window, -self.window, fill)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "window": self.window,
            "max_length": self.max_length,
            "dropout": self.dropout,
        }


def antecedent_losses(links: Any, clusters: Any) -> Any:
    """What is lost of each mention: minus the log of the share of its antecedents' softmax.

    The marginal log-likelihood of Lee et al. (2017): any mention of its cluster within the window
    is right, and where there is none the dummy, of score 0.

    Args:
        links: float32 `[b, m, w]`, as `AntecedentLinks.links` gives them.
        clusters: int32 `[b, m]`, from 1; 0 is no mention, which loses nothing.

    Returns:
        float32 `[b, m]`.
    """
    window = links.shape[2]
    before = banded_values(clusters, window, -window)
    is_right = ops.logical_and(before > 0, ops.equal(before, ops.expand_dims(clusters, 2)))
    dummy = ops.zeros_like(links[..., :1])
    total = ops.logsumexp(ops.concatenate([links, dummy], axis=2), axis=2)
    has_none = ops.logical_not(ops.any(is_right, axis=2, keepdims=True))
    right = ops.where(is_right, links, NEVER)
    right = ops.concatenate([right, ops.where(has_none, dummy, NEVER)], axis=2)
    losses = total - ops.logsumexp(right, axis=2)
    return ops.where(clusters > 0, losses, 0.0)


def clusters_of_spans(mentions: Any, scores: Any) -> Any:
    """Lays the clusters of mentions where the scores of their spans are.

    Args:
        mentions: int32 `[b, m, 3]`, first token, last token and number of the cluster, from 0; -1
            past a row's last.
        scores: `[b, s, l]`, of the spans of 1 to l tokens that begin at each token.

    Returns:
        int32 `[b, s, l]`: the number of each span's cluster, from 1, and 0 where it is no mention.
    """
    batch, length = ops.shape(scores)[:2]
    width = scores.shape[2]
    first, last, cluster = (ops.cast(mentions[..., side], "int32") for side in range(3))
    is_there = first >= 0
    rows = ops.expand_dims(ops.arange(batch, dtype="int32") * (length * width), 1)
    places = ops.where(is_there, rows + first * width + last - first, 0)
    flat = ops.scatter(
        ops.reshape(places, (-1, 1)),
        ops.reshape(ops.where(is_there, cluster + 1, 0), (-1,)),
        (batch * length * width,),
    )
    return ops.reshape(flat, (batch, length, width))
