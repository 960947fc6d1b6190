"""The server's HTTP: paths, limits, errors; see `rest` for what goes in and out.

GET  /v1/models/NAME[/versions/N]              status
GET  /v1/models/NAME[/versions/N]/metadata     signatures
POST /v1/models/NAME[/versions/N]:predict      tensors, as TensorFlow Serving gives them
POST /v1/models/NAME[/versions/N]:classify     labels and scores
POST /v1/models/NAME[/versions/N]:answer       what `spanbert-tf predict --json` prints
GET  /healthz, /metrics
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from spanbert_tf.features import PROBABILITIES
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.server import rest
from spanbert_tf.server.asking import ForClasses, ForTensors, asked_for_answers
from spanbert_tf.server.errors import (
    TOO_SLOW,
    RequestError,
    client_is_gone,
    not_found,
    too_large,
    too_many,
    too_slow,
    wrong,
)
from spanbert_tf.server.metrics import Metrics
from spanbert_tf.server.models import Model
from spanbert_tf.server.settings import ServerSettings

_log = logging.getLogger(__name__)

_ASKED = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+))?:(classify|regress|predict|answer)", re.IGNORECASE
)
_TOLD = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+))?(/metadata)?", re.IGNORECASE)
_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_Method = Callable[[Model, int | None, dict[str, Any]], Coroutine[Any, Any, Any]]


class Application:
    """What a server does with requests.

    Args:
        models: Those it serves; they are started.
        settings: Its limits.
        metrics: What it counts; that of the models.
    """

    def __init__(
        self, models: Sequence[Model], settings: ServerSettings, metrics: Metrics | None = None
    ) -> None:
        self._models = {model.name: model for model in models}
        self._settings = settings
        self._metrics = metrics or Metrics()
        self._being_read = 0
        self._methods: dict[str, _Method] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "answer": self._answer,
        }

    def asgi(self, **options: Any) -> Starlette:
        """The application; `options` are Starlette's."""
        return Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/metrics", self._page_of_metrics),
                Route("/{path:path}", self._call, methods=_ALL_METHODS),
            ],
            **options,
        )

    async def _health(self, request: Request) -> Response:
        waiting = [name for name, model in self._models.items() if model.current is None]
        return _json({"status": "loading" if waiting else "ok"}, 503 if waiting else 200)

    async def _page_of_metrics(self, request: Request) -> Response:
        page = self._metrics.page([*self._models.values()])
        return Response(page, media_type="text/plain; version=0.0.4")

    async def _call(self, request: Request) -> Response:
        """Any request under `/v1`: as TensorFlow Serving does, all is told in JSON."""
        begin = time.monotonic()
        path, status = request.url.path, 200
        asked = _ASKED.fullmatch(path) if request.method == "POST" else None
        try:
            answer = await self._asked(request, asked) if asked else self._told(request)
        except RequestError as error:
            status, answer = error.status, rest.error_json(error)
        except Exception:
            _log.exception("a request failed")
            status, answer = 500, {"error": "internal error; the server's log has more"}
        if asked and asked[1] in self._models:  # No numbers for names that clients make up.
            took = time.monotonic() - begin
            self._metrics.answered(asked[1], asked[3].lower(), status, took)
        return _json(answer, status)

    def _told(self, request: Request) -> Any:
        match = _TOLD.fullmatch(request.url.path) if request.method in ("GET", "HEAD") else None
        if match is None:
            raise wrong(f"Malformed request: {request.method} {request.url.path}")
        name, number, metadata = match.groups()
        if name is None:
            raise wrong("Missing model name in request.")
        version = _number(number)
        if not metadata:
            if name not in self._models:
                raise not_found(f"Could not find any versions of model {name}")
            return self._models[name].status(version)
        of = self._model(name, version).version(version)
        return rest.metadata(name, of.number, of.task.task_class.signatures, of.outputs)

    async def _asked(self, request: Request, match: re.Match[str]) -> Any:
        name, number, method = match[1], _number(match[2]), match[3].lower()
        model = self._model(name, number)
        given = rest.parse(await self._read(request))
        return await _while_there(request, self._methods[method](model, number, given))

    async def _read(self, request: Request) -> bytearray:
        """Reads a body, in the time that it has, unless too many others are being read."""
        if self._being_read >= self._settings.max_queue:
            raise too_many(f"{self._being_read} requests are being read already; try again later")
        seconds = self._settings.body_seconds
        self._being_read += 1
        try:
            async with asyncio.timeout(seconds):
                return await _body(request, self._settings.max_body_bytes)
        except TimeoutError as error:
            raise too_slow(f"the body did not come within {seconds:g} seconds") from error
        finally:
            self._being_read -= 1

    async def _predict(self, model: Model, number: int | None, given: dict[str, Any]) -> Any:
        signatures = model.version(number).task.task_class.signatures
        asked = rest.read_predict(given, signatures)
        self._check(asked.columns)
        ask = ForTensors(len(asked.columns))
        tensors = await model.answer(ask, asked.columns, number)
        return rest.write_predict(tensors, asked.is_row_form)

    async def _classify(self, model: Model, number: int | None, given: dict[str, Any]) -> Any:
        version = model.version(number)
        outputs = version.outputs[rest.DEFAULT_SIGNATURE].arrays
        if PROBABILITIES.name not in outputs:
            raise _other_method("classification", "classify")
        columns = rest.read_examples(given, version.task.task_class.signatures)
        self._check(columns)
        return {"results": await model.answer(ForClasses(len(columns)), columns, number)}

    async def _regress(self, model: Model, number: int | None, given: dict[str, Any]) -> Any:
        raise _other_method("regression", "regress")

    async def _answer(self, model: Model, number: int | None, given: dict[str, Any]) -> Any:
        ask, columns = asked_for_answers(model.version(number).task, given)
        self._check(columns)
        return await model.answer(ask, columns, number)

    def _model(self, name: str, number: int | None) -> Model:
        if name not in self._models:
            which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise not_found(f"Servable not found for request: {which}")
        return self._models[name]

    def _check(self, columns: Columns) -> None:
        """Refuses texts that are too long, or cannot be encoded."""
        longest = self._settings.max_text_length
        for column in columns:
            for number, text in enumerate(column):
                if len(text) > longest:
                    raise too_large(
                        f"text {number} has {len(text)} characters; expected {longest} at most"
                    )
                try:
                    text.encode()
                except UnicodeEncodeError as error:
                    raise wrong(f"text {number} is no Unicode: {error}") from error


