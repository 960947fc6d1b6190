"""The data set: every row once, with its own label, in an order that only the seed decides."""

from itertools import chain

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.data.batching.bucketing import measure_padding
from spanbert_tf.data.batching.pipeline import FEW_BATCHES, BucketedBatches, bucketed_batches
from spanbert_tf.data.batching.texts import tokenize_texts


class DigitTokenizer:
    """Each word is a number, and its own id."""

    pad_token_id, cls_token_id, sep_token_id = 0, 1, 2

    def __call__(self, strings):
        words = tf.strings.split(strings)
        return words.with_values(tf.strings.to_number(words.values, tf.int32))


ROWS = 300
rng = np.random.default_rng(11)
# Row r is r + 10 written a number of times, 0 to 30; its label follows from it.
TEXTS = [" ".join([str(row + 10)] * count) for row, count in enumerate(rng.integers(0, 31, ROWS))]
PAIRS = [" ".join([str(row + 10)] * count) for row, count in enumerate(rng.integers(0, 9, ROWS))]
LABELS = np.arange(ROWS, dtype=np.int32) % 7
MODES = [{"token_budget": 200}, {"batch_size": 16}]


def build(**options):
    options = {"labels": np.arange(ROWS), "sequence_length": 24, **options}
    return BucketedBatches.from_texts(TEXTS, tokenizer=DigitTokenizer(), **options)


