"""Training and prediction on texts in memory, in batches of like length."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.packing import concatenate_padded
from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.models.batch_sources import dataset_of_source, is_batch_source, parts_of_batch
from spanbert_tf.models.epochs import EpochNumber, global_seed, with_callback
from spanbert_tf.models.optimizers import build_optimizer
from spanbert_tf.models.text_preprocessor import TextPreprocessor

BATCH_SIZE = 32
# Tokens of a batch that is not trained on.  Short texts fill it by hundreds, where 32 rows would
# keep no core busy; a text that is longer has a batch to itself, so memory has a bound.
TOKEN_BUDGET = 8192
# Padded lengths that batches may have.  Graphs take any shape, XLA compiles each for seconds.
NUM_BUCKETS, NUM_BUCKETS_OF_XLA = 64, 16
# A training step has parts that XLA compiles, half a second for each shape, which pays for what
# would be padding in so many batches.
FEWEST_BUCKETS, BATCHES_A_BUCKET = 8, 8

Columns = list[list[Any]]

# Only for the type checker: Keras rebuilds the bases of functional models, and fails on two tasks.
if TYPE_CHECKING:
    from keras_hub.models import Task as _Base
else:
    _Base = object


class TextBatches(_Base):
    """Lets a KerasHub task take texts as strings, with little padding.

    Comes before KerasHub's task among the bases of a class, which says by `encode` what rows and
    targets it makes of texts.
    """

    default_batch_size: ClassVar[int] = BATCH_SIZE
    token_budget: ClassVar[int] = TOKEN_BUDGET
    batches_cls: ClassVar[type[BucketedBatches]] = BucketedBatches

    def encode(self, columns: Columns, y: Any = None, sample_weight: Any = None) -> Rows:
        """Makes rows of texts, with targets where `y` says what is right."""
        raise NotImplementedError

    def class_weights(self, given: Any) -> np.ndarray:
        """The weight of each class, float `[c]`, of `class_weight` as `fit` takes it."""
        raise ValueError("`class_weight` weighs classes of texts, of which the task has none.")

    def class_numbers(self, y: Any) -> np.ndarray:
        """The number of each text's class, int `[texts]`, of `y` as `fit` takes it."""
        raise NotImplementedError

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

        Of texts in memory, each batch holds `batch_size` rows of like length: every epoch shuffles
        all rows, sorts stretches of a hundred batches by length, cuts them into batches and
        shuffles these.  Each row is seen once an epoch, with new neighbours in each.

        Args:
            x: Strings `[texts]`, or a tuple of such columns, or a list of tuples; or batches of
                strings or of features, with labels: a data set, a generator or a
                `keras.utils.PyDataset`.
            y: What is right of each text, in the form that the class says.  In a data set numbers.
            batch_size: Rows in a batch, by default 32, or as many as the class says.  Not for data
                sets.
            sample_weight: Weights `[texts]`.
            validation_data: `(x, y)`, `(x, y, sample_weight)` or a data set.
            validation_split: The part of the texts, the last ones, to validate on, 0 to 1.
            shuffle: Whether texts in memory are shuffled.  `False`: the shortest first, in every
                epoch.
            seed: Seed of the order of the texts.  `None`: what `keras.utils.set_random_seed` says.
            callbacks: Keras callbacks.
            **kwargs: Other arguments of `keras.Model.fit`.  `class_weight` may name the classes, or
                be an array `[c]`.

        Returns:
            The history of loss and metrics.

        Raises:
            ValueError: A label is unknown, or arguments do not fit one another.
            TypeError: A text is not a string.
        """
        class_weight = kwargs.pop("class_weight", None)
        weights = None if class_weight is None else self.class_weights(class_weight)
        x, validation_data = self._of_source(x), self._of_source(validation_data)
        columns = self._columns(x)
        validation_batch_size = kwargs.pop("validation_batch_size", None) or batch_size
        if columns is not None:
            if validation_split and validation_data is None:
                (columns, y, sample_weight), validation_data = split_texts(
                    columns, y, sample_weight, validation_split
                )
            if weights is not None:
                if y is None:
                    raise ValueError("`class_weight` weighs labels, but `y` is None.")
                of_texts = weights[self.class_numbers(y)]
                sample_weight = of_texts if sample_weight is None else of_texts * sample_weight
            if shuffle and seed is None:
                seed = global_seed()
            order = seed if shuffle else None
            rows = self.encode(columns, y, sample_weight)
            batches = self.training_batches(rows, batch_size or self.default_batch_size, order)
            callbacks = with_callback(callbacks, EpochNumber(batches))
            x, y, sample_weight = batches.dataset(), None, None
            batch_size = validation_split = None
        elif weights is not None:
            kwargs["class_weight"] = dict(enumerate(weights.tolist()))
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
        """Measures the loss and the metrics that the task is compiled with.

        Args:
            x: As for `fit`.
            y: As for `fit`.
            batch_size: Rows in a batch.  `None`: of texts in memory as many as have 8,192 tokens.
            sample_weight: As for `fit`.
            **kwargs: `return_dict=True` gives the figures by name; others of `keras.Model`.

        Returns:
            The figures as a list, or as a dictionary with `return_dict=True`.
        """
        x = self._of_source(x)
        columns = None if "steps" in kwargs else self._columns(x)
        if columns is not None and not kwargs.get("_use_cached_eval_dataset"):
            x = self.batches_of(self.encode(columns, y, sample_weight), batch_size).dataset()
            y = sample_weight = batch_size = None
        return super().evaluate(x, y, batch_size, sample_weight, **kwargs)

    def predict(self, x: Any = None, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Gives the network's outputs; see `keras.Model.predict`.

        Args:
            x: As for `fit`, without labels.
            batch_size: As for `evaluate`.
            **kwargs: Other arguments of `keras.Model.predict`.

        Returns:
            float32 `[rows, ...]`, or a dictionary of such, in the order of the texts; what has a
            number for each token is 0 past a row's end.
        """
        x = self._of_source(x)
        columns = None if "steps" in kwargs else self._columns(x)
        if columns is None:
            return super().predict(x, batch_size, **kwargs)
        if not columns[0]:
            return keras.tree.map_structure(
                lambda x: np.zeros((0, *(size or 0 for size in x.shape[1:])), np.float32),
                self.output,
            )
        batches = self.batches_of(self.encode(columns), batch_size)
        # Callbacks and the progress bar are Keras' affair.
        features = batches.only_batch() if kwargs == {"verbose": 0} else None
        if features is not None:
            outputs = self.predict_on_batch(features)
        elif any(None in x.shape[1:] for x in keras.tree.flatten(self.output)):
            # Keras would join batches of different lengths.
            outputs = _joined([self.predict_on_batch(batch) for batch in batches.first_epoch()])
        else:
            outputs = super().predict(batches.dataset(), **kwargs)
        return keras.tree.map_structure(batches.in_row_order, outputs)

    def training_batches(self, rows: Rows, batch_size: int, seed: int | None) -> Any:
        """Groups rows to train on.

        Args:
            rows: What `encode` makes, with targets.
            batch_size: Rows in a batch.
            seed: Seed of the order.  `None`: the shortest first.

        Returns:
            What has a `dataset`, of batches with targets, and the number of the `epoch` that comes
            next in it.
        """
        num_buckets = int(rows.segments[0].nrows()) // batch_size // BATCHES_A_BUCKET
        return self.batches_of(rows, batch_size, seed, max(num_buckets, FEWEST_BUCKETS))

    def batches_of(
        self,
        rows: Rows,
        batch_size: int | None = None,
        seed: int | None = None,
        most_buckets: int = NUM_BUCKETS,
    ) -> BucketedBatches:
        """Groups rows by length.

        Args:
            rows: What `encode` makes.
            batch_size: Rows in a batch.  `None`: as many as have 8,192 tokens.
            seed: Seed of the order.  `None`: the shortest first.
            most_buckets: How many padded lengths there may be.
        """
        return self.batches_cls.from_rows(
            rows,
            tokenizer=self.preprocessor.tokenizer,
            sequence_length=self.preprocessor.sequence_length,
            batch_size=batch_size,
            token_budget=None if batch_size else self.token_budget,
            num_buckets=min(most_buckets, NUM_BUCKETS_OF_XLA if self.jit_compile else NUM_BUCKETS),
            seed=seed,
        )

    def _columns(self, x: Any) -> Columns | None:
        return text_columns(x) if isinstance(self.preprocessor, TextPreprocessor) else None

    def _of_source(self, x: Any) -> Any:
        """A data set of features where batches come one by one; all else as it is."""
        if not is_batch_source(x) or not isinstance(self.preprocessor, TextPreprocessor):
            return x
        return dataset_of_source(x, self._encode_batch)

    def _encode_batch(self, batch: Any) -> Any:
        x, y, sample_weight = parts_of_batch(batch)
        columns = self._columns(x)
        if columns is None:
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        rows = self.encode(columns, y, sample_weight)
        count = int(rows.segments[0].nrows())
        return self.batches_of(rows, count).only_batch(in_row_order=True)

    def _validation_batches(self, data: Any, batch_size: int | None) -> Any:
        """Groups validation texts by length; leaves what is not strings in memory alone."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(tuple(data))
        columns = self._columns(x)
        if columns is None:
            return data
        return self.batches_of(self.encode(columns, y, sample_weight), batch_size).dataset()


def text_columns(x: Any) -> Columns | None:
    """Lists the texts of each column.

    Args:
        x: Strings `[texts]` as a list, array or tensor, or a tuple of such; or what holds several
            texts in each row, a list of tuples or an array `[texts, columns]`.

    Returns:
        One list of texts a column; `None` for what is not in memory, such as a data set.

    Raises:
        ValueError: Rows have not all as many texts.
    """
    columns = []
    for column in x if isinstance(x, tuple) else (x,):
        if tf.is_tensor(column) and tf.executing_eagerly():
            column = column.numpy()
        if hasattr(column, "__array__"):
            column = np.asarray(column, object).tolist()
        if not isinstance(column, list):
            return None
        columns.append(column)
    if len(columns) == 1 and columns[0] and isinstance(columns[0][0], tuple | list):
        return _columns_of_rows(columns[0])
    return columns


def _columns_of_rows(rows: list[Any]) -> Columns:
    """`[("a", "b"), ("c", "d")]` -> `[["a", "c"], ["b", "d"]]`."""
    for number, row in enumerate(rows):
        if not isinstance(row, tuple | list) or len(row) != len(rows[0]):
            raise ValueError(
                f"`x`[{number}] must hold {len(rows[0])} texts, as the first does, but is "
                f"{row!r:.80}."
            )
    return [list(column) for column in zip(*rows, strict=True)]


def split_texts(
    columns: Columns, y: Any, sample_weight: Any, part: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Parts the last texts from the others, as the `validation_split` of Keras does.

    Args:
        columns: As `text_columns` gives them.
        y: What is right of each text, or `None`.
        sample_weight: Weights `[texts]`, or `None`.
        part: The part of the texts that is parted, 0 to 1.

    Returns:
        `(columns, y, sample_weight)` to train on, and `(x, y, sample_weight)` to validate on.

    Raises:
        ValueError: One of the two would be empty.
    """
    texts = len(columns[0])
    at = int(texts * (1 - part))
    if not 0 < at < texts:
        raise ValueError(f"`validation_split={part}` of {texts} texts leaves one side empty.")
    kept, parted = slice(0, at), slice(at, texts)

    def part_of(values: Any, of: slice) -> Any:
        if values is None:
            return None
        if isinstance(values, Mapping):
            return {name: part_of(each, of) for name, each in values.items()}
        return values[of] if isinstance(values, list) else np.asarray(values)[of]

    given = (y, sample_weight)
    return (
        ([column[kept] for column in columns], *(part_of(each, kept) for each in given)),
        (tuple(column[parted] for column in columns), *(part_of(each, parted) for each in given)),
    )


def _joined(outputs: Sequence[Any]) -> Any:
    """Joins the outputs of batches, the shorter ones padded with 0."""
    return keras.tree.map_structure(lambda *parts: concatenate_padded(parts), *outputs)
