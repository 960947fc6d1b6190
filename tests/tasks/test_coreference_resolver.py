"""Coreference: candidates, links and clusters as by hand, and the same in every format."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer, load_task
from spanbert_tf.cli.main import main
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.coreference import CoreferenceText
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from spanbert_tf.features import ANTECEDENTS, LINK_SCORES, MENTION_SCORES, MENTION_SPANS
from spanbert_tf.metrics.coreference import coreference_scores
from spanbert_tf.settings import CoreferenceResolution
from spanbert_tf.tasks.coreference_resolver import (
    SpanBertCoreferenceResolver,
    SpanBertCoreferenceResolverPreprocessor,
)
from spanbert_tf.tasks.decoders.clustering import best_thresholds, figures_of
from spanbert_tf.tasks.decoders.coreference import Candidates, ClusterDecoder, FoundMention
from spanbert_tf.tasks.decoders.resolved_text import ResolvedText
from tests.layer_checks import randomize
from tests.served_tensors import CApi, assert_same_tensors

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{x}" for x in LETTERS)]
VOCABULARY += [".", ",", "?", "😀", "中", "文"]
TEXTS = [
    "ada met bo. she saw him. ada fled bo.",
    "",
    "x",
    "she him it",
    "a" * 1000,
    "😀 éa b́c, 中文 d",
    # Blocks of attention by dozens, and several of candidates; words that differ, as spans of equal
    # scores may come in any order.
    " ".join("".join(word) for word in np.random.default_rng(0).choice(LETTERS, (250, 3))),
]


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(VOCABULARY, lowercase=True)


def make_backbone(**options: Any) -> SpanBertBackbone:
    keras.utils.set_random_seed(0)
    options = {"attention": "bucketed", "block_size": 8, "long_positions": "restart", **options}
    return SpanBertBackbone(
        len(VOCABULARY), 1, 2, 16, 32, max_sequence_length=24, dropout=0.0, **options
    )


@pytest.fixture(scope="module")
def resolver(tokenizer: SpanBertTokenizer) -> SpanBertCoreferenceResolver:
    """One of random weights, with narrow windows and few candidates."""
    resolver = SpanBertCoreferenceResolver(
        make_backbone(),
        SpanBertCoreferenceResolverPreprocessor(tokenizer),
        max_mention_length=4,
        candidates=24,
        window=8,
        mention_threshold=-1.0,
        link_threshold=0.5,
    )
    make_random(resolver)
    return resolver


def make_random(resolver: SpanBertCoreferenceResolver) -> None:
    """Random weights, by which many spans are mentions."""
    randomize(resolver, seed=3)
    resolver.mentions.first_score.bias.assign([0.0])


def spans_of(answers: list[ResolvedText]) -> list[Any]:
    return [
        [[(mention.start, mention.end) for mention in cluster.mentions] for cluster in answer]
        for answer in answers
    ]


def assert_same(found: list[ResolvedText], expected: list[ResolvedText]) -> None:
    assert spans_of(found) == spans_of(expected)
    scores = [
        [
            (mention.score, mention.link)
            for answer in answers
            for cluster in answer
            for mention in cluster.mentions
        ]
        for answers in (found, expected)
    ]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_clusters_are_characters_of_the_text_given(resolver: SpanBertCoreferenceResolver):
    answers = resolver.resolve(TEXTS)
    assert [len(answer) > 0 for answer in answers] == [bool(text) for text in TEXTS]
    for text, answer in zip(TEXTS, answers, strict=True):
        assert answer.text == text
        for cluster in answer:
            for mention in cluster.mentions:
                assert text[mention.start : mention.end] == mention.text != ""
                assert 0 < mention.score <= 1
            assert 0 < cluster.score <= 1
            assert cluster.mentions[0].link == 1
    assert max(len(cluster.mentions) for cluster in answers[-1]) > 2
    assert_same([resolver.resolve(TEXTS[0])], answers[:1])
    assert_same(resolver.resolve(TEXTS * 2), answers * 2)  # in NumPy, not in the graph

    linked = resolver.resolve(TEXTS, singletons=False)
    assert spans_of(linked) == [[of for of in text if len(of) > 1] for text in spans_of(answers)]
    assert spans_of(linked) != spans_of(answers)
    turns = [{"speaker": "bo", "text": "ada met him."}, {"text": "she fled."}]
    assert_same([resolver.resolve(turns)], resolver.resolve(["bo: ada met him.\nshe fled."]))
    assert resolver.resolve([]) == []


@pytest.mark.parametrize("number", [0, 6])
def test_decoding_equals_a_search_of_all_spans_and_a_union_find(
    resolver: SpanBertCoreferenceResolver, number: int
):
    text = TEXTS[number]
    rows = resolver.preprocessor.rows(tf.constant([text]))
    features = resolver.preprocessor.pack(rows)
    outputs = resolver(features, training=False)
    scores = np.array(outputs["span_scores"])[0]
    starts, ends = (rows.places[name][0].numpy() for name in ("starts", "ends"))
    candidates = []
    for begin in range(0, len(scores), 512):
        spans = [
            (-scores[i, d], i, i + d)
            for i in range(begin, min(begin + 512, len(scores)))
            for d in range(4)
            if i > 0 and i + d <= len(starts)
        ]
        candidates += sorted(of[1:] for of in sorted(spans)[:24])
    firsts, lasts = np.array([candidates], "int32").transpose(2, 0, 1)
    of_mentions = np.array([[scores[i, j - i] for i, j in candidates]], "float32")
    links = resolver.antecedents.links(
        outputs["link_states"], features["token_ids"], firsts, lasts, of_mentions
    )
    links = np.array(links)[0]
    parents: dict[int, int] = {}

    def root(of: int) -> int:
        return of if parents[of] == of else root(parents[of])

    for at in range(len(candidates)):
        if of_mentions[0, at] < -1.0:
            continue
        parents[at] = at
        best = int(links[at].argmax())
        target = at - 8 + best
        if links[at, best] > 0.5 and target in parents:
            parents[at] = root(target)
    expected: dict[int, list[tuple[int, int]]] = {}
    for at in sorted(parents):
        first, last = candidates[at]
        expected.setdefault(root(at), []).append((starts[first - 1], ends[last - 1]))
    assert spans_of([resolver.resolve(text)]) == [list(expected.values())]
    assert len(expected) < len(parents)


@settings(max_examples=60)
@given(st.data())
def test_both_decoders_join_alike(data: st.DataObject):
    """Any candidates, chains of links among them: NumPy and TensorFlow give the same clusters."""
    lengths = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=3))
    width = data.draw(st.integers(1, 9))
    number = st.sampled_from([-2e9, -1.0, -0.25, 0.5, 2.0])
    shape = (len(lengths), width)
    scores, links = (
        np.array(data.draw(st.lists(number, min_size=of, max_size=of)), "float32").reshape(shape)
        for of in 2 * [len(lengths) * width]
    )
    antecedents = np.full(shape, -1, "int32")
    spans = np.zeros((*shape, 2), "int32")
    for row, length in enumerate(lengths):
        if not length:
            scores[row] = -2e9
        for at in range(width):
            antecedents[row, at] = data.draw(st.integers(-1, at - 1))
            first = data.draw(st.integers(0, max(length - 1, 0)))
            spans[row, at] = first, data.draw(st.integers(first, max(length - 1, 0)))
    places = {
        name: tf.ragged.constant([list(range(d, n + d)) for n in lengths], tf.int32, 1)
        for d, name in enumerate(("starts", "ends"))
    }
    rows = Rows((), tf.range(len(lengths)), tf.constant(len(lengths)), places=places)
    decoded = {
        MENTION_SPANS.name: spans,
        MENTION_SCORES.name: scores,
        ANTECEDENTS.name: antecedents,
        LINK_SCORES.name: links,
    }
    thresholds = data.draw(st.sampled_from([-1.0, 0.0, 3.0])), data.draw(st.sampled_from([-1.0, 0]))
    decoder = ClusterDecoder(*thresholds, singletons=data.draw(st.booleans()))
    texts = ["abcdef"[:n] for n in lengths]
    expected = decoder.answers(decoded, rows, [texts])
    tensors = {name: tf.constant(of) for name, of in decoded.items()}
    served = decoder.serve(tensors, rows, [tf.constant(texts)])
    found = decoder.served({name: of.numpy() for name, of in served.items()})
    for of_text, wanted in zip(found, expected, strict=True):
        assert [[of[:2] for of in cluster] for cluster in of_text] == [
            [of[:2] for of in cluster] for cluster in wanted
        ]
        flat = [[of[2:] for cluster in side for of in cluster] for side in (of_text, wanted)]
        np.testing.assert_allclose(np.array(flat[0]), np.array(flat[1]), rtol=1e-5)


MENTIONS = {
    # Unordered; of parts of words, with a space, nested, and of more pieces than are scored.
    TEXTS[0]: [
        (12, 15),
        (0, 3),
        (8, 10),
        (3, 10),
        (20, 23),
        (16, 23),
        (25, 28),
        (34, 36),
        (13, 14),
    ],
    "": [],
    "x": [(0, 1)],
    "she him it": [],
    TEXTS[5]: [(0, 1), (10, 12), (2, 4)],
}


def test_mentions_that_are_given_are_linked_and_no_others(resolver: SpanBertCoreferenceResolver):
    texts, mentions = list(MENTIONS), list(MENTIONS.values())
    found = resolver.resolve(texts, mentions=mentions)
    for text, of_text, answer in zip(texts, mentions, found, strict=True):
        clusters = [[(one.start, one.end) for one in of.mentions] for of in answer]
        assert sorted(one for cluster in clusters for one in cluster) == sorted(of_text)
        assert {one.score for of in answer for one in of.mentions} <= {1.0}
        assert clusters == links_by_hand(resolver, text, of_text)
        assert_same([resolver.resolve(text, mentions=of_text)], [answer])
    assert 1 < len(found[0]) < len(mentions[0])
    linked = resolver.resolve(texts, mentions=mentions, singletons=False)
    assert spans_of(linked) == [[of for of in text if len(of) > 1] for text in spans_of(found)]
    assert spans_of(linked) != spans_of(found)
    assert spans_of(resolver.resolve(texts, mentions=[[]] * len(texts))) == [[]] * len(texts)
    assert resolver.resolve([], mentions=[]) == []
    (alone,) = resolver.resolve("x ", mentions=[(0, 2)])  # White space at the end cuts nothing.
    assert [(one.start, one.end) for one in alone.mentions] == [(0, 2)]


def test_scored_by_how_known_mentions_are_joined(resolver: SpanBertCoreferenceResolver):
    texts, mentions = list(MENTIONS), list(MENTIONS.values())
    gold = [tuple(tuple(of[at : at + 2]) for at in range(0, len(of), 2)) for of in mentions]
    records = [CoreferenceText(text, of) for text, of in zip(texts, gold, strict=True)]
    assessed = resolver.answer_records(records, gold_mentions=True)
    joined = resolver.resolve(texts, mentions=mentions)
    expected = coreference_scores(spans_of(joined), gold, True)
    of_both = assessed.figures.keys() & expected.keys()
    assert {name: assessed.figures[name] for name in of_both} == {
        name: expected[name] for name in of_both
    }
    assert assessed.figures["mentions_f1"] == 1 > assessed.figures["conll_f1"] > 0
    assert "loss" not in assessed.figures
    assert spans_of(resolver.given(assessed.answers, records)) == spans_of(joined)


def links_by_hand(resolver: SpanBertCoreferenceResolver, text: str, mentions: list[Any]) -> Any:
    """Clusters of mentions, each linked to the best of those before it, all being certain."""
    if not mentions:
        return []
    rows = resolver.preprocessor.rows(tf.constant([text]))
    features = resolver.preprocessor.pack(rows)
    states = resolver(features, training=False)["link_states"]
    pieces = list(zip(*(rows.places[name][0].numpy() for name in ("starts", "ends")), strict=True))
    inside = {
        span: [n for n, (a, b) in enumerate(pieces, 1) if a < span[1] and b > span[0]]
        for span in mentions
    }
    ordered = sorted(mentions, key=lambda span: (inside[span][0], inside[span][-1]))
    firsts, lasts = (
        np.array([[inside[span][side] for span in ordered]], "int32") for side in (0, -1)
    )
    certain = np.full(firsts.shape, 1e9, "float32")
    links = resolver.antecedents.links(states, features["token_ids"], firsts, lasts, certain)
    clusters: list[list[tuple[int, int]]] = []
    for at, span in enumerate(ordered):
        before = np.array(links)[0, at, max(8 - at, 0) :]  # of a window of 8
        if at and before.max() > 0.5:
            antecedent = ordered[max(at - 8, 0) + int(before.argmax())]
            next(of for of in clusters if antecedent in of).append(span)
        else:
            clusters.append([span])
    return clusters


def test_mentions_that_cannot_be_linked_are_refused(resolver: SpanBertCoreferenceResolver):
    text = TEXTS[0]
    for mentions, message in (
        (
            [(0, 3), (36, 40)],
            r"`mentions`\[0\]\[1\] must have .* text of 37 characters.*\(36, 40\)",
        ),
        ([(0, 3), (5, 5)], r"`mentions`\[0\]\[1\] must have"),
        ([3], r"`mentions`\[0\]\[0\] must have .* has 3"),
        ([(0, "a")], r"`mentions`\[0\]\[0\] must have"),
        ([(0, 3), (3, 4)], r"`mentions`\[0\]\[1\], \(3, 4\), has no word piece"),
        ([(0, 3), (8, 10), (0, 4)], r"`mentions`\[0\]: \(0, 3\) and \(0, 4\) have the same word"),
    ):
        with pytest.raises(ValueError, match=message):
            resolver.resolve(text, mentions=mentions)
    with pytest.raises(ValueError, match="has those of 1 texts, but there are 2"):
        resolver.resolve([text, text], mentions=[[]])
    short = SpanBertCoreferenceResolver(
        resolver.backbone,
        SpanBertCoreferenceResolverPreprocessor(resolver.preprocessor.tokenizer, 6),
    )
    with pytest.raises(
        ValueError, match=r"\(4, 7\), has no word piece, or one past the 4 that are"
    ):
        short.resolve(text, mentions=[(4, 7)])


def test_right_are_the_clusters_that_count(resolver: SpanBertCoreferenceResolver):
    """Without singletons those of the data, which may have them, are neither missed nor wrong."""
    record = CoreferenceText("ada ran. she hid. bo", (((0, 3), (9, 12)), ((18, 20),)))
    answer = make_text(record.text, ["ada", "she"])
    for singletons in (True, False):
        other = SpanBertCoreferenceResolver(
            resolver.backbone, resolver.preprocessor, singletons=singletons
        )
        assert other.is_right(answer, record) is not singletons
        assert other.is_right(make_text(record.text, ["ada", "she"], ["bo"]), record)
        assert not other.is_right(make_text(record.text, ["ada", "bo"]), record)


def test_loss_is_that_of_numpy(resolver: SpanBertCoreferenceResolver):
    """Of all spans and of the known mentions' links, where all spans are candidates."""
    text, y = TEXTS[0][:11], [[[(0, 3), (8, 10)], [(4, 7)]]]
    every = SpanBertCoreferenceResolver(
        resolver.backbone, resolver.preprocessor, 4, candidates=512 * 4, window=512 * 4, dropout=0.0
    )
    rows = every.encode([[text]], y)
    features = every.preprocessor.pack(rows)
    outputs = every(features, training=False)
    gold = next(iter(rows.targets.values())).to_tensor(-1)
    found = float(every.compute_loss(features, gold, outputs))

    scores = np.array(outputs["span_scores"][0], "float64")
    length = int(features["padding_mask"].numpy().sum())
    spans = [(i, d) for i in range(1, length - 1) for d in range(4) if i + d < length - 1]
    numbers = {(int(i), int(j) - int(i)): int(c) for i, j, c in gold[0].numpy()}
    assert sorted(numbers.values()) == [0, 0, 1]
    loss = sum(np.log1p(np.exp(scores[span])) - scores[span] * (span in numbers) for span in spans)
    firsts, lasts = np.array([spans]).transpose(2, 0, 1).astype("int32")
    chances = np.array([[scores[span] for span in spans]], "float32")
    links = every.antecedents.links(
        outputs["link_states"], features["token_ids"], firsts, firsts + lasts, chances
    )
    links = np.array(links[0], "float64")[:, -len(spans) :]
    for at, span in enumerate(spans):
        if span not in numbers:
            continue
        row = dict(enumerate(links[at], start=at - len(spans)))
        of_cluster = [
            row[other] for other in range(at) if numbers.get(spans[other]) == numbers[span]
        ]
        total = np.log(1 + sum(np.exp(row[other]) for other in range(at)))
        loss += total - np.log(np.exp(of_cluster or [0.0]).sum())
    assert found == pytest.approx(loss / 3, rel=1e-4)
    weighted = every.compute_loss(features, gold, outputs, np.array([0.5]))
    assert float(weighted) == pytest.approx(loss / 3, rel=1e-4)  # of 1.5 mentions


