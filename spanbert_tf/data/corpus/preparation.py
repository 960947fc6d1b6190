"""Raw text -> a folder of shards for pretraining, on the cores of one machine.

The unit of work is the shard.  This process reads the text and groups it; workers tokenise, cut
and write.  A run that was stopped reads the text again, which is cheap, and leaves the shards
that are finished alone.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spanbert_tf.atomic_files import INCOMPLETE, user_path
from spanbert_tf.data import resumed_folders
from spanbert_tf.data.corpus.documents import (
    ShardText,
    corpus_files,
    file_groups,
    shard_texts,
)
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.corpus.shards import (
    STATISTICS,
    Manifest,
    Shard,
    Statistics,
    finished_shard,
    load_statistics,
    read_manifest,
    save_statistics,
    vocabulary_sha256,
    write_manifest,
    write_vocabulary,
)
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.resumed_folders import writing
from spanbert_tf.start_up import import_tensorflow

if TYPE_CHECKING:
    from spanbert_tf.data.corpus.shard_writer import MakeTokenizer, ShardWriter


@dataclass(frozen=True)
class CorpusCounts:
    """What a corpus holds, or what is prepared of it so far.

    Attributes:
        shards: Number of shards.
        reused: How many of them were there already.
        documents: Documents with at least one line of text.
        blocks: Blocks of at most `sequence_length` tokens.
        pieces: Word pieces, [CLS] and [SEP] not counted.
    """

    shards: int = 0
    reused: int = 0
    documents: int = 0
    blocks: int = 0
    pieces: int = 0

    def plus(self, shard: Shard, reused: bool = False) -> "CorpusCounts":
        """The counts with one more shard."""
        return CorpusCounts(
            self.shards + 1,
            self.reused + reused,
            self.documents + shard.documents,
            self.blocks + shard.blocks,
            self.pieces + shard.pieces,
        )


def prepare_corpus(
    paths: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    vocabulary: Sequence[str],
    make_tokenizer: "MakeTokenizer",
    *,
    lowercase: bool = False,
    settings: CorpusSettings | None = None,
    workers: int | None = None,
    progress: Callable[[CorpusCounts], None] | None = None,
) -> CorpusCounts:
    """Prepares a corpus: tokenised, cut into blocks, in shards.

    The same text, settings and vocabulary give the same bytes, whatever the number of workers.
    Killed at any moment, the same call goes on: it makes only the shards that are not there.
    Called again after the text has changed, it makes the shards anew whose text is another.

    Args:
        paths: Files, and folders of them, as `documents.corpus_files` takes them.
        folder: Where the corpus goes: a new or empty folder, or one that holds it in part.
        vocabulary: Word pieces, at the places of their ids.
        make_tokenizer: Called in each worker with `vocabulary` and `lowercase`, gives what turns
            strings `[n]` into ragged int32 ids `[n, (p)]`, such as `SpanBertTokenizer`.  Other
            processes import it by its name.
        lowercase: Whether the tokenizer puts text in lower case.
        settings: Everything else that decides the contents.
        workers: Number of processes.  `None`: one a core.  1: this process does it all, with
            threads, two shards at a time.
        progress: Called with the counts so far after each shard.

    Returns:
        The counts of the whole corpus.

    Raises:
        DataError: A file cannot be read or is no text, there is no text at all, `folder` holds
            something else, or a corpus with other settings, or cannot be written.  Finished
            shards stay.
        ValueError: `workers` is below 1.
    """
    workers = workers or (os.cpu_count() or 1) if workers != 0 else 0
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1, but is {workers}.")
    settings = settings or CorpusSettings()
    folder = user_path(folder)
    groups = file_groups(corpus_files(paths, folder), settings.shard_bytes)
    manifest = Manifest(settings, vocabulary_sha256(vocabulary), lowercase)
    open_folder(folder, manifest)
    counts = CorpusCounts()
    shards: list[Shard] = []

    def note(shard: Shard, reused: bool = False) -> None:
        nonlocal counts
        shards.append(shard)
        counts = counts.plus(shard, reused)
        if progress is not None:
            progress(counts)

    def unfinished() -> Iterator[ShardText]:
        for group, files in enumerate(groups):
            for text in shard_texts(files, settings, group):
                shard = finished_shard(folder, text.name, text.source)
                if shard is None:
                    yield text
                else:
                    note(shard, reused=True)

    arguments = (folder, vocabulary, make_tokenizer, lowercase, settings.sequence_length - 2)
    for shard in _write_shards(_marking(folder, manifest, unfinished()), arguments, workers):
        note(shard)
    complete_folder(folder, manifest, shards, vocabulary)
    return counts


def open_folder(folder: Path, manifest: Manifest) -> None:
    """Makes the folder of a corpus, or checks that what is there may be gone on with.

    Raises:
        DataError: The folder holds something else, or a corpus with other settings.
    """
    resumed_folders.open_folder(
        folder,
        "a corpus",
        lambda: read_manifest(folder).differences(manifest),
        lambda: write_manifest(folder, manifest),
    )


def complete_folder(
    folder: Path, manifest: Manifest, shards: Iterable[Shard], vocabulary: Sequence[str]
) -> Manifest:
    """Writes what belongs to the corpus as a whole, the manifest last, and removes what does not.

    Raises:
        DataError: There is no text, or the files cannot be written.
    """
    # In the order of the text, whichever worker was the first.
    shards = tuple(sorted(shards, key=lambda shard: [int(n) for n in shard.name.split("-")[1:]]))
    manifest = replace(manifest, shards=shards, complete=True)
    if not manifest.pieces:
        raise DataError(f"{folder}: there is no text in the corpus, not a single word.")
    counts = np.zeros(len(vocabulary), np.int64)
    lengths = []
    for shard in shards:
        statistics = load_statistics(folder / f"{shard.name}.npz")
        counts += statistics.piece_counts
        lengths.append(statistics.block_lengths)
    statistics = Statistics(counts, np.concatenate(lengths))

    with writing(folder, parts="shards"):
        write_vocabulary(folder, vocabulary)
        save_statistics(folder / STATISTICS, statistics)
        write_manifest(folder, manifest, statistics)
    names = {shard.name for shard in shards}
    for path in folder.iterdir():
        is_shard = path.name.startswith("shard-") and path.suffix in (".tfrecord", ".npz")
        if path.name.startswith(INCOMPLETE) or (is_shard and path.stem not in names):
            path.unlink(missing_ok=True)
    return manifest


def _marking(folder: Path, manifest: Manifest, texts: Iterable[ShardText]) -> Iterator[ShardText]:
    """Passes texts on, and marks the corpus as incomplete before its first shard is replaced."""
    for number, text in enumerate(texts):
        if number == 0:
            with writing(folder, parts="shards"):
                write_manifest(folder, manifest)
        yield text


def _write_shards(
    texts: Iterator[ShardText], arguments: tuple[Any, ...], workers: int
) -> Iterator[Shard]:
    """Writes shards in any order; reads at most one text ahead of the workers."""
    pool: Executor
    if workers == 1:
        # TensorFlow lets other threads run: a shard is tokenised while another is written.
        at_once = 2
        pool, write = ThreadPoolExecutor(at_once), _writing((*arguments, os.cpu_count() or 1))
    else:
        at_once = workers
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, _start_worker, arguments)
        write = _write_in_worker
    try:
        with pool:
            pending = set()
            for text in texts:
                pending.add(pool.submit(write, text))
                if len(pending) > at_once:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in pending)
    except BrokenProcessPool as error:
        raise DataError(
            f"{arguments[0]}: a worker process came to a sudden end, perhaps for lack of memory. "
            "The shards that are finished stay; the same call, with fewer workers, goes on."
        ) from error


def _writing(arguments: tuple[Any, ...]) -> Callable[[ShardText], Shard]:
    lock = threading.Lock()  # Two threads must not make two.

    @cache  # Made with the first text: only there do its errors reach the caller.
    def writer() -> "ShardWriter":
        from spanbert_tf.data.corpus.shard_writer import ShardWriter

        return ShardWriter(*arguments)

    def write(text: ShardText) -> Shard:
        with lock:
            made = writer()
        return made.write(text)

    return write


_write_text: Callable[[ShardText], Shard]  # of a worker process


def _start_worker(*arguments: Any) -> None:
    global _write_text
    _write_text = _writing((*arguments, 1))  # a thread, as all cores have a process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that reads
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import_tensorflow()  # Its messages would come once for each worker.
    import tensorflow as tf

    # Too late, and only slower, where the caller's main module uses TensorFlow as it is imported.
    with suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _end_with_parent() -> None:
    # A parent that is killed cannot tell its workers, which would wait for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _write_in_worker(text: ShardText) -> Shard:
    return _write_text(text)
