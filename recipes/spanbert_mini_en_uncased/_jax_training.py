"""Pretraining and question answering on one accelerator: the package's network under JAX.

Needs JAX and KerasHub, not TensorFlow.  The corpus lies in the accelerator's memory; masking,
forward and backward pass and update of many steps are one XLA program each, so that the host only
waits.

Letters: n steps of a call, b batch, s sequence, w windows.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.layers.masking.span_masking import SpanMasking
from spanbert_tf.layers.pretraining_objectives import PretrainingObjectives

DTYPE = "mixed_bfloat16"
BETA_1, BETA_2, EPSILON, WEIGHT_DECAY, CLIP_NORM = 0.9, 0.999, 1e-8, 0.01, 1.0
UNDECAYED = ("bias", "gamma", "beta")  # as the package's optimizer leaves them out
HEADS = ("mlm_head", "sbo_head", "span_logits")
FIGURES = ("mlm_loss", "mlm_accuracy", "sbo_loss", "sbo_accuracy")
LONGEST_ANSWER = 30  # pieces

Values = list[Any]
Features = dict[str, Any]


class Rows(NamedTuple):
    """Texts in the accelerator's memory.

    Attributes:
        ids: uint16 `[rows, s]`, `[CLS] ... [SEP]` and padding.
        lengths: uint16 `[rows]`, tokens of each.
    """

    ids: Any
    lengths: Any

    def features(self, rows: Any) -> Features:
        """The encoder's features of some rows, `[b, s]` each, of one segment."""
        ids = self.ids[rows].astype("int32")
        places = jnp.arange(ids.shape[1])
        mask = (places < self.lengths[rows][:, None]).astype("int32")
        return {"token_ids": ids, "segment_ids": jnp.zeros_like(ids), "padding_mask": mask}


class Windows(NamedTuple):
    """Questions with windows of their contexts, in the accelerator's memory.

    Attributes:
        rows: `[CLS] question [SEP] context [SEP]`.
        begins: int32 `[w]`, where the context begins in each row.
        targets: int32 `[w, 2]`, first and last piece of the answer, both 0 if it is not there.
    """

    rows: Rows
    begins: Any
    targets: Any

    def features(self, rows: Any) -> Features:
        features = self.rows.features(rows)
        places = jnp.arange(features["token_ids"].shape[1])
        second = (places >= self.begins[rows][:, None]).astype("int32")
        return {**features, "segment_ids": second * features["padding_mask"]}


class Network:
    """The encoder with both heads of pretraining and one of question answering.

    Variables have the paths that `SpanBertPretrainer` gives them.  Functions of values, which are
    those of `variables` in order, are pure.

    Args:
        sizes: `vocabulary_size`, `num_layers`, `num_heads`, `hidden_dim`, `intermediate_dim` and
            `max_sequence_length` of the encoder.
        max_targets: See `SpanBertPretrainer`.
        dropout: Rate of all dropout.
    """

    def __init__(self, sizes: dict[str, int], max_targets: int, dropout: float) -> None:
        # Embeddings are looked up in float32, so that their gradient, a sum over many tokens, is
        # made in float32.
        policy = keras.dtype_policies.DTypePolicyMap(
            DTYPE, {"token_embedding": keras.dtype_policies.get("float32")}
        )
        self.backbone = SpanBertBackbone(**sizes, dropout=dropout, dtype=policy)
        self.objectives = PretrainingObjectives(self.backbone, max_targets=max_targets)
        inputs = self.objectives.inputs()
        self.pretraining = keras.Model(inputs, self.objectives.logits(inputs))
        self.span_logits = keras.layers.Dense(2, dtype="float32", name="span_logits")
        self.span_logits.build((None, None, sizes["hidden_dim"]))

        layers = [self.backbone, self.objectives.mlm_head, self.objectives.sbo_head]
        layers.append(self.span_logits)
        # Heads hold the token embedding too.
        unique = {id(v): v for layer in layers for v in layer.trainable_variables}
        self.variables = list(unique.values())
        self.paths = [variable.path for variable in self.variables]
        self.seeds = self.backbone.non_trainable_variables

    def values(self, known: dict[str, np.ndarray], seed: int) -> Values:
        """Values of all variables: those known by their path, the others drawn as layers would."""
        values = []
        for number, (path, variable) in enumerate(zip(self.paths, self.variables, strict=True)):
            shape = tuple(variable.shape)
            if path in known:
                value = jnp.asarray(known[path], "float32")
            elif path.endswith("gamma"):
                value = jnp.ones(shape)
            elif path.endswith(("bias", "beta")):
                value = jnp.zeros(shape)
            else:
                key = jax.random.fold_in(jax.random.key(seed), number)
                value = 0.02 * jax.random.truncated_normal(key, -2, 2, shape)
            if value.shape != shape:
                raise ValueError(f"{path} must be of shape {shape}; received {value.shape}")
            values.append(value)
        return values

    def pretraining_losses(self, values: Values, features: Features, training: bool) -> Values:
        """Means over a batch, in the order of `FIGURES`."""
        inputs = {name: features[name] for name in self.pretraining.input}
        with self._scope(values):
            logits = self.pretraining(inputs, training=training)
        means = self.objectives.means(self.objectives.sums(features, logits))
        return [means[name] for name in FIGURES]

    def answer_logits(
        self, values: Values, features: Features, seeds: Values, training: bool
    ) -> tuple[Any, Values]:
        """Logits of first and last piece, `[b, 2, s]`, and the seeds of the next call."""
        with self._scope(values, seeds) as scope:
            states = self.backbone(features, training=training)["sequence_output"]
            logits = jnp.transpose(self.span_logits(states), (0, 2, 1))
            seeds = [scope.get_current_value(variable) for variable in self.seeds]
        padding = 1.0 - features["padding_mask"].astype("float32")
        return logits - 1e9 * padding[:, None, :], seeds

    def _scope(self, values: Values, seeds: Sequence[Any] = ()) -> keras.StatelessScope:
        known = [*zip(self.variables, values, strict=True), *zip(self.seeds, seeds, strict=False)]
        return keras.StatelessScope(state_mapping=known)


