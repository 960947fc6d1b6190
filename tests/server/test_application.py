"""What clients get: the same JSON of every format, which is what the exported signature says."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from starlette.testclient import TestClient
from tensorflow.core.protobuf import saved_model_pb2

from spanbert_tf import load_task
from spanbert_tf.cli import predict
from spanbert_tf.server.application import Application
from spanbert_tf.server.asking import ForTensors
from spanbert_tf.server.metrics import Metrics
from spanbert_tf.server.models import Model
from spanbert_tf.server.rest import write_predict
from spanbert_tf.server.running import load
from spanbert_tf.server.settings import ServerSettings
from spanbert_tf.server.versions import read_source

TEXTS = ["a b c", "ada mét bo", "", "d e f g h i j k l m n o p q r"]
CLASSIFIERS = ("classifier/1", "classifier/litert", "classifier/adapter")
ENTITIES = ("entities/1", "entities/litert", "entities/preset")
SETTINGS = ServerSettings(max_batch_size=3, max_text_length=200, max_body_bytes=4000, max_queue=50)

pytestmark = pytest.mark.slow  # All of them wait for the exports.


def name_of(place: str) -> str:
    return place.replace("/", "_")


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[list[Model]]:
    places = (*CLASSIFIERS, *ENTITIES, "answers/1")
    sources = [read_source(f"{name_of(place)}={models / place}") for place in places]
    metrics = Metrics()
    served = [Model(source, SETTINGS, load, metrics) for source in sources]
    for model in served:
        model.start()
    yield served
    for model in served:
        model.close()


@pytest.fixture(scope="module")
def client(served: list[Model]) -> TestClient:
    return TestClient(Application(served, SETTINGS, served[0].metrics).asgi())


@pytest.fixture(scope="module")
def signatures(models: Path) -> Iterator[dict[str, Any]]:
    """Signatures of the SavedModels, as any program calls them."""
    names = ("classifier", "entities", "answers")
    loaded = {name: tf.saved_model.load(str(models / name / "1")) for name in names}
    yield {name: model.signatures for name, model in loaded.items()}
    loaded.clear()  # A signature does not keep its model alive.


def columns_of(signature: Any, **columns: list[str]) -> dict[str, Any]:
    """What a signature gives, as JSON's lists."""
    outputs = signature(**{name: tf.constant(of) for name, of in columns.items()})
    return {
        name: np.vectorize(bytes.decode, otypes=[object])(x).tolist()
        if x.dtype == tf.string and x.shape.num_elements()
        else x.numpy().tolist()
        for name, x in outputs.items()
    }


