"""Requests that TensorFlow Serving runs before it answers any, as the first of a graph are slow.

The file `assets.extra/tf_serving_warmup_requests` of a SavedModel holds TFRecords of messages
`tensorflow.serving.PredictionLog`, see https://www.tensorflow.org/tfx/serving/saved_model_warmup.
The classes of these messages are not TensorFlow's but of tensorflow-serving-api, so the few fields
that are needed are written here, by their numbers in
https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis:

    PredictionLog { PredictLog predict_log = 6; }
    PredictLog { PredictRequest request = 1; }
    PredictRequest { ModelSpec model_spec = 1; map<string, TensorProto> inputs = 2; }
    ModelSpec { string signature_name = 3; }
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from spanbert_tf.features import PADDING_MASK
from spanbert_tf.models.task import SpanBertTask

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
_LONGEST = 512  # Tokens of a row; longer ones take long each time.


def write_warm_up(task: SpanBertTask, folder: Path) -> None:
    """Writes requests for each signature of an exported task, one for each length up to 512.

    The lengths are those that its rows are padded to.

    Args:
        task: The task.
        folder: Of its SavedModel.
    """
    path = folder / WARM_UP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as file:
        for name, columns in task.signatures.items():
            for texts in _requests(task, columns):
                file.write(_prediction_log(name, texts))


def _requests(task: SpanBertTask, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    blank = task.blank or ("",) * len(columns)
    texts = dict(zip(columns, blank, strict=True))
    yield texts
    preprocessor = task.preprocessor
    rows = preprocessor.rows(*(tf.constant([text]) for text in blank))
    tokens = int(tf.reduce_sum(preprocessor.pack(rows)[PADDING_MASK.name][0]))
    # What may be long is the last text that is asked, such as the context of a question.
    name = task.asked[-1]
    for length in preprocessor.buckets or preprocessor.default_buckets():
        if tokens < length <= _LONGEST:
            yield {**texts, name: texts[name] + " a" * (length - tokens)}


def _prediction_log(signature: str, texts: Mapping[str, str]) -> bytes:
    """A message for a request of one text a column."""
    model_spec = _field(3, signature.encode())
    request = _field(1, model_spec)
    for name, text in texts.items():
        tensor = tf.make_tensor_proto([text.encode()], tf.string)
        # An entry of a map is a message of a key, 1, and a value, 2.
        request += _field(2, _field(1, name.encode()) + _field(2, tensor.SerializeToString()))
    return _field(6, _field(1, request))


def _field(number: int, content: bytes) -> bytes:
    """A field of a message whose content has a length: strings, bytes and messages.

    In the wire format of Protocol Buffers it is the field's number and the type 2, the length and
    the content.
    """
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """An integer of seven bits a byte, the lowest first; all but the last byte have the top bit."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
