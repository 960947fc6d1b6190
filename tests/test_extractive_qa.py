"""The judge of encoders: the rows that it trains on, and a whole judgement."""

from pathlib import Path

import keras
import numpy as np
import pytest
from _extractive_qa import STRIDE, WINDOW, encode, judge, sample

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer
from spanbert_tf.data.readers.questions import Question
from spanbert_tf.features import ANSWER_TOKENS

WORDS = ["gold", "silver", "is", "where", "?", "sand", "##y", "here"]


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS], lowercase=True)


def question_about(context: str, answer: str) -> Question:
    return Question("Where is gold?", context, ((answer, context.index(answer)),))


def test_rows_hold_the_answer_where_their_targets_say(tokenizer: SpanBertTokenizer):
    context = "Here is sandy SILVER, " * 60 + "gold is here " + "silver " * 200
    questions = [question_about(context, "gold is"), question_about("Sandy?", "Sandy")]
    rows = encode(questions, tokenizer)
    asked, pieces = (segment.to_list() for segment in rows.segments)
    room = WINDOW - 4 - 3  # where is gold ?
    assert [len(of) for of in pieces[:2]] == [room, room]
    assert pieces[0][-STRIDE:] == pieces[1][:STRIDE]
    targets = rows.targets[ANSWER_TOKENS].numpy()
    for row, (first, last) in enumerate(targets):
        ids = [tokenizer.cls_token_id, *asked[row], tokenizer.sep_token_id, *pieces[row]]
        answer = questions[rows.records.numpy()[row]].answers[0][0]
        expected = tokenizer(answer).numpy().tolist() if first else [tokenizer.cls_token_id]
        assert ids[first : last + 1] == expected
    # The answer, pieces 360 and 361, is in the windows from 153, a step, from 306 and from the last
    # piece that leaves a whole window.
    assert rows.records.numpy().tolist() == [0, 0, 0, 0, 1]
    assert (targets[:, 0] > 0).tolist() == [False, True, True, True, True]


def test_a_sample_keeps_the_order():
    questions = [Question(str(number), "", ()) for number in range(20)]
    assert sample(questions, None) == questions
    assert len(sample(questions, 5)) == 5
    assert sample(questions, 5) == sorted(sample(questions, 5), key=lambda one: int(one.question))


@pytest.mark.slow
def test_judges_an_encoder(tokenizer: SpanBertTokenizer, tmp_path: Path):
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(
        tokenizer.vocabulary_size(), 1, 2, 16, 32, max_sequence_length=WINDOW
    )
    backbone.save_to_preset(str(tmp_path))
    tokenizer.save_to_preset(str(tmp_path))
    contexts = ["silver " * before + "gold" + " sand" * (9 - before) for before in range(10)]
    questions = [question_about(context, "gold") for context in contexts * 40]
    result = judge(tmp_path, questions, questions, learning_rate=0.03)
    assert result.figures["exact_match"] == result.figures["f1"] == 100
    assert result.loss < np.log(WINDOW)
    assert result.tokens_per_second > 0
