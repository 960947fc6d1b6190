"""TensorFlow Serving's JSON, of arrays written by hand."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spanbert_tf.server import rest
from spanbert_tf.server.asking import ForAnswers, asked_for_answers
from spanbert_tf.server.errors import RequestError
from spanbert_tf.server.tensors import ServedTensors
from spanbert_tf.tasks.seq_2_seq_lm import SpanBertSeq2SeqLM

SIGNATURES = {"serving_default": ("text",), "pairs": ("text", "pair")}
LISTS = {"word": "", "start": -1}


def strings(rows: list) -> np.ndarray:
    return np.array(rows, object)


# Three texts that have two, none and one items.
TENSORS = ServedTensors(
    {
        "word": strings([[b"ab", "é".encode()], [b"", b""], [b"c", b""]]),
        "start": np.array([[0, 5], [-1, -1], [3, -1]], np.int32),
        "score": np.array([0.2, 1 / 3, 1], np.float32),
    },
    LISTS,
)


def arrays(tensors: ServedTensors) -> dict[str, list]:
    return {name: array.tolist() for name, array in tensors.arrays.items()}


def test_a_part_is_as_wide_as_its_own_lists():
    assert arrays(TENSORS[1:3])["start"] == [[-1], [3]]
    assert arrays(TENSORS[1:3])["word"] == [[b""], [b"c"]]
    assert arrays(TENSORS[1:2])["start"] == [[]]
    assert arrays(TENSORS[0:3]) == arrays(TENSORS)
    assert TENSORS[0:0].arrays["word"].shape == (0, 0)
    assert TENSORS[1:3].arrays["score"].tolist() == TENSORS.arrays["score"][1:].tolist()


def test_parts_join_to_the_whole():
    parts = [TENSORS[0:1], TENSORS[1:2], TENSORS[2:3]]
    joined = ServedTensors.join(parts)
    assert arrays(joined) == arrays(TENSORS)
    assert [x.dtype for x in joined.arrays.values()] == [x.dtype for x in TENSORS.arrays.values()]


def test_rows_and_columns():
    assert rest.write_predict(TENSORS, is_row_form=True) == {
        "predictions": [
            {"word": ["ab", "é"], "start": [0, 5], "score": 0.2},
            {"word": ["", ""], "start": [-1, -1], "score": 0.333333343},
            {"word": ["c", ""], "start": [3, -1], "score": 1.0},
        ]
    }
    assert rest.write_predict(TENSORS, is_row_form=False) == {
        "outputs": {
            "word": [["ab", "é"], ["", ""], ["c", ""]],
            "start": [[0, 5], [-1, -1], [3, -1]],
            "score": [0.2, 0.333333343, 1.0],
        }
    }


@pytest.mark.parametrize(("is_row_form", "key"), [(True, "predictions"), (False, "outputs")])
def test_one_tensor_has_no_name(is_row_form: bool, key: str):
    one = ServedTensors({"score": np.array([1.5, 9e6], np.float32)}, {})
    assert rest.write_predict(one, is_row_form) == {key: [1.5, 9000000.0]}


@pytest.mark.parametrize(
    ("body", "columns", "is_row_form"),
    [
        ({"instances": ["a", "b"]}, [["a", "b"]], True),
        ({"instances": [{"text": "a"}, {"text": "b"}]}, [["a", "b"]], True),
        ({"instances": [{"b64": "w6k="}, "b"]}, [["é", "b"]], True),
        ({"instances": [{"text": {"b64": "w6k="}}]}, [["é"]], True),
        ({"inputs": ["a", "b"]}, [["a", "b"]], False),
        ({"inputs": {"text": ["a"]}, "signature_name": ""}, [["a"]], False),
        ({"inputs": {"text": []}}, [[]], False),
        (
            {"signature_name": "pairs", "instances": [{"pair": "b", "text": "a"}]},
            [["a"], ["b"]],
            True,
        ),
        (
            {"signature_name": "pairs", "inputs": {"pair": ["b"], "text": ["a"]}},
            [["a"], ["b"]],
            False,
        ),
    ],
)
def test_texts_of_requests(body: dict, columns: list, is_row_form: bool):
    read = rest.read_predict(rest.parse(json.dumps(body).encode()), SIGNATURES)
    assert (read.columns, read.is_row_form) == (columns, is_row_form)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b'{"instances": [', "JSON Parse error: .* at offset: 15"),
        (b"\xff{}", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b'{"instances": ' + b"1" * 10_000 + b"}", "JSON Parse error"),
        (b"[]", r"JSON Value: \[\] Type: Array Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"texts": ["a"]}', "Missing 'inputs' or 'instances' key"),
        (b'{"inputs": ["a"], "instances": ["a"]}', "only one of 'inputs' or 'instances'"),
        (b'{"instances": "a"}', "Expecting 'instances' to be an list/array"),
        (b'{"instances": []}', "No values in 'instances' array"),
        (b'{"instances": ["a", 3]}', "element: 1 .* 3 Type: Number is not of expected type"),
        (b'{"instances": [["a"]]}', "element: 0 .* Type: Array is not of expected type: string"),
        (b'{"instances": [{"txt": "a"}]}', "element: 0 .* keys must be equal to: text"),
        (b'{"instances": ["a", {"text": "a"}]}', "Expecting value/list but got object at item 1"),
        (b'{"instances": [{"text": "a"}, "a"]}', "Expecting object but got value at item 1"),
        (b'{"instances": [{"b64": "%"}]}', "Unable to base64 decode"),
        (b'{"instances": [{"b64": "/w=="}]}', "UTF-8"),
        (b'{"inputs": "a"}', "input text: expected a list of strings"),
        (b'{"inputs": {"txt": ["a"]}}', "Missing named input: text in 'inputs' object"),
        (b'{"inputs": {"text": [null]}}', "input text: .* Type: Null is not of expected type"),
        (b'{"inputs": ["a"], "signature_name": 5}', "'signature_name' key must be a string"),
        (b'{"inputs": ["a"], "signature_name": "x"}', 'name: "x" not found in signature def'),
        (b'{"inputs": ["a"], "signature_name": "pairs"}', "inputs is a plain value/list"),
        (b'{"instances": ["a"], "signature_name": "pairs"}', "instances is a plain list"),
        (
            b'{"inputs": {"text": ["a"], "pair": ["a", "b"]}, "signature_name": "pairs"}',
            "as many texts in text, pair, but there are 1, 2",
        ),
    ],
)
def test_what_is_wrong_is_named(body: bytes, message: str):
    with pytest.raises(RequestError, match=message) as refused:
        rest.read_predict(rest.parse(body), SIGNATURES)
    assert refused.value.status == 400


def test_examples_to_classify():
    read = rest.read_examples
    assert read({"examples": [{"text": "a"}, {"text": ["b"]}]}, SIGNATURES) == [["a", "b"]]
    in_context = {"context": {"pair": "c"}, "examples": [{"text": "a"}, {"text": "b"}]}
    assert read(in_context, SIGNATURES) == [["a", "b"], ["c", "c"]]
    for given, message in {
        "{}": "key 'examples' is expected and was not found",
        '{"examples": 3}': "Expecting 'examples' value to be an list/array",
        '{"examples": []}': "'examples' value is an empty array",
        '{"examples": ["a"]}': "Example must be JSON object",
        '{"examples": [{"txt": "a"}]}': "keys must be equal to: text",
    }.items():
        with pytest.raises(RequestError, match=message):
            read(json.loads(given), SIGNATURES)


def test_clients_do_not_choose_by_what_the_network_decides():
    """Each number of beams, say, has a graph of its own."""
    writer: Any = SimpleNamespace(task_class=SpanBertSeq2SeqLM)
    ask, columns = asked_for_answers(writer, {"text": "a", "num_answers": 2})
    assert (ask, columns) == (ForAnswers(1, (("num_answers", 2),)), [["a"]])
    with pytest.raises(RequestError, match="keys text; and perhaps num_answers; got text, num_bea"):
        asked_for_answers(writer, {"text": "a", "num_beams": 4})


def test_labels_and_scores():
    probabilities = np.array([[0.25, 0.75], [0.9, 0.1]], np.float32)
    assert rest.classes_of(["no", "yes"], probabilities) == [
        [["no", 0.25], ["yes", 0.75]],
        [["no", 0.9], ["yes", 0.1]],
    ]
