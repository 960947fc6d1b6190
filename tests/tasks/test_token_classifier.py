"""Token classification: what is learned, what is found, and the same in every format."""

import json
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer, load_task
from spanbert_tf.data.readers.entities import EntitySpan, TaggedText
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.tag_numbers import legal_moves, tag_words
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from spanbert_tf.features import TAG_SCORES, TAGS
from spanbert_tf.tasks.decoders.entities import Entity, EntityDecoder
from spanbert_tf.tasks.token_classifier import (
    SpanBertTokenClassifier,
    SpanBertTokenClassifierPreprocessor,
    TokenClassification,
)
from spanbert_tf.training import finetune
from tests.layer_checks import randomize
from tests.served_tensors import CApi, assert_same_tensors

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{x}" for x in LETTERS)]
VOCABULARY += [".", ",", "😀", "中", "文"]
TEXTS = [
    "ada met bo in c.",
    "",
    "   ",
    "😀 éa b́c, 中文 d",
    " ".join(f"{a}{b} {c}" for a in "abcd" for b in "efg" for c in "hij"),
    "a" * 150 + " b",
]


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(VOCABULARY, lowercase=True)


def make_backbone(seed: int = 0) -> SpanBertBackbone:
    keras.utils.set_random_seed(seed)
    return SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 32, max_sequence_length=24)


def make_classifier(tokenizer: SpanBertTokenizer, crf: bool = False) -> SpanBertTokenClassifier:
    """One of random weights, which finds entities everywhere, in windows of ten pieces."""
    classifier = SpanBertTokenClassifier(
        make_backbone(),
        ["LOC", "PER"],
        SpanBertTokenClassifierPreprocessor(tokenizer, sequence_length=12, overlap=4),
        crf=crf,
    )
    randomize(classifier, seed=3)
    return classifier


@pytest.fixture(scope="module", params=[False, True], ids=["softmax", "crf"])
def classifier(request: pytest.FixtureRequest, tokenizer: SpanBertTokenizer):
    return make_classifier(tokenizer, request.param)


def found(answers: list[list[Entity]]) -> list[list[tuple]]:
    return [[(e.entity_group, e.word, e.start, e.end) for e in answer] for answer in answers]


def assert_same(answers: list[list[Entity]], expected: list[list[Entity]]) -> None:
    assert found(answers) == found(expected)
    scores = [[e.score for answer in of for e in answer] for of in (answers, expected)]
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_entities_are_characters_of_the_text_given(classifier: SpanBertTokenClassifier):
    answers = classifier.find_entities(TEXTS)
    assert sum(map(len, answers)) > 2
    assert answers[1] == answers[2] == []
    for text, answer in zip(TEXTS, answers, strict=True):
        for entity in answer:
            assert text[entity.start : entity.end] == entity.word
            assert 0 < entity.score <= 1
        assert all(one.end <= other.start for one, other in pairwise(answer))


def test_many_texts_are_answered_as_few(classifier: SpanBertTokenClassifier):
    """By the decoder in NumPy over sorted batches, and by that in the graph."""
    many = classifier.find_entities(TEXTS * 3)
    assert len(TEXTS * 3) > 8
    assert_same(many[: len(TEXTS)], classifier.find_entities(TEXTS))
    assert_same(many[len(TEXTS) : 2 * len(TEXTS)], many[: len(TEXTS)])
    alone = [classifier.find_entities(text) for text in TEXTS]
    assert_same(alone, many[: len(TEXTS)])


def test_tags_keep_their_rules(classifier: SpanBertTokenClassifier):
    features = classifier.preprocessor(TEXTS)
    outputs = classifier(features, training=False)
    words = np.array(features["word_starts"], bool)
    starts, moves = legal_moves(2)
    for row, is_word in zip(np.array(outputs["tags"]), words, strict=True):
        assert not row[~is_word].any()
        path = row[is_word]
        assert not len(path) or starts[path[0]]
        assert moves[path[:-1], path[1:]].all()


@pytest.mark.slow
def test_exports_find_the_same(classifier: SpanBertTokenClassifier, tmp_path: Path, c_api: CApi):
    expected = classifier.find_entities(TEXTS)
    export_task(classifier, tmp_path / "1")
    export_litert(classifier, tmp_path / "lite")
    classifier.save_to_preset(str(tmp_path / "preset"))
    for name in ("1", "lite", "preset"):
        task = load_task(tmp_path / name)
        assert task.task == "token-classification"
        assert_same(task(TEXTS), expected)
        assert_same(task.find_entities(TEXTS * 2)[len(TEXTS) :], expected)
        assert_same([task(TEXTS[0])], expected[:1])
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    outputs = served(text=tf.constant(TEXTS))
    assert_same_tensors(c_api(tmp_path / "1", text=TEXTS), outputs, atol=1e-5)
    counts = [len(answer) for answer in expected]
    assert outputs["start"].shape == (len(TEXTS), max(counts))
    assert (outputs["start"].numpy() >= 0).sum(axis=1).tolist() == counts


