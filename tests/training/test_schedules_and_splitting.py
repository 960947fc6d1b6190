"""The learning rate over a run, and stratified parts of a data set."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.settings import FineTuning, TextClassification
from spanbert_tf.training import WarmUpLinearDecay, stratified_folds, stratified_split

LABELS = st.lists(st.integers(0, 3), min_size=4, max_size=60)


def test_schedule_is_the_docstrings_example():
    schedule = WarmUpLinearDecay(1.0, total_steps=5, warmup_steps=2)
    rates = [float(schedule(step)) for step in range(6)]
    assert rates == pytest.approx([0.5, 1.0, 0.75, 0.5, 0.25, 0])


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 1), (7, 0), (7, 7), (100, 10)])
def test_schedule_is_piecewise_linear(total: int, warmup: int):
    schedule = WarmUpLinearDecay(3e-4, total, warmup)
    points = [0, warmup, total + 1] if warmup else [0, total + 1]
    rates = np.interp(np.arange(1, total + 3), points, [0, 3e-4, 0] if warmup else [3e-4, 0])
    if not warmup:
        rates = 3e-4 * np.maximum(total + 1 - np.arange(1, total + 3), 0) / (total + 1)
    actual = [float(schedule(step)) for step in range(total + 2)]
    np.testing.assert_allclose(actual, rates, rtol=1e-5, atol=1e-12)
    assert min(actual[:total]) > 0


def test_schedule_survives_its_config():
    schedule = WarmUpLinearDecay(0.1, 10, 3)
    schedules = keras.optimizers.schedules
    again = schedules.deserialize(schedules.serialize(schedule))
    assert again.get_config() == schedule.get_config()


@pytest.mark.parametrize(("total", "warmup"), [(0, 0), (5, 6), (5, -1)])
def test_schedule_refuses_impossible_steps(total: int, warmup: int):
    with pytest.raises(ValueError, match="warmup_steps"):
        WarmUpLinearDecay(0.1, total, warmup)


@given(LABELS, st.floats(0.05, 0.5), st.integers(0, 5))
def test_split_keeps_every_class_and_its_share(labels: list[int], fraction: float, seed: int):
    try:
        first, second = stratified_split(labels, fraction, seed)
    except ValueError:
        counts = np.bincount(labels)
        assert counts[counts > 1].sum() * fraction < 1
        return
    assert sorted([*first, *second]) == list(range(len(labels)))
    array = np.array(labels)
    for label, count in zip(*np.unique(array, return_counts=True), strict=True):
        assert (array[first] == label).any()
        if count > 1:
            assert abs((array[second] == label).sum() - fraction * count) <= 1
    again = stratified_split(labels, fraction, seed)
    np.testing.assert_array_equal(again[1], second)


def test_split_depends_on_the_seed():
    labels = [0, 1] * 50
    assert not np.array_equal(
        stratified_split(labels, 0.2, 0)[1], stratified_split(labels, 0.2, 1)[1]
    )


@pytest.mark.parametrize(("labels", "fraction"), [([0, 1], 0.6), ([0, 1], 0), ([0, 1, 1], 0.1)])
def test_split_refuses_what_leaves_nothing(labels: list[int], fraction: float):
    with pytest.raises(ValueError, match=r"fraction|is not one row"):
        stratified_split(labels, fraction, 0)


@given(LABELS, st.integers(2, 5), st.integers(0, 5))
def test_folds_deal_every_class_evenly(labels: list[int], folds: int, seed: int):
    array = np.array(labels)
    if np.unique(array, return_counts=True)[1].min() < folds:
        with pytest.raises(ValueError, match="fewer folds"):
            stratified_folds(labels, folds, seed)
        return
    dealt = stratified_folds(labels, folds, seed)
    assert np.ptp(np.bincount(dealt, minlength=folds)) <= 1
    for label in np.unique(array):
        assert np.ptp(np.bincount(dealt[array == label], minlength=folds)) <= 1


def test_one_fold_is_refused():
    with pytest.raises(ValueError, match="`folds` must be at least 2"):
        stratified_folds([0, 1], 1, 0)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("batch_size", None),
        ("learning_rate", 0.0),
        ("warmup_proportion", 1.0),
        ("weight_decay", -1.0),
        ("clip_norm", 0.0),
        ("sequence_length", 2),
        ("attention", "sparse"),
        ("block_size", 0),
        ("neighbors", 2),
        ("long_positions", "wrap"),
        ("dropout", 1.0),
        ("seed", -1),
        ("validation_fraction", 0.6),
        ("lora_rank", 0),
        ("head_learning_rate", 0.0),
        ("patience", 0),
    ],
)
def test_settings_name_what_is_out_of_range(setting: str, value: object):
    with pytest.raises(ValueError, match=f"`{setting}` must be .*{value!r}"):
        FineTuning(**{setting: value})


def test_settings_of_a_task_have_ranges_too():
    with pytest.raises(ValueError, match=r"`pooling` must be one of .*'max'"):
        TextClassification(pooling="max")
