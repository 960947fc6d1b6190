"""Semantic search: texts by the nearness of their vectors to a query's."""

import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spanbert_tf.data.batching.texts import as_str, list_of_strings
from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.handles import Handle, find
from spanbert_tf.search.graph import Graph, require_usearch
from spanbert_tf.search.index_files import IndexContents, read_index, write_index
from spanbert_tf.search.unit_vectors import AnyEmbedder, Embedder, as_embedder, encode, normalize
from spanbert_tf.search.vector_store import STORES
from spanbert_tf.settings import VECTORS

# Texts that are encoded at a time: more of like length to a batch, at a bounded memory.
_TEXTS_A_CALL = 2**14
# An encoder is known by the vectors that it gives to these.  A hash of its weights would be another
# for each format that it is exported to, and an encoder that is not ours has none.
_PROBES = (
    "The committee will publish its report on the harbour bridge in March.",
    "A fine film, but the music was too loud!",
    "Which river flows through Vienna?",
    "7 x 8 = 56",
)
# Their cosines where the encoder is the same; weights in int8 give 0.98 to 0.99.
_LEAST_COSINE = 0.999


@dataclass(frozen=True)
class Hit:
    """A text that was found.

    Attributes:
        id: What it was added by.
        score: The cosine of its vector to the query's, -1 to 1, or near to it; see `TextIndex`.
        text: The text.
    """

    id: str | int
    score: float
    text: str

    def __str__(self) -> str:
        return f"{self.score:.3f}  {self.text}"


