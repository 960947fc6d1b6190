"""The page of `spanbert-tf playground`: asked over HTTP, and in a headless Chromium."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spanbert_tf.cli.main import main
from spanbert_tf.playground import page
from spanbert_tf.playground.models import Model
from tests.playground.browser import browser, find_chromium, seen

needs_gradio = pytest.mark.skipif(
    find_spec("gradio") is None, reason="gradio is not installed: the extra `playground`"
)
SECONDS_TO_START = 240
HTML_IN_TEXT = "ada met {{bo}} in ${1 + 1} <i>oslo</i>"


@pytest.fixture(scope="module")
def url(models: dict[str, Path]) -> Iterator[str]:
    """The page's address; its process is told to stop in the end."""
    words = [f"{name}={folder}" for name, folder in models.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "spanbert_tf", "playground", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    # Ends what does not start, and with it the reading of what it says.
    watchdog = threading.Timer(SECONDS_TO_START, process.kill)
    watchdog.start()
    try:
        lines = []
        for line in process.stderr:  # type: ignore[union-attr]
            lines.append(line)
            if line.startswith("http"):
                break
        else:
            pytest.fail(f"no address in {SECONDS_TO_START} s: {''.join(lines)}")
        watchdog.cancel()
        address = lines[-1].split()[0]
        yield address
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, json.loads(output)) == (0, {"url": address}), errors
        assert "Traceback" not in errors
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.kill()
            process.communicate()


def ask(url: str, name: str, *given: Any) -> tuple[str, Any]:
    """Whether all went well, `complete` or `error`, and what came: by Gradio's API."""
    body = json.dumps({"data": given}).encode()
    place = f"{url}gradio_api/call/{name}"
    request = urllib.request.Request(place, body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{place}/{event}", timeout=60) as answer:  # noqa: S310
        events = re.findall(r"event: (\w+)\ndata: (.*)\n", answer.read().decode())
    kind, data = next(of for of in events if of[0] != "heartbeat")
    return kind, json.loads(data)


@needs_gradio
@pytest.mark.slow
def test_what_each_tab_answers(url: str):
    kind, (both,) = ask(url, "text", "ada met bo", ["entities", "mood"])
    assert kind == "complete"
    assert re.findall("<h4>(.*?)</h4>", both) == ["mood", "entities"]
    assert "<small>PER</small>" in both
    kind, (both,) = ask(url, "text", "<e1>ada met bo", ["mood", "relations"])
    assert kind == "complete"
    assert re.search("<h4>mood</h4>\n<p>&lt;sad&gt; .*<h4>relations</h4>\n<p>.*e2", both, re.DOTALL)
    _, (answer,) = ask(url, "question_and_context", "who ?", "ada met bo")
    assert "</span>" in answer
    _, (filled,) = ask(url, "masks", "ada [MASK] bo")
    assert "[MASK]" in filled
    _, (left, right) = ask(url, "compare_text_classification", "ada met bo", "temper", "mood")
    assert "<h4>temper</h4>\n<p>glad " in left
    assert "<h4>mood</h4>\n<p>&lt;sad&gt; " in right


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("masks", ("<b>ada",), "encoder: there is no [MASK] to fill in &#x27;&lt;b&gt;ada"),
        ("text", ("<e1>ada", ["relations"]), "relations: "),
        ("text", ("", ["mood"]), "The text is empty: write one first."),
        ("text", ("ada", []), "No model is chosen."),
    ],
)
def test_what_is_wrong_with_a_text_is_told(url: str, name: str, given: Any, message: str):
    kind, told = ask(url, name, *given)
    assert kind == "error"
    assert message in told["error"]


@pytest.fixture(scope="module")
def chromium() -> str:
    """Its path."""
    try:
        return find_chromium()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@needs_gradio
@pytest.mark.slow
def test_page_in_a_browser(chromium: str, url: str, tmp_path: Path):
    """Clicks through the tabs; screenshots are left in the folder of the test."""
    with browser(chromium, tmp_path / "profile") as tab:
        tab.call("Page.navigate", url=url)
        span = "document.querySelector('span[title]')"
        shown = f"{span}?.parentNode.innerText.replaceAll(' PER', '')"
        asked = json.dumps(HTML_IN_TEXT)
        tab.ask(HTML_IN_TEXT, f"{seen('h4')}.length == 4 && {shown} == {asked}")
        tab.screenshot(tmp_path / "text.png")
        assert "hsl" in tab.evaluate(f"{span}.getAttribute('style')")

        tab.click("[role=tab]", "Masks")
        tab.wait_for(f"{seen('textarea')}[0].value.includes('[MASK]')")
        tab.ask("<u>ada", "document.body.innerText.includes(`no [MASK] to fill in '<u>ada'`)")
        tab.screenshot(tmp_path / "error.png")
        tab.ask("ada [MASK] [MASK] .", f"{seen('p')}.some(of => of.innerText == '[MASK] [MASK]')")
        tab.screenshot(tmp_path / "masks.png")

        tab.click("[role=tab]", "Compare")
        tab.click("button.primary")
        tab.wait_for(f"{seen('h4')}.length == 2")
        tab.screenshot(tmp_path / "compare.png")
    assert tab.urls
    assert [of for of in tab.urls if not of.startswith((url, "data:"))] == []


@pytest.mark.parametrize(
    ("tasks", "example"),
    [
        (["fill-mask"], page.EXAMPLES_WITH_MARKS["fill-mask"]),
        (["relation-extraction"] * 2, page.EXAMPLES_WITH_MARKS["relation-extraction"]),
        (["relation-extraction", "token-classification"], page.EXAMPLES["text"]),
    ],
)
def test_example_has_marks_where_all_models_need_them(tasks: list[str], example: str):
    models = [Model(f"m{n}", task, ("text",), str) for n, task in enumerate(tasks)]
    assert page.example_for(models) == [example]


def test_port_that_is_taken(monkeypatch: pytest.MonkeyPatch):
    def fail(**_: Any) -> None:
        raise OSError("Cannot find empty port")

    monkeypatch.setattr(page, "make_page", lambda *_: SimpleNamespace(launch=fail))
    with pytest.raises(OSError, match=r"cannot listen at 127.0.0.1:80; give another `port`"):
        page.launch(port=80)


def test_gradio_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["playground", "no-such-folder"]) == 1
    assert "pip install 'spanbert-tf[playground]'" in capsys.readouterr().err