class Training(NamedTuple):
    """What an update changes: values, both moments of each, and how many updates there were."""

    values: Values
    first: Values
    second: Values
    step: Any

    @classmethod
    def begin(cls, values: Values) -> "Training":
        # Copies, as calls take the memory of what they are given.
        zeros = [[jnp.zeros_like(value) for value in values] for _ in range(2)]
        return cls([jnp.array(value) for value in values], *zeros, jnp.zeros((), "int32"))


def updated(state: Training, gradients: Values, rates: Values, decays: list[float]) -> Training:
    """AdamW with a rate for each variable, after clipping all gradients by their common norm."""
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients))
    scale = jnp.minimum(1.0, CLIP_NORM / jnp.maximum(norm, 1e-12))
    step = state.step + 1
    unbias_1, unbias_2 = (1 - beta ** step.astype("float32") for beta in (BETA_1, BETA_2))
    values, first, second = [], [], []
    for value, m, v, gradient, rate, decay in zip(
        state.values, state.first, state.second, gradients, rates, decays, strict=True
    ):
        gradient = gradient * scale
        m = BETA_1 * m + (1 - BETA_1) * gradient
        v = BETA_2 * v + (1 - BETA_2) * jnp.square(gradient)
        change = (m / unbias_1) / (jnp.sqrt(v / unbias_2) + EPSILON) + decay * value
        values.append(value - rate * change)
        first.append(m)
        second.append(v)
    return Training(values, first, second, step)


def _decays(network: Network) -> list[float]:
    return [0.0 if path.endswith(UNDECAYED) else WEIGHT_DECAY for path in network.paths]


def pretraining_call(network: Network) -> Callable[..., tuple[Training, Any]]:
    """Makes the function that takes n steps.

    Returns:
        A function of the training, masked features `[n, b, ...]`, rates `[n, 2]`, of the heads
        and of all else, and the weight of the span boundary objective; it gives the training and
        the figures of all steps, `[n, 4]`.
    """
    decays = _decays(network)
    is_head = [path.startswith(HEADS) for path in network.paths]

    def step(sbo_weight: Any, state: Training, given: tuple[Features, Any]) -> tuple[Training, Any]:
        features, (head_rate, rate) = given

        def loss(values: Values) -> tuple[Any, Values]:
            figures = network.pretraining_losses(values, features, training=True)
            return figures[0] + sbo_weight * figures[2], figures

        (_, figures), gradients = jax.value_and_grad(loss, has_aux=True)(state.values)
        rates = [jnp.where(head, head_rate, rate) for head in is_head]
        return updated(state, gradients, rates, decays), jnp.stack(figures)

    @partial(jax.jit, donate_argnums=0)
    def call(state: Training, features: Features, rates: Any, sbo_weight: Any) -> Any:
        return lax.scan(partial(step, sbo_weight), state, (features, rates))

    return call


