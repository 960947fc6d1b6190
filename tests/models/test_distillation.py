"""Students of fewer layers, and the losses that bring them near to a teacher."""

from typing import Any

import keras
import numpy as np
import pytest

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertQuestionAnswerer,
    SpanBertQuestionAnswererPreprocessor,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenClassifier,
    SpanBertTokenClassifierPreprocessor,
    SpanBertTokenizer,
)
from spanbert_tf.models.distillation import (
    check_teacher,
    soft_loss,
    state_loss,
    taught,
    with_layers,
)
from spanbert_tf.models.warm_start import evenly_chosen
from tests.layer_checks import as_numpy, randomize

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
IDS = np.array([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]], "int32")
FEATURES = {
    "token_ids": IDS,
    "segment_ids": 0 * IDS,
    "padding_mask": (IDS > 0).astype("int32"),
}


def make_backbone(layers: int = 4, hidden: int = 8, seed: int = 0) -> SpanBertBackbone:
    backbone = SpanBertBackbone(
        len(PIECES), layers, 2, hidden, 12, max_sequence_length=9, dropout=0.0
    )
    randomize(backbone, seed=seed)
    return backbone


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def divergence(logits: np.ndarray, teachers: np.ndarray, temperature: float) -> np.ndarray:
    """Class by class, as Hinton et al. have it."""
    ours, theirs = log_softmax(logits / temperature), log_softmax(teachers / temperature)
    return temperature**2 * (np.exp(theirs) * theirs - np.exp(theirs) * ours).sum(axis=-1)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_losses_by_hand(temperature: float):
    generator = np.random.default_rng(0)
    ours, theirs = generator.standard_normal((2, 2, 3, 5)).astype("float32") * 4
    expected = divergence(ours, theirs, temperature)
    assert float(soft_loss(ours, theirs, temperature)) == pytest.approx(expected.mean(), rel=1e-4)
    words = np.array([[1, 0, 1], [0, 0, 1]])
    weighted = (expected * words).sum() / 3
    assert float(soft_loss(ours, theirs, temperature, words)) == pytest.approx(weighted, rel=1e-4)
    assert float(soft_loss(ours + 7, ours, temperature)) == pytest.approx(0, abs=1e-5)


def test_state_losses_by_hand():
    generator = np.random.default_rng(1)
    ours, theirs = generator.standard_normal((2, 2, 2, 5, 8)).astype("float32")
    mask = FEATURES["padding_mask"]
    squares = ((ours - theirs) ** 2).mean(axis=-1)
    expected = (squares * mask).sum(axis=(1, 2)) / mask.sum()
    found = float(state_loss(list(ours), list(theirs), mask))
    assert found == pytest.approx(expected.mean(), rel=1e-5)
    # The last layer of the one has [CLS] alone.
    found = float(state_loss([ours[0], ours[1, :, :1]], list(theirs), mask))
    assert found == pytest.approx((expected[0] + squares[1, :, 0].mean()) / 2, rel=1e-5)


@pytest.mark.parametrize(("layers", "chosen"), [(1, [3]), (2, [0, 3]), (3, [0, 2, 3])])
def test_a_student_begins_with_layers_of_the_encoder(layers: int, chosen: list[int]):
    encoder = make_backbone()
    student = with_layers(encoder, layers)
    assert evenly_chosen(4, layers) == chosen
    assert student.get_config()["num_layers"] == layers == len(student.transformer_layers)
    x = encoder.embeddings(encoder.token_embedding(IDS), FEATURES["segment_ids"])
    bias = -1e9 * (1.0 - FEATURES["padding_mask"][:, None, None].astype("float32"))
    for number in chosen:
        x = encoder.transformer_layers[number](x, bias)
    states = as_numpy(student(FEATURES)["sequence_output"])
    tokens = FEATURES["padding_mask"] > 0
    np.testing.assert_allclose(states[tokens], as_numpy(x)[tokens], atol=1e-5)
    # With weights of its own.
    before = as_numpy(encoder.token_embedding.embeddings).copy()
    student.token_embedding.embeddings.assign(0 * before)
    np.testing.assert_array_equal(as_numpy(encoder.token_embedding.embeddings), before)


