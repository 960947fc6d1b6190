"""`spanbert-tf playground`: models in a browser."""

import signal
import sys
import threading
from argparse import Namespace
from contextlib import redirect_stdout, suppress
from typing import Any

from spanbert_tf.cli.arguments import MODEL_HELP, add_trust
from spanbert_tf.cli.showing import say

SUMMARY = "show models in a browser: paste texts, ask questions, fill masks, compare two"
EXAMPLE = "spanbert-tf playground entities_en mine=runs/entities/adapter"


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    command.add_argument(
        "models",
        metavar="MODEL",
        nargs="*",
        help=f"{MODEL_HELP}; or an encoder with its heads of pretraining, which fills masks; "
        "NAME=MODEL gives it a name (default: the ready models and the default encoder)",
    )
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: %(default)s)"
    )
    command.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="port to listen at (default: the first from 7860 on that is free)",
    )
    command.add_argument(
        "--share",
        action="store_true",
        help="also make a public link through Gradio's servers, as Colab needs it; whoever has it "
        "may ask the models",
    )
    add_trust(command)


def run(arguments: Namespace) -> dict[str, Any]:
    """Shows the page until it is stopped."""
    from spanbert_tf.playground import launch
    from spanbert_tf.server.versions import read_sources

    models = {source.name: source.versions()[0][1] for source in read_sources(arguments.models)}
    with redirect_stdout(sys.stderr):  # Where Gradio tells of its link.
        page = launch(
            models,
            share=arguments.share,
            host=arguments.host,
            port=arguments.port,
            trust=arguments.trust,
        )
        say(f"{page.local_url}  (Ctrl-C stops it)")
        wait_for_signal()
        page.close(verbose=False)
    return {"url": page.local_url}


def show(result: dict[str, Any]) -> str:
    """That it was stopped."""
    return f"stopped {result['url']}"


def wait_for_signal() -> None:
    """Waits for Ctrl-C or SIGTERM."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    signal.signal(signal.SIGTERM, before)
