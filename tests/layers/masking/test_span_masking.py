"""Span masking against a loop over one row, the published law, and itself in other places."""

import math
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from spanbert_tf.layers.masking.random_bits import threefry_2x32
from spanbert_tf.layers.masking.span_masking import SpanMasking, slot_counts
from spanbert_tf.layers.masking.span_sampling import (
    draws_for,
    length_distribution,
    sample_spans,
)
from tests.conftest import ROOT
from tests.layers.masking.masking_oracle import mask_row

PAD, UNK, CLS, SEP, MASK = range(5)
OPTIONS = {
    "vocabulary_size": 17,
    "mask_token_id": MASK,
    "special_token_ids": [PAD, UNK, CLS, SEP],
    "scheme": "spans",
    "budget": 0.15,
    "p": 0.2,
    "max_words": 10,
    "last_words": 10,
    "replacement": "span",
    "max_targets": 3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "spans": {},
    "large budget": {"budget": 0.7, "replacement": "piece", "max_targets": 20},
    "short spans": {"budget": 0.4, "p": 0.6, "max_words": 3},
    "whole_word": {"scheme": "whole_word", "budget": 0.3},
    "subword": {"scheme": "subword", "budget": 0.5},
    "given": {"scheme": "given", "budget": 0.5},
    "last_words": {"scheme": "last_words", "last_words": 3},
}
INPUTS = ("token_ids", "segment_ids", "padding_mask", "word_starts", "given_spans")
Features = dict[str, Any]


def as_arrays(features: Features) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in features.items()}


@cache
def masker(variant: str) -> tuple[SpanMasking, Any]:
    """A layer and its graph function for any shapes."""
    layer = SpanMasking(**{**OPTIONS, **VARIANTS[variant]})
    shapes = {name: [None] * 2 for name in INPUTS} | {"given_spans": [None, None, 2]}
    specs = {name: tf.TensorSpec(shape, "int32") for name, shape in shapes.items()}
    seed = tf.TensorSpec([None, 2], "int32")
    return layer, tf.function(lambda x, seed: layer(x, seed=seed), input_signature=[specs, seed])


def random_features(generator: np.random.Generator, rows: int, length: int) -> Features:
    """Rows of [CLS] pieces [SEP] padding, some with a second [SEP] and multi-piece words."""
    ids = generator.integers(MASK + 1, OPTIONS["vocabulary_size"], (rows, length))
    lengths = generator.integers(2, length + 1, rows)[:, None]
    position = np.arange(length)
    ids[position == generator.integers(1, length, (rows, 1))] = SEP
    ids[:, 0] = CLS
    ids[position == lengths - 1] = SEP
    padding_mask = position < lengths
    starts = generator.integers(0, length, (rows, 3))
    given_spans = np.stack([starts, starts + generator.integers(0, 6, (rows, 3))], axis=-1)
    arrays = {
        "token_ids": np.where(padding_mask, ids, PAD),
        "segment_ids": position // 5 % 2 * padding_mask,
        "padding_mask": padding_mask,
        "word_starts": generator.random((rows, length)) < 0.6,
        "given_spans": np.minimum(given_spans, length),
    }
    return {name: array.astype("int32") for name, array in arrays.items()}


def check_against_oracle(outputs: Features, features: Features, seeds: list, options: dict):
    """Each row of the outputs is what the loop over that row gives."""
    outputs = as_arrays(outputs)
    for row, seed in enumerate(seeds):
        expected = mask_row(
            features["token_ids"][row].tolist(),
            int(features["padding_mask"][row].sum()),
            features["word_starts"][row].tolist(),
            seed,
            given_spans=features["given_spans"][row].tolist(),
            **options,
        )
        count, spans = len(expected["mask_ids"]), len(expected["span_ids"])
        assert outputs["token_ids"][row].tolist() == expected["token_ids"]
        for name in ("mask_positions", "mask_ids"):
            unused = [0] * (outputs[name].shape[1] - count)
            assert outputs[name][row].tolist() == expected[name] + unused
        slots = np.arange(outputs["mask_ids"].shape[1])
        np.testing.assert_array_equal(outputs["mask_weights"][row], slots < count)

        boundaries = outputs["span_boundaries"][row]
        assert [tuple(pair) for pair in boundaries[:spans]] == expected["span_boundaries"]
        assert not boundaries[spans:].any()
        for slot, ids in enumerate(outputs["span_ids"][row]):
            target_ids = expected["span_ids"][slot] if slot < spans else []
            unused = [0] * (options["max_targets"] - len(target_ids))
            assert ids.tolist() == target_ids + unused
            weights = [1] * len(target_ids) + unused
            assert outputs["span_weights"][row, slot].tolist() == weights


