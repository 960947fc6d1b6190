"""Decoders that begin as an encoder."""

import keras
import numpy as np
import pytest

from spanbert_tf import SpanBertBackbone
from spanbert_tf.layers.text_decoder import TextDecoder
from spanbert_tf.models.warm_start import start_decoder
from tests.layer_checks import as_numpy, randomize


@pytest.fixture(scope="module")
def encoder() -> SpanBertBackbone:
    encoder = SpanBertBackbone(11, 3, 2, 8, 12, max_sequence_length=5, dropout=0.0)
    randomize(encoder)
    return encoder


def make_decoder(embedding: keras.layers.ReversibleEmbedding, layers: int) -> TextDecoder:
    decoder = TextDecoder(embedding, layers, 2, 12, max_length=7)
    decoder.build((None, None))
    return decoder


@pytest.mark.parametrize("chosen", [[2], [0, 2], [0, 1, 2], [0, 1, 1, 2]])
def test_what_both_have_computes_the_same(encoder: SpanBertBackbone, chosen: list[int]):
    decoder = make_decoder(encoder.token_embedding, len(chosen))
    start_decoder(decoder, encoder)
    x = np.random.default_rng(0).standard_normal((2, 4, 8)).astype("float32")
    bias = np.zeros((1, 1, 1, 4), "float32")
    for layer, number in zip(decoder.decoder_layers, chosen, strict=True):
        of = encoder.transformer_layers[number]
        for name in ("attention_layer_norm", "intermediate_dense", "output_layer_norm"):
            ours, theirs = (getattr(each, name)(x) for each in (layer, of))
            np.testing.assert_array_equal(as_numpy(ours), as_numpy(theirs))
        np.testing.assert_array_equal(
            as_numpy(layer.attention(x, bias)), as_numpy(of.attention(x, bias))
        )
        inner = np.repeat(x, 3, axis=-1)[..., :12]
        np.testing.assert_array_equal(
            as_numpy(layer.output_dense(inner)), as_numpy(of.output_dense(inner))
        )


def test_pieces_are_embedded_alike(encoder: SpanBertBackbone):
    """With embeddings of positions again from the first where the encoder has no more."""
    decoder = make_decoder(encoder.token_embedding, 1)
    start_decoder(decoder, encoder)
    ids = np.array([[4, 7, 1, 9, 2, 4, 7]])
    x = decoder._embedded(ids, decoder.position_embeddings[None], training=False)
    expected = encoder.embeddings(encoder.token_embedding(ids[:, :5]), np.zeros((1, 5), "int32"))
    np.testing.assert_allclose(as_numpy(x)[:, :5], as_numpy(expected), atol=1e-5)
    np.testing.assert_allclose(as_numpy(x)[:, 5:], as_numpy(expected)[:, :2], atol=1e-5)


def test_another_vocabulary_is_refused(encoder: SpanBertBackbone):
    decoder = make_decoder(keras.layers.ReversibleEmbedding(11, 8), 1)
    with pytest.raises(ValueError, match="only where both share a vocabulary"):
        start_decoder(decoder, encoder)
