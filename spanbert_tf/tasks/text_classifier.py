"""Text classification: strings in, logits or labelled answers out.

Letters: b batch, s sequence, H hidden, c classes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops
from keras_hub.models import TextClassifier

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching import labels
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers import tables
from spanbert_tf.data.readers.label_sets import (
    are_label_sets,
    encode_label_sets,
    label_strata,
)
from spanbert_tf.features import LABEL_SETS, LABELS, PROBABILITIES, Feature
from spanbert_tf.metrics import classification as metrics
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.task_definition import LOGITS, OF_TEACHER
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.models.text_classifier_preprocessor import SpanBertTextClassifierPreprocessor
from spanbert_tf.setting_fields import Range, at_least, setting
from spanbert_tf.settings import Asking, TextClassification, TextColumns
from spanbert_tf.tasks.decoders.classes import (
    ClassDecoder,
    LabelSet,
    Prediction,
    check_min_score,
    checked_number,
    threshold_of_each,
)
from spanbert_tf.tasks.decoders.deciding import DecidesClasses

__all__ = ["SpanBertTextClassifier", "SpanBertTextClassifierPreprocessor"]


@dataclass(frozen=True)
class ClassAsking(Asking):
    """How a text classifier is asked."""

    top_k: int = setting(1, int, "classes of each text, the most probable first", at_least(1))
    min_score: float | None = setting(
        None,
        float,
        "probability that the most probable class needs, else a text has none of them; None: what "
        "the model was tuned to",
        Range("from 0 to 1", lambda x: 0 <= x <= 1),
    )


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTextClassifier(DecidesClasses, SpanBertTask, TextClassifier):
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

    With `activation="sigmoid"` classes do not exclude one another (multi-label classification): a
    text has each whose probability reaches its threshold, and so several or none.

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
        activation: Activation on the logits: `"softmax"`, or `"sigmoid"` where a text may have
            several classes.  `None`: logits, of which answers take the softmax.
        thresholds: With `activation="sigmoid"` the probability from which a text has a class, one
            for all or a list of one for each; see `tune_thresholds`.  `None`: 0.5, and fine-tuning
            chooses them on the validation data.
        min_score: The probability that the most probable class needs; below it a text has none of
            the classes, and its label is `None`; see `tune_min_score`.  `None`: it needs none.
        **kwargs: `name`, `trainable`, `compile`.

    Raises:
        ValueError: There are fewer than 2 classes, `class_names` are not as many or not
            different, `pooling` is unknown, `thresholds` are not as many or not between 0 and 1,
            `min_score` is not from 0 to 1, or backbone and preprocessor do not fit each other.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertTextClassifierPreprocessor

    task = "text-classification"
    verb = "classify"
    settings_cls = TextClassification
    reading_cls = TextColumns
    training_file = "reviews.tsv"
    asking_cls = ClassAsking
    signatures: ClassVar = {"serving_default": ("text",), "pairs": ("text", "pair")}
    decoder_cls = ClassDecoder
    decoded = (PROBABILITIES,)
    figures = metrics.FIGURES
    teaching = LOGITS
    taught_classes = "class_names"
    taught_alike = ("is_multi_label",)

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
        thresholds: float | Sequence[float] | None = None,
        min_score: float | None = None,
        **kwargs: Any,
    ) -> None:
        if num_classes is None and class_names is not None:
            num_classes = len(class_names)
        num_classes = checked_number(num_classes, class_names)
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
        self.tunes_thresholds = thresholds is None
        self.thresholds = threshold_of_each(0.5 if thresholds is None else thresholds, num_classes)
        self.min_score = min_score
        check_min_score(min_score, self.thresholds if self.is_multi_label else None)

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

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[tables.Example]:
        """Reads labelled texts, or pairs, see `read_examples`."""
        of = reading or TextColumns()
        several = of.label_columns.split(",") if of.label_columns else ()
        return tables.read_examples(path, **{**vars(of), "label_columns": several})

    @classmethod
    def head_arguments(cls, records: Sequence[tables.Example], settings: Any) -> dict[str, Any]:
        """The classes, whether a text may have several, and what settings say of the head."""
        head = {
            "class_names": tables.class_names_of(records),
            "pooling": settings.pooling,
            "dropout": settings.dropout,
        }
        if are_label_sets(records):
            head |= {"activation": "sigmoid", "thresholds": settings.threshold}
        return head

    @classmethod
    def figures_of(cls, head: dict[str, Any], records: Sequence[Any] = ()) -> tuple[str, ...]:
        """Those of sets of labels where a text may have several."""
        return metrics.LABEL_SET_FIGURES if head.get("activation") == "sigmoid" else cls.figures

    @classmethod
    def strata(cls, records: Sequence[tables.Example]) -> np.ndarray:
        """Each record's class; of several the rarest one."""
        return label_strata(records)

    def columns_of(self, records: Sequence[tables.Example]) -> tuple[Columns, Any]:
        """The texts, or pairs of them, and the number of each label."""
        several = self.decoder.thresholds is not None
        encode = encode_label_sets if several else tables.encode_labels
        return tables.text_columns_of(records), encode(records, self.decoder.class_names)

    @classmethod
    def answered(cls, columns: Columns, answers: Sequence[Any]) -> list[tables.Example]:
        """Examples with the labels of answers; a text that has none of the classes has none."""
        labels = [of.labels if isinstance(of, LabelSet) else of.label for of in answers]
        rows = zip(*columns, labels, strict=True)
        return [
            tables.Example(texts[0], (*texts, None)[1], label, number, OF_TEACHER)
            for number, (*texts, label) in enumerate(rows, start=1)
            if label is not None
        ]

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """`y` as `fit` takes it: labels `[texts]`, integers or names, or one-hot `[texts, c]`.

        Where a text may have several classes: a list of names for each, or `[texts, c]` of 0 and 1.
        """
        feature = LABEL_SETS if self.is_multi_label else LABELS
        return {feature: labels.number_tensor("y", self._number(y), len(columns[0]))}

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """Probabilities, float32 `[b, c]`."""
        outputs = ops.cast(outputs, "float32")
        if self.activation is keras.activations.linear:
            outputs = ops.softmax(outputs)
        elif self.activation is not keras.activations.softmax and not self.is_multi_label:
            raise ValueError(
                "expected a classifier whose activation is None, softmax or sigmoid, which give "
                f"probabilities; received {keras.activations.serialize(self.activation)!r}"
            )
        return {PROBABILITIES.name: outputs}

    def compared_logits(self, outputs: Any, features: dict[str, Any]) -> tuple[Any, Any]:
        """Those of the classes; where a text may have several, of having each or not."""
        outputs = ops.cast(outputs, "float32")
        if self.activation is keras.activations.linear:
            return outputs, None
        if self.is_multi_label:
            outputs = ops.stack([outputs, 1.0 - outputs], axis=-1)
        # Of probabilities: softmax undone, but for what all logits have in common.
        return ops.log(ops.maximum(outputs, keras.config.epsilon())), None

    def compile_defaults(self) -> dict[str, Any]:
        """Sparse categorical cross-entropy; `accuracy`, `precision`, `recall` and `f1`.

        Where a text may have several classes binary cross-entropy; `micro_f1` and `macro_f1`.
        """
        if self.is_multi_label:
            loss = keras.losses.BinaryCrossentropy()
            return {"loss": loss, "metrics": metrics.label_set_metrics(self.thresholds)}
        return {"loss": "auto", "metrics": metrics.classification_metrics(self.num_classes)}

    def classify(
        self,
        x: Any,
        batch_size: int | None = None,
        top_k: int = 1,
        min_score: float | None = None,
    ) -> Prediction | LabelSet | list[Any]:
        """Names the class of each text, with probabilities.

        Args:
            x: A string, a list of strings, or for pairs a tuple of two of either.
            batch_size: As for `predict`.
            top_k: How many classes of each text, the most probable first.
            min_score: The probability that the most probable class needs, else the label is `None`:
                none of these.  `None`: the classifier's own.

        Returns:
            A `Prediction`, or where a text may have several classes a `LabelSet`, for a string, a
            list of them for several, in their order; with `top_k` above 1 a list of so many
            `Candidate`s in place of each.  Classes without names are numbered from `"0"`.

        Raises:
            ValueError: `top_k` is more than there are classes, or `min_score` not from 0 to 1.
        """
        options = {} if min_score is None else {"min_score": min_score}
        return self.answer_texts(x, batch_size, top_k=top_k, **options)

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        return super().preprocess_samples(x, self._number(y), sample_weight)

    def class_weights(self, given: Any) -> np.ndarray:
        if self.is_multi_label:
            raise ValueError("`class_weight` weighs classes that exclude one another.")
        return labels.class_weights(given, self.num_classes, self.class_names)

    def class_numbers(self, y: Any) -> np.ndarray:
        numbers = labels.number_labels(y, self.num_classes, self.class_names, one_hot=False)
        return np.asarray(numbers)

    def _number(self, y: Any) -> Any:
        if self.is_multi_label:
            return labels.number_label_sets(y, self.num_classes, self.class_names)
        names, one_hot = self.class_names, labels.takes_one_hot(self.loss)
        return labels.number_labels(y, self.num_classes, names, one_hot)

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
            kwargs |= {"thresholds": None, "min_score": None} | kwargs
        return super().from_preset(preset, load_weights, **kwargs)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        # `keras_hub.models.TextClassifier.from_preset(folder, num_classes=3)` puts the new number
        # beside the old names, which no longer mean anything.
        names = config.get("class_names")
        if names is not None and len(names) != config["num_classes"]:
            config = {**config, "class_names": None, "thresholds": None}
            config["min_score"] = None
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
            "thresholds": list(self.thresholds),
            "min_score": self.min_score,
        }
