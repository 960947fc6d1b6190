"""Encoders as Keras layers of two call forms: dict in, dict out; tensors in, embedding out.

Letters: b batch, s sequence, H hidden.
"""

from typing import Any

import keras
from keras import ops

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export.hub import all_outputs
from spanbert_tf.features import ENCODER_FEATURES, HUGGING_FACE_NAMES, TF_HUB_NAMES
from spanbert_tf.keras_internals import track_variable

_OUR_NAMES = {feature.name: feature.name for feature in ENCODER_FEATURES}
_KNOWN_NAMES = (TF_HUB_NAMES, HUGGING_FACE_NAMES, _OUR_NAMES)


def to_hub_names(inputs: dict[str, Any]) -> dict[str, Any]:
    """Gives an encoder's inputs the names that TF Hub uses.

    Args:
        inputs: Three tensors by the names of TF Hub, of Hugging Face or of this package.

    Returns:
        `input_word_ids`, `input_mask` and `input_type_ids`.

    Raises:
        ValueError: The names are none of the three sets.
    """
    for names in _KNOWN_NAMES:
        if inputs.keys() == set(names.values()):
            return {TF_HUB_NAMES[ours]: inputs[theirs] for ours, theirs in names.items()}
    expected = " or ".join(str(sorted(names.values())) for names in _KNOWN_NAMES)
    raise ValueError(f"expected inputs named {expected}; received {sorted(inputs)}")


class _TwoForms:
    """Turns both call forms into `encode(inputs by TF Hub's names, training)`."""

    def call(
        self,
        input_ids: Any,
        input_mask: Any = None,
        segment_ids: Any = None,
        training: bool | None = None,
    ) -> Any:
        if isinstance(input_ids, dict):
            return self.encode(_as_matrices(to_hub_names(input_ids)), bool(training))
        if input_mask is None or segment_ids is None:
            raise ValueError(
                "expected a dict, or all of the tensors input_ids, input_mask and segment_ids"
            )
        features = {"token_ids": input_ids, "padding_mask": input_mask, "segment_ids": segment_ids}
        return self.encode(_as_matrices(to_hub_names(features)), bool(training))["default"]

    def encode(self, inputs: dict[str, Any], training: bool) -> dict[str, Any]:
        """Runs the encoder; int32 `[b, s]` by TF Hub's names to TF Hub's outputs."""
        raise NotImplementedError


def _as_matrices(inputs: dict[str, Any]) -> dict[str, Any]:
    for name, tensor in inputs.items():
        if len(tensor.shape) != 2:
            raise ValueError(
                f"{name} must be of shape [batch, sequence], as keras.Input(shape=(None,), "
                f"dtype='int32') is; received shape {tuple(tensor.shape)}"
            )
    return {name: ops.cast(tensor, "int32") for name, tensor in inputs.items()}


@keras.saving.register_keras_serializable("spanbert_tf")
class SavedModelEncoder(_TwoForms, keras.layers.TFSMLayer):
    """A TF Hub encoder as a Keras 3 layer; its weights are the SavedModel's own variables.

    The layer's config names the SavedModel's folder and does not hold its graph: a model saved with
    the layer inside loads only where that folder is, and, as with every `keras.layers.TFSMLayer`,
    only with `keras.models.load_model(path, safe_mode=False)`, since a SavedModel's graph may read
    and write files.  The trained weights travel in the saved model.

    Args:
        filepath: Folder of a SavedModel with TF Hub's encoder interface, such as `export_encoder`
            writes.
        trainable: Whether training changes the weights.
        name: Name of the layer.
        dtype: dtype or dtype policy of the layer.  What the encoder computes in was fixed when it
            was exported.

    Call arguments:
        input_ids: int `[b, s]`; or a dict of all three tensors, with the names of TF Hub
            (`input_word_ids`, `input_mask`, `input_type_ids`), Hugging Face (`input_ids`,
            `attention_mask`, `token_type_ids`) or this package.
        input_mask: int `[b, s]`, 1 at a token.
        segment_ids: int `[b, s]`.
        training: Whether dropout is active.

    Returns:
        For three tensors the embedding, float32 `[b, H]`.  For a dict a dict of `sequence_output`
        `[b, s, H]`, `pooled_output` and `default` `[b, H]`, and the list `encoder_outputs`.

    Raises:
        ValueError: The inputs have other names or shapes.
    """

    def __init__(
        self, filepath: str, trainable: bool = True, name: str | None = None, dtype: Any = None
    ) -> None:
        # Text functions are made of its operations; without them a SavedModel does not even load.
        import tensorflow_text  # noqa: F401

        super().__init__(
            str(filepath), call_endpoint="__call__", trainable=trainable, name=name, dtype=dtype
        )

    def _add_existing_weight(self, weight: Any) -> None:
        # Keras calls it for each variable; its own would keep names that `fit` cannot use.
        track_variable(self, weight)

    def encode(self, inputs: dict[str, Any], training: bool) -> dict[str, Any]:
        """Runs the SavedModel."""
        return self.call_endpoint_fn(inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        """Names the SavedModel's folder."""
        config = super().get_config()
        return {key: config[key] for key in ("filepath", "trainable", "name", "dtype")}


@keras.saving.register_keras_serializable("spanbert_tf")
class BackboneEncoder(_TwoForms, keras.layers.Layer):
    """A backbone as a layer that is called as `SavedModelEncoder` is.

    Args:
        backbone: The encoder.
        **kwargs: Arguments of a Keras layer.

    Call arguments, returns, raises: see `SavedModelEncoder`.
    """

    def __init__(self, backbone: SpanBertBackbone, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone = backbone
        self._model = all_outputs(backbone)
        if not self.trainable:
            backbone.trainable = False
        self.built = True

    def encode(self, inputs: dict[str, Any], training: bool) -> dict[str, Any]:
        """Runs the backbone."""
        features = {ours: inputs[theirs] for ours, theirs in TF_HUB_NAMES.items()}
        return self._model(features, training=training)

    def get_config(self) -> dict[str, Any]:
        """Holds the backbone's config."""
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BackboneEncoder":
        """Makes the layer, with new weights, from its config."""
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**{**config, "backbone": backbone})
