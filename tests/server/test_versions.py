"""Folders of versions: which is served, and that none of the requests is lost when it changes."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from spanbert_tf.server.application import Application
from spanbert_tf.server.asking import ForTensors
from spanbert_tf.server.errors import RequestError
from spanbert_tf.server.models import Model
from spanbert_tf.server.settings import ServerSettings
from spanbert_tf.server.versions import Source, read_source, read_sources
from tests.server.fakes import Echo


def load(place: str) -> Echo:
    """Loads a folder whose file has a name; one without it is half copied."""
    return Echo((Path(place) / "name").read_text())


def write(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(name)


def ask(model: Model, text: str = "a", number: int | None = None) -> str:
    tensors = asyncio.run(model.answer(ForTensors(1), [[text]], number))
    return tensors.arrays["answer"][0].decode()


def states(model: Model) -> dict[str, tuple[str, str]]:
    return {
        of["version"]: (of["state"], of["status"]["error_code"])
        for of in model.status(None)["model_version_status"]
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "reviews" / "1", "one")
    (tmp_path / "reviews" / "notes").mkdir()
    return tmp_path / "reviews"


@pytest.fixture
def model(folder: Path):
    model = Model(read_source(str(folder)), ServerSettings(), load)
    model.start()
    yield model
    model.close()


def test_the_newest_version_is_served(model: Model, folder: Path):
    assert ask(model) == "one a"
    write(folder / "2", "two")
    write(folder / "10", "ten")
    model.refresh()
    assert ask(model) == "one a"  # It may still be written.
    model.refresh()
    assert ask(model) == ask(model, number=10) == "ten a"
    assert states(model) == {"10": ("AVAILABLE", "OK"), "1": ("END", "OK")}
    for number in (1, 2, 11):
        with pytest.raises(RequestError, match=rf"not found.*Specific\(reviews, {number}\)") as no:
            ask(model, number=number)
        assert no.value.status == 404


def test_a_version_that_is_written_waits(model: Model, folder: Path):
    for part in ("t", "tw", "two"):
        write(folder / "2", part)
        model.refresh()
        assert ask(model) == "one a"
    model.refresh()
    assert ask(model) == "two a"


def test_a_half_copied_version_is_not_served_before_it_is_whole(
    model: Model, folder: Path, caplog: pytest.LogCaptureFixture
):
    (folder / "2").mkdir()
    (folder / "2" / "weights").write_text("some")
    for _ in range(5):
        model.refresh()
        assert ask(model) == "one a"
    assert states(model) == {"2": ("END", "INVALID_ARGUMENT"), "1": ("AVAILABLE", "OK")}
    assert "No such file" in model.status(2)["model_version_status"][0]["status"]["error_message"]
    (logged,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "reviews, version 2, is not served: " in logged
    write(folder / "2", "two")
    model.refresh()
    model.refresh()
    assert ask(model) == "two a"


def test_a_version_that_is_taken_away_is_followed_by_the_one_before(model: Model, folder: Path):
    write(folder / "2", "two")
    model.refresh()
    model.refresh()
    (folder / "2" / "name").unlink()
    (folder / "2").rmdir()
    model.refresh()
    model.refresh()
    assert ask(model) == "one a"
    (folder / "1" / "name").unlink()
    (folder / "1").rmdir()
    model.refresh()
    model.refresh()
    assert ask(model) == "one a"  # Better than nothing.


def test_requests_are_answered_while_versions_change(model: Model, folder: Path):
    """Clients that never rest, and twenty versions."""
    ended, lock, seen = threading.Event(), threading.Lock(), set()
    failed = []

    def client() -> None:
        while not ended.is_set():
            try:
                answer = ask(model)
            except Exception as error:
                failed.append(error)
                return
            with lock:
                seen.add(answer)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for number in range(2, 22):
        write(folder / str(number), str(number))
        model.refresh()
        model.refresh()
    ended.set()
    for one in clients:
        one.join(timeout=30)
    assert failed == []
    assert seen <= {"one a", *(f"{number} a" for number in range(2, 22))}
    assert ask(model) == "21 a"


def test_a_start_with_what_cannot_be_loaded(folder: Path, tmp_path: Path):
    (folder / "2").mkdir()
    model = Model(read_source(str(folder)), ServerSettings(), load)
    model.start()
    assert ask(model) == "one a"
    model.close()
    (folder / "1" / "name").unlink()
    with pytest.raises(FileNotFoundError, match="2/name"):
        Model(read_source(str(folder)), ServerSettings(), load).start()
    empty = Source("x", str(tmp_path / "nowhere"), None)
    with pytest.raises(FileNotFoundError, match="nowhere has no version"):
        Model(empty, ServerSettings(), load).start()


def test_a_start_with_what_breaks_the_loader(folder: Path, caplog: pytest.LogCaptureFixture):
    def fragile(place: str) -> Echo:
        if place.endswith("2"):
            raise RuntimeError("a fault of a library")
        return load(place)

    write(folder / "2", "two")
    model = Model(read_source(str(folder)), ServerSettings(), fragile)
    model.start()
    assert ask(model) == "one a"
    model.close()
    assert "reviews, version 2, is not served: a fault of a library" in caplog.text


def test_haste_is_of_versions_that_take_over_later_too(folder: Path):
    model = Model(read_source(str(folder)), ServerSettings(batch_timeout_ms=3_600_000), load)
    model.start()
    model.hurry()
    write(folder / "2", "two")
    model.refresh()
    model.refresh()
    (answer,) = model.submit(ForTensors(1), [["a"]], 2)
    assert answer.result(timeout=30).arrays["answer"].tolist() == [b"two a"]
    model.close()


class Classifier(Echo):
    """Its classes have its name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.decoder: Any = SimpleNamespace(lists={}, class_names=[f"{name} no", f"{name} yes"])

    def answer_tensors(self, columns: Any) -> dict[str, np.ndarray]:
        return {"probabilities": np.array([[0.25, 0.75]] * len(columns[0]), np.float32)}


