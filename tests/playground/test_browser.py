"""The helper that finds and asks Chromium: what it does with one that does not answer."""

import os
import re
from pathlib import Path

import pytest

from tests.playground import browser as browser_module
from tests.playground.browser import Browser, browser, find_chromium

ANSWERS = "echo Chromium 1.0"
STUB = "echo 'requires the chromium snap' >&2; exit 1"


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_stub_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    monkeypatch.setattr(browser_module, "NAMES", ("stub", "stalls", "answers"))
    monkeypatch.setattr(browser_module, "SECONDS", 0.5)
    script(tmp_path / "stub", STUB)
    script(tmp_path / "stalls", "exec sleep 60")
    with pytest.raises(FileNotFoundError, match=r"stub: requires the chromium snap; .*timed out"):
        find_chromium()
    answers = script(tmp_path / "answers", ANSWERS)
    assert find_chromium() == answers
    monkeypatch.setattr(browser_module, "NAMES", ())
    with pytest.raises(FileNotFoundError, match=r"^Chromium is not installed$"):
        find_chromium()


def test_stall_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Though events come in all the time."""
    event = r"printf '{\"method\": \"Page.loaded\"}\\0' >&4"
    stalls = script(tmp_path / "stalls", f"while {event}; do sleep 0.05; done")
    monkeypatch.setattr(browser_module, "SECONDS", 0.5)
    with (
        pytest.raises(TimeoutError, match=r"not answered in 0\.5 s: Target\.createTarget"),
        browser(stalls, tmp_path),
    ):
        pass


def test_messages_are_parted_and_paths_kept(tmp_path: Path):
    """Several come at once, and parts of one."""
    said = tmp_path / "said"
    body = f"""printf '%s\\n' "$@" > {said}
printf '{{"method": "a"}}\\0{{"id": 1, "result": {{"targetId": "t"}}}}\\0{{"id": 2,' >&4
sleep 0.1
printf '"result": {{"sessionId": "s"}}}}\\0' >&4
for id in 3 4 5; do printf '{{"id": %d, "result": {{}}}}\\0' $id >&4; done
exec sleep 60"""
    profile = tmp_path / "a 'profile' $(of mine)"
    with browser(script(tmp_path / "answers", body), profile) as tab:
        assert isinstance(tab, Browser)
    assert re.search(rf"^--user-data-dir={re.escape(str(profile))}$", said.read_text(), re.M)


def test_end_is_told(tmp_path: Path):
    with (
        pytest.raises(AssertionError, match="Chromium has ended"),
        browser(script(tmp_path / "ends", "exec sleep 0.1"), tmp_path),
    ):
        pass
