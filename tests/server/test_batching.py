"""Batches of requests, with a model that answers when it is told to."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.server.batching import CALL, Batcher, Piece, parts_of_like_length
from spanbert_tf.server.errors import RequestError

NEVER = 3600.0  # seconds; a test that waits so long fails


class Held:
    """Doubles numbers, a batch each time that it is let go on; knows no negative ones."""

    def __init__(self) -> None:
        self.batches: list[tuple[Any, list[int]]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, key: Any, rows: list[int]) -> list[int]:
        self.batches.append((key, rows))
        self.begun.release()
        assert self.go.acquire(timeout=30)
        if min(rows) < 0:
            raise ValueError(f"{min(rows)} is negative")
        return [2 * row for row in rows]

    def let_all_go(self) -> None:
        self.go.release(1000)


@pytest.fixture
def held() -> Held:
    return Held()


def busy(held: Held, queue: int = 100) -> Batcher:
    """A batcher whose worker is held at a first request, so that all others wait."""
    batcher = Batcher(held, 4, 0.0, queue)
    batcher.submit("first", [0])
    assert held.begun.acquire(timeout=30)
    return batcher


def results(*requests: list[Future]) -> list[list[int]]:
    return [[x for future in request for x in future.result(timeout=30)] for request in requests]


def test_requests_that_wait_are_answered_together(held: Held):
    batcher = busy(held)
    requests = [batcher.submit("a", rows) for rows in ([1], [2, 3], [4])]
    held.let_all_go()
    assert results(*requests) == [[2], [4, 6], [8]]
    assert held.batches == [("first", [0]), ("a", [1, 2, 3, 4])]
    batcher.close()


def test_no_batch_is_larger_than_asked_and_none_overtakes(held: Held):
    batcher = busy(held)
    requests = [batcher.submit("a", rows) for rows in ([1, 2], [3, 4, 5], [6], [*range(7, 16)])]
    held.let_all_go()
    assert results(*requests) == [[2, 4], [6, 8, 10], [12], [*range(14, 32, 2)]]
    of_batches = [rows for _, rows in held.batches[1:]]
    assert of_batches == [[1, 2], [3, 4, 5, 6], [7, 8, 9, 10], [11, 12, 13, 14], [15]]
    batcher.close()


def test_what_is_asked_in_other_ways_is_answered_apart(held: Held):
    batcher = busy(held)
    requests = [batcher.submit(key, [row]) for row, key in enumerate("abab")]
    held.let_all_go()
    assert results(*requests) == [[0], [2], [4], [6]]
    assert held.batches[1:] == [("a", [0, 2]), ("b", [1, 3])]
    batcher.close()


def test_short_texts_are_not_padded_to_long_ones(held: Held):
    batcher = Batcher(held, 8, 0.0, 100, length=lambda row: row)
    batcher.submit("first", [0])
    assert held.begun.acquire(timeout=30)
    requests = [batcher.submit("a", rows) for rows in ([900], [10, 20], [800], [15])]
    held.let_all_go()
    assert results(*requests) == [[1800], [20, 40], [1600], [30]]
    assert [rows for _, rows in held.batches[1:]] == [[15, 10, 20], [800, 900]]
    batcher.close()


@given(st.lists(st.lists(st.integers(1, 500), min_size=1, max_size=3), min_size=1, max_size=7))
def test_parts_of_a_batch_cost_least(lengths: list[list[int]]):
    pieces = [Piece("a", rows, 0.0) for rows in lengths]
    parts = parts_of_like_length(pieces, length=lambda row: row)
    assert sorted(id(piece) for part in parts for piece in part) == sorted(map(id, pieces))

    def cost(parts: list[list[Piece]]) -> int:
        rows = [[row for piece in part for row in piece.rows] for part in parts]
        return sum(len(part) * max(part) + CALL for part in rows)

    ways = partitions(pieces)
    assert cost(parts) == min(map(cost, ways))


def partitions(items: list[Any]) -> Iterator[list[list[Any]]]:
    """All ways to part a list, in whatever order."""
    if not items:
        yield []
        return
    first, *rest = items
    for parts in partitions(rest):
        yield [[first], *parts]
        for number, part in enumerate(parts):
            yield [*parts[:number], [first, *part], *parts[number + 1 :]]


def test_a_full_batch_waits_for_nobody(held: Held):
    held.let_all_go()
    batcher = Batcher(held, 3, NEVER, 100)
    requests = [batcher.submit("a", [row]) for row in (1, 2, 3)]
    assert results(*requests) == [[2], [4], [6]]
    assert held.batches == [("a", [1, 2, 3])]
    batcher.close()


def test_hurry_ends_the_waiting_for_others(held: Held):
    held.let_all_go()
    batcher = Batcher(held, 3, NEVER, 100)
    request = batcher.submit("a", [1])
    assert not request[0].done()
    batcher.hurry()
    assert results(request, batcher.submit("a", [2])) == [[2], [4]]
    batcher.close()


def test_an_error_is_of_one_request_alone(held: Held):
    batcher = busy(held)
    good, bad, other = (batcher.submit("a", rows) for rows in ([1], [-5], [2, 3]))
    held.let_all_go()
    assert results(good, other) == [[2], [4, 6]]
    with pytest.raises(ValueError, match="-5 is negative"):
        bad[0].result(timeout=30)
    assert [rows for _, rows in held.batches[1:]] == [[1, -5, 2, 3], [1], [-5], [2, 3]]
    batcher.close()


def test_a_queue_that_is_full_refuses_and_holds_nothing_more(held: Held):
    batcher = busy(held, queue=10)
    kept = batcher.submit("a", [*range(8)])
    statuses = []
    for _ in range(100_000):
        try:
            batcher.submit("a", [1, 2, 3])
        except RequestError as error:
            statuses.append(error.status)
    assert (statuses, batcher.waiting) == ([429] * 100_000, 8)
    with pytest.raises(RequestError, match="8 texts are waiting already"):
        batcher.submit("a", [1, 2, 3])
    with pytest.raises(RequestError, match="11 texts in one request; expected 10 at most") as never:
        batcher.submit("a", [*range(11)])
    assert never.value.status == 413
    held.let_all_go()
    assert results(kept, batcher.submit("a", [9])) == [[*range(0, 16, 2)], [18]]
    batcher.close()


def test_requests_whose_client_is_gone_are_left_out(held: Held):
    batcher = busy(held)
    gone, there = batcher.submit("a", [1]), batcher.submit("a", [2])
    assert gone[0].cancel()
    held.let_all_go()
    assert results(there) == [[4]]
    assert held.batches[1:] == [("a", [2])]
    batcher.close()


def test_what_waits_is_answered_before_the_end(held: Held):
    batcher = busy(held)
    requests = [batcher.submit("a", [row]) for row in (1, 2)]
    batcher.close(wait=False)
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", [3])
    held.let_all_go()
    batcher.close()
    assert results(*requests) == [[2], [4]]


def test_sizes_of_batches_are_told(held: Held):
    held.let_all_go()
    told: list[int] = []
    batcher = Batcher(held, 2, 0.0, 10, told.append)
    results(batcher.submit("a", [1, 2, 3]))
    batcher.close()
    assert told == [2, 1]
