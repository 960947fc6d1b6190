"""Classifiers that read documents of any length."""

import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest

from spanbert_tf import SpanBertBackbone, SpanBertTextClassifier
from spanbert_tf.models.text_batches import TOKEN_BUDGET
from tests.conftest import ROOT
from tests.tasks.test_text_classifier import LETTERS, VOCABULARY, make_preprocessor

WINDOW = 8


def make_classifier(sequence_length: int, **options: Any) -> SpanBertTextClassifier:
    keras.utils.set_random_seed(3)
    backbone = SpanBertBackbone(
        len(VOCABULARY),
        2,
        2,
        16,
        24,
        max_sequence_length=WINDOW,
        long_positions="restart",
        **{"attention": "bucketed", "block_size": WINDOW, **options},
    )
    return SpanBertTextClassifier(
        backbone, 2, preprocessor=make_preprocessor(sequence_length), pooling="mean"
    )


def random_text(words: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(LETTERS, words))


def test_windows_are_read_as_if_each_stood_alone():
    classifier = make_classifier(100, neighbors=0, global_first_token=False)
    text = random_text(27)
    dense = SpanBertBackbone.from_config(
        {**classifier.backbone.get_config(), "attention": "dense", "long_positions": None}
    )
    dense.set_weights(classifier.backbone.get_weights())
    tokenizer = classifier.preprocessor.tokenizer
    ids = np.array([tokenizer.cls_token_id, *tokenizer(text), tokenizer.sep_token_id])
    states = []
    for begin in range(0, len(ids), WINDOW):
        window = ids[None, begin : begin + WINDOW]
        features = {
            "token_ids": window,
            "segment_ids": np.zeros_like(window),
            "padding_mask": np.ones_like(window),
        }
        states.append(keras.ops.convert_to_numpy(dense(features)["sequence_output"])[0])
    mean = np.concatenate(states).mean(axis=0, keepdims=True)
    expected = classifier.output_dense(classifier.pooled_dense(mean))
    logits = classifier.predict([random_text(3), text], verbose=0)[1:]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_answers_do_not_depend_on_the_batch():
    classifier = make_classifier(10_000)
    texts = [random_text(words, seed=words) for words in (1, 6, 7, 300, 5, 0, 1000, 40)]
    together = classifier.predict(texts, verbose=0)
    alone = np.concatenate([classifier.predict([text], verbose=0) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(classifier.predict(texts, 3, verbose=0), alone, atol=1e-5)


def test_prediction_has_batches_of_so_many_tokens():
    classifier = make_classifier(100_000)
    texts = [random_text(10)] * 2000 + [random_text(100)] * 200 + [random_text(20_000)] * 2
    plan = classifier.batches_of(classifier.encode([texts])).plan()
    rows = np.diff(plan.splits)
    padded = rows * plan.lengths
    assert rows[plan.lengths > TOKEN_BUDGET].tolist() == [1, 1]
    assert padded.max() < 20_002 * 1.002
    assert TOKEN_BUDGET / 2 < np.median(padded) <= TOKEN_BUDGET
    assert len(plan) < 2000 * 12 / TOKEN_BUDGET + 200 * 102 / TOKEN_BUDGET + 2 + 2


def test_rows_longer_than_the_positions_need_a_rule():
    backbone = SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=WINDOW)
    with pytest.raises(ValueError, match="`long_positions='restart'`"):
        SpanBertTextClassifier(backbone, 2, preprocessor=make_preprocessor(9))


@pytest.mark.slow
def test_memory_of_a_long_document_is_linear():
    # Scores of 400,000 tokens by as many would take 1,280 GB.
    source = (
        "from tests.tasks.test_long_texts import make_classifier, random_text\n"
        "from pathlib import Path\n"
        "def peak():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return [int(line.split()[1]) for line in lines if line.startswith('VmHWM')][0]\n"
        "classifier = make_classifier(800_000)\n"
        "peaks = []\n"
        "for words in (100_000, 200_000, 400_000):\n"
        "    assert classifier.predict([random_text(words)], verbose=0).shape == (1, 2)\n"
        "    peaks.append(peak())\n"
        "print(*peaks)\n"
    )
    # One thread and no freed memory kept: the peak is then what the arrays alone take, and not
    # which of them were alive together by chance.
    steady = {
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    outcome = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        env={**os.environ, **steady},
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = np.array(outcome.stdout.split(), int)
    growth, growth_of_the_double = np.diff(peaks)
    assert growth_of_the_double < 2.5 * growth  # Four times would be quadratic.
    assert growth_of_the_double < 400_000  # kB
