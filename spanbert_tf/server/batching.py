"""Requests that wait at the same time, answered in one call.

A network answers 32 texts together faster than one by one, unless much of it is padding: a batch is
as wide as its longest text.  While it computes, requests wait; those that are alike in how they ask
are then answered together, in parts of like length, the shortest first.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from spanbert_tf.server.errors import too_large, too_many

_log = logging.getLogger(__name__)

# Called with how rows are asked for and the rows; gives what is sliced as the rows are.
Run = Callable[[Any, list[Any]], Any]
# What a call takes beside the texts, in characters that are computed meanwhile.
CALL = 100


@dataclass
class Piece:
    """Rows of one request, at most as many as a batch has."""

    key: Hashable
    rows: Sequence[Any]
    deadline: float
    answer: Future = field(default_factory=Future)


def parts_of_like_length(
    pieces: Sequence[Piece], length: Callable[[Any], int]
) -> list[list[Piece]]:
    """Parts a batch where calls of their own cost less than padding, by dynamic programming.

    Args:
        pieces: The batch.
        length: Of a row, in characters.

    Returns:
        Batches that cost least, the shortest rows first.
    """
    longest = {id(piece): max(map(length, piece.rows)) for piece in pieces}
    pieces = sorted(pieces, key=lambda piece: longest[id(piece)])
    # Of the first so many pieces: what they cost, and where their last part begins.
    best = [(0, 0)]
    for end, last in enumerate(pieces, 1):
        rows, costs = 0, []
        for begin in range(end - 1, -1, -1):
            rows += len(pieces[begin].rows)
            costs.append((best[begin][0] + rows * longest[id(last)] + CALL, begin))
        best.append(min(costs))
    parts, end = [], len(pieces)
    while end:
        begin = best[end][1]
        parts.append(pieces[begin:end])
        end = begin
    return parts[::-1]


class Batcher:
    """One worker thread, and the requests that wait for it.

    Args:
        run: What answers a batch.  If it raises, each piece of the batch is tried alone, so that
            no request fails by its neighbours.
        max_batch_size: Rows of a batch.
        timeout: Seconds that rows wait for others while the worker has nothing to do.
        max_queue: Rows that may wait.
        on_batch: Told the rows of each batch before it is run.
        length: Of a row, in characters: what it costs to compute it, and all beside it that are
            shorter.  By default all rows cost the same.
    """

    def __init__(
        self,
        run: Run,
        max_batch_size: int,
        timeout: float,
        max_queue: int,
        on_batch: Callable[[int], None] = lambda _: None,
        length: Callable[[Any], int] = lambda _: 1,
    ) -> None:
        self._run = run
        self._length = length
        self._max_batch_size = max_batch_size
        self._timeout = timeout
        self._max_queue = max_queue
        self._on_batch = on_batch
        self._waiting: deque[Piece] = deque()
        self._waiting_rows = 0
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="batches", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return self._waiting_rows

    def submit(self, key: Hashable, rows: Sequence[Any]) -> list[Future]:
        """Hands in a request.

        Args:
            key: How it asks: only rows of equal keys are answered together.
            rows: What it asks for.

        Returns:
            One future for each part of the rows, in their order; of no rows none.

        Raises:
            RequestError: 429 while there is no room for the rows, 413 if there never is.
            RuntimeError: The batcher is closed.
        """
        if len(rows) > self._max_queue:
            raise too_large(f"{len(rows)} texts in one request; expected {self._max_queue} at most")
        deadline = time.monotonic() + self._timeout
        size = self._max_batch_size
        pieces = [
            Piece(key, rows[begin : begin + size], deadline) for begin in range(0, len(rows), size)
        ]
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            if self._waiting_rows + len(rows) > self._max_queue:
                self._drop_cancelled()
            if self._waiting_rows + len(rows) > self._max_queue:
                raise too_many(f"{self._waiting_rows} texts are waiting already; try again later")
            self._waiting.extend(pieces)
            self._waiting_rows += len(rows)
            self._changed.notify()
        return [piece.answer for piece in pieces]

    def hurry(self) -> None:
        """From now on no row waits for others."""
        with self._changed:
            self._timeout = 0.0
            for piece in self._waiting:
                piece.deadline = 0.0
            self._changed.notify()

    def close(self, wait: bool = True) -> None:
        """Takes no more requests; those that wait are answered.

        Args:
            wait: Whether to return only when they are.
        """
        self.hurry()
        with self._changed:
            self._closed = True
            self._changed.notify()
        if wait:
            self._worker.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            # Those whose client is gone are left out.
            batch = [piece for piece in batch if piece.answer.set_running_or_notify_cancel()]
            for part in parts_of_like_length(batch, self._length):
                self._answer(part)

    def _next_batch(self) -> list[Piece]:
        """Waits for a batch; there is none once the batcher is closed and nothing waits."""
        with self._changed:
            batch: list[Piece] = []
            while not batch:  # What was waited for may have been dropped meanwhile.
                while not self._waiting:
                    if self._closed:
                        return []
                    self._changed.wait()
                first = self._waiting[0]
                while (left := first.deadline - time.monotonic()) > 0:
                    if self._is_full(first.key):
                        break
                    self._changed.wait(left)
                batch = self._take(first.key)
            return batch

    def _drop_cancelled(self) -> None:
        """Makes room where clients are gone."""
        self._waiting = deque(piece for piece in self._waiting if not piece.answer.cancelled())
        self._waiting_rows = sum(len(piece.rows) for piece in self._waiting)

    def _is_full(self, key: Hashable) -> bool:
        rows = sum(len(piece.rows) for piece in self._waiting if piece.key == key)
        return rows >= self._max_batch_size

    def _take(self, key: Hashable) -> list[Piece]:
        """Takes what is asked for in one way, in order, as much as a batch has room for."""
        batch: list[Piece] = []
        left: list[Piece] = []
        room = self._max_batch_size
        for piece in self._waiting:
            if piece.key == key and len(piece.rows) <= room:
                batch.append(piece)
                room -= len(piece.rows)
                continue
            if piece.key == key:  # None of its kind overtakes it.
                room = 0
            left.append(piece)
        self._waiting = deque(left)
        self._waiting_rows -= sum(len(piece.rows) for piece in batch)
        return batch

    def _answer(self, batch: list[Piece]) -> None:
        rows = [row for piece in batch for row in piece.rows]
        try:
            self._on_batch(len(rows))
            answers = self._run(batch[0].key, rows)
            begin, parts = 0, []
            for piece in batch:
                parts.append(answers[begin : begin + len(piece.rows)])
                begin += len(piece.rows)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            _log.info("a batch of %d requests failed; each is tried alone: %s", len(batch), error)
            for piece in batch:
                self._answer([piece])
            return
        for piece, part in zip(batch, parts, strict=True):
            piece.answer.set_result(part)
