"""The SpanBERT encoder."""

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from keras_hub.models import Backbone

from spanbert_tf.features import ENCODER_FEATURES, POSITION_IDS
from spanbert_tf.keras_internals import write_weights
from spanbert_tf.layers.attention import attention_bias, packed_attention_bias
from spanbert_tf.layers.embeddings import CheckedIds, PositionAndSegmentEmbedding
from spanbert_tf.layers.kernels.gathering import take_positions
from spanbert_tf.layers.transformer import TransformerLayer
from spanbert_tf.preset_files import check_preset, check_weights, reading_preset, with_policy
from spanbert_tf.settings import POOLINGS

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
        max_sequence_length: Number of trained positions, the longest input in tokens unless
            `long_positions` says more.
        num_segments: Number of segments a row may have.
        attention: `"dense"`, every token sees every other; or `"bucketed"`, a token sees its block
            of the text and those beside it, at a cost linear in the length: see
            `spanbert_tf.layers.bucketed_attention`.  Both have the same weights, so a preset of one
            loads as the other by `from_preset(preset, attention=...)`.
        block_size: Tokens in a block of bucketed attention.
        neighbors: Blocks that a token sees on each side of its own, 0 or 1.
        global_first_token: Whether in bucketed attention [CLS] sees all tokens and all see it.
        long_positions: The rule for input past `max_sequence_length`.  `None`: it is an error.
            `"restart"`: positions start again at 0 each `max_sequence_length` tokens.  The other
            way to longer input, to `extend` the table, is `extend_positions`.
        dtype: dtype or dtype policy, such as `"mixed_bfloat16"`.
        **kwargs: `name`, `trainable`.

    Inputs:
        token_ids: int32 `[b, s]`.
        segment_ids: int32 `[b, s]`.
        padding_mask: int32 `[b, s]`, 1 at a token.

    Outputs:
        sequence_output: float `[b, s, H]`.
        pooled_output: float `[b, H]`.

    Raises:
        ValueError: `num_heads` does not divide `hidden_dim`; `attention`, `block_size`, `neighbors`
            or `long_positions` is none of its values; an input longer than `max_sequence_length`
            without a rule for it, or with ids that a table has no row for.
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
        attention: str = "dense",
        block_size: int = 64,
        neighbors: int = 1,
        global_first_token: bool = True,
        long_positions: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        self.checked_ids = CheckedIds(vocabulary_size, "token_ids", name="checked_ids")
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
            long_positions=long_positions,
            dtype=dtype,
            name="embeddings",
        )
        self.transformer_layers = [
            TransformerLayer(
                num_heads,
                intermediate_dim,
                dropout,
                kernel_initializer=_initializer(),
                attention=attention,
                block_size=block_size,
                neighbors=neighbors,
                global_first_token=global_first_token,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(num_layers)
        ]

        self.attention = attention  # `states_at` needs it.
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
        self.block_size = block_size
        self.neighbors = neighbors
        self.global_first_token = global_first_token
        self.long_positions = long_positions

    def states_at(self, inputs: dict[str, Any], positions: Any = None) -> Any:
        """Computes final states, at given positions only: the last layer skips all others.

        A task whose head looks at few positions ([CLS], masked pieces) trains faster on these than
        on rows of `sequence_output`, which they equal.

        Args:
            inputs: The encoder's inputs, tensors or `keras.Input`s.  With `position_ids` among
                them, int `[b, s]`, rows may hold several blocks: see `packed_attention_bias`.
            positions: int `[b, p]`.  `None`: all.

        Returns:
            float `[b, p, H]`, or `[b, s, H]` without `positions`.

        Raises:
            ValueError: `position_ids` with bucketed attention.
        """
        places = inputs.get(POSITION_IDS.name)
        if places is not None and self.attention != "dense":
            raise ValueError(
                f"rows of several blocks (position_ids) need attention='dense'; "
                f"received attention={self.attention!r}"
            )
        tokens = self.token_embedding(self.checked_ids(inputs["token_ids"]))
        x = self.embeddings(tokens, inputs["segment_ids"], places)
        if places is None:
            bias = attention_bias(inputs["padding_mask"])
        else:
            bias = packed_attention_bias(places)
        for layer in self.transformer_layers[:-1]:
            x = layer(x, bias)
        if places is not None and positions is not None:
            bias = take_positions(bias[:, 0], positions)[:, None]
        return self.transformer_layers[-1](x, bias, positions)

    def pooled_states(self, inputs: dict[str, Any], pooling: str) -> Any:
        """Computes one vector for each text.

        Args:
            inputs: As for `states_at`.
            pooling: `"cls"`: the final state of [CLS].  `"mean"`: the mean of all final states,
                padding excluded, in float32.

        Returns:
            float `[b, H]`.

        Raises:
            ValueError: An unknown `pooling`.
        """
        if pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {POOLINGS}, but is {pooling!r}.")
        if pooling == "cls":
            cls_position = ops.zeros_like(inputs["token_ids"][:, :1])
            return self.states_at(inputs, cls_position)[:, 0, :]
        mean = keras.layers.GlobalAveragePooling1D(dtype="float32", name="mean_pooling")
        return mean(self(inputs)["sequence_output"], mask=inputs["padding_mask"])

    def extend_positions(self, max_sequence_length: int) -> "SpanBertBackbone":
        """Makes a backbone with more positions, to be trained on long texts.

        The table of positions is repeated, which keeps what a token sees in its neighbourhood:
        training goes on from there and soon tells the copies apart (Longformer, Beltagy et al.,
        2020).  Before training, states are those of `long_positions="restart"`.

        Args:
            max_sequence_length: Number of positions, at least as many as there are.

        Returns:
            A `SpanBertBackbone` with weights of its own, all others as they are here.

        Raises:
            ValueError: There are more positions already.
        """
        old = self.max_sequence_length
        if max_sequence_length < old:
            raise ValueError(
                f"max_sequence_length must be at least the backbone's own, {old}; "
                f"received {max_sequence_length}"
            )
        longer = type(self).from_config(
            {**self.get_config(), "max_sequence_length": max_sequence_length}
        )
        rows = np.arange(max_sequence_length) % old
        table = self.embeddings.position_embeddings
        weights = [
            keras.ops.convert_to_numpy(weight)[rows if weight is table else slice(None)]
            for weight in self.weights
        ]
        longer.set_weights(weights)
        return longer

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
            ValueError: A size was named with `load_weights=True`; the folder is no preset of a
                SpanBERT backbone, such as a Hugging Face checkpoint; or a file of it is damaged,
                its weights are not those of its config, or one is NaN or infinite.
        """
        if preset not in SIZES:
            return cls._from_folder(os.path.expanduser(preset), load_weights, **kwargs)
        if load_weights:
            raise ValueError(
                f"{preset!r} names a size and has no weights: pass load_weights=False for random "
                f"ones, or convert a checkpoint to a preset folder first, such as\n"
                f"  spanbert-tf convert hf://SpanBERT/spanbert-base-cased presets/spanbert_base"
            )
        names = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "vocabulary_size")
        return cls(**{**dict(zip(names, SIZES[preset], strict=True)), **kwargs})

    @classmethod
    def _from_folder(cls, preset: str, load_weights: bool, **kwargs: Any) -> "SpanBertBackbone":
        check_preset(preset, load_weights, cls.__name__)
        try:
            with reading_preset(preset, kwargs):
                backbone = super().from_preset(preset, load_weights, **with_policy(preset, kwargs))
        except ValueError as error:
            # What KerasHub makes of a Hugging Face BERT; its GELU and pooler are not SpanBERT's.
            if "`BertBackbone`" not in str(error):
                raise
            raise ValueError(
                f"{preset} holds a BERT that is no preset of SpanBertBackbone; convert the Hugging "
                f"Face checkpoint to one first:\n  spanbert-tf convert {preset} presets/mine"
            ) from error
        if load_weights:
            check_weights(preset, backbone)
        return backbone

    def save_weights(
        self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None
    ) -> None:
        """Writes weights, as `keras.Model.save_weights`; a full disk is an `OSError`."""
        if str(filepath).endswith(".weights.h5") and overwrite and max_shard_size is None:
            write_weights(self, filepath)
        else:
            super().save_weights(filepath, overwrite, max_shard_size)

    def save_to_preset(self, preset_dir: Any, max_shard_size: float | None = 10) -> None:
        """Writes a preset; see `keras_hub.models.Backbone.save_to_preset`.

        Of a mixed dtype policy the preset names the weights' dtype.  Loading casts to the policy
        that is asked for, or Keras' own, anyway; but KerasHub 0.32 fails at names of mixed ones.
        """
        super().save_to_preset(preset_dir, max_shard_size)
        path = Path(preset_dir) / "config.json"
        preset = json.loads(path.read_text("utf-8"))
        policy = preset["config"]["dtype"]["config"]
        if policy.get("name", "").startswith("mixed_"):
            policy["name"] = self.variable_dtype
            path.write_text(json.dumps(preset, indent=4), "utf-8")

    def default_lora_layer_names(self) -> list[str]:
        """Names of the layers that `enable_lora` adapts: all four products of a block.

        `output_dense` is the last of its attention and of its feed-forward network.
        """
        return ["qkv_dense", "intermediate_dense", "output_dense"]

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
            "attention": self.attention,
            "block_size": self.block_size,
            "neighbors": self.neighbors,
            "global_first_token": self.global_first_token,
            "long_positions": self.long_positions,
        }
