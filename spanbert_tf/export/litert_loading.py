"""Models for LiteRT, loaded: texts in, answers or vectors out.

Letters: n texts, H hidden.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.atomic_files import user_path
from spanbert_tf.checkpoints.hugging_face import VOCABULARY_FILE
from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.export.encoder_identity import sha256_of_pieces
from spanbert_tf.export.litert import NETWORK_FILE, SIGNATURE
from spanbert_tf.export.text_task import DESCRIPTION, TextTask
from spanbert_tf.features import PADDING_MASK, VECTORS
from spanbert_tf.foreign_files import (
    CheckpointError,
    Schema,
    check,
    check_finite,
    flag,
    integer,
    list_of,
    or_null,
    read_json,
    reading,
    table,
    text,
)
from spanbert_tf.handles import LITERT_FILE
from spanbert_tf.models.answering import (
    FEW_TEXTS,
    as_columns,
    cut_rows,
    decide_rows,
    rows_of_texts,
)
from spanbert_tf.models.text_batches import NUM_BUCKETS, Columns
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifierPreprocessor
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

# Of a batch that is sorted: a layer's scores then stay in a CPU's cache, and any number of shapes
# and batches is free.
TOKEN_BUDGET = 512

# `litert.json`; of a task it also is what `DESCRIPTION` says.
_DESCRIPTION: Schema = {
    "task": or_null(text(required=True)),
    "preprocessor": table(required=True),
    "lowercase": flag(required=True),
    "added_tokens": list_of(dict, "objects"),
    "vocabulary": text(required=True),
}
_ENCODER: Schema = {"width": integer(1, required=True)}
# Rows are packed to any length up to it, each of which is listed.
_ROWS: Schema = {"sequence_length": integer(3, 10**6, required=True)}


def load_litert(
    path: str | os.PathLike[str], num_threads: int | None = None
) -> "LiteRTTask | LiteRTEncoder":
    """Loads what `export_litert` or `export_litert_encoder` wrote.

    Args:
        path: The folder.
        num_threads: Threads of a call.  `None`: one for each core.

    Returns:
        A `LiteRTTask` or a `LiteRTEncoder`.

    Raises:
        FileNotFoundError: There is no such export.
        ValueError: It is damaged, its vocabulary is another model's, or a weight is NaN or
            infinite.
        ModuleNotFoundError: `ai-edge-litert` is not installed.
    """
    folder = user_path(path)
    file = folder / LITERT_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no model for LiteRT: it lacks {LITERT_FILE}")
    description = read_json(file, _DESCRIPTION)
    is_task = description["task"] is not None
    check(description, DESCRIPTION if is_task else _ENCODER, file)
    check(description["preprocessor"], _ROWS, file)
    tokenizer = SpanBertTokenizer(
        str(folder / VOCABULARY_FILE),
        description["lowercase"],
        added_tokens=description.get("added_tokens", ()),
    )
    if sha256_of_pieces(tokenizer) != description["vocabulary"]:
        raise CheckpointError(
            f"{folder / VOCABULARY_FILE} ({tokenizer.vocabulary_size()} word pieces) is not the "
            f"vocabulary that {NETWORK_FILE} was exported with"
        )
    network = folder / NETWORK_FILE
    with reading(network, "a network of LiteRT"):
        run = signature_runner(network, num_threads or os.cpu_count() or 1)
        check_finite(_constants(network), network)
    with reading(folder, "an export for LiteRT"):
        if is_task:
            task = LiteRTTask(description, tokenizer, run)
            task.answer_nothing()
            return task
        rows = _network(run, SpanBertTextClassifierPreprocessor, tokenizer, description)
        encoder = LiteRTEncoder(rows, description["width"])
        encoder.encode_text("")
        return encoder


class LiteRTTask(TextTask):
    """A task in LiteRT; threads may share it."""

    def __init__(
        self,
        description: dict[str, Any],
        tokenizer: SpanBertTokenizer,
        run: Callable[..., dict[str, np.ndarray]],
    ) -> None:
        super().__init__(description)
        self._network = _network(run, self.task_class.preprocessor_cls, tokenizer, description)
        # Of any shapes, after the first few have been met.
        self._serve = tf.function(self._dense, autograph=False, reduce_retracing=True)

    def answer_columns(self, columns: Columns, decoder: Any) -> list[Any]:
        """Answers for texts, any number of them."""
        if not columns[0]:
            return []
        decoded, rows = self._decided(columns)
        return decoder.answers(decoded, rows, columns)

    def tensors_of_columns(self, columns: Columns) -> dict[str, np.ndarray]:
        """Gives what the network decided to the operations that a SavedModel has after it."""
        decoded, rows = self._decided(columns)
        tensors = {
            of.name: tf.constant(_padded(decoded[of.name]) if of.is_of_tokens else decoded[of.name])
            for of in self.task_class.decoded
        }
        strings = [tf.constant(column, tf.string) for column in columns]
        outputs = self._serve(tensors, rows.records, rows.num_records, rows.places, strings)
        return {name: x.numpy() for name, x in outputs.items()}

    def _decided(self, columns: Columns) -> tuple[dict[str, Any], Rows]:
        """What the network decides of each row of texts, one at least, and the rows."""
        network, decoded = self._network, self.task_class.decoded
        if len(columns[0]) <= FEW_TEXTS:
            features, rows = network.one_batch(columns)
            lengths = features[PADDING_MASK.name].numpy().sum(axis=1)
            if len(lengths) <= FEW_TEXTS:  # A long text has many windows.
                return cut_rows(network(features), lengths, decoded), rows
        rows = network.rows(columns)
        return decide_rows(rows, network.batches, network, decoded), rows

    def _dense(
        self,
        decoded: dict[str, tf.Tensor],
        records: tf.Tensor,
        num_records: tf.Tensor,
        places: dict[str, tf.RaggedTensor],
        columns: list[tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        rows = Rows((), records, num_records, places=places)
        return self.decoder.serve(decoded, rows, columns)


class LiteRTEncoder:
    """An encoder in LiteRT, one vector a text; threads may share it."""

    def __init__(self, network: "_Network", width: int) -> None:
        self._network = network
        self._width = width

    def encode_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Encodes texts, any number of them: float32 `[n, H]`, in their order.

        Args:
            texts: A list of strings, or one string, which gives `[H]`.

        Raises:
            TypeError: A text is not a string.
        """
        columns, is_one = as_columns(texts)
        if not columns[0]:
            return np.zeros((0, self._width), np.float32)
        network = self._network
        if len(columns[0]) <= FEW_TEXTS:
            features, _ = network.one_batch(columns)
            vectors = network(features)[VECTORS.name]
        else:
            batches = network.batches(network.rows(columns))
            outputs = map(network, batches.first_epoch())
            vectors = batches.outputs_of_rows(outputs, [VECTORS])[VECTORS.name]
        return vectors[0] if is_one else vectors


