"""Texts of all lengths in, mean-pooled vectors out: ours against the ways others do it, in one run.

    python benchmarks/text_vectors.py [--texts 600] [--default-texts 90] [--rounds 5]

Encoder of 6 layers x 384 with the MiniLM weights; as many texts of SST-2 (phrases), of the movie
reviews and of the contexts of question answering, in random order, cut at 512 tokens.  End to end:
tokenisation counts.  Ours puts texts of like length into batches of a token budget, as the tasks'
`predict` does; in LiteRT too, by `load_litert(...).encode_text(texts)` after
`export_litert_encoder`.
Each peer has a process of its own:

- transformers at its best: texts sorted by length, each batch padded to its longest, SDPA,
  inference mode, the fastest batch size of 16, 32 and 64, found before;
- ONNX Runtime: the same, on a graph fused for BERT (float32 alone);
- with the defaults that users meet: transformers' feature-extraction pipeline, and KerasHub's
  `predict`, which pads every text to 512.  They get fewer texts, and time per token counts.

The useful arithmetic, of real tokens alone, is a part of what large matrix products reach.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _peers import Peer, peers_python
from _support import (
    GEMM_GFLOP,
    Goal,
    data_folder,
    gemm_side,
    machine,
    median_ratio,
    read_movie_reviews,
    report_goals,
    time_in_turn,
)

import spanbert_tf
from spanbert_tf.checkpoints.convert import load_hugging_face
from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.data.readers.tables import read_examples
from spanbert_tf.export.litert_loading import TOKEN_BUDGET as TOKEN_BUDGET_IN_LITERT
from spanbert_tf.handles import bundled_minilm
from spanbert_tf.models.optimizers import resolve_jit_compile
from spanbert_tf.models.text_batches import NUM_BUCKETS, TOKEN_BUDGET

SEQUENCE_LENGTH = 512
LAYERS, HIDDEN = 6, 384
OURS, OURS_16 = "spanbert_tf, float32", "spanbert_tf, bfloat16"
LITERT, LITERT_INT8 = "spanbert_tf, LiteRT", "spanbert_tf, LiteRT int8"
TORCH, TORCH_16 = "transformers, float32", "transformers, bfloat16"
ONNX, PIPELINE, HUB = "ONNX Runtime, float32", "transformers pipeline", "KerasHub predict"
DTYPES = {OURS: "float32", OURS_16: "bfloat16"}  # Of weights too, on all sides.
LITERT_WEIGHTS = {LITERT: "float32", LITERT_INT8: "int8"}
# How much faster ours is, by side and peer; the part of the matrix products.
GOALS = (
    *((ours, TORCH, 1.4) for ours in (OURS, LITERT)),
    *((ours, peer, 4.0) for ours in (OURS, LITERT) for peer in (PIPELINE, HUB)),
    (OURS_16, TORCH_16, 1.3),
)
SHARE_GOAL = 0.75
# Cosine of a side's vectors to ours in float32; KerasHub's GELU is the approximate one.
LEAST_COSINE = 0.99


@dataclass(frozen=True)
class Side:
    """One way to vectors.

    Attributes:
        run: See `time_in_turn`.
        part: How many of the texts it gets, the first ones.
        note: What the table says of it.
        vectors: The file that its vectors are in, or themselves.
    """

    run: Callable[[], object]
    part: int
    note: str
    vectors: Path | np.ndarray


def read_contexts(folder: Path) -> list[str]:
    return [
        paragraph["context"]
        for path in sorted(folder.glob("*.json"))
        for article in json.loads(path.read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
    ]


def mixed_texts(folder: Path, number: int, seed: int = 0) -> list[str]:
    """As many texts of each of three data sets, in random order."""
    sources = (
        [example.text for example in read_examples(folder / "sst2" / "train.tsv")],
        read_movie_reviews(folder / "movie_reviews" / "movie_reviews.zip"),
        read_contexts(folder / "qa"),
    )
    random = np.random.default_rng(seed)
    texts = [
        source[row]
        for source in sources
        for row in random.permutation(len(source))[: number // len(sources)]
    ]
    return [texts[row] for row in random.permutation(len(texts))]


class OurVectors:
    """The encoder with the mean of its final states, and what `predict` of a task does."""

    def __init__(self, texts: list[str], dtype: str) -> None:
        backbone, self.tokenizer = load_hugging_face(bundled_minilm(), dtype)
        self.model = keras.Model(backbone.input, backbone.pooled_states(backbone.input, "mean"))
        self.model.compile(jit_compile=resolve_jit_compile("auto"))
        self.texts = texts

    def __call__(self) -> np.ndarray:
        """Gives float32 `[n, H]`, in the order of the texts."""
        batches = self.batches()
        return batches.in_row_order(self.model.predict(batches.dataset(), verbose=0))

    def batches(self) -> BucketedBatches:
        """Tokenises the texts and puts them into batches."""
        return BucketedBatches.from_texts(
            self.texts,
            tokenizer=self.tokenizer,
            sequence_length=SEQUENCE_LENGTH,
            token_budget=TOKEN_BUDGET,
            num_buckets=NUM_BUCKETS,
        )


def without_result(call: Callable[[], object]) -> Callable[[], None]:
    """What `time_in_turn` takes: it would take an array for times."""

    def run() -> None:
        call()

    return run


def make_sides(texts: list[str], default_texts: int, folder: Path) -> dict[str, Side]:
    sides = {}
    for name, dtype in DTYPES.items():
        ours = OurVectors(texts, dtype)
        note = f"{ours.batches().padding_report().waste:.1%} padding"
        sides[name] = Side(without_result(ours), len(texts), note, ours())

    backbone, tokenizer = load_hugging_face(bundled_minilm())
    for name, weights in LITERT_WEIGHTS.items():
        path = folder / weights
        spanbert_tf.export_litert_encoder(backbone, tokenizer, path, weights=weights)
        litert = spanbert_tf.load_litert(path)
        run = without_result(lambda encoder=litert: encoder.encode_text(texts))
        note = f"batches of {TOKEN_BUDGET_IN_LITERT} tokens"
        sides[name] = Side(run, len(texts), note, litert.encode_text(texts))

    def peer(name: str, script: str, command: str, part: int, *options: str) -> None:
        texts_file = folder / f"{part}.json"
        texts_file.write_text(json.dumps(texts[:part]), "utf-8")
        vectors = folder / f"{len(sides)}.npy"
        python = None if name == HUB else peers
        run = Peer(script, command, bundled_minilm(), texts_file, vectors, *options, python=python)
        note = "one at a time" if name == PIPELINE else f"batches of {run.facts['batch_size']}"
        sides[name] = Side(run, part, note, vectors)

    peers = peers_python(TORCH, TORCH_16, ONNX, PIPELINE)
    default_texts = min(default_texts, len(texts))
    if peers:
        peer(TORCH, "torch_side.py", "vectors", len(texts))
        peer(TORCH_16, "torch_side.py", "vectors", len(texts), "--dtype", "bfloat16")
        peer(ONNX, "onnx_side.py", "vectors", len(texts))
        peer(PIPELINE, "torch_side.py", "pipeline_vectors", default_texts)
    peer(HUB, "keras_hub_side.py", "vectors", default_texts)
    return sides


def least_cosine(side: Side, expected: np.ndarray) -> float:
    vectors = np.load(side.vectors) if isinstance(side.vectors, Path) else side.vectors
    expected = expected[: side.part]
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((vectors * expected).sum(1) / norms).min())


def gflop_of(lengths: np.ndarray) -> float:
    """Arithmetic of the encoder's products for texts of these tokens, padding not counted."""
    tokens, pairs = lengths.sum(), (lengths.astype(np.float64) ** 2).sum()
    return LAYERS * (24 * tokens * HIDDEN**2 + 4 * pairs * HIDDEN) / 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--default-texts", type=int, default=90, help="with peers' defaults")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    texts = mixed_texts(data_folder(), arguments.texts)
    with tempfile.TemporaryDirectory() as folder:
        sides = make_sides(texts, arguments.default_texts, Path(folder))
        versions = {s.run.facts["versions"] for s in sides.values() if isinstance(s.run, Peer)}
        print("; ".join([machine("tensorflow", "keras"), *sorted(versions)]), flush=True)
        expected = sides[OURS].vectors
        cosines = {name: least_cosine(side, expected) for name, side in sides.items()}
        # Each has run to give its vectors: that was its warm-up.
        gemms = {dtype: gemm_side(dtype) for dtype in DTYPES.values()}
        runs = gemms | {name: side.run for name, side in sides.items()}
        seconds = time_in_turn(runs, arguments.rounds, warm_ups=1)

    lengths = OurVectors(texts, "float32").batches().lengths
    tokens = {name: int(lengths[: side.part].sum()) for name, side in sides.items()}
    per_token = {name: seconds[name] / tokens[name] for name in sides}
    print(f"{len(texts)} texts, {tokens[OURS]:,} tokens, {lengths.mean():.0f} a text")
    print(
        f"{'texts to vectors, 6 x 384':<26}{'texts/s':>8}{'tokens/s':>10}{'of products':>13}"
        f"{'ours is faster':>16}{'least cosine':>14}  of them"
    )
    shares = {}
    for name, side in sides.items():
        of_dtype = OURS_16 if name in (OURS_16, TORCH_16) else OURS
        gflop = gflop_of(lengths[: side.part])
        reached, most = gflop / seconds[name], GEMM_GFLOP / seconds[DTYPES[of_dtype]]
        shares[name] = float(np.median(reached / most))
        faster = median_ratio(per_token[name], per_token[of_dtype])
        median = float(np.median(seconds[name]))
        print(
            f"{name:<26}{side.part / median:>8.1f}{tokens[name] / median:>10,.0f}"
            f"{shares[name]:>13.0%}{'' if name.startswith('spanbert_tf') else f'{faster:.2f}x':>16}"
            f"{cosines[name]:>14.4f}  {side.part} texts, {side.note}"
        )
    for dtype in gemms:
        print(f"matrix products, {dtype}: {GEMM_GFLOP / np.median(seconds[dtype]):.0f} GFLOP/s")
    assert min(cosines.values()) > LEAST_COSINE, "vectors differ: not the same work"
    goals = [
        Goal(
            f"texts to vectors, {ours} against {peer}",
            median_ratio(per_token[peer], per_token[ours]) if peer in sides else None,
            goal,
        )
        for ours, peer, goal in GOALS
    ]
    parts = [
        Goal(
            f"texts to vectors, {ours}, part of matrix products", shares[ours], SHARE_GOAL, "{:.1%}"
        )
        for ours in (OURS, LITERT)
    ]
    return report_goals([*goals, *parts])


if __name__ == "__main__":
    sys.exit(main())
