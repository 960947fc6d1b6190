"""The CRF against sums over all of its paths, one by one."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from spanbert_tf.layers.crf import LinearChainCRF
from spanbert_tf.layers.tag_paths import CHUNK, crf_log_likelihood, tag_probabilities, viterbi
from tests.conftest import ROOT

# Letters: b batch, s sequence, t tags.  Different numbers, so that swapped axes fail.
B, S, T = 4, 5, 3


class Case(NamedTuple):
    scores: np.ndarray
    tags: np.ndarray
    mask: np.ndarray
    transitions: np.ndarray
    start: np.ndarray
    end: np.ndarray

    @property
    def path(self) -> tuple[np.ndarray, ...]:
        """All but the tags."""
        return (self.scores, *self[2:])


def random_case(seed: int, sizes: tuple[int, int, int] = (B, S, T), scale: float = 2.0) -> Case:
    """Rows with holes in their masks, the first without any position, the last without a hole."""
    b, s, t = sizes
    generator = np.random.default_rng(seed)
    mask = generator.random((b, s)) < 0.7
    mask[0], mask[-1] = False, True
    tags = generator.integers(0, t, (b, s))
    scores, *path = (
        (scale * generator.standard_normal(shape)).astype("float32")
        for shape in ((b, s, t), (t, t), (t,), (t,))
    )
    return Case(scores, tags.astype("int32"), mask, *path)


class Oracle:
    """All paths of a row with at least one position, in float64."""

    def __init__(self, case: Case, row: int) -> None:
        self.places = np.flatnonzero(case.mask[row])
        self.num_tags = len(case.start)
        scores = case.scores[row, self.places].astype("float64")
        self.paths = np.array(list(product(range(self.num_tags), repeat=len(scores))))
        self.scores = sum(scores[i, self.paths[:, i]] for i in range(len(scores)))
        self.scores = self.scores + case.start[self.paths[:, 0]] + case.end[self.paths[:, -1]]
        for before, after in zip(self.paths.T[:-1], self.paths.T[1:], strict=True):
            self.scores = self.scores + case.transitions[before, after]

    def score(self, tags: np.ndarray) -> float:
        """Of a path given as a row of tags."""
        return float(self.scores[(self.paths == tags[self.places]).all(axis=1)][0])

    def log_likelihood(self, tags: np.ndarray) -> float:
        return self.score(tags) - float(logsumexp(self.scores))

    def marginals(self) -> np.ndarray:
        probabilities = softmax(self.scores)
        return np.stack([probabilities @ (self.paths == tag) for tag in range(self.num_tags)], 1)


def dynamic(function, *signature: tuple[int | None, ...] | tf.TensorSpec):
    """The function in a graph that knows no sizes but that of tags."""
    specs = [x if isinstance(x, tf.TensorSpec) else tf.TensorSpec(x) for x in signature]
    return tf.function(function, input_signature=specs, autograph=False)


SCORES = tf.TensorSpec([None, None, T])
TAGS, MASK = (tf.TensorSpec([None, None], dtype) for dtype in ("int32", "bool"))
WEIGHTS = ((T, T), (T,), (T,))
GRAPHS = {
    "log_likelihood": dynamic(crf_log_likelihood, SCORES, TAGS, MASK, *WEIGHTS),
    "viterbi": dynamic(viterbi, SCORES, MASK, *WEIGHTS),
    "probabilities": dynamic(tag_probabilities, SCORES, MASK, *WEIGHTS),
}


def with_gradients(*case: np.ndarray):
    """The log-likelihood, and the gradients of a weighted sum of it."""
    scores, tags, mask, *path = (tf.convert_to_tensor(x) for x in case)
    with tf.GradientTape() as tape:
        tape.watch([scores, *path])
        result = crf_log_likelihood(scores, tags, mask, *path)
        loss = tf.reduce_sum(result * tf.cast(1 + tf.range(tf.size(result)), "float32"))
    return result, *tape.gradient(loss, [scores, *path])


def assert_equals_the_oracle(case: Case, results: tuple, tolerance: float = 1e-5) -> None:
    """Of log-likelihoods, best paths and probabilities."""
    log_likelihoods, best, probabilities = (np.asarray(result) for result in results)
    assert [x.dtype.name for x in (log_likelihoods, best, probabilities)] == [
        "float32",
        "int32",
        "float32",
    ]
    assert not best[~case.mask].any()
    assert not probabilities[~case.mask].any()
    for row, mask in enumerate(case.mask):
        if not mask.any():
            assert log_likelihoods[row] == 0
            continue
        oracle = Oracle(case, row)
        expected = oracle.log_likelihood(case.tags[row])
        assert log_likelihoods[row] == pytest.approx(expected, rel=tolerance, abs=tolerance)
        highest = oracle.scores.max()
        assert oracle.score(best[row]) == pytest.approx(highest, rel=1e-6, abs=1e-6)
        np.testing.assert_allclose(probabilities[row, mask], oracle.marginals(), atol=tolerance)


def eager_results(case: Case) -> tuple:
    return crf_log_likelihood(*case), viterbi(*case.path), tag_probabilities(*case.path)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_sum_over_all_paths(seed: int):
    case = random_case(seed)
    assert_equals_the_oracle(case, eager_results(case))


def test_mask_may_be_of_integers():
    case = random_case(3)
    case = case._replace(mask=case.mask.astype("int32"))
    results = eager_results(case)
    assert_equals_the_oracle(case._replace(mask=case.mask == 1), results)


def test_rows_longer_than_a_turn_of_the_loop():
    case = random_case(4, (3, CHUNK + 1, 2))
    case.mask[1, -1] = True
    assert_equals_the_oracle(case, eager_results(case))


@pytest.mark.parametrize("scale", [30, 1000])
def test_high_scores(scale: float):
    case = random_case(5, scale=scale)._replace(transitions=random_case(5).transitions)
    assert_equals_the_oracle(case, eager_results(case))


def test_moves_that_hardly_ever_happen():
    """Beyond what the exponent of float32 holds, as those that a tag set forbids."""
    case = random_case(6)
    legal = case.transitions.copy()
    legal[0, 1] = legal[2, 2] = -1e6
    case.tags[:] = 0
    case = case._replace(transitions=legal)
    assert_equals_the_oracle(case, eager_results(case))


def test_long_rows_keep_their_digits():
    """Without scores of moves, each position is a softmax of its own."""
    case = random_case(7, (2, 700, T))
    path = [case.mask, *(np.zeros_like(x) for x in case[3:])]
    expected = softmax(case.scores.astype("float64"), axis=-1)
    probabilities = GRAPHS["probabilities"](case.scores, *path).numpy()
    np.testing.assert_allclose(probabilities[-1], expected[-1], atol=1e-5)
    taken = np.take_along_axis(np.log(expected[-1]), case.tags[-1, :, None], axis=-1)
    result = GRAPHS["log_likelihood"](case.scores, case.tags, *path).numpy()
    assert result[-1] == pytest.approx(taken.sum(), rel=1e-5)


def test_of_equal_paths_one_is_taken():
    """With best tags position by position, parts of different paths would be mixed."""
    generator = np.random.default_rng(19)
    ties = 0
    for seed in range(10):
        case = random_case(seed)
        case = Case(
            *(
                generator.integers(0, 2, x.shape).astype("float32") if x.dtype == "float32" else x
                for x in case
            )
        )
        best = GRAPHS["viterbi"](*case.path).numpy()
        for row in range(1, B):
            oracle = Oracle(case, row) if case.mask[row].any() else None
            if oracle:
                assert oracle.score(best[row]) == oracle.scores.max()
                ties += (oracle.scores == oracle.scores.max()).sum() > 1
    assert ties > 10


def test_example():
    scores, mask = np.array([[[0, 1], [5, 0], [3, 0]]]), np.array([[1, 0, 1]])
    zeros = np.zeros(2)
    moves = np.array([[0, 0], [-9, 0]])
    np.testing.assert_array_equal(viterbi(scores, mask, moves, zeros, zeros), [[0, 0, 0]])
    np.testing.assert_array_equal(viterbi(scores, mask, 0 * moves, zeros, zeros), [[1, 0, 0]])


def test_masked_positions_have_no_part_in_anything():
    case = random_case(8)
    expected = everything(*case)
    case.scores[~case.mask] = np.nan
    case.tags[~case.mask] = -100
    changed = everything(*case)
    for one, other in zip(changed, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    gradient = changed[1].numpy()
    assert not gradient[~case.mask].any()
    assert gradient[case.mask].all()


@pytest.mark.parametrize("seed", range(2))
def test_gradients(seed: int):
    """By differences of the oracle, for each number by itself."""
    case = random_case(seed)
    weights = np.arange(1, B + 1)

    def loss(case: Case) -> float:
        rows = range(1, B)
        return sum(weights[i] * Oracle(case, i).log_likelihood(case.tags[i]) for i in rows)

    _, *gradients = with_gradients(*case)
    exact = [x.astype("float64") if x.dtype == "float32" else x for x in case]
    for position, gradient in zip((0, 3, 4, 5), gradients, strict=True):
        expected = np.zeros(gradient.shape)
        for index in np.ndindex(*gradient.shape):
            ends = []
            for difference in (1e-4, -1e-4):
                moved = [x.copy() for x in exact]
                moved[position][index] += difference
                ends.append(loss(Case(*moved)))
            expected[index] = (ends[0] - ends[1]) / 2e-4
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


def everything(*case):
    """All results for a case, with gradients."""
    path = (case[0], *case[2:])
    return [*with_gradients(*case), viterbi(*path), tag_probabilities(*path)]


def test_graphs_do_what_eager_calls_do():
    case = random_case(9, (B, CHUNK + 3, T))
    graph = dynamic(everything, SCORES, TAGS, MASK, *WEIGHTS)
    for result, wanted in zip(graph(*case), everything(*case), strict=True):
        np.testing.assert_allclose(result, wanted, atol=2e-5)


@pytest.mark.slow
def test_xla_does_what_eager_calls_do():
    """All but the probabilities, which take long to compile and are part of the gradients."""
    case = random_case(9, (B, CHUNK + 3, T))
    compiled = tf.function(lambda *case: everything(*case)[:-1], jit_compile=True, autograph=False)
    for result, wanted in zip(compiled(*case), everything(*case)[:-1], strict=True):
        np.testing.assert_allclose(result, wanted, atol=2e-5)


@settings(max_examples=40)
@given(data=st.data())
def test_what_changes_no_path(data: st.DataObject):
    """Masked positions between others, and a constant more for all tags of a position."""
    s = data.draw(st.integers(1, 2 * CHUNK + 1), label="s")
    case = random_case(data.draw(st.integers(0, 2**16), label="seed"), (2, s, T))
    more = data.draw(st.lists(st.integers(-50, 50), min_size=s, max_size=s), label="more")
    gaps = data.draw(st.lists(st.integers(0, 3), min_size=s, max_size=s), label="gaps")

    place = np.cumsum(gaps) + np.arange(s)
    scores, tags, mask = (
        np.zeros((x.shape[0], place[-1] + 2, *x.shape[2:]), x.dtype) for x in case[:3]
    )
    scores[:, place] = case.scores + np.float32(more)[:, None]
    tags[:, place], mask[:, place] = case.tags, case.mask
    changed = Case(scores, tags, mask, *case[3:])

    results, others = (
        [
            GRAPHS["log_likelihood"](*of),
            *(GRAPHS[n](*of.path) for n in ("viterbi", "probabilities")),
        ]
        for of in (case, changed)
    )
    np.testing.assert_allclose(others[0], results[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(others[1].numpy()[:, place], results[1])
    np.testing.assert_allclose(others[2].numpy()[:, place], results[2], atol=1e-4)
    assert (results[0].numpy() <= 1e-4).all()
    sums = results[2].numpy().sum(axis=-1)
    np.testing.assert_allclose(sums, case.mask, atol=1e-5)


# Tags O, B, I: what begins must be begun.
STARTS = [True, True, False]
MOVES = [[True, True, False], [True, True, True], [True, True, True]]


def make_layer(case: Case | None = None, **kwargs) -> LinearChainCRF:
    """A layer of O, B and I, with a case's weights."""
    layer = LinearChainCRF(T, STARTS, MOVES, name="crf", **kwargs)
    layer.build((None, None, T))
    if case is not None:
        layer.set_weights(case[3:])
    return layer