def test_a_text_past_the_limit_is_bounded(tokenizer: SpanBertTokenizer):
    """A megabyte without a space, of two pieces each two characters: what is past is not read."""
    resolver = SpanBertCoreferenceResolver(
        make_backbone(), SpanBertCoreferenceResolverPreprocessor(tokenizer, 66), 4, 24, 8
    )
    make_random(resolver)
    text = "a." * 500_000
    (answer,) = resolver.resolve([text])
    mentions = [mention for cluster in answer for mention in cluster.mentions]
    assert mentions
    assert max(mention.end for mention in mentions) <= 64
    assert_same([answer], resolver.resolve([text] * 10)[:1])


def test_numbers_and_encoders_are_checked(tokenizer: SpanBertTokenizer):
    preprocessor = SpanBertCoreferenceResolverPreprocessor(tokenizer)
    with pytest.raises(ValueError, match="long_positions='restart'"):
        SpanBertCoreferenceResolver(make_backbone(long_positions=None), preprocessor)
    for name, least in (("window", 1), ("chunk_length", 3)):
        with pytest.raises(ValueError, match=f"`{name}` must be at least {least}, but is 0"):
            SpanBertCoreferenceResolver(make_backbone(), preprocessor, **{name: 0})
    records = [CoreferenceText("a", (), path="made.conll")]
    with pytest.raises(DataError, match=r"made\.conll: expected texts with clusters, found none"):
        SpanBertCoreferenceResolver.head_arguments(records, CoreferenceResolution())
    both = CoreferenceResolution(train_embeddings=True, lora_rank=2)
    with pytest.raises(ValueError, match="`lora_rank` leaves as they are"):
        SpanBertCoreferenceResolver.with_new_head(make_backbone(), tokenizer, {}, both)


