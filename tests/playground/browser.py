"""A headless Chromium, by its DevTools protocol over two pipes: nothing to install beside it.

https://chromedevtools.github.io/devtools-protocol
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--window-size=1100,900"),
)
SECONDS = 30  # for an answer
SECONDS_OF_A_TRY = 10


def find_chromium() -> str:
    """Finds one that runs: Ubuntu's `chromium-browser` may only say what to install.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: There is none; says what those that were tried did.
    """
    tried = []
    for path in filter(None, map(shutil.which, NAMES)):
        try:
            version = subprocess.run(
                [path, "--version"], capture_output=True, text=True, timeout=SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            tried.append(f"{path}: {error}")
            continue
        if version.returncode == 0:
            return path
        tried.append(f"{path}: {version.stderr.strip() or version.returncode}")
    raise FileNotFoundError("Chromium is not installed" + "".join(f"; {of}" for of in tried))


def seen(selector: str) -> str:
    """In JavaScript, the elements that can be seen, as an array."""
    return f"[...document.querySelectorAll({json.dumps(selector)})].filter(of => of.offsetParent)"


class Browser:
    """One page.

    Attributes:
        urls: Of all requests that the page made.
    """

    def __init__(self, commands: IO[bytes], answers: IO[bytes]) -> None:
        self._commands = commands
        self._answers = answers
        self._read_ahead = b""
        self._number = 0
        self._session: str | None = None
        self.urls: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol; meanwhile events come in.

        Raises:
            TimeoutError: There is no answer.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            try:
                answer = json.loads(self._read(end))
            except TimeoutError as error:
                raise TimeoutError(f"Chromium has not answered in {SECONDS} s: {method}") from error
            if answer.get("method") == "Network.requestWillBeSent":
                self.urls.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of an expression in JavaScript."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = SECONDS) -> Any:
        """Waits for an expression to be true.

        Raises:
            TimeoutError: It is still false.
        """
        end = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"still false: {script}\n{self.text()[-2000:]}")
            time.sleep(0.1)
        return value

    def text(self) -> str:
        """What can be read on the page."""
        return self.evaluate("document.body.innerText")

    def click(self, selector: str, text: str = "") -> None:
        """Clicks on the first element that can be seen and, if given, has just this text."""
        quoted = json.dumps(text)
        found = f"{seen(selector)}.find(of => [of.innerText.trim(), ''].includes({quoted}))"
        # In one expression: a page that is still being made may replace the element in between.
        box = self.wait_for(f"""(of => {{
            if (!of) return null
            of.scrollIntoView({{block: 'center'}})
            const box = of.getBoundingClientRect()
            return {{x: box.x + box.width / 2, y: box.y + box.height / 2}}
        }})({found})""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **box)

    def write(self, selector: str, text: str) -> None:
        """Clicks on a box and types, in place of what it has."""
        self.click(selector)
        selected = f"(of => !!of?.matches({json.dumps(selector)}) && (of.select(), true))"
        self.wait_for(f"{selected}(document.activeElement)", SECONDS_OF_A_TRY)
        self.call("Input.insertText", text=text)

    def ask(self, text: str, answered: str) -> None:
        """Types a text, presses the button and waits for an expression to be true.

        Three times at most: a page that is still being made may replace a box, and what was typed
        or pressed is lost.
        """
        for tries_left in (2, 1, 0):
            try:
                self.write("textarea", text)
                self.click("button.primary")
                self.wait_for(answered, SECONDS if tries_left == 0 else SECONDS_OF_A_TRY)
                return
            except TimeoutError:
                if tries_left == 0:
                    raise

    def screenshot(self, path: Path) -> None:
        """Writes a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _read(self, end: float) -> bytes:
        """The next message, if it has come by a time of the monotonic clock."""
        while b"\0" not in self._read_ahead:
            ready, _, _ = select.select([self._answers], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            came = self._answers.read(1 << 16)  # Without a buffer: what is there, 64 KiB at most.
            assert came, "Chromium has ended"
            self._read_ahead += came
        message, _, self._read_ahead = self._read_ahead.partition(b"\0")
        return message


@contextmanager
def browser(chromium: str, folder: Path) -> Iterator[Browser]:
    """Starts it, and ends it with the body."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder}"]
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', chromium, *flags],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        with (
            os.fdopen(ours_out, "wb", buffering=0) as commands,
            os.fdopen(ours_in, "rb", buffering=0) as answers,
        ):
            yield Browser(commands, answers)
    finally:
        process.kill()
        process.wait()