def test_no_more_layers_than_the_encoder_has():
    encoder = make_backbone()
    assert with_layers(encoder, 4) is encoder
    with pytest.raises(ValueError, match=r"`layers` must be 4 at most, .* but is 5"):
        with_layers(encoder, 5)


def make_task(kind: str, layers: int, seed: int, hidden: int = 8) -> Any:
    backbone, tokenizer = make_backbone(layers, hidden, seed), SpanBertTokenizer(PIECES)
    if kind == "tags":
        preprocessor: Any = SpanBertTokenClassifierPreprocessor(tokenizer, sequence_length=8)
        task: Any = SpanBertTokenClassifier(backbone, ["LOC", "PER"], preprocessor, dropout=0.0)
    elif kind == "answers":
        preprocessor = SpanBertQuestionAnswererPreprocessor(tokenizer, sequence_length=8)
        task = SpanBertQuestionAnswerer(backbone, preprocessor, dropout=0.0)
    else:
        preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, sequence_length=8)
        options = {"activation": "sigmoid"} if kind == "sets" else {"pooling": kind}
        names = ["x", "y", "z"]
        task = SpanBertTextClassifier(backbone, 3, preprocessor, names, dropout=0.0, **options)
    randomize(task, seed=seed)
    task.compile()
    return task


