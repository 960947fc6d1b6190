"""Vocabulary and tokenization settings of a Hugging Face checkpoint: honoured exactly, or refused.

Four files may say how text is split: `vocab.txt`, `tokenizer.json`, `tokenizer_config.json` and
`added_tokens.json`.  All of them are read, and what differs from `SpanBertTokenizer` is named.
"""

import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

from spanbert_tf.checkpoints.added_tokens import FoundToken, find_added_tokens
from spanbert_tf.checkpoints.hugging_face import (
    SPECIAL_TOKENS,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    VOCABULARY_FILE,
)
from spanbert_tf.foreign_files import CheckpointError, Schema, read_json, table
from spanbert_tf.tokenization.added_tokens import AddedToken, check_added_tokens
from spanbert_tf.tokenization.tokenizer import read_vocabulary as read_pieces

SPECIAL_TOKENS_FILE = "special_tokens_map.json"

# Classes that split text as BERT does, with these settings.
_TOKENIZER_CLASSES = (
    *("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"),
    *("RetriBertTokenizer", "ConvBertTokenizer", "SqueezeBertTokenizer", "LayoutLMTokenizer"),
)
# These have no settings of their own: tokenizer.json says all.
_GENERAL_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
# What a key may hold; a key that is missing means the first value.
_CONFIG: dict[str, tuple[Any, ...]] = {
    **{name: (token,) for name, token in SPECIAL_TOKENS.items()},
    "do_lower_case": (None, True, False),
    "tokenize_chinese_chars": (True,),
    "do_basic_tokenize": (True,),
    "never_split": (None, []),
    "wordpieces_prefix": ("##",),
    "clean_text": (True,),
}
_NORMALIZER: dict[str, tuple[Any, ...]] = {
    "type": ("BertNormalizer",),
    "clean_text": (True,),
    "handle_chinese_chars": (True,),
    "lowercase": (True, False),
}
_PRE_TOKENIZER: dict[str, tuple[Any, ...]] = {"type": ("BertPreTokenizer",)}
_MODEL: dict[str, tuple[Any, ...]] = {
    "unk_token": (SPECIAL_TOKENS["unk_token"],),
    "continuing_subword_prefix": ("##",),
    "max_input_chars_per_word": (100,),
}
_FAST: Schema = {"model": table(required=True)}
_SINGLE, _PAIR = "[CLS]:0 A:0 [SEP]:0", "[CLS]:0 A:0 [SEP]:0 B:1 [SEP]:1"
# Uncased vocabularies hold a stray capital letter or two, cased ones thousands.
_STRAY_CAPITALS = 1 / 1000

_log = logging.getLogger(__name__)


class Vocabulary(NamedTuple):
    """How a tokenizer splits text.

    Attributes:
        pieces: Word pieces in the order of their ids, added tokens among them.
        lowercase: Whether the text is lower-cased before.
        added: The tokens that are kept whole.
    """

    pieces: list[str]
    lowercase: bool
    added: list[AddedToken]


