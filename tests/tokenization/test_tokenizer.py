"""SpanBertTokenizer against the Hugging Face tokenizer, and everything around it."""
# ruff: noqa: RUF001 (characters that look alike are what is tested)

import gzip
import itertools
import os
import subprocess
import sys
from pathlib import Path

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.tokenization.normalization import (
    IDEOGRAPHS,
    PUNCTUATION,
    SPECIAL_TOKENS,
    changed_characters,
)
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer
from spanbert_tf.tokenization.vocabulary import read_vocabulary

VOCABULARIES = (("cased", False), ("uncased", True), ("chinese", True))
EXAMPLE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "snow", "##man", "melt", "."]
ALLOWED_CUSTOM_OPS = {
    "FastBertNormalize",
    "FastWordpieceTokenizeWithOffsets",
    "RegexSplitWithOffsets",
}
# Every rule of the normaliser, and every place where tf-text's own rules differ.
NASTY = [
    "",
    " \t\r\n",
    "\x00",
    "a\x00b \x01c\x1fd\x7f e\x85f",
    "soft\xadhyphen zero\u200bwidth\u200d \ufeffbom re\ufffdplaced",
    "ΟΔΟΣ ὈΔΥΣΣΕΎΣ Σ",
    "\u00b4accent \u02beayn ʾʾ 'ʾabc .ʾ",
    "价格，一二三。ＡＢＣ １２３ ㈱ ﬁ ½",
    "İstanbul IĞDIR ǅ ẞ ŉ",
    "e\u0301 \u0301e e\u0323\u0301 \u1e69 Å\u030a",
    "한국어 テスト がぎ アイウエオ",
    "हिन्दी ภาษาไทย اَلْعَرَبِيَّةُ",
    "\U0002b825x \U00020000y \u1680z\u3000w \u2028v",
    "\u166dx\u166d \U000111c9 \U00011938",
    "a\u0488b \u20ddc",
    "😀👍🏽 👩\u200d👩\u200d👧",
    "##ing # ## ###x",
    "x" * 100,
    "x" * 101,
    "ж" * 100 + " " + "ж" * 101 + " ok",
    "あ" * 100 + " " + "あ" * 101 + ".",
    "\U00010330" * 100 + " y",
    "é" * 100 + " " + "e\u0301" * 100,
    "don't stop-now $5^2=`x`|~",
    "[MASK] and [mask] and [ MASK ]",
    "\ue000\ue001\ue005\ue100",
]
SPECIAL = [
    "the [MASK] of [UNK]",
    "[CLS]A[MASK]B[SEP][PAD][PAD]",
    "[MASK]",
    "[[MASK]] [MASK [mask] [MASK]]",
    "é[MASK]\u0301é\u00ad[MASK]，[SEP]。",
    "",
    "no special tokens",
]


@pytest.fixture(scope="module")
def pairs(shared_data: Path):
    """Ours and the reference tokenizer, by the name of the vocabulary, made when asked for."""
    reference = pytest.importorskip("tokenizers", reason="the reference tokenizer is needed")
    made = {}

    def pair(name: str, lowercase: bool | None = None, special: bool = False):
        lowercase = dict(VOCABULARIES)[name] if lowercase is None else lowercase
        key = (name, lowercase, special)
        if key not in made:
            path = str(shared_data / "vocab" / f"bert-base-{name}-vocab.txt")
            made[key] = (
                SpanBertTokenizer(path, lowercase, special),
                _reference(reference, read_vocabulary(path), lowercase, special),
            )
        return made[key]

    return pair


def _reference(tokenizers, vocabulary, lowercase, special=False):
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    if special:
        return tokenizers.BertWordPieceTokenizer(ids, lowercase=lowercase)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.fixture
def tokenizer():
    return SpanBertTokenizer(EXAMPLE, lowercase=True)


def _paragraphs(shared_data: Path, stride: int = 1) -> list[str]:
    files = ("pretrain_en/enwiki-00.txt.gz", "pretrain_zh/lctt.txt.gz")
    texts = []
    for file in files:
        with gzip.open(shared_data / file, "rt", encoding="utf-8", newline="\n") as lines:
            texts += [line for line in map(str.strip, lines) if line][::stride]
    return texts


