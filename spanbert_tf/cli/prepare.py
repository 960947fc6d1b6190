"""`spanbert-tf prepare`: raw text to a corpus to pretrain on.

TensorFlow is imported by the workers only, so that the process that reads stays small.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import (
    add_corpus,
    add_runner,
    add_settings,
    check_runner,
    settings_from,
)
from spanbert_tf.cli.showing import counted, say
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.start_up import import_tensorflow

SUMMARY = "make a corpus to pretrain on: raw text to shards of tokenised blocks"
EXAMPLE = "spanbert-tf prepare texts/ --vocabulary vocab.txt --output corpus"
NEEDS_TENSORFLOW = False


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    add_corpus(command)
    command.add_argument(
        "--vocabulary",
        type=user_path,
        required=True,
        metavar="FILE",
        help="word pieces, one a line",
    )
    command.add_argument(
        "--output",
        type=user_path,
        required=True,
        metavar="FOLDER",
        help="where the corpus goes; one that is there in part is completed",
    )
    command.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    add_runner(command)
    add_settings(command, CorpusSettings)


def run(arguments: Namespace) -> dict[str, Any]:
    """Prepares a corpus, in processes of this machine or by a Beam runner."""
    check_runner(arguments)
    from spanbert_tf.data.corpus.preparation import prepare_corpus
    from spanbert_tf.output_folders import check_places
    from spanbert_tf.tokenization.vocabulary import read_vocabulary

    check_places([arguments.output], [*arguments.paths, arguments.vocabulary])
    if arguments.workers == 1 or arguments.runner:  # Then it is this process that tokenises.
        import_tensorflow()
    prepare: Any = prepare_corpus
    options: dict[str, Any] = {"workers": arguments.workers, "progress": _show_progress}
    if arguments.runner:
        from spanbert_tf.data.corpus.beam import prepare_corpus_with_beam

        prepare = prepare_corpus_with_beam
        options = {"runner": arguments.runner, "options": arguments.runner_option}
    counts = prepare(
        arguments.paths,
        arguments.output,
        read_vocabulary(arguments.vocabulary),
        make_tokenizer,
        lowercase=arguments.lowercase,
        settings=settings_from(CorpusSettings, arguments),
        **options,
    )
    return {"corpus": str(arguments.output), **asdict(counts)}


def show(result: dict[str, Any]) -> str:
    """What a corpus holds."""
    return (
        f"{counted(result['documents'], 'document')}, {counted(result['pieces'], 'word piece')} in "
        f"{counted(result['blocks'], 'block')} and {counted(result['shards'], 'shard')} "
        f"({result['reused']:,} were there already): {result['corpus']}"
    )


def make_tokenizer(vocabulary: Sequence[str], lowercase: bool) -> Any:
    """Makes a tokenizer; workers import this function by its name."""
    from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

    return SpanBertTokenizer(vocabulary, lowercase)


def _show_progress(counts: Any) -> None:
    say(f"{counted(counts.shards, 'shard')}, {counted(counts.pieces, 'word piece')}")
