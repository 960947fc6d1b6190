"""The command `spanbert-tf`.

Parsing imports no TensorFlow, so that `--help` answers at once; what a command runs is imported
when it runs.  Results go to standard output, progress and errors to standard error.  Exit codes: 0
done, 1 failed, 2 wrong usage.
"""

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from spanbert_tf import __version__
from spanbert_tf.cli.arguments import flag_of, show_example
from spanbert_tf.json_values import finite
from spanbert_tf.start_up import import_tensorflow

# Each is a module of this package: `SUMMARY`, `EXAMPLE`, `add_arguments`, `run` and `show`.
COMMANDS = (
    *("demo", "models", "convert", "export", "finetune", "evaluate", "predict", "serve"),
    *("playground", "index", "search", "train-vocab", "prepare", "pretrain"),
)


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        words: Words of the command line; those of the process when `None`.

    Returns:
        0 when it is done, 1 when it failed.  Wrong usage exits the process with 2.
    """
    words = list(sys.argv[1:] if words is None else words)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("spanbert_tf").setLevel(logging.INFO)
    debug = "--debug" in words
    options: Collection[str] = ()
    try:
        parsed = _parse(words)
        command, options = _module(parsed.command), parsed.options
        if getattr(command, "NEEDS_TENSORFLOW", True):
            import_tensorflow()
        result = command.run(parsed)
    except KeyboardInterrupt as interrupt:
        print(f"\nspanbert-tf: interrupted. {interrupt}".rstrip(), file=sys.stderr)
        return 1
    except (ValueError, ArithmeticError, OSError, ImportError, RuntimeError) as error:
        # Of the last kind only what `Path.resolve` has for a link that leads back to itself.
        if debug or (isinstance(error, RuntimeError) and "Symlink loop" not in str(error)):
            raise
        # Notes say what was kept of the work.
        message = "\n".join([str(error), *getattr(error, "__notes__", [])])
        print(f"spanbert-tf: error: {in_options(message, options)}", file=sys.stderr)
        return 1
    return _print(_as_json(command, result) if parsed.json else command.show(result))


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Makes the parser of all commands.

    Args:
        words: Words of the command line: which options a command has may depend on its task.
    """
    parser = argparse.ArgumentParser(
        prog="spanbert-tf", description="SpanBERT for TensorFlow and Keras.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = _module(name)
        summary = module.SUMMARY
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.add_argument("--debug", action="store_true", help="show where an error arose")
        command.set_defaults(command=name)
        show_example(command, module.EXAMPLE)
        module.add_arguments(command, words if words[:1] == [name] else [])
        flags = re.findall(r"--[a-z][a-z0-9-]*", command.format_help())
        command.set_defaults(options=frozenset(flags))
    return parser


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = build_parser(words)
    parsed, rest = parser.parse_known_args(words)
    texts = getattr(parsed, "texts", None)
    if rest and (texts is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if texts is not None:  # `predict MODEL --option TEXT`: argparse gave it nothing by then.
        parsed.texts = [*texts, *rest]
    return parsed


def in_options(message: str, options: Collection[str]) -> str:
    """Says what a message has to say of arguments in the words of the command line.

        "`text_column` is missing; pass overwrite=True" -> "`--text-column` is missing; give ..."

    Args:
        message: Of the library, where arguments stand in backticks.
        options: The command's, such as `--text-column`; other arguments stay as they are.
    """

    def option(match: re.Match[str]) -> str:
        flag = flag_of(match["name"])
        if flag not in options:
            return match[0]
        value = "" if match["value"] in (None, "True") else f" {match['value']}"
        return f"give {flag}{value}" if match["verb"] else f"`{flag}{value}`"

    quoted = r"`(?P<verb>)(?:settings\.)?(?P<name>[a-z][a-z0-9_]*)(?:=(?P<value>[^`\s]+))?`"
    told = r"\b(?P<verb>pass )(?P<name>[a-z][a-z0-9_]*)=(?P<value>\w+)"
    return re.sub(told, option, re.sub(quoted, option, message))


def _module(command: str) -> ModuleType:
    return import_module(f"spanbert_tf.cli.{command.replace('-', '_')}")


def _as_json(command: ModuleType, result: Any) -> str:
    """The result as valid JSON, of characters that standard output can show."""
    to_json = getattr(command, "to_json", lambda x: x)
    is_utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return json.dumps(finite(to_json(result)), ensure_ascii=not is_utf8, allow_nan=False)


def _print(text: str) -> int:
    """Prints a result; the exit code, 1 where nobody can have read it."""
    if sys.stdout is None:  # Closed before the process began.
        print("spanbert-tf: error: standard output is closed", file=sys.stderr)
        return 1
    try:
        if hasattr(sys.stdout, "reconfigure"):  # Not where tests catch what is printed.
            sys.stdout.reconfigure(errors="backslashreplace")
        print(text)
        sys.stdout.flush()
    except OSError as error:
        # No more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # A reader such as `head` has enough.
            print(f"spanbert-tf: error: the result cannot be printed: {error}", file=sys.stderr)
        return 1
    return 0
