"""Tokens that a Hugging Face tokenizer keeps whole, beyond BERT's own special ones."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spanbert_tf.checkpoints.hugging_face import (
    SPECIAL_TOKENS,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
)
from spanbert_tf.foreign_files import (
    CheckpointError,
    Schema,
    check,
    flag,
    integer,
    of_type,
    read_json,
    table,
    text,
)
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

ADDED_TOKENS_FILE = "added_tokens.json"
ADDED_TOKENS = "added_tokens_decoder"  # in `tokenizer_config.json`
# Lists of special tokens, by their names in older and in newer versions.
_EXTRA = ("additional_special_tokens", "extra_special_tokens")

_TOKEN: Schema = {
    "content": text(required=True),
    **dict.fromkeys(("normalized", "special", "lstrip", "rstrip", "single_word"), flag()),
}


class FoundToken(NamedTuple):
    """A token that a file adds.

    Attributes:
        number: Its id; `None`: the one it has among the word pieces.
        normalized: Whether it is looked for in normalised text.
    """

    number: int | None
    normalized: bool


def find_added_tokens(
    folder: Path, configs: Mapping[str, dict[str, Any]], fast: list[Any]
) -> dict[str, FoundToken]:
    """Reads the tokens that the files of a checkpoint add.

    Args:
        folder: The checkpoint's folder.
        configs: By its name what each of the files holds that list special tokens.
        fast: `added_tokens` of `tokenizer.json`.

    Returns:
        Of each token what is said of it.

    Raises:
        CheckpointError: A file is damaged, two contradict each other, or a token is to be looked
            for in a way that `SpanBertTokenizer` does not know.
    """
    # Without a list of its own, a special token is one that is not normalised.
    extra = {
        content: FoundToken(None, normalized=False)
        for name, config in configs.items()
        for content in _extra_tokens(config, folder / name)
    }
    config = configs.get(TOKENIZER_CONFIG_FILE, {})
    found: dict[str, FoundToken] = {}
    for path, tokens in (
        (folder / TOKENIZER_FILE, ((of, of.get("id")) for of in fast)),
        (folder / TOKENIZER_CONFIG_FILE, _of_decoder(config, folder / TOKENIZER_CONFIG_FILE)),
        (folder / ADDED_TOKENS_FILE, _of_ids(folder / ADDED_TOKENS_FILE, extra)),
    ):
        for token, number in tokens:
            content = _content(token, path)
            if content in SPECIAL_TOKENS.values():
                continue
            check({content: number}, {content: integer(0, required=True)}, path)
            for name in ("lstrip", "rstrip", "single_word"):
                if token.get(name):
                    raise CheckpointError(
                        f"{path} adds the token {content!r} with {name}, which SpanBertTokenizer "
                        "does not do"
                    )
            normalized = token.get("normalized", not token.get("special", False))
            new = FoundToken(number, normalized)
            # What `added_tokens.json` does not say is what the other files say.
            if path.name == ADDED_TOKENS_FILE and content in found:
                new = new._replace(normalized=found[content].normalized)
            if found.setdefault(content, new) != new:
                raise CheckpointError(
                    f"{folder}: its files contradict each other on the token {content!r}: "
                    f"{found[content]} and, in {path.name}, {new}"
                )
    return {**extra, **found}


def added_tokens_decoder(tokenizer: SpanBertTokenizer) -> dict[str, Any]:
    """What `tokenizer_config.json` says of a tokenizer's added and special tokens, by their ids.

    Raises:
        CheckpointError: An added token that is no word piece is not behind all that are.
    """
    added = {
        token.content: {"normalized": token.normalized, "special": False}
        for token in tokenizer.added_tokens
    }
    behind = [token.content for token in tokenizer.added_tokens if not token.is_piece]
    pieces = tokenizer.get_vocabulary()
    if {*pieces[len(pieces) - len(behind) :]} != {*behind}:
        raise CheckpointError(
            f"the added tokens {', '.join(behind[:10])} are not the last ones of the vocabulary, "
            "where BERT's tokenizers have them"
        )
    special = {of: {"normalized": False, "special": True} for of in SPECIAL_TOKENS.values()}
    strict = dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
    return {
        str(tokenizer.token_to_id(content)): {"content": content, **strict, **settings}
        for content, settings in {**special, **added}.items()
    }


def _extra_tokens(config: dict[str, Any], path: Path) -> Iterator[str]:
    for name in _EXTRA:
        tokens = config.get(name) or []
        tokens = [*tokens.values()] if isinstance(tokens, dict) else tokens
        check({name: tokens}, {name: of_type(list, "a list of tokens")}, path)
        for token in tokens:
            content = _content(token if isinstance(token, dict) else {"content": token}, path)
            if content not in SPECIAL_TOKENS.values():
                yield content


def _content(token: Any, path: Path) -> str:
    if not isinstance(token, dict):
        raise CheckpointError(
            f"{path}: expected an object that describes a token, got {token!r:.80}"
        )
    check(token, _TOKEN, path)
    return token["content"]


def _of_decoder(config: dict[str, Any], path: Path) -> Iterator[tuple[Any, Any]]:
    if ADDED_TOKENS not in config:
        return
    check(config, {ADDED_TOKENS: table()}, path)
    for number, token in config[ADDED_TOKENS].items():
        yield token, int(number) if number.isdecimal() and len(number) < 10 else number


def _of_ids(path: Path, special: Mapping[str, FoundToken]) -> Iterator[tuple[Any, Any]]:
    if not path.is_file():
        return
    for content, number in read_json(path).items():
        yield {"content": content, "special": content in special}, number
