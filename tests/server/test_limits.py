"""What clients are told when there is too much, or something breaks; with a task of no network."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from spanbert_tf.server.application import Application
from spanbert_tf.server.asking import ForTensors
from spanbert_tf.server.models import Model
from spanbert_tf.server.settings import ServerSettings
from spanbert_tf.server.versions import Source
from tests.server.fakes import Echo

PATH = "/v1/models/echo:predict"
SETTINGS = ServerSettings(max_queue=2)


class Held(Echo):
    """Answers the text "slow" when it is let, and breaks at "break"."""

    def __init__(self) -> None:
        super().__init__("held")
        self.begun, self.go = threading.Event(), threading.Event()
        self.texts: list[str] = []

    def answer_tensors(self, columns: Any) -> Any:
        self.texts += columns[0]
        if "slow" in columns[0]:
            self.begun.set()
            assert self.go.wait(30)
        if "break" in columns[0]:
            raise RuntimeError("a secret of the house")
        return super().answer_tensors(columns)


@pytest.fixture
def task() -> Held:
    return Held()


@pytest.fixture
def model(task: Held) -> Iterator[Model]:
    model = Model(Source("echo", "x", 1), SETTINGS, lambda _: task)
    yield model
    task.go.set()
    model.close()


@pytest.fixture
def client(model: Model) -> TestClient:
    client = TestClient(Application([model], SETTINGS, model.metrics).asgi())
    assert client.get("/healthz").status_code == 503
    model.start()
    return client


def post(client: TestClient, *texts: str) -> tuple[int, Any]:
    answer = client.post(PATH, json={"instances": texts})
    return answer.status_code, answer.json()


def test_requests_beyond_the_queue_are_refused_and_those_within_answered(
    client: TestClient, task: Held
):
    with ThreadPoolExecutor() as clients:
        slow = clients.submit(post, client, "slow")
        assert task.begun.wait(30)
        # The queue has room for two texts while the first is in work.
        status, body = post(client, "a", "b", "c")
        assert (status, body) == (413, {"error": "3 texts in one request; expected 2 at most"})
        waiting = clients.submit(post, client, "a", "b")
        two = 'spanbert_waiting_texts{model="echo"} 2.0'
        assert any(two in client.get("/metrics").text for _ in range(10_000))
        status, body = post(client, "c")
        assert (status, body["error"]) == (429, "2 texts are waiting already; try again later")
        task.go.set()
        assert slow.result(timeout=30) == (200, {"predictions": ["held slow"]})
        assert waiting.result(timeout=30) == (200, {"predictions": ["held a", "held b"]})
    assert post(client, "c") == (200, {"predictions": ["held c"]})


def test_texts_that_a_task_does_not_take(client: TestClient):
    assert post(client, "bad") == (400, {"error": "the text is bad"})
    assert post(client, "good")[0] == 200


def test_what_breaks_is_logged_and_told_to_nobody(
    client: TestClient, caplog: pytest.LogCaptureFixture
):
    assert post(client, "break") == (
        500,
        {"error": "internal error; the server's log has more"},
    )
    assert "a secret of the house" in caplog.text
    assert post(client, "good")[0] == 200


def part(*texts: str, more: bool = False) -> dict[str, Any]:
    """A message of a server to its application: a request's body, or the first part of it."""
    body = json.dumps({"instances": texts}).encode()
    return {"type": "http.request", "body": body, "more_body": more}


async def call(application: Any, messages: Any) -> tuple[int, str, list[Any]]:
    """What a request is answered: its status, error and headers.

    Args:
        application: The application.
        messages: An asynchronous iterator of what comes; in its end nothing does, for ever.
    """
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        async for message in messages:
            return message
        return await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": []}
    await application(scope, receive, send)
    start, body = sent
    return start["status"], json.loads(body["body"]).get("error", ""), start["headers"]


async def at_once(*messages: dict[str, Any]) -> Any:
    for message in messages:
        yield message


def test_texts_whose_client_is_gone_are_never_run(model: Model, task: Held):
    model.start()
    application = Application([model], SETTINGS).asgi()
    (slow,) = model.submit(ForTensors(1), [["slow"]], None)
    assert task.begun.wait(30)
    messages = at_once(part("a", "b"), {"type": "http.disconnect"})
    assert asyncio.run(call(application, messages))[:2] == (499, "the client is gone")
    task.go.set()
    slow.result(timeout=30)
    assert asyncio.run(call(application, at_once(part("c"))))[0] == 200
    assert task.texts == ["", "slow", "c"]  # The first tells what there is to tell of the model.


def test_bodies_that_do_not_come_in_time(model: Model):
    model.start()
    settings = replace(SETTINGS, body_seconds=0.01, max_queue=1)
    application = Application([model], settings).asgi()
    for _ in range(2):  # The second is not one too many.
        status, error, headers = asyncio.run(call(application, at_once(part("a", more=True))))
        assert (status, error) == (408, "the body did not come within 0.01 seconds")
        assert (b"connection", b"close") in headers


def test_no_more_requests_are_read_at_once_than_may_wait(model: Model):
    model.start()
    application = Application([model], SETTINGS).asgi()

    async def three() -> list[tuple[int, str, list[Any]]]:
        go = asyncio.Event()

        async def held() -> Any:
            await go.wait()
            yield part("a")

        two = [asyncio.create_task(call(application, held())) for _ in range(2)]
        # Tasks begin in the order in which they are made.
        third = await asyncio.create_task(call(application, at_once(part("a"))))
        go.set()
        return [third, *(await asyncio.gather(*two))]

    refused, *answered = asyncio.run(three())
    assert refused[:2] == (429, "2 requests are being read already; try again later")
    assert [status for status, *_ in answered] == [200, 200]
