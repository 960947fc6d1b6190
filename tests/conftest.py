"""What every test may use: where the real data lies, and quiet third-party libraries."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SPANBERT_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "vocab").is_dir():
        pytest.skip(f"no data sets at {folder}; set SPANBERT_DATA to the folder that holds them")
    return folder
