"""What the commands do that turn raw text into a corpus to pretrain on.

TensorFlow is imported by the workers only, so that the process that reads stays small.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from spanbert_tf.atomic import atomic_file
from spanbert_tf.data.corpus import CorpusCounts, prepare_corpus
from spanbert_tf.data.preparation import Preparation
from spanbert_tf.data.vocabulary_training import train_vocabulary
from spanbert_tf.vocabulary import read_vocabulary


def run_train_vocab(arguments: Namespace) -> dict[str, Any]:
    """Learns a vocabulary and writes it."""
    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(
            f"{arguments.output} exists: choose another --output or --overwrite it"
        )
    pieces = train_vocabulary(arguments.paths, arguments.size, lowercase=arguments.lowercase)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(arguments.output) as path:
        path.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")
    return {"vocabulary": str(arguments.output), "pieces": len(pieces)}


def run_prepare(arguments: Namespace) -> dict[str, Any]:
    """Prepares a corpus, in processes of this machine or by a Beam runner."""
    settings = Preparation(**{f.name: getattr(arguments, f.name) for f in fields(Preparation)})
    prepare: Any = prepare_corpus
    options: dict[str, Any] = {"workers": arguments.workers, "progress": _show_progress}
    if arguments.runner:
        from spanbert_tf.data.beam import prepare_corpus_with_beam

        prepare = prepare_corpus_with_beam
        options = {"runner": arguments.runner, "options": arguments.runner_option}
    counts = prepare(
        arguments.paths,
        arguments.output,
        read_vocabulary(arguments.vocabulary),
        make_tokenizer,
        lowercase=arguments.lowercase,
        settings=settings,
        **options,
    )
    return {"corpus": str(arguments.output), **asdict(counts)}


def make_tokenizer(vocabulary: Sequence[str], lowercase: bool) -> Any:
    """Makes a tokenizer; workers import this function by its name."""
    from spanbert_tf.tokenizer import SpanBertTokenizer

    return SpanBertTokenizer(vocabulary, lowercase)


def _show_progress(counts: CorpusCounts) -> None:
    print(f"{counts.shards:,} shards, {counts.pieces:,} word pieces", file=sys.stderr, flush=True)