def check_properties(outputs: Features, features: Features, layer: SpanMasking):
    """What holds whatever the oracle says."""
    outputs = as_arrays(outputs)
    ids, is_token = features["token_ids"], features["padding_mask"] == 1
    maskable = is_token & (ids > MASK)
    for row, weights in enumerate(outputs["mask_weights"]):
        positions = outputs["mask_positions"][row][weights == 1]
        masked = np.zeros(ids.shape[1], bool)
        masked[positions] = True
        assert masked.sum() == len(positions)
        assert maskable[row][positions].all()
        if layer.scheme != "last_words":
            assert len(positions) == math.ceil(layer.budget * maskable[row].sum())
        np.testing.assert_array_equal(outputs["mask_ids"][row][weights == 1], ids[row][positions])
        np.testing.assert_array_equal(outputs["token_ids"][row][~masked], ids[row][~masked])
        replaced = outputs["token_ids"][row][positions]
        assert (replaced >= MASK).all()
        used = outputs["span_weights"][row][:, 0] == 1
        for left, right in outputs["span_boundaries"][row][used]:
            assert is_token[row][[left, right]].all()
            assert not masked[[left, right]].any()
            assert masked[left + 1 : right].all()


def test_the_example_of_the_docstring():
    layer = SpanMasking(9, 4, [0, 1, 2, 3], budget=0.5, max_targets=3)
    features = {
        "token_ids": np.array([[2, 5, 6, 7, 3]], "int32"),
        "padding_mask": np.ones((1, 5), "int32"),
    }
    outputs = {
        name: array.tolist() for name, array in as_arrays(layer(features, seed=[0, 0])).items()
    }
    assert outputs == {
        "token_ids": [[2, 5, 4, 4, 3]],
        "padding_mask": [[1, 1, 1, 1, 1]],
        "mask_positions": [[2, 3, 0]],
        "mask_ids": [[6, 7, 0]],
        "mask_weights": [[1, 1, 0]],
        "span_boundaries": [[[1, 4], [0, 0]]],
        "span_ids": [[[6, 7, 0], [0, 0, 0]]],
        "span_weights": [[[1, 1, 0], [0, 0, 0]]],
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_loop_over_one_row(variant: str):
    layer, run = masker(variant)

    @settings(max_examples=12)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 41))
    def check(number: int, rows: int, length: int):
        generator = np.random.default_rng(number)
        features = random_features(generator, rows, length)
        seeds = generator.integers(-(2**31), 2**31, (rows, 2)).astype("int32")
        outputs = run(features, seeds)
        check_properties(outputs, features, layer)
        options = {**OPTIONS, **VARIANTS[variant]}
        check_against_oracle(outputs, features, [[*seed, 0] for seed in seeds.tolist()], options)

    check()


def test_the_rest_of_a_word_that_no_draw_can_reach():
    """Each word's first piece is given; the leftmost of the others make up the budget."""
    features = {
        "token_ids": np.array([[CLS, 5, 6, 7, 8, 9, 10, SEP]], "int32"),
        "padding_mask": np.ones((1, 8), "int32"),
        "word_starts": np.array([[1, 1, 0, 0, 1, 0, 0, 1]], "int32"),
        "given_spans": np.array([[[1, 2], [4, 5]]], "int32"),
    }
    options = {**OPTIONS, "scheme": "given", "budget": 0.6}
    outputs = SpanMasking(**options)(features, seed=np.array([[3, 5]], "int32"))
    assert as_arrays(outputs)["mask_positions"].tolist() == [[1, 2, 3, 4, 0]]
    check_against_oracle(outputs, features, [[3, 5, 0]], options)


def test_one_seed_for_all_rows_numbers_them():
    features = random_features(np.random.default_rng(1), 4, 23)
    layer, _ = masker("short spans")
    seeds = [[3, -5, row] for row in range(4)]
    options = {**OPTIONS, **VARIANTS["short spans"]}
    check_against_oracle(layer(features, seed=[3, -5]), features, seeds, options)


