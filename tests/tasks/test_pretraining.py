"""Pretraining from raw text to a trained encoder: the parts together, as the README shows them."""

import numpy as np
import pytest

from spanbert_tf import SpanBertBackbone, SpanBertPretrainer, SpanMasking
from spanbert_tf.data.batching.pretraining import PretrainingBatches
from spanbert_tf.models.optimizers import default_optimizer
from tests.data.corpora import TOKENIZER, VOCABULARY, prepare, write_documents

# All rows are alike, so that where a gap is tells what was in it; a target that is a place off is
# another word.
WORDS = ["a", "bad", "cab", "d", "e"]


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> PretrainingBatches:
    folder = tmp_path_factory.mktemp("corpus")
    lines = [" ".join(WORDS[i % 5] for i in range(30))] * 300
    path = write_documents(folder / "a.txt", [[line] for line in lines])
    prepare([path], folder / "corpus", sequence_length=32)
    masking = SpanMasking(
        len(VOCABULARY),
        TOKENIZER.mask_token_id,
        [TOKENIZER.pad_token_id, TOKENIZER.cls_token_id, TOKENIZER.sep_token_id],
    )
    return PretrainingBatches(
        folder / "corpus",
        token_budget=1024,
        tokenizer=TOKENIZER,
        transform=lambda features, seeds: masking(features, seed=seeds),
    )


@pytest.mark.slow
def test_fit_on_a_prepared_corpus(batches: PretrainingBatches):
    backbone = SpanBertBackbone(len(VOCABULARY), 2, 2, 32, 64, dropout=0.0, max_sequence_length=32)
    pretrainer = SpanBertPretrainer(backbone)
    pretrainer.compile(default_optimizer(3e-3))
    history = pretrainer.fit(
        batches.dataset(), epochs=4, steps_per_epoch=40, shuffle=False, verbose=0
    ).history
    assert history["mlm_loss"][0] > 1.3
    assert history["mlm_accuracy"][-1] > 0.9
    assert history["sbo_accuracy"][-1] > 0.8


def test_masks_are_the_same_at_each_look_and_new_in_each_epoch(batches: PretrainingBatches):
    def masked_ids(epoch: int) -> np.ndarray:
        rows = batches.dataset(epoch, endless=False).as_numpy_iterator()
        return np.sort(np.concatenate([row["token_ids"].ravel() for row in rows]))

    def first_batch(epoch: int) -> np.ndarray:
        return next(iter(batches.dataset(epoch).as_numpy_iterator()))["token_ids"]

    np.testing.assert_array_equal(first_batch(0), first_batch(0))
    assert masked_ids(0).shape == masked_ids(1).shape
    assert (masked_ids(0) != masked_ids(1)).any()


def test_a_later_start_gives_the_rest_of_the_masked_batches(batches: PretrainingBatches):
    whole = list(batches.dataset(endless=False).as_numpy_iterator())
    rest = list(batches.dataset(start_batch=len(whole) - 2, endless=False).as_numpy_iterator())
    assert len(rest) == 2
    for ours, expected in zip(rest, whole[-2:], strict=True):
        assert ours.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(ours[name], value)
