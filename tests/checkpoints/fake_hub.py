"""A Hub on this machine: `snapshot_download` without a network."""

import os
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub.utils import filter_repo_objects


class FakeHub:
    """Stands in for `snapshot_download`: serves one folder, and remembers what was asked for.

    Like the real one it hands out a folder of its own, with the files that were asked for so far.

    Args:
        folder: The repository's files.
        error: Raised instead.
    """

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder = folder
        self.cache = folder.with_name(f"{folder.name}-cache")
        self.error = error
        self.calls: list[dict[str, Any]] = []

    def __call__(self, repo: str, **options: Any) -> str:
        self.calls.append({"repo": repo, **options})
        if self.error:
            raise self.error
        files = [p.relative_to(self.folder) for p in self.folder.rglob("*") if p.is_file()]
        patterns = {name: options[name] for name in ("allow_patterns", "ignore_patterns")}
        self.cache.mkdir(exist_ok=True)
        for file in filter_repo_objects([file.as_posix() for file in files], **patterns):
            (self.cache / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.folder / file, self.cache / file)
        return os.fspath(self.cache)


def hub_error(kind: type[Exception]) -> Exception:
    """An error of the Hub, without the response that it usually carries."""
    error = kind.__new__(kind)
    error.args = ("from the Hub",)
    return error