def _assert_equal(pair, texts: list[str], offsets: bool = True) -> None:
    """All strings in one batch: ids, and offsets in characters and first pieces of words."""
    ours, reference = pair
    encode = reference.encode_batch
    if not offsets and hasattr(reference, "encode_batch_fast"):
        encode = reference.encode_batch_fast
    encodings = encode(texts, add_special_tokens=False)
    if offsets:
        got = ours.tokenize_with_offsets(texts, unit="character")
        ids = got.token_ids
    else:
        ids = ours.tokenize(texts)
    values = np.fromiter(itertools.chain.from_iterable(e.ids for e in encodings), np.int32)
    lengths = np.array([len(e.ids) for e in encodings])
    if not np.array_equal(values, ids.values) or not np.array_equal(lengths, ids.row_lengths()):
        for text, mine, theirs in zip(texts, ids.to_list(), encodings, strict=True):
            assert mine == theirs.ids, f"{text!r}: {ours.convert_ids_to_tokens(mine)}"
    if offsets:
        spans = [span for e in encodings for span in e.offsets]
        mine = zip(got.starts.values.numpy(), got.ends.values.numpy(), strict=True)
        assert [tuple(map(int, span)) for span in mine] == spans
        first = [a != b for e in encodings for a, b in itertools.pairwise([None, *e.word_ids])]
        assert got.word_starts.values.numpy().tolist() == first


# Equal to the reference.


@pytest.mark.parametrize("name", [name for name, _ in VOCABULARIES])
def test_equals_the_reference_on_a_sample_of_real_paragraphs(pairs, shared_data, name):
    _assert_equal(pairs(name), _paragraphs(shared_data, stride=151))


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(VOCABULARIES)))
def test_equals_the_reference_on_all_paragraphs(pairs, shared_data, place):
    """Each vocabulary on its third: all of them on all cost a minute of CI and never differed."""
    texts = _paragraphs(shared_data)
    assert len(texts) > 250_000
    pair = pairs(VOCABULARIES[place][0])
    texts = texts[place :: len(VOCABULARIES)]
    for begin in range(0, len(texts), 8192):
        _assert_equal(pair, texts[begin : begin + 8192], offsets=False)
    _assert_equal(pair, texts[::15])


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("name", [name for name, _ in VOCABULARIES])
def test_equals_the_reference_on_nasty_strings(pairs, name, lowercase):
    _assert_equal(pairs(name, lowercase), NASTY + SPECIAL)


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [False, True])
def test_equals_the_reference_on_every_character(pairs, lowercase):
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = [
        " ".join(f"a{chr(code)}b.{chr(code)} {chr(code)}" for code in codes[i : i + 64])
        for i in range(0, len(codes), 64)
    ]
    _assert_equal(pairs("cased", lowercase), texts)


@pytest.mark.parametrize("lowercase", [False, True])
def test_equals_the_reference_where_the_vocabulary_holds_odd_characters(lowercase):
    reference = pytest.importorskip("tokenizers", reason="the reference tokenizer is needed")
    # Punctuation to one of the two libraries only, ideographs to one only, unassigned, letters.
    odd = [chr(c) for c in (0x166D, 0x111C9, 0x61D, 0x2E52, 0x1B7D, 0x2B820, 0x2B91F, 0x378)]
    odd += ["ʾ", "Ж", "ж", "中", "é", "e", "\u0301", "，", "a", "b", "\u1ab0", "ᄒ", "ᅡ"]
    vocabulary = [*SPECIAL_TOKENS, *odd, *(f"##{x}" for x in odd[::2]), "new york", "##", "a.b"]
    vocabulary += ["a\x00b", "abé", "[MASK", "\ue000", "x" * 150, "ab" * 50]
    pair = (
        SpanBertTokenizer(vocabulary, lowercase),
        _reference(reference, vocabulary, lowercase),
    )
    texts = [f"{x}{y}{z} {x}.{y}" for x, y, z in itertools.product(odd, odd, "ab\u0301q")]
    _assert_equal(pair, [*texts, "new york a.b a\x00b [MASK \ue000", "ab" * 50, "x" * 150])


@settings(max_examples=40)
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=30))
@example(texts=["", "\x00", "a" * 101])
def test_equals_the_reference_on_random_strings(pairs, texts):
    for name, lowercase in VOCABULARIES:
        _assert_equal(pairs(name, lowercase), texts)


