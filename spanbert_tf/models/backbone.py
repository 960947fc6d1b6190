"""The SpanBERT encoder."""

from typing import Any

import keras
from keras_hub.models import Backbone

from spanbert_tf.features import ENCODER_FEATURES, POSITION_IDS
from spanbert_tf.layers.attention import attention_bias, block_attention_bias
from spanbert_tf.layers.embeddings import PositionAndSegmentEmbedding
from spanbert_tf.layers.gathering import take_positions
from spanbert_tf.layers.transformer import TransformerLayer
from spanbert_tf.tokenizer import SpanBertTokenizer

# Sizes by name: layers, heads, hidden, intermediate, vocabulary.  Base and large are the published
# SpanBERT models (https://huggingface.co/SpanBERT), the others are for small machines.
SIZES = {
    "spanbert_tiny": (2, 2, 128, 512, 28_996),
    "spanbert_mini": (4, 4, 256, 1024, 28_996),
    "spanbert_small": (4, 8, 512, 2048, 28_996),
    "spanbert_l6_h384": (6, 12, 384, 1536, 30_522),
    "spanbert_base_cased": (12, 12, 768, 3072, 28_996),
    "spanbert_large_cased": (24, 16, 1024, 4096, 28_996),
}


def _initializer() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02)


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertBackbone(Backbone):
    """The SpanBERT encoder: BERT's architecture, trained on spans (arXiv 1907.10529).

    GELU is the exact one and every layer norm has epsilon 1e-12, so a converted checkpoint gives
    the outputs it had.  SpanBERT is trained without next-sentence prediction and so has no trained
    pooler: `pooled_output` is the final state of the first token, [CLS].

    Letters: b batch, s sequence, p positions, H hidden.

    Args:
        vocabulary_size: Number of word pieces.
        num_layers: Number of transformer layers.
        num_heads: Number of attention heads; divides `hidden_dim`.
        hidden_dim: Width H of the states.
        intermediate_dim: Width of the feed-forward networks' inner layers.
        dropout: Rate of all dropout layers.
        max_sequence_length: Number of trained positions, the longest input in tokens.
        num_segments: Number of segments a row may have.
        dtype: dtype or dtype policy, such as `"mixed_bfloat16"`.
        **kwargs: `name`, `trainable`.

    Inputs, a dictionary:
        token_ids: int32 `[b, s]`.
        segment_ids: int32 `[b, s]`.
        padding_mask: int32 `[b, s]`, 1 at a token.

    Outputs, a dictionary:
        sequence_output: float `[b, s, H]`.
        pooled_output: float `[b, H]`.

    Raises:
        ValueError: `num_heads` does not divide `hidden_dim`; an input longer than
            `max_sequence_length`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        num_segments: int = 2,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            hidden_dim,
            embeddings_initializer=_initializer(),
            dtype=dtype,
            name="token_embedding",
        )
        self.embeddings = PositionAndSegmentEmbedding(
            max_sequence_length,
            num_segments,
            dropout,
            embeddings_initializer=_initializer(),
            dtype=dtype,
            name="embeddings",
        )
        self.transformer_layers = [
            TransformerLayer(
                num_heads,
                intermediate_dim,
                dropout,
                kernel_initializer=_initializer(),
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(num_layers)
        ]

        inputs = {
            feature.name: keras.Input((None,), dtype=feature.dtype, name=feature.name)
            for feature in ENCODER_FEATURES
        }
        x = self.states_at(inputs)
        super().__init__(
            inputs=inputs,
            outputs={"sequence_output": x, "pooled_output": x[:, 0, :]},
            dtype=dtype,
            **kwargs,
        )

        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length
        self.num_segments = num_segments

    def states_at(self, inputs: dict[str, Any], positions: Any = None) -> Any:
        """Computes final states, at given positions only: the last layer skips all others.

        A task whose head looks at few positions ([CLS], masked pieces) trains faster on these than
        on rows of `sequence_output`, which they equal.

        Args:
            inputs: The encoder's inputs, tensors or `keras.Input`s.  With `position_ids` among
                them, int `[b, s]`, rows may hold several blocks: see `block_attention_bias`.
            positions: int `[b, p]`.  `None`: all.

        Returns:
            float `[b, p, H]`, or `[b, s, H]` without `positions`.
        """
        places = inputs.get(POSITION_IDS.name)
        tokens = self.token_embedding(inputs["token_ids"])
        x = self.embeddings(tokens, inputs["segment_ids"], places)
        if places is None:
            bias = attention_bias(inputs["padding_mask"])
        else:
            bias = block_attention_bias(places)
        for layer in self.transformer_layers[:-1]:
            x = layer(x, bias)
        if places is not None and positions is not None:
            bias = take_positions(bias[:, 0], positions)[:, None]
        return self.transformer_layers[-1](x, bias, positions)

    @classmethod
    def from_preset(
        cls, preset: str, load_weights: bool = True, **kwargs: Any
    ) -> "SpanBertBackbone":
        """Makes a backbone from a preset.

        Args:
            preset: Folder or handle of a preset with weights, or the name of a size:
                `spanbert_tiny` (2 layers x 128), `spanbert_mini` (4 x 256), `spanbert_small`
                (4 x 512), `spanbert_l6_h384`, `spanbert_base_cased`, `spanbert_large_cased`.
            load_weights: Whether to load the weights.  A size has none: pass `False`.
            **kwargs: Constructor arguments that take the place of the preset's.

        Returns:
            A `SpanBertBackbone`.

        Raises:
            ValueError: A size was named with `load_weights=True`, or the folder is no preset of a
                SpanBERT backbone, such as a Hugging Face checkpoint.
        """
        if preset not in SIZES:
            return cls._from_folder(preset, load_weights, **kwargs)
        if load_weights:
            raise ValueError(
                f"{preset!r} names a size and has no weights: pass load_weights=False for random "
                f"ones, or convert a checkpoint to a preset folder first, such as\n"
                f"  spanbert-tf convert hf://SpanBERT/spanbert-base-cased presets/spanbert_base"
            )
        num_layers, num_heads, hidden_dim, intermediate_dim, vocabulary_size = SIZES[preset]
        config = {
            "vocabulary_size": vocabulary_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
        }
        return cls(**{**config, **kwargs})

    @classmethod
    def _from_folder(cls, preset: str, load_weights: bool, **kwargs: Any) -> "SpanBertBackbone":
        try:
            return super().from_preset(preset, load_weights, **kwargs)
        except ValueError as error:
            # What KerasHub makes of a Hugging Face BERT; its GELU and pooler are not SpanBERT's.
            if "`BertBackbone`" not in str(error):
                raise
            raise ValueError(
                f"{preset} holds a BERT that is no preset of SpanBertBackbone; convert the Hugging "
                f"Face checkpoint to one first:\n  spanbert-tf convert {preset} presets/mine"
            ) from error

    def default_lora_layer_names(self) -> list[str]:
        """Names of the layers that `enable_lora` adapts: the fused query, key and value."""
        return ["qkv_dense"]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "max_sequence_length": self.max_sequence_length,
            "num_segments": self.num_segments,
        }


# The tokenizer cannot import its backbone, as imports go one way.  KerasHub pairs them by this.
SpanBertTokenizer.backbone_cls = SpanBertBackbone
