"""Decoders that begin with weights: of an encoder (Rothe et al., 2020), or of a trained decoder."""

from typing import Any

import numpy as np
from keras import ops

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.layers.text_decoder import TextDecoder


def start_decoder(decoder: TextDecoder, encoder: SpanBertBackbone) -> None:
    """Copies an encoder's weights into a decoder of its widths, whose embedding it shares.

    Into its layers go those of as many of the encoder's, evenly spaced, the last among them; and
    the embeddings of positions, repeated where the decoder has more, with that of the first
    segment.  What attends to the encoder, and the bias of the logits, stay as they are.

    Args:
        decoder: Its weights are overwritten.
        encoder: Whose they become.

    Raises:
        ValueError: The decoder has an embedding of its own.
    """
    if decoder.token_embedding is not encoder.token_embedding:
        raise ValueError(
            "a decoder begins with the encoder's weights only where both share a vocabulary; "
            "received one with an embedding of its own"
        )
    last = encoder.num_layers - 1
    chosen = np.linspace(last, 0, decoder.num_layers).round().astype(int)[::-1]
    for layer, number in zip(decoder.decoder_layers, chosen, strict=True):
        of = encoder.transformer_layers[number]
        for new, old in (
            (layer.attention.qkv_dense, of.attention.qkv_dense),
            (layer.attention.output_dense, of.attention.output_dense),
            (layer.intermediate_dense, of.intermediate_dense),
            (layer.output_dense, of.output_dense),
        ):
            new.kernel.assign(old.kernel)
            new.bias.assign(old.bias)
        _copy(layer.attention_layer_norm, of.attention_layer_norm)
        _copy(layer.output_layer_norm, of.output_layer_norm)
    of_text = encoder.embeddings
    places, segments = map(
        ops.convert_to_numpy, (of_text.position_embeddings, of_text.segment_embeddings)
    )
    places = places[np.arange(decoder.max_length) % len(places)]
    decoder.position_embeddings.assign(places + segments[0])
    _copy(decoder.embedding_layer_norm, of_text.layer_norm)


def go_on_with_decoder(model: Any, trained: Any) -> None:
    """Copies the weights of a trained model's decoder, on the same encoder, into another's.

    Args:
        model: A `SpanBertSeq2SeqLM`; the weights of its decoder are overwritten.
        trained: The model whose they become.

    Raises:
        ValueError: It is no such model, or its decoder is another.
    """
    if type(trained) is not type(model):
        raise ValueError(
            f"expected a trained {type(model).__name__} in Keras to go on from, got "
            f"{type(trained).__name__}"
        )
    ours, theirs = model.get_config(), trained.get_config()
    for setting, name in (
        ("decoder_layers", "num_layers"),
        ("target_length", "target_length"),
        ("target_vocabulary", "target_vocabulary"),
        ("target_lowercase", "target_lowercase"),
    ):
        if ours[name] != theirs[name]:
            raise ValueError(
                f"`{setting}` must be that of the trained model, {theirs[name]!r:.80}, but is "
                f"{ours[name]!r:.80}."
            )
    _copy(model.text_decoder, trained.text_decoder)


def _copy(new: Any, old: Any) -> None:
    new.set_weights(old.get_weights())