def test_thresholds_are_the_best_for_the_records():
    """Of five candidates three are mentions; the link of the last one is wrong."""
    spans = np.array([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)])
    scores = np.array([2.0, -0.6, -1.2, 1.0, 1.5])
    antecedents, links = np.array([-1, 0, 1, 0, 3]), np.array([-2e9, 1.0, 1.0, 1.2, 0.6])
    candidates = Candidates(spans, scores, antecedents, links)
    record = CoreferenceText("abcde", (((0, 1), (3, 4)), ((4, 5),)))
    thresholds = best_thresholds([candidates], [record], singletons=True)
    assert thresholds == (0.0, 1.0)
    assert [[of[:2] for of in cluster] for cluster in candidates.joined(*thresholds)] == [
        [(0, 1), (3, 4)],
        [(4, 5)],
    ]
    figures = figures_of([candidates], [record], thresholds, singletons=True)
    assert figures["conll_f1"] == figures["mentions_f1"] == 1
    assert figures_of([candidates], [record], (0.0, 0.0), True)["conll_f1"] < 1
    assert candidates.joined(-9.0, 9.0) == [
        [FoundMention(*span, pytest.approx(1 / (1 + np.exp(-score))), 1.0)]
        for span, score in zip(spans.tolist(), scores, strict=True)
    ]


