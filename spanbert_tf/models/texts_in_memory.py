"""Training and prediction on texts in memory, in batches of like length.

Letters: c classes.
"""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from spanbert_tf.data.pipeline import BucketedBatches
from spanbert_tf.models.labelled_texts import (
    EpochNumber,
    encode_labels,
    global_seed,
    split_rows,
    text_columns,
    with_callback,
)
from spanbert_tf.models.optimizers import build_optimizer
from spanbert_tf.models.text_classifier_preprocessor import SpanBertTextClassifierPreprocessor

BATCH_SIZE = 32
# Tokens of a batch that is not trained on.  Short texts fill it by hundreds, where 32 rows would
# keep no core busy; a text that is longer has a batch to itself, so memory has a bound.
TOKEN_BUDGET = 8192
# Padded lengths that batches may have.  Graphs take any shape, XLA compiles each for seconds.
NUM_BUCKETS, NUM_BUCKETS_OF_XLA = 64, 16
# A training step has parts that XLA compiles, half a second for each shape, which pays for what
# would be padding in so many batches.
FEWEST_BUCKETS, BATCHES_A_BUCKET = 8, 8


# Only for the type checker: Keras rebuilds the bases of functional models, and fails on two tasks.
if TYPE_CHECKING:
    from keras_hub.models import Task as _Base
else:
    _Base = object


class TextsInMemory(_Base):
    """Lets a KerasHub task that labels texts take them as strings, with little padding.

    Comes before KerasHub's task among the bases of a class, which brings `num_classes` and
    `class_names`.
    """

    num_classes: int
    class_names: tuple[str, ...] | None

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        validation_data: Any = None,
        validation_split: float | None = None,
        *,
        shuffle: bool = True,
        seed: int | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains; see `keras.Model.fit`.

        Of texts in memory, each batch holds `batch_size` texts of like length: every epoch
        shuffles all texts, sorts stretches of a hundred batches by length, cuts them into batches
        and shuffles these.  Each text is seen once an epoch, with new neighbours in each.

        Args:
            x: Strings `[rows]` or a tuple of two such, or a data set of batches: of strings or of
                features, with labels.
            y: Labels `[rows]`: integers in `[0, c)`, or names of classes.  In a data set they
                are integers.
            batch_size: Texts in a batch, 32 by default.  Not for data sets.
            sample_weight: Weights `[rows]`.
            validation_data: `(x, y)`, `(x, y, sample_weight)` or a data set.
            validation_split: The part of the texts, the last ones, to validate on, 0 to 1.
            shuffle: Whether texts in memory are shuffled.  `False`: the shortest first, in every
                epoch.
            seed: Seed of the order of the texts.  `None`: what `keras.utils.set_random_seed` says.
            callbacks: Keras callbacks.
            **kwargs: Other arguments of `keras.Model.fit`.

        Returns:
            The history of loss and metrics.

        Raises:
            ValueError: A label is unknown, or arguments do not fit one another.
            TypeError: A text is not a string.
        """
        columns = self._columns(x)
        validation_batch_size = kwargs.pop("validation_batch_size", None) or batch_size
        if columns is not None:
            if validation_split and validation_data is None:
                (columns, y, sample_weight), validation_data = split_rows(
                    columns, y, sample_weight, validation_split
                )
            if shuffle and seed is None:
                seed = global_seed()
            order = seed if shuffle else None
            batch_size = batch_size or BATCH_SIZE
            num_buckets = len(columns[0]) // batch_size // BATCHES_A_BUCKET
            batches = self._batches(
                columns, y, sample_weight, batch_size, order, max(num_buckets, FEWEST_BUCKETS)
            )
            callbacks = with_callback(callbacks, EpochNumber(batches))
            x, y, sample_weight = batches.dataset(), None, None
            batch_size = validation_split = None
        if isinstance(validation_data, tuple | list):
            validation_data = self._validation_batches(validation_data, validation_batch_size)
        build_optimizer(self)
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            sample_weight=sample_weight,
            validation_data=validation_data,
            validation_split=validation_split,
            callbacks=callbacks,
            shuffle=False,  # Nothing but data sets, which Keras cannot shuffle, arrives here.
            **kwargs,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Measures loss, accuracy, precision, recall and F1; see `keras.Model.evaluate`.

        Args:
            x: As for `fit`.
            y: As for `fit`.
            batch_size: Texts in a batch.  `None`: of texts in memory as many as have 8,192 tokens.
            sample_weight: As for `fit`.
            **kwargs: `return_dict=True` gives the figures by name; others of `keras.Model`.

        Returns:
            The figures as a list, or as a dictionary with `return_dict=True`.
        """
        columns = None if "steps" in kwargs else self._columns(x)
        if columns is not None and not kwargs.get("_use_cached_eval_dataset"):
            x = self._batches(columns, y, sample_weight, batch_size).dataset()
            y = sample_weight = batch_size = None
        return super().evaluate(x, y, batch_size, sample_weight, **kwargs)

    def predict(self, x: Any = None, batch_size: int | None = None, **kwargs: Any) -> np.ndarray:
        """Gives the logits of texts; see `keras.Model.predict`.

        Args:
            x: As for `fit`, without labels.
            batch_size: As for `evaluate`.
            **kwargs: Other arguments of `keras.Model.predict`.

        Returns:
            float32 `[rows, c]`, in the order of the texts; probabilities where `activation` makes
            them.
        """
        columns = None if "steps" in kwargs else self._columns(x)
        if columns is None:
            return super().predict(x, batch_size, **kwargs)
        if not columns[0]:
            return np.zeros((0, self.num_classes), np.float32)
        batches = self._batches(columns, None, None, batch_size)
        # Callbacks and the progress bar are Keras' affair.
        features = batches.only_batch() if kwargs == {"verbose": 0} else None
        if features is None:
            outputs = super().predict(batches.dataset(), **kwargs)
        else:
            outputs = self.predict_on_batch(features)
        return batches.in_row_order(outputs)

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """What happens to a batch before the network: nothing if it is made of features."""
        if isinstance(x, dict):
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        return super().preprocess_samples(x, self._encode_labels(y), sample_weight)

    def _columns(self, x: Any) -> list[list[Any]] | None:
        return text_columns(x) if self._takes_texts() else None

    def _takes_texts(self) -> bool:
        return isinstance(self.preprocessor, SpanBertTextClassifierPreprocessor)

    def _encode_labels(self, y: Any) -> Any:
        return encode_labels(y, self.num_classes, self.class_names)

    def _batches(
        self,
        columns: list[list[Any]],
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        seed: int | None = None,
        most_buckets: int = NUM_BUCKETS,
    ) -> BucketedBatches:
        """Tokenises texts and groups them by length."""
        return BucketedBatches.from_texts(
            columns[0],
            self._encode_labels(y),
            *columns[1:],
            sample_weight=sample_weight,
            tokenizer=self.preprocessor.tokenizer,
            sequence_length=self.preprocessor.sequence_length,
            batch_size=batch_size,
            token_budget=None if batch_size else TOKEN_BUDGET,
            num_buckets=min(most_buckets, NUM_BUCKETS_OF_XLA if self.jit_compile else NUM_BUCKETS),
            seed=seed,
        )

    def _validation_batches(self, data: Any, batch_size: int | None) -> Any:
        """Groups validation texts by length; leaves what is not strings in memory alone."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(tuple(data))
        columns = self._columns(x)
        if columns is None:
            return data
        return self._batches(columns, y, sample_weight, batch_size).dataset()
