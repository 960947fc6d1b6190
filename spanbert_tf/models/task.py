"""What every task is made of: saving, checking, training on texts, answering, serving.

A task is a KerasHub task with `SpanBertTask` before it among its bases, in one file of
`spanbert_tf.tasks`.  Its file says only what is its own.
"""

import operator
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.models.answering import (
    FEW_TEXTS,
    Assessment,
    answer_rows,
    columns_of_task,
    in_steps,
    readable_assertions,
    rows_of_texts,
)
from spanbert_tf.models.encoder_task import EncoderTask
from spanbert_tf.models.graphs import Graphs, is_asked_once
from spanbert_tf.models.optimizers import default_optimizer, resolve_jit_compile
from spanbert_tf.models.task_definition import TaskDefinition
from spanbert_tf.models.text_batches import Columns, TextBatches


class SpanBertTask(TaskDefinition, TextBatches, EncoderTask):
    """Texts in, answers out: trained by `fit`, asked in Python, exported, all in the same way.

    Comes before KerasHub's task among the bases of a class, which says what `TaskDefinition` lists.
    """

    @classmethod
    def with_new_head(
        cls, backbone: Any, tokenizer: Any, head: dict[str, Any], settings: Any
    ) -> Any:
        """Makes a task to be trained, of an encoder and what `head_arguments` gave."""
        preprocessor = cls.preprocessor_cls(tokenizer, **cls.preprocessor_arguments(settings))
        return cls(backbone, preprocessor=preprocessor, **head)

    def rows_an_epoch(self, columns: Columns) -> int:
        """How many rows `fit` makes of texts for an epoch: epochs and learning rates go by it."""
        if not self.preprocessor.makes_windows:
            return len(columns[0])
        rows = rows_of_texts(columns, self.preprocessor)
        self.__dict__["_counted"] = columns, rows  # `fit` comes next.
        return len(rows.records)

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
        counted, rows = self.__dict__.pop("_counted", ((), None))
        if len(counted) != len(columns) or not all(map(operator.is_, counted, columns)):
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
        columns, is_one = self.columns_asked(x)
        with readable_assertions():
            answers = self._answers(columns, batch_size, replace(self.decoder, **options))
        return answers[0] if is_one else answers

    def columns_asked(self, x: Any) -> tuple[Columns, bool]:
        """Columns of texts, see `columns_of_task`, for which there must be a preprocessor."""
        if self.preprocessor is None:
            raise ValueError(f"`{self.verb}` takes texts and needs a preprocessor.")
        return columns_of_task(type(self), x)

    def _answers(self, columns: Columns, batch_size: int | None, decoder: Any) -> list[Any]:
        few = batch_size is None and len(columns[0]) <= FEW_TEXTS
        if few and columns[0] and keras.config.backend() == "tensorflow":
            return decoder.served(self.answer_tensors(columns, decoder))
        rows = rows_of_texts(columns, self.preprocessor)
        return answer_rows(
            rows,
            columns,
            lambda rows: self.batches_of(rows, batch_size),
            partial(self._decode_batch, decoder),
            self.decoded,
            decoder,
        )

    def assess(
        self,
        records: Sequence[Any],
        batch_size: int | None = None,
        tune: bool = False,
        out_of_scope: Columns | None = None,
    ) -> dict[str, float]:
        """Scores the task on records whose right answers are known.

        Args:
            records: As `read` gives them.
            batch_size: Rows in a batch.  `None`: as many as have 8,192 tokens.
            tune: Whether the records may first decide what `tune` chooses, as validation data may.
            out_of_scope: Columns of texts that belong to no class, to be told from the records; of
                a task that `rejects` some.

        Returns:
            The figures of `score`, and `loss`, the mean over rows; with `out_of_scope` also those
            of `rejection`.
        """
        return self.answer_records(records, batch_size, tune, out_of_scope).figures

    def answer_records(
        self,
        records: Sequence[Any],
        batch_size: int | None = None,
        tune: bool = False,
        out_of_scope: Columns | None = None,
    ) -> Assessment:
        """Scores the task, in one pass, and keeps what it answered; arguments as for `assess`."""
        if out_of_scope is not None:
            self.check_rejection()
        self.check_records(records)
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
        more = {"loss": float(np.average(losses, weights=counts))}
        if out_of_scope is not None:
            outside = self.answer_texts(tuple(out_of_scope), batch_size)
            if tune:
                self.tune_rejection(answers, outside)
            more |= self.rejection(answers, outside)
        return Assessment({**self.score(answers, records), **more}, answers)

    def serve(self, *columns: Any, decoder: Any = None) -> dict[str, Any]:
        """Answers for string tensors by TensorFlow operations alone, as SavedModels do.

        Args:
            *columns: string `[b]`, each.
            decoder: What decides.  `None`: the task's own.

        Returns:
            Dense tensors by name; `decoder.served` makes answers of them.
        """
        # A signature takes tensors of any rank, which some operations do not survive.
        columns = tuple(tf.ensure_shape(column, [None]) for column in columns)
        rows = self.preprocessor.rows(*columns)
        features = self.preprocessor.pack(rows)
        decoder = decoder or self.decoder
        decode = partial(self._decode_features, decoder)
        if self.preprocessor.makes_windows or self.preprocessor.has_long_rows:
            decoded = in_steps(decode, features, self.decoded)
        else:
            decoded = decode(features)
        return decoder.serve(decoded, rows, columns)

    def answer_tensors(self, columns: Columns, decoder: Any = None) -> dict[str, np.ndarray]:
        """What `serve` gives for columns of texts, in one batch; with TensorFlow's backend."""
        decoder = decoder or self.decoder
        strings = [tf.constant(column, tf.string) for column in columns]
        # The graph has what the decoder was when it was traced.
        traced = decoder if decoder.in_network else self.decoder
        key = ("served", len(columns), tuple(decoder.of_network().items()) or traced)
        serve = partial(self.serve, decoder=traced)
        outputs = None
        if is_asked_once():
            # What is wrong with the texts a graph says in our words.
            with suppress(tf.errors.InvalidArgumentError):
                outputs = serve(*strings)
        if outputs is None:
            outputs = self._in_graph(key, serve, *strings)
        return {name: x.numpy() for name, x in outputs.items()}

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """What happens to a batch before the network: nothing if it is made of features."""
        if isinstance(x, dict):
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        return super().preprocess_samples(x, y, sample_weight)

    def _decode_batch(self, decoder: Any, features: dict[str, Any]) -> dict[str, np.ndarray]:
        if keras.config.backend() != "tensorflow":
            outputs = self.predict_on_batch(features)
            outputs = keras.tree.map_structure(_tensor, outputs)
            decoded = self.decode_by(decoder, outputs, features)
            return {name: keras.ops.convert_to_numpy(x) for name, x in decoded.items()}

        decode = partial(self._decode_features, decoder)
        decoded = self._in_graph(("decoded", *decoder.of_network().items()), decode, features)
        return {name: x.numpy() for name, x in decoded.items()}

    def _decode_features(self, decoder: Any, features: dict[str, Any]) -> dict[str, Any]:
        return self.decode_by(decoder, self(features, training=False), features)

    def _loss_and_decoded(self, x: Any, y: Any) -> tuple[Any, dict[str, Any]]:
        decoder = self.scored_decoder

        def both(x: Any, y: Any) -> Any:
            outputs = self(x, training=False)
            loss = self.compute_loss(x, y, outputs, None, training=False)
            return loss, self.decode_by(decoder, outputs, x)

        # What there is to be learned may have several forms.
        form = tf.nest.map_structure(lambda tensor: (str(tensor.dtype), len(tensor.shape)), y)
        key = ("assessed", str(form), *decoder.of_network().items())
        loss, decoded = self.run_in_graph(key, both, x, y)
        return loss, {name: keras.ops.convert_to_numpy(v) for name, v in decoded.items()}

    def run_in_graph(self, key: Hashable, function: Any, *arguments: Any) -> Any:
        """What a function makes of tensors; under TensorFlow in a graph that is kept by a key."""
        if keras.config.backend() != "tensorflow":
            return function(*keras.tree.map_structure(_tensor, arguments))
        return self._in_graph(key, function, *arguments)

    def _in_graph(self, key: Hashable, function: Any, *arguments: Any) -> Any:
        graphs = self.__dict__.setdefault("_graphs", Graphs())
        return graphs.call(key, function, self.variables, *arguments)


def _tensor(value: Any) -> Any:
    return None if value is None else keras.ops.convert_to_tensor(value)