def with_rules(case: Case) -> Case:
    """A case whose own scores keep to the rules of O, B and I."""
    return case._replace(
        transitions=np.where(MOVES, case.transitions, -1e6).astype("float32"),
        start=np.where(STARTS, case.start, -1e6).astype("float32"),
    )


@pytest.mark.parametrize("seed", range(3))
def test_layer(seed: int):
    """Decoding keeps to the rules, training does not know them."""
    case = random_case(seed)
    layer = make_layer(case)
    tags, probabilities = layer.decode(case.scores, case.mask)
    marginals = tag_probabilities(*with_rules(case).path)
    assert_equals_the_oracle(
        with_rules(case)._replace(tags=tags.numpy()),
        (crf_log_likelihood(*with_rules(case)._replace(tags=tags.numpy())), tags, marginals),
    )
    chosen = np.take_along_axis(marginals.numpy(), tags.numpy()[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(probabilities, np.where(case.mask, chosen, 0), atol=1e-6)
    np.testing.assert_array_equal(layer(case.scores, case.mask)[0], tags)
    np.testing.assert_array_equal(
        layer.log_likelihood(case.scores, case.tags, case.mask), crf_log_likelihood(*case)
    )


@pytest.mark.parametrize("trainable_scores", [True, False])
@pytest.mark.parametrize("scale", [1, 100, 1000])
def test_illegal_moves_are_never_taken(scale: float, trainable_scores: bool):
    case = random_case(10, (30, 11, T), scale)
    case.scores[..., 2] += scale  # Nothing would be more welcome than I alone.
    layer = make_layer(
        random_case(10) if trainable_scores else None, trainable_scores=trainable_scores
    )
    tags, probabilities = (x.numpy() for x in layer.decode(case.scores, case.mask))
    assert ((probabilities >= 0) & (probabilities <= 1 + 1e-5)).all()
    number = 0
    for row, mask in zip(tags, case.mask, strict=True):
        before = 0
        for tag in row[mask]:
            assert tag != 2 or before in (1, 2)
            number += tag == 2
            before = tag
    assert number


def test_without_a_legal_path_there_is_one_all_the_same():
    layer = LinearChainCRF(2, allowed_moves=[[False, False], [False, False]])
    case = random_case(11, (2, 4, 2))
    tags, probabilities = layer(case.scores, case.mask)
    np.testing.assert_array_equal(tags[-1], case.scores[-1].argmax(axis=-1))
    assert np.isfinite(probabilities).all()


def test_without_trainable_scores():
    case = random_case(12)
    layer = make_layer(trainable_scores=False)
    assert not layer.weights
    tags, probabilities = (x.numpy() for x in layer.decode(case.scores, case.mask))
    softmaxes = softmax(case.scores, axis=-1)
    chosen = np.take_along_axis(softmaxes, tags[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(probabilities, np.where(case.mask, chosen, 0), atol=1e-6)
    free = LinearChainCRF(T, trainable_scores=False)
    best = free(case.scores, case.mask)[0].numpy()
    np.testing.assert_array_equal(best[case.mask], case.scores.argmax(axis=-1)[case.mask])


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_computes_in_float32_always(dtype: str):
    case = random_case(13, scale=3)
    layer, mixed = make_layer(case), make_layer(case, dtype=dtype)
    for one, other in zip(
        [*mixed(case.scores, case.mask), mixed.log_likelihood(*case[:3])],
        [*layer(case.scores, case.mask), layer.log_likelihood(*case[:3])],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    rounded = tf.cast(case.scores, mixed.compute_dtype)
    assert mixed.log_likelihood(rounded, *case[1:3]).dtype == "float32"


def test_weights_begin_at_zero_and_learn():
    case = random_case(14)
    layer = make_layer()
    assert [weight.path for weight in layer.weights] == ["crf/transitions", "crf/start", "crf/end"]
    with tf.GradientTape() as tape:
        loss = -tf.reduce_sum(layer.log_likelihood(*case[:3]))
    weights = [weight.value for weight in layer.trainable_weights]
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        assert not weight.numpy().any()
        assert gradient.numpy().any()


def tagger(case: Case) -> keras.Model:
    scores = keras.Input((None, T), name="scores")
    mask = keras.Input((None,), dtype="bool", name="mask")
    layer = make_layer(case)
    tags, probabilities = layer(scores, mask)
    assert (tags.shape, tags.dtype) == ((None, None), "int32")
    assert (probabilities.shape, probabilities.dtype) == ((None, None), "float32")
    return keras.Model([scores, mask], {"tags": tags, "probabilities": probabilities})


def test_saving(tmp_path: Path):
    case = random_case(15)
    model = tagger(case)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("crf").get_config() == model.get_layer("crf").get_config()
    inputs = [case.scores, case.mask]
    keras.tree.map_structure(np.testing.assert_array_equal, again(inputs), model(inputs))
    serialized = keras.saving.serialize_keras_object(make_layer())
    assert serialized["registered_name"] == "spanbert_tf>LinearChainCRF"


def test_rules_may_be_arrays():
    layer = LinearChainCRF(T, np.array(STARTS), np.array(MOVES))
    assert layer.get_config()["allowed_starts"] == STARTS
    assert layer.get_config()["allowed_moves"] == MOVES


def test_rules_and_scores_must_fit_the_number_of_tags():
    with pytest.raises(ValueError, match=r"allowed_starts must have the shape \(2,\).*\(3,\)"):
        LinearChainCRF(2, allowed_starts=STARTS)
    with pytest.raises(ValueError, match=r"allowed_moves must have the shape \(2, 2\).*\(3, 3\)"):
        LinearChainCRF(2, allowed_moves=MOVES)
    with pytest.raises(ValueError, match=r"num_tags=3.*\(None, None, 4\)"):
        LinearChainCRF(T).build((None, None, 4))


@pytest.mark.slow
def test_saved_model_and_litert(tmp_path: Path):
    """Of any batch and length, with the tags and probabilities of Keras."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    case = random_case(16)
    model = tagger(case)
    serve = dynamic(
        lambda scores, mask: model([scores, mask]),
        tf.TensorSpec([None, None, T], name="scores"),
        tf.TensorSpec([None, None], "bool", name="mask"),
    )
    root = tf.train.Checkpoint()
    root.variables = [variable.value for variable in model.variables]
    tf.saved_model.save(root, tmp_path / "saved", signatures=serve.get_concrete_function())
    loaded = tf.saved_model.load(tmp_path / "saved").signatures["serving_default"]
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    runner = interpreter.Interpreter(model_content=converter.convert()).get_signature_runner()
    for sizes in ((B, S, T), (1, 1, T), (7, CHUNK + 2, T)):
        scores, _, mask = random_case(17, sizes)[:3]
        expected = model([scores, mask])
        for answer in (
            loaded(scores=tf.constant(scores), mask=tf.constant(mask)),
            runner(scores=scores, mask=mask),
        ):
            np.testing.assert_array_equal(answer["tags"], expected["tags"])
            np.testing.assert_allclose(
                answer["probabilities"], expected["probabilities"], atol=1e-5
            )


JAX_SIDE = """
import sys

import jax
import numpy as np

from spanbert_tf.layers.tag_paths import crf_log_likelihood, tag_probabilities, viterbi

path = sys.argv[1]
with np.load(path) as case:
    scores, tags, mask, *weights = (case[name] for name in case.files)


@jax.jit
def results(scores, tags, mask, *weights):
    def loss(scores, *weights):
        result = crf_log_likelihood(scores, tags, mask, *weights)
        return (result * jax.numpy.arange(1.0, len(scores) + 1)).sum(), result

    gradient = jax.value_and_grad(loss, argnums=range(4), has_aux=True)
    (_, result), gradients = gradient(scores, *weights)
    path = (scores, mask, *weights)
    return result, *gradients, viterbi(*path), tag_probabilities(*path)


np.savez(path, *results(scores, tags, mask, *weights))
"""


@pytest.mark.slow
def test_jax_agrees(tmp_path: Path):
    pytest.importorskip("jax")
    case = random_case(18, (B, CHUNK + 3, T))
    path = tmp_path / "case.npz"
    np.savez(path, *case)
    outcome = subprocess.run(
        [sys.executable, "-c", JAX_SIDE, str(path)],
        env={
            **os.environ,
            **{"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        },
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    expected = everything(*case)
    with np.load(path) as results:
        for name, wanted in zip(results.files, expected, strict=True):
            np.testing.assert_allclose(results[name], wanted, atol=2e-5, err_msg=name)