def read_vocabulary(folder: Path) -> Vocabulary:
    """Reads the word pieces of a checkpoint's folder, and whether they are for lower-cased text.

    The pieces come from `vocab.txt` or `tokenizer.json`, which must agree where there are both; the
    case from `tokenizer_config.json` or `tokenizer.json`.  If neither says it, it is inferred, with
    a logged warning: a vocabulary without capital letters is for lower-cased text.

    Raises:
        FileNotFoundError: There is neither file.
        ValueError: `vocab.txt` is damaged.
        CheckpointError: Another file is damaged, two of them contradict each other, or one asks for
            what `SpanBertTokenizer` does not do.
    """
    configs = _read_configs(folder)
    config = configs.get(TOKENIZER_CONFIG_FILE, {})
    fast = _read_fast(folder / TOKENIZER_FILE)
    found = find_added_tokens(folder, configs, fast.added if fast else [])
    if (folder / VOCABULARY_FILE).is_file():
        own = read_pieces(folder / VOCABULARY_FILE)
        pieces = _with_added(own, found, folder)
        others = pieces if fast is None else _with_added(fast.own, found, folder)
        if others != pieces:
            raise CheckpointError(
                f"{folder}: {VOCABULARY_FILE} and {TOKENIZER_FILE} hold different word pieces, "
                f"{len(pieces)} and {len(others)}"
            )
    elif fast is not None:
        own, pieces = fast.own, _with_added(fast.own, found, folder)
    else:
        raise FileNotFoundError(f"no vocabulary in {folder}: {VOCABULARY_FILE} or {TOKENIZER_FILE}")
    of_words = set(own if fast is None else fast.own)
    added = [AddedToken(of, at.normalized, of in of_words) for of, at in found.items()]
    said = {
        name: value
        for name, value in (
            (TOKENIZER_CONFIG_FILE, config.get("do_lower_case")),
            (TOKENIZER_FILE, fast and fast.lowercase),
        )
        if value is not None
    }
    if len(set(said.values())) > 1:
        raise CheckpointError(f"{folder}: its files contradict each other on lower-casing: {said}")
    lowercase = next(iter(said.values())) if said else _guess_lowercase(pieces, folder)
    strip_accents = config.get("strip_accents")
    if strip_accents not in (None, lowercase):
        raise CheckpointError(
            f"{folder / TOKENIZER_CONFIG_FILE} asks for another tokenizer: strip_accents: expected "
            f"null or as do_lower_case, got {strip_accents!r}"
        )
    try:
        check_added_tokens(added, pieces, lowercase)
    except ValueError as error:
        raise CheckpointError(f"{folder} asks for another tokenizer: {error}") from error
    return Vocabulary(pieces, lowercase, added)


def _guess_lowercase(pieces: list[str], folder: Path) -> bool:
    words = [piece for piece in pieces if not re.fullmatch(r"\[.*\]", piece)]
    capitals = sum(word != word.lower() for word in words) / max(len(words), 1)
    lowercase = capitals <= _STRAY_CAPITALS
    _log.warning(
        "%s does not say whether text is lower-cased; lowercase=%s, as its vocabulary has %s",
        folder,
        lowercase,
        "no capital letters" if lowercase else "capital letters",
    )
    return lowercase


def _with_added(own: list[str], found: dict[str, FoundToken], folder: Path) -> list[str]:
    """The word pieces, and behind them, by their ids, the added tokens that are none of them."""
    ids = {piece: number for number, piece in enumerate(own)}
    for content, token in found.items():
        expected = ids.get(content)
        if expected is None and token.number is None:
            raise CheckpointError(
                f"{folder / TOKENIZER_CONFIG_FILE}: no file says which id the token {content!r} "
                "of additional_special_tokens has"
            )
        if token.number not in (None, expected) and expected is not None:
            raise CheckpointError(
                f"{folder}: the added token {content!r} has the id {token.number}, but is the word "
                f"piece {expected}"
            )
    new = {content: of.number for content, of in found.items() if content not in ids}
    behind = sorted(new, key=lambda content: new[content] or 0)
    last = len(own) + len(new) - 1
    if [new[content] for content in behind] != [*range(len(own), last + 1)]:
        raise CheckpointError(
            f"{folder}: expected the added tokens to have the ids from {len(own)} to {last}, "
            f"behind the word pieces, got {', '.join(f'{of!r}: {new[of]}' for of in behind[:10])}"
        )
    return own + behind


def _read_configs(folder: Path) -> dict[str, dict[str, Any]]:
    """Reads `tokenizer_config.json` and the map of special tokens beside it, and checks them."""
    configs = {}
    for name in (SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE):
        path = folder / name
        if not path.is_file():
            continue
        configs[name] = config = read_json(path)
        wrong = _differences(config, _CONFIG)
        kind = config.get("tokenizer_class")
        known = [*_TOKENIZER_CLASSES, *(_GENERAL_CLASSES if _has_fast(folder) else ())]
        if kind is not None and str(kind).removesuffix("Fast") not in known and kind not in known:
            wrong.append(f"tokenizer_class: expected BertTokenizer, got {kind!r:.80}")
        if wrong:
            raise CheckpointError(f"{path} asks for another tokenizer: {'; '.join(wrong)}")
    return configs


def _has_fast(folder: Path) -> bool:
    return (folder / TOKENIZER_FILE).is_file()


