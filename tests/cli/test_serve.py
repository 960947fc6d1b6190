"""`spanbert-tf serve` as a process: from its start to SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import keras
import pytest

from spanbert_tf import SpanBertBackbone, SpanBertTextClassifier, SpanBertTokenizer
from spanbert_tf.cli.main import main
from spanbert_tf.export.litert import export_litert
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifierPreprocessor

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of versions, with one."""
    folder = tmp_path_factory.mktemp("served") / "letters"
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(len(PIECES), 1, 2, 8, 16, max_sequence_length=8)
    preprocessor = SpanBertTextClassifierPreprocessor(SpanBertTokenizer(PIECES), 8, buckets=[8])
    export_litert(SpanBertTextClassifier(backbone, 2, preprocessor), folder / "1")
    return folder


@contextmanager
def server(*words: object) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server on a port that is free, and the URL of its first model."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spanbert_tf", "serve", *map(str, words), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("http"):
                yield process, line.split()[0]
                return
        pytest.fail(f"the server ended with {process.wait()}")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def get(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=60) as answer:  # noqa: S310 - our own server
        return answer.read()


@pytest.mark.slow
def test_requests_in_flight_are_answered_when_it_is_told_to_stop(model: Path):
    """They wait for an hour for a batch that no one else will fill."""
    words = (model, "--max-batch-size", 8, "--batch-timeout-ms", 3_600_000)
    with server(*words) as (process, url), ThreadPoolExecutor() as clients:
        host = url.partition("/v1")[0]
        assert json.loads(get(f"{host}/healthz")) == {"status": "ok"}
        full = get(f"{url}:predict", {"instances": ["a b"] * 8})  # Such a batch waits for nobody.
        (expected,) = {json.dumps(row) for row in json.loads(full)["predictions"]}
        requests = [clients.submit(get, f"{url}:predict", {"instances": ["a b"]}) for _ in "abc"]
        for _ in range(600):
            if 'spanbert_waiting_texts{model="letters"} 3.0' in get(f"{host}/metrics").decode():
                break
            time.sleep(0.05)
        else:
            pytest.fail("the requests do not wait")
        assert not any(request.done() for request in requests)
        process.send_signal(signal.SIGTERM)
        for request in requests:
            (row,) = json.loads(request.result(timeout=60))["predictions"]
            assert row["score"] == pytest.approx(json.loads(expected)["score"], abs=1e-5)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert json.loads(output) == {"served": ["letters"]}
    assert "Traceback" not in errors


def test_what_cannot_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    for words, message in {
        (f"{tmp_path / 'empty'}",): "empty holds no model",
        ("my model=x",): "expected a name of letters",
        ("x=a", "x=b"): "two models have the name 'x'",
        ("x", "--max-batch-size", "0"): "`--max-batch-size` must be at least 1",
    }.items():
        assert main(["serve", *words, "--port", "0"]) == 1
        assert message in capsys.readouterr().err
