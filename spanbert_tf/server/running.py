"""A server from its start to its stop."""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from spanbert_tf.export.saved_model import require_tensorflow
from spanbert_tf.export.task_loading import load_task
from spanbert_tf.export.text_task import KerasTask, TextTask
from spanbert_tf.models.lora import merge_lora
from spanbert_tf.server.application import Application
from spanbert_tf.server.metrics import Metrics
from spanbert_tf.server.models import Model
from spanbert_tf.server.settings import ServerSettings
from spanbert_tf.server.versions import Source
from spanbert_tf.start_up import without_info

_log = logging.getLogger(__name__)
_STOPS = (signal.SIGTERM, signal.SIGINT)


def serve(
    sources: Sequence[Source],
    settings: ServerSettings,
    host: str = "127.0.0.1",
    port: int = 8501,
    trust: bool = False,
    ready: Callable[[str], None] = _log.info,
) -> None:
    """Serves models until the process is told to stop, by SIGTERM or Ctrl-C.

    Requests that are in work by then are answered, for `settings.grace_seconds` at most.

    Args:
        sources: The models.
        settings: How requests are treated.
        host: Address to listen at.
        port: Port to listen at; 0: any that is free.
        trust: As for `load_task`.
        ready: Told the URL once models are loaded and requests are answered.

    Raises:
        OSError: The port is taken.
        FileNotFoundError, ValueError, ImportError: A model cannot be loaded, see `load_task`.
    """
    require_tensorflow()
    metrics = Metrics()
    models = [
        Model(source, settings, lambda place: load(place, trust), metrics) for source in sources
    ]
    with ExitStack() as stack:
        listener = stack.enter_context(bound(host, port))
        for model in models:
            stack.callback(model.close)
            model.start()
        stack.enter_context(_watching(models, settings.poll_seconds))
        application = Application(models, settings, metrics).asgi()
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=settings.grace_seconds,
        )
        stack.enter_context(_signals_are_uvicorns())
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}"
        _Server(config, models, lambda: ready(url)).run(sockets=[listener])


def load(place: str | Path, trust: bool = False) -> TextTask:
    """Loads a task to be served; of an adapter with its encoder's weights in one with its own."""
    with without_info():
        task = load_task(place, trust=trust)
    return KerasTask(merge_lora(task.model)) if isinstance(task, KerasTask) else task


class _Server(uvicorn.Server):
    """Tells when it listens, and has no request wait for others once it is to stop."""

    def __init__(
        self, config: uvicorn.Config, models: Sequence[Model], ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._models = models
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for model in self._models:
            model.hurry()
        await super().shutdown(sockets)


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that has its port, and refuses connections until the server listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol's number asyncio leaves Nagle's algorithm on: every answer, a head and a
    # body, then waits 40 ms for the client to acknowledge its head.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen at {host}:{port}: {error}") from error
        yield listener


@contextmanager
def _watching(models: Sequence[Model], seconds: float) -> Iterator[None]:
    """Has models look for new versions while the body runs."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(seconds):
            for model in models:
                model.refresh()

    watcher = threading.Thread(target=watch, name="versions", daemon=True)
    if seconds:
        watcher.start()
    try:
        yield
    finally:
        ended.set()
        if seconds:
            watcher.join()


@contextmanager
def _signals_are_uvicorns() -> Iterator[None]:
    """Keeps the signals that uvicorn stops at, and sends again afterwards, from ending more."""

    def nothing(*_: Any) -> None:
        pass

    old = {number: signal.signal(number, nothing) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