def _differences(found: Any, expected: dict[str, tuple[Any, ...]], prefix: str = "") -> list[str]:
    """Lists the keys of an object that hold anything else than is expected of them."""
    if not isinstance(found, dict):
        return [f"{prefix.rstrip('.')}: expected an object, got {found!r:.80}"]
    wrong = []
    for key, values in expected.items():
        value = found.get(key, values[0])
        value = value.get("content", value) if isinstance(value, dict) else value
        # By type too: 1 is no true.
        if not any(type(value) is type(known) and value == known for known in values):
            shown = " or ".join(repr(known) for known in values)
            wrong.append(f"{prefix}{key}: expected {shown}, got {value!r:.80}")
    return wrong


class _Fast(NamedTuple):
    own: list[str]  # of the model, which splits words
    lowercase: bool | None
    added: list[Any]


def _read_fast(path: Path) -> _Fast | None:
    """Reads `tokenizer.json` whole; what it leaves out is taken to be as it should be."""
    if not path.is_file():
        return None
    fast = read_json(path, _FAST)
    model = fast["model"]
    # The library left the type out before it had others.
    if model.get("type", "WordPiece") != "WordPiece":
        raise CheckpointError(f"{path}: expected a WordPiece model, got {model.get('type')!r:.80}")
    wrong = _differences(model, _MODEL, "model.")
    for key, expected in (("normalizer", _NORMALIZER), ("pre_tokenizer", _PRE_TOKENIZER)):
        if key in fast:
            wrong += _differences(fast[key], expected, f"{key}.")
    normalizer = fast.get("normalizer")
    lowercase = None
    if isinstance(normalizer, dict):
        lowercase = normalizer.get("lowercase", True)
        if normalizer.get("strip_accents") not in (None, lowercase):
            wrong.append(
                "normalizer.strip_accents: expected null or as lowercase, got "
                f"{normalizer['strip_accents']!r:.80}"
            )
    wrong += _wrong_post_processor(fast.get("post_processor"))
    if wrong:
        raise CheckpointError(f"{path} asks for another tokenizer: {'; '.join(wrong)}")
    return _Fast(_pieces_of(fast, path), lowercase, fast.get("added_tokens") or [])


def _wrong_post_processor(processor: Any) -> list[str]:
    """What is wrong of where special tokens are put; without a rule, they are put as BERT does."""
    if processor is None:
        return []
    if not isinstance(processor, dict):
        return [f"post_processor: expected an object, got {processor!r:.80}"]
    if processor.get("type") == "BertProcessing":
        tokens = [processor.get(key) for key in ("cls", "sep")]
        found = [token[:1] if isinstance(token, list) else token for token in tokens]
        return [] if found == [["[CLS]"], ["[SEP]"]] else [f"post_processor: got {tokens!r:.80}"]
    found = [_shown_template(processor.get(key)) for key in ("single", "pair")]
    if processor.get("type") == "TemplateProcessing" and found == [_SINGLE, _PAIR]:
        return []
    return [f"post_processor: expected {_SINGLE!r} and {_PAIR!r}, got {found!r:.200}"]


def _shown_template(template: Any) -> str:
    """`"[CLS]:0 A:0 [SEP]:0"`."""
    try:
        parts = [next(iter(part.values())) for part in template]
        return " ".join(f"{part['id']}:{part['type_id']}" for part in parts)
    except (TypeError, KeyError, AttributeError, StopIteration):
        return repr(template)


def _pieces_of(fast: dict[str, Any], path: Path) -> list[str]:
    """Word pieces of the model, and special tokens, in the order of their ids."""
    vocabulary, added = fast["model"].get("vocab"), fast.get("added_tokens") or []
    is_added = isinstance(added, list) and all(
        isinstance(token, dict) and type(token.get("content")) is str for token in added
    )
    if not isinstance(vocabulary, dict) or not is_added:
        raise CheckpointError(
            f"{path}: expected an object of word pieces under model.vocab, and a list of objects "
            "under added_tokens"
        )
    ids = {**vocabulary, **{token["content"]: token.get("id") for token in added}}
    if not all(type(number) is int for number in ids.values()):
        raise CheckpointError(f"{path}: expected an integer for each word piece")
    pieces = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise CheckpointError(f"{path}: expected one piece for each id from 0 to {len(pieces) - 1}")
    return [of for of in pieces if of in vocabulary or of in SPECIAL_TOKENS.values()]
