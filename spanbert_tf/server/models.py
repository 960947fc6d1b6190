"""What is served: a model under a name, in the newest of its versions that can be loaded."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanbert_tf.export.text_task import TextTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.server.asking import ForAnswers, ForClasses, ForTensors
from spanbert_tf.server.batching import Batcher
from spanbert_tf.server.errors import not_found, wrong
from spanbert_tf.server.metrics import Metrics
from spanbert_tf.server.settings import ServerSettings
from spanbert_tf.server.tensors import ServedTensors
from spanbert_tf.server.versions import Fingerprint, Source, fingerprint

_log = logging.getLogger(__name__)

# TensorFlow Serving's words for the states of a version.
LOADING, AVAILABLE, END = "LOADING", "AVAILABLE", "END"

Ask = ForTensors | ForClasses | ForAnswers


@dataclass(frozen=True)
class State:
    """How it stands with a version.

    Attributes:
        state: `LOADING`, `AVAILABLE` or `END`.
        error: Why it could not be loaded; empty where it could.
    """

    state: str
    error: str = ""


class Version:
    """A task that is loaded, and the requests that wait for it.

    Args:
        number: Of the version.
        task: The task.
        settings: How requests are joined.
        on_batch: Told the texts of each batch.

    Attributes:
        number, task: As given.
        outputs: What each signature gives for as little as can be asked: tells dtypes and widths,
            and is what of nothing is sliced.
    """

    def __init__(
        self,
        number: int,
        task: TextTask,
        settings: ServerSettings,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.number = number
        self.task = task
        of = task.task_class
        blank = of.blank or ("",) * 2
        self.outputs: dict[str, ServedTensors] = {
            name: ForTensors(len(columns))(task, [[x] for x in blank[: len(columns)]])
            for name, columns in of.signatures.items()
        }
        self.batcher = Batcher(
            self._run,
            settings.max_batch_size,
            settings.batch_timeout_ms / 1000,
            settings.max_queue,
            on_batch,
            length=lambda row: sum(map(len, row)),
        )

    def nothing(self, ask: Ask) -> Any:
        """What no texts are answered with."""
        if not isinstance(ask, ForTensors):
            return []
        signatures = self.task.task_class.signatures
        name = next(name for name, of in signatures.items() if len(of) == ask.num_columns)
        return self.outputs[name][0:0]

    def _run(self, ask: Ask, rows: list[Any]) -> Any:
        return ask(self.task, [[*column] for column in zip(*rows, strict=True)])


class Model:
    """A name, and the version behind it.

    Args:
        source: Where its versions are.
        settings: How requests are treated.
        load: Loads the task of a version's folder or handle.
        metrics: What is counted.

    Attributes:
        name: By which clients know it.
        metrics: As given.
    """

    def __init__(
        self,
        source: Source,
        settings: ServerSettings,
        load: Callable[[Any], TextTask],
        metrics: Metrics | None = None,
    ) -> None:
        self.name = source.name
        self._source = source
        self._settings = settings
        self._load = load
        self.metrics = metrics or Metrics()
        self._lock = threading.Lock()
        self._current: Version | None = None
        self._is_in_haste = False
        self._states: dict[int, State] = {}
        self._failed: dict[int, Fingerprint] = {}
        self._seen: dict[int, Fingerprint] = {}

    @property
    def current(self) -> Version | None:
        """The version that answers; `None` before the first is loaded."""
        return self._current

    def start(self) -> None:
        """Loads the newest version that can be loaded.

        Raises:
            FileNotFoundError: There is none.
            Exception: None can be; the reason of the newest, see `load_task`.
        """
        versions = self._source.versions()
        if not versions:
            raise FileNotFoundError(f"{self._source} has no version")
        errors = []
        for number, place in versions:
            error = self._try(number, place, fingerprint(place))
            if error is None:
                return
            errors.append(error)
        raise errors[0]

    def refresh(self) -> None:
        """Looks for versions, and serves the newest that can be loaded.

        A folder is looked at twice: one that has changed meanwhile is still being written, and
        waits.  One that could not be loaded is tried again when it has changed.
        """
        for number, place in self._source.versions():
            if self._current is not None and number == self._current.number:
                return
            print_of_files = fingerprint(place)
            is_still = self._seen.get(number) == print_of_files
            self._seen[number] = print_of_files
            if not is_still or self._failed.get(number) == print_of_files:
                continue
            if self._try(number, place, print_of_files) is None:
                return

    def submit(self, ask: Ask, columns: Columns, number: int | None) -> list[Future]:
        """Hands in texts, one at least in each column.

        Raises:
            RequestError: 404: there is no such version; or as `Batcher.submit`.
        """
        rows = list(zip(*columns, strict=True))
        with self._lock:  # Not while another version takes over.
            return self.version(number).batcher.submit(ask, rows)

    async def answer(self, ask: Ask, columns: Columns, number: int | None) -> Any:
        """Answers for texts, together with those of other requests.

        Raises:
            RequestError: As `submit`; 400: the task does not take a text, as it says.
            Exception: What else goes wrong in the task.
        """
        if not columns[0]:
            return self.version(number).nothing(ask)
        futures = self.submit(ask, columns, number)
        try:
            return ask.join(await asyncio.gather(*map(asyncio.wrap_future, futures)))
        except ValueError as error:
            raise wrong(str(error)) from error

    def version(self, number: int | None) -> Version:
        """The version of a number, or the current one.

        Raises:
            RequestError: 404: it is not served.
        """
        current = self._current
        if current is None or number not in (None, current.number):
            which = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
            raise not_found(f"Servable not found for request: {which}")
        return current

    def status(self, number: int | None) -> dict[str, Any]:
        """TensorFlow Serving's status of all versions, or of one.

        Raises:
            RequestError: 404: there is no such version.
        """
        states = {of: state for of, state in sorted(self._states.items()) if number in (None, of)}
        if not states:
            raise not_found(f"Could not find version {number} of model {self.name}")
        return {
            "model_version_status": [
                {
                    "version": str(of),
                    "state": state.state,
                    "status": {
                        "error_code": "INVALID_ARGUMENT" if state.error else "OK",
                        "error_message": state.error,
                    },
                }
                for of, state in reversed(states.items())
            ]
        }

    def hurry(self) -> None:
        """Has no request wait for others any more."""
        with self._lock:
            self._is_in_haste = True  # Of what takes over later, too.
            if self._current is not None:
                self._current.batcher.hurry()

    def close(self) -> None:
        """Answers what waits, and takes no more."""
        with self._lock:
            if self._current is not None:
                self._current.batcher.close()

    def _try(self, number: int, place: str, print_of_files: Fingerprint) -> Exception | None:
        """Has a version take over, or gives and logs what stands against it."""
        try:
            self._replace(number, place)
        except Exception as error:  # Whatever is in that folder, another version is served.
            _log.warning("%s, version %d, is not served: %s", self.name, number, error)
            self._failed[number] = print_of_files
            return error
        return None

    def _replace(self, number: int, place: str | Path) -> None:
        """Loads a version, and lets it take over; what waits for the old one is answered by it."""
        self._states[number] = State(LOADING)
        try:
            task = self._load(place)
            version = Version(number, task, self._settings, self.metrics.batches_of(self.name))
        except Exception as error:
            self._states[number] = State(END, str(error))
            raise
        with self._lock:
            old, self._current = self._current, version
            if self._is_in_haste:
                version.batcher.hurry()
            self._states[number] = State(AVAILABLE)
            if old is not None:
                self._states[old.number] = State(END)
                old.batcher.close(wait=False)
        self.metrics.loaded(self.name, number)
        _log.info("%s: version %d is served", self.name, number)