WORDS = st.sampled_from(
    ["The", "snowman", "naïve", "中文", "，", "ʾ", "[MASK]", "\u0301", " ", "\xad"]
)


@settings(max_examples=40)
@given(
    texts=st.lists(
        st.lists(WORDS | st.characters(exclude_categories=["Cs"])).map("".join), min_size=1
    )
)
def test_equals_the_reference_on_random_mixtures_with_special_tokens(pairs, texts):
    for name, lowercase in VOCABULARIES:
        _assert_equal(pairs(name, lowercase, special=True), texts)


@pytest.mark.parametrize("name", [name for name, _ in VOCABULARIES])
def test_special_tokens_in_strings_equal_the_reference(pairs, name):
    _assert_equal(pairs(name, special=True), SPECIAL + NASTY)


def test_transformers_gives_the_same_ids(pairs, shared_data):
    transformers = pytest.importorskip("transformers", reason="a second reference")
    ours, _ = pairs("uncased", special=True)
    path = str(shared_data / "vocab" / "bert-base-uncased-vocab.txt")
    theirs = transformers.BertTokenizerFast(vocab=path, do_lower_case=True)
    for text in SPECIAL + NASTY:
        assert ours(text).numpy().tolist() == theirs.encode(text, add_special_tokens=False)


# Offsets.


@pytest.mark.parametrize("name", [name for name, _ in VOCABULARIES])
def test_byte_offsets_are_character_offsets_in_utf8(pairs, name):
    ours, _ = pairs(name)
    texts = NASTY + SPECIAL
    in_bytes = ours.tokenize_with_offsets(texts)
    in_characters = ours.tokenize_with_offsets(texts, unit="character")
    for i, text in enumerate(texts):
        place = list(itertools.accumulate((len(c.encode()) for c in text), initial=0))
        for field in ("starts", "ends"):
            characters = getattr(in_characters, field)[i].numpy()
            assert getattr(in_bytes, field)[i].numpy().tolist() == [place[c] for c in characters]


def test_offsets_of_the_example(tokenizer):
    pieces = tokenizer.tokenize_with_offsets("The snowman melt.")
    assert pieces.token_ids.numpy().tolist() == [5, 6, 7, 8, 9]
    assert pieces.starts.numpy().tolist() == [0, 4, 8, 12, 16]
    assert pieces.ends.numpy().tolist() == [3, 8, 11, 16, 17]
    assert pieces.word_starts.numpy().tolist() == [True, True, False, True, True]
    assert pieces.token_ids.dtype == tf.int32
    assert pieces.starts.dtype == pieces.ends.dtype == tf.int64


def test_offsets_leave_out_what_is_removed_around_a_piece(tokenizer):
    # Bytes: T h e' (2) soft hyphen (2) space; "SNÓW" with its accent inside.
    pieces = tokenizer.tokenize_with_offsets(["\xadThé\xad SNÓW"])
    assert pieces.starts.to_list() == [[2, 9]]
    assert pieces.ends.to_list() == [[6, 14]]


def test_an_unknown_unit_is_refused(tokenizer):
    with pytest.raises(ValueError, match="unit: expected"):
        tokenizer.tokenize_with_offsets("x", unit="word")


# Shapes and places.


def test_shapes(tokenizer):
    rows = [[5, 6, 9], [1], []]
    strings = ["The snow.", "Frost", ""]
    assert tokenizer("The snow.").numpy().tolist() == rows[0]
    assert tokenizer("").shape == (0,)
    for batch in (strings, tuple(strings), tf.constant(strings), np.array(strings)):
        ids = tokenizer.tokenize(batch)
        assert isinstance(ids, tf.RaggedTensor)
        assert ids.dtype == tf.int32
        assert ids.to_list() == rows
    assert tokenizer(strings).to_list() == rows
    assert tokenizer([]).to_list() == []
    assert tokenizer.tokenize([["The snow.", "Frost"], []]).to_list() == [rows[:2], []]
    ragged = tf.ragged.constant([["The snow."], [], ["Frost", ""]])
    assert tokenizer(ragged).to_list() == [rows[:1], [], rows[1:]]
    square = tokenizer.tokenize([strings[:2], strings[1:]])
    assert square.to_list() == [rows[:2], rows[1:]]
    cube = tokenizer.tokenize_with_offsets([[strings, strings], [strings, strings]])
    assert cube.token_ids.to_list() == [[rows, rows], [rows, rows]]
    assert cube.starts.to_list()[1][1] == [[0, 4, 8], [0], []]


