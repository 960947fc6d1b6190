"""The files of an index of texts.

text_index.json          how vectors are kept, the model, and the size of each file
text_index.texts.jsonl   `[id, text]` of each text
text_index.*.npy         the vectors, and those by which the encoder is known
text_index.graph         of an approximate index its graph, as usearch writes it
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spanbert_tf.atomic_files import tidy, user_path
from spanbert_tf.foreign_files import (
    CheckpointError,
    Expected,
    Schema,
    check_finite,
    flag,
    integer,
    or_null,
    read_json,
    reading,
    table,
    text,
)
from spanbert_tf.output_folders import output_folder
from spanbert_tf.search.graph import Graph
from spanbert_tf.search.vector_store import STORES, VectorStore
from spanbert_tf.settings import VECTORS

# What replaces a folder knows an index's files by how they begin.
PREFIX = "text_index."
INDEX_FILE = f"{PREFIX}json"
TEXTS_FILE, GRAPH_FILE, PROBES_FILE = (
    f"{PREFIX}{name}" for name in ("texts.jsonl", "graph", "encoder.npy")
)
_DESCRIPTION: Schema = {
    "vectors": Expected(f"one of {', '.join(VECTORS)}", lambda x: x in VECTORS, required=True),
    "width": integer(1, required=True),
    "texts": integer(1, required=True),
    "approximate": flag(required=True),
    "model": or_null(text(required=True)),
    "files": table(required=True),
}


@dataclass
class IndexContents:
    """What an index is made of.

    Attributes:
        vectors: How vectors are kept, one of `settings.VECTORS`.
        approximate: Whether there is a graph.
        model: The handle of its encoder; `None`: it was in memory.
        store: The vectors; `None` before the first text.
        graph: The graph over them, if there is to be one.
        probes: float32 `[probes, d]`, the encoder's vectors of some fixed texts.
        ids: Of the texts, in the order of the vectors.
        texts: The texts.
    """

    vectors: str
    approximate: bool
    model: str | None
    store: VectorStore | None = None
    graph: Graph | None = None
    probes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    ids: list[str | int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def write_index(index: IndexContents, folder: str | os.PathLike[str], overwrite: bool) -> None:
    """Writes an index to a folder, whole or not at all.

    Raises:
        ValueError: It holds no texts.
        FileExistsError, NotADirectoryError, OSError: See `output_folder`.
    """
    store = index.store
    if store is None or not index.texts:
        raise ValueError(f"the index holds no texts, so {folder} is not written.")
    with output_folder(folder, overwrite, store.nbytes) as new:
        names = [*store.write(new, PREFIX), TEXTS_FILE, PROBES_FILE]
        with (new / TEXTS_FILE).open("w", encoding="utf-8", newline="\n") as file:
            for pair in zip(index.ids, index.texts, strict=True):
                file.write(f"{json.dumps(pair, ensure_ascii=False)}\n")
        np.save(new / PROBES_FILE, index.probes)
        if index.graph is not None:
            names.append(GRAPH_FILE)
            index.graph.write(new / GRAPH_FILE)
        description = {
            "vectors": index.vectors,
            "width": store.width,
            "texts": len(index.texts),
            "approximate": index.approximate,
            "model": index.model,
            "files": {name: (new / name).stat().st_size for name in sorted(names)},
        }
        lines = json.dumps(description, indent=2, ensure_ascii=False)
        (new / INDEX_FILE).write_text(f"{lines}\n", "utf-8")


def read_index(folder: str | os.PathLike[str]) -> IndexContents:
    """Reads what `write_index` wrote; vectors stay in their files until they are needed.

    Raises:
        FileNotFoundError: The folder holds no index.
        CheckpointError: A file is missing, damaged or cut short.
        ModuleNotFoundError: The index is approximate, and usearch is not installed.
    """
    folder = user_path(folder)
    if not folder.exists():  # A process that was replacing it may have been killed.
        tidy(folder.absolute().parent)
    if not (folder / INDEX_FILE).is_file():
        raise FileNotFoundError(f"{folder} holds no index of texts: it lacks {INDEX_FILE}")
    description = read_json(folder / INDEX_FILE, _DESCRIPTION)
    count, width = description["texts"], description["width"]
    _check_sizes(folder, description["files"])
    index = IndexContents(*(description[name] for name in ("vectors", "approximate", "model")))
    with reading(folder / PROBES_FILE, "an array of NumPy"):
        index.probes = np.load(folder / PROBES_FILE, allow_pickle=False)
        index.probes = index.probes.reshape(-1, width)
    check_finite([("vectors of the encoder", index.probes)], folder / PROBES_FILE)
    index.store = STORES[index.vectors](width)
    if index.approximate:
        index.graph = Graph(index.store)
    index.store.read(folder, PREFIX, count)
    if index.graph is not None:
        index.graph.read(folder / GRAPH_FILE)
    index.ids, index.texts = _read_texts(folder / TEXTS_FILE, count)
    return index


def _read_texts(path: Path, count: int) -> tuple[list[str | int], list[str]]:
    ids: list[str | int] = []
    texts = []
    with reading(path, "the texts of an index"), path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            each, of_id = json.loads(line)
            ids.append(each)
            texts.append(of_id)
        distinct = len(set(ids))  # A list, say, is no id, and not hashable.
    if distinct != count or len(ids) != count:
        raise CheckpointError(
            f"{path}: expected {count:,} texts, each with an id of its own, got {len(ids):,}"
        )
    return ids, texts


def _check_sizes(folder: Path, sizes: dict[str, Any]) -> None:
    """Checks that the files of an index are as long as they were written."""
    for name, size in sizes.items():
        path = folder / os.path.basename(name)
        if not path.is_file():
            raise CheckpointError(f"{folder} is no whole index: it lacks {path.name}")
        found = path.stat().st_size
        if found != size:
            raise CheckpointError(
                f"{path} has {found:,} bytes, but was written with {size}: it was cut short or "
                "changed"
            )
