"""A prepared corpus on disk: shards, what is known of each, and the manifest of all.

    manifest.json              settings, vocabulary, shards and their checksums, totals
    vocab.txt                  the vocabulary
    statistics.npz             `piece_counts` and `block_lengths` of the whole corpus
    shard-00000-00000.tfrecord one `tf.train.Example` a block: `token_ids`, int64, without [CLS]
                               and [SEP]
    shard-00000-00000.npz      the same statistics of the shard, and its entry in the manifest

Files are written under another name and renamed: a file that has its name is whole.

Letters: k blocks, v the vocabulary.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spanbert_tf.atomic_files import atomic_file, user_path
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.resumed_folders import MANIFEST, differences_of
from spanbert_tf.tokenization.vocabulary import read_vocabulary

FORMAT = 1
VOCABULARY = "vocab.txt"
STATISTICS = "statistics.npz"


@dataclass(frozen=True)
class Shard:
    """One shard, as the manifest lists it.

    Attributes:
        name: Name of its files, without their suffixes.
        source: SHA-256 of the text that it was made of.
        documents: Documents that begin in it.
        blocks: Number of its records.
        pieces: Pieces of all its blocks.
        bytes: Size of its `.tfrecord` file.
        sha256: Of that file.
    """

    name: str
    source: str
    documents: int
    blocks: int
    pieces: int
    bytes: int
    sha256: str

    def defect(self, folder: Path) -> str | None:
        """Says what is wrong with the shard's file in a folder; `None` if nothing is."""
        path = self.path(folder)
        try:
            size = path.stat().st_size
            if size != self.bytes:
                return f"{path}: expected {self.bytes:,} bytes, found {size:,}"
            found = file_sha256(path)
        except OSError as error:
            return f"{path}: cannot be read: {error}"
        if found != self.sha256:
            return f"{path}: its SHA-256 is {found}, but the manifest has {self.sha256}"
        return None

    def path(self, folder: Path) -> Path:
        """Where the records are."""
        return folder / f"{self.name}.tfrecord"


@dataclass(frozen=True)
class Manifest:
    """What a prepared corpus is made of.

    Attributes:
        settings: How it was prepared.
        vocabulary_sha256: As `vocabulary_sha256` gives it.
        lowercase: Whether the tokenizer put text in lower case.
        shards: In the order of the corpus.
        complete: Whether the preparation came to its end.
    """

    settings: CorpusSettings
    vocabulary_sha256: str
    lowercase: bool
    shards: tuple[Shard, ...] = ()
    complete: bool = False

    @property
    def documents(self) -> int:
        """Documents of all shards."""
        return sum(shard.documents for shard in self.shards)

    @property
    def blocks(self) -> int:
        """Blocks of all shards."""
        return sum(shard.blocks for shard in self.shards)

    @property
    def pieces(self) -> int:
        """Pieces of all shards."""
        return sum(shard.pieces for shard in self.shards)

    def differences(self, other: "Manifest") -> list[str]:
        """Lists in words what is prepared in another way than in `other`."""
        mine, theirs = (
            asdict(manifest.settings)
            | {"vocabulary": manifest.vocabulary_sha256, "lowercase": manifest.lowercase}
            for manifest in (self, other)
        )
        return differences_of(mine, theirs)


@dataclass(frozen=True)
class Statistics:
    """Counts of a shard or of a whole corpus.

    Attributes:
        piece_counts: int64 `[v]`, how often each piece occurs.
        block_lengths: uint16 `[k]`, pieces of each block.
    """

    piece_counts: np.ndarray
    block_lengths: np.ndarray