def make_text(text: str, *clusters: list[str]) -> ResolvedText:
    """Clusters of the words given, each found after the one before in its cluster."""
    found = []
    for words in clusters:
        at, mentions = 0, []
        for word in words:
            at = text.index(word, at)
            mentions.append(FoundMention(at, at + len(word), 0.9, 0.8))
            at += 1
        found.append(mentions)
    return ResolvedText.of_found(text, found)


@pytest.mark.parametrize(
    ("text", "clusters", "expected"),
    [
        (
            "Ann met Bo. She gave him her book.",
            [["Ann", "She", "her"], ["Bo", "him"], ["her book"]],
            "Ann met Bo. Ann gave Bo Ann's book.",
        ),
        ("Ann came. Bo saw her in Rome.", [["Ann", "her"]], "Ann came. Bo saw Ann in Rome."),
        (
            "The dogs ate. Their bowl is full.",
            [["The dogs", "Their"]],
            "The dogs ate. The dogs' bowl is full.",
        ),
        (
            "A dog ate. It barked, and Bo saw its bowl.",
            [["A dog", "It", "its"]],
            "A dog ate. The dog barked, and Bo saw the dog's bowl.",
        ),
        (
            "The doctor saw him. He knew Ann; she left.",
            [["The doctor", "Ann", "she"]],
            "The doctor saw him. He knew Ann; Ann left.",
        ),
        (
            "Her aunt said that she left. He said she did.",
            [["Her aunt", "she", "she"]],
            "Her aunt said that her aunt left. He said her aunt did.",
        ),
        ("She left. He saw her.", [["She", "her"], ["He"]], "She left. He saw her."),
        ("A man with his dog came.", [["A man with his dog", "his"]], "A man with his dog came."),
        ("I saw Bo. I like him.", [["I", "I"], ["Bo", "him"]], "I saw Bo. I like Bo."),
    ],
)
def test_pronouns_are_replaced(text: str, clusters: list[list[str]], expected: str):
    assert make_text(text, *clusters).replace_pronouns() == expected


