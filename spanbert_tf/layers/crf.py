"""A linear-chain conditional random field (Lafferty et al., 2001): from scores to paths of tags.

Letters: b batch, s sequence, t tags.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from spanbert_tf.layers.tag_paths import crf_log_likelihood, tag_probabilities, viterbi

Shape = tuple[int | None, ...]

# What forbids a tag or a move in `decode`: more than any legal path can lack, and
# finite, so that there is a path where none is legal.
FORBIDDEN = -1e6


@keras.saving.register_keras_serializable("spanbert_tf")
class LinearChainCRF(keras.layers.Layer):
    """Scores of tags to the best path of legal moves; trained by `log_likelihood`.

    Args:
        num_tags: Number t of tags.
        allowed_starts: bool `[t]`, whether a path may begin with a tag.  `None`: with any.
        allowed_moves: bool `[t, t]`, whether a column's tag may follow a row's.  `None`: any may.
        trainable_scores: Whether moves and both ends have scores, weights that begin at 0.  Without
            them it is a tagger of independent softmaxes, whose paths are legal all the same.

    Call arguments:
        scores: float `[b, s, t]`.
        mask: bool or int `[b, s]`, true at the positions of the chain.

    Returns:
        What `decode` does.

    Raises:
        ValueError: The shape of `allowed_starts` or `allowed_moves` does not fit `num_tags`.
    """

    def __init__(
        self,
        num_tags: int,
        allowed_starts: Sequence[bool] | None = None,
        allowed_moves: Sequence[Sequence[bool]] | None = None,
        trainable_scores: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_tags = num_tags
        self.allowed_starts = _as_lists("allowed_starts", allowed_starts, (num_tags,))
        self.allowed_moves = _as_lists("allowed_moves", allowed_moves, (num_tags, num_tags))
        self.trainable_scores = trainable_scores

    def build(self, scores_shape: Shape, mask_shape: Shape | None = None) -> None:
        if scores_shape[-1] != self.num_tags:
            raise ValueError(
                f"scores must be [batch, sequence, num_tags={self.num_tags}], "
                f"but have the shape {scores_shape}"
            )
        if self.trainable_scores:
            # Used in float32, whatever the compute dtype.
            zeros = partial(self.add_weight, initializer="zeros", autocast=False)
            self.transitions = zeros(name="transitions", shape=(self.num_tags, self.num_tags))
            self.start = zeros(name="start", shape=(self.num_tags,))
            self.end = zeros(name="end", shape=(self.num_tags,))

    def log_likelihood(self, scores: Any, tags: Any, mask: Any) -> Any:
        """`crf_log_likelihood` by the layer's weights, for a loss; the layer must be built.

        Illegal moves have no part in it: what is legal shall not hide what the scores must learn.
        """
        return crf_log_likelihood(scores, tags, mask, *self._path_scores())

    def decode(self, scores: Any, mask: Any) -> tuple[Any, Any]:
        """The best path of legal moves, and how probable each of its tags is.

        Args:
            scores: float `[b, s, t]`.
            mask: bool or int `[b, s]`, true at the positions of the chain.

        Returns:
            Tags, int32 `[b, s]`; and their probabilities, float32 `[b, s]`: over all legal paths,
            or without trainable scores by the softmax of each position.  Both are 0 where the mask
            is false.  A path breaks the rules only where no path keeps them.  (Among all paths an
            illegal move counts as one 80 below the best, so that a tag's probability is too low
            where illegal paths score some 80 higher than all legal ones.)
        """
        transitions, start, end = self._path_scores()
        transitions = transitions + _penalties(self.allowed_moves)
        path = (mask, transitions, start + _penalties(self.allowed_starts), end)
        tags = viterbi(scores, *path)
        if self.trainable_scores:
            probabilities = tag_probabilities(scores, *path)
        else:
            probabilities = ops.softmax(ops.cast(scores, "float32"), axis=-1)
        is_tag = ops.one_hot(tags, self.num_tags, dtype="float32")
        probabilities = ops.sum(probabilities * is_tag, axis=-1)
        return tags, ops.where(ops.cast(mask, "bool"), probabilities, 0.0)

    def call(self, scores: Any, mask: Any) -> tuple[Any, Any]:
        return self.decode(scores, mask)

    def compute_output_spec(self, scores: Any, mask: Any) -> tuple[Any, Any]:
        shape = scores.shape[:-1]
        return keras.KerasTensor(shape, "int32"), keras.KerasTensor(shape, "float32")

    def _path_scores(self) -> tuple[Any, Any, Any]:
        """Transitions, start and end."""
        if not self.trainable_scores:
            zeros = np.zeros(self.num_tags, "float32")
            return np.zeros((self.num_tags, self.num_tags), "float32"), zeros, zeros
        return self.transitions, self.start, self.end

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_tags": self.num_tags,
            "allowed_starts": self.allowed_starts,
            "allowed_moves": self.allowed_moves,
            "trainable_scores": self.trainable_scores,
        }


def _as_lists(name: str, allowed: Any, shape: Shape) -> Any:
    """Nested lists of bool, as a config holds them, of anything that NumPy takes."""
    if allowed is None:
        return None
    array = np.asarray(allowed, bool)
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, but has {array.shape}")
    return array.tolist()


def _penalties(allowed: Any) -> Any:
    return np.where(True if allowed is None else allowed, 0, FORBIDDEN).astype("float32")