@given(st.integers(0, 2**31))
@settings(max_examples=40)
def test_an_entity_at_a_seam_is_whole(seed: int):
    """Tags that are right in each window give all entities of up to half the overlap."""
    generator = np.random.default_rng(seed)
    words = [str(word) for word in generator.choice(LETTERS, 60)]
    text, spans, word = " ".join(words), [], 0
    while word < len(words):
        length = int(generator.integers(1, 5))
        if generator.random() < 0.5 and word + length <= len(words):
            spans.append((2 * word, 2 * (word + length) - 1, int(generator.integers(2))))
        word += length
    rows = SpanBertTokenClassifierPreprocessor(_cached_tokenizer(), 20, 8).rows(tf.constant([text]))
    assert len(rows.records) > 4
    places = [rows.places[name].to_list() for name in ("starts", "ends", "word_starts")]
    of_rows = [
        tag_words(*map(np.array, row), np.array(spans, int).reshape(-1, 3))
        for row in zip(*places, strict=True)
    ]
    tags = [np.array([0, *row, 0]) for row in of_rows]
    decoded = {TAGS.name: tags, TAG_SCORES.name: [np.ones(len(row)) for row in tags]}
    (answer,) = EntityDecoder(("0", "1")).answers(decoded, rows, [[text]])
    assert [(e.start, e.end, int(e.entity_group)) for e in answer] == spans


@settings(max_examples=60)
@given(st.data())
def test_both_decoders_join_words_alike(data: st.DataObject):
    """Any legal tags of any windows: NumPy and TensorFlow give the same entities."""
    tokenizer = _cached_tokenizer()
    texts = data.draw(st.lists(st.text("ab .é中", max_size=40), min_size=1, max_size=4))
    length = data.draw(st.integers(6, 12))
    overlap = data.draw(st.integers(0, (length - 2) // 2))
    rows = SpanBertTokenClassifierPreprocessor(tokenizer, length, overlap).rows(tf.constant(texts))
    tags, scores = [], []
    for words in rows.places["word_starts"].to_list():
        row, before = [0], 0
        for is_word in words:
            tag = 0
            if is_word:
                goes_on = [before + before % 2] if before else []
                tag = data.draw(st.sampled_from([0, 1, 3, *goes_on]))
                before = tag
            row.append(tag)
        tags.append(np.array([*row, 0]))
        scores.append(np.linspace(0.1, 0.9, len(row) + 1).astype("float32"))
    decoder = EntityDecoder(("X", "Y"))
    expected = decoder.answers({TAGS.name: tags, TAG_SCORES.name: scores}, rows, [texts])
    width = max(map(len, tags))
    dense = {
        TAGS.name: tf.constant([np.pad(row, (0, width - len(row))) for row in tags]),
        TAG_SCORES.name: tf.constant([np.pad(row, (0, width - len(row))) for row in scores]),
    }
    served = decoder.serve(dense, rows, [tf.constant(texts)])
    assert_same(decoder.served({name: of.numpy() for name, of in served.items()}), expected)


_tokenizers: list[SpanBertTokenizer] = []


def _cached_tokenizer() -> SpanBertTokenizer:
    if not _tokenizers:
        _tokenizers.append(SpanBertTokenizer(VOCABULARY, lowercase=True))
    return _tokenizers[0]


def test_a_word_has_the_tag_of_the_entity_that_it_is_in():
    starts, ends = np.array([0, 5, 7, 10]), np.array([4, 9, 9, 14])
    words = np.array([True, True, False, True])
    spans = np.array([[5, 14, 0]])
    assert tag_words(starts, ends, words, spans).tolist() == [0, 1, 0, 2]
    # One that begins within a word, and one right behind another of the same type.
    assert tag_words(starts, ends, words, np.array([[2, 4, 1]])).tolist() == [3, 0, 0, 0]
    assert tag_words(starts, ends, words, np.array([[0, 4, 0], [5, 9, 0]])).tolist() == [1, 1, 0, 0]


def make_records(count: int, seed: int = 0) -> list[TaggedText]:
    """Words of one letter; "p" and what follows is a person, "l" a place."""
    generator = np.random.default_rng(seed)
    records = []
    for line in range(count):
        words, entities, at = [], [], 0
        for _ in range(generator.integers(2, 7)):
            kind = generator.choice(["PER", "LOC", "", ""])
            word = {"PER": "p b", "LOC": "l", "": generator.choice(list("xyz"))}[kind]
            if kind:
                entities.append(EntitySpan(at, at + len(word), str(kind)))
            words.append(str(word))
            at += len(word) + 1
        records.append(TaggedText(" ".join(words), tuple(entities), None, line + 1, "made.conll"))
    return records


@pytest.mark.slow
@pytest.mark.parametrize("crf", [False, True])
def test_finetune_learns_and_exports(tokenizer: SpanBertTokenizer, tmp_path: Path, crf: bool):
    make_backbone().save_to_preset(str(tmp_path / "encoder"))
    tokenizer.save_to_preset(str(tmp_path / "encoder"))
    settings = TokenClassification(
        epochs=8,
        batch_size=8,
        learning_rate=1e-2,
        head_learning_rate=3e-2,
        sequence_length=20,
        overlap=4,
        crf=crf,
    )
    result = finetune(
        settings,
        make_records(160),
        task="token-classification",
        test=make_records(40, seed=1),
        encoder=tmp_path / "encoder",
        output=tmp_path / "preset",
        saved_model=tmp_path / "saved_model" / "1",
        verbose=0,
    )
    assert result.test["f1"] > 0.95
    assert set(result.validation) == {"f1", "precision", "recall", "lenient_f1", "loss"}
    kept = json.loads((tmp_path / "preset" / "metrics.json").read_text())
    assert kept["head"]["entity_groups"] == ["LOC", "PER"]
    answers = load_task(tmp_path / "saved_model" / "1")(["x p b l", "z"])
    assert found(answers) == [[("PER", "p b", 2, 5), ("LOC", "l", 6, 7)], []]


def test_loss_is_the_mean_over_words(tokenizer: SpanBertTokenizer):
    classifier = make_classifier(tokenizer)
    rows = classifier.encode([["ab c", "d"]], [[(0, 2, "PER")], []])
    batch = classifier.batches_of(rows).only_batch()
    features, tags = batch
    outputs = classifier(features, training=False)
    logits = np.array(outputs["logits"], "float64")
    picked = np.take_along_axis(logits, np.array(tags)[..., None], -1)[..., 0]
    losses = np.log(np.exp(logits).sum(-1)) - picked
    words = np.array(features["word_starts"], bool)
    assert words.sum() == 3
    expected = losses[words].mean()
    loss = classifier.compute_loss(features, tags, outputs, None, training=False)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[(0, 2, "PER"), (1, 4, "LOC")]], "share characters"),
        ([[(0, 4, "PER"), (1, 2, "LOC")]], "share characters"),
        ([[(0, 2, "ORG")]], "unknown entity type 'ORG'"),
        ([[], []], "entities of 2 texts, but there are 1"),
    ],
)
def test_bad_entities_are_named(tokenizer: SpanBertTokenizer, y: list, message: str):
    with pytest.raises(ValueError, match=message):
        make_classifier(tokenizer).encode([["ab cd"]], y)