def test_colours_nest_and_escape():
    text = make_text("<b> her book & it", ["her", "it"], ["her book"], ["book & it"])
    page = text._repr_html_()
    shown = page.replace("</span>", "").split("<span")
    assert "".join(part.partition(">")[2] for part in shown) == "&lt;b&gt; her book &amp; it</div>"
    # The third crosses the second and is left out; "her" is within "her book".
    assert page.count("<span") == page.count("</span>") == 3
    assert (
        page.index('title="1: her book"') < page.index('title="0: her"') < page.index("her</span>")
    )
    # Text on a pale ground is black where a page in dark colours has it white.
    assert page.count("background") == page.count("color: black") == 2
    assert str(text[0]) == "0.800  her (4-7), it (15-17)"
    assert text[0].name == "her"
    assert make_text("the man, Bo", ["the man", "Bo"])[0].name == "Bo"


@pytest.mark.slow
def test_exports_resolve_the_same(
    resolver: SpanBertCoreferenceResolver, tmp_path: Path, c_api: CApi
):
    expected = resolver.resolve(TEXTS)
    export_task(resolver, tmp_path / "1")
    export_litert(resolver, tmp_path / "lite")
    resolver.save_to_preset(str(tmp_path / "preset"))
    # Some of what it finds is right.
    gold = [tuple(map(tuple, clusters[::2])) for clusters in spans_of(expected)]
    records = [CoreferenceText(text, of) for text, of in zip(TEXTS, gold, strict=True)]
    assessed = resolver.answer_records(records)
    assert 0 < assessed.figures["conll_f1"] < 1
    report = resolver.report(assessed.answers, records).to_json()
    assert report["rows"]["muc"].keys() == {"precision", "recall", "f1"}
    tensors = []
    for name in ("1", "lite", "preset"):
        task = load_task(tmp_path / name)
        tensors.append(task.answer_tensors(TEXTS))
        found = task.answer_records(records)
        of_score = {name: found.figures[name] for name in task.task_class.figures}
        assert of_score == pytest.approx({name: assessed.figures[name] for name in of_score})
        assert task.report(found.answers, records).to_json() == report
        assert_same(task.given(found.answers, records), expected)
        assert task.task == "coreference-resolution"
        assert_same(task.resolve(TEXTS), expected)
        assert_same([task(TEXTS[0])], expected[:1])
        assert_same(task(TEXTS, singletons=False), resolver.resolve(TEXTS, singletons=False))
        if name == "preset":
            given = {"mentions": MENTIONS[TEXTS[0]]}
            assert_same([task(TEXTS[0], **given)], [resolver.resolve(TEXTS[0], **given)])
            continue
        with pytest.raises(ValueError, match="`mentions` is for models in Keras, presets and"):
            task.resolve(TEXTS[0], mentions=[(0, 3)])
        with pytest.raises(ValueError, match="`gold_mentions` is for models in Keras, presets"):
            task.assess(records, gold_mentions=True)
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    outputs = served(text=tf.constant(TEXTS))
    for of_format in tensors:
        assert_same_tensors(of_format, outputs)
    assert_same_tensors(c_api(tmp_path / "1", text=TEXTS), outputs, atol=1e-5)
    most = max(sum(len(cluster.mentions) for cluster in answer) for answer in expected)
    assert {name: tuple(of.shape) for name, of in outputs.items()} == dict.fromkeys(
        ("start", "end", "cluster", "score", "link"), (len(TEXTS), most)
    )


