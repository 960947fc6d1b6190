"""TensorFlow imported without its messages."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


def import_tensorflow() -> None:
    """Imports TensorFlow and KerasHub, once, without their start-up messages.

    Set TF_CPP_MIN_LOG_LEVEL to see them.
    """
    with _silence():
        import_module("keras_hub")


@contextmanager
def _silence() -> Iterator[None]:
    # Some come before TensorFlow reads that variable, so that only closing the stream helps.
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
