"""The preparation of `corpus.py` as an Apache Beam pipeline, for corpora beyond one machine.

The very same functions do the work, and the same folder comes out, byte for byte.  A group of
files is the unit of reading, a shard that of everything else.  All workers read the files and
write the folder under the same paths: a file system that they share.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.corpus.documents import ShardText, corpus_files, file_groups, shard_texts
from spanbert_tf.data.corpus.preparation import CorpusCounts, complete_folder, open_folder
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.corpus.shard_writer import MakeTokenizer, ShardWriter
from spanbert_tf.data.corpus.shards import (
    Manifest,
    Shard,
    finished_shard,
    read_manifest,
    vocabulary_sha256,
)
from spanbert_tf.data.runners import beam, pipeline_of


def prepare_corpus_with_beam(
    paths: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    vocabulary: Sequence[str],
    make_tokenizer: MakeTokenizer,
    *,
    lowercase: bool = False,
    settings: CorpusSettings | None = None,
    runner: str = "DirectRunner",
    options: Sequence[str] = (),
) -> CorpusCounts:
    """Prepares a corpus as `corpus.prepare_corpus` does, with the workers of a Beam runner.

    Args:
        paths: As for `prepare_corpus`.
        folder: As for `prepare_corpus`.
        vocabulary: As for `prepare_corpus`.
        make_tokenizer: As for `prepare_corpus`.
        lowercase: As for `prepare_corpus`.
        settings: As for `prepare_corpus`.
        runner: As for `pipeline_of`.
        options: As for `pipeline_of`.

    Returns:
        The counts of the whole corpus.

    Raises:
        DataError: As for `prepare_corpus`, and see `pipeline_of`.
    """
    settings = settings or CorpusSettings()
    folder = user_path(folder)
    groups = file_groups(corpus_files(paths, folder), settings.shard_bytes)
    manifest = Manifest(settings, vocabulary_sha256(vocabulary), lowercase)
    open_folder(folder, manifest)
    arguments = (folder, vocabulary, make_tokenizer, lowercase, settings.sequence_length - 2)
    counts = CorpusCounts()
    with pipeline_of(runner, options) as pipeline:
        _ = (
            pipeline
            | "Files" >> beam.Create(list(enumerate(groups)))
            | "SpreadFiles" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_read, settings)
            | "SpreadShards" >> beam.Reshuffle()
            | "Write" >> beam.ParDo(_Write(arguments))
            | "Gather" >> beam.combiners.ToList()
            | "Complete" >> beam.Map(_complete, folder, manifest, vocabulary)
        )
    for shard in read_manifest(folder).shards:
        counts = counts.plus(shard)
    return counts


def _read(group: tuple[int, list[Path]], settings: CorpusSettings) -> Iterator[ShardText]:
    number, files = group
    yield from shard_texts(files, settings, number)


class _Write(beam.DoFn):
    """Writes the shards that are not there yet; gives all of them."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments
        self.writer: ShardWriter | None = None

    def process(self, text: ShardText) -> Iterator[Shard]:
        shard = finished_shard(self.arguments[0], text.name, text.source)
        if shard is None:
            if self.writer is None:
                self.writer = ShardWriter(*self.arguments)
            shard = self.writer.write(text)
        yield shard


def _complete(
    shards: list[Shard], folder: Path, manifest: Manifest, vocabulary: Sequence[str]
) -> None:
    complete_folder(folder, manifest, shards, vocabulary)
