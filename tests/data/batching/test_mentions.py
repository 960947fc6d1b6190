"""Mentions in characters to tokens, and documents to chunks."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.data.batching.chunks import ChunkBatches
from spanbert_tf.data.batching.mentions import mention_tokens
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.turns import join_turns
from spanbert_tf.features import GOLD_MENTIONS

TOKENIZER = SimpleNamespace(cls_token_id=1, sep_token_id=2, pad_token_id=0)


def make_rows(*places: list[tuple[int, int]]) -> Rows:
    """Rows of pieces at characters."""
    starts, ends = (
        tf.ragged.constant([[place[side] for place in row] for row in places], tf.int32, 1)
        for side in (0, 1)
    )
    ids = starts.with_values(tf.range(tf.size(starts.values)) + 10)
    return Rows.one_each([ids], places={"starts": starts, "ends": ends})


ROWS = make_rows([(0, 3), (4, 6), (6, 8), (9, 12), (12, 13)], [], [(0, 1)])
TEXTS = ["Ann played him.", "", "I"]


def test_pieces_share_a_character_with_the_mention():
    """A mention within a piece has it, and so has one with spaces around it."""
    y = [[[(9, 12)], [(0, 3), (0, 8), (5, 7)], [(3, 12)]], [], [[(0, 1)]]]
    found = mention_tokens(ROWS, y, TEXTS, 3, 10)
    assert found.to_list() == [
        [[1, 1, 1], [1, 3, 1], [2, 3, 1], [2, 4, 2], [4, 4, 0]],
        [],
        [[1, 1, 0]],
    ]


@pytest.mark.parametrize(
    ("clusters", "limits", "kept", "message"),
    [
        ([[(0, 8), (0, 3)]], (2, 10), [[1, 1, 0]], "of 2 mentions 1 too wide are not"),
        ([[(0, 3), (9, 12)]], (5, 3), [[1, 1, 0]], "of 2 mentions 1 cut or without a piece"),
        ([[(3, 4)], [(4, 8)]], (5, 9), [[2, 3, 1]], "of 2 mentions 1 cut or without a piece"),
        ([[(4, 8)], [(4, 9)]], (5, 9), [[2, 3, 0]], "of 2 mentions 1 there twice"),
    ],
)
def test_what_is_not_learned_is_counted(clusters, limits, kept, message):
    with pytest.warns(UserWarning, match=message):
        found = mention_tokens(ROWS, [clusters, [], []], TEXTS, *limits)
    assert found.to_list() == [kept, [], []]


@pytest.mark.parametrize("mention", [(3, 3), (-1, 2), (0, 16), (4, 2), (1,)])
def test_a_mention_beyond_its_text_is_refused(mention):
    with pytest.raises(ValueError, match=r"`y`\[0\]\[1\] must have mentions \(start, end\) in"):
        mention_tokens(ROWS, [[[(0, 3)], [mention]], [], []], TEXTS, 3, 10)
    with pytest.raises(ValueError, match="`y` has clusters of 1 texts, but there are 3"):
        mention_tokens(ROWS, [[]], TEXTS, 3, 10)


def make_batches(lengths: list[int], weights: list[float] | None = None, **options) -> ChunkBatches:
    """Documents of numbered pieces, each piece and each two pieces a mention."""
    documents = make_rows(*([(i, i + 1) for i in range(length)] for length in lengths))
    y = [[[(i, i + 1) for i in range(n)], [(i, i + 2) for i in range(n - 1)]] for n in lengths]
    mentions = mention_tokens(documents, y, ["x" * n for n in lengths], 5, 10**6)
    rows = documents.with_targets({GOLD_MENTIONS: mentions}, weights)
    return ChunkBatches(rows, tokenizer=TOKENIZER, **options)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.integers(3, 20),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([None, 0, 7]),
)
def test_chunks_are_pieces_with_their_mentions(lengths, chunk_length, chunks, batch_size, seed):
    options = {"chunk_length": chunk_length, "chunks": chunks, "batch_size": batch_size}
    batches = make_batches(lengths, seed=seed, **options)
    plan = batches.plan(epoch=3)
    assert np.bincount(plan[:, 0], minlength=len(lengths)).tolist() == [chunks] * len(lengths)
    np.testing.assert_array_equal(plan, batches.plan(epoch=3))
    before = np.cumsum([0, *lengths])
    for at in range(0, len(plan), batch_size):
        of_batch = plan[at : at + batch_size]
        ids, segments, mask, gold = batches.batch(of_batch)
        assert ids.shape == segments.shape == mask.shape
        assert not segments.any()
        for row, (document, begin) in enumerate(of_batch):
            length = min(chunk_length - 2, lengths[document])
            assert 0 <= begin <= lengths[document] - length
            pieces = before[document] + begin + np.arange(length) + 10
            expected = [1, *pieces, 2]
            assert ids[row].tolist() == expected + [0] * (ids.shape[1] - len(expected))
            assert mask[row].tolist() == [1] * len(expected) + [0] * (ids.shape[1] - len(expected))
            mentions = [(i, i, 0) for i in range(1, length + 1)]
            mentions += [(i, i + 1, 1) for i in range(1, length)]
            assert [tuple(of) for of in gold[row] if of[0] >= 0] == sorted(mentions)


def test_a_data_set_is_an_epoch_and_reaches_both_ends():
    batches = make_batches([30, 5], chunk_length=12, chunks=2, batch_size=3, seed=1)
    dataset = batches.dataset()
    begins = set()
    for epoch in range(40):
        batches.epoch = epoch
        made = list(dataset)
        assert len(made) == len(batches) == 2
        features, gold = made[0]
        plan = batches.plan(epoch)
        ids, _, mask, expected = batches.batch(plan[:3])
        np.testing.assert_array_equal(features["token_ids"], ids)
        np.testing.assert_array_equal(features["padding_mask"], mask)
        np.testing.assert_array_equal(gold, expected)
        begins |= set(plan[plan[:, 0] == 0, 1].tolist())
    assert {0, 20} <= begins
    assert len(begins) > 12
    assert (batches.plan(0) != batches.plan(1)).any()


def test_chunks_weigh_what_their_documents_do():
    batches = make_batches([30, 5, 9], chunk_length=12, chunks=2, batch_size=4, seed=1)
    assert [len(batch) for batch in batches.dataset()] == [2, 2]
    weights = [0.5, 2.0, 0.0]
    batches = make_batches([30, 5, 9], weights, chunk_length=12, chunks=2, batch_size=4, seed=1)
    of_chunks = np.concatenate([weight for _, _, weight in batches.dataset()])
    np.testing.assert_array_equal(of_chunks, np.array(weights)[batches.plan(0)[:, 0]])


def test_turns_are_lines_with_speakers():
    turns = [{"speaker": "Ann", "text": "I'm off."}, {"text": "Bye."}, {"speaker": "", "text": "?"}]
    assert join_turns(turns) == "Ann: I'm off.\nBye.\n?"
    assert join_turns([turns[:1], "Bo came."]) == ["Ann: I'm off.", "Bo came."]
    for same in ("Bo came.", ["a", "b"], [], np.array(["a"])):
        assert join_turns(same) is same or join_turns(same) == same
    for turn in ({"speaker": "Ann"}, {"text": 1}, {"text": "a", "speaker": 2}, {"txt": "a"}):
        with pytest.raises(ValueError, match="turn 1, counted from 0, must be"):
            join_turns([{"text": "a"}, turn])


def test_nothing_is_said_where_all_is_learned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mention_tokens(ROWS, [[[(0, 3)]], [], []], TEXTS, 1, 5).to_list()[0] == [[1, 1, 0]]