def test_rows_with_nothing_to_mask():
    """Empty, all special, all padding, and one word, beside a row of several."""
    ids = [[2, 3, 0, 0, 0], [2, 3, 4, 1, 3], [0, 0, 0, 0, 0], [2, 9, 3, 0, 0], [2, 9, 8, 7, 3]]
    ids = np.array(ids, "int32")
    features = {"token_ids": ids, "padding_mask": (ids > 0).astype("int32")}
    outputs = as_arrays(SpanMasking(17, 4, [0, 1, 2, 3])(features, seed=[0, 1]))
    assert outputs["mask_weights"].sum(axis=1).tolist() == [0, 0, 0, 1, 1]
    assert outputs["mask_positions"][3].tolist() == [1]
    np.testing.assert_array_equal(outputs["token_ids"][:3], ids[:3])
    assert not outputs["span_weights"][:3].any()


def test_spans_at_the_edge_give_no_span_targets():
    """Rows without [CLS] and [SEP]: the last words reach the row's end, or all of it."""
    layer = SpanMasking(17, 4, [0], scheme="last_words", last_words=2)
    ids = np.array([[5, 6, 7, 8, 0], [5, 6, 0, 0, 0]], "int32")
    outputs = as_arrays(layer({"token_ids": ids, "padding_mask": ids > 0}, seed=[0, 1]))
    assert outputs["mask_positions"].tolist() == [[2, 3, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert not outputs["span_weights"].any()
    assert not outputs["span_boundaries"].any()


def first_draw_starts_and_words(word_starts: np.ndarray, budget: float, calls: int) -> np.ndarray:
    """Start and words of each row's first draw, which nothing was masked before: `[2, rows]`."""
    rows, length = 10_000, len(word_starts)
    maskable = tf.ones([rows, length], bool)
    starts = tf.constant(np.tile(word_starts, (rows, 1)))

    @tf.function
    def run(call: tf.Tensor) -> tf.Tensor:
        draws = tf.range(draws_for(length, budget))
        bits = threefry_2x32((call, 11), (draws, tf.range(rows)[:, None]))
        masked, draws = sample_spans(maskable, starts, bits, budget=budget)
        first = masked & (draws == 0)
        position = tf.argmax(tf.cast(first, tf.int32), axis=1, output_type=tf.int32)
        return tf.stack([position, tf.reduce_sum(tf.cast(first & starts, tf.int32), axis=1)])

    return np.concatenate([run(tf.constant(call)).numpy() for call in range(calls)], axis=1)


@pytest.mark.slow
def test_lengths_follow_the_law():
    """Of spans that neither the budget nor the row's end cuts: they start 10 pieces before it."""
    starts, words = first_draw_starts_and_words(np.ones(40, bool), 0.25, 27)
    free = starts <= 30
    assert free.sum() >= 200_000
    law = length_distribution(0.2, 10)
    counts = np.bincount(words[free], minlength=11)[1:]
    assert chisquare(counts, law * free.sum()).pvalue > 1e-4
    assert words[free].mean() == pytest.approx(3.80, abs=0.02)
    assert chisquare(np.bincount(starts, minlength=40)).pvalue > 1e-4


def test_the_law_has_the_published_mean():
    assert length_distribution(0.2, 10) @ np.arange(1, 11) == pytest.approx(3.797, abs=1e-3)


def test_anchors_are_uniform_over_pieces():
    """A word is drawn as often as it has pieces."""
    word_lengths = np.array([1, 4, 2, 7, 3, 1, 5])
    word_starts = np.zeros(word_lengths.sum(), bool)
    word_starts[np.cumsum(word_lengths) - word_lengths] = True
    starts, _ = first_draw_starts_and_words(word_starts, 0.1, 3)
    counts = np.bincount(starts, minlength=len(word_starts))
    assert not counts[~word_starts].any()
    expected = word_lengths / word_lengths.sum() * len(starts)
    assert chisquare(counts[word_starts], expected).pvalue > 1e-4


@pytest.mark.parametrize("replacement", ["span", "piece"])
def test_replacement_shares(replacement: str):
    """Random pieces are all one id, that is nowhere in the text: what became of a piece shows."""
    weights = np.eye(17)[16]
    layer = SpanMasking(17, 4, [0], replacement=replacement, random_token_weights=weights)
    ids = np.random.default_rng(0).integers(5, 16, (8000, 64)).astype("int32")
    outputs = as_arrays(layer({"token_ids": ids, "padding_mask": np.ones_like(ids)}, seed=[1, 2]))
    rows, slots = np.nonzero(outputs["mask_weights"])
    positions = outputs["mask_positions"][rows, slots]
    new = outputs["token_ids"][rows, positions]
    begins = np.r_[True, (np.diff(rows) != 0) | (np.diff(positions) != 1)]
    kinds = np.where(new == 4, 0, np.where(new == 16, 1, 2))
    assert (new[kinds == 2] == ids[rows, positions][kinds == 2]).all()
    span = np.cumsum(begins) - 1
    if replacement == "span":
        np.testing.assert_array_equal(kinds, kinds[begins][span])
        kinds = kinds[begins]
    assert len(kinds) >= 20_000
    shares = np.bincount(kinds) / len(kinds)
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)


def test_random_pieces_follow_the_weights():
    weights = np.array([9, 9, 9, 9, 9, 1, 2, 3, 4, 0, 6, 7, 8, 0, 5, 4, 3], "float64")
    layer = SpanMasking(17, 4, [0, 1, 2, 3], budget=0.5, random_token_weights=weights)
    ids = np.full((4000, 64), 13, "int32")  # an id that is never put in
    outputs = as_arrays(layer({"token_ids": ids, "padding_mask": np.ones_like(ids)}, seed=[1, 2]))
    new = outputs["token_ids"][(outputs["token_ids"] != 13) & (outputs["token_ids"] != 4)]
    counts = Counter(new.tolist())
    assert sorted(counts) == [5, 6, 7, 8, 10, 11, 12, 14, 15, 16]
    observed = np.array([counts[token] for token in sorted(counts)])
    law = weights[sorted(counts)]
    assert chisquare(observed, law / law.sum() * len(new)).pvalue > 1e-4


def test_masks_do_not_depend_on_the_batch():
    """Other batches, padding, threads: each row comes out the same."""
    _, run = masker("given")
    features = random_features(np.random.default_rng(5), 24, 31)
    features |= {"row": np.arange(24, dtype="int32")}
    rows = tf.data.Dataset.from_tensor_slices(features)

    def mask(batch: Features) -> Features:
        batch = dict(batch)
        row = batch.pop("row")
        return run(batch, tf.stack([0 * row + 9, row], axis=1)) | {"row": row}

    def masked(batch_size: int, length: int, slots: int, threads: int, order: int) -> list:
        shapes = {name: [length] for name in INPUTS} | {"given_spans": [slots, 2], "row": []}
        batches = rows.shuffle(24, seed=order).padded_batch(batch_size, shapes)
        found = {}
        for batch in batches.map(mask, threads).as_numpy_iterator():
            for index, row in enumerate(batch["row"]):
                used = batch["mask_weights"][index] == 1
                found[row] = (
                    batch["mask_positions"][index][used].tolist(),
                    batch["token_ids"][index][:31].tolist(),
                )
        return [found[row] for row in range(24)]

    expected = masked(24, 31, 3, 1, 0)
    assert expected == masked(24, 31, 3, 2, 1)
    assert expected == masked(5, 31, 3, 4, 2)
    assert expected == masked(1, 77, 8, 2, 3)


def test_other_seeds_mask_other_pieces():
    layer, _ = masker("spans")
    features = random_features(np.random.default_rng(5), 8, 41)
    positions = [
        np.asarray(layer(features, seed=seed)["mask_positions"]).tolist()
        for seed in ([0, 0], [0, 1], [1, 0])
    ]
    assert len({str(rows) for rows in positions}) == 3


@pytest.mark.parametrize("variant", ["spans", "given"])
def test_eager_graph_and_xla_agree(variant: str):
    layer, run = masker(variant)
    features = random_features(np.random.default_rng(2), 3, 19)
    seeds = np.array([[1, 2], [3, 4], [5, 6]], "int32")
    eager = as_arrays(layer(features, seed=seeds))
    compiled = tf.function(lambda x, seed: layer(x, seed=seed), jit_compile=True)
    for outputs in (run(features, seeds), compiled(features, tf.constant(seeds))):
        for name, array in as_arrays(outputs).items():
            np.testing.assert_array_equal(array, eager[name], err_msg=name)


def test_a_model_of_it_is_saved_and_exported(tmp_path: Path):
    features = random_features(np.random.default_rng(2), 3, 19)
    seeds = np.array([[1, 2], [3, 4], [5, 6]], "int32")
    inputs = {
        name: keras.Input((None, *array.shape[2:]), dtype="int32", name=name)
        for name, array in features.items()
    }
    seed = keras.Input((2,), dtype="int32", name="seed")
    layer = SpanMasking(**{**OPTIONS, "random_token_weights": np.arange(17.0)})
    model = keras.Model({**inputs, "seed": seed}, layer(inputs, seed=seed))
    everything = {**features, "seed": seeds}
    expected = as_arrays(layer(features, seed=seeds))
    assert not model.weights
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "exported", verbose=False)
    again = keras.models.load_model(tmp_path / "model.keras")
    served = tf.saved_model.load(tmp_path / "exported")
    constants = {name: tf.constant(array) for name, array in everything.items()}
    for outputs in (again(everything), served.serve(constants)):
        assert set(outputs) == set(expected)
        for name, array in as_arrays(outputs).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_static_shapes_are_those_of_slot_counts():
    layer, _ = masker("spans")
    outputs = layer(
        {name: keras.Input((64,), 5, dtype="int32") for name in ("token_ids", "padding_mask")},
        seed=keras.Input((2,), 5, dtype="int32"),
    )
    pieces, spans = slot_counts(64)
    assert (pieces, spans) == (10, 10)
    assert outputs["mask_ids"].shape == (5, pieces)
    assert outputs["span_ids"].shape == (5, spans, 3)
    assert outputs["span_boundaries"].shape == (5, spans, 2)


