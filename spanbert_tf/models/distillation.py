"""Smaller networks that learn from larger ones.

A student has fewer layers, those of an encoder that are evenly spaced (Sun et al., 2019; Sanh et
al., 2019).  Beside labels it learns how probable its teacher holds each class (Hinton et al.,
2015), and the states of its teacher's layers (Romero et al., 2015).

Letters: b batch, s sequence, H hidden, c classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from keras import ops

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.features import PADDING_MASK
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.recorded_calls import recorded_calls
from spanbert_tf.models.warm_start import evenly_chosen


def with_layers(backbone: SpanBertBackbone, num_layers: int) -> SpanBertBackbone:
    """Makes an encoder of fewer layers: the embeddings, and layers that are evenly spaced.

    Args:
        backbone: It stays as it is.
        num_layers: How many layers, see `evenly_chosen`.

    Returns:
        One with weights of its own; the same if it has so many layers.

    Raises:
        ValueError: It has fewer.
    """
    if num_layers > backbone.num_layers:
        raise ValueError(
            f"`layers` must be {backbone.num_layers} at most, as many as the encoder has, but is "
            f"{num_layers}."
        )
    if num_layers == backbone.num_layers:
        return backbone
    smaller = type(backbone).from_config({**backbone.get_config(), "num_layers": num_layers})
    chosen = evenly_chosen(backbone.num_layers, num_layers)
    layers = [backbone.transformer_layers[number] for number in chosen]
    for new, old in zip(
        [smaller.token_embedding, smaller.embeddings, *smaller.transformer_layers],
        [backbone.token_embedding, backbone.embeddings, *layers],
        strict=True,
    ):
        new.set_weights(old.get_weights())
    return smaller


def soft_loss(logits: Any, teachers: Any, temperature: float, weights: Any = None) -> Any:
    """How far classes are from being as probable as a teacher holds them (Hinton et al., 2015).

    The Kullback-Leibler divergence of both softmaxes through a temperature, times its square, so
    that gradients do not shrink with it.

    Args:
        logits: float `[..., c]`.
        teachers: The teacher's, float `[..., c]`.
        temperature: What logits are divided by; above 1 less probable classes count for more.
        weights: What each softmax counts, `[...]`.  `None`: all the same.

    Returns:
        float32 scalar, the mean.
    """
    ours, theirs = (
        ops.log_softmax(ops.cast(x, "float32") / temperature, axis=-1) for x in (logits, teachers)
    )
    losses = ops.sum(ops.exp(theirs) * (theirs - ours), axis=-1)
    return temperature**2 * _mean(losses, weights)


def state_loss(states: Sequence[Any], teachers: Sequence[Any], padding_mask: Any) -> Any:
    """Mean squared difference of states from a teacher's, over layers, tokens and numbers.

    Args:
        states: A float `[b, s, H]` for each layer, or `[b, 1, H]` of [CLS] alone.
        teachers: The teacher's, of the layers that are matched with these.
        padding_mask: `[b, s]`, 1 at a token.

    Returns:
        float32 scalar.
    """
    losses = []
    for ours, theirs in zip(states, teachers, strict=True):
        length = 1 if 1 in (ours.shape[1], theirs.shape[1]) else None
        ours, theirs = (ops.cast(x[:, :length], "float32") for x in (ours, theirs))
        squares = ops.mean(ops.square(ours - theirs), axis=-1)
        losses.append(_mean(squares, padding_mask[:, :length]))
    return sum(losses) / len(losses)


def check_teacher(student: Any, teacher: Any) -> None:
    """Checks that a teacher can read what its student reads, and has the same kind of head.

    Args:
        student: A task with a preprocessor.
        teacher: Another of the same class.

    Raises:
        ValueError: It has other word pieces, no positions for such long rows, or another head.
    """
    ours, theirs = (_reading_of(of.preprocessor.tokenizer) for of in (student, teacher))
    if ours != theirs:
        raise ValueError(
            "a teacher reads the word pieces of its student, but the tokenizers of these two "
            "differ in vocabulary, case or added tokens: start from the teacher's encoder, or from "
            "another of its vocabulary."
        )
    check_fit(teacher.backbone, student.preprocessor)
    for name in student.taught_alike:
        own, of_teacher = getattr(student, name), getattr(teacher, name)
        if own != of_teacher:
            raise ValueError(
                f"`{name}` must be what it is of the teacher, {of_teacher!r}, but is {own!r}."
            )


@contextmanager
def taught(student: Any, teacher: Any, temperature: float) -> Iterator[None]:
    """Lets a task learn from another while it is trained: `fit` has the teacher's losses too.

    They are `soft_loss` of the task's `compared_logits`, and where both encoders have one width and
    the teacher no fewer layers, `state_loss` of the student's layers with the teacher's that are
    evenly spaced.  Losses outside of training stay those of the labels alone.

    Args:
        student: A task that is compiled.
        teacher: Another of the same class, see `check_teacher`; it stays as it is.
        temperature: See `soft_loss`.
    """
    ours, theirs = student.backbone, teacher.backbone
    matched: list[int] = []
    if ours.hidden_dim == theirs.hidden_dim and ours.num_layers <= theirs.num_layers:
        matched = evenly_chosen(theirs.num_layers, ours.num_layers)
    of_labels = student.compute_loss

    def compute_loss(
        x: Any, y: Any, y_pred: Any, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = of_labels(x, y, y_pred, sample_weight, training=training)
        if not training:
            return loss
        with _recorded_states(theirs) as of_teacher:
            outputs = teacher(x, training=False)
        logits, weights = student.compared_logits(y_pred, x)
        soft = ops.stop_gradient(teacher.compared_logits(outputs, x)[0])
        loss += soft_loss(logits, soft, temperature, weights)
        if matched:
            wanted = [ops.stop_gradient(of_teacher[number]) for number in matched]
            loss += state_loss(states, wanted, x[PADDING_MASK.name])
        return loss

    with _recorded_states(ours) as states:
        student.__dict__["compute_loss"] = compute_loss
        student.train_function = None  # Keras traces a step anew: this one has a teacher,
        try:
            yield
        finally:
            del student.__dict__["compute_loss"]
            student.train_function = None  # and those to come have none.


def _recorded_states(backbone: SpanBertBackbone) -> AbstractContextManager[list[Any]]:
    """Lists what each layer of an encoder gave when it was called last."""
    return recorded_calls(backbone.transformer_layers, lambda _, states: states)


def _reading_of(tokenizer: Any) -> tuple[list[str], bool, Any]:
    """What says which word pieces a text has."""
    return tokenizer.get_vocabulary(), bool(tokenizer.lowercase), tokenizer.added_tokens


def _mean(losses: Any, weights: Any) -> Any:
    if weights is None:
        return ops.mean(losses)
    weights = ops.cast(weights, "float32")
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1e-6)