def test_graphs_and_datasets(tokenizer):
    strings = ["The snow.", "Frost", "", "x" * 200]
    expected = tokenizer(strings).to_list()
    assert tf.function(tokenizer.tokenize)(tf.constant(strings)).to_list() == expected
    batched = tf.data.Dataset.from_tensor_slices(strings).batch(3).map(tokenizer)
    assert [row for batch in batched for row in batch.to_list()] == expected
    single = tf.data.Dataset.from_tensor_slices(strings).map(tokenizer)
    assert [row.numpy().tolist() for row in single] == expected
    made_inside = tf.function(lambda x: SpanBertTokenizer(EXAMPLE, lowercase=True)(x))
    assert made_inside(tf.constant(strings)).to_list() == expected


@pytest.mark.parametrize("special", [False, True])
def test_saved_model_with_allowed_ops_in_a_process_without_the_package(tmp_path, special):
    tokenizer = SpanBertTokenizer(EXAMPLE, lowercase=True, special_tokens_in_strings=special)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def call(strings):
        pieces = tokenizer.tokenize_with_offsets(strings, unit="character")
        rows = pieces.token_ids.to_tensor(0), pieces.ends.to_tensor(0)
        return {"ids": rows[0], "ends": rows[1], "text": tokenizer.detokenize(pieces.token_ids)}

    module = tf.Module()
    module.call = call
    folder = str(tmp_path / "model")
    tf.saved_model.save(module, folder, signatures=call)
    graph = call.get_concrete_function().graph.as_graph_def(add_shapes=False)
    nodes = itertools.chain(graph.node, *(f.node_def for f in graph.library.function))
    used = {node.op for node in nodes if not hasattr(tf.raw_ops, node.op)}
    assert used <= ALLOWED_CUSTOM_OPS
    script = (
        "import sys, tensorflow as tf, tensorflow_text\n"
        f"call = tf.saved_model.load({folder!r}).call\n"
        "out = call(tf.constant(['The snowman melt.', '[MASK].']))\n"
        "assert 'spanbert_tf' not in sys.modules\n"
        "print(out['ids'].numpy().tolist(), out['ends'].numpy().tolist(), out['text'].numpy())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    second = ([4, 9, 0, 0, 0], [6, 7, 0, 0, 0]) if special else None
    ids, ends = [5, 6, 7, 8, 9], [3, 8, 11, 16, 17]
    if special:
        assert f"{[ids, second[0]]} {[ends, second[1]]}" in run.stdout
    else:
        assert f"{[ids, [1, 1, 1, 9, 0]]} {[ends, [1, 5, 6, 7, 0]]}" in run.stdout
    assert "b'the snowman melt .'" in run.stdout


# Bad and big input.


def test_malformed_utf8_counts_as_removed_characters(tokenizer):
    texts = [b"th\xffe sn\xe4\xb8ow", b"\x80the\xf0\x9f\x98", b"\xed\xa0\x80snow \xc0\xaf.\xe4"]
    for special in (False, True):
        tokenizer = SpanBertTokenizer(EXAMPLE, lowercase=True, special_tokens_in_strings=special)
        replaced = [text.decode("utf-8", "replace") for text in texts]
        pieces = tokenizer.tokenize_with_offsets(texts)
        assert pieces.token_ids.to_list() == [[5, 6], [5], [6, 9]]
        assert pieces.token_ids.to_list() == tokenizer(replaced).to_list()
        assert pieces.starts.to_list() == [[0, 5], [1], [3, 10]]
        for text, ends in zip(texts, pieces.ends.to_list(), strict=True):
            assert all(0 < end <= len(text) for end in ends)


@settings(max_examples=50)
@given(texts=st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_random_bytes_give_what_their_replacement_gives(pairs, texts):
    ours, _ = pairs("chinese")
    got = ours.tokenize_with_offsets(texts)
    replaced = [text.decode("utf-8", "replace") for text in texts]
    assert got.token_ids.to_list() == ours.tokenize(replaced).to_list()
    for text, starts, ends in zip(texts, got.starts.to_list(), got.ends.to_list(), strict=True):
        for start, end in zip(starts, ends, strict=True):
            assert 0 <= start < end <= len(text)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("unit", ["the snowman melt. ", "x", "the", "ж", "中", "[MASK]", "\x00"])
def test_a_megabyte_in_one_string(unit, special):
    tokenizer = SpanBertTokenizer(EXAMPLE, lowercase=True, special_tokens_in_strings=special)
    times = 1_000_000 // len(unit.encode())
    pieces = tokenizer.tokenize_with_offsets(unit * times, unit="character")
    if unit in ("x", "the", "ж"):  # One word, too long to have pieces.
        ids, starts, ends = [1], [0], [len(unit) * times]
    else:
        one = tokenizer.tokenize_with_offsets(unit, unit="character")
        begins = len(unit) * np.arange(times)[:, None]
        ids = np.tile(one.token_ids, times)
        starts, ends = (np.ravel(begins + places) for places in (one.starts, one.ends))
    np.testing.assert_array_equal(pieces.token_ids, ids)
    np.testing.assert_array_equal(pieces.starts, starts)
    np.testing.assert_array_equal(pieces.ends, ends)


@pytest.mark.parametrize("wrong", [5, None, [1, 2], ["a", 3], tf.constant(1.5), {"a": "b"}])
def test_what_is_no_string_is_refused(tokenizer, wrong):
    with pytest.raises(ValueError, match="expected strings"):
        tokenizer.tokenize(wrong)


# Vocabulary.


def test_special_tokens_and_lookups(tokenizer):
    names = ("pad", "unk", "cls", "sep", "mask", "start", "end")
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == [0, 1, 2, 3, 4, 2, 3]
    assert tokenizer.mask_token == "[MASK]"  # noqa: S105
    assert tokenizer.vocabulary_size() == 10
    assert tokenizer.get_vocabulary() == EXAMPLE
    assert tokenizer.id_to_token(7) == "##man"
    assert tokenizer.token_to_id("##man") == 7
    for wrong in (-1, 10):
        with pytest.raises(ValueError, match="from 0 to 9"):
            tokenizer.id_to_token(wrong)
    with pytest.raises(ValueError, match="frost"):
        tokenizer.token_to_id("frost")
    assert tokenizer.convert_tokens_to_ids("snow") == 6
    assert tokenizer.convert_tokens_to_ids("frost") == 1
    assert tokenizer.convert_tokens_to_ids(["snow", "frost"]) == [6, 1]
    assert tokenizer.convert_ids_to_tokens(6) == "snow"
    assert tokenizer.convert_ids_to_tokens(np.int32(6)) == "snow"
    assert tokenizer.convert_ids_to_tokens(np.array([6, 7])) == ["snow", "##man"]
    assert tokenizer.convert_ids_to_tokens(tf.constant([[6], [7]])) == [["snow"], ["##man"]]
    assert tokenizer.convert_ids_to_tokens(tf.ragged.constant([[6], []])) == [["snow"], []]


def test_detokenize(tokenizer):
    def texts(ids):
        return tokenizer.detokenize(ids)

    assert texts([5, 6, 7, 8, 9]).numpy() == b"the snowman melt ."
    assert texts(np.array([2, 6, 7, 3, 0, 0])).numpy() == b"[CLS] snowman [SEP]"
    assert texts([]).numpy() == b""
    assert texts([7, 7, 6]).numpy() == b"##manman snow"
    assert texts([[5, 6], [0, 7], [0, 0]]).numpy().tolist() == [b"the snow", b"##man", b""]
    assert texts(tf.ragged.constant([[5], [], [6, 7]])).numpy().tolist() == [
        b"the",
        b"",
        b"snowman",
    ]
    assert texts([[[5], []], [[6, 7]]]).to_list() == [[b"the", b""], [b"snowman"]]
    cube = texts(tf.constant([[[5, 6], [6, 7]]]))
    assert cube.to_list() == [[b"the snow", b"snowman"]]
    in_graph = tf.function(tokenizer.detokenize, input_signature=[tf.TensorSpec([None, None])])
    assert in_graph(tf.constant([[5.0, 6.0]])).numpy().tolist() == [b"the snow"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        texts([10])


def test_vocabulary_set_later(tmp_path, tokenizer):
    later = SpanBertTokenizer(lowercase=True)
    for use in (later.get_vocabulary, later.vocabulary_size, lambda: later("x")):
        with pytest.raises(ValueError, match="no vocabulary"):
            use()
    assert later.mask_token_id is None
    tokenizer.save_assets(tmp_path)
    later.load_assets(tmp_path)
    assert later.mask_token_id == 4
    assert later("snowman").numpy().tolist() == [6, 7]
    later.set_vocabulary(None)
    with pytest.raises(ValueError, match="no vocabulary"):
        later.token_to_id("snow")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_preset_and_config_round_trip(tmp_path):
    tokenizer = SpanBertTokenizer(EXAMPLE, lowercase=True, special_tokens_in_strings=True)
    config = tokenizer.get_config()
    assert config["vocabulary"] is None
    copy = SpanBertTokenizer.from_config(config)
    copy.set_vocabulary(tokenizer.get_vocabulary())
    SpanBertBackbone(10, 1, 1, 2, 2, max_sequence_length=4).save_to_preset(str(tmp_path))
    tokenizer.save_to_preset(str(tmp_path))
    loaded = [
        base.from_preset(str(tmp_path)) for base in (SpanBertTokenizer, keras_hub.models.Tokenizer)
    ]
    for other in (copy, *loaded):
        assert type(other) is SpanBertTokenizer
        assert other.get_vocabulary() == EXAMPLE
        assert other.lowercase is other.special_tokens_in_strings is True
        assert other("The [MASK].").numpy().tolist() == [5, 4, 9]


def test_a_file_as_the_reference_reads_it(tmp_path):
    path = tmp_path / "vocab.txt"
    for newline, end in (("\n", ""), ("\n", "\n"), ("\r\n", "\r\n"), ("\r\n", "\r\n\r\n\n")):
        path.write_bytes((newline.join(EXAMPLE) + end).encode())
        assert read_vocabulary(path) == EXAMPLE
    path.write_bytes(("\ufeff" + "\n".join(EXAMPLE[:6]) + "\nsnow \t\n\u3000\n\u2028\n").encode())
    assert read_vocabulary(str(path)) == [*EXAMPLE[:7], "\u3000", "\u2028"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        ("\n".join(EXAMPLE[1:]).encode(), r"lacks \['\[PAD\]'\]"),
        ("\n".join([*EXAMPLE, "snow"]).encode(), "line 11: 'snow' stands at .*line 7"),
        ("\n".join([*EXAMPLE, "", "x"]).encode(), "line 11: expected a word piece, got ''"),
        ("\n".join([*EXAMPLE, "ภ" * 100]).encode(), "line 11: .* at most 256 bytes, got 300"),
        ("\n".join(EXAMPLE).encode() + b"\nx\xff", "line 11: expected UTF-8"),
    ],
)
def test_an_unusable_file_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        SpanBertTokenizer(str(path))
    assert str(path) in str(error.value)


def test_a_missing_file_and_unusable_lists_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no vocabulary file at .*absent"):
        SpanBertTokenizer(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"vocabulary\[10\]: 'the' stands at vocabulary\[5\]"):
        SpanBertTokenizer([*EXAMPLE, "the"])
    with pytest.raises(ValueError, match=r"vocabulary\[10\]: expected a word piece, got 3"):
        SpanBertTokenizer([*EXAMPLE, 3])


# The Unicode rules themselves.


def test_unicode_rules():
    cased, uncased = changed_characters(False), changed_characters(True)
    assert cased[0] == cased[0xAD] == cased[0xFFFD] == cased[0xE000] == ""
    assert ord("A") not in cased
    assert [uncased[ord(x)] for x in "AÉΣİ\u0301한"] == [
        "a",
        "e",
        "σ",
        "i",
        "",
        "\u1112\u1161\u11ab",
    ]
    assert ord("\u00b4") not in uncased  # a compatibility character stays
    assert ord("，") in PUNCTUATION
    assert ord("中") in IDEOGRAPHS
    assert 0x2B820 not in IDEOGRAPHS