def inputs_of(kind: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    if kind == "tags":
        words = np.array([[0, 1, 0, 1, 0], [0, 1, 0, 0, 0]], "int32")
        return {**FEATURES, "word_starts": words}, np.array([[0, 1, 0, 2, 0], [0, 3, 0, 0, 0]])
    if kind == "answers":
        segments = np.array([[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]], "int32")
        return {**FEATURES, "segment_ids": segments}, np.array([[3, 3], [0, 0]])
    return FEATURES, np.eye(3, dtype="float32")[:2] if kind == "sets" else np.array([0, 2])


def compared(kind: str, task: Any, outputs: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits that differ from what was learned by no more than a number each, and weights."""
    if kind == "tags":
        return as_numpy(outputs["logits"]), inputs_of(kind)[0]["word_starts"]
    if kind == "answers":
        return np.stack([as_numpy(outputs[f"{side}_logits"]) for side in ("start", "end")], 1), None
    if kind == "sets":
        probabilities = as_numpy(outputs).astype("float64")
        logits = np.log(probabilities / (1 - probabilities))
        return np.stack([logits / 2, -logits / 2], axis=-1), None
    return as_numpy(outputs), None


def states_of(task: Any, features: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Of each layer, computed one after the other."""
    of = task.backbone
    x, states = of.embeddings(of.token_embedding(IDS), features["segment_ids"]), []
    bias = -1e9 * (1.0 - features["padding_mask"][:, None, None].astype("float32"))
    for layer in of.transformer_layers:
        x = layer(x, bias)
        states.append(as_numpy(x))
    return states


@pytest.mark.parametrize("kind", ["cls", "mean", "sets", "tags", "answers"])
def test_a_step_has_all_three_losses(kind: str):
    student, teacher = make_task(kind, 2, 1), make_task(kind, 4, 2)
    check_teacher(student, teacher)
    x, y = inputs_of(kind)
    outputs = student(x, training=True)
    of_labels = float(student.compute_loss(x, y, outputs, training=True))
    with taught(student, teacher, 2.5):
        outputs = student(x, training=True)
        loss = float(student.compute_loss(x, y, outputs, training=True))
        assert float(student.compute_loss(x, y, outputs, training=False)) == pytest.approx(
            of_labels, rel=1e-5
        )
    ours, weights = compared(kind, student, outputs)
    theirs, _ = compared(kind, teacher, teacher(x, training=False))
    losses = divergence(ours, theirs, 2.5)
    soft = losses.mean() if weights is None else (losses * weights).sum() / weights.sum()
    mask = x["padding_mask"]
    deep = states_of(teacher, x)
    pairs = zip(states_of(student, x), [deep[0], deep[3]], strict=True)
    squares = [((one - other) ** 2).mean(axis=-1) for one, other in pairs]
    of_layers = [(of * mask).sum() / mask.sum() for of in squares]
    if kind in ("cls", "sets"):  # Their head reads no more of the last layer.
        of_layers[1] = squares[1][:, 0].mean()
    assert loss == pytest.approx(of_labels + soft + np.mean(of_layers), rel=1e-3)
    # Nothing of it is left.
    outputs = student(x, training=True)
    assert float(student.compute_loss(x, y, outputs)) == pytest.approx(of_labels, rel=1e-5)
    touched = [student, *student.backbone.transformer_layers, *teacher.backbone.transformer_layers]
    assert not any({"call", "compute_loss"} & vars(each).keys() for each in touched)


@pytest.mark.parametrize(("layers", "hidden"), [(2, 6), (5, 8)])
def test_states_are_compared_only_where_they_match(layers: int, hidden: int):
    """Neither of another width, nor with a teacher of fewer layers."""
    student, teacher = make_task("mean", layers, 1, hidden), make_task("mean", 4, 2)
    x, y = inputs_of("mean")
    outputs = student(x, training=True)
    of_labels = float(student.compute_loss(x, y, outputs))
    with taught(student, teacher, 2.0):
        outputs = student(x, training=True)
        loss = float(student.compute_loss(x, y, outputs))
    soft = divergence(as_numpy(outputs), as_numpy(teacher(x, training=False)), 2.0).mean()
    assert loss == pytest.approx(of_labels + soft, rel=1e-4)


def test_fit_brings_a_student_near_to_its_teacher_which_stays_as_it_is():
    student, teacher = make_task("mean", 1, 1), make_task("mean", 2, 2)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice([*"abcdefgh"], 4)) for _ in range(48)]
    labels = teacher.predict(texts, verbose=0).argmax(axis=1)

    def distance() -> float:
        logits, soft = (of.predict(texts, verbose=0) for of in (student, teacher))
        return float(divergence(logits, soft, 1.0).mean())

    before, weights = distance(), [as_numpy(each).copy() for each in teacher.weights]
    student.compile(keras.optimizers.Adam(5e-3))
    with taught(student, teacher, 2.0):
        history = student.fit(texts, labels, batch_size=16, epochs=6, verbose=0).history
    assert distance() < before / 2
    for now, then in zip(teacher.weights, weights, strict=True):
        np.testing.assert_array_equal(as_numpy(now), then)
    # Training without it has the loss of the labels alone again.
    alone = student.fit(texts, labels, batch_size=16, epochs=1, verbose=0).history
    expected = student.evaluate(texts, labels, return_dict=True, verbose=0)["loss"]
    assert alone["loss"][0] == pytest.approx(expected, abs=0.3)
    assert alone["loss"][0] < history["loss"][-1]


def test_a_teacher_must_fit():
    student = make_task("mean", 1, 1)
    teacher = make_task("mean", 2, 2)
    teacher.preprocessor = SpanBertTextClassifierPreprocessor(
        SpanBertTokenizer([*PIECES[:-2], "h", "g"]), 8
    )
    with pytest.raises(ValueError, match="the tokenizers of these two "):
        check_teacher(student, teacher)
    with pytest.raises(ValueError, match=r"`is_multi_label` must be .* True, but is False"):
        check_teacher(student, make_task("sets", 2, 2))
    student.preprocessor = SpanBertTextClassifierPreprocessor(SpanBertTokenizer(PIECES), 12)
    with pytest.raises(ValueError, match="the backbone has positions for 9 tokens"):
        check_teacher(student, make_task("mean", 2, 2))
