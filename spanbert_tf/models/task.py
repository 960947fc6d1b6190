"""What every task is made of: saving, checking, training on texts, answering, serving.

A task is a KerasHub task with `SpanBertTask` before it among its bases, in one file of
`spanbert_tf.tasks`.  Its file says only what is its own.
"""

import os
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.tables import read_texts, text_columns_of
from spanbert_tf.features import Feature
from spanbert_tf.models.answering import (
    FEW_TEXTS,
    answer_rows,
    columns_of_task,
    in_steps,
    readable_assertions,
    rows_of_texts,
)
from spanbert_tf.models.decoding import Decoder
from spanbert_tf.models.encoder_task import EncoderTask
from spanbert_tf.models.graphs import Graphs
from spanbert_tf.models.optimizers import default_optimizer, resolve_jit_compile
from spanbert_tf.models.text_batches import Columns, TextBatches
from spanbert_tf.settings import Asking, FineTuning


class SpanBertTask(TextBatches, EncoderTask):
    """Texts in, answers out: trained by `fit`, asked in Python, exported, all in the same way.

    Comes before KerasHub's task among the bases of a class, which says what follows.

    Attributes:
        task: Its name in Hugging Face's words; the key of `spanbert_tf.tasks.TASKS`.
        verb: The method by which people ask it.  Of the task it needs `answer_texts` and `decoder`
            alone, so that exports have it too.
        asking_cls: What else they may say: arguments of that method, options of `predict`.
        settings_cls: How it is fine-tuned.
        reading_cls: How its files are read: options of `read`.
        extra_inputs: What the network takes beside the encoder's features.
        signatures: Names of the texts that each signature of a SavedModel takes.
        asked: Names of the texts that the verb takes, each an argument.
        blank: As little as can be asked, a text for each column of `serving_default`.  `None`:
            they may be empty.
        decoder_cls: The class of `decoder`.
        decoded: What `decode` gives: numbers from which a decoder makes answers.
        figures: The figures that `score` gives; the first tells which epoch is best.
        page_of: Makes a page of HTML of answers, where there is such a form.
    """

    task: ClassVar[str]
    verb: ClassVar[str]
    asking_cls: ClassVar[type[Asking]] = Asking
    settings_cls: ClassVar[type[FineTuning]]
    reading_cls: ClassVar[type]
    extra_inputs: ClassVar[tuple[Feature, ...]] = ()
    signatures: ClassVar[dict[str, tuple[str, ...]]] = {"serving_default": ("text",)}
    asked: ClassVar[tuple[str, ...]] = ("text",)
    blank: ClassVar[tuple[str, ...] | None] = None
    decoder_cls: ClassVar[type[Decoder]]
    decoded: ClassVar[tuple[Feature, ...]]
    figures: ClassVar[tuple[str, ...]]
    page_of: ClassVar[Any] = None

    # What a task says of its data.

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[Any]:
        """Reads records to train on or to be scored with; an error names file and line."""
        raise NotImplementedError

    @classmethod
    def head_arguments(cls, records: Sequence[Any], settings: Any) -> dict[str, Any]:
        """What training data and settings decide: arguments of the class, as JSON can hold them."""
        raise NotImplementedError

    @classmethod
    def figures_of(cls, head: dict[str, Any]) -> tuple[str, ...]:
        """The figures that `score` gives of such a head, see `head_arguments`."""
        return cls.figures

    @classmethod
    def preprocessor_arguments(cls, settings: Any) -> dict[str, Any]:
        """What settings decide of the preprocessor."""
        return {"sequence_length": settings.sequence_length}

    @classmethod
    def with_new_head(
        cls, backbone: Any, tokenizer: Any, head: dict[str, Any], settings: Any
    ) -> Any:
        """Makes a task to be trained, of an encoder and what `head_arguments` gave."""
        preprocessor = cls.preprocessor_cls(tokenizer, **cls.preprocessor_arguments(settings))
        return cls(backbone, preprocessor=preprocessor, **head)

    @classmethod
    def rows_an_epoch(cls, records: int, settings: Any) -> int:
        """How many rows of so many records an epoch has: the learning rate goes by it."""
        return records

    @classmethod
    def strata(cls, records: Sequence[Any]) -> np.ndarray:
        """Numbers of the kinds of records that each part of the data shall have its share of."""
        return np.zeros(len(records), np.int32)

    def columns_of(self, records: Sequence[Any]) -> tuple[Columns, Any]:
        """The texts of records, and what is right of them, as `fit` takes both."""
        raise NotImplementedError

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """What the network is to learn, of `y` as `fit` takes it."""
        raise NotImplementedError

    def score(self, answers: Sequence[Any], records: Sequence[Any]) -> dict[str, float]:
        """The figures that `figures_of` lists, by name, of what `scored_decoder` gave."""
        raise NotImplementedError

    @property
    def scored_decoder(self) -> Any:
        """What makes the answers that `score` and `tune` are given."""
        return self.decoder

    def tune(self, answers: Sequence[Any], records: Sequence[Any]) -> None:
        """Chooses on validation data what gradients do not teach, such as a threshold: nothing."""

    @classmethod
    def read_asked(
        cls,
        path: str | os.PathLike[str],
        text_column: str | None = None,
        pair_column: str | None = None,
    ) -> Columns:
        """Reads texts to answer for, see `read_texts`."""
        return text_columns_of(read_texts(path, text_column, pair_column))

    # What a task says of its network.

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """Turns the network's outputs into the numbers that `decoded` lists, by `keras.ops` alone.

        Keras, SavedModel and LiteRT share it.
        """
        raise NotImplementedError

    @property
    def decoder(self) -> Any:
        """What makes answers of these numbers."""
        raise NotImplementedError

    def compile_defaults(self) -> dict[str, Any]:
        """Loss and metrics where `compile` is told `"auto"`."""
        return {"loss": None, "metrics": None}

    # What all tasks share.

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
            loss: `"auto"`: the task's own.
            metrics: `"auto"`: the task's own.
            jit_compile: `"auto"`: not on a CPU under TensorFlow, where XLA takes seconds for each
                new batch shape and then runs about as fast; elsewhere as Keras decides.
            **kwargs: Other arguments of `keras.Model.compile`.
        """
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = default_optimizer()
        given = {"loss": loss, "metrics": metrics}
        chosen = self.compile_defaults() | {
            name: value
            for name, value in given.items()
            if not (isinstance(value, str) and value == "auto")
        }
        jit_compile = resolve_jit_compile(jit_compile)
        super().compile(optimizer, jit_compile=jit_compile, **chosen, **kwargs)

    def encode(self, columns: Columns, y: Any = None, sample_weight: Any = None) -> Rows:
        """Makes rows of texts, with targets where `y` says what is right.

        Args:
            columns: One list of texts a column.
            y: As `fit` takes it.
            sample_weight: Weights `[texts]`.

        Raises:
            TypeError: A text is not a string.
            ValueError: Columns differ in length, or `y` does not fit the texts.
        """
        if sample_weight is not None and y is None:
            raise ValueError("`sample_weight` weighs labels, but `y` is None.")
        rows = rows_of_texts(columns, self.preprocessor)
        if y is None:
            return rows
        weights = None
        if sample_weight is not None:
            weights = tf.gather(tf.constant(np.asarray(sample_weight)), rows.records)
        return rows.with_targets(self.make_targets(rows, columns, y), weights)

    def answer_texts(self, x: Any, batch_size: int | None = None, **options: Any) -> Any:
        """Answers for texts.

        Args:
            x: A string, or a list, array or tensor of them; a tuple of such where the task takes
                several texts at a time.
            batch_size: Rows in a batch.  `None`: as many as have 8,192 tokens.
            **options: Fields of `decoder` that this call has otherwise, such as `top_k`.

        Returns:
            For a string its answer; for several a list of answers, in their order.

        Raises:
            TypeError: A text is not a string.
            ValueError: There is no preprocessor, there are not as many texts in each column, or
                not so many columns as the task takes.
        """
        if self.preprocessor is None:
            raise ValueError(f"`{self.verb}` takes texts and needs a preprocessor.")
        columns, is_one = columns_of_task(type(self), x)
        with readable_assertions():
            answers = self._answers(columns, batch_size, replace(self.decoder, **options))
        return answers[0] if is_one else answers

    def _answers(self, columns: Columns, batch_size: int | None, decoder: Any) -> list[Any]:
        few = batch_size is None and len(columns[0]) <= FEW_TEXTS
        if few and columns[0] and keras.config.backend() == "tensorflow":
            strings = [tf.constant(column, tf.string) for column in columns]
            # The graph has what the decoder was when it was traced.
            key = ("served", len(columns), self.decoder)
            outputs = self._in_graph(key, self.serve, *strings)
            return decoder.served({name: x.numpy() for name, x in outputs.items()})
        rows = rows_of_texts(columns, self.preprocessor)
        return answer_rows(
            rows,
            columns,
            lambda rows: self.batches_of(rows, batch_size),
            self._decode_batch,
            self.decoded,
            decoder,
        )

    def assess(
        self, records: Sequence[Any], batch_size: int | None = None, tune: bool = False
    ) -> dict[str, float]:
        """Scores the task on records whose right answers are known.

        Args:
            records: As `read` gives them.
            batch_size: Rows in a batch.  `None`: as many as have 8,192 tokens.
            tune: Whether the records may first decide what `tune` chooses, as validation data may.

        Returns:
            The figures of `score`, and `loss`, the mean over rows.
        """
        columns, y = self.columns_of(records)
        losses, counts = [], []

        def run(batch: Any) -> dict[str, np.ndarray]:
            loss, decoded = self._loss_and_decoded(*batch)
            losses.append(float(loss))
            counts.append(len(next(iter(decoded.values()))))
            return decoded

        answers = answer_rows(
            self.encode(columns, y),
            columns,
            lambda rows: self.batches_of(rows, batch_size),
            run,
            self.decoded,
            self.scored_decoder,
        )
        if tune:
            self.tune(answers, records)
        loss = float(np.average(losses, weights=counts))
        return {**self.score(answers, records), "loss": loss}

    def serve(self, *columns: Any) -> dict[str, Any]:
        """Answers for string tensors by TensorFlow operations alone, as SavedModels do.

        Args:
            *columns: string `[b]`, each.

        Returns:
            Dense tensors by name; `decoder.served` makes answers of them.
        """
        # A signature takes tensors of any rank, which some operations do not survive.
        columns = tuple(tf.ensure_shape(column, [None]) for column in columns)
        rows = self.preprocessor.rows(*columns)
        features = self.preprocessor.pack(rows)
        if self.preprocessor.makes_windows or self.preprocessor.has_long_rows:
            decoded = in_steps(self._decode_features, features, self.decoded)
        else:
            decoded = self._decode_features(features)
        return self.decoder.serve(decoded, rows, columns)

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """What happens to a batch before the network: nothing if it is made of features."""
        if isinstance(x, dict):
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        return super().preprocess_samples(x, y, sample_weight)

    def _decode_batch(self, features: dict[str, Any]) -> dict[str, np.ndarray]:
        if keras.config.backend() != "tensorflow":
            outputs = self.predict_on_batch(features)
            decoded = self.decode(keras.tree.map_structure(_tensor, outputs), features)
            return {name: keras.ops.convert_to_numpy(x) for name, x in decoded.items()}

        decoded = self._in_graph("decoded", self._decode_features, features)
        return {name: x.numpy() for name, x in decoded.items()}

    def _decode_features(self, features: dict[str, Any]) -> dict[str, Any]:
        return self.decode(self(features, training=False), features)

    def _loss_and_decoded(self, x: Any, y: Any) -> tuple[Any, dict[str, Any]]:
        def both(x: Any, y: Any) -> Any:
            outputs = self(x, training=False)
            loss = self.compute_loss(x, y, outputs, None, training=False)
            return loss, self.decode(outputs, x)

        if keras.config.backend() == "tensorflow":
            loss, decoded = self._in_graph("assessed", both, x, y)
        else:
            loss, decoded = both(*keras.tree.map_structure(_tensor, (x, y)))
        return loss, {name: keras.ops.convert_to_numpy(v) for name, v in decoded.items()}

    def _in_graph(self, key: Hashable, function: Any, *arguments: Any) -> Any:
        graphs = self.__dict__.setdefault("_graphs", Graphs())
        return graphs.call(key, function, self.variables, *arguments)


def _tensor(value: Any) -> Any:
    return None if value is None else keras.ops.convert_to_tensor(value)