@pytest.mark.slow
def test_equals_the_jax_backend(tmp_path: Path):
    pytest.importorskip("jax", reason="the jax backend needs jax")
    features = random_features(np.random.default_rng(4), 6, 37)
    seeds = np.random.default_rng(4).integers(0, 2**31, (6, 2)).astype("int32")
    np.savez(tmp_path / "inputs.npz", seeds=seeds, **features)
    variants = {name: VARIANTS[name] for name in ("spans", "large budget", "given", "last_words")}
    source = (
        "import sys, jax, keras, numpy as np\n"
        "from spanbert_tf.layers.masking.span_masking import SpanMasking\n"
        "inputs = dict(np.load(sys.argv[1]))\n"
        "seeds = inputs.pop('seeds')\n"
        f"for name, options in {variants!r}.items():\n"
        f"    layer = SpanMasking(**{{**{OPTIONS!r}, **options}})\n"
        "    run = jax.jit(lambda x, seeds: layer(x, seed=seeds))\n"
        "    np.savez(f'{sys.argv[2]}/{name}.npz', **run(inputs, seeds))\n"
        "print(keras.backend.backend())\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", source, tmp_path / "inputs.npz", tmp_path],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.split() == ["jax"]
    for variant in variants:
        expected = as_arrays(masker(variant)[1](features, seeds))
        with np.load(tmp_path / f"{variant}.npz") as outputs:
            assert set(outputs) == set(expected)
            for name in outputs:
                np.testing.assert_array_equal(outputs[name], expected[name], err_msg=name)


