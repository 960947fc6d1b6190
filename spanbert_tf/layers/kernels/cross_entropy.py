"""Cross-entropy over a whole vocabulary, in few passes over the logits.

Logits of 640 targets and 29,000 word pieces take 74 MB, so each pass over them counts.

Letters: n targets, V vocabulary.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.kernels.elementwise import fused


def cross_entropy(logits: Any, ids: Any, smoothing: float = 0.0) -> Any:
    """Cross-entropy of each target, and whether its id has the highest logit.

    Args:
        logits: float32 `[n, V]`.
        ids: int32 `[n]`.
        smoothing: Part of a target's probability that is spread evenly over all V (Szegedy et al.,
            2016).

    Returns:
        Losses, float32 `[n]`, and 1 or 0 at a hit or a miss, float32 `[n]`.
    """

    @ops.custom_gradient
    def of_targets(logits: Any, ids: Any) -> Any:
        losses, hits, top, total = _losses(logits, ids, smoothing)

        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream, *_ = keras.tree.flatten(args if upstream is None else upstream)
            return _loss_gradient(logits, ids, top, total, upstream, smoothing), None

        return (losses, hits), gradient

    return of_targets(logits, ids)


@fused
def _losses(logits: Any, ids: Any, smoothing: float) -> Any:
    own = ops.take_along_axis(logits, ids[:, None], axis=-1)
    top = ops.max(logits, axis=-1, keepdims=True)
    total = ops.sum(ops.exp(logits - top), axis=-1, keepdims=True)
    aim = own
    if smoothing:
        aim = (1 - smoothing) * own + smoothing * ops.mean(logits, axis=-1, keepdims=True)
    losses = ops.log(total) + top - aim
    return losses[:, 0], ops.cast(own >= top, logits.dtype)[:, 0], top, total


@fused
def _loss_gradient(
    logits: Any, ids: Any, top: Any, total: Any, upstream: Any, smoothing: float
) -> Any:
    # `total` times the softmax, less the probabilities that were aimed at.
    powers = ops.exp(logits - top)
    is_own = ops.arange(logits.shape[-1], dtype=ids.dtype) == ids[:, None]
    if smoothing:
        powers -= total * (smoothing / logits.shape[-1])
    return ops.where(is_own, powers - (1 - smoothing) * total, powers) * (upstream[:, None] / total)
