"""Files of checkpoints that others made: a value, or an error that names the file."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from spanbert_tf import load_hugging_face, save_hugging_face
from spanbert_tf.checkpoints.convert import backbone_arguments
from spanbert_tf.checkpoints.hugging_face import read_config, read_tensors
from spanbert_tf.checkpoints.vocabularies import read_vocabulary
from spanbert_tf.data.readers.entities import read_entities
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.tables import read_examples, read_texts
from spanbert_tf.foreign_files import CheckpointError, read_json
from spanbert_tf.tokenization.added_tokens import AddedToken
from tests.checkpoints.foreign_folders import (
    CONFIG,
    SPECIAL,
    edit_json,
    random_tensors,
    vocabulary,
    write_checkpoint,
)

WORD = "embeddings.word_embeddings.weight"
FAST: dict[str, Any] = {
    "added_tokens": [{"id": 0, "content": "[PAD]", "special": True}],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {piece: number for number, piece in enumerate(vocabulary(13))},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, of whose files tests write others over."""
    return write_checkpoint(tmp_path_factory.mktemp("foreign") / "checkpoint")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


# Weights.


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(bad: float, tmp_path: Path):
    tensors = random_tensors(CONFIG)
    tensors[WORD][3, 1] = bad
    with pytest.raises(CheckpointError, match=f"NaN or infinite: {WORD}"):
        load_hugging_face(write_checkpoint(tmp_path, tensors))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("intermediate_size", 10**9),
        ("num_hidden_layers", 10**6),
        ("vocab_size", 2**31),
        ("max_position_embeddings", 10**9),
        ("hidden_size", 3 * 10**6),
    ],
)
def test_sizes_beyond_the_weights_are_refused_before_they_are_built(
    key: str, value: int, checkpoint: Path
):
    edit_json(checkpoint / "config.json", **{key: value})
    with pytest.raises(CheckpointError, match=r"describes an encoder of|word pieces for"):
        load_hugging_face(checkpoint)


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
@pytest.mark.parametrize("value", [0, -1, -2, "1", 1.5, True, [2], {}, 10**400])
def test_sizes_are_whole_numbers_above_0(key: str, value: Any, checkpoint: Path):
    edit_json(checkpoint / "config.json", **{key: value})
    with pytest.raises(CheckpointError, match=rf"config\.json.*{key}: expected an integer from 1"):
        load_hugging_face(checkpoint)


def test_heads_that_do_not_divide_the_width(checkpoint: Path):
    edit_json(checkpoint / "config.json", num_attention_heads=4)
    with pytest.raises(ValueError, match="num_heads"):
        load_hugging_face(checkpoint)


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
@pytest.mark.parametrize("value", ["0.1", -0.1, 1, 7])
def test_rates_of_dropout(name: str, value: Any, checkpoint: Path):
    edit_json(checkpoint / "config.json", **{name: value})
    with pytest.raises(CheckpointError, match=rf"{name}: expected a number from 0 to below 1"):
        load_hugging_face(checkpoint)


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a": ' * 100_000, b'{"a": %s}' % (b"9" * 5000), b"\xff\xfe{", b"", b"[1]"],
)
def test_json_that_no_parser_likes(content: bytes, tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_json(path)


@pytest.mark.parametrize(
    "index", [{}, {"weight_map": []}, {"weight_map": {"a": 3}}, {"weight_map": {"a": ["b"]}}]
)
def test_an_index_of_another_form(index: dict[str, Any], checkpoint: Path):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"index\.json"):
        read_tensors(checkpoint)


