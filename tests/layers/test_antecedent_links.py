"""Links in a window against all pairs in NumPy, and their loss by hand."""

import numpy as np
import pytest
from keras import ops

from spanbert_tf.layers.antecedent_links import (
    DISTANCES,
    AntecedentLinks,
    antecedent_losses,
    clusters_of_spans,
    span_hashes,
)
from spanbert_tf.layers.span_scoring import NEVER
from tests.layer_checks import randomize

B, S, H, M = 2, 24, 6, 11


def make_mentions(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Different spans of up to 4 tokens, in order; some share a token."""
    firsts, lasts = [], []
    for _ in range(B):
        spans = {(int(i), int(i) + int(d)) for i, d in generator.integers(0, (S - 4, 4), (60, 2))}
        first, last = zip(*sorted(sorted(spans)[:: len(spans) // M][:M]), strict=True)
        firsts.append(first)
        lasts.append(last)
    return np.array(firsts, "int32"), np.array(lasts, "int32")


@pytest.mark.parametrize("window", [1, 4, 50])
def test_links_equal_all_pairs_in_a_window(window: int):
    generator = np.random.default_rng(window)
    states = generator.standard_normal((B, S, H)).astype("float32")
    token_ids = generator.integers(0, 3, (B, S)).astype("int32")
    firsts, lasts = make_mentions(generator)
    mention_scores = generator.standard_normal((B, M)).astype("float32")
    layer = AntecedentLinks(window, 4)
    layer(states)
    randomize(layer)
    boundaries = np.array(layer(states))
    found = np.array(layer.links(boundaries, token_ids, firsts, lasts, mention_scores))
    assert found.shape == (B, M, window)

    bilinear = layer.bilinear.get_weights()[0]
    kernel, bias = layer.weights_of_features.get_weights()
    seen = set()
    for b in range(B):
        mentions = [
            np.concatenate([boundaries[b, i, :H], boundaries[b, j, H:]])
            for i, j in zip(firsts[b], lasts[b], strict=True)
        ]
        words = [token_ids[b, i : j + 1].tolist() for i, j in zip(firsts[b], lasts[b], strict=True)]
        for i in range(M):
            weights = mentions[i] @ kernel + bias
            for d in range(window):
                j = i - window + d
                if j < 0:
                    assert found[b, i, d] < NEVER / 2
                    continue
                features = [firsts[b, i] - firsts[b, j] >= distance for distance in DISTANCES]
                features += [words[i] == words[j], words[i][0] == words[j][0]]
                features += [words[i][-1] == words[j][-1], lasts[b, j] >= firsts[b, i]]
                seen |= set(zip(range(9, 13), features[9:], strict=True))
                score = mentions[i] @ bilinear @ mentions[j] / np.sqrt(2 * H)
                score += weights[0] + weights[1:] @ np.array(features, "float64")
                score -= np.log1p(np.exp(-mention_scores[b, j]))
                assert found[b, i, d] == pytest.approx(score, abs=1e-3)
    if window > 4:
        assert len(seen) == 8  # Each of the last features is there, and is not.


def test_no_gradient_goes_to_the_scores_of_mentions():
    import tensorflow as tf

    generator = np.random.default_rng(0)
    states = tf.constant(generator.standard_normal((1, 9, H)), tf.float32)
    layer = AntecedentLinks(3, 2, dropout=0.2)
    scores = tf.zeros((1, 4))
    firsts, token_ids = tf.constant([[1, 2, 5, 6]]), tf.range(9)[None]
    with tf.GradientTape() as tape:
        tape.watch([states, scores])
        links = layer.links(layer(states, training=True), token_ids, firsts, firsts, scores)
        loss = tf.reduce_sum(tf.nn.relu(links))
    variables = [variable.value for variable in layer.trainable_variables]
    *gradients, of_scores = tape.gradient(loss, [states, *variables, scores])
    assert all(gradient is not None for gradient in gradients)
    assert of_scores is None


def test_hashes_are_equal_where_the_tokens_are():
    token_ids = np.array([[5, 6, 5, 6, 6, 5, 0, 5]], "int32")
    firsts = np.array([[0, 2, 0, 3, 4, 7, 6]], "int32")
    lasts = np.array([[1, 3, 0, 4, 5, 7, 7]], "int32")
    words = [tuple(token_ids[0, i : j + 1]) for i, j in zip(firsts[0], lasts[0], strict=True)]
    hashes = np.array(span_hashes(token_ids, firsts, lasts, 3))[0]
    np.testing.assert_array_equal(
        hashes[:, None] == hashes, [[one == other for other in words] for one in words]
    )


def test_losses_by_hand():
    """Of four mentions, the first two and the last are of one cluster; the third is none."""
    links = np.full((1, 4, 2), NEVER, "float32")
    links[0, 1] = [NEVER, 1.0]
    links[0, 2] = [0.5, 0.25]
    links[0, 3] = [2.0, -1.0]  # with the second and the third
    clusters = np.array([[3, 3, 0, 3]], "int32")
    found = np.array(antecedent_losses(links, clusters))[0]
    e = np.exp
    expected = [0.0, np.log(1 + e(1)) - 1, 0.0, np.log(1 + e(2) + e(-1)) - 2]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # A mention of its own, and one whose cluster is beyond the window, are right with the dummy.
    found = np.array(antecedent_losses(links, np.array([[3, 1, 2, 3]], "int32")))[0]
    expected = [0.0, np.log(1 + e(1)), np.log(1 + e(0.5) + e(0.25)), np.log(1 + e(2) + e(-1))]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Several that are right share what is right.
    found = np.array(antecedent_losses(links, np.array([[1, 1, 1, 1]], "int32")))[0]
    expected = np.log(1 + e(2) + e(-1)) - np.log(e(2) + e(-1))
    assert found[3] == pytest.approx(expected, abs=1e-6)


def test_clusters_lie_where_spans_do():
    mentions = np.array([[[1, 2, 0], [3, 3, 7]], [[0, 1, 4], [-1, -1, -1]]], "int32")
    found = np.array(clusters_of_spans(mentions, ops.zeros((2, 4, 2))))
    expected = np.zeros((2, 4, 2), int)
    expected[0, 1, 1], expected[0, 3, 0], expected[1, 0, 1] = 1, 8, 5
    np.testing.assert_array_equal(found, expected)