@pytest.mark.slow
def test_finetune_learns_two_documents(
    tokenizer: SpanBertTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """By the command line, to all that is right; what is served says the same, in colours too."""
    make_backbone(attention="dense", long_positions=None).save_to_preset(str(tmp_path / "encoder"))
    tokenizer.save_to_preset(str(tmp_path / "encoder"))
    texts = [TEXTS[0], "bo saw ada, and she hid. x ran.", "no one came."]
    clusters = [
        [[(0, 3), (12, 15), (25, 28)], [(8, 10), (20, 23), (34, 36)]],
        [[(0, 2)], [(7, 10), (16, 19)], [(25, 26)]],
        [],
    ]
    data = tmp_path / "train.jsonl"
    lines = (
        json.dumps({"text": text, "clusters": of}) for text, of in zip(texts, clusters, strict=True)
    )
    data.write_text("\n".join(lines) + "\n", "utf-8")
    words = ["--train", str(data), "--validation", str(data), "--output", str(tmp_path / "run")]
    words += ["--encoder", str(tmp_path / "encoder"), "--epochs", "40", "--batch-size", "3"]
    words += ["--learning-rate", "1e-2", "--head-learning-rate", "1e-2", "--dropout", "0"]
    words += ["--sequence-length", "100", "--block-size", "8", "--window", "60", "--chunks", "3"]
    words += ["--max-mention-length", "5", "--train-embeddings"]
    assert main(["finetune", "--task", "coreference-resolution", *words, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["validation"]["conll_f1"] == outcome["validation"]["mentions_f1"] == 1
    model = str(tmp_path / "run" / "saved_model" / "1")
    page = tmp_path / "pages" / "page.html"
    assert main(["predict", model, texts[1], "--html", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == texts[1]
    assert [line.partition("  ")[2].partition("  ")[2] for line in lines[1:]] == [
        "bo (0-2)",
        "ada (7-10), she (16-19)",
        "x (25-26)",
    ]
    assert page.read_text("utf-8").count("<span") == 4
    assert main(["predict", model, texts[1], "--html", str(page)]) == 1
    assert f"{page} exists" in capsys.readouterr().err
    assert main(["predict", model, texts[1], "--html", str(page), "--overwrite"]) == 0
    capsys.readouterr()
    rows = tmp_path / "rows.jsonl"
    assert main(["evaluate", model, "--data", str(data), "--output", str(rows)]) == 0
    assert "b_cubed" in capsys.readouterr().out
    assert [json.loads(row)["right"] for row in rows.read_text("utf-8").splitlines()] == [True] * 3
    preset = str(tmp_path / "run" / "preset")
    assert main(["evaluate", preset, "--gold-mentions", "--data", str(data), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["mentions_f1"] == 1 >= figures["conll_f1"] > 0
    assert "loss" not in figures
    assert main(["evaluate", model, "--gold-mentions", "--data", str(data)]) == 1
    assert "`--gold-mentions` is for models in Keras" in capsys.readouterr().err
    assert main(["predict", model, texts[1], "--no-singletons", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    (cluster,) = found["answers"]
    assert [mention["text"] for mention in cluster["mentions"]] == ["ada", "she"]
    assert load_task(preset).model.replace_pronouns(texts[1]) == ("bo saw ada, and ada hid. x ran.")
