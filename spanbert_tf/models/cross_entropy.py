"""Cross-entropy over a whole vocabulary, in few passes over the logits.

Logits of 640 targets and 29,000 word pieces take 74 MB, so each pass over them counts.

Letters: n targets, V vocabulary.
"""

from typing import Any

import keras
from keras import ops


@ops.custom_gradient
def cross_entropy(logits: Any, ids: Any) -> Any:
    """Cross-entropy of each target, and whether its id has the highest logit.

    Args:
        logits: float32 `[n, V]`.
        ids: int32 `[n]`.

    Returns:
        Losses, float32 `[n]`, and 1 or 0 at a hit or a miss, float32 `[n]`.
    """
    at_id = ops.stack([ops.arange(ops.shape(ids)[0], dtype="int32"), ids], axis=-1)
    own = ops.take_along_axis(logits, ids[:, None], axis=-1)
    top = ops.max(logits, axis=-1, keepdims=True)
    powers = ops.exp(logits - top)
    total = ops.sum(powers, axis=-1, keepdims=True)
    losses = ops.log(total) + top - own

    def gradient(*args: Any, upstream: Any = None) -> Any:
        upstream, *_ = keras.tree.flatten(args if upstream is None else upstream)
        # `total` times the softmax, less 1 at the target.
        differences = ops.scatter_update(powers, at_id, (ops.exp(own - top) - total)[:, 0])
        return differences * (upstream[:, None] / total), None

    return (losses[:, 0], ops.cast(own >= top, logits.dtype)[:, 0]), gradient
