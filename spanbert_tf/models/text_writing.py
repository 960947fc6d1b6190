"""What a decoder learns of texts that are known, and how it writes its own.

Letters: b batch, s source pieces, o target pieces, k beams of a row, H hidden.
"""

from typing import Any

import numpy as np
from keras import ops

from spanbert_tf.features import PADDING_MASK, TOKEN_IDS
from spanbert_tf.layers.attention import attention_bias
from spanbert_tf.layers.kernels.cross_entropy import cross_entropy
from spanbert_tf.layers.next_pieces import NEVER, Search
from spanbert_tf.layers.text_decoder import TextDecoder
from spanbert_tf.layers.text_search import search_texts

HASH = -1640531535  # 2**32 by the golden ratio, odd, as an int32


def text_losses(
    decoder: TextDecoder,
    states: Any,
    features: dict[str, Any],
    target_ids: Any,
    *,
    start_id: int,
    smoothing: float = 0.0,
    never_ids: np.ndarray | None = None,
    training: bool = False,
) -> Any:
    """The cross-entropy of texts: of all their pieces, each predicted from those before it.

    Args:
        decoder: The decoder.
        states: float `[b, s, H]`, the encoder's.
        features: The encoder's features.
        target_ids: int32 `[b, o]`, below 0 past a text's end.
        start_id: What stands before a text.
        smoothing: See `cross_entropy`.
        never_ids: bool `[V]`, true at pieces that cannot come; `None`: all may.
        training: Whether dropout is active.

    Returns:
        float32 `[b]`: without smoothing less the log probability of each text.
    """
    start = ops.full_like(target_ids[:, :1], start_id)
    before = ops.concatenate([start, ops.maximum(target_ids[:, :-1], 0)], axis=1)
    bias = attention_bias(features[PADDING_MASK.name])
    found = decoder(before, states, bias, training=training)
    logits = decoder.logits(ops.reshape(found, (-1, found.shape[-1])))
    if never_ids is not None:
        logits = ops.where(never_ids, NEVER, logits)
    ids = ops.reshape(target_ids, (-1,))
    losses, _ = cross_entropy(logits, ops.maximum(ids, 0), smoothing)
    losses = ops.where(ids >= 0, losses, 0.0)
    return ops.sum(ops.reshape(losses, ops.shape(target_ids)), axis=1)


def write_texts(
    decoder: TextDecoder,
    states: Any,
    features: dict[str, Any],
    search: Search,
    *,
    start_id: int,
    end_id: int,
    never_ids: np.ndarray,
    number: Any = None,
) -> tuple[Any, Any]:
    """Writes texts; of a source without a piece the empty text.

    Args:
        decoder: The decoder.
        states: float `[b, s, H]`, the encoder's.
        features: The encoder's features.
        search: How texts are searched.
        start_id: What stands before a text.
        end_id: What ends it.
        never_ids: bool `[V]`, true at pieces that no text has.
        number: int32 scalar: with each other one, other texts are drawn.  `None`: as with 0.

    Returns:
        As `search_texts`, of as many places as `search.max_length`, or as the decoder has.

    Raises:
        ValueError: Texts may be longer than the decoder has places, or must be.
    """
    length = search.max_length or decoder.max_length
    if length > decoder.max_length:
        raise ValueError(
            f"`max_length` must be at most {decoder.max_length}, the task's `target_length`, but "
            f"is {length}."
        )
    if search.min_length >= length:
        raise ValueError(
            f"`min_length` must be below {length}, the most pieces of a text with its end, but is "
            f"{search.min_length}."
        )
    mask = ops.cast(features[PADDING_MASK.name], "int32")
    source = ops.cast(features[TOKEN_IDS.name], "int32")
    bias = attention_bias(mask)
    seen = decoder.keys_and_values(states)

    def step(last: Any, place: Any, caches: Any, source: Any) -> Any:
        return decoder.step(last, place, caches, *source)

    # Of the text alone, so that the same is drawn in any batch.
    places = ops.arange(ops.shape(mask)[1], dtype="int32")
    keys = ops.sum((source + 1) * mask * ((2 * places + 1) * HASH), axis=1)
    if number is not None:
        keys = ops.bitwise_xor(keys, ops.cast(number, "int32") * HASH)
    return search_texts(
        step,
        decoder.caches(ops.shape(mask)[0] * search.num_beams, length),
        (seen, bias),
        ops.sum(mask, axis=1) <= 2,  # [CLS] and [SEP]
        keys,
        search,
        length=length,
        start_id=start_id,
        end_id=end_id,
        never_ids=never_ids,
    )
