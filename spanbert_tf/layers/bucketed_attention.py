"""Self-attention within blocks of a long text, at a cost linear in its length.

Letters: b batch, s sequence, p positions, h heads, d width of a head, H hidden (= h * d), m blocks
of k tokens each, w keys that a block sees.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.layers.attention import MASKED_SCORE, MultiHeadSelfAttention, finite_bias
from spanbert_tf.layers.kernels.gathering import take_positions


def check_blocks(block_size: int, neighbors: int) -> None:
    """Checks the settings of bucketed attention.

    Raises:
        ValueError: `block_size` is less than 1, or `neighbors` neither 0 nor 1.
    """
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1; received block_size={block_size}")
    if neighbors not in (0, 1):
        raise ValueError(f"neighbors must be 0 or 1; received neighbors={neighbors}")


@keras.saving.register_keras_serializable("spanbert_tf")
class BucketedSelfAttention(MultiHeadSelfAttention):
    """Self-attention of tokens to their own block of the text and to those beside it.

    Token i sees token j if `abs(i // block_size - j // block_size) <= neighbors`; with a global
    first token also if i or j is 0, as [CLS] does in Longformer (Beltagy et al., 2020).  The result
    is that of `MultiHeadSelfAttention` with all other pairs masked, and so are the weights; but no
    tensor of `s * s` values is made, so that time and memory grow linearly with the length.

    Args:
        num_heads: Number of heads; divides the hidden width.
        dropout: Rate of dropout on the attention probabilities.
        kernel_initializer: Initializer of both kernels.
        block_size: Tokens in a block.  The text need not be a multiple of it.
        neighbors: Blocks that a token sees on each side of its own, 0 or 1.
        global_first_token: Whether the first token sees all tokens and all see it.

    Call arguments:
        x: float `[b, s, H]`.
        bias: float32 `[b, 1, 1, s]`, see `spanbert_tf.layers.attention.attention_bias`.
        positions: int `[b, p]`, the positions whose output is wanted.  `None`: all of them.
        training: Whether dropout is active.

    Returns:
        float `[b, s, H]`; with `positions` `[b, p, H]`, those rows of it.

    Raises:
        ValueError: The hidden width is not a multiple of `num_heads`; `block_size` is less than 1
            or `neighbors` neither 0 nor 1; the bias differs from query to query.
    """

    def __init__(
        self,
        num_heads: int,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        block_size: int = 64,
        neighbors: int = 1,
        global_first_token: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_heads, dropout, kernel_initializer, **kwargs)
        check_blocks(block_size, neighbors)
        self.block_size = block_size
        self.neighbors = neighbors
        self.global_first_token = global_first_token

    def mix_values(
        self,
        qkv: Any,
        shape: tuple[Any, Any],
        bias: Any,
        positions: Any,
        training: bool | None,
    ) -> Any:
        """As in dense attention, `[b, s or p, H]`."""
        _check_bias(bias)
        batch, length = shape
        # A text shorter than a block is a block of its own.
        k = _between(1, length, self.block_size)
        m = _at_least(1, (length + k - 1) // k)
        qkv = ops.reshape(qkv, (batch, length, 3 * self.hidden_dim))
        padding = ops.zeros((batch, m * k - length, 3 * self.hidden_dim), qkv.dtype)
        qkv = ops.concatenate([qkv, padding], axis=1)
        query, key, value = self.split_heads(qkv, (batch * m, k), 3)

        bias = finite_bias(
            ops.reshape(bias, (batch, length)), keras.backend.result_type(qkv.dtype, "float32")
        )
        padding = ops.full((batch, m * k - length), MASKED_SCORE, bias.dtype)
        bias = ops.concatenate([bias, padding], axis=1)

        # Blocks stand where rows of a batch would: attention within them is dense.
        blocks = (batch, m, self.num_heads, k, self.head_dim)
        mixed = self.attend(
            query,
            self._window(key, blocks),
            self._window(value, blocks),
            self._window_bias(bias, blocks),
            training,
        )
        mixed = ops.reshape(mixed, (batch, m * k, self.hidden_dim))
        if self.global_first_token:
            first = self._attend_from_first(query, key, value, bias, blocks, training)
            first = ops.reshape(first, (batch, 1, self.hidden_dim))
            mixed = ops.concatenate([first[:, :length], mixed[:, 1:length]], axis=1)
        else:
            mixed = mixed[:, :length]
        return mixed if positions is None else take_positions(mixed, positions)

    def _attend_from_first(
        self, query: Any, key: Any, value: Any, bias: Any, blocks: tuple, training: bool | None
    ) -> Any:
        """What the first token takes from all, `[b, h, 1, d]`.

        Keys and values stay in their blocks: laying them out by heads would copy them all.
        """
        batch, m, heads, k, _ = blocks
        query = ops.expand_dims(ops.reshape(query, blocks)[:, :1, :, 0, :], 4)  # [b, 1, h, d, 1]
        query = query * ops.cast(self.head_dim**-0.5, query.dtype)
        scores = ops.matmul(ops.reshape(key, blocks), query)  # [b, m, h, k, 1]
        scores = ops.reshape(ops.transpose(scores[..., 0], (0, 2, 1, 3)), (batch, heads, 1, m * k))
        probabilities = self.probabilities(scores, ops.expand_dims(bias, (1, 2)), training)
        shares = ops.transpose(ops.reshape(probabilities, (batch, heads, m, k)), (0, 2, 1, 3))
        shares = ops.expand_dims(shares, 3)
        mixed = ops.matmul(shares, ops.reshape(value, blocks))  # [b, m, h, 1, d]
        return ops.cast(ops.sum(ops.cast(mixed, bias.dtype), axis=1), value.dtype)

    def _window(self, x: Any, blocks: tuple) -> Any:
        """Keys or values `[b * m, h, k, d]` to those that each block sees, `[b * m, h, w, d]`."""
        batch, m, heads, k, head_dim = blocks
        x = ops.reshape(x, blocks)
        parts = [x]
        if self.neighbors:
            # Around the ends of the text, where the bias masks them.  LiteRT has no `ops.roll`.
            before = ops.concatenate([x[:, -1:], x[:, :-1]], axis=1)
            parts = [before, x, ops.concatenate([x[:, 1:], x[:, :1]], axis=1)]
        if self.global_first_token:
            parts.append(ops.broadcast_to(x[:, :1, :, :1], (batch, m, heads, 1, head_dim)))
        x = ops.concatenate(parts, axis=3)
        return ops.reshape(x, (batch * m, heads, self._window_size(k), head_dim))

    def _window_bias(self, bias: Any, blocks: tuple) -> Any:
        """`[b, m * k]` to `[b * m, 1, 1, w]`."""
        batch, m, _, k, _ = blocks
        first = bias[:, :1]
        if self.global_first_token:
            # It has a place of its own in the window, and counts once.
            bias = ops.concatenate([ops.full_like(first, MASKED_SCORE), bias[:, 1:]], axis=1)
        bias = ops.reshape(bias, (batch, m, k))
        parts = [bias]
        if self.neighbors:
            end = ops.full((batch, 1, k), MASKED_SCORE, bias.dtype)
            before = ops.concatenate([end, bias[:, :-1]], axis=1)
            after = ops.concatenate([bias[:, 1:], end], axis=1)
            parts = [before, bias, after]
        if self.global_first_token:
            parts.append(ops.broadcast_to(ops.expand_dims(first, 1), (batch, m, 1)))
        bias = ops.concatenate(parts, axis=2)
        return ops.reshape(bias, (batch * m, 1, 1, self._window_size(k)))

    def _window_size(self, k: Any) -> Any:
        return (1 + 2 * self.neighbors) * k + int(self.global_first_token)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "block_size": self.block_size,
            "neighbors": self.neighbors,
            "global_first_token": self.global_first_token,
        }


def _check_bias(bias: Any) -> None:
    shape = tuple(bias.shape)
    if len(shape) != 4 or {shape[1], shape[2]} - {1, None}:
        raise ValueError(
            f"bucketed attention takes a bias of shape [batch, 1, 1, sequence], as attention_bias "
            f"makes; received shape {shape}: rows of several texts need attention='dense'"
        )


def _at_least(least: int, x: Any) -> Any:
    return max(least, x) if isinstance(x, int) else ops.maximum(least, x)


def _between(least: int, x: Any, most: int) -> Any:
    return _at_least(least, min(x, most) if isinstance(x, int) else ops.minimum(x, most))