@pytest.mark.parametrize("budget", [0.1, 0.15, 0.2, 0.4, 0.5])
def test_budgets_round_up_as_the_published_code_does(budget: float):
    for count in range(1025):
        expected = math.ceil(budget * count - 1e-9)
        assert slot_counts(count, budget=budget)[0] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "words"}, "`scheme` must be one of spans"),
        ({"replacement": "word"}, "`replacement` must be one of span, piece"),
        ({"budget": 0}, "`budget` must be from 0.001"),
        ({"budget": 1.5}, "`budget` must be from 0.001"),
        ({"p": 1.0}, "`p` must be above 0"),
        ({"max_words": 0}, "`max_words` must be at least 1"),
        ({"max_targets": 0}, "`max_targets` must be at least 1"),
        ({"last_words": -1}, "`last_words` must be at least 1"),
        ({"mask_token_id": 17}, "vocabulary_size=17; received 17"),
        ({"special_token_ids": [-1]}, "vocabulary_size=17; received -1"),
        ({"random_token_weights": [1.0, 2.0]}, r"shape \[17\]; received \[2\]"),
        ({"random_token_weights": [-1.0] * 17}, "finite and at least 0"),
        ({"random_token_weights": [1.0] * 5 + [0.0] * 12}, "not special"),
    ],
)
def test_bad_arguments(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SpanMasking(**{**OPTIONS, **options})


def test_given_spans_must_be_given():
    features = {name: np.ones((1, 3), "int32") for name in ("token_ids", "padding_mask")}
    with pytest.raises(ValueError, match="needs the feature `given_spans`"):
        SpanMasking(**{**OPTIONS, "scheme": "given"})(features, seed=[0, 0])
