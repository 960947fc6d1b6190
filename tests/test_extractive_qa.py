"""The judge of encoders: windows, answers in them, the best span, SQuAD's scores."""

import json
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
from _extractive_qa import (
    DROPOUT,
    OVERLAP,
    WINDOW,
    Question,
    answer_pieces,
    best_spans,
    cut_windows,
    encode,
    judge,
    normalized,
    predict,
    read_questions,
    score,
    span_model,
    word_f1,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer

WORDS = ["gold", "silver", "is", "where", "?", "sand", "##y", "here"]


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS], lowercase=True)


def question_about(context: str, answer: str) -> Question:
    return Question("Where is gold?", context, ((answer, context.index(answer)),))


@given(st.integers(1, 200), st.integers(2, 40), st.data())
def test_windows_cover_a_context_and_share_the_overlap(length: int, room: int, data: st.DataObject):
    overlap = data.draw(st.integers(0, room - 1))
    windows = cut_windows(length, room, overlap)
    assert windows[0][0] == 0
    assert windows[-1][1] == length
    for (begin, end), (next_begin, next_end) in pairwise(windows):
        assert end - begin == room
        assert end - next_begin == overlap
        assert end < next_end
    # What is no longer than the overlap, and a piece more, is whole somewhere.
    for first in range(length - overlap):
        assert any(begin <= first and first + overlap < end for begin, end in windows)


def test_windows_of_the_example():
    assert cut_windows(10, 5, 2) == [(0, 5), (3, 8), (6, 10)]
    assert cut_windows(5, 5, 2) == [(0, 5)]
    assert cut_windows(0, 5, 2) == [(0, 0)]


def test_pieces_of_an_answer_share_characters_with_it():
    characters = np.array([[0, 3], [4, 8], [8, 11], [12, 16]])  # "The snowman melt"
    assert answer_pieces(characters, 4, 11) == (1, 2)
    assert answer_pieces(characters, 3, 12) == (1, 2)  # spaces around it
    assert answer_pieces(characters, 9, 13) == (2, 3)  # parts of pieces
    assert answer_pieces(characters, 0, 16) == (0, 3)
    assert answer_pieces(characters, 3, 4) is None


def test_rows_hold_the_answer_where_its_targets_say(tokenizer: SpanBertTokenizer):
    context = "Here is sandy SILVER, " * 60 + "gold is here " + "silver " * 200
    encoded = encode(
        [question_about(context, "gold is"), question_about("Sandy?", "Sandy")], tokenizer
    )
    lengths = [int(n) for n in encoded.segments[1].row_lengths()]
    room = WINDOW - 4 - 3  # where is gold ?
    assert lengths[:2] == [room, room]
    whole = 0
    batches = encoded.batches(batch_size=len(lengths))
    features, targets = next(iter(batches.dataset()))
    for row, place in enumerate(batches.plan().rows):
        first, last = targets[row].numpy()
        ids = features["token_ids"][row, first : last + 1].numpy().tolist()
        if first == last == 0:
            assert ids == [tokenizer.cls_token_id]
            continue
        whole += 1
        before = 4 + 2
        places = encoded.characters[place][first - before : last + 1 - before]
        question = encoded.questions[encoded.numbers[place]]
        text = question.context[places[0, 0] : places[-1, 1]]
        assert text == question.answers[0][0]
        assert ids == tokenizer(text).numpy().tolist()
    # The answer, pieces 360 and 361, is in the windows from 153 and from 306, a step of 153 each.
    assert room - OVERLAP == 153
    assert encoded.numbers.tolist() == [0, 0, 0, 0, 1]
    assert whole == 3


def test_reads_answerable_questions_of_both_formats(tmp_path: Path):
    answers = [{"text": "b", "answer_start": 2}, {"text": "a", "answer_start": 0}]
    qas = [
        {"question": "old", "answers": answers},
        {"question": "new", "answers": [*answers, answers[1]], "is_impossible": False},
        {"question": "plausible", "answers": answers, "is_impossible": True},
        {"question": "none", "answers": []},
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "a b", "qas": qas}]}]}))
    questions = read_questions(path)
    assert [question.text for question in questions] == ["old", "new"]
    assert [question.target for question in questions] == [(2, 3), (0, 1)]
    assert len(read_questions(path, 1)) == 1


class GoldFinder:
    """Stands for a model: says that gold is the answer, and silver a worse one."""

    def __init__(self, tokenizer: SpanBertTokenizer) -> None:
        self.gold, self.silver = (tokenizer.token_to_id(word) for word in ("gold", "silver"))

    def predict_on_batch(self, features: dict) -> np.ndarray:
        ids = features["token_ids"].numpy()
        logits = 2.0 * (ids == self.gold) + 1.0 * (ids == self.silver)
        logits[:, :4] += 5.0  # [CLS] and the question
        return np.stack([logits, logits], axis=1)


