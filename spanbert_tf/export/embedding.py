"""Any handle -> texts in, vectors out.

Letters: n texts, H hidden.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.export.litert_loading import load_litert
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.export.task_loading import load_task
from spanbert_tf.handles import AnyHandle, Kind, find
from spanbert_tf.models.answering import as_columns
from spanbert_tf.models.text_batches import NUM_BUCKETS, TOKEN_BUDGET
from spanbert_tf.tasks import FINE_TUNED_TASKS
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer


def load_embedder(handle: AnyHandle) -> Any:
    """Loads what makes vectors of texts.

    Args:
        handle: See `spanbert_tf.handles.find`.  A LiteRT encoder, or a task whose answers are
            vectors, gives its own; of any other encoder a text's vector is the mean of its final
            states.

    Returns:
        What has `encode_text(texts)`, which gives float32 `[n, d]`.

    Raises:
        FileNotFoundError, ConnectionError, ModuleNotFoundError, OSError: As
            `spanbert_tf.handles.find`.
        ValueError: It is damaged, or a task whose answers are no vectors.
    """
    found = find(handle)
    if found.task in FINE_TUNED_TASKS:
        task = load_task(found)
        if not hasattr(task, "encode_text"):
            raise ValueError(
                f"{found.source} is a model for {found.task}, whose answers are no vectors; "
                "expected an encoder"
            )
        return task
    if found.kind is Kind.LITERT:
        return load_litert(found.path)
    return PooledEncoder(*load_backbone(found))


class PooledEncoder:
    """An encoder in Keras, one vector a text: the mean of its final states.

    Args:
        backbone: The encoder.
        tokenizer: Its tokenizer.
    """

    def __init__(self, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer) -> None:
        self._model = keras.Model(backbone.input, backbone.pooled_states(backbone.input, "mean"))
        self._tokenizer = tokenizer
        self._length = backbone.max_sequence_length

    def encode_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Encodes texts, any number of them: float32 `[n, H]`, in their order.

        Args:
            texts: A list of strings, or one string, which gives `[H]`.

        Raises:
            TypeError: A text is not a string.
        """
        columns, is_one = as_columns(texts)
        if not columns[0]:
            return np.zeros((0, self._model.output.shape[-1]), np.float32)
        batches = BucketedBatches.from_texts(
            columns[0],
            tokenizer=self._tokenizer,
            sequence_length=self._length,
            token_budget=TOKEN_BUDGET,
            num_buckets=NUM_BUCKETS,
        )
        batch = batches.only_batch()
        if batch is None:
            outputs = self._model.predict(batches.dataset(), verbose=0)
        else:
            outputs = self._model.predict_on_batch(batch)
        vectors = batches.in_row_order(outputs)
        return vectors[0] if is_one else vectors
