"""TensorFlow imported, and models loaded, without messages that tell the user nothing.

For the processes of the command line: who imports the library keeps what TensorFlow prints.  Set
TF_CPP_MIN_LOG_LEVEL, to anything but 3, to see all of it.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from spanbert_tf.replaced_modules import replaced_modules

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # What TensorFlow's libraries in C++ read; 3: fatal errors alone.
_QUIET = "3"
# What Keras and KerasHub import where it is installed, in seconds, for what no command has of them.
_UNUSED = ("matplotlib", "pandas", "rouge_score", "sklearn")


def import_tensorflow() -> None:
    """Imports TensorFlow and KerasHub, once, without their start-up messages.

    Errors still arrive, as exceptions.
    """
    with replaced_modules({name: None for name in _UNUSED if name not in sys.modules}):
        if _is_quiet():
            os.environ[_LEVEL] = _QUIET
            # Some messages come before TensorFlow reads that variable.
            with _errors_to(os.open(os.devnull, os.O_WRONLY)):
                import_module("keras_hub")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
        import_module("keras_hub")


@contextmanager
def without_info() -> Iterator[None]:
    """Leaves out the lines of LiteRT, which reads no variable, that begin with INFO.

    What else is printed to standard error meanwhile comes afterwards.
    """
    if not _is_quiet() or not hasattr(os, "memfd_create"):
        yield
        return
    memory = os.memfd_create("standard error")
    with open(os.dup(memory), errors="replace") as printed:
        try:
            with _errors_to(memory):
                yield
        finally:
            printed.seek(0)
            sys.stderr.writelines(line for line in printed if not line.startswith("INFO: "))


def _is_quiet() -> bool:
    return sys.stderr is not None and os.environ.get(_LEVEL, _QUIET) == _QUIET


@contextmanager
def _errors_to(file: int) -> Iterator[None]:
    """Has all libraries print errors to an open file, which is closed in the end."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(file)
