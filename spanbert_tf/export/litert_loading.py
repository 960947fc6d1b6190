"""Models for LiteRT, loaded: texts in, answers out.

Letters: n texts, c classes, H hidden.
"""

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.pipeline import BucketedBatches, list_of_strings
from spanbert_tf.export.litert import DESCRIPTION_FILE, NETWORK_FILE, SIGNATURE
from spanbert_tf.hugging_face import VOCABULARY_FILE
from spanbert_tf.models.text_classifier import Prediction, named_predictions
from spanbert_tf.models.text_classifier_preprocessor import SpanBertTextClassifierPreprocessor
from spanbert_tf.models.texts_in_memory import NUM_BUCKETS
from spanbert_tf.tokenizer import SpanBertTokenizer

# So many texts are one batch, padded to the longest; more are sorted by length, which takes some
# milliseconds before the first is answered.
TEXTS_AT_ONCE = 8
# Of a batch that is sorted: a layer's scores then stay in a CPU's cache, and any number of shapes
# and batches is free.
TOKEN_BUDGET = 512


def load_litert(
    path: str | os.PathLike[str], num_threads: int | None = None
) -> "LiteRTClassifier | LiteRTEncoder":
    """Loads what `export_litert_classifier` or `export_litert_encoder` wrote.

    Args:
        path: The folder.
        num_threads: Threads of a call.  `None`: one for each core.

    Returns:
        A `LiteRTClassifier` or a `LiteRTEncoder`.

    Raises:
        FileNotFoundError: There is no such export.
        ModuleNotFoundError: `ai-edge-litert` is not installed.
    """
    folder = Path(path)
    if not is_litert(folder):
        raise FileNotFoundError(f"{folder} holds no model for LiteRT: it lacks {DESCRIPTION_FILE}")
    description = json.loads((folder / DESCRIPTION_FILE).read_text("utf-8"))
    network = _TextNetwork(folder, description, num_threads or os.cpu_count() or 1)
    if "classes" in description:
        return LiteRTClassifier(network, description["classes"])
    return LiteRTEncoder(network)


def is_litert(folder: Path) -> bool:
    """Whether a folder was written by one of the exports of this module."""
    return (folder / DESCRIPTION_FILE).is_file()


class LiteRTClassifier:
    """A classifier in LiteRT; threads may share it.

    Attributes:
        class_names: The classes, in the order of their probabilities.
    """

    def __init__(self, network: "_TextNetwork", class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)
        self._network = network

    def classify(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Names the class of each text, with probabilities.

        Args:
            texts: The texts, any number of them.
            pairs: Their second texts, for a classifier of pairs.

        Returns:
            One answer a text, in their order.

        Raises:
            TypeError: A text is not a string.
            ValueError: There are not as many `pairs` as `texts`.
        """
        return named_predictions(self._network(texts, pairs), self.class_names)


class LiteRTEncoder:
    """An encoder in LiteRT, one vector a text; threads may share it."""

    def __init__(self, network: "_TextNetwork") -> None:
        self._network = network

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encodes texts, any number of them: float32 `[n, H]`, in their order.

        Raises:
            TypeError: A text is not a string.
        """
        return self._network(texts)


class _TextNetwork:
    """Texts, or pairs of them, to the only output of a network: float32 `[n, c or H]`."""

    def __init__(self, folder: Path, description: dict[str, Any], num_threads: int) -> None:
        self._tokenizer = SpanBertTokenizer(
            str(folder / VOCABULARY_FILE), lowercase=description["lowercase"]
        )
        self._sequence_length = description["sequence_length"]
        self._width = description["width"]
        preprocessor = SpanBertTextClassifierPreprocessor(
            self._tokenizer, self._sequence_length, buckets=range(1, self._sequence_length + 1)
        )
        strings = tf.TensorSpec([None], tf.string)
        # A graph: operation by operation the same takes ten times as long.
        self._preprocess = {
            1: tf.function(preprocessor, [strings], autograph=False),
            2: tf.function(
                lambda text, pair: preprocessor((text, pair)), [strings, strings], autograph=False
            ),
        }
        self._run = signature_runner(folder / NETWORK_FILE, num_threads)
        self._lock = threading.Lock()  # An interpreter has but one set of tensors.

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> np.ndarray:
        columns = [list_of_strings(texts)]
        if pairs is not None:
            columns.append(list_of_strings(pairs, "pairs"))
            if len(pairs) != len(texts):
                raise ValueError(f"there are {len(pairs)} `pairs` for {len(texts)} `texts`.")
        if not columns[0]:
            return np.zeros((0, self._width), np.float32)
        if len(columns[0]) <= TEXTS_AT_ONCE:
            strings = (tf.constant(column, tf.string) for column in columns)
            return self._outputs(self._preprocess[len(columns)](*strings))
        batches = BucketedBatches.from_texts(
            columns[0],
            None,
            *columns[1:],
            tokenizer=self._tokenizer,
            sequence_length=self._sequence_length,
            token_budget=TOKEN_BUDGET,
            num_buckets=NUM_BUCKETS,
        )
        return batches.in_row_order(np.concatenate([*map(self._outputs, batches.dataset())]))

    def _outputs(self, features: dict[str, tf.Tensor]) -> np.ndarray:
        arrays = {name: tensor.numpy() for name, tensor in features.items()}
        with self._lock:
            (outputs,) = self._run(**arrays).values()
        return outputs


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
