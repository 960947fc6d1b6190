"""Bucket boundaries against brute force; batch plans against what they promise."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.batching.bucketing import (
    PaddingReport,
    choose_bucket_boundaries,
    default_buckets,
    measure_padding,
    plan_batches,
    plan_packed_batches,
)

some_lengths = st.lists(st.integers(2, 40), min_size=1, max_size=60)


def padded_tokens(lengths, boundaries):
    return sum(min(b for b in boundaries if b >= length) for length in lengths)


@settings(max_examples=150)
@given(
    st.lists(st.integers(1, 24), min_size=1, max_size=20),
    st.integers(1, 5),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([None, 9, 16]),
)
def test_boundaries_are_as_good_as_the_best_of_all(lengths, num_buckets, multiple_of, max_length):
    chosen = choose_bucket_boundaries(lengths, num_buckets, multiple_of, max_length)
    top = 24 if max_length is None else max_length
    cut = [min(length, top) for length in lengths]
    allowed = {length for length in range(1, top + 1) if length % multiple_of == 0} | {top}
    last = min(length for length in allowed if length >= max(cut))
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) <= num_buckets
    assert set(chosen) <= allowed
    assert chosen[-1] == last
    below = sorted(length for length in allowed if length < last)
    best = min(
        padded_tokens(cut, [*some, last])
        for count in range(min(num_buckets, 3 if len(below) > 16 else num_buckets))
        for some in combinations(below, count)
    )
    assert padded_tokens(cut, chosen) <= best
    if num_buckets <= 3 or len(below) <= 16:
        assert padded_tokens(cut, chosen) == best


def test_boundaries_in_integers():
    assert choose_bucket_boundaries([3, 3, 3, 9, 10, 30], num_buckets=3) == (3, 10, 30)
    assert choose_bucket_boundaries([3, 3, 3, 9, 10, 30], num_buckets=2) == (10, 30)
    assert choose_bucket_boundaries([3, 9], num_buckets=9) == (3, 9)
    assert choose_bucket_boundaries([600, 5], max_length=512, multiple_of=8) == (8, 512)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lengths": []}, "`lengths` must be"),
        ({"lengths": [0, 3]}, "`lengths` must be"),
        ({"lengths": [3], "num_buckets": 0}, "`num_buckets` must be positive, but is 0"),
        ({"lengths": [3], "multiple_of": 0}, "`multiple_of` must be positive, but is 0"),
    ],
)
def test_wrong_boundary_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_bucket_boundaries(**arguments)


def test_default_buckets():
    assert default_buckets(512) == (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    assert default_buckets(100) == (8, 12, 16, 24, 32, 48, 64, 96, 100)
    assert default_buckets(5) == (5,)
    with pytest.raises(ValueError, match="`max_length` must be positive"):
        default_buckets(0)


@settings(max_examples=200)
@given(
    some_lengths,
    st.integers(1, 6),
    st.integers(1, 200),
    st.booleans(),
    st.sampled_from([None, 0, 7]),
    st.booleans(),
)
def test_plans(lengths, num_buckets, limit, by_budget, seed, drop):
    lengths = np.array(lengths)
    boundaries = choose_bucket_boundaries(lengths, num_buckets)
    mode = {"token_budget": limit} if by_budget else {"batch_size": limit}
    plan = plan_batches(lengths, boundaries, seed=seed, drop_remainder=drop, **mode)
    sizes = np.diff(plan.splits)
    full = [max(1, limit // length) if by_budget else limit for length in plan.lengths]
    assert (sizes > 0).all()
    assert (sizes <= full).all()
    assert len(sizes) == len(plan)
    assert set(plan.lengths.tolist()) <= set(boundaries)
    for begin, end, length in zip(plan.splits[:-1], plan.splits[1:], plan.lengths, strict=True):
        longest = lengths[plan.rows[begin:end]].max()
        assert length == min(b for b in boundaries if b >= longest)
    assert len(set(plan.rows.tolist())) == len(plan.rows)
    if not drop:
        assert sorted(plan.rows.tolist()) == list(range(len(lengths)))
        if not by_budget:
            assert (sizes < full).sum() <= 1
    else:
        # Rows left in one bucket may fill a batch of the next, which has fewer rows.
        sizes_allowed = {max(1, limit // b) for b in boundaries} if by_budget else {limit}
        assert set(sizes.tolist()) <= sizes_allowed
        missing = len(lengths) - len(plan.rows)
        assert missing < (max(1, limit // boundaries[-1]) if by_budget else limit)


def test_leftover_rows_move_up_if_that_saves_a_batch():
    def sizes(lengths, boundaries, budget):
        plan = plan_batches(np.array(lengths), boundaries, token_budget=budget)
        return list(zip(np.diff(plan.splits).tolist(), plan.lengths.tolist(), strict=True))

    # One row of 2 is less than a quarter of five; two are more.
    assert sizes([2, 5, 5], (2, 5), 10) == [(2, 5), (1, 5)]
    assert sizes([2, 2, 5, 5], (2, 5), 10) == [(2, 2), (2, 5)]
    # Four rows of 2 are few, but would not share a batch with a row of 40.
    assert sizes([2] * 24 + [40], (2, 40), 40) == [(20, 2), (4, 2), (1, 40)]


@pytest.mark.parametrize("mode", [{"token_budget": 100}, {"batch_size": 7}])
def test_orders(mode):
    lengths = np.random.default_rng(5).integers(2, 30, 311)
    boundaries = choose_bucket_boundaries(lengths, 5)

    def rows(**arguments):
        return plan_batches(lengths, boundaries, **mode, **arguments).rows.tolist()

    assert rows(seed=3, epoch=2) == rows(seed=3, epoch=2)
    distinct = [rows(seed=3, epoch=e) for e in range(3)] + [rows(seed=4), rows()]
    assert len({tuple(order) for order in distinct}) == 5
    assert rows() == rows(epoch=9)
    # Without a seed, rows of one bucket stay in the order they came.
    unshuffled = lengths[rows()]
    assert (np.diff(np.searchsorted(boundaries, unshuffled)) >= 0).all()


def test_shapes_stay_the_same_from_epoch_to_epoch():
    lengths = np.random.default_rng(5).integers(2, 60, 500)
    boundaries = choose_bucket_boundaries(lengths, 6)
    plans = [
        plan_batches(lengths, boundaries, token_budget=300, seed=1, epoch=epoch)
        for epoch in range(4)
    ]
    shapes = [sorted(zip(np.diff(p.splits), p.lengths, strict=True)) for p in plans]
    assert shapes == shapes[:1] * 4


def test_wrong_plan_arguments():
    lengths = np.array([3, 4])
    for wrong in ({}, {"token_budget": 3, "batch_size": 3}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="either `token_budget` or `batch_size`"):
            plan_batches(lengths, (4,), **wrong)
    with pytest.raises(ValueError, match="longest row has 4 tokens, more than the last"):
        plan_batches(lengths, (3,), batch_size=2)


def test_reports():
    lengths = np.array([2, 4, 3, 4])
    plan = plan_batches(lengths, (2, 4), token_budget=8)
    report = plan.report(lengths)
    # [2] alone fills a quarter of its budget of four rows; [4, 3] and [4] follow.
    assert report == PaddingReport(tokens=13, padded_tokens=14, batches=3, shapes=3)
    assert str(report) == "7.1% padding (13 of 14 tokens used), 3 batches, 3 shapes"
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    expected = PaddingReport(tokens=6, padded_tokens=12, batches=2, shapes=1)
    assert measure_padding([{"padding_mask": mask}] * 2) == expected
    assert measure_padding([({"padding_mask": mask}, 1)] * 2) == expected
    assert measure_padding([]).waste == 0


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 30), max_size=80),
    st.integers(30, 40),
    st.integers(1, 200),
    st.integers(0, 3),
)
def test_packed_rows_hold_each_block_once(lengths, row_length, token_budget, epoch):
    lengths = np.array(lengths, np.int64)
    options = {"token_budget": token_budget, "seed": 3, "epoch": epoch}
    plan = plan_packed_batches(lengths, row_length, **options)
    assert sorted(plan.rows.tolist()) == list(range(len(lengths)))
    rows = np.split(plan.rows, plan.row_splits[1:-1]) if len(lengths) else []
    assert len(rows) == len(plan.row_splits) - 1 == plan.splits[-1]
    filled = [lengths[row].sum() for row in rows]
    assert all(0 < tokens <= row_length for tokens in filled)
    # No two rows fit into one: as good as it is fast.
    assert sum(sorted(filled)[:2]) > row_length or len(rows) < 2
    assert (np.diff(plan.splits) <= max(1, token_budget // row_length)).all()
    assert set(plan.lengths.tolist()) <= {row_length}
    assert plan.report(lengths).tokens == lengths.sum()
    assert plan.report(lengths).padded_tokens == len(rows) * row_length
    again = plan_packed_batches(lengths, row_length, **options)
    assert again.rows.tolist() == plan.rows.tolist()
    assert again.row_splits.tolist() == plan.row_splits.tolist()


def test_packing_in_integers():
    plan = plan_packed_batches(np.array([7, 2, 5, 3]), 8, token_budget=100, seed=0)
    rows = np.split(plan.rows, plan.row_splits[1:-1])
    assert sorted(row.tolist() for row in rows) == [[0], [1], [2, 3]]


def test_packed_rows_differ_from_epoch_to_epoch():
    lengths = np.random.default_rng(0).integers(2, 17, 200)
    plans = [plan_packed_batches(lengths, 32, token_budget=64, seed=0, epoch=e) for e in range(3)]
    assert len({plan.rows.tobytes() for plan in plans}) == 3
    rows = [{*map(tuple, np.split(plan.rows, plan.row_splits[1:-1]))} for plan in plans]
    assert len(rows[0] & rows[1]) < len(rows[0]) / 5
    assert all(plan.report(lengths).waste < 0.02 for plan in plans)


def test_blocks_that_are_too_long_to_pack():
    with pytest.raises(ValueError, match="the longest block has 9 tokens, more than `row_length`"):
        plan_packed_batches(np.array([9]), 8, token_budget=8, seed=0)
    with pytest.raises(ValueError, match="give either `token_budget` or"):
        plan_packed_batches(np.array([8]), 8, token_budget=0, seed=0)
