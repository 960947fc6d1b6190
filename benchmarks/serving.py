"""`spanbert-tf serve` under load: many clients against one at a time, through the same model.

    python benchmarks/serving.py [--clients 32] [--seconds 20] [--rounds 3] [--minutes 0]

A text classifier on the default encoder is exported as a SavedModel and for LiteRT; its head is not
trained, which makes no difference to speed.  A server in a process of its own has both.  Clients
send one text a request, sentences of SST-2, over connections that stay open: first one client
alone, so that requests come one at a time, then all of them, in turn, round by round.  Clients are
threads of this process and share its cores with the server.

`--minutes` goes on with all clients for so long afterwards, and tells how the server's resident
memory changed from the end of the first tenth of that time to the last.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _support import Goal, data_folder, machine, report_goals

import spanbert_tf
from spanbert_tf.data.readers.tables import read_examples
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from spanbert_tf.handles import default_encoder
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifierPreprocessor

FORMATS = ("SavedModel", "LiteRT")
GOAL, MEMORY_GOAL = 2.0, 1.05
SECONDS_BETWEEN_LOOKS = 5.0


@dataclass
class Load:
    """What clients met.

    Attributes:
        seconds: How long they sent requests.
        latencies: Seconds of each request that was answered.
        errors: What the others got.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, part: float) -> float:
        """Milliseconds."""
        return 1000 * float(np.percentile(self.latencies, part))


def export_models(folder: Path, length: int) -> None:
    backbone, tokenizer = spanbert_tf.load_backbone(default_encoder())
    preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, length)
    classifier = spanbert_tf.SpanBertTextClassifier(backbone, 2, preprocessor)
    export_task(classifier, folder / "SavedModel" / "1")
    export_litert(classifier, folder / "LiteRT" / "1")


@contextmanager
def running_server(models: Path) -> Iterator[tuple[subprocess.Popen, str, int]]:
    """A server of all models; gives its process, host and port."""
    words = [str(models / name) for name in FORMATS]
    process = subprocess.Popen(
        [sys.executable, "-m", "spanbert_tf", "serve", *words, "--port", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next((line for line in process.stderr if line.startswith("http")), None)
        if line is None:
            raise RuntimeError(f"the server ended with {process.wait()}")
        # What it says later is read too, lest it wait for a reader.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        url = urlsplit(line.split()[0])
        yield process, str(url.hostname), int(url.port or 0)
    finally:
        process.terminate()
        process.wait(timeout=60)


def send(
    host: str, port: int, model: str, texts: Sequence[str], clients: int, seconds: float
) -> Load:
    """Has clients send requests for some time."""
    load, numbers, lock = Load(), count(), threading.Lock()
    end = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=60)
        latencies, errors = [], []
        while time.perf_counter() < end:
            text = texts[next(numbers) % len(texts)]
            begun = time.perf_counter()
            try:
                connection.request(
                    "POST", f"/v1/models/{model}:predict", json.dumps({"instances": [text]})
                )
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                errors.append(repr(error))
                connection.close()
                continue
            if answer.status == http.client.OK:
                latencies.append(time.perf_counter() - begun)
            else:
                errors.append(f"{answer.status}: {body[:200]!r}")
        connection.close()
        with lock:
            load.latencies += latencies
            load.errors += errors

    begun = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - begun
    return load


def resident_megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(x.split()[1]) / 1024 for x in status.splitlines() if x.startswith("VmRSS:"))


def watch_memory(process: int, ended: threading.Event) -> list[float]:
    """Megabytes of a process, every few seconds."""
    looks = [resident_megabytes(process)]
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        looks.append(resident_megabytes(process))
    return looks


def long_run(
    process: int, host: str, port: int, texts: Sequence[str], clients: int, minutes: float
) -> list[Goal]:
    """Sends requests to the first format for minutes, and follows errors and memory."""
    ended, looks = threading.Event(), []
    watcher = threading.Thread(target=lambda: looks.extend(watch_memory(process, ended)))
    watcher.start()
    load = send(host, port, FORMATS[0], texts, clients, 60 * minutes)
    ended.set()
    watcher.join()
    settled = looks[len(looks) // 10]
    print(
        f"{minutes:g} minutes: {len(load.latencies):,} requests, {len(load.errors)} errors, "
        f"p99 {load.percentile(99):.0f} ms; memory {settled:,.0f} MB, then {looks[-1]:,.0f} MB, "
        f"at most {max(looks):,.0f} MB"
    )
    return [
        Goal("errors of the long run", len(load.errors), 0, "{:.0f}", at_most=True),
        Goal("memory at its end", looks[-1] / settled, MEMORY_GOAL, at_most=True),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--length", type=int, default=128, help="tokens of the longest row")
    arguments = parser.parse_args()
    print(machine("tensorflow", "keras", "starlette", "uvicorn"))
    texts = [record.text for record in read_examples(data_folder() / "sst2" / "dev.tsv")]
    goals = []
    with tempfile.TemporaryDirectory() as folder:
        export_models(Path(folder), arguments.length)
        with running_server(Path(folder)) as (process, host, port):
            for model in FORMATS:
                sides = {1: [], arguments.clients: []}
                for clients in sides:  # Uncounted.
                    send(host, port, model, texts, clients, min(arguments.seconds, 3.0))
                for _ in range(arguments.rounds):
                    for clients, loads in sides.items():
                        loads.append(send(host, port, model, texts, clients, arguments.seconds))
                for clients, loads in sides.items():
                    print(
                        f"{model}, {clients} client{'s' * (clients > 1)}: "
                        f"{np.median([load.rate for load in loads]):,.0f} requests/s, "
                        f"p50 {np.median([load.percentile(50) for load in loads]):.1f} ms, "
                        f"p99 {np.median([load.percentile(99) for load in loads]):.1f} ms, "
                        f"{sum(len(load.errors) for load in loads)} errors"
                    )
                    for error in {error for load in loads for error in load.errors}:
                        print(f"  {error}")
                alone, together = sides.values()
                ratios = [b.rate / a.rate for a, b in zip(alone, together, strict=True)]
                claim = f"{model}, {arguments.clients} clients against one"
                goals.append(Goal(claim, float(np.median(ratios)), GOAL))
            if arguments.minutes:
                goals += long_run(
                    process.pid, host, port, texts, arguments.clients, arguments.minutes
                )
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
