"""What every test may use: where the real data lies, and quiet third-party libraries."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # A process for each core, so a thread for each process.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from tests.served_tensors import CApi

# How long an example takes depends on the machine and says nothing.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent

# TensorFlow takes oneDNN's kernels where the CPU has instructions for neural networks; those for
# bfloat16 need AVX512.
_CPU = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
HAS_ONEDNN = any(name in _CPU for name in ("avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile"))
HAS_ONEDNN_BFLOAT16 = HAS_ONEDNN and "avx512" in _CPU


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first, so that no core waits for another one's last file."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def level_of_logger() -> Iterator[None]:
    """Takes back the level of the package's logger, which a command sets for its process."""
    yield
    logging.getLogger("spanbert_tf").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SPANBERT_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "vocab").is_dir():
        pytest.skip(f"no data sets at {folder}; set SPANBERT_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def c_api() -> Iterator[CApi]:
    """Asks SavedModels without Python's TensorFlow; one process, as the library loads slowly."""
    api = CApi()
    yield api
    api.close()
