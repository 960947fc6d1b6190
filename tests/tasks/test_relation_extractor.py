"""Relation extraction: what is read and learned, what is found, and the same in every format."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer, load_task
from spanbert_tf.cli.main import main
from spanbert_tf.data.readers.entities import EntitySpan
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.relations import RelationExample, read_marks
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from spanbert_tf.tasks.decoders.entities import Entity
from spanbert_tf.tasks.decoders.relations import Mention, Relation
from spanbert_tf.tasks.relation_extractor import (
    RelationExtraction,
    SpanBertRelationExtractor,
    SpanBertRelationExtractorPreprocessor,
)
from spanbert_tf.tasks.token_classifier import (
    SpanBertTokenClassifier,
    SpanBertTokenClassifierPreprocessor,
)
from spanbert_tf.training import finetune
from tests.layer_checks import randomize
from tests.served_tensors import CApi, assert_same_tensors

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"[unused{n}]" for n in range(12))]
VOCABULARY += [*LETTERS, *(f"##{letter}" for letter in LETTERS), ".", ",", "😀", "中", "文"]
MARKED = [
    "<e1>ada</e1> met <e2>bo</e2> in c.",
    "😀 <e2:LOC>éa</e2:LOC> b́c, <e1:PER> 中文 </e1> d",
    "<e1>a <e2>b</e2></e1>",
    "q r s t u v w x y z <e1>a</e1> k l <e2>b</e2> c d e f g h i j k l m",
    "<e1>a</e1> " + "x " * 40 + "<e2>b</e2>",
    "un<e1>bre</e1><e2>ak</e2>able",
]
NAMES = ["knows", "no_relation", "owns"]
LENGTH = 24


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(VOCABULARY, lowercase=True)


def make_backbone(seed: int = 0) -> SpanBertBackbone:
    keras.utils.set_random_seed(seed)
    return SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 32, max_sequence_length=LENGTH)


def make_extractor(
    tokenizer: SpanBertTokenizer, negative: str | None = None, **options
) -> SpanBertRelationExtractor:
    """One of random weights, which finds all kinds of relations."""
    options = {"entity_types": ["LOC", "PER"], **options}
    extractor = SpanBertRelationExtractor(
        make_backbone(),
        NAMES,
        SpanBertRelationExtractorPreprocessor(tokenizer, LENGTH, **options),
        negative,
    )
    randomize(extractor, seed=3)
    return extractor


def make_tagger(tokenizer: SpanBertTokenizer) -> SpanBertTokenClassifier:
    """One that takes every word for a person: only B-PER has a score."""
    preprocessor = SpanBertTokenClassifierPreprocessor(tokenizer, LENGTH)
    tagger = SpanBertTokenClassifier(make_backbone(), ["LOC", "PER"], preprocessor)
    kernel, _ = tagger.output_dense.get_weights()
    tagger.output_dense.set_weights([0 * kernel, np.array([0, 0, 0, 10, 0], "float32")])
    return tagger


@pytest.fixture(scope="module")
def extractor(tokenizer: SpanBertTokenizer) -> SpanBertRelationExtractor:
    return make_extractor(tokenizer)


def assert_same(answers: list[list[Relation]], expected: list[list[Relation]]) -> None:
    def parts(relations: list[list[Relation]]) -> list:
        return [[(one.label, one.head, one.tail) for one in of] for of in relations]

    assert parts(answers) == parts(expected)
    scores = [[one.score for of in side for one in of] for side in (answers, expected)]
    np.testing.assert_allclose(*scores, atol=1e-5)


def tokens_of(preprocessor: SpanBertRelationExtractorPreprocessor, *columns: str) -> str:
    """The tokens of a text, marks by their numbers, without [CLS] and [SEP]."""
    features = preprocessor(tuple([column] for column in columns))
    ids = np.array(features["token_ids"])[0][np.array(features["padding_mask"], bool)[0]]
    tokens = preprocessor.tokenizer.convert_ids_to_tokens(ids)
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    for place in np.array(features["entity_starts"])[0]:
        assert tokens[place].startswith("[unused")
    return " ".join(tokens[1:-1]).replace("[unused", "").replace("]", "")


def test_entities_are_marked_by_their_types(tokenizer: SpanBertTokenizer):
    around = SpanBertRelationExtractorPreprocessor(tokenizer, LENGTH, entity_types=["PER"])
    text = "😀 é b, c"
    assert tokens_of(around, text, "2:3", "7:8") == "😀 0 e 1 b , 2 c 3"
    # Types that are known have marks of their own, others those without a type.
    assert tokens_of(around, text, "7:8:PER", "2:3:ORG") == "😀 2 e 3 b , 4 c 5"
    instead = SpanBertRelationExtractorPreprocessor(tokenizer, LENGTH, "types", ["PER", "LOC"])
    assert tokens_of(instead, text, "2:3:LOC", "7:8:PER") == "😀 4 b , 3"
    assert tokens_of(instead, text, "7:8", "2:3:PER") == "😀 3 b , 0"


def test_relations_are_about_characters_of_the_text(extractor: SpanBertRelationExtractor):
    answers = extractor.extract(MARKED)
    for marked, (relation,) in zip(MARKED, answers, strict=True):
        text, head, tail = read_marks(marked)
        for mention, span in ((relation.head, head), (relation.tail, tail)):
            word = text[span.start : span.end]
            assert mention == Mention(word, span.start, span.end, span.label)
        assert relation.label in NAMES
        assert 0 < relation.score <= 1
    assert answers[1][0].head.word == "中文"
    assert answers[1][0].tail == Mention("éa", 2, 4, "LOC")
    # Long ones are cut around their entities, not through them.
    lengths = extractor.encode([MARKED]).segments[0].row_lengths().numpy()
    assert lengths.tolist()[3:5] == [LENGTH - 2, LENGTH - 2]


def test_many_pairs_are_answered_as_few(extractor: SpanBertRelationExtractor):
    few = extractor.extract(MARKED)
    assert_same(extractor.extract(MARKED * 3)[len(MARKED) : 2 * len(MARKED)], few)
    assert_same([extractor.extract(text) for text in MARKED[:1]], few[:1])
    pairs = [[(head, tail)] for _, head, tail in map(read_marks, MARKED)]
    texts = [read_marks(marked)[0] for marked in MARKED]
    assert_same(extractor.extract(texts, pairs), few)
    (first,) = extractor.extract(texts[1], [((11, 13, "PER"), [2, 4, "LOC"])])
    assert_same([[first]], few[1:2])
    assert extractor.extract([]) == []
    assert extractor.extract(texts[:2], [[], []]) == [[], []]


def test_scores_are_those_of_the_states_at_the_first_marks(extractor: SpanBertRelationExtractor):
    rows = extractor.encode([MARKED])
    features = extractor.batches_of(rows).only_batch()
    backbone = extractor.backbone
    states = np.array(
        backbone({name: features[name] for name in backbone.input})["sequence_output"]
    )
    kernel, bias = (np.array(weight) for weight in extractor.output_dense.weights)
    starts = np.array(features["entity_starts"])
    both = [np.concatenate(row[at]) for row, at in zip(states, starts, strict=True)]
    logits = np.array(both) @ kernel + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    expected = (odds / odds.sum(1, keepdims=True)).max(1)
    scores = np.array(sorted(of[0].score for of in extractor.extract(MARKED)))
    np.testing.assert_allclose(scores, sorted(expected), atol=1e-5)


class Finder:
    """A token classifier that finds every word of one letter."""

    def find_entities(self, texts: list[str]) -> list[list[Entity]]:
        return [
            [Entity("PER", 0.9, c, n, n + 1) for n, c in enumerate(text) if c != " "]
            for text in texts
        ]


def test_all_pairs_of_found_entities_are_looked_at(tokenizer: SpanBertTokenizer):
    texts = ["a b c", "", "d", "e f"]
    extractor = make_extractor(tokenizer)
    found = extractor.extract(texts, Finder())
    assert [len(of) for of in found] == [6, 0, 0, 2]
    words = {(one.head.word, one.tail.word, one.head.entity_group) for one in found[0]}
    assert words == {(a, b, "PER") for a in "abc" for b in "abc" if a != b}
    # What is in no relation is left out of what was found, not of what was asked for.
    label = found[0][0].label
    config = {**extractor.get_config(), "negative": label}
    other = SpanBertRelationExtractor.from_config(config)
    other.preprocessor = extractor.preprocessor
    other.set_weights(extractor.get_weights())
    assert_same(
        other.extract(texts, Finder()), [[one for one in of if one.label != label] for of in found]
    )
    pair = [(found[0][0].head, found[0][0].tail)]
    assert other.extract(texts[0], pair)[0].label == label
    # Names that have a direction need but one order.
    directed = SpanBertRelationExtractor(
        make_backbone(), ["x(e1,e2)", "x(e2,e1)"], extractor.preprocessor
    )
    assert [len(of) for of in directed.extract(texts, Finder())] == [3, 0, 0, 1]
    assert directed.extract("a b", Finder())[0].head.word == "a"


@pytest.fixture(scope="module")
def exports(extractor: SpanBertRelationExtractor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    export_task(extractor, folder / "1")
    export_litert(extractor, folder / "lite")
    extractor.save_to_preset(str(folder / "preset"))
    make_tagger(extractor.preprocessor.tokenizer).save_to_preset(str(folder / "ner"))
    return folder


@pytest.mark.slow
def test_exports_find_the_same(extractor: SpanBertRelationExtractor, exports: Path, c_api: CApi):
    expected = extractor.extract(MARKED)
    text = "ada met bo in c."
    found = extractor.extract([text], exports / "ner")
    assert len(found[0]) == 6 * 5  # Each of the words, and the full stop, with each other one.
    columns = {"text": ["a 😀 b"], "head": ["4:5:PER"], "tail": ["2:3"]}
    tensors = []
    for name in ("1", "lite", "preset"):
        task = load_task(exports / name)
        tensors.append(task.answer_tensors((*columns.values(),)))
        assert task.task == "relation-extraction"
        assert_same(task(MARKED), expected)
        assert_same(task.extract(MARKED * 2)[len(MARKED) :], expected)
        assert_same([task(MARKED[0])], expected[:1])
        assert_same(task([text], entities=load_task(exports / "ner")), found)
        with pytest.raises(ValueError, match="two entities have more than 22 tokens"):
            task("<e1>" + "a " * 30 + "</e1> <e2>b</e2>")
    served = tf.saved_model.load(str(exports / "1")).signatures["serving_default"]
    outputs = served(**{name: tf.constant(column) for name, column in columns.items()})
    for of_format in tensors:
        assert_same_tensors(of_format, outputs)
    assert_same_tensors(c_api(exports / "1", **columns), outputs, atol=1e-5)
    assert [outputs[name].numpy()[0].decode() for name in ("head", "head_group", "tail")] == [
        *("b", "PER"),
        "😀",
    ]
    assert [int(outputs[f"tail_{of}"][0]) for of in ("start", "end")] == [2, 3]
    columns["head"] = ["4:6"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="not within its text"):
        served(**{name: tf.constant(column) for name, column in columns.items()})
    with pytest.raises(RuntimeError, match="not within its text"):
        c_api(exports / "1", **columns)


@pytest.mark.slow
def test_the_command_line_finds_entities_and_relations(
    extractor: SpanBertRelationExtractor, exports: Path, capsys: pytest.CaptureFixture[str]
):
    text = "ada met bo in c."
    assert main(["predict", str(exports / "1"), "--json", MARKED[0]]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    (relation,) = extractor.extract(MARKED[0])
    assert (answer["text"], len(answer["answers"])) == (MARKED[0], 1)
    assert answer["answers"][0]["label"] == relation.label
    assert answer["answers"][0]["tail"] == {"word": "bo", "start": 8, "end": 10, "entity_group": ""}

    words = ["predict", str(exports / "preset"), "--entities", str(exports / "ner"), text]
    assert main(words) == 0
    expected = extractor.extract(text, exports / "ner")
    assert capsys.readouterr().out.splitlines() == [text, *(f"  {one}" for one in expected)]
    assert main(["predict", str(exports / "ner"), text]) == 0
    # Other tasks have no such option, and what is no token classifier finds none.
    with pytest.raises(SystemExit):
        main(["predict", str(exports / "ner"), "--entities", "x", text])
    assert main(["predict", str(exports / "preset"), "--entities", str(exports / "1"), text]) == 1
    assert "must be a token classifier, but" in capsys.readouterr().err


def make_records(count: int, seed: int = 0) -> list[RelationExample]:
    """`a x b`: the first knows the second; `a y b`: it is the other way round; else nothing."""
    generator = np.random.default_rng(seed)
    records = []
    for line in range(count):
        one, other = generator.choice(list("abcdef"), 2, replace=False)
        verb = str(generator.choice(list("xyz")))
        spans = EntitySpan(2, 3, "PER"), EntitySpan(6, 7, "PER")
        label = {"x": "knows(e1,e2)", "y": "knows(e2,e1)", "z": "Other"}[verb]
        records.append(RelationExample(f"q {one} {verb} {other} r", *spans, label, line + 1, "m"))
    return records


@pytest.mark.slow
@pytest.mark.parametrize("marking", ["around", "types"])
def test_finetune_learns(tokenizer: SpanBertTokenizer, tmp_path: Path, marking: str):
    make_backbone().save_to_preset(str(tmp_path / "encoder"))
    tokenizer.save_to_preset(str(tmp_path / "encoder"))
    settings = RelationExtraction(
        epochs=20,
        batch_size=8,
        learning_rate=1e-2,
        head_learning_rate=3e-2,
        sequence_length=16,
        marking=marking,
    )
    result = finetune(
        settings,
        make_records(160),
        task="relation-extraction",
        test=make_records(40, seed=1),
        encoder=tmp_path / "encoder",
        output=tmp_path / "preset",
        verbose=0,
    )
    assert result.test["macro_f1"] > 0.95
    assert set(result.validation) == {*SpanBertRelationExtractor.figures, "loss"}
    kept = json.loads((tmp_path / "preset" / "metrics.json").read_text())
    assert kept["head"]["negative"] == "Other"
    assert kept["head"]["entity_types"] == ["PER"]
    task = load_task(tmp_path / "preset")
    assert task.model.preprocessor.entity_types == ("PER",)
    assert [one.label for one in task("q <e1:PER>a</e1> y <e2:PER>b</e2> r")] == ["knows(e2,e1)"]


def test_fit_takes_marked_texts_and_names(extractor: SpanBertRelationExtractor):
    labels = ["knows", "owns", "owns", "knows", "no_relation", "owns"]
    rows = extractor.encode([MARKED], labels)
    (target,) = rows.targets.values()
    assert target.numpy().tolist() == [0, 2, 2, 0, 1, 2]
    columns = extractor.encode(*extractor.columns_of(_records(labels)))
    assert columns.segments[0].to_list() == rows.segments[0].to_list()
    loss, accuracy = extractor.evaluate(MARKED, labels, verbose=0)
    answers = [of[0].label for of in extractor.extract(MARKED)]
    assert accuracy == pytest.approx(
        np.mean([a == b for a, b in zip(answers, labels, strict=True)])
    )
    figures = extractor.assess(_records(labels))
    assert figures["loss"] == pytest.approx(loss, rel=1e-4)
    assert figures["accuracy"] == pytest.approx(accuracy)


def _records(labels: list[str]) -> list[RelationExample]:
    return [
        RelationExample(*read_marks(marked), label, line, "dev.tsv")
        for line, (marked, label) in enumerate(zip(MARKED, labels, strict=True), start=1)
    ]


@pytest.mark.parametrize(
    ("texts", "entities", "message"),
    [
        ("a b", None, "text 0: expected a text with <e1>"),
        (["<e1>a</e1> <e2>b</e2>", "<e1>a</e1>"], None, "text 1: expected a text"),
        ("a b", [((0, 1), (0, 1))], "text 0, pair 0: .* head and tail are the same"),
        ("a b", [((0, 1), (2, 4))], "expected the tail within the text"),
        ("a b", [((0, 1), (1, 2))], "the tail, 1 to 2, is white space alone"),
        ("a b", [(0, 1)], "text 0, pair 0"),
        ("a b", [((0, 1), (2, 3), (2, 3))], "text 0, pair 0"),
        (["a b", "a b"], [[((0, 1), (2, 3))]], "list of pairs for each of 2 texts"),
        (("a b", "a b"), None, "expected one column of texts, got 2"),
        ("<e1>" + "a " * 30 + "</e1> <e2>b</e2>", None, "two entities have more than 22 tokens"),
        (9 * ["<e1>" + "a " * 30 + "</e1> <e2>b</e2>"], None, "more than 22 tokens: 0:59 and 61:"),
    ],
)
def test_bad_entities_are_named(extractor, texts, entities, message):
    with pytest.raises(ValueError, match=message):
        extractor.extract(texts, entities)


def test_what_does_not_fit_is_refused(
    tokenizer: SpanBertTokenizer, extractor: SpanBertRelationExtractor
):
    make = SpanBertRelationExtractorPreprocessor
    with pytest.raises(
        ValueError, match=r"need 16 pieces \[unused...\], but the vocabulary has 12"
    ):
        make(tokenizer, entity_types=["A", "B", "C"])
    make(tokenizer, marking="types", entity_types=["A", "B", "C", "D", "E"])
    with pytest.raises(ValueError, match="`marking` must be one of"):
        make(tokenizer, marking="beside")
    with pytest.raises(ValueError, match="types cannot replace both: 0:3 and 2:3 of 'a b'"):
        make(tokenizer, marking="types")((["a b"], ["0:3"], ["2:3"]))
    with pytest.raises(ValueError, match="expected three columns"):
        make(tokenizer)(["a b"])
    for names, negative in ((["a"], None), (["a", "a"], None), (["a", "b"], "c")):
        with pytest.raises(ValueError, match="must be"):
            SpanBertRelationExtractor(make_backbone(), names, negative=negative)
    stranger = RelationExample(
        "a b", EntitySpan(0, 1, ""), EntitySpan(2, 3, ""), "likes", 7, "d.tsv"
    )
    with pytest.raises(DataError, match=r"d.tsv, line 7: unknown relation 'likes'"):
        extractor.columns_of([stranger])
    with pytest.raises(DataError, match="at least two different relations, found"):
        SpanBertRelationExtractor.head_arguments([stranger], RelationExtraction())
    records = [stranger, replace(stranger, label="met")]
    with pytest.raises(DataError, match=r"d\.tsv, line 7: an entity has no type"):
        SpanBertRelationExtractor.head_arguments(records, RelationExtraction(marking="types"))