def vocabulary_sha256(vocabulary: Iterable[str]) -> str:
    """SHA-256 of a vocabulary's pieces, one a line, whatever file they came from."""
    return hashlib.sha256(_vocabulary_bytes(vocabulary)).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Reads the manifest of a prepared corpus, complete or not.

    Raises:
        DataError: There is none, or it is not one that this version reads.
    """
    path = user_path(folder) / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise DataError(f"{path}: format {content['format']!r}; this version reads {FORMAT}.")
        return Manifest(
            settings=CorpusSettings(**content["settings"]),
            vocabulary_sha256=content["vocabulary_sha256"],
            lowercase=content["lowercase"],
            shards=tuple(Shard(**shard) for shard in content["shards"]),
            complete=content["complete"],
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{folder}: expected a prepared corpus, but there is no {MANIFEST}."
        ) from error
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the manifest of a prepared corpus: {error!r}.") from error


def write_manifest(folder: Path, manifest: Manifest, statistics: Statistics | None = None) -> None:
    """Writes the manifest, with totals that a person or another program may want."""
    lengths = np.bincount(statistics.block_lengths) if statistics else np.empty(0, np.int64)
    content: dict[str, Any] = {
        "format": FORMAT,
        "complete": manifest.complete,
        "settings": asdict(manifest.settings),
        "vocabulary_sha256": manifest.vocabulary_sha256,
        "lowercase": manifest.lowercase,
        "documents": manifest.documents,
        "blocks": manifest.blocks,
        "pieces": manifest.pieces,
        "blocks_by_length": {str(n): int(lengths[n]) for n in np.flatnonzero(lengths)},
        "shards": [asdict(shard) for shard in manifest.shards],
    }
    with atomic_file(folder / MANIFEST) as path:
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def write_vocabulary(folder: Path, vocabulary: Sequence[str]) -> None:
    """Writes the vocabulary of a corpus beside it."""
    with atomic_file(folder / VOCABULARY) as path:
        path.write_bytes(_vocabulary_bytes(vocabulary))


def load_vocabulary(folder: Path, manifest: Manifest) -> list[str]:
    """Reads the vocabulary of a corpus.

    Raises:
        DataError: It is missing, or not the one that the manifest names.
    """
    try:
        vocabulary = read_vocabulary(folder / VOCABULARY)
    except ValueError as error:
        raise DataError(str(error)) from error
    if vocabulary_sha256(vocabulary) != manifest.vocabulary_sha256:
        raise DataError(
            f"{folder / VOCABULARY}: expected the vocabulary {manifest.vocabulary_sha256}, "
            f"found {vocabulary_sha256(vocabulary)}."
        )
    return vocabulary


def check_tokenizer(folder: Path, manifest: Manifest, tokenizer: Any) -> None:
    """Refuses a tokenizer that the corpus was not prepared with; `None` is no tokenizer.

    Raises:
        DataError: It has another vocabulary, is cased where that was not, or keeps tokens whole.
    """
    if tokenizer is None:
        return
    other = Manifest(
        manifest.settings, vocabulary_sha256(tokenizer.get_vocabulary()), tokenizer.lowercase
    )
    differences = manifest.differences(other)
    if tokenizer.added_tokens:
        differences += [f"added_tokens is [] there, {len(tokenizer.added_tokens)} tokens now"]
    if differences:
        raise DataError(f"{folder}: was prepared with another tokenizer: {'; '.join(differences)}.")


def sound_shards(
    folder: Path, manifest: Manifest, wanted: Sequence[int], skip_bad: bool
) -> tuple[tuple[int, ...], dict[str, str]]:
    """Reads shards through for damage.

    Returns:
        Numbers of those that have none, and what is wrong with each of the others, by its name.

    Raises:
        DataError: Some are damaged, and they are not to be left out.
    """
    shards = [manifest.shards[number] for number in wanted]
    with ThreadPoolExecutor() as threads:
        defects = list(threads.map(lambda shard: shard.defect(folder), shards))
    bad = {
        shard.name: defect
        for shard, defect in zip(shards, defects, strict=True)
        if defect is not None
    }
    if bad and not skip_bad:
        raise DataError(f"damaged shards ({len(bad)} of {len(shards)}): {'; '.join(bad.values())}.")
    for defect in bad.values():
        warnings.warn(f"left out a damaged shard: {defect}", stacklevel=3)
    good = (n for n, defect in zip(wanted, defects, strict=True) if defect is None)
    return tuple(good), bad


def save_statistics(path: Path, statistics: Statistics, shard: Shard | None = None) -> None:
    """Writes statistics, with the entry of the shard that they belong to."""
    arrays = {
        "piece_counts": statistics.piece_counts,
        "block_lengths": statistics.block_lengths,
    }
    if shard is not None:
        arrays["shard"] = np.array(json.dumps(asdict(shard)))
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_statistics(path: Path) -> Statistics:
    """Reads statistics.

    Raises:
        DataError: They are missing or damaged.
    """
    return _load(path)[0]


def finished_shard(folder: Path, name: str, source: str) -> Shard | None:
    """Gives the entry of a shard that is on disk, whole and made of the same text."""
    try:
        statistics, shard = _load(folder / f"{name}.npz")
    except DataError:
        return None
    if shard is None or shard.source != source or shard.defect(folder) is not None:
        return None
    return shard if len(statistics.block_lengths) == shard.blocks else None


def _load(path: Path) -> tuple[Statistics, Shard | None]:
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            shard = Shard(**json.loads(str(arrays["shard"]))) if "shard" in arrays else None
            return Statistics(arrays["piece_counts"], arrays["block_lengths"]), shard
    except Exception as error:  # a damaged archive fails in many ways
        raise DataError(f"{path}: not the statistics of a corpus: {error!r}.") from error


def _vocabulary_bytes(vocabulary: Iterable[str]) -> bytes:
    return "".join(f"{piece}\n" for piece in vocabulary).encode()
