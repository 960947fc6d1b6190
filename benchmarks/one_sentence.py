"""One short sentence in, its label out: seconds of a call, warm, against others, in one run.

    python benchmarks/one_sentence.py [--rounds 7] [--calls 40]

Encoder of 6 layers x 384 with the MiniLM weights under a head of two classes, float32.  Ours is
asked in each of its ways: in LiteRT, by `load_task(...).classify([text])` after `export_litert`,
also with weights of int8; the way a server asks, by `load_task(...).classify([text])` after
`export_task`; and in Python, by `SpanBertTextClassifier.classify([text])`.  The peers, each in a
process of its own, are transformers' text-classification pipeline, and ONNX Runtime on a graph
fused for BERT, with transformers' fast tokenizer, also with weights of int8 (dynamic range).
Beside them the matrix products of the layers alone, in TensorFlow, on as many rows as the sentence
has tokens: below that no SavedModel gets.  The sides take turns of some calls, each timed; a turn's
first is timed too, so that a side that falls asleep pays for it in p95.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _peers import Peer, peers_python
from _support import Goal, machine, median_ratio, report_goals, time_in_turn
from peers._protocol import time_each

import spanbert_tf
from spanbert_tf.checkpoints.convert import load_hugging_face
from spanbert_tf.handles import bundled_minilm

TEXT = "A gripping story, beautifully told."
LITERT, LITERT_INT8 = "spanbert_tf, LiteRT", "spanbert_tf, LiteRT int8"
SERVED, IN_PYTHON = "spanbert_tf, SavedModel", "spanbert_tf, in Python"
PIPELINE = "transformers pipeline"
ONNX, ONNX_INT8 = "ONNX Runtime", "ONNX Runtime int8"
PRODUCTS = "products alone, TensorFlow"
# Ours, the peer, and the most of the peer's seconds that ours may take.
GOALS = (
    (LITERT, PIPELINE, 0.5),
    (SERVED, PIPELINE, 0.5),
    (IN_PYTHON, PIPELINE, 0.85),
    (LITERT, ONNX, 1.0),
    (LITERT_INT8, ONNX_INT8, 1.0),
)


def make_classifier() -> spanbert_tf.SpanBertTextClassifier:
    backbone, tokenizer = load_hugging_face(bundled_minilm())
    preprocessor = spanbert_tf.SpanBertTextClassifierPreprocessor(tokenizer)
    return spanbert_tf.SpanBertTextClassifier(
        backbone, preprocessor=preprocessor, class_names=("bad", "good")
    )


def make_products(classifier: spanbert_tf.SpanBertTextClassifier) -> Callable[[], object]:
    """The products of all layers with dense kernels, for one row a token, and nothing else."""
    backbone = classifier.backbone
    tokens = int(classifier.preprocessor.tokenizer([TEXT]).row_lengths()[0]) + 2
    kernels = [
        tuple(
            dense.kernel.value
            for dense in (
                layer.attention.qkv_dense,
                layer.attention.output_dense,
                layer.intermediate_dense,
                layer.output_dense,
            )
        )
        for layer in backbone.transformer_layers
    ]
    states = tf.random.stateless_normal((tokens, backbone.hidden_dim), (0, 0))

    @tf.function(autograph=False)
    def products(x: tf.Tensor) -> tf.Tensor:
        for qkv, output, intermediate, last in kernels:
            mixed = tf.matmul(x, qkv)[:, : backbone.hidden_dim]
            x = tf.matmul(tf.matmul(tf.matmul(mixed, output), intermediate), last)
        return x

    return lambda: products(states)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=40, help="in a turn")
    arguments = parser.parse_args()

    classifier = make_classifier()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        spanbert_tf.export_task(classifier, folder / "served")
        spanbert_tf.export_litert(classifier, folder / "litert")
        spanbert_tf.export_litert(classifier, folder / "int8", weights="int8")
        ours = {
            LITERT: spanbert_tf.load_task(folder / "litert"),
            LITERT_INT8: spanbert_tf.load_task(folder / "int8"),
            SERVED: spanbert_tf.load_task(folder / "served"),
            IN_PYTHON: classifier,
        }

        def timed(call: Callable[[], object]) -> Callable[[], np.ndarray]:
            return lambda: np.array(time_each(call, arguments.calls))

        sides = {
            name: timed(lambda side=side: side.classify([TEXT])) for name, side in ours.items()
        }
        sides[PRODUCTS] = timed(make_products(classifier))
        python = peers_python(PIPELINE, ONNX, ONNX_INT8)
        if python:
            options = ("sentence", bundled_minilm(), TEXT, arguments.calls)
            sides[PIPELINE] = Peer("torch_side.py", *options, python=python)
            sides[ONNX] = Peer("onnx_side.py", *options, python=python)
            sides[ONNX_INT8] = Peer("onnx_side.py", *options, "--int8", python=python)
        versions = {peer.facts["versions"] for peer in sides.values() if isinstance(peer, Peer)}
        print("; ".join([machine("tensorflow", "keras"), *sorted(versions)]), flush=True)
        seconds = time_in_turn(sides, arguments.rounds)

    medians = {name: np.median(values, axis=1) for name, values in seconds.items()}
    print(f"{'one sentence, 6 x 384':<26}{'p50, ms':>9}{'p95, ms':>9}{'LiteRT is faster':>18}")
    for name, values in seconds.items():
        p50, p95 = np.percentile(values, (50, 95)) * 1e3
        faster = median_ratio(medians[name], medians[LITERT])
        print(f"{name:<26}{p50:>9.2f}{p95:>9.2f}{'' if name == LITERT else f'{faster:.2f}x':>18}")
    goals = [
        Goal(
            f"one sentence, {way}, p50 in parts of {peer}",
            median_ratio(medians[way], medians[peer]) if python else None,
            goal,
            at_most=True,
        )
        for way, peer, goal in GOALS
    ]
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
