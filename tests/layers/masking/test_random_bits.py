"""Random bits against the known answers of Random123, JAX's own generator, and their law."""

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.layers.masking.random_bits import alias_table, below, threefry_2x32, unsigned
from tests.layers.masking.threefry import threefry

# Random123's kat_vectors, "threefry2x32 20": counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000", "00000000 00000000", "6b200159 99ba4efe"),
    ("ffffffff ffffffff", "ffffffff ffffffff", "1cb996fc bb002be7"),
    ("243f6a88 85a308d3", "13198a2e 03707344", "c4923a9c 483df7a0"),
]


def words(text: str) -> tuple[tf.Tensor, tf.Tensor]:
    first, second = np.array([int(word, 16) for word in text.split()], "uint32").view("int32")
    return tf.constant(first), tf.constant(second)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_known_answers(counter: str, key: str, result: str, jit_compile: bool):
    run = tf.function(threefry_2x32, jit_compile=jit_compile)
    assert [int(word) for word in run(words(key), words(counter))] == [
        int(word) for word in words(result)
    ]


def test_equals_jax_and_the_oracle_of_these_tests():
    jax_random = pytest.importorskip("jax.extend.random", reason="the oracle is JAX's generator")
    generator = np.random.default_rng(0)
    counters = generator.integers(0, 2**32, (2, 1000), "uint32")
    for key in generator.integers(0, 2**32, (5, 2), "uint32"):
        expected = np.asarray(jax_random.threefry_2x32(key, counters.ravel())).reshape(2, 1000)
        pairs = [tuple(tf.constant(pair.view("int32"))) for pair in (key, counters)]
        ours = np.stack([word.numpy() for word in threefry_2x32(*pairs)]).view("uint32")
        np.testing.assert_array_equal(ours, expected)
        of_zero = jax_random.threefry_2x32(key, np.stack([counters[0], 0 * counters[0]]).ravel())
        np.testing.assert_array_equal(threefry(list(key), counters[0]).ravel(), of_zero)


def test_keys_and_counters_broadcast():
    rows, draws = tf.range(3)[:, None], tf.range(5)
    table = threefry_2x32((rows, 7), (draws, 2 * rows))
    for row in range(3):
        single = threefry_2x32((tf.constant(row), 7), (draws, tf.constant(2 * row)))
        for ours, expected in zip(table, single, strict=True):
            np.testing.assert_array_equal(ours[row], expected)


@pytest.mark.parametrize("bits", [1, 24, 31])
def test_unsigned_takes_the_top_bits(bits: int):
    word = np.array([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x12345678], "uint32")
    ours = unsigned(tf.constant(word.view("int32")), bits)
    np.testing.assert_array_equal(ours, word >> np.uint32(32 - bits))


def test_below_never_reaches_its_limit():
    limits = tf.range(1, 70_000)
    for word, expected in ((-1, limits - 1), (0, 0 * limits)):
        np.testing.assert_array_equal(below(tf.fill(limits.shape, word), limits), expected)


def test_below_is_even():
    """All values of 24 bits: each number comes as often as the next, give or take one."""
    every = tf.bitwise.left_shift(tf.range(2**24), 8)
    counts = np.bincount(below(every, 509).numpy(), minlength=509)
    assert len(counts) == 509
    assert np.ptp(counts) <= 1


@pytest.mark.parametrize("size", [1, 2, 7, 1009])
def test_alias_table_holds_the_weights(size: int):
    weights = np.random.default_rng(size).pareto(1, size) + 1e-9
    limits, aliases = alias_table(weights)
    share = limits / 2**24
    law = (share + np.bincount(aliases, 1 - share, minlength=size)) / size
    np.testing.assert_allclose(law, weights / weights.sum(), atol=2**-23)
