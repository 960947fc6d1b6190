"""Questions made of text alone, and the losses of span selection."""

import gzip
from pathlib import Path

import keras
import numpy as np
import pytest
from _cloze_questions import (
    BLANK,
    PASSAGE_CHARACTERS,
    QUERY_WORDS,
    cloze_questions,
    read_articles,
)
from span_selection import Selection, make_batches

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertPretrainer,
    SpanBertPretrainerPreprocessor,
    SpanBertTokenizer,
)
from spanbert_tf.data.readers.questions import Question

WINTER = (
    "The village of Hollowbrook lies between two rivers in the northern hills. Its mill was built "
    "in 1742 by the weaver Edmund Tarrow and burned down twice. Each winter the rivers freeze and "
    "the villagers skate to the market in Stoneford."
)
MILL = (
    "Visitors come to the northern hills for the mill above all. The weaver Edmund Tarrow left it "
    "to his daughter, who sold it to the villagers after the second fire. Since 1911 the mill has "
    "been a museum of weaving, with a market hall beside it and a view of both rivers."
)
ARTICLE = [WINTER, MILL]


def questions(seed: int = 0, most: int = 20) -> list[Question]:
    return cloze_questions(ARTICLE, np.random.default_rng(seed), most)


@pytest.mark.parametrize("seed", range(5))
def test_blank_and_answer_make_a_sentence_of_the_article(seed: int):
    made = questions(seed)
    assert made
    for question in made:
        ((answer, begin),) = question.answers
        sentence = question.question.replace(BLANK, answer)
        assert any(sentence in paragraph for paragraph in ARTICLE)
        assert question.context[begin : begin + len(answer)] == answer
        assert question.context.count(answer) == 1
        assert sentence not in question.context
        assert len(sentence.split()) in QUERY_WORDS
        assert len(question.context) in PASSAGE_CHARACTERS


def test_a_name_is_one_answer():
    answers = {answer for seed in range(30) for q in questions(seed) for answer, _ in q.answers}
    assert "Edmund Tarrow" in answers
    assert not {"Its", "Each", "Since", "The", "Visitors"} & answers


def test_no_answer_and_no_sentence_comes_twice():
    made = questions()
    assert len({question.answers[0][0] for question in made}) == len(made)
    sentences = [q.question.replace(BLANK, q.answers[0][0]) for q in made]
    assert len(set(sentences)) == len(made)
    assert len(questions(most=1)) == 1


def test_text_without_a_passage_makes_none():
    generator = np.random.default_rng(0)
    assert cloze_questions([WINTER], generator, 5) == []
    assert cloze_questions(["Short."], generator, 5) == []
    assert cloze_questions([], generator, 5) == []


def test_articles_end_at_empty_lines(tmp_path: Path):
    paths = [tmp_path / "0.txt.gz", tmp_path / "1.txt.gz"]
    for path, text in zip(paths, ("a\nb\n\n\nc\n", "d\n"), strict=True):
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(text)
    assert list(read_articles(paths)) == [["a", "b"], ["c"], ["d"]]


@pytest.fixture(scope="module")
def selection() -> Selection:
    words = sorted({w.strip(".,").lower() for text in ARTICLE for w in text.split()} | {".", ","})
    tokenizer = SpanBertTokenizer(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words], lowercase=True
    )
    keras.utils.set_random_seed(3)
    backbone = SpanBertBackbone(tokenizer.vocabulary_size(), 2, 2, 16, 24, dropout=0.0)
    preprocessor = SpanBertPretrainerPreprocessor(tokenizer, 256)
    return Selection(SpanBertPretrainer(backbone, preprocessor, max_targets=4), 3e-3)


@pytest.mark.slow
def test_losses_are_those_of_their_parts(selection: Selection):
    tokenizer = selection.pretrainer.preprocessor.tokenizer
    dataset, steps, tokens = make_batches(questions(), tokenizer, 4, seed=0)
    features, targets = next(iter(dataset))
    assert steps >= 1
    assert tokens >= int(features["padding_mask"].numpy().sum())
    # The blank is one token, whatever else is masked.
    assert (features["token_ids"].numpy() == tokenizer.mask_token_id).any(axis=1).all()
    select, mlm, sbo = map(float, selection.losses(features, targets))

    sums = selection.pretrainer.compute_losses(features, training=True)
    assert mlm == pytest.approx(float(sums["mlm_loss_sum"] / sums["mlm_weight"]), rel=1e-5)
    assert sbo == pytest.approx(float(sums["sbo_loss_sum"] / sums["sbo_weight"]), rel=1e-5)
    states = selection.pretrainer.backbone(
        {n: features[n] for n in selection.pretrainer.backbone.input}
    )
    logits = selection.head(states["sequence_output"]).numpy()
    logits = np.where(features["padding_mask"].numpy()[..., None] > 0, logits, -np.inf)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = np.arange(len(shares))
    first, last = targets.numpy().T
    expected = -np.log([shares[rows, first, 0], shares[rows, last, 1]]).mean()
    assert select == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_steps_learn_all_three(selection: Selection):
    tokenizer = selection.pretrainer.preprocessor.tokenizer
    dataset, _, _ = make_batches(questions(), tokenizer, 4, seed=0)
    batch = next(iter(dataset))
    before = [float(x) for x in selection.losses(*batch)]
    for _ in range(30):
        selection.step(*batch)
    after = [float(x) for x in selection.losses(*batch)]
    assert all(new < old - 0.5 for new, old in zip(after, before, strict=True))
