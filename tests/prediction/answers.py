"""What commands say, and what is in the folders that they write."""

import json
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf.cli.main import main


def predicted(capsys: pytest.CaptureFixture[str], *words: Any, code: int = 0) -> Any:
    """Runs `predict --json` and gives its result, or what it said."""
    assert main(["predict", *map(str, words), "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def identity(path: Path) -> tuple[int, int]:
    """Tells a file that stays from one that is written anew."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def rows_of(folder: Path) -> list[list[Any]]:
    """What the lines of each part hold."""
    parts = sorted(folder.glob("part-*.jsonl"))
    return [[json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in parts]


def without_digits(rows: list[Any]) -> list[Any]:
    return json.loads(json.dumps(rows), parse_float=lambda _: None)
