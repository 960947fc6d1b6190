"""What Prometheus is told of a server."""

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server; those of another are its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "spanbert_requests",
            "Requests, by what they were answered with.",
            ["model", "method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "spanbert_request_seconds",
            "Time from the end of a request's head to its answer.",
            ["model", "method"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._texts = Histogram(
            "spanbert_batch_texts",
            "Texts of a batch.",
            ["model"],
            buckets=_TEXTS,
            registry=self._registry,
        )
        self._waiting = Gauge(
            "spanbert_waiting_texts", "Texts that wait.", ["model"], registry=self._registry
        )
        self._version = Gauge(
            "spanbert_model_version",
            "The version that is served.",
            ["model"],
            registry=self._registry,
        )

    def answered(self, model: str, method: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(model, method, str(status)).inc()
        self._seconds.labels(model, method).observe(seconds)

    def batches_of(self, model: str) -> Callable[[int], None]:
        """What is told the texts of each batch."""
        return self._texts.labels(model).observe

    def loaded(self, model: str, version: int) -> None:
        """Notes which version is served."""
        self._version.labels(model).set(version)

    def page(self, models: Sequence[Any]) -> bytes:
        """All of it, in Prometheus' text format."""
        for model in models:
            waiting = model.current.batcher.waiting if model.current else 0
            self._waiting.labels(model.name).set(waiting)
        return generate_latest(self._registry)