def test_float8_is_refused(checkpoint: Path):
    header = {WORD: {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + b"\0\0"
    (checkpoint / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"safetensors"):
        load_hugging_face(checkpoint)


def test_torch_files_of_other_forms(checkpoint: Path):
    torch = pytest.importorskip("torch", reason="writes the file to read")
    path = checkpoint / "pytorch_model.bin"
    (checkpoint / "model.safetensors").unlink()
    # A parameter is a tensor with a gradient.
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, path)
    np.testing.assert_array_equal(read_tensors(checkpoint)["a"], [1, 1])
    for value in ({3: torch.ones(2)}, {"a": 3}, {"a": torch.ones(2).to_sparse()}):
        torch.save(value, path)
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
            read_tensors(checkpoint)
    torch.save({"a": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        read_tensors(checkpoint)


# Tokenization.


def write_fast(folder: Path, **changes: Any) -> Path:
    """Writes `tokenizer.json`, with `part__key` changed in a part."""
    fast = json.loads(json.dumps(FAST))
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            fast[part][key] = value
        else:
            fast[part] = value
    (folder / "tokenizer.json").write_text(json.dumps(fast))
    return folder


def test_a_tokenizer_that_says_what_we_do_is_taken(checkpoint: Path):
    pieces = read_vocabulary(write_fast(checkpoint)).pieces
    assert pieces == vocabulary(13)
    (checkpoint / "vocab.txt").unlink()
    assert read_vocabulary(checkpoint) == (pieces, True, [])


def test_the_case_is_that_of_tokenizer_json(tmp_path: Path):
    """Whose vocabulary has no capital letters, from which one would take it for uncased."""
    checkpoint = write_checkpoint(tmp_path, lowercase=None)
    for lowercase in (False, True):
        write_fast(checkpoint, normalizer__lowercase=lowercase)
        assert read_vocabulary(checkpoint).lowercase is lowercase


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer__lowercase": False}, "contradict each other on lower-casing"),
        ({"normalizer__strip_accents": False}, "strip_accents"),
        ({"normalizer__clean_text": False}, "clean_text"),
        ({"normalizer__handle_chinese_chars": False}, "handle_chinese_chars"),
        ({"normalizer": None}, "normalizer: expected an object"),
        ({"normalizer": {"type": "Lowercase"}}, "expected 'BertNormalizer'"),
        ({"normalizer": {"type": "Sequence", "normalizers": []}}, "expected 'BertNormalizer'"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer.type"),
        ({"pre_tokenizer": None}, "pre_tokenizer"),
        ({"post_processor": {"type": "RobertaProcessing"}}, "post_processor"),
        ({"model__continuing_subword_prefix": "@@"}, "continuing_subword_prefix"),
        ({"model__max_input_chars_per_word": 20}, "max_input_chars_per_word"),
        ({"model__unk_token": "<unk>"}, "unk_token"),
        ({"model__vocab": {"[PAD]": 0}}, "different word pieces"),
        ({"model__vocab": ["a"]}, "an object of word pieces"),
        ({"model__vocab": {"a": "0"}}, "an integer for each word piece"),
        ({"added_tokens": [{"id": 14, "content": "[URL]"}]}, "one piece for each id from 0 to 13"),
        (
            {"added_tokens": [{"id": 13, "content": "[URL]", "lstrip": True}]},
            r"'\[URL\]' with lstrip, which",
        ),
        (
            {"added_tokens": [{"id": 13, "content": "a", "single_word": True}]},
            "'a' with single_word, which",
        ),
        ({"added_tokens": [{"id": 13, "content": "a "}]}, "'a ' begins or ends with white space"),
        ({"added_tokens": [{"id": 5, "content": "w1"}]}, "one piece for each id"),
        ({"added_tokens": {"a": 1}}, "an object of word pieces"),
        ({"model": 3}, "model: expected an object"),
    ],
)
def test_another_tokenizer_is_refused_by_name(
    changes: dict[str, Any], message: str, checkpoint: Path
):
    with pytest.raises(CheckpointError, match=message):
        read_vocabulary(write_fast(checkpoint, **changes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_lower_case": "false"}, "do_lower_case: expected None or True or False, got 'false'"),
        ({"do_lower_case": 1}, "do_lower_case"),
        ({"strip_accents": False}, "strip_accents: expected null or as do_lower_case"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class: expected BertTokenizer"),
        ({"tokenizer_class": "RobertaTokenizerFast"}, "tokenizer_class"),
        ({"tokenizer_class": 3}, "tokenizer_class"),
        ({"never_split": ["[URL]"]}, "never_split"),
        ({"additional_special_tokens": ["[NUM]"]}, r"'\[NUM\]' of additional_special_tokens"),
        ({"additional_special_tokens": 3}, "additional_special_tokens: expected a list of tokens"),
        ({"wordpieces_prefix": "@@"}, "wordpieces_prefix"),
        ({"added_tokens_decoder": {"x": {"content": "[URL]"}}}, r"\[URL\]: expected an integer"),
        ({"added_tokens_decoder": {"13": "[URL]"}}, "expected an object that describes a token"),
        ({"added_tokens_decoder": [3]}, "added_tokens_decoder: expected an object"),
    ],
)
def test_other_settings_are_refused_by_name(
    settings: dict[str, Any], message: str, checkpoint: Path
):
    edit_json(checkpoint / "tokenizer_config.json", **settings)
    with pytest.raises(CheckpointError, match=rf"tokenizer_config\.json.*{message}"):
        read_vocabulary(checkpoint)


def test_added_tokens_of_all_files_agree_or_are_refused(checkpoint: Path):
    (checkpoint / "added_tokens.json").write_text(json.dumps({"[PAD]": 0}))
    assert read_vocabulary(checkpoint).added == []
    (checkpoint / "added_tokens.json").write_text(json.dumps({"[NUM]": 14, "[URL]": 13}))
    edit_json(checkpoint / "tokenizer_config.json", additional_special_tokens=["[URL]", "w1"])
    tokens = {"[NUM]": AddedToken("[NUM]", True), "[URL]": AddedToken("[URL]")}
    pieces, _, added = read_vocabulary(checkpoint)
    assert pieces == [*vocabulary(13), "[URL]", "[NUM]"]
    assert sorted(added, key=str) == sorted(
        [*tokens.values(), AddedToken("w1", is_piece=True)], key=str
    )
    # What is said of a token elsewhere holds, of both files.
    described = [
        {"id": 14, "content": "[NUM]", "normalized": False},
        {"id": 13, "content": "[URL]", "normalized": False},
    ]
    write_fast(checkpoint, added_tokens=described)
    added = read_vocabulary(checkpoint).added
    assert {*added} == {AddedToken("[NUM]"), AddedToken("[URL]"), AddedToken("w1", is_piece=True)}
    decoder = {"14": {"content": "[NUM]", "normalized": True}}
    edit_json(checkpoint / "tokenizer_config.json", added_tokens_decoder=decoder)
    with pytest.raises(CheckpointError, match=r"contradict each other on the token '\[NUM\]'"):
        read_vocabulary(checkpoint)
    edit_json(checkpoint / "tokenizer_config.json", added_tokens_decoder=None)
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "added_tokens.json").write_text(json.dumps({"[NUM]": 15, "[URL]": 13}))
    with pytest.raises(CheckpointError, match=r"ids from 13 to 14, behind .* '\[NUM\]': 15"):
        read_vocabulary(checkpoint)
    (checkpoint / "added_tokens.json").write_text(json.dumps({"[URL]": 13, "w1": 7}))
    with pytest.raises(CheckpointError, match="'w1' has the id 7, but is the word piece 6"):
        read_vocabulary(checkpoint)


def test_added_tokens_there_and_back(tmp_path: Path):
    """Read, saved, and read again: by us, and by the library itself."""
    folder = write_checkpoint(tmp_path / "given", config={"vocab_size": 15})
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary(13)))
    (folder / "added_tokens.json").write_text(json.dumps({"[NUM]": 14, "[URL]": 13}))
    backbone, tokenizer = load_hugging_face(folder)
    texts = ["w1 [URL]w1", "[num]", "[NUM]w2"]
    assert tokenizer(texts).to_list() == [[6, 13, 6], [14], [14, 7]]
    save_hugging_face(backbone, tokenizer, tmp_path / "saved")
    again = load_hugging_face(tmp_path / "saved")[1]
    assert {*again.added_tokens} == {*tokenizer.added_tokens}
    assert again(texts).to_list() == tokenizer(texts).to_list()
    transformers = pytest.importorskip("transformers", reason="a second reader")
    for path in (folder, tmp_path / "saved"):
        theirs = transformers.AutoTokenizer.from_pretrained(path)
        ids = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
        assert ids == tokenizer(texts).to_list()


