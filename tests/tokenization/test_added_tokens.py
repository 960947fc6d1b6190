"""Tokens that are kept whole, against Hugging Face's, and through every form of a model."""

import itertools
import json
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spanbert_tf import AddedToken, SpanBertBackbone, SpanBertTokenizer
from spanbert_tf.checkpoints.saved_models import restore_tokenizer
from spanbert_tf.export.hub import export_preprocessor
from spanbert_tf.export.litert import export_litert_encoder
from spanbert_tf.export.litert_loading import load_litert
from spanbert_tf.export.operations import check_operations
from spanbert_tf.tokenization.normalization import SPECIAL_TOKENS

WORDS = ["the", "new", "york", "w1", "a", "b", "##b", "##c", "e", "##x", "-", "[", "]", "中"]
# Of the vocabulary's end; "w1" and "e" are word pieces too.
BEHIND = ["[URL]", "[NUM]", "ab", "abc", "New York", "中文", "e-Mail", "W2", "##y", "b.c", "☎"]
ADDED = [
    AddedToken("[URL]", normalized=True),
    AddedToken("[NUM]"),
    AddedToken("ab", normalized=True),
    AddedToken("abc"),
    AddedToken("New York"),
    AddedToken("中文", normalized=True),
    AddedToken("e-Mail", normalized=True),
    AddedToken("W2"),
    AddedToken("##y", normalized=True),
    AddedToken("b.c"),
    AddedToken("☎", normalized=True),
    AddedToken("w1", is_piece=True),
    AddedToken("É", normalized=True),
]
VOCABULARY = [*SPECIAL_TOKENS, *WORDS, *BEHIND, "É"]
FRAGMENTS = [
    *(token.content for token in ADDED),
    *("[url]", "[Url", "[MASK]", "ABC", "w2", "é", "e\u0301-mail", "[N\xadUM]", "[U\u0301RL]"),
    *(" ", "\t", "\u3000", "\xad", "\u0301", "\x00", "中", "The", "b", "c", "x", "##", "y", "."),
]
TEXTS = ["", "[URL]", "see [URL].", "abcab[NUM]ab", "e\u0301-mail to New York, 中文中 w1x ##y x##y"]


def reference(lowercase: bool, special: bool) -> Any:
    """Hugging Face's tokenizer of the same tokens."""
    tokenizers = pytest.importorskip("tokenizers", reason="the reference tokenizer is needed")
    model = {piece: number for number, piece in enumerate([*SPECIAL_TOKENS, *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(model, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    if special:
        tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    normalized = {token.content: token.normalized for token in ADDED}
    for content in [*VOCABULARY[len(model) :], "w1"]:
        token = tokenizers.AddedToken(content, normalized=normalized[content])
        tokenizer.add_tokens([token])
        assert tokenizer.token_to_id(content) == VOCABULARY.index(content)
    return tokenizer


@pytest.fixture(scope="module")
def pairs() -> list[tuple[SpanBertTokenizer, Any]]:
    return [
        (SpanBertTokenizer(VOCABULARY, lowercase, special, ADDED), reference(lowercase, special))
        for lowercase in (False, True)
        for special in (False, True)
    ]


def assert_equal(pairs: list[tuple[SpanBertTokenizer, Any]], texts: list[str]) -> None:
    for ours, theirs in pairs:
        found = ours.tokenize_with_offsets(texts, unit="character")
        assert ours.tokenize(texts).to_list() == found.token_ids.to_list()
        for place, (text, expected) in enumerate(
            zip(texts, theirs.encode_batch(texts, add_special_tokens=False), strict=True)
        ):
            assert found.token_ids[place].numpy().tolist() == expected.ids, repr(text)
            spans = zip(found.starts[place].numpy(), found.ends[place].numpy(), strict=True)
            assert [tuple(map(int, span)) for span in spans] == expected.offsets, repr(text)
            words = [None, *expected.word_ids]
            first = [a != b for a, b in itertools.pairwise(words)]
            assert found.word_starts[place].numpy().tolist() == first, repr(text)


@settings(max_examples=20)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(FRAGMENTS) | st.characters(exclude_categories=["Cs"])).map(
            "".join
        ),
        min_size=1,
        max_size=8,
    )
)
@example(texts=TEXTS)
@example(texts=FRAGMENTS)
@example(texts=["[NUM]", "[URL]", "[NUM][URL][NUM]", "\xad", "x" * 101 + "[URL]" + "ж" * 101])
def test_equals_the_reference_on_random_texts(pairs: Any, texts: list[str]):
    assert_equal(pairs, texts)


def test_without_special_tokens_and_malformed_bytes():
    """Each kind of tokens alone; bytes that are no UTF-8 are left out within a token, too."""
    for token in (AddedToken("[URL]", normalized=True), AddedToken("[URL]")):
        tokenizer = SpanBertTokenizer(VOCABULARY, added_tokens=[token])
        url = VOCABULARY.index("[URL]")
        found = tokenizer.tokenize_with_offsets([b"\xff[URL]\xffa", b"[U\xffRL]", b""])
        assert found.token_ids[0].numpy().tolist() == [url, VOCABULARY.index("a")]
        assert found.starts[0].numpy().tolist() == [1, 7]
        assert found.ends[0].numpy().tolist() == [6, 8]
        assert (url in found.token_ids[1].numpy()) is token.normalized


def test_thousands_of_tokens():
    contents = [f"item{number}" for number in range(3000)]
    tokenizer = SpanBertTokenizer([*SPECIAL_TOKENS, "s", *contents], added_tokens=contents)
    ids = tokenizer(["item2999s item29", "item30001"])
    expected = [[2999 + 6, 5, 29 + 6], [3000 - 2700 + 6, 1]]
    assert ids.to_list() == expected


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (["[NUM]", "no"], "'no' is not in the vocabulary"),
        (["[MASK]"], "'[MASK]' is a special token"),
        (["ab", AddedToken("ab")], "'ab' cannot be told from 'ab'"),
        ([AddedToken("É", True), AddedToken("e", True)], "'e' cannot be told from 'É'"),
        (["pad "], "'pad ' begins or ends with white space"),
        ([AddedToken("\xad", True)], "begins or ends with white space, or is nothing else once"),
        (["a\nb"], "has a line's end"),
        ([3], r"added_tokens\[0\]: expected an AddedToken, a string, or an object"),
        ([{"content": "ab", "lstrip": True}], r"added_tokens\[0\]: expected"),
        ([{"content": "ab", "normalized": 1}], r"added_tokens\[0\]: expected"),
        ([{"normalized": True}], "'' is not in the vocabulary"),
    ],
)
def test_tokens_that_cannot_be_looked_for_are_refused(added: list[Any], message: str):
    vocabulary = [*VOCABULARY, "pad ", "\xad", "a\nb"]
    with pytest.raises(ValueError, match=message.replace("[MASK]", r"\[MASK\]")):
        SpanBertTokenizer(vocabulary, lowercase=True, added_tokens=added)


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(VOCABULARY, lowercase=True, added_tokens=ADDED)


