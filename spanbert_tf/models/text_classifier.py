"""Text classification: strings in, logits or labelled answers out.

Letters: b batch, s sequence, H hidden, c classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras_hub.models import TextClassifier

from spanbert_tf.metrics import classification_metrics
from spanbert_tf.models.backbone import SpanBertBackbone
from spanbert_tf.models.head_weights import HeadWeights
from spanbert_tf.models.optimizers import build_optimizer, default_optimizer, resolve_jit_compile
from spanbert_tf.models.text_classifier_preprocessor import SpanBertTextClassifierPreprocessor
from spanbert_tf.models.texts_in_memory import TextsInMemory

__all__ = [
    "Prediction",
    "SpanBertTextClassifier",
    "SpanBertTextClassifierPreprocessor",
]


@dataclass(frozen=True)
class Prediction:
    """The answer for one text.

    Attributes:
        label: Name of the most probable class.
        score: Its probability, 0 to 1.
        probabilities: The probability of each class by name, in the order of the classes.
    """

    label: str
    score: float
    probabilities: dict[str, float]


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTextClassifier(TextsInMemory, HeadWeights, TextClassifier):
    """Classifies texts, or pairs of texts.

    As KerasHub's text classifiers do, `fit`, `evaluate` and `predict` take strings (lists, NumPy
    arrays, `tf.data`).  Given them in memory, they batch texts of like length, so that little is
    computed on padding; answers come in the order of the texts.

    Documents of any length are read whole with a backbone of `attention="bucketed"` and
    `long_positions="restart"`, and a preprocessor whose `sequence_length` is that of the longest;
    time and memory are linear in it.  With `block_size=512`, `neighbors=0`,
    `global_first_token=False` and `pooling="mean"` that is the mean over independent windows.

    SpanBERT has no trained pooler, so the head brings its own: BERT's dense layer with tanh on
    one vector for each text, dropout, and the classes' logits, which are float32 under every
    dtype policy.  `pooling="mean"` has the same head, so that the vector is all that differs.

    Args:
        backbone: A `SpanBertBackbone`.
        num_classes: Number of classes c, at least 2.  `None`: as many as `class_names`.
        preprocessor: A `SpanBertTextClassifierPreprocessor`, or `None` for features that are
            preprocessed already.
        class_names: Name of each class.  Labels may then be given by name, and answers have them.
        pooling: `"cls"`: the text's vector is the final state of [CLS].  `"mean"`: the mean of
            all final states, padding excluded, for encoders that were trained so, such as MiniLM.
        hidden_dim: Width of the head's dense layer.  `None`: the encoder's.
        dropout: Rate of dropout before the logits.
        activation: Activation on the logits, such as `"softmax"`.  `None`: logits.
        **kwargs: `name`, `trainable`, `compile`.

    Raises:
        ValueError: There are fewer than 2 classes, `class_names` are not as many or not
            different, `pooling` is unknown, or the preprocessor gives rows that are longer than
            the backbone's `max_sequence_length` where it has no rule for them.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertTextClassifierPreprocessor

    def __init__(
        self,
        backbone: SpanBertBackbone,
        num_classes: int | None = None,
        preprocessor: Any = None,
        class_names: Sequence[str] | None = None,
        pooling: str = "cls",
        hidden_dim: int | None = None,
        dropout: float = 0.1,
        activation: Any = None,
        **kwargs: Any,
    ) -> None:
        if num_classes is None and class_names is not None:
            num_classes = len(class_names)
        num_classes = _checked(num_classes, class_names)
        _check_lengths(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        # Before `super().__init__`, which compiles and needs them.
        self.num_classes: int = num_classes
        self.class_names = None if class_names is None else tuple(class_names)
        self.pooling = pooling
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.activation = keras.activations.get(activation)

        self.pooled_dense = keras.layers.Dense(
            hidden_dim or backbone.hidden_dim,
            activation="tanh",
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=backbone.dtype_policy,
            name="pooled_dense",
        )
        self.output_dropout = keras.layers.Dropout(
            dropout, dtype=backbone.dtype_policy, name="output_dropout"
        )
        self.output_dense = keras.layers.Dense(
            num_classes,
            activation=self.activation,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="logits",
        )

        inputs = backbone.input
        x = backbone.pooled_states(inputs, pooling)
        outputs = self.output_dense(self.output_dropout(self.pooled_dense(x)))
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    @property
    def names_of_classes(self) -> list[str]:
        """`class_names`, or the classes' numbers where they have no names."""
        return list(self.class_names or map(str, range(self.num_classes)))

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        metrics: Any = "auto",
        jit_compile: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """Configures training; see `keras.Model.compile`.

        Args:
            optimizer: `"auto"`: `default_optimizer()`.
            loss: `"auto"`: sparse categorical cross-entropy.
            metrics: `"auto"`: `accuracy`, `precision`, `recall` and `f1`, see
                `spanbert_tf.metrics.classification_metrics`.
            jit_compile: `"auto"`: not on a CPU under TensorFlow, where XLA takes seconds for each
                new batch shape and then runs about as fast; elsewhere as Keras decides.
            **kwargs: Other arguments of `keras.Model.compile`.
        """
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = default_optimizer()
        if isinstance(metrics, str) and metrics == "auto":
            metrics = classification_metrics(self.num_classes)
        jit_compile = resolve_jit_compile(jit_compile)
        super().compile(optimizer, loss, metrics=metrics, jit_compile=jit_compile, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the saved model was, for `.keras` files."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        build_optimizer(self)

    def classify(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> list[Prediction]:
        """Names the class of each text, with probabilities.

        Args:
            x: As for `predict`.
            batch_size: As for `predict`.
            **kwargs: Other arguments of `predict`; silent by default.

        Returns:
            One answer a text, in their order.  Classes without names are numbered from `"0"`.
        """
        if isinstance(x, str | bytes):
            raise TypeError("`x` must be a list of strings, but is one string.")
        logits = self.predict(x, batch_size, **{"verbose": 0, **kwargs}).astype(np.float64)
        if self.activation is keras.activations.softmax:
            probabilities = logits
        else:
            powers = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
            probabilities = powers / powers.sum(axis=-1, keepdims=True)
        return named_predictions(probabilities, self.names_of_classes)

    @classmethod
    def from_preset(cls, preset: Any, load_weights: bool = True, **kwargs: Any) -> Any:
        """Makes a classifier from the preset of an encoder or of a classifier.

        Args:
            preset: Folder or handle.
            load_weights: Whether to load the weights.
            **kwargs: Arguments that take the place of the preset's, such as `class_names`,
                `pooling` or `dtype`.  With `num_classes` the head is new, its names too.

        Returns:
            A `SpanBertTextClassifier`.
        """
        if "num_classes" in kwargs:
            kwargs.setdefault("class_names", None)
        return super().from_preset(preset, load_weights, **kwargs)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        # `keras_hub.models.TextClassifier.from_preset(folder, num_classes=3)` puts the new number
        # beside the old names, which no longer mean anything.
        names = config.get("class_names")
        if names is not None and len(names) != config["num_classes"]:
            config = {**config, "class_names": None}
        return super().from_config(config)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "class_names": self.class_names and list(self.class_names),
            "pooling": self.pooling,
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout,
            "activation": keras.activations.serialize(self.activation),
        }


def named_predictions(probabilities: np.ndarray, names: Sequence[str]) -> list[Prediction]:
    """Answers for probabilities `[n, c]`, of classes of these names."""
    answers = [dict(zip(names, row.tolist(), strict=True)) for row in probabilities]
    labels = [max(answer, key=answer.__getitem__) for answer in answers]
    return [
        Prediction(label, answer[label], answer)
        for label, answer in zip(labels, answers, strict=True)
    ]


def _checked(num_classes: int | None, class_names: Sequence[str] | None) -> int:
    """The number of classes, if what the head is made of fits."""
    if num_classes is None or num_classes < 2:
        raise ValueError(f"`num_classes` must be at least 2, but is {num_classes}.")
    if class_names is not None and (
        len(class_names) != num_classes or len(set(class_names)) != num_classes
    ):
        raise ValueError(
            f"`class_names` must be {num_classes} different names, but are {list(class_names)}."
        )
    return num_classes


def _check_lengths(backbone: Any, preprocessor: Any) -> None:
    if not isinstance(preprocessor, SpanBertTextClassifierPreprocessor) or backbone.long_positions:
        return
    length, limit = preprocessor.sequence_length, backbone.max_sequence_length
    if length > limit:
        raise ValueError(
            f"the preprocessor's `sequence_length` is {length}, but the backbone has positions for "
            f"{limit} tokens; pass a preprocessor with `sequence_length={limit}`, or a backbone "
            f"with `long_positions='restart'`."
        )
