"""The command `spanbert-tf`.

Parsing imports no TensorFlow, so that `--help` answers at once; each command imports what it runs.
Results go to standard output, progress and errors to standard error.  Exit codes: 0 done, 1 failed,
2 wrong usage.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from spanbert_tf.cli_parser import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words of the command line; those of the process when `None`.

    Returns:
        0 when it is done, 1 when it failed.  Wrong usage exits the process with 2.
    """
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    if parsed.command == "predict" and bool(parsed.texts) == bool(parsed.input):
        parser.error("predict: give texts as words of the command, or a file with --input")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        result = _runner(parsed.command)(parsed)
    except KeyboardInterrupt as interrupt:
        print(f"\nspanbert-tf: interrupted. {interrupt}".rstrip(), file=sys.stderr)
        return 1
    except (ValueError, ArithmeticError, OSError, ImportError) as error:
        if parsed.debug:
            raise
        # Notes say what was kept of the work.
        message = "\n".join([str(error), *getattr(error, "__notes__", [])])
        print(f"spanbert-tf: error: {message}", file=sys.stderr)
        return 1
    try:
        print(json.dumps(result, ensure_ascii=False) if parsed.json else parsed.show(result))
        sys.stdout.flush()
    except BrokenPipeError:  # The reader, such as `head`, has enough: no more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _runner(command: str) -> Callable[[argparse.Namespace], Any]:
    """Finds what a command does; only now is TensorFlow imported."""
    modules = {"demo": "demo", "train-vocab": "corpus_commands", "prepare": "corpus_commands"}
    with _silent_start():
        module = import_module(f"spanbert_tf.{modules.get(command, 'commands')}")
    return getattr(module, f"run_{command.replace('-', '_')}")


@contextmanager
def _silent_start() -> Iterator[None]:
    """Keeps TensorFlow's start-up messages off the screen; set TF_CPP_MIN_LOG_LEVEL to see them.

    Some come before TensorFlow reads that variable, so that only closing the stream helps.
    """
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