@pytest.fixture(scope="module")
def backbone() -> SpanBertBackbone:
    return SpanBertBackbone(len(VOCABULARY), 1, 1, 8, 8, max_sequence_length=40)


def assert_same(found: SpanBertTokenizer, expected: SpanBertTokenizer) -> None:
    assert (found.added_tokens, found.lowercase) == (expected.added_tokens, expected.lowercase)
    assert found.get_vocabulary() == expected.get_vocabulary()
    assert found(TEXTS).to_list() == expected(TEXTS).to_list()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_presets_keep_them(
    tokenizer: SpanBertTokenizer, backbone: SpanBertBackbone, tmp_path: Path
):
    backbone.save_to_preset(str(tmp_path))
    tokenizer.save_to_preset(str(tmp_path))
    assert_same(keras_hub.models.Tokenizer.from_preset(str(tmp_path)), tokenizer)
    assert "added_tokens" not in SpanBertTokenizer(VOCABULARY).get_config()


def test_saved_models_keep_them(tokenizer: SpanBertTokenizer, tmp_path: Path):
    folder = tmp_path / "1"
    export_preprocessor(tokenizer, folder, sequence_length=40)
    check_operations(folder)
    assert_same(restore_tokenizer(folder), tokenizer)
    served = tf.saved_model.load(str(folder)).tokenize(tf.constant(TEXTS))
    assert served.to_list() == tokenizer(TEXTS).to_list()


def test_folders_for_litert_keep_them(
    tokenizer: SpanBertTokenizer, backbone: SpanBertBackbone, tmp_path: Path
):
    folder = tmp_path / "lite"
    export_litert_encoder(backbone, tokenizer, folder)
    vector = load_litert(folder).encode_text("see [URL]")
    ids = np.array([[2, *tokenizer("see [URL]").numpy(), 3]], "int32")
    assert VOCABULARY.index("[URL]") in ids
    features = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": 0 * ids + 1}
    expected = np.array(backbone.pooled_states(features, "mean"))[0]
    np.testing.assert_allclose(vector, expected, atol=1e-5)
    file = folder / "litert.json"
    description = json.loads(file.read_text())
    file.write_text(json.dumps({**description, "added_tokens": []}))
    with pytest.raises(ValueError, match="is not the vocabulary that"):
        load_litert(folder)