class TextIndex:
    """Texts that are found by their meaning.

        index = spanbert_tf.TextIndex("runs/vectors/litert")
        index.add(["Snow melts in spring.", "The film was dull."])
        index.search("a boring movie", k=1)[0].text  # "The film was dull."
        index.save("indexes/mine")

    The search compares a query with all texts, a block at a time, so memory has a bound however
    many there are.  An index that was loaded reads its vectors from their files.

    Args:
        embedder: What has `encode_text`, such as a `LiteRTEncoder`; or the handle of a model, see
            `spanbert_tf.load_embedder`.
        vectors: How they are kept.
            - `"float32"`: as they are.
            - `"int8"`: a quarter of the size, scores right to about 0.01.
            - `"bits"`: signs alone, a 32nd of the size; scores are about 0.8 of the cosine.
            - `"bits+float32"`: signs to choose candidates by, and the vectors for their scores.
        approximate: Whether a graph finds the candidates, which takes usearch: far faster among
            hundreds of thousands, and some hits are missed.  Scores are those of `vectors`.

    Raises:
        TypeError: `embedder` is nothing of that kind.
        ValueError: `vectors` is unknown.
        ModuleNotFoundError: usearch is not installed.
        FileNotFoundError, ConnectionError, OSError: See `load_embedder`.
    """

    def __init__(
        self, embedder: AnyEmbedder, vectors: str = "float32", approximate: bool = False
    ) -> None:
        if vectors not in VECTORS:
            raise ValueError(f"`vectors` must be one of {VECTORS}, but is {vectors!r}.")
        if approximate:
            require_usearch()  # Before any text is encoded.
        model = None
        if isinstance(embedder, str | os.PathLike | Handle):
            embedder = find(embedder)
            # What was downloaded is found by its handle elsewhere too.
            model = embedder.source if "://" in embedder.source else embedder.path
        self.embedder = as_embedder(embedder)
        self._of = IndexContents(vectors, approximate, model)
        self._rows: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._of.texts)

    def add(self, texts: Sequence[str], ids: Sequence[str | int] | None = None) -> None:
        """Encodes texts and adds them.

        Args:
            texts: Strings; none is well, too.
            ids: What hits are known by, a string or an integer for each.  `None`: its position in
                the index.

        Raises:
            TypeError: A text is not a string, or an id neither a string nor an integer.
            ValueError: An id is there already; there are not as many ids as texts; or the embedder
                gives NaN or vectors of another width than before.  Nothing is added then.
        """
        texts = [as_str(text) for text in list_of_strings(texts)]
        ids = self._checked_ids(range(len(self), len(self) + len(texts)) if ids is None else ids)
        if len(ids) != len(texts):
            raise ValueError(f"expected an id for each of {len(texts)} texts, got {len(ids)}.")
        if not texts:
            return
        of = self._of
        if of.store is None:
            of.probes = encode(self.embedder, _PROBES)
            of.store = STORES[of.vectors](of.probes.shape[1])
            of.graph = Graph(of.store) if of.approximate else None
        chunks = [
            of.store.pack(self._encode(texts[begin : begin + _TEXTS_A_CALL], begin))
            for begin in range(0, len(texts), _TEXTS_A_CALL)
        ]
        for chunk in chunks:
            of.store.append(chunk)
            if of.graph is not None:
                of.graph.append(chunk)
        self._rows |= {each: row for row, each in enumerate(ids, len(self))}
        of.ids += ids
        of.texts += texts

    def search(self, queries: str | Sequence[str], k: int = 10) -> Any:
        """Finds the texts that are nearest to a query.

        Args:
            queries: A string, or a list of them.
            k: How many texts; there are fewer where the index has fewer.

        Returns:
            A list of `Hit`s, the nearest first; for a list of queries a list of such lists.

        Raises:
            TypeError: A query is not a string.
            ValueError: `k` is not positive, or the embedder gives NaN or vectors of another width
                than the index has.
        """
        is_one = isinstance(queries, str | bytes)
        listed: list[Any] = [queries] if is_one else list_of_strings(queries, "queries")
        if not listed or not len(self):
            hits = _hits_of_nothing(len(listed), k)
        else:
            hits = self.search_vectors(self._encode([as_str(each) for each in listed]), k)
        return hits[0] if is_one else hits

    def search_vectors(self, vectors: Any, k: int = 10) -> list[list[Hit]]:
        """Finds the texts that are nearest to vectors.

        Args:
            vectors: Numbers `[q, d]`, of any length.
            k: As for `search`.

        Returns:
            A list of `Hit`s for each, the nearest first.

        Raises:
            ValueError: `k` is not positive; a vector is NaN, infinite or 0, or of another width
                than the index's.
        """
        units = normalize(vectors, "query")
        of = self._of
        if of.store is None or not len(self) or not len(units) or k < 1:
            return _hits_of_nothing(len(units), k)
        self._check_width(units)
        search = of.store.search if of.graph is None else of.graph.search
        scores, rows = (found.tolist() for found in search(units, k))
        return [
            [Hit(of.ids[row], score, of.texts[row]) for score, row in zip(*pair, strict=True)]
            for pair in zip(scores, rows, strict=True)
        ]

    def vectors_of(self, ids: Iterable[str | int]) -> np.ndarray:
        """The vectors of texts, float32 `[ids, d]`, as near to theirs as they are kept.

        Raises:
            KeyError: There is no such id.
        """
        ids = list(ids)
        for each in ids:
            if each not in self._rows:
                raise KeyError(f"the index has no text of the id {each!r}.")
        if self._of.store is None:
            return np.zeros((0, 0), np.float32)
        return self._of.store.vectors(np.array([self._rows[each] for each in ids], np.int64))

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Writes the index to a folder, whole or not at all.

        Args:
            folder: The folder to make.
            overwrite: Whether an index that is there is replaced.

        Raises:
            ValueError: It holds no texts.
            FileExistsError, NotADirectoryError, OSError: See `output_folder`.
        """
        write_index(self._of, folder, overwrite)

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], embedder: AnyEmbedder | None = None
    ) -> "TextIndex":
        """Loads an index that `save` wrote.

        Args:
            folder: Its folder.
            embedder: As for the class.  `None`: the model that the index was made with, if that had
                a handle.

        Raises:
            FileNotFoundError: There is no index, or its model is not where it was.
            ValueError: A file is damaged or cut short, `embedder` gives other vectors than the one
                that the index was made with, or is needed and not given.
            ModuleNotFoundError: The index is approximate, and usearch is not installed.
        """
        contents = read_index(folder)
        model = contents.model if embedder is None else embedder
        if model is None:
            raise ValueError(
                f"{folder} was made with an encoder in memory: pass it as `embedder`, or its handle"
            )
        try:
            index = cls(model, contents.vectors, contents.approximate)
        except FileNotFoundError as error:
            error.add_note(f"{folder} was made with it; `embedder` may name its place.")
            raise
        contents.model = index._of.model or contents.model  # It may have been moved.
        _check_encoder(index.embedder, contents.probes, folder)
        index._of = contents
        index._rows = {each: row for row, each in enumerate(contents.ids)}
        return index

    def _encode(self, texts: Sequence[str], first: int = 0) -> np.ndarray:
        try:
            vectors = encode(self.embedder, texts)
        except ValueError as error:
            if first:
                error.add_note(f"Texts are counted from `texts`[{first}] here.")
            raise
        self._check_width(vectors)
        return vectors

    def _check_width(self, vectors: np.ndarray) -> None:
        if self._of.store is not None and vectors.shape[1] != self._of.store.width:
            raise ValueError(
                f"the index has vectors of width {self._of.store.width}, but got vectors of width "
                f"{vectors.shape[1]}."
            )

    def _checked_ids(self, ids: Iterable[Any]) -> list[str | int]:
        listed = [each.item() if isinstance(each, np.generic) else each for each in ids]
        seen: set[Hashable] = set()
        for number, each in enumerate(listed):
            if not isinstance(each, str | int) or isinstance(each, bool):
                raise TypeError(
                    f"`ids`[{number}] must be a string or an integer, but is {each!r:.80}."
                )
            if each in seen or each in self._rows:
                where = "twice" if each in seen else "in the index already"
                raise ValueError(f"`ids`[{number}], {each!r}, is there {where}: ids are unique.")
            seen.add(each)
        return listed


def _hits_of_nothing(queries: int, k: int) -> list[list[Hit]]:
    if k < 1:
        raise ValueError(f"`k` must be at least 1, but is {k}.")
    return [[] for _ in range(queries)]


def _check_encoder(embedder: Embedder, probes: np.ndarray, folder: object) -> None:
    """Checks that an embedder gives the vectors that it gave when an index was made."""
    found = encode(embedder, _PROBES)
    if found.shape[1] != probes.shape[1]:
        raise CheckpointError(
            f"{folder} has vectors of width {probes.shape[1]}, but the encoder's are of width "
            f"{found.shape[1]}: the index was made with another"
        )
    cosine = float((found * probes).sum(axis=1).min()) if found.shape == probes.shape else 0.0
    if cosine < _LEAST_COSINE:
        raise CheckpointError(
            f"{folder} was made with another encoder: the vectors of some texts have a cosine of "
            f"{cosine:.4f} to what they were, where at least {_LEAST_COSINE} is expected.  Index "
            "the texts again, or name the encoder that it was made with"
        )
