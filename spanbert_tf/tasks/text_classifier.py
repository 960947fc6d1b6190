"""Text classification: strings in, logits or labelled answers out.

Letters: b batch, s sequence, H hidden, c classes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from keras_hub.models import TextClassifier, TextClassifierPreprocessor

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.labels import number_labels, number_tensor
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.tables import (
    Example,
    class_names_of,
    encode_labels,
    read_examples,
    text_columns_of,
)
from spanbert_tf.features import LABELS, PROBABILITIES, Feature
from spanbert_tf.metrics.classification import FIGURES, class_figures, classification_metrics
from spanbert_tf.models.decoding import Decoder
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.models.text_preprocessor import TextPreprocessor, keep_buckets
from spanbert_tf.settings import TextClassification, TextColumns
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer


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

    def __str__(self) -> str:
        return f"{self.label}  {self.score:.3f}"


@dataclass(frozen=True)
class ClassDecoder(Decoder):
    """Names the most probable class.

    Attributes:
        class_names: Names of the classes, in the order of their probabilities.
    """

    class_names: tuple[str, ...]

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[Prediction]:
        """One answer a text, of `probabilities`, float `[r, c]`."""
        answers = []
        for row in decoded[PROBABILITIES.name]:
            probabilities = dict(zip(self.class_names, row.tolist(), strict=True))
            label = max(probabilities, key=probabilities.__getitem__)
            answers.append(Prediction(label, probabilities[label], probabilities))
        return answers

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """`label`, string `[b]`, `score`, float32 `[b]`, and `probabilities`, float32 `[b, c]`."""
        probabilities = decoded[PROBABILITIES.name]
        names = tf.constant(self.class_names)
        return {
            "label": tf.gather(names, tf.argmax(probabilities, axis=-1)),
            "score": tf.reduce_max(probabilities, axis=-1),
            PROBABILITIES.name: probabilities,
        }

    def served(self, outputs: dict[str, np.ndarray]) -> list[Prediction]:
        """One answer a text."""
        rows = outputs[PROBABILITIES.name]
        return self.answers({PROBABILITIES.name: rows}, None, ())  # type: ignore[arg-type]


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTextClassifierPreprocessor(TextPreprocessor, TextClassifierPreprocessor):
    """Turns texts, or pairs of texts, into what the encoder takes; see `TextPreprocessor`."""

    def __init__(
        self,
        tokenizer: SpanBertTokenizer,
        sequence_length: int = 512,
        buckets: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, sequence_length=sequence_length, **kwargs)
        self.buckets = keep_buckets(buckets)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "buckets": self.buckets and list(self.buckets)}
        del config["truncate"]
        return config


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTextClassifier(SpanBertTask, TextClassifier):
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
            different, `pooling` is unknown, or backbone and preprocessor do not fit each other.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertTextClassifierPreprocessor

    task = "text-classification"
    verb = "classify"
    settings_cls = TextClassification
    reading_cls = TextColumns
    signatures: ClassVar = {"serving_default": ("text",), "pairs": ("text", "pair")}
    decoder_cls = ClassDecoder
    decoded = (PROBABILITIES,)
    figures = FIGURES

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
        check_fit(backbone, preprocessor)
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

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[Example]:
        """Reads labelled texts, or pairs, see `read_examples`."""
        columns = reading or TextColumns()
        return read_examples(path, columns.text_column, columns.pair_column, columns.label_column)

    @classmethod
    def head_arguments(cls, records: Sequence[Example], settings: Any) -> dict[str, Any]:
        """The classes, and what settings say of the head."""
        return {
            "class_names": class_names_of(records),
            "pooling": settings.pooling,
            "dropout": settings.dropout,
        }

    @classmethod
    def strata(cls, records: Sequence[Example]) -> np.ndarray:
        """Each record's class."""
        _, numbers = np.unique([str(record.label) for record in records], return_inverse=True)
        return numbers

    def columns_of(self, records: Sequence[Example]) -> tuple[Columns, Any]:
        """The texts, or pairs of them, and the number of each label."""
        if self.class_names is None:
            raise ValueError("the classifier has no class names, so labels cannot be compared")
        return text_columns_of(records), encode_labels(records, self.class_names)

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """`y` as `fit` takes it: labels `[texts]`, integers in `[0, c)` or names of classes."""
        return {LABELS: number_tensor("y", self._number(y), len(columns[0]))}

    def score(self, answers: Sequence[Prediction], records: Sequence[Any]) -> dict[str, float]:
        """Accuracy, precision, recall and F1, see `metrics.classification`."""
        numbers = {name: number for number, name in enumerate(self.names_of_classes)}
        predicted = np.array([numbers[answer.label] for answer in answers])
        return class_figures(
            encode_labels(records, self.names_of_classes), predicted, self.num_classes
        )

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """Probabilities, float32 `[b, c]`."""
        outputs = ops.cast(outputs, "float32")
        if self.activation is keras.activations.linear:
            outputs = ops.softmax(outputs)
        elif self.activation is not keras.activations.softmax:
            raise ValueError(
                "expected a classifier whose activation is None or softmax, as its classes exclude "
                f"one another; received {keras.activations.serialize(self.activation)!r}"
            )
        return {PROBABILITIES.name: outputs}

    @property
    def decoder(self) -> ClassDecoder:
        """What names the classes."""
        return ClassDecoder(tuple(self.names_of_classes))

    def compile_defaults(self) -> dict[str, Any]:
        """Sparse categorical cross-entropy; `accuracy`, `precision`, `recall` and `f1`."""
        return {"loss": "auto", "metrics": classification_metrics(self.num_classes)}

    def classify(self, x: Any, batch_size: int | None = None) -> Any:
        """Names the class of each text, with probabilities.

        Args:
            x: A string, a list of strings, or for pairs a tuple of two of either.
            batch_size: As for `predict`.

        Returns:
            A `Prediction` for a string, a list of them for several, in their order.  Classes
            without names are numbered from `"0"`.
        """
        return self.answer(x, batch_size)

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        return super().preprocess_samples(x, self._number(y), sample_weight)

    def _number(self, y: Any) -> Any:
        return number_labels(y, self.num_classes, self.class_names)

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
