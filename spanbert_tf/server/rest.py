"""TensorFlow Serving's REST API: JSON to columns of texts, tensors to JSON.

After https://www.tensorflow.org/tfx/serving/api_rest, and in what that page leaves open (messages,
digits of numbers, the key `results`) after how its server behaves.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spanbert_tf.models.text_batches import Columns
from spanbert_tf.server.errors import RequestError, wrong
from spanbert_tf.server.tensors import ServedTensors

DEFAULT_SIGNATURE = "serving_default"
PREDICT = "tensorflow/serving/predict"
_TYPES = {dict: "Object", list: "Array", str: "String", bool: "Bool", type(None): "Null"}
_DTYPES = {"f4": "DT_FLOAT", "i4": "DT_INT32", "i8": "DT_INT64", "O": "DT_STRING"}

# Names of the texts that each signature takes.
Signatures = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class PredictRequest:
    """What `:predict` is asked.

    Attributes:
        columns: Texts, a column for each input of the signature, in its order.
        is_row_form: Whether they came as `instances`, and the answer goes as `predictions`.
    """

    columns: Columns
    is_row_form: bool


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """Reads a request's body.

    Raises:
        RequestError: 400: it is no JSON object.
    """
    if not body:
        raise wrong("JSON Parse error: The document is empty")
    try:
        value = json.loads(body)
    except json.JSONDecodeError as error:
        raise wrong(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise wrong(f"JSON Parse error: {error}") from error
    if not isinstance(value, dict):
        raise wrong(f"{_shown(value)} Is not object")
    return value


def read_predict(given: dict[str, Any], signatures: Signatures) -> PredictRequest:
    """Reads a request to `:predict`.

    Raises:
        RequestError: 400: it asks for an unknown signature, or not for what the signature takes.
    """
    names = _signature(given, signatures)
    if "instances" in given and "inputs" in given:
        raise wrong(
            f"{_shown(given)} Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist"
        )
    if "instances" in given:
        return PredictRequest(_rows_to_columns(given["instances"], names), True)
    if "inputs" in given:
        return PredictRequest(_columns(given["inputs"], names), False)
    raise wrong("Missing 'inputs' or 'instances' key")


def write_predict(tensors: ServedTensors, is_row_form: bool) -> dict[str, Any]:
    """The answer of `:predict`: `predictions`, a row for each text, or `outputs`, the tensors."""
    values = {name: _values(array) for name, array in tensors.arrays.items()}
    only = next(iter(values.values())) if len(values) == 1 else None
    if not is_row_form:
        return {"outputs": values if only is None else only}
    if only is not None:
        return {"predictions": only}
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}


def read_examples(given: dict[str, Any], signatures: Signatures) -> Columns:
    """Reads a request to `:classify`: the texts, a column for each input of a signature.

    Raises:
        RequestError: 400: it has no examples, or not of what a signature takes.
    """
    examples, context = given.get("examples"), given.get("context", {})
    if "examples" not in given:
        raise wrong(
            f"{_shown(given)} When method is classify, key 'examples' is expected and was not found"
        )
    if not isinstance(examples, list) or not isinstance(context, dict):
        raise wrong(f"{_shown(given)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise wrong(f"{_shown(given)} 'examples' value is an empty array")
    if not all(isinstance(example, dict) for example in examples):
        raise wrong(f"{_shown(examples)} Example must be JSON object")
    rows = [{**context, **example} for example in examples]
    names = _signature(given, signatures)
    if "signature_name" not in given:  # By what the examples have.
        names = next((of for of in signatures.values() if set(of) == set(rows[0])), names)
    # A feature is a list, of one text here.
    unpacked = [
        {key: x[0] if isinstance(x, list) and len(x) == 1 else x for key, x in row.items()}
        for row in rows
    ]
    return _rows_to_columns(unpacked, names, "examples")


def classes_of(names: Sequence[str], probabilities: np.ndarray) -> list[list[list[Any]]]:
    """What `:classify` gives for each text: label and score of each class, of float32 `[b, c]`."""
    rows = _values(probabilities)
    return [[list(pair) for pair in zip(names, row, strict=True)] for row in rows]


def metadata(name: str, version: int, signatures: Signatures, outputs: Any) -> dict[str, Any]:
    """What `/metadata` tells: the signatures, as TensorFlow names their tensors.

    Args:
        name: Of the model.
        version: Of the model.
        signatures: What each takes.
        outputs: `ServedTensors` of each signature, of any texts.
    """
    definitions = {}
    for place, (signature, columns) in enumerate(sorted(signatures.items())):
        call = f"StatefulPartitionedCall{f'_{place}' if place else ''}"
        arrays, lists = outputs[signature].arrays, outputs[signature].lists
        definitions[signature] = {
            "inputs": {
                column: _tensor_info(f"{signature}_{column}:0", "DT_STRING", [-1])
                for column in columns
            },
            "outputs": {
                output: _tensor_info(
                    f"{call}:{number}",
                    _DTYPES[arrays[output].dtype.str.lstrip("<|")],
                    [-1, *([-1] if output in lists else arrays[output].shape[1:])],
                )
                for number, output in enumerate(sorted(arrays))
            },
            "method_name": PREDICT,
        }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": definitions}},
    }


def _tensor_info(name: str, dtype: str, shape: Sequence[int]) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in shape]
    return {
        "dtype": dtype,
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": name,
    }


def _signature(given: dict[str, Any], signatures: Signatures) -> Sequence[str]:
    name = given.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise wrong(
            f"{_shown(given)} not formatted correctly. 'signature_name' key must be a string value."
        )
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise wrong(f'Serving signature name: "{name}" not found in signature def')
    return signatures[name]


def _rows_to_columns(rows: Any, names: Sequence[str], key: str = "instances") -> Columns:
    if not isinstance(rows, list):
        raise wrong(f"{_shown(rows)} Expecting '{key}' to be an list/array")
    if not rows:
        raise wrong(f"No values in '{key}' array")
    are_objects = _is_object(rows[0])
    if not are_objects and len(names) > 1:
        raise wrong(
            f"{key} is a plain list, but expecting list of objects as multiple input tensors "
            f"required as per tensorinfo_map: {', '.join(names)}"
        )
    columns: Columns = [[] for _ in names]
    for number, row in enumerate(rows):
        where = f"Failed to process element: {number}"
        if _is_object(row) != are_objects:
            expected, got = ("object", "value") if are_objects else ("value/list", "object")
            raise wrong(f"Expecting {expected} but got {got} at item {number} of input list")
        if are_objects and row.keys() != set(names):
            raise wrong(
                f"{where} of '{key}' list. JSON object: {_shown(row)} keys must be equal to: "
                f"{','.join(names)}"
            )
        for column, name in zip(columns, names, strict=True):
            at = f"{where} key: {name} of '{key}' list. Error: "
            column.append(_text(row[name] if are_objects else row, at))
    return columns


def _columns(inputs: Any, names: Sequence[str]) -> Columns:
    if not _is_object(inputs):
        if len(names) > 1:
            raise wrong(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                f"required as per tensorinfo_map: {', '.join(names)}"
            )
        inputs = {names[0]: inputs}
    columns = []
    for name in names:
        if name not in inputs:
            raise wrong(f"Missing named input: {name} in 'inputs' object.")
        if not isinstance(inputs[name], list):
            raise wrong(f"input {name}: expected a list of strings, got {_shown(inputs[name])}")
        columns.append([_text(value, f"input {name}: ") for value in inputs[name]])
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(map(str, map(len, columns)))
        raise wrong(f"expected as many texts in {', '.join(names)}, but there are {sizes}")
    return columns


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and [*value] == ["b64"] and isinstance(value["b64"], str)


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if not _is_base64(value):
        raise wrong(f"{where}{_shown(value)} is not of expected type: string")
    try:
        return base64.b64decode(value["b64"], validate=True).decode()
    except binascii.Error as error:
        raise wrong(f"{where}Unable to base64 decode: {error}") from error
    except UnicodeDecodeError as error:
        raise wrong(f"{where}expected a text in UTF-8: {error}") from error


def _values(array: np.ndarray) -> Any:
    """The values of a tensor, in lists as deep as it is."""
    if array.dtype.kind == "f":
        flat: list[Any] = [_decimal(x) for x in array.ravel()]
    elif array.dtype.kind == "O":
        flat = [x.decode() for x in array.ravel()]
    else:
        return array.tolist()
    values = np.empty(len(flat), object)
    values[:] = flat
    return values.reshape(array.shape).tolist()


def _decimal(number: np.floating) -> float:
    """With six digits where they are enough to tell the number, else with nine."""
    short = float(f"{number:.6g}")
    return short if number.dtype.type(short) == number else float(f"{number:.9g}")


def _shown(value: Any) -> str:
    kind = "Number" if isinstance(value, int | float) else _TYPES.get(type(value), "")
    kind = _TYPES[bool] if isinstance(value, bool) else kind
    return f"JSON Value: {json.dumps(value):.200} Type: {kind}"


def error_json(error: RequestError) -> dict[str, str]:
    """The body of an error."""
    return {"error": error.message}
