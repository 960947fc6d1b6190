"""Batches for pretraining: every block once an epoch, and each batch a function of its number."""

import os
import shutil
from itertools import islice

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.batching.bucketing import measure_padding
from spanbert_tf.data.batching.pretraining import PretrainingBatches
from spanbert_tf.data.corpus.preparation import prepare_corpus
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.corpus.shards import read_manifest
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.layers.masking.span_masking import SpanMasking
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer
from tests.data.corpora import (
    VOCABULARY,
    prepare,
    random_documents,
    read_blocks,
    write_documents,
)

PAD, CLS, SEP = (VOCABULARY.index(token) for token in ("[PAD]", "[CLS]", "[SEP]"))
MASKING = SpanMasking(len(VOCABULARY), VOCABULARY.index("[MASK]"), [0, 1, 2, 3], max_targets=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of some ten shards in blocks of up to 16 tokens."""
    folder = tmp_path_factory.mktemp("corpus")
    path = write_documents(folder / "a.txt", random_documents(120, most_lines=3))
    prepare([path], folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def blocks(folder):
    return [
        block for shard in read_manifest(folder).shards for block in read_blocks(folder, shard.name)
    ]


def build(folder, **options):
    return PretrainingBatches(
        folder,
        **{"token_budget": 128, "num_buckets": 4, "seed": 5, "shards_in_memory": 3} | options,
    )


def arrays(dataset):
    return [
        ({name: tensor.numpy() for name, tensor in features.items()}, seeds.numpy())
        for features, seeds in dataset
    ]


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for (features, seeds), (other_features, other_seeds) in zip(found, expected, strict=True):
        assert features.keys() == other_features.keys()
        for name, values in features.items():
            np.testing.assert_array_equal(values, other_features[name])
        np.testing.assert_array_equal(seeds, other_seeds)


@pytest.fixture(scope="module")
def epochs(folder):
    """The first three epochs."""
    batches = build(folder)
    return [arrays(batches.dataset(epoch, endless=False)) for epoch in range(3)]


def test_every_block_once_an_epoch_between_its_special_tokens(folder, blocks, epochs):
    batches = build(folder)
    assert len(batches.shards) > 6
    orders = []
    for epoch in epochs:
        places = []
        for features, seeds in epoch:
            token_ids, mask = features["token_ids"], features["padding_mask"]
            assert {values.dtype for values in (*features.values(), seeds)} == {np.dtype(np.int32)}
            assert token_ids.size <= 128
            assert token_ids.shape[1] in batches.boundaries
            assert not features["segment_ids"].any()
            for row, place in enumerate(seeds[:, 1]):
                expected = [CLS, *blocks[place], SEP]
                assert token_ids[row][mask[row] == 1].tolist() == expected
                assert mask[row].tolist() == [1] * len(expected) + [0] * (
                    token_ids.shape[1] - len(expected)
                )
                assert (token_ids[row][mask[row] == 0] == PAD).all()
                starts = [int(not VOCABULARY[piece].startswith("##")) for piece in expected]
                assert (
                    features["word_starts"][row].tolist() == starts + [0] * (mask[row] == 0).sum()
                )
            places += seeds[:, 1].tolist()
        assert sorted(places) == list(range(len(blocks)))
        orders.append(places)
    assert orders[0] != orders[1] != orders[2]
    assert [batches.plan(epoch).rows.tolist() for epoch in range(3)] == orders
    # The first number of the seeds is one for an epoch, another for another epoch or seed.
    mixes = [{int(mix) for _, seeds in epoch for mix in seeds[:, 0]} for epoch in epochs]
    assert [len(mix) for mix in mixes] == [1, 1, 1]
    assert len(set.union(*mixes)) == 3
    (_, other_seeds), *_ = build(folder, seed=6).dataset().take(1)
    assert int(other_seeds[0, 0]) not in mixes[0]


@given(st.integers(0, 2), st.integers(0, 10_000))
@settings(max_examples=8)
def test_resumed_at_any_batch(folder, epochs, epoch, batch):
    batches = build(folder)
    batch %= len(epochs[epoch]) + 1
    everything = [batch for epoch in epochs for batch in epoch]
    at = sum(map(len, epochs[:epoch])) + batch
    left = len(everything) - at
    assert_equal(arrays(batches.dataset(epoch, batch).take(left)), everything[at:])
    rest = batches.dataset(epoch, batch, endless=False)
    assert rest.cardinality() == len(epochs[epoch]) - batch
    assert_equal(arrays(rest), epochs[epoch][batch:])
    # The trainer's way from a number of steps to the place of the next batch.
    expected = (epoch, batch) if batch < len(epochs[epoch]) else (epoch + 1, 0)
    assert batches.advance(0, 0, at) == expected


def test_skipped_shards_are_not_read(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    batches = build(copy)
    start = len(batches._plan_group(0)[1])
    expected = arrays(batches.dataset(0, start, endless=False))
    for number in batches._group(0):
        batches.manifest.shards[number].path(copy).unlink()
    assert_equal(arrays(batches.dataset(0, start, endless=False)), expected)


def test_the_epoch_does_not_depend_on_the_number_of_threads(folder, epochs):
    for threads in (1, 8):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.autotune.enabled = threads > 1
        dataset = build(folder).dataset(endless=False).with_options(options)
        assert_equal(arrays(dataset), epochs[0])


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_parts_make_up_the_batch(folder, epochs, parts):
    workers = [
        arrays(build(folder, part=(number, parts)).dataset(1, 2, endless=False))
        for number in range(parts)
    ]
    for (features, seeds), *shares in zip(epochs[1][2:], *workers, strict=True):
        rows = len(seeds)
        assert {len(share_seeds) for _, share_seeds in shares} == {-(-rows // parts)}
        padded = {
            name: np.concatenate([share[name] for share, _ in shares]) for name in features
        } | {"seeds": np.concatenate([share_seeds for _, share_seeds in shares])}
        for name, values in (features | {"seeds": seeds}).items():
            np.testing.assert_array_equal(padded[name][:rows], values)
            assert (padded[name][rows:] == (PAD if name == "token_ids" else 0)).all()


def test_a_transform_sees_features_and_seeds(folder, epochs):
    def transform(features, seeds):
        return features | {"token_ids": features["token_ids"] + seeds[:, 1:]}

    found = [*build(folder, transform=transform).dataset(endless=False)]
    for features, (expected, seeds) in zip(found, epochs[0], strict=True):
        np.testing.assert_array_equal(features["token_ids"], expected["token_ids"] + seeds[:, 1:])


def test_padding_is_reported_as_it_is(folder):
    batches = build(folder)
    for epoch in range(2):
        report = batches.padding_report(epoch)
        assert report.batches == batches.batches(epoch)
        assert (
            measure_padding(features for features, _ in batches.dataset(epoch, endless=False))
            == report
        )


def test_held_out_shards(folder, blocks):
    training, validation = (
        build(folder, shards=part) for part in (slice(None, -2), slice(-2, None))
    )
    assert training.boundaries == validation.boundaries
    assert len(validation.shards) == 2
    places = [{*batches.plan().rows} for batches in (training, validation)]
    assert not places[0] & places[1]
    assert places[0] | places[1] == {*range(len(blocks))}
    assert max(places[0]) < min(places[1])


def test_what_is_known_of_the_corpus(folder, blocks):
    batches = build(folder)
    counts = np.bincount([piece for block in blocks for piece in block], minlength=len(VOCABULARY))
    assert batches.piece_counts.tolist() == counts.tolist()
    assert batches.vocabulary == VOCABULARY
    others = (
        *({"seed": 6}, {"token_budget": 64}, {"shards": slice(1, None)}),
        *({"num_buckets": 1}, {"packing": True}),
    )
    prints = {build(folder, **other).fingerprint for other in ({}, *others)}
    assert len(prints) == 6
    assert batches.fingerprint == build(folder).fingerprint


def mask(features, seeds):
    return MASKING(features, seed=seeds)


def packed_epoch(folder, **options):
    """Masked batches of epoch 1 from batch 1 on, in rows of several blocks."""
    batches = build(folder, packing=True, transform=mask, **options)
    return [
        {name: tensor.numpy() for name, tensor in features.items()}
        for features in batches.dataset(1, 1, endless=False)
    ]


def test_packed_rows_hold_each_block_once_an_epoch(folder, blocks):
    batches = build(folder, packing=True)
    assert batches.boundaries == (16,)
    assert batches.padding_report().waste < build(folder, num_buckets=1).padding_report().waste
    for epoch in range(2):
        places, shapes = [], set()
        for features, seeds in arrays(batches.dataset(epoch, endless=False)):
            shapes.add(features["token_ids"].shape)
            assert len(features["token_ids"]) <= 8
            used = features["padding_mask"] == 1
            found = np.split(
                features["token_ids"][used], np.flatnonzero(features["position_ids"][used] == 0)[1:]
            )
            expected = [[CLS, *blocks[place], SEP] for place in seeds[:, 1]]
            assert [row.tolist() for row in found] == expected
            assert (features["token_ids"][~used] == PAD).all()
            places += seeds[:, 1].tolist()
        assert sorted(places) == list(range(len(blocks)))
        assert places == batches.plan(epoch).rows.tolist()
        assert {length for _, length in shapes} == {16}
        report = batches.padding_report(epoch)
        measured = measure_padding(
            features for features, _ in batches.dataset(epoch, endless=False)
        )
        assert report == measured


def test_packed_blocks_have_the_masks_of_rows_of_their_own(folder, epochs):
    """Whatever row and batch they are in: each block by itself, by its place in the corpus."""

    def targets(features, row, begin, end):
        slots = (features["mask_weights"][row] == 1) & (begin <= features["mask_positions"][row])
        slots &= features["mask_positions"][row] < end
        spans = (features["span_weights"][row, :, 0] == 1) & (
            (begin <= features["span_boundaries"][row, :, 0])
            & (features["span_boundaries"][row, :, 0] < end)
        )
        return {
            "token_ids": features["token_ids"][row, begin:end].tolist(),
            "mask_positions": (features["mask_positions"][row, slots] - begin).tolist(),
            "mask_ids": features["mask_ids"][row, slots].tolist(),
            "span_boundaries": (features["span_boundaries"][row, spans] - begin).tolist(),
            "span_ids": features["span_ids"][row, spans].tolist(),
        }

    alone = {}
    for features, seeds in epochs[0]:
        masked = {name: np.asarray(values) for name, values in mask(features, seeds).items()}
        for row, place in enumerate(seeds[:, 1]):
            alone[place] = targets(masked, row, 0, features["padding_mask"][row].sum())
    batches = build(folder, packing=True)
    masked = build(folder, packing=True, transform=mask).dataset(endless=False)
    for (plain, seeds), features in zip(
        arrays(batches.dataset(endless=False)), masked, strict=True
    ):
        features = {name: tensor.numpy() for name, tensor in features.items()}
        starts = np.argwhere((plain["position_ids"] == 0) & (plain["padding_mask"] == 1))
        for (row, begin), place in zip(starts, seeds[:, 1], strict=True):
            end = begin + len(alone[place]["token_ids"])
            assert targets(features, row, begin, end) == alone.pop(place)
    assert not alone


@pytest.mark.slow
def test_parts_of_packed_batches(folder):
    """Some parts hold rows of padding alone: slots for targets differ from part to part."""
    parts = 5
    whole = packed_epoch(folder)
    workers = [packed_epoch(folder, part=(number, parts)) for number in range(parts)]
    for features, *shares in zip(whole, *workers, strict=True):
        rows = len(features["token_ids"])
        assert {len(share["token_ids"]) for share in shares} == {-(-rows // parts)}
        for name, values in features.items():
            for row in range(rows):
                share, place = divmod(row, -(-rows // parts))
                found = shares[share][name][place]
                both = min(values.shape[1], len(found))
                np.testing.assert_array_equal(found[:both], values[row, :both])
                assert not found[both:].any()
                assert not values[row, both:].any()
        assert sum(share["padding_mask"].sum() for share in shares) == (
            features["padding_mask"].sum()
        )


@given(st.integers(0, 1000))
@settings(max_examples=3)
def test_packed_batches_are_resumed(folder, batch):
    batches = build(folder, packing=True)
    whole = arrays(batches.dataset(1, endless=False))
    assert len(whole) == batches.batches(1)
    batch %= len(whole) + 1
    assert_equal(arrays(batches.dataset(1, batch, endless=False)), whole[batch:])


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_shards(folder, blocks, tmp_path, damage):
    copy = shutil.copytree(folder, tmp_path / "copy")
    bad = read_manifest(copy).shards[1]
    path = copy / f"{bad.name}.tfrecord"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    if damage == "flip":
        path.write_bytes(data)
    elif damage == "cut":
        os.truncate(path, len(data) - 3)
    else:
        path.unlink()
    with pytest.raises(DataError, match=rf"damaged shards \(1 of \d+\): .*{bad.name}.tfrecord: "):
        build(copy)
    with pytest.warns(UserWarning, match=rf"left out a damaged shard: .*{bad.name}"):
        batches = build(copy, skip_bad_shards=True)
    assert [*batches.bad_shards] == [bad.name]
    first = read_manifest(copy).shards[0].blocks
    expected = {*range(len(blocks))} - {*range(first, first + bad.blocks)}
    assert {
        int(place) for _, seeds in arrays(batches.dataset(endless=False)) for place in seeds[:, 1]
    } == expected


def test_no_shard_is_whole(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in copy.glob("*.tfrecord"):
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(ValueError, match="there are no blocks"),
    ):
        build(copy, skip_bad_shards=True)


def test_another_tokenizer_is_refused(folder):
    build(folder, tokenizer=SpanBertTokenizer(VOCABULARY))
    with pytest.raises(
        DataError, match=r"another tokenizer: vocabulary is '\w{64}' there, '\w{64}' now"
    ):
        build(folder, tokenizer=SpanBertTokenizer([*VOCABULARY, "x"]))
    with pytest.raises(DataError, match="lowercase is False there, True now"):
        build(folder, tokenizer=SpanBertTokenizer(VOCABULARY, lowercase=True))


def test_folders_that_are_no_whole_corpus(folder, tmp_path):
    with pytest.raises(DataError, match=r"there is no manifest\.json"):
        build(tmp_path)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "vocab.txt").write_text("\n".join([*VOCABULARY, "x"]))
    with pytest.raises(
        DataError, match=r"vocab\.txt: expected the vocabulary \w{64}, found \w{64}"
    ):
        build(copy)
    (copy / "vocab.txt").unlink()
    with pytest.raises(DataError, match="no vocabulary file"):
        build(copy)
    shutil.copy(folder / "vocab.txt", copy)
    shutil.copy(folder / "shard-00000-00000.npz", copy / "statistics.npz")
    with pytest.raises(DataError, match=r"statistics\.npz: expected the lengths of"):
        build(copy)
    (copy / "statistics.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"statistics\.npz: not the statistics of a corpus"):
        build(copy)
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(DataError, match="did not come to its end"):
        build(copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards_in_memory": 0}, "`shards_in_memory` must be positive"),
        ({"part": (2, 2)}, r"`part` \(number, parts\), but they are 3 and \(2, 2\)"),
        ({"shards": slice(0, 0)}, "there are no blocks in the shards"),
    ],
)
def test_wrong_arguments(folder, options, message):
    with pytest.raises(ValueError, match=message):
        build(folder, **options)


def test_a_batch_beyond_the_epoch(folder, epochs):
    batches = build(folder)
    count = len(epochs[0])
    assert [*batches.dataset(0, count, endless=False)] == []
    assert_equal(arrays(islice(batches.dataset(0, count), 1)), epochs[1][:1])
    with pytest.raises(
        ValueError, match=f"epoch 0 has {count} batches, but `start_batch` is {count + 1}"
    ):
        batches.dataset(0, count + 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "budget"), [(128, 4096), (128, 16_384), (512, 4096), (512, 16_384)]
)
def test_little_padding_on_real_text(shared_data, tmp_path_factory, length, budget):
    folder = tmp_path_factory.getbasetemp() / f"enwiki-{length}"
    if not folder.exists():
        tokenizer = SpanBertTokenizer(shared_data / "vocab" / "bert-base-cased-vocab.txt")
        prepare_corpus(
            [shared_data / "pretrain_en" / "enwiki-00.txt.gz"],
            folder,
            tokenizer.get_vocabulary(),
            lambda *_: tokenizer,
            settings=CorpusSettings(sequence_length=length),
            workers=1,
        )
    batches = PretrainingBatches(folder, token_budget=budget)
    for epoch in range(2):
        assert batches.padding_report(epoch).waste <= 0.05
        assert batches.padding_report(epoch).shapes <= 16
    packed = PretrainingBatches(folder, token_budget=budget, packing=True).padding_report()
    assert packed.waste <= 0.01
    assert packed.shapes <= 2