async def _while_there(request: Request, answer: Coroutine[Any, Any, Any]) -> Any:
    """Waits for an answer, and gives it up once its client is gone; the body has been read."""
    answering, leaving = asyncio.create_task(answer), asyncio.create_task(_leaving(request))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise client_is_gone()
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request, most: int) -> bytearray:
    """Reads a body, and stops as soon as it is too large."""
    refused = too_large(f"the body is too large; expected {most} bytes at most")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise refused
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise refused
    except ClientDisconnect as error:
        raise wrong("the connection ended before the body did") from error
    return body


def _number(version: str | None) -> int | None:
    if version is not None and len(version) > 18:  # Beyond 64 bits.
        raise wrong(f"Failed to convert version: {version} to numeric.")
    return None if version is None else int(version)


def _other_method(kind: str, method: str) -> RequestError:
    return wrong(
        f"Expected {kind} signature method_name to be tensorflow/serving/{method}. "
        f"Was: {rest.PREDICT}"
    )


def _json(value: Any, status: int) -> Response:
    # Half of a surrogate pair, of a client's own words in a message, stays as JSON escapes it.
    body = json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace")
    # The rest of a body that did not come in time is not waited for (RFC 9110, 15.5.9).
    headers = {"connection": "close"} if status == TOO_SLOW else None
    return Response(body, status, headers, "application/json")