def masking_call(masking: SpanMasking, word_starts: Any) -> Callable[..., Features]:
    """Makes the function that masks n batches.

    Args:
        masking: The layer.
        word_starts: bool `[vocabulary]`, of pieces that begin a word.

    Returns:
        A function of `Rows`, numbers of rows `[n, b]` and seeds `[n, 2]`.
    """

    @jax.jit
    def call(rows: Rows, numbers: Any, seeds: Any) -> Features:
        def batch(given: tuple[Any, Any]) -> Features:
            features = rows.features(given[0])
            starts = word_starts[features["token_ids"]] * features["padding_mask"]
            return masking({**features, "word_starts": starts}, seed=given[1])

        return lax.map(batch, (numbers, seeds))

    return call


def validation_call(network: Network) -> Callable[[Values, Features], Any]:
    """Makes the function that measures `FIGURES` on masked batches `[n, b, ...]`: means of n."""

    @jax.jit
    def call(values: Values, features: Features) -> Any:
        figures = partial(network.pretraining_losses, values, training=False)
        return jnp.stack(lax.map(figures, features)).mean(axis=1)

    return call


def answering_call(network: Network) -> Callable[..., tuple[Training, Any]]:
    """Makes the function that fine-tunes on windows for n steps.

    Returns:
        A function of the training, `Windows`, their numbers `[n, b]`, rates `[n]` and a seed; it
        gives the training and the losses.
    """
    decays = _decays(network)

    def step(windows: Windows, carry: Any, given: Any) -> Any:
        state, seeds = carry
        numbers, rate = given
        features, targets = windows.features(numbers), windows.targets[numbers]

        def loss(values: Values) -> tuple[Any, Values]:
            logits, following = network.answer_logits(values, features, seeds, training=True)
            losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)
            return losses.mean(), following

        (value, seeds), gradients = jax.value_and_grad(loss, has_aux=True)(state.values)
        state = updated(state, gradients, [rate] * len(decays), decays)
        return (state, seeds), value

    @partial(jax.jit, donate_argnums=0)
    def call(state: Training, windows: Windows, numbers: Any, rates: Any, seed: Any) -> Any:
        # Each dropout counts on from a seed of its own.
        seeds = [
            jnp.stack([seed, 1000 * place]).astype(variable.dtype)
            for place, variable in enumerate(network.seeds)
        ]
        (state, _), losses = lax.scan(partial(step, windows), (state, seeds), (numbers, rates))
        return state, losses

    return call


def prediction_call(network: Network) -> Callable[[Values, Windows, Any], Any]:
    """Makes the function that answers windows `[n, b]` of a question each.

    Returns:
        A function that gives the best span of each window, `[n, b]` each: the sum of its logits,
        its first piece and its last.
    """

    def batch(values: Values, windows: Windows, numbers: Any) -> Any:
        features = windows.features(numbers)
        seeds = [jnp.zeros(v.shape, v.dtype) for v in network.seeds]
        logits, _ = network.answer_logits(values, features, seeds, training=False)
        places = jnp.arange(logits.shape[-1])
        last = windows.rows.lengths[numbers][:, None] - 1  # [SEP], which is of no context
        allowed = (places >= windows.begins[numbers][:, None]) & (places < last)
        first, last = jnp.where(allowed[:, None], logits, -jnp.inf).transpose(1, 0, 2)
        ends = jnp.pad(last, ((0, 0), (0, LONGEST_ANSWER)), constant_values=-jnp.inf)
        sums = jnp.stack(
            [first + ends[:, more : more + first.shape[1]] for more in range(LONGEST_ANSWER)], 1
        )  # [b, LONGEST_ANSWER, s]: of equals the shortest, then the first
        flat = sums.reshape(len(sums), -1)
        best = flat.argmax(axis=1)
        begin = best % first.shape[1]
        return flat.max(axis=1), begin, begin + best // first.shape[1]

    @jax.jit
    def call(values: Values, windows: Windows, numbers: Any) -> Any:
        return lax.map(partial(batch, values, windows), numbers)

    return call