def test_what_does_not_fit_is_refused(tokenizer: SpanBertTokenizer):
    with pytest.raises(ValueError, match="`overlap` must be"):
        SpanBertTokenClassifierPreprocessor(tokenizer, sequence_length=12, overlap=6)
    with pytest.raises(ValueError, match="different names"):
        SpanBertTokenClassifier(make_backbone(), ["PER", "PER"])
    preprocessor = SpanBertTokenClassifierPreprocessor(tokenizer, sequence_length=50)
    with pytest.raises(ValueError, match="positions for 24 tokens"):
        SpanBertTokenClassifier(make_backbone(), ["PER"], preprocessor)
    record = TaggedText("a", (), None, 1, "empty.conll")
    with pytest.raises(DataError, match="expected texts with entities, found none"):
        SpanBertTokenClassifier.head_arguments([record], TokenClassification())
    stranger = TaggedText("a", (EntitySpan(0, 1, "ORG"),), None, 7, "dev.conll")
    with pytest.raises(DataError, match=r"dev.conll, line 7: unknown entity type 'ORG'"):
        make_classifier(tokenizer).columns_of([stranger])


def test_files_of_words_are_read_and_scored(tokenizer: SpanBertTokenizer, tmp_path: Path):
    path = tmp_path / "a.conll"
    path.write_text("ada\tB-PER\nbo\tI-PER\nmet\tO\n\nc\tB-LOC\n")
    records = SpanBertTokenClassifier.read(path)
    assert [record.text for record in records] == ["ada bo met", "c"]
    classifier = make_classifier(tokenizer)
    right = [[Entity("PER", 1.0, "ada bo", 0, 6)], [Entity("LOC", 1.0, "c", 0, 1)]]
    assert classifier.score(right, records)["f1"] == 1.0
    figures = classifier.assess(records)
    assert set(figures) == {"f1", "precision", "recall", "lenient_f1", "loss"}


def test_an_epoch_is_counted_in_windows(tokenizer: SpanBertTokenizer):
    """Or the learning rate would be 0 before the last of them were seen."""
    classifier = make_classifier(tokenizer)
    columns = [["a b", " ".join("ab" * 40), ""]]
    rows = len(classifier.encode(columns).records)
    assert classifier.rows_an_epoch(columns) == rows > 3
