"""Self-critical sequence training: texts are learned by how they are scored (Rennie et al., 2017).

Letters: b batch, o target pieces, t places of a text, V vocabulary.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.target_texts import MULTIPLE
from spanbert_tf.features import GENERATED_IDS, GENERATED_SCORES, TARGET_IDS
from spanbert_tf.layers.next_pieces import Search
from spanbert_tf.metrics.generation import FIGURES, text_scorer
from spanbert_tf.setting_fields import PART

# Only for the type checker: Keras rebuilds the bases of functional models, and fails on two tasks.
if TYPE_CHECKING:
    from keras_hub.models import Task as _Base
else:
    _Base = object

# Metrics of an epoch: what the drawn texts get, what those of the best pieces, and the mean of the
# drawn pieces' negative log probabilities, which is the entropy that they are drawn with.
REWARD_METRICS = ("reward", "greedy_reward", "entropy")


class LearnsByReward(_Base):
    """Lets a task that writes texts learn by a figure of its own texts.

    Of each source a text is drawn, and one is written piece by piece the best.  The drawn one's
    loss is its negative log probability, times how much better than the other it scores: so what
    scores better becomes likelier, without any baseline to be learned.  Both are written without
    dropout; the drawn one is learned with it.

    Comes before `SpanBertTask` among the bases of a class, which has `write`, `never_ids`,
    `scored_decoder` and `label_smoothing`, and calls `set_reward` before it is built.
    """

    def set_reward(self, reward: str | None, cross_entropy: float, seed: int) -> None:
        """Says by which figure to learn, see `SpanBertSeq2SeqLM`.

        Raises:
            ValueError: A setting is out of its range, or Keras' backend is not TensorFlow.
        """
        if reward not in (None, *FIGURES):
            raise ValueError(f"`reward` must be one of {FIGURES}, or None, but is {reward!r}.")
        if not PART.holds(cross_entropy):
            raise ValueError(f"`cross_entropy` must be {PART.expected}, but is {cross_entropy}.")
        if reward is not None and keras.config.backend() != "tensorflow":
            raise ValueError("`reward` is for TensorFlow's backend alone.")
        self.reward = reward
        self.cross_entropy = cross_entropy
        self.reward_seed = seed
        names = () if reward is None else REWARD_METRICS
        self.reward_metrics = {name: keras.metrics.Mean(name) for name in names}

    def reward_losses(
        self, features: dict[str, Any], target_ids: Any, losses_of: Callable[..., Any]
    ) -> Any:
        """Draws a text from each source, and gives its loss.

        What is drawn is a pure function of the source, the weights, the seed and the number of the
        optimizer's step, so that a run that was stopped goes on with what it would have drawn.

        Args:
            features: The encoder's features.
            target_ids: int32 `[b, o]`, the references, below 0 past their ends.
            losses_of: See `text_losses`; takes pieces, `never_ids` and `smoothing`.

        Returns:
            float32 `[b]`: of the drawn text and, by the part `cross_entropy`, of the reference.

        Raises:
            ValueError: The model is not compiled.
            FloatingPointError: A reward is no number; within a graph TensorFlow wraps it.
        """
        if getattr(self, "optimizer", None) is None:
            raise ValueError("`reward` draws by the steps of an optimizer: compile the model.")
        outputs = self(features, training=False)
        drawing = Search(temperature=1.0, length_penalty=0.0, seed=self.reward_seed % 2**31)
        drawn, scores = self.write(drawing, outputs, features, self.optimizer.iterations)
        greedy, _ = self.write(Search(), outputs, features)
        drawn, greedy = drawn[:, 0], greedy[:, 0]
        rewards = self._rewards(drawn, greedy, target_ids)
        pieces = tf.reduce_sum(tf.cast(drawn >= 0, tf.float32), axis=1)
        self._update_metrics(rewards, -scores[:, 0], pieces)

        # As short as the texts are, but in few lengths.
        longest = tf.cast(tf.maximum(tf.reduce_max(pieces), 1.0), tf.int32)
        drawn = drawn[:, : -(-longest // MULTIPLE) * MULTIPLE]
        better = (rewards[0] - rewards[1]) / 100
        losses = better * losses_of(drawn, never_ids=self.never_ids)
        if self.cross_entropy:
            learned = losses_of(target_ids, smoothing=self.label_smoothing)
            losses = (1 - self.cross_entropy) * losses + self.cross_entropy * learned
        return losses

    def _rewards(self, drawn: Any, greedy: Any, target_ids: Any) -> Any:
        """Scores both texts of each source against its reference: float32 `[2, b]`, 0 to 100."""
        score, decoder = text_scorer(str(self.reward)), self.scored_decoder
        past = tf.shape(drawn)[1] - tf.shape(target_ids)[1]
        references = tf.pad(target_ids, [[0, 0], [0, past]], constant_values=TARGET_IDS.pad_value)

        def scores_of(ids: np.ndarray) -> np.ndarray:
            found = {
                GENERATED_IDS.name: ids[:, None],
                GENERATED_SCORES.name: np.zeros((len(ids), 1)),
            }
            texts = [answer.generated_text for answer in decoder.answers(found, None, ())]
            *written, references = np.array(texts, object).reshape(3, -1)
            return np.array(
                [
                    _checked(score, *both)
                    for of in written
                    for both in zip(of, references, strict=True)
                ],
                np.float32,
            )

        texts = tf.concat([drawn, greedy, references], axis=0)
        return tf.reshape(tf.numpy_function(scores_of, [texts], tf.float32), [2, -1])

    def _update_metrics(self, rewards: Any, losses: Any, pieces: Any) -> None:
        count = tf.reduce_sum(pieces)
        entropy = tf.reduce_sum(losses) / tf.maximum(count, 1.0)
        of_drawn, of_greedy, of_pieces = self.reward_metrics.values()
        of_drawn.update_state(rewards[0])
        of_greedy.update_state(rewards[1])
        of_pieces.update_state(entropy, count)

    def test_step(self, *args: Any) -> Any:
        """A step of evaluation, as the backend's trainer has it; no text is drawn in it."""
        logs = super().test_step(*args)
        if not self.reward_metrics:
            return logs
        return {name: value for name, value in logs.items() if name not in self.reward_metrics}


def _checked(score: Callable[[str, str], float], text: str, reference: str) -> float:
    value = score(text, reference)
    if not np.isfinite(value):
        raise FloatingPointError(
            f"the reward of the text {text!r:.200} is {value}, where {reference!r:.200} is right; "
            "expected a number."
        )
    return value