@pytest.mark.parametrize(
    "kind", ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", None]
)
def test_classes_that_split_as_bert_does(kind: str | None, checkpoint: Path):
    edit_json(checkpoint / "tokenizer_config.json", tokenizer_class=kind)
    assert read_vocabulary(checkpoint).lowercase


# Anything at all: 2,000 cases, none of which builds a network.

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "bert", "gelu", "WordPiece", "[PAD]", "a"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
TOKENIZER_CONFIG = {
    "do_lower_case": True,
    "strip_accents": None,
    "tokenizer_class": "BertTokenizer",
    "mask_token": {"content": "[MASK]"},
    "added_tokens_decoder": {"0": {"content": "[PAD]"}},
}
VOCABULARY = "".join(f"{piece}\n" for piece in [*SPECIAL, "é", "##b"]).encode()
CHARACTERS = list("text,label\t;\"'\r\n\\ ab1\u2028\x85\x0c\ufeffé{}[]:")
FUZZ = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def changed(value: Any) -> st.SearchStrategy[Any]:
    """JSON values like another, of which a part, at any depth, is anything or missing."""
    if not isinstance(value, dict) or not value:
        return JSON

    def replace(key: str) -> st.SearchStrategy[Any]:
        rest = {name: item for name, item in value.items() if name != key}
        inner = changed(value[key]) if isinstance(value[key], dict) else JSON
        return st.just(rest) | (inner | JSON).map(lambda new: {**value, key: new})

    return st.sampled_from(sorted(value)).flatmap(replace) | JSON


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Bytes of a file with some cut out, or some of others in their place."""
    begin = draw(st.integers(0, len(content)))
    end = draw(st.integers(begin, min(len(content), begin + 40)))
    return content[:begin] + draw(st.binary(max_size=12)) + content[end:]


def value_of(read: Callable[..., Any], *arguments: Any, names: Path) -> Any:
    """What a reader gives; `None` where it has an error of ours, which must name the file."""
    try:
        return read(*arguments)
    except (ValueError, FileNotFoundError) as error:
        raised = error
    # A `ValueError` itself is of a vocabulary; others may be a library's.
    assert type(raised) in (CheckpointError, DataError, FileNotFoundError, ValueError)
    assert str(names) in str(raised)
    return None


@FUZZ
@given(changed(CONFIG))
def test_fuzz_config(folder: Path, config: Any):
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    arguments = value_of(lambda: backbone_arguments(read_config(folder), path), names=path)
    sizes = [value for name, value in (arguments or {}).items() if name != "dropout"]
    assert all(type(size) is int and size > 0 for size in sizes)


@FUZZ
@given(changed(FAST))
def test_fuzz_tokenizer_json(folder: Path, fast: Any):
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text(json.dumps(fast))
    read = value_of(read_vocabulary, folder, names=folder)
    assert read is None or read.pieces == vocabulary(13)
    (folder / "tokenizer.json").unlink()


@FUZZ
@given(changed(TOKENIZER_CONFIG))
def test_fuzz_tokenizer_config(folder: Path, config: Any):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    read = value_of(read_vocabulary, folder, names=folder)
    assert read is None or type(read.lowercase) is bool


@FUZZ
@given(damaged(VOCABULARY))
def test_fuzz_vocabulary(folder: Path, content: bytes):
    folder = folder / "vocabulary_alone"
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_bytes(content)
    read = value_of(read_vocabulary, folder, names=folder)
    assert read is None or set(SPECIAL) <= set(read.pieces)


@FUZZ
@given(st.data())
def test_fuzz_safetensors(folder: Path, safetensors: bytes, data: Any):
    (folder / "model.safetensors").write_bytes(data.draw(damaged(safetensors)))
    tensors = value_of(read_tensors, folder, names=folder) or {}
    assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())


@pytest.fixture(scope="module")
def safetensors() -> bytes:
    return save({"a": np.ones((2, 3), "float32"), "b": np.zeros(4, "float16")})


@FUZZ
@given(
    st.sampled_from([".tsv", ".csv"]),
    st.lists(st.text(st.sampled_from(CHARACTERS), max_size=30), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_fuzz_tables(folder: Path, suffix: str, lines: list[str], line_break: str):
    path = folder / f"table{suffix}"
    header = "text\tlabel" if suffix == ".tsv" else "text,label"
    path.write_bytes(line_break.join([header, *lines]).encode())
    examples = value_of(read_examples, path, names=path) or []
    assert all(example.text.strip() and example.label for example in examples)


@FUZZ
@given(st.lists(changed({"text": "a", "label": "b", "text_pair": "c"}) | JSON, max_size=3))
def test_fuzz_json_lines(folder: Path, records: list[Any]):
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    for read in (read_examples, read_texts, read_entities):
        value_of(read, path, names=path)


@FUZZ
@given(st.binary(max_size=40) | st.text(string.printable, max_size=40).map(str.encode))
def test_fuzz_any_bytes(folder: Path, content: bytes):
    for suffix in (".tsv", ".csv", ".jsonl", ".txt", ".jsonl.gz"):
        path = folder / f"any{suffix}"
        path.write_bytes(content)
        value_of(read_texts, path, names=path)
