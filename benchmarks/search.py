"""Search among a million vectors: exact against what the memory gives, and approximate, in one run.

    python benchmarks/search.py [--vectors 1000000] [--width 384] [--rounds 5]

The exact search of one query has to read all vectors, so that its limit is how fast all cores
read them, which is measured here.  Of 64 queries it is that or the bare products, whichever takes
longer: the same calls of BLAS, and nothing kept of their results.  Speed does not depend on the
vectors, but what an approximate search misses does: between vectors that are random in all of 384
directions there is no near and far.  Those here are random in 32 directions, with a tenth of noise
in all of them, and lie about as near to one another as those of texts.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _support import Goal, machine, median_ratio, report_goals, time_in_turn

from spanbert_tf.search.graph import Graph
from spanbert_tf.search.unit_vectors import normalize
from spanbert_tf.search.vector_store import STORES, VectorStore

K = 10
BATCHES = (1, 64)
DIRECTIONS, NOISE = 32, 0.1
READING, PRODUCTS, APPROXIMATE = "reading", "products", "approximate"
MOST_OF_LIMIT, LEAST_RECALL, LEAST_SPEED = 1.2, 0.95, 20.0


def random_vectors(count: int, width: int, seed: int) -> np.ndarray:
    """Vectors near to a plane of few directions: float32 `[count, width]`, of length 1."""
    directions = np.random.default_rng(0).standard_normal((DIRECTIONS, width), np.float32)
    generator = np.random.default_rng(seed)
    vectors = np.empty((count, width), np.float32)
    for begin in range(0, count, 2**16):
        part = vectors[begin : begin + 2**16]
        part[:] = generator.standard_normal((len(part), DIRECTIONS), np.float32) @ directions
        noise = generator.standard_normal(part.shape, np.float32)
        part += NOISE * np.sqrt(np.float32(DIRECTIONS)) * noise
        part[:] = normalize(part)
    return vectors


def reading_side(vectors: np.ndarray) -> Callable[[], None]:
    """Reads all numbers once, with every core."""
    parts = np.array_split(vectors, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(len(parts))

    def run() -> None:
        list(pool.map(np.max, parts))

    return run


def products_side(store: VectorStore, queries: np.ndarray) -> Callable[[], None]:
    """The products of the exact search, in blocks as it has them."""
    size = min(store.most_rows, max(2**22 // len(queries), 1024))

    def run() -> None:
        for _, arrays in store.blocks(size):
            store.block_scores(queries, arrays)

    return run


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """The part of the exact hits that was found."""
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]))


def side(
    search: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]], queries: np.ndarray
) -> Callable[[], None]:
    def run() -> None:
        search(queries, K)

    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    print(machine("numpy", "usearch"), flush=True)
    vectors = random_vectors(arguments.vectors, arguments.width, seed=1)
    queries = random_vectors(max(BATCHES), arguments.width, seed=2)
    stores = {}
    for kind, store_class in STORES.items():
        stores[kind] = store_class(arguments.width)
        stores[kind].append(stores[kind].pack(vectors))  # float32 is there once for all.
    begun = time.perf_counter()
    graph = Graph(stores["float32"])
    print(f"graph of {len(graph):,} vectors: {time.perf_counter() - begun:.0f} s", flush=True)

    searches = {kind: store.search for kind, store in stores.items()} | {APPROXIMATE: graph.search}
    sides: dict[tuple[str, int], Callable[[], object]] = {}
    for batch in BATCHES:
        asked = queries[:batch]
        sides[PRODUCTS, batch] = products_side(stores["float32"], asked)
        sides |= {(name, batch): side(search, asked) for name, search in searches.items()}
    sides[READING, 1] = reading_side(vectors)
    seconds = time_in_turn(sides, arguments.rounds, warm_ups=1)

    exact = stores["float32"].search(queries, K)[1]
    recalls = {name: recall(search(queries, K)[1], exact) for name, search in searches.items()}
    sizes = {kind: store.nbytes for kind, store in stores.items()}
    with tempfile.TemporaryDirectory() as folder:
        graph.write(Path(folder) / "graph")
        sizes[APPROXIMATE] = sizes["float32"] + (Path(folder) / "graph").stat().st_size

    count, width = vectors.shape
    reading = seconds[READING, 1]
    rate = vectors.nbytes / np.median(reading) / 1e9
    print(f"{count:,} vectors of {width} numbers, the {K} nearest; memory reads {rate:.1f} GB/s")
    print(f"{'milliseconds a call, batch of':<30}{'1':>9}{'64':>9}{'MB':>9}{f'recall@{K}':>11}")
    for name in (READING, PRODUCTS, *searches):
        times = [1e3 * np.median(seconds.get((name, batch), np.nan)) for batch in BATCHES]
        shown = "".join(f"{'' if np.isnan(each) else f'{each:.2f}':>9}" for each in times)
        size = f"{sizes[name] / 1e6:>9,.0f}{recalls[name]:>11.3f}" if name in searches else ""
        print(f"{name:<30}{shown}{size}")

    goals = []
    for batch in BATCHES:
        limit = np.maximum(reading, seconds[PRODUCTS, batch]) if batch > 1 else reading
        exact_seconds = seconds["float32", batch]
        of = "reading or products" if batch > 1 else "reading"
        goals += [
            Goal(
                f"exact search, batch {batch}, seconds through those of {of}",
                median_ratio(exact_seconds, limit),
                MOST_OF_LIMIT,
                at_most=True,
            ),
            Goal(
                f"approximate search, batch {batch}, faster than exact",
                median_ratio(exact_seconds, seconds[APPROXIMATE, batch]),
                LEAST_SPEED,
                "{:.1f}x",
            ),
        ]
    found = Goal(
        f"approximate search, recall@{K}", recalls[APPROXIMATE], LEAST_RECALL, form="{:.3f}"
    )
    return report_goals([*goals, found])


if __name__ == "__main__":
    sys.exit(main())
