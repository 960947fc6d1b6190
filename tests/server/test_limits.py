"""What clients are told when there is too much, or something breaks; with a task of no network."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from spanbert_tf.server.application import Application
from spanbert_tf.server.models import Model
from spanbert_tf.server.settings import ServerSettings
from spanbert_tf.server.versions import Source
from tests.server.fakes import Echo

PATH = "/v1/models/echo:predict"


class Held(Echo):
    """Answers the text "slow" when it is let, and breaks at "break"."""

    def __init__(self) -> None:
        super().__init__("held")
        self.begun, self.go = threading.Event(), threading.Event()

    def answer_tensors(self, columns: Any) -> Any:
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
def client(task: Held) -> Iterator[TestClient]:
    settings = ServerSettings(max_queue=2)
    model = Model(Source("echo", "x", 1), settings, lambda _: task)
    application = Application([model], settings, model.metrics)
    client = TestClient(application.asgi())
    assert client.get("/healthz").status_code == 503
    model.start()
    yield client
    task.go.set()
    model.close()


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
        assert (status, body["error"][-15:]) == (429, "try again later")
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