class _Network:
    """Batches of features to what a network gives, by name."""

    def __init__(self, run: Callable[..., dict[str, np.ndarray]], preprocessor: Any) -> None:
        self._run = run
        self._preprocessor = preprocessor
        self._preprocess: dict[int, Any] = {}
        self._lock = threading.Lock()  # An interpreter has but one set of tensors.

    def one_batch(self, columns: Columns) -> tuple[dict[str, tf.Tensor], Rows]:
        """Features of a few texts, and their rows but for the pieces."""
        strings = [tf.constant(column, tf.string) for column in columns]
        preprocess = self._preprocess.get(len(columns))
        if preprocess is None:
            # A graph: operation by operation the same takes ten times as long.
            specs = [tf.TensorSpec([None], tf.string)] * len(columns)
            preprocess = tf.function(self._features, input_signature=specs, autograph=False)
            self._preprocess[len(columns)] = preprocess
        features, records, count, places = preprocess(*strings)
        return features, Rows((), records, count, places=places)

    def _features(self, *columns: tf.Tensor) -> Any:
        rows = self._preprocessor.rows(*columns)
        return self._preprocessor.pack(rows), rows.records, rows.num_records, rows.places

    def rows(self, columns: Columns) -> Rows:
        return rows_of_texts(columns, self._preprocessor)

    def batches(self, rows: Rows) -> BucketedBatches:
        return BucketedBatches.from_rows(
            rows,
            tokenizer=self._preprocessor.tokenizer,
            sequence_length=self._preprocessor.sequence_length,
            token_budget=TOKEN_BUDGET,
            num_buckets=NUM_BUCKETS,
        )

    def __call__(self, features: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
        arrays = {name: tensor.numpy() for name, tensor in features.items()}
        with self._lock:
            return self._run(**arrays)


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays `[s]` of several lengths, one for each row, as `[r, s]`, with zeros after each."""
    padded = np.zeros((len(rows), max(map(len, rows))), rows[0].dtype)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


def _network(
    run: Callable[..., dict[str, np.ndarray]],
    preprocessor_cls: Any,
    tokenizer: SpanBertTokenizer,
    description: dict[str, Any],
) -> _Network:
    settings = description["preprocessor"]
    # LiteRT takes any shape, so a batch is as long as its longest row; of long rows the class's own
    # lengths are near enough, where all of them would be a list of hundreds of thousands.
    longest = settings["sequence_length"]
    lengths = None if preprocessor_cls.has_long_rows else range(1, longest + 1)
    return _Network(run, preprocessor_cls(tokenizer, buckets=lengths, **settings))


def _constants(network: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yields names and values of a network's float constants, its weights among them."""
    from ai_edge_litert import schema_py_generated as schema

    types = schema.TensorType
    dtypes = {types.FLOAT32: np.float32, types.FLOAT16: np.float16}
    model = schema.Model.GetRootAs(network.read_bytes())
    for of in range(model.SubgraphsLength()):
        graph = model.Subgraphs(of)
        for number in range(graph.TensorsLength()):
            tensor = graph.Tensors(number)
            values = model.Buffers(tensor.Buffer()).DataAsNumpy()
            if tensor.Type() in dtypes and isinstance(values, np.ndarray):
                yield tensor.Name().decode(), values.view(dtypes[tensor.Type()])


def signature_runner(network: Path, num_threads: int) -> Callable[..., dict[str, np.ndarray]]:
    """Loads a network: a function of the features' names, for one thread at a time.

    Raises:
        ModuleNotFoundError: `ai-edge-litert` is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"models for LiteRT need the module {error.name!r}: pip install 'spanbert-tf[litert]'",
            name=error.name,
        ) from error
    interpreter = Interpreter(model_path=str(network), num_threads=num_threads)
    return interpreter.get_signature_runner(SIGNATURE)