def test_classes_are_those_of_the_version_that_answers(folder: Path):
    class Changing(Model):
        """Another version takes over once a request has been read."""

        def submit(self, *arguments: Any) -> Any:
            write(folder / "2", "two")
            self.refresh()
            self.refresh()
            return super().submit(*arguments)

    settings = ServerSettings()
    model = Changing(read_source(str(folder)), settings, lambda place: Classifier(load(place).name))
    model.start()
    client = TestClient(Application([model], settings).asgi())
    body = {"examples": [{"text": "a"}, {"text": "b"}]}
    answer = client.post("/v1/models/reviews:classify", json=body)
    assert answer.json() == {"results": [[["two no", 0.25], ["two yes", 0.75]]] * 2}
    model.close()


def test_an_error_of_the_task_is_the_clients(model: Model):
    with pytest.raises(RequestError, match="the text is bad") as refused:
        ask(model, "bad")
    assert refused.value.status == 400


def test_names_and_numbers_of_models(folder: Path, tmp_path: Path):
    (tmp_path / "runs" / "entities").mkdir(parents=True)
    run = str(tmp_path / "runs" / "entities")
    assert read_source(str(folder)) == Source("reviews", str(folder), None)
    assert read_source(f"{folder}/1") == Source("reviews", f"{folder}/1", 1)
    assert read_source(f"my={folder}") == Source("my", str(folder), None)
    assert read_source(run) == Source("entities", run, 1)
    assert read_source("hf://me/reviews@main") == Source("reviews", "hf://me/reviews@main", 1)
    assert read_source("hf://me/reviews@refs/pr/1").name == "reviews"
    with pytest.raises(ValueError, match="expected a name of letters"):
        read_source("my model=x")
    with pytest.raises(ValueError, match="two models have the name 'reviews'"):
        read_sources([str(folder), f"reviews={run}"])
