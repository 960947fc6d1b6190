"""The spans of a row that two logits a token think best.

Letters: b batch, s sequence, l longest span, k spans of a row.
"""

from typing import Any

from keras import ops

NEVER = -1e9  # Logit of a token that no span may begin or end with; the sum of two stays finite.


def best_spans(
    start_logits: Any, end_logits: Any, max_length: int, num_spans: int
) -> tuple[Any, Any, Any]:
    """Finds each row's spans with the highest sums of a first token's and a last token's logit.

        start_logits [0, 3, 1], end_logits [2, 0, 2], max_length 2, num_spans 2
            -> scores [5, 3], tokens 1 to 2 and 1 to 1

    Ends are looked for in a band beside each start, so that memory is linear in the length:
    `[b, s, l]`, where all pairs would be `[b, s, s]`.

    Args:
        start_logits: float32 `[b, s]`, of being a span's first token; `NEVER` where none begins.
        end_logits: float32 `[b, s]`, of being its last.
        max_length: The most tokens of a span, `l`.
        num_spans: How many are wanted, `k`.

    Returns:
        The sums, float32 `[b, k]`, the highest first and of equals the earliest start, then the
        shortest; and first and last token, int32 `[b, k]` each.  Where a row has fewer spans than
        `k`, the sums of the others are below `NEVER / 2`, and their tokens mean nothing.
    """
    length = ops.shape(start_logits)[1]
    # `expand_dims`, as LiteRT has no slices with new axes.
    ends = ops.expand_dims(ops.arange(length), 1) + ops.arange(max_length)  # [s, l]
    padded = ops.pad(end_logits, ((0, 0), (0, max_length - 1)), constant_values=NEVER)
    sums = ops.expand_dims(start_logits, 2) + ops.take(padded, ends, axis=1)  # [b, s, l]
    flat = ops.reshape(sums, (-1, length * max_length))
    # A short row has fewer spans than are wanted.
    flat = ops.pad(flat, ((0, 0), (0, num_spans)), constant_values=2 * NEVER)
    scores, places = ops.top_k(flat, num_spans)
    places = ops.cast(places, "int32")
    firsts = places // max_length
    return scores, firsts, firsts + places % max_length
