"""`spanbert-tf serve` under load: many clients against one at a time, and against FastAPI.

    python benchmarks/serving.py [--only clients fastapi] [--clients 32] [--seconds 20] [--rounds 3]
        [--minutes 0]

clients: a text classifier on the default encoder is exported as a SavedModel and for LiteRT; its
head is not trained, which makes no difference to speed.  A server in a process of its own has both.
Clients send one text a request, sentences of SST-2, over connections that stay open: first one
client alone, so that requests come one at a time, then all of them, in turn, round by round.
Clients are threads of this process and share its cores with the server.

`--minutes` goes on with all clients for so long afterwards, and tells how the server's resident
memory changed from the end of the first tenth of that time to the last.

fastapi: the ready models `entities_en` and `questions_en`, exported for LiteRT, against models of
the same size in transformers behind FastAPI, as its users write it: an endpoint that calls the
pipeline for entities (`peers/fastapi_side.py`), or does for a question what the pipeline of earlier
versions did; with one thread of PyTorch for each request or one request at a time on all cores,
whichever is faster.  All clients, one sentence of WNUT-17 a request, or a question and a paragraph
of SQuAD.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _peers import SCRIPTS, peers_python
from _support import Goal, data_folder, machine, report_goals
from entity_inference import write_checkpoint

import spanbert_tf
from spanbert_tf.data.readers.entities import read_entities
from spanbert_tf.data.readers.questions import read_questions
from spanbert_tf.data.readers.tables import read_examples
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.models.lora import merge_lora
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifierPreprocessor

FORMATS = ("SavedModel", "LiteRT")
OURS, FASTAPI, PEER = "spanbert-tf serve", "FastAPI", SCRIPTS / "fastapi_side.py"
GOAL, MEMORY_GOAL, FASTAPI_GOAL = 2.0, 1.05, 3.0
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


def export_models(folder: Path, length: int) -> list[Path]:
    backbone, tokenizer = spanbert_tf.load_backbone(default_encoder())
    preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, length)
    classifier = spanbert_tf.SpanBertTextClassifier(backbone, 2, preprocessor)
    export_task(classifier, folder / "SavedModel" / "1")
    export_litert(classifier, folder / "LiteRT" / "1")
    return [folder / name for name in FORMATS]


@contextmanager
def running(command: Sequence[object]) -> Iterator[tuple[subprocess.Popen, str, int]]:
    """A server that says its address on standard error; gives its process, host and port."""
    process = subprocess.Popen(
        [str(word) for word in command],
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


def serve_command(models: Sequence[Path]) -> list[object]:
    return [sys.executable, "-m", "spanbert_tf", "serve", *models, "--port", "0"]


@dataclass(frozen=True)
class Requests:
    """What clients send: bodies, in turn, to a path."""

    path: str
    bodies: list[bytes]

    @classmethod
    def to_model(cls, model: str, instances: Sequence[object]) -> "Requests":
        """In the form of TF Serving, one instance a request."""
        bodies = [json.dumps({"instances": [one]}).encode() for one in instances]
        return cls(f"/v1/models/{model}:predict", bodies)


def send(host: str, port: int, requests: Requests, clients: int, seconds: float) -> Load:
    """Has clients send requests for some time."""
    load, numbers, lock = Load(), count(), threading.Lock()
    headers = {"Content-Type": "application/json"}
    end = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=60)
        latencies, errors = [], []
        while time.perf_counter() < end:
            body = requests.bodies[next(numbers) % len(requests.bodies)]
            begun = time.perf_counter()
            try:
                connection.request("POST", requests.path, body, headers)
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException) as error:
                errors.append(repr(error))
                connection.close()
                continue
            if answer.status == http.client.OK:
                latencies.append(time.perf_counter() - begun)
            else:
                errors.append(f"{answer.status}: {said[:200]!r}")
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


def show(what: str, loads: Sequence[Load]) -> None:
    """Prints medians over rounds, and each error once."""
    print(
        f"{what}: {np.median([load.rate for load in loads]):,.0f} requests/s, "
        f"p50 {np.median([load.percentile(50) for load in loads]):.1f} ms, "
        f"p99 {np.median([load.percentile(99) for load in loads]):.1f} ms, "
        f"{sum(len(load.errors) for load in loads)} errors",
        flush=True,
    )
    for error in {error for load in loads for error in load.errors}:
        print(f"  {error}")


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
    process: int, host: str, port: int, requests: Requests, clients: int, minutes: float
) -> list[Goal]:
    """Sends requests for minutes, and follows errors and memory."""
    ended, looks = threading.Event(), []
    watcher = threading.Thread(target=lambda: looks.extend(watch_memory(process, ended)))
    watcher.start()
    load = send(host, port, requests, clients, 60 * minutes)
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


def against_one_client(arguments: argparse.Namespace) -> list[Goal]:
    texts = [record.text for record in read_examples(data_folder() / "sst2" / "dev.tsv")]
    goals = []
    with tempfile.TemporaryDirectory() as folder:
        models = export_models(Path(folder), arguments.length)
        with running(serve_command(models)) as (process, host, port):
            for model in FORMATS:
                requests = Requests.to_model(model, texts)
                sides: dict[int, list[Load]] = {1: [], arguments.clients: []}
                for clients in sides:  # Uncounted.
                    send(host, port, requests, clients, min(arguments.seconds, 3.0))
                for _ in range(arguments.rounds):
                    for clients, loads in sides.items():
                        loads.append(send(host, port, requests, clients, arguments.seconds))
                for clients, loads in sides.items():
                    show(f"{model}, {clients} client{'s' * (clients > 1)}", loads)
                alone, together = sides.values()
                ratios = [b.rate / a.rate for a, b in zip(alone, together, strict=True)]
                claim = f"{model}, {arguments.clients} clients against one"
                goals.append(Goal(claim, float(np.median(ratios)), GOAL))
            if arguments.minutes:
                requests = Requests.to_model(FORMATS[0], texts)
                goals += long_run(
                    process.pid, host, port, requests, arguments.clients, arguments.minutes
                )
    return goals


def against_fastapi(arguments: argparse.Namespace) -> list[Goal]:
    python = peers_python(FASTAPI)
    entities, questions = map(spanbert_tf.load_task, ("entities_en", "questions_en"))
    sentences = [record.text for record in read_entities(data_folder() / "wnut17" / "dev.conll")]
    asked = [
        {"question": one.question, "context": one.context}
        for one in read_questions(data_folder() / "qa" / "new_wiki_v1.0.json")[:1000]
    ]
    goals = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_checkpoint(merge_lora(entities.model), folder / "checkpoint")
        for what, task, instances, checkpoint in (
            ("entities", entities, sentences, folder / "checkpoint"),
            ("answers", questions, asked, bundled_minilm()),
        ):
            export_litert(task.model, folder / what / "1")
            bodies = [json.dumps({"instance": one}).encode() for one in instances]
            peers = {
                f"{FASTAPI}, {way}": (
                    [python, PEER, what, checkpoint, way],
                    Requests("/predict", bodies),
                )
                for way in (("threads", "in turn") if python else ())
            }
            ours = serve_command([folder / what]), Requests.to_model(what, instances)
            loads: dict[str, list[Load]] = {}
            # In turn, each with the machine to itself, and a server that has begun anew.
            for _ in range(arguments.rounds):
                for name, (command, requests) in {OURS: ours, **peers}.items():
                    with running(command) as (_, host, port):
                        send(host, port, requests, arguments.clients, min(arguments.seconds, 5.0))
                        load = send(host, port, requests, arguments.clients, arguments.seconds)
                    loads.setdefault(name, []).append(load)
            for name, of in loads.items():
                show(f"{what}, {name}, {arguments.clients} clients", of)

            def median(name: str, figure: Callable[[Load], float], loads: Any = loads) -> float:
                return float(np.median([figure(load) for load in loads[name]]))

            best = max(peers, key=lambda name: median(name, lambda of: of.rate), default=None)
            ratios = [
                None if best is None else median(OURS, figure) / median(best, figure)
                for figure in (lambda of: of.rate, lambda of: of.percentile(50))
            ]
            goals += [
                Goal(f"{what}, requests a second against {FASTAPI}", ratios[0], FASTAPI_GOAL),
                Goal(f"{what}, p50 in parts of {FASTAPI}'s", ratios[1], 1.0, at_most=True),
            ]
    return goals


PARTS = {"clients": against_one_client, "fastapi": against_fastapi}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--length", type=int, default=128, help="tokens of the longest row")
    arguments = parser.parse_args()
    print(machine("tensorflow", "keras", "starlette", "uvicorn"), flush=True)
    return report_goals([goal for part in arguments.only for goal in PARTS[part](arguments)])


if __name__ == "__main__":
    sys.exit(main())
