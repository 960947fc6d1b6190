"""`spanbert-tf serve`: tasks behind TensorFlow Serving's REST API."""

from argparse import Namespace
from importlib.util import find_spec
from typing import Any

from spanbert_tf.cli.arguments import MODEL_HELP, add_settings, add_trust, settings_from
from spanbert_tf.cli.showing import say
from spanbert_tf.server.settings import ServerSettings

SUMMARY = "answer requests over HTTP, as TensorFlow Serving does, with models of any format"
EXAMPLE = "spanbert-tf serve saved_models/reviews entities=runs/entities/adapter --port 8501"


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    command.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help=f"{MODEL_HELP}; or a folder of versions, 1, 2, ..., of which the newest is served; "
        "NAME=MODEL gives it a name",
    )
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: %(default)s)"
    )
    command.add_argument(
        "--port",
        type=int,
        default=8501,
        metavar="N",
        help="port to listen at, 0 for any that is free (default: %(default)s)",
    )
    add_trust(command)
    add_settings(command, ServerSettings, "requests")


def run(arguments: Namespace) -> dict[str, Any]:
    """Serves until it is stopped."""
    for module in ("starlette", "uvicorn", "prometheus_client"):
        if find_spec(module) is None:
            raise ModuleNotFoundError(
                f"`serve` needs the module {module!r}: pip install 'spanbert-tf[serve]'",
                name=module,
            )
    from spanbert_tf.server.running import serve
    from spanbert_tf.server.versions import read_sources

    sources = read_sources(arguments.models)
    settings = settings_from(ServerSettings, arguments)

    def ready(url: str) -> None:
        for source in sources:
            say(f"{url}/v1/models/{source.name}  ({source})")

    serve(sources, settings, arguments.host, arguments.port, arguments.trust, ready)
    return {"served": [source.name for source in sources]}


def show(result: dict[str, Any]) -> str:
    """That it was stopped."""
    return f"stopped serving {', '.join(result['served'])}"