def test_answers_come_from_the_best_window_of_each_question(tokenizer: SpanBertTokenizer):
    contexts = [
        "Sandy sand. " * 7 + "Silver",
        "silver " * 300 + "GOLD " + "silver " * 300,
        "sand " * 230 + "Gold, sand",
        "Gold",
    ]
    questions = [question_about(context, context[:1]) for context in contexts]
    found = predict(GoldFinder(tokenizer), encode(questions, tokenizer))
    assert found == ["Silver", "GOLD", "Gold", "Gold"]


@given(st.data(), st.integers(1, 4), st.integers(1, 7), st.integers(1, 8))
def test_best_spans_equal_a_search_of_all(data: st.DataObject, b: int, s: int, longest: int):
    logits = arrays.arrays(np.int64, (b, s), elements=st.integers(-3, 3))
    first_logits, last_logits = data.draw(logits).astype(float), data.draw(logits).astype(float)
    allowed = data.draw(arrays.arrays(bool, (b, s)))
    sums, firsts, lasts = best_spans(first_logits, last_logits, allowed, longest)
    for row in range(b):
        spans = [
            (first_logits[row, i] + last_logits[row, j], -(j - i), -i)
            for i in np.flatnonzero(allowed[row])
            for j in np.flatnonzero(allowed[row])
            if 0 <= j - i < longest
        ]
        found = (sums[row], firsts[row] - lasts[row], -firsts[row])
        assert found == max(spans, default=(-np.inf, 0, 0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Quick-brown\tfox.", "quickbrown fox"),
        ("a an the", ""),
        ("an apple a day, the end", "apple day end"),
        ("theatre Ana", "theatre ana"),
        ("U.S. $1,000", "us 1000"),
        ("the-end", "theend"),  # punctuation goes first
        ("“quoted” — dash", "“quoted” — dash"),  # not ASCII
    ],
)
def test_normalization(text: str, expected: str):
    assert normalized(text) == expected


def test_f1_counts_words_as_often_as_both_have_them():
    assert word_f1("the red red fox", "Red fox!") == pytest.approx(0.8)  # 2 of 3 and 2 of 2
    assert word_f1("fox", "wolf") == 0
    assert word_f1("the", "a") == 0  # SQuAD 1.1's rule where nothing is left


def test_score_is_the_mean_of_the_best_over_answers():
    answers = [("in 1973", 0), ("October 1973", 0)]
    questions = [Question("", "", tuple(answers)), Question("", "", (("the end", 0),))]
    assert score(["1973 October", "End."], questions) == (50.0, 100.0)
    assert score(["1973", "nothing"], questions) == pytest.approx((0, 50 * 2 / 3))


@pytest.mark.slow
def test_judges_an_encoder(tokenizer: SpanBertTokenizer):
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(tokenizer.vocabulary_size(), 1, 2, 16, 32)
    before = [weight.numpy() for weight in backbone.weights]
    contexts = ["silver " * before + "gold" + " sand" * (9 - before) for before in range(10)]
    encoded = encode([question_about(context, "gold") for context in contexts * 40], tokenizer)
    result = judge(backbone, encoded, encoded, learning_rate=0.03)
    assert result.exact_match == result.f1 == 100
    assert result.loss < np.log(WINDOW)
    # A copy was trained.
    for weight, was in zip(backbone.weights, before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_every_encoder_is_trained_with_the_same_dropout(tokenizer: SpanBertTokenizer):
    backbone = SpanBertBackbone(tokenizer.vocabulary_size(), 1, 2, 16, 32, dropout=0.0)
    model = span_model(backbone)
    (encoder,) = (layer for layer in model.layers if isinstance(layer, SpanBertBackbone))
    assert encoder.transformer_layers[0].attention.probability_dropout.rate == DROPOUT
    for weight, original in zip(encoder.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(weight, original)


def test_logits_do_not_depend_on_padding(tokenizer: SpanBertTokenizer):
    keras.utils.set_random_seed(0)
    model = span_model(SpanBertBackbone(tokenizer.vocabulary_size(), 1, 2, 16, 32))
    ids = np.array([[2, 5, 3, 6, 7, 3, 0, 0]])
    features = {
        "token_ids": ids,
        "segment_ids": np.array([[0, 0, 0, 1, 1, 1, 0, 0]]),
        "padding_mask": (ids > 0).astype(np.int32),
    }
    padded = model(features)
    bare = model({name: array[:, :6] for name, array in features.items()})
    assert padded.shape == (1, 2, 8)
    np.testing.assert_allclose(padded[:, :, :6], bare, atol=1e-5)
    assert (padded.numpy()[:, :, 6:] < -1e8).all()