def rows_of(columns: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def assert_close(found: Any, expected: Any) -> None:
    """Equal JSON, but for the last digits of numbers."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_close(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=2e-5)
    else:
        assert found == expected


def post(client: TestClient, place: str, method: str, body: Any, status: int = 200) -> Any:
    answer = client.post(f"/v1/models/{name_of(place)}:{method}", content=json.dumps(body))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.mark.parametrize("place", CLASSIFIERS + ENTITIES)
def test_rows_and_columns_are_the_signatures(client: TestClient, signatures, place: str):
    expected = columns_of(signatures[place.split("/")[0]]["serving_default"], text=TEXTS)
    for inputs in (TEXTS, {"text": TEXTS}):
        assert_close(post(client, place, "predict", {"inputs": inputs}), {"outputs": expected})
    for instances in (TEXTS, [{"text": text} for text in TEXTS]):
        found = post(client, place, "predict", {"instances": instances})
        assert_close(found, {"predictions": rows_of(expected)})


@pytest.mark.parametrize("place", CLASSIFIERS)
def test_pairs_have_their_signature(client: TestClient, signatures, place: str):
    expected = columns_of(signatures["classifier"]["pairs"], text=TEXTS, pair=TEXTS[::-1])
    body = {"signature_name": "pairs", "inputs": {"text": TEXTS, "pair": TEXTS[::-1]}}
    assert_close(post(client, place, "predict", body), {"outputs": expected})


def test_questions_and_contexts(client: TestClient, signatures):
    signature = signatures["answers"]["serving_default"]
    expected = columns_of(signature, question=["a", "b"], context=["c d e", "f " * 30])
    rows = [{"question": "a", "context": "c d e"}, {"question": "b", "context": "f " * 30}]
    found = post(client, "answers/1", "predict", {"instances": rows})
    assert_close(found, {"predictions": rows_of(expected)})


@pytest.mark.parametrize("place", [*CLASSIFIERS, *ENTITIES])
def test_no_texts_have_no_answers(client: TestClient, place: str):
    outputs = post(client, place, "predict", {"inputs": {"text": []}})["outputs"]
    assert outputs
    assert all(of == [] for of in outputs.values())
    assert post(client, place, "answer", {"text": []}) == []


def test_requests_at_once_have_the_answers_of_their_own(served: list[Model], signatures):
    """Whatever they are joined with; the padding is that of their own texts too."""

    async def ask(model: Model) -> list[Any]:
        asked = (model.answer(ForTensors(1), [[text]], None) for text in TEXTS * 5)
        return [write_predict(of, is_row_form=False) for of in await asyncio.gather(*asked)]

    signature = signatures["entities"]["serving_default"]
    expected = [{"outputs": columns_of(signature, text=[text])} for text in TEXTS]
    assert len({len(of["outputs"]["start"][0]) for of in expected}) > 2
    for model in served:
        if model.name.startswith("entities"):
            assert_close(asyncio.run(ask(model)), expected * 5)


@pytest.mark.parametrize("place", CLASSIFIERS)
def test_labels_and_scores(client: TestClient, signatures, place: str):
    expected = columns_of(signatures["classifier"]["serving_default"], text=TEXTS)
    examples = [{"text": text} for text in TEXTS]
    found = post(client, place, "classify", {"examples": examples})["results"]
    names = ["no", "yes", "pérhaps"]
    assert_close(
        found, [[*map(list, zip(names, row, strict=True))] for row in expected["probabilities"]]
    )


def test_methods_that_do_not_fit(client: TestClient):
    examples = {"examples": [{"text": "a"}]}
    message = post(client, "entities/1", "classify", examples, 400)["error"]
    assert "Expected classification signature method_name to be tensorflow/serving/cl" in message
    message = post(client, "classifier/1", "regress", examples, 400)["error"]
    assert message.endswith("Was: tensorflow/serving/predict")


@pytest.mark.parametrize("place", ["classifier/1", "entities/litert", "entities/preset"])
def test_answers_are_those_of_the_command_line(client: TestClient, models: Path, place: str):
    task = load_task(models / place)
    expected = predict.to_json([*zip(TEXTS, task(TEXTS), strict=True)])
    assert_close(post(client, place, "answer", {"text": TEXTS}), _lists(expected))
    one = post(client, place, "answer", {"text": TEXTS[0]})
    assert_close(one, _lists(predict.to_json([(TEXTS[0], task(TEXTS[0]))])))


def test_options_of_answers(client: TestClient, models: Path):
    task = load_task(models / "answers" / "1")
    body = {"question": ["a"], "context": ["c d e"], "top_k": 2}
    expected = predict.to_json([("a", of) for of in task(["a"], ["c d e"], top_k=2)])
    assert_close(post(client, "answers/1", "answer", body), _lists(expected))
    pair = post(client, "classifier/litert", "answer", {"text": "a", "pair": "b", "top_k": 2})
    assert [of["label"] for of in pair[0]["answers"]] == [
        of.label for of in load_task(models / "classifier" / "1")(("a", "b"), top_k=2)
    ]
    for body, message in {
        '{"text": "a"}': "expected the keys question and context; and perhaps top_k; got text",
        '{"question": "a", "context": ["b", "c"]}': "there are 1 of question, 2 of context",
        '{"question": "a", "context": 3}': "context: expected a string or a list of strings, got 3",
        '{"question": "a", "context": "b", "top_k": "2"}': "top_k: expected an integer, got '2'",
        '{"question": "a", "context": "b", "top_k": true}': "top_k: expected an integer, got True",
        '{"question": "a", "context": "b", "top_k": 0}': "`top_k` must be at least 1, but is 0",
        '{"question": "a", "context": "b", "top_k": 9}': "`top_k` must be from 1 to 4",
    }.items():
        assert message in post(client, "answers/1", "answer", json.loads(body), 400)["error"]


def test_a_question_that_does_not_fit_fails_alone(client: TestClient):
    rows = [{"question": "a " * length, "context": "c d e"} for length in (1, 60, 2)]
    message = post(client, "answers/1", "predict", {"instances": rows}, 400)["error"]
    assert "question" in message
    for row in rows[::2]:
        assert post(client, "answers/1", "predict", {"instances": [row]})["predictions"]


@pytest.mark.parametrize("name", ["classifier", "entities", "answers"])
def test_metadata_are_those_of_the_saved_model(client: TestClient, models: Path, name: str):
    found = client.get(f"/v1/models/{name}_1/metadata").json()
    assert found["model_spec"] == {"name": f"{name}_1", "signature_name": "", "version": "1"}
    file = saved_model_pb2.SavedModel()
    file.ParseFromString((models / name / "1" / "saved_model.pb").read_bytes())
    definitions = file.meta_graphs[0].signature_def
    found = found["metadata"]["signature_def"]["signature_def"]
    assert found.keys() == {*definitions} - {"__saved_model_init_op"}
    for signature, of in found.items():
        expected = MessageToDict(definitions[signature], preserving_proto_field_name=True)
        for side in ("inputs", "outputs"):
            assert {n: _plain(x) for n, x in of[side].items()} == {
                n: _plain(x) for n, x in expected[side].items()
            }
        assert of["method_name"] == expected["method_name"]


def test_metadata_are_the_same_of_every_format(client: TestClient):
    for places in (CLASSIFIERS, ENTITIES):
        told = [
            client.get(f"/v1/models/{name_of(of)}/metadata").json()["metadata"] for of in places
        ]
        assert told == told[:1] * len(places)


def test_status(client: TestClient):
    available = {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert client.get("/v1/models/entities_1").json() == available
    assert client.get("/v1/models/entities_1/versions/1").json() == available
    for path, message in {
        "/v1/models/x": "Could not find any versions of model x",
        "/v1/models/entities_1/versions/2": "Could not find version 2 of model entities_1",
        "/v1/models/x/metadata": "Servable not found for request: Latest(x)",
    }.items():
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (404, {"error": message})


def test_paths_that_are_none(client: TestClient):
    body = b'{"instances": ["a"]}'
    for path, message in {
        "/v1/models/x:predict": "Servable not found for request: Latest(x)",
        "/v1/models/entities_1/versions/7:predict": (
            "Servable not found for request: Specific(entities_1, 7)"
        ),
    }.items():
        answer = client.post(path, content=body)
        assert (answer.status_code, answer.json()) == (404, {"error": message})
    for method, path in (
        ("POST", "/v1/models/entities_1:fly"),
        ("GET", "/v1/models/entities_1:predict"),
        ("POST", "/v1/models/entities_1"),
        ("PUT", "/v2"),
    ):
        answer = client.request(method, path, content=body)
        error = {"error": f"Malformed request: {method} {path}"}
        assert (answer.status_code, answer.json()) == (400, error)
    assert client.post("/v1/models/entities_1/versions/1:predict", content=body).is_success
    assert client.get("/v1/models").json() == {"error": "Missing model name in request."}


def test_what_is_too_large(client: TestClient):
    long = {"instances": ["a" * 201]}
    message = post(client, "entities/1", "predict", long, 413)["error"]
    assert message == "text 0 has 201 characters; expected 200 at most"
    many = {"instances": ["a"] * 51}
    message = post(client, "entities/1", "predict", many, 413)["error"]
    assert message == "51 texts in one request; expected 50 at most"
    error = {"error": "the body is too large; expected 4000 bytes at most"}
    path = "/v1/models/entities_1:predict"
    for body in (b"[" * 10 * 2**20, iter([b"[" * 3000] * 3)):  # Of a size that is told, or not.
        answer = client.post(path, content=body)
        assert (answer.status_code, answer.json()) == (413, error)


def test_text_that_is_no_text(client: TestClient):
    answer = client.post("/v1/models/entities_1:predict", content=b'{"instances": ["\\ud800"]}')
    assert answer.status_code == 400
    assert "text 0 is no Unicode" in answer.json()["error"]
    answer = client.post("/v1/models/entities_1:answer", content=b'{"\\ud800": "a"}')
    assert answer.json()["error"].endswith("got \ud800")


def test_health_and_metrics(client: TestClient):
    assert client.get("/healthz").json() == {"status": "ok"}
    counter = 'spanbert_requests_total{method="predict",model="entities_1",status="200"}'
    before = _metric(client, counter)
    post(client, "entities/1", "predict", {"instances": TEXTS})
    assert _metric(client, counter) == before + 1
    assert _metric(client, 'spanbert_model_version{model="entities_1"}') == 1
    assert _metric(client, 'spanbert_waiting_texts{model="entities_1"}') == 0
    assert _metric(client, 'spanbert_batch_texts_bucket{le="2.0",model="entities_1"}') >= 1


def _metric(client: TestClient, name: str) -> float:
    page = client.get("/metrics").text
    return next((float(x.split()[-1]) for x in page.splitlines() if x.startswith(name)), 0.0)


def _lists(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _plain(tensor_info: dict[str, Any]) -> tuple[Any, ...]:
    shape = [int(dim["size"]) for dim in tensor_info["tensor_shape"]["dim"]]
    return tensor_info["name"], tensor_info["dtype"], shape