def row_numbers(dataset):
    return [labels.numpy().tolist() for _, labels in dataset]


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("mode", MODES)
def test_every_row_once_with_its_label_and_tokens(mode, seed):
    batches = build(
        labels=LABELS, sample_weight=np.arange(ROWS) / 2, pairs=PAIRS, seed=seed, **mode
    )
    seen = []
    for features, labels, weights in batches.dataset():
        rows = (weights.numpy() * 2).astype(int)
        np.testing.assert_array_equal(labels, LABELS[rows])
        token_ids, segment_ids, mask = (
            features[name].numpy() for name in ("token_ids", "segment_ids", "padding_mask")
        )
        assert token_ids.shape == segment_ids.shape == mask.shape
        assert token_ids.shape[1] in batches.boundaries
        if "token_budget" in mode:
            assert token_ids.size <= 200
        for row, ids, segments, used in zip(rows, token_ids, segment_ids, mask, strict=True):
            first, second = TEXTS[row].split(), PAIRS[row].split()
            room = 24 - 3
            kept = min(len(first), max(room - room // 2, room - len(second)))
            first, second = first[:kept], second[: room - kept]
            expected = [1, *map(int, first), 2, *map(int, second), 2]
            assert ids[used == 1].tolist() == expected
            assert (ids[len(expected) :] == 0).all()
            assert segments.sum() == len(second) + 1
        seen += rows.tolist()
    assert sorted(seen) == list(range(ROWS))


@pytest.mark.parametrize("mode", MODES)
def test_epochs_differ_and_a_rebuild_repeats_them(mode):
    batches = build(seed=3, **mode)
    dataset = batches.dataset()
    epochs = [row_numbers(dataset) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert [list(chain(*epoch)) for epoch in epochs] == [
        batches.plan(epoch).rows.tolist() for epoch in range(3)
    ]
    again = build(seed=3, **mode)
    again.epoch = 1
    assert row_numbers(again.dataset()) == epochs[1]
    assert row_numbers(build(seed=4, **mode).dataset()) != epochs[0]
    unshuffled = build(**mode).dataset()
    assert row_numbers(unshuffled) == row_numbers(unshuffled)


def test_the_order_does_not_depend_on_the_number_of_threads():
    orders = []
    for threads in (1, 8):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.autotune.enabled = threads > 1
        orders.append(row_numbers(build(seed=3, token_budget=100).dataset().with_options(options)))
    assert orders[0] == orders[1]


@pytest.mark.parametrize("mode", MODES)
def test_reports_equal_what_is_measured(mode):
    batches = build(seed=3, **mode)
    dataset = batches.dataset()
    assert dataset.cardinality() == batches.padding_report().batches
    assert measure_padding(dataset) == batches.padding_report(epoch=0)
    assert measure_padding(dataset) == batches.padding_report(epoch=1)


def test_full_batches_only():
    sizes = [
        len(rows)
        for rows in row_numbers(build(seed=3, batch_size=16, drop_remainder=True).dataset())
    ]
    assert sizes == [16] * (ROWS // 16)


@pytest.mark.parametrize("first_epoch", [0, 5])
def test_keras_sees_a_new_order_each_epoch_and_may_resume(first_epoch):
    batches = build(seed=3, token_budget=300)
    seen = []

    def note(labels):
        seen.append(labels.tolist())
        return labels.astype(np.float32)

    def numbers(features, labels):
        noted = tf.numpy_function(note, [labels], tf.float32)
        noted.set_shape([None])
        return tf.cast(features["token_ids"][:, :1], tf.float32), noted

    model = keras.Sequential([keras.layers.Input([1]), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    set_epoch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(batches, "epoch", epoch)
    )
    model.fit(
        batches.dataset().map(numbers),
        initial_epoch=first_epoch,
        epochs=first_epoch + 2,
        # Not needed for the first two epochs of a model that is built.
        callbacks=[set_epoch] if first_epoch else [],
        shuffle=False,
        verbose=0,
    )
    expected = [batches.plan(first_epoch + epoch).rows for epoch in range(2)]
    assert list(chain(*seen)) == list(chain(*expected))


@pytest.mark.parametrize("mode", MODES)
def test_predictions_go_back_to_the_rows(mode):
    batches = build(labels=None, **mode)
    outputs = np.concatenate([features["token_ids"][:, 1] for features in batches.dataset()])
    expected = [row + 10 if text else 2 for row, text in enumerate(TEXTS)]
    assert batches.in_row_order(outputs).tolist() == expected
    with pytest.raises(ValueError, match="neither `seed` nor"):
        build(seed=1, **mode).in_row_order(outputs)


@pytest.mark.parametrize("batch_size", [50, 16])  # Few batches, and many.
def test_the_first_epoch_is_that_of_the_data_set(batch_size):
    (first, expected) = (build(seed=3, batch_size=batch_size) for _ in range(2))
    assert (len(first.plan()) > FEW_BATCHES) == (batch_size == 16)
    given = [*first.first_epoch()]
    assert isinstance(first.first_epoch(), tf.data.Dataset) == (batch_size == 16)
    for (features, labels), (of_set, labels_of_set) in zip(given, expected.dataset(), strict=True):
        np.testing.assert_array_equal(labels, labels_of_set)
        assert features.keys() == of_set.keys()
        for name in features:
            np.testing.assert_array_equal(features[name], of_set[name])


def test_one_row_and_an_empty_string():
    (features,) = bucketed_batches([""], tokenizer=DigitTokenizer(), token_budget=64)
    assert features["token_ids"].numpy().tolist() == [[1, 2]]


def test_a_row_beyond_the_budget_is_a_batch_of_its_own():
    dataset = bucketed_batches(["5 5 5 5", "6"], tokenizer=DigitTokenizer(), token_budget=3)
    assert [f["token_ids"].shape.as_list() for f in dataset] == [[1, 3], [1, 6]]


def test_tokenising_in_chunks(monkeypatch):
    whole = tokenize_texts(TEXTS, DigitTokenizer(), 7).to_list()
    assert whole == [[int(word) for word in text.split()][:7] for text in TEXTS]
    monkeypatch.setattr("spanbert_tf.data.batching.texts.TEXTS_A_CALL", 9)
    as_lists = tokenize_texts(TEXTS, lambda texts: DigitTokenizer()(texts).to_list(), 7)
    assert as_lists.to_list() == whole
    assert tokenize_texts(TEXTS, DigitTokenizer(), 7).to_list() == whole


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"texts": []}, ValueError, "there are no rows"),
        ({"texts": "one"}, TypeError, "`texts` must be a list of strings, but is one string"),
        ({"texts": ["1", None]}, TypeError, r"`texts`\[1\] must be a string, but is None"),
        (
            {"texts": ["1"], "pairs": ["1", "2"]},
            ValueError,
            "`pairs` has 2 texts, but `texts` has 1",
        ),
        ({"texts": ["1"], "labels": [1, 2]}, ValueError, r"`labels` has the shape \(2,\), but"),
        ({"texts": ["1"], "labels": ["a"]}, ValueError, "`labels` must be numbers"),
        ({"texts": ["1"], "sample_weight": [1.0]}, ValueError, "`labels` is None"),
        ({"texts": ["1"], "batch_size": 4}, ValueError, "either `token_budget` or `batch_size`"),
        ({"texts": ["1"], "sequence_length": 1}, ValueError, "room for 2 special tokens, but is 1"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        bucketed_batches(tokenizer=DigitTokenizer(), **{"token_budget": 9, **arguments})
