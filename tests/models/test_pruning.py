"""Narrower feed-forward networks: which neurons stay, and that nothing but the others is gone."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import spanbert_tf
from spanbert_tf import (
    SpanBertBackbone,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenizer,
)
from spanbert_tf.models.lora import merge_lora
from spanbert_tf.models.pruning import neuron_importance, prune
from tests.layer_checks import as_numpy, randomize

LETTERS = [*"abcdefgh"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
LAYERS, NEURONS = 2, 12


def make_task(pooling: str = "mean") -> SpanBertTextClassifier:
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(
        len(PIECES), LAYERS, 2, 8, NEURONS, dropout=0.0, max_sequence_length=9
    )
    preprocessor = SpanBertTextClassifierPreprocessor(SpanBertTokenizer(PIECES), 8)
    task = SpanBertTextClassifier(backbone, 3, preprocessor, ["x", "y", "z"], pooling)
    randomize(task, seed=1)
    return task


def make_texts(count: int) -> tuple[list[str], np.ndarray]:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(LETTERS, generator.integers(1, 6))) for _ in range(count)]
    return texts, generator.integers(0, 3, count)


def scale_neurons(task: SpanBertTextClassifier, layer: int, factors: np.ndarray) -> None:
    """Multiplies what the neurons of a layer give."""
    kernel = task.backbone.transformer_layers[layer].output_dense.kernel
    kernel.assign(as_numpy(kernel) * factors[:, None])


def change_of_loss(
    task: SpanBertTextClassifier, layer: int, text: str, label: int, step: float = 1e-2
) -> np.ndarray:
    """By how much the loss changes with each token's neurons, of finite differences: `[s, I]`."""
    features = task.preprocessor([text])
    tokens = features["token_ids"].shape[1]
    copies = {name: np.repeat(x, tokens * NEURONS, axis=0) for name, x in features.items()}
    product = task.backbone.transformer_layers[layer].output_dense
    call = product.call

    def moved(x: tf.Tensor, factor: float, training: bool) -> tf.Tensor:
        """Each token's each neuron gives more in a copy of its own."""
        of_copies = np.array(x).reshape(tokens, NEURONS, -1, NEURONS)
        for token in range(of_copies.shape[2]):
            of_copies[token, range(NEURONS), token, range(NEURONS)] *= factor
        return call(of_copies.reshape(-1, NEURONS))

    losses = []
    for sign in (1, -1):
        vars(product)["call"] = partial(moved, factor=1 + sign * step)
        logits = as_numpy(task(copies, training=False)).astype("float64")
        losses.append(np.log(np.exp(logits).sum(axis=1)) - logits[:, label])
    del vars(product)["call"]
    return ((losses[0] - losses[1]) / (2 * step)).reshape(tokens, NEURONS)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_importance_is_what_the_loss_changes_by(pooling: str):
    task, (texts, labels) = make_task(pooling), make_texts(5)
    found = neuron_importance(task, texts, labels, batch_size=2)
    expected = [
        sum(
            np.abs(change_of_loss(task, layer, *each)).sum(axis=0)
            for each in zip(texts, labels, strict=True)
        )
        for layer in range(LAYERS)
    ]
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-3)


def test_a_pruned_encoder_gives_what_the_masked_one_gives():
    task, (texts, labels) = make_task(), make_texts(12)
    importance = neuron_importance(task, texts, labels)
    smaller = prune(task, 5, texts, labels)
    assert smaller.backbone.intermediate_dim == 5
    assert smaller.class_names == task.class_names
    whole = task.predict(texts, verbose=0)
    for layer in range(LAYERS):
        least = np.argsort(importance[layer])[: NEURONS - 5]
        mask = np.ones(NEURONS, "float32")
        mask[least] = 0
        scale_neurons(task, layer, mask)
    masked = task.predict(texts, verbose=0)
    assert np.abs(masked - whole).max() > 1e-3
    np.testing.assert_allclose(smaller.predict(texts, verbose=0), masked, atol=1e-5)
    # It is a task like others: it learns, and is saved.
    smaller.fit(texts, labels, epochs=1, verbose=0)


def test_neurons_that_do_nothing_go_first(tmp_path):
    task, (texts, labels) = make_task(), make_texts(12)
    dead = np.ones((LAYERS, NEURONS), "float32")
    dead[0, [1, 4, 7]] = dead[1, [0, 2, 11]] = 0
    for layer in range(LAYERS):
        scale_neurons(task, layer, dead[layer])
    before = task.predict(texts, verbose=0)
    smaller = spanbert_tf.prune(task, NEURONS - 3, texts, labels)
    np.testing.assert_allclose(smaller.predict(texts, verbose=0), before, atol=1e-5)
    smaller.save_to_preset(str(tmp_path / "preset"))
    again = SpanBertTextClassifier.from_preset(str(tmp_path / "preset"))
    np.testing.assert_array_equal(
        again.predict(texts, verbose=0), smaller.predict(texts, verbose=0)
    )
    assert not any("call" in vars(layer.output_dense) for layer in task.backbone.transformer_layers)


def test_an_adapter_is_merged_first():
    task, (texts, labels) = make_task(), make_texts(8)
    task.backbone.enable_lora(2)
    randomize(task, seed=2, scale=0.1)
    smaller = prune(task, NEURONS, texts, labels)
    np.testing.assert_allclose(
        smaller.predict(texts, verbose=0), merge_lora(task).predict(texts, verbose=0), atol=1e-5
    )


def test_what_cannot_be_pruned_is_refused():
    task, (texts, labels) = make_task(), make_texts(4)
    for number in (0, NEURONS + 1):
        with pytest.raises(ValueError, match="`intermediate_dim` must be from 1 to 12"):
            prune(task, number, texts, labels)
    with pytest.raises(ValueError, match="texts in memory"):
        prune(task, 4, tf.data.Dataset.from_tensor_slices(texts), labels)
    task.quantize("int8")
    with pytest.raises(ValueError, match="is quantized: prune it before"):
        prune(task, 4, texts, labels)
