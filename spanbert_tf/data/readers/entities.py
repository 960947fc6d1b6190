"""Files of texts with their entities -> texts, and entities as characters of them.

- One word a line, with its tag (`.conll`, `.bio`, `.iob2`, `.tsv` ...: see `conll`).
- JSON lines of texts with spans: `{"text": "Ada wrote", "entities": [{"start": 0, "end": 3,
  "label": "PER"}]}`, or spans as `[0, 3, "PER"]`.
- JSON lines of words with tags: `{"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}`.

Each also gzipped.  Which scheme the tags follow is told from all tags of a file (see `tags`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from spanbert_tf.atomic_files import user_path
from spanbert_tf.data.readers.conll import TaggedWords, read_tagged_words
from spanbert_tf.data.readers.lines import DataError, quote, suffix_of
from spanbert_tf.data.readers.tables import read_json_lines
from spanbert_tf.data.readers.tags import Span, TagError, detect_scheme, is_tag, spans_of
from spanbert_tf.data.readers.words import UNSPACED

JSON_SUFFIXES = (".jsonl", ".json")
WORD_SUFFIXES = (".conll", ".bio", ".iob", ".iob2", ".bioes", ".bmes", ".txt", ".tsv")
TEXT_KEYS = ("text", "sentence")
WORD_KEYS = ("tokens", "words", *TEXT_KEYS)
ENTITY_KEYS = ("entities", "spans", "tags", "ner_tags", "labels", "label")
TYPE_KEYS = ("label", "type", "entity_group", "entity")


@dataclass(frozen=True, slots=True)
class EntitySpan:
    """One entity of a text.

    Attributes:
        start: Its first character.
        end: The character after its last one.
        label: Name of its type, such as `PER`.
    """

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class TaggedText:
    """One text with its entities.

    Attributes:
        text: The text.
        entities: Its entities, in order; no two share a character.
        words: First character, and the one after the last, of each word that the file parts the
            text into; `None` where the file has whole texts.
        line: Number of the line where it starts, from 1.
        path: The file that it is from.
    """

    text: str
    entities: tuple[EntitySpan, ...]
    words: tuple[tuple[int, int], ...] | None
    line: int
    path: str = ""


def read_entities(
    path: str | os.PathLike[str],
    text_column: str | None = None,
    label_column: str | None = None,
    tag_column: int | None = None,
    word_column: int | None = None,
    repair_tags: bool = False,
) -> list[TaggedText]:
    """Reads texts and their entities from a file of words with tags, or of JSON lines.

    The words of a file that has no text are joined by spaces, but not where Chinese or Japanese
    writes none; and a file whose words are all single characters, Chinese ones among them, has
    the characters of a text, which are joined by nothing.

    Args:
        path: The file: JSON lines if its name ends in `.jsonl` or `.json`, else, with one of
            `WORD_SUFFIXES`, one word a line; plain or `.gz`.
        text_column: Key of the text, or of the list of words, in JSON lines.  `None`: the first
            of `TEXT_KEYS` (for words `WORD_KEYS`) that the record has.
        label_column: Key of the spans, or of the list of tags, in JSON lines.  `None`: the first
            of `ENTITY_KEYS` that the record has.
        tag_column: The column of the tags, from 0, or -1 for the last, in a file of one word a
            line.  `None`: the last one if it holds tags, else the only one that does.
        word_column: The same for the words.  `None`: the first one that neither holds the tags
            nor counts words.
        repair_tags: Reads tags in places that their scheme does not allow, as conlleval does: an
            `I-` that continues nothing begins an entity.  Otherwise they are errors.

    Returns:
        The texts in the order of the file.

    Raises:
        DataError: The file cannot be read, or holds nothing; a line is not what is described
            here; an entity is not within its text, or shares characters with another.
    """
    path = user_path(path)
    is_json = suffix_of(path) in JSON_SUFFIXES
    if not is_json and suffix_of(path) not in WORD_SUFFIXES:
        raise DataError(
            f"{path}: expected a file named {', '.join(JSON_SUFFIXES + WORD_SUFFIXES)}, or one of "
            "them .gz."
        )
    keys = {"text_column": text_column, "label_column": label_column}
    columns = {"tag_column": tag_column, "word_column": word_column}
    for name, value in (columns if is_json else keys).items():
        if value is not None:
            raise DataError(
                f"{path}: `{name}` is for {'one word a line' if is_json else 'JSON lines'}, but "
                f"the file is one of {'JSON lines' if is_json else 'one word a line'}."
            )
    if is_json:
        return _read_json(path, text_column, label_column, repair_tags)
    return _with_spans(path, read_tagged_words(path, word_column, tag_column), repair_tags)


def _with_spans(path: Path, sentences: Sequence[TaggedWords], repair: bool) -> list[TaggedText]:
    """Makes texts of all of a file's words, and spans of characters of their tags."""
    scheme = detect_scheme(sentence.tags for sentence in sentences)
    words = [word for sentence in sentences for word in sentence.words]
    are_characters = all(len(word) == 1 for word in words) and any(map(UNSPACED.match, words))
    texts = []
    for sentence in sentences:
        words_at = None if sentence.text is None else _find_words(sentence.text, sentence.words)
        if sentence.text is None or words_at is None:
            text, words_at = _join_words(sentence.words, not are_characters)
        else:
            text = sentence.text
        entities = tuple(
            EntitySpan(words_at[first][0], words_at[end - 1][1], label)
            for first, end, label in _spans(path, sentence, scheme, repair)
        )
        texts.append(TaggedText(text, entities, tuple(words_at), sentence.lines[0], str(path)))
    return texts


def _spans(path: Path, sentence: TaggedWords, scheme: str, repair: bool) -> list[Span]:
    try:
        return spans_of(sentence.tags, scheme, repair)
    except TagError as error:
        raise DataError(
            f"{path}, line {sentence.lines[error.index]}: at the word "
            f"{quote(sentence.words[error.index])} ({error.index + 1} of {len(sentence.words)}), "
            f"{error}; the file's tags look like {scheme}. `repair_tags` lets an entity "
            "begin or end there."
        ) from error


def _join_words(words: Sequence[str], spaces: bool) -> tuple[str, list[tuple[int, int]]]:
    """Joins words, and gives where each is.

    `["at", "New", "York"]` -> `"at New York"`, `[(0, 2), (3, 6), (7, 11)]`
    """
    text = ""
    words_at = []
    for word in words:
        if spaces and text and not (UNSPACED.match(text[-1]) and UNSPACED.match(word)):
            text += " "
        words_at.append((len(text), len(text) + len(word)))
        text += word
    return text, words_at


def _find_words(text: str, words: Sequence[str]) -> list[tuple[int, int]] | None:
    """Finds where each word is in a text that has nothing else but white space."""
    words_at = []
    end = 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            return None
        end = start + len(word)
        words_at.append((start, end))
    return None if text[end:].strip() else words_at


def _read_json(
    path: Path, text_key: str | None, label_key: str | None, repair: bool
) -> list[TaggedText]:
    read = [
        _json_text(path, line, record, text_key, label_key)
        for line, record in read_json_lines(path)
    ]
    if not read:
        raise DataError(f"{path}: the file holds no texts; expected one JSON object a line.")
    # The scheme is told from the tags of the whole file.
    with_tags = _with_spans(path, [one for one in read if isinstance(one, TaggedWords)], repair)
    tagged = iter(with_tags)
    return [next(tagged) if isinstance(one, TaggedWords) else one for one in read]


def _json_text(
    path: Path, line: int, record: dict[str, object], text_key: str | None, label_key: str | None
) -> TaggedText | TaggedWords:
    """Makes a text with spans, or words with tags, of a record: its labels tell which."""
    labels = _value(path, line, record, "entities", label_key, ENTITY_KEYS)
    if not isinstance(labels, list):
        raise DataError(f"{path}, line {line}: expected a list of entities, found {quote(labels)}.")
    has_tags = any(not isinstance(label, dict | list) for label in labels)
    keys = WORD_KEYS if has_tags else TEXT_KEYS + WORD_KEYS
    text = _value(path, line, record, "words" if has_tags else "text", text_key, keys)
    if isinstance(text, list):
        whole = record.get("text")  # beside the words, some files have it too
        return _json_words(path, line, text, labels, whole if isinstance(whole, str) else None)
    if not isinstance(text, str) or has_tags:
        wanted = "a list of words, as there are tags" if has_tags else "a text"
        raise DataError(f"{path}, line {line}: expected {wanted}, found {quote(text)}.")
    if not text.strip():
        raise DataError(f"{path}, line {line}: the text is empty.")
    entities = sorted(
        (_json_span(path, line, text, item) for item in labels),
        key=lambda entity: (entity.start, entity.end, entity.label),
    )
    for entity, after in pairwise(entities):
        if after.start < entity.end:
            raise DataError(
                f"{path}, line {line}: the entities {_show(text, entity)} and {_show(text, after)} "
                f"{'are the same' if entity == after else 'share characters'}; expected entities "
                "side by side, none twice or within another."
            )
    return TaggedText(text, tuple(entities), None, line, str(path))


def _json_words(
    path: Path, line: int, words: list[object], tags: list[object], text: str | None
) -> TaggedWords:
    if len(words) != len(tags):
        raise DataError(
            f"{path}, line {line}: expected a tag for each of the {len(words)} words, found "
            f"{len(tags)} tags."
        )
    if not words:
        raise DataError(f"{path}, line {line}: the list of words is empty.")
    for number, (word, tag) in enumerate(zip(words, tags, strict=True), start=1):
        where = f"{path}, line {line}, word {number}"
        if not isinstance(word, str) or not word:
            raise DataError(f"{where}: expected a string that is not empty, found {quote(word)}.")
        if not isinstance(tag, str) or not is_tag(tag):
            raise DataError(
                f"{where}: expected a tag (O, or B-, I- ... and a label), found {quote(tag)}."
            )
    return TaggedWords(list(map(str, words)), list(map(str, tags)), [line] * len(words), text)


def _json_span(path: Path, line: int, text: str, item: object) -> EntitySpan:
    """Reads `{"start": 0, "end": 3, "label": "PER"}` or `[0, 3, "PER"]`."""
    fields: Sequence[object] = ()
    if isinstance(item, dict):
        names = [key for key in TYPE_KEYS if key in item]
        fields = [item.get(key) for key in ("start", "end", *names[:1])]
    elif isinstance(item, list):
        fields = item
    start, end, label = fields if len(fields) == 3 else (None, None, None)
    # `type`, for True and False are integers too.
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        raise DataError(
            f"{path}, line {line}: expected an entity as integers `start` and `end`, and a string "
            f"under {', '.join(TYPE_KEYS)}, or as a list of the three, found {quote(item)}."
        )
    if not label.strip():
        raise DataError(f"{path}, line {line}: the label of {quote(item)} is empty.")
    if not 0 <= start < end <= len(text):
        raise DataError(
            f"{path}, line {line}: expected 0 <= start < end <= {len(text)}, the number of "
            f"characters of the text, found {quote(item)}."
        )
    return EntitySpan(start, end, label.strip())


def _value(
    path: Path,
    line: int,
    record: dict[str, object],
    role: str,
    wanted: str | None,
    usual: Sequence[str],
) -> object:
    """Gives what a record has under the key asked for, else under the first usual one."""
    for key in usual if wanted is None else [wanted]:
        if key in record:
            return record[key]
    option = "label_column" if role == "entities" else "text_column"
    raise DataError(
        f"{path}, line {line}: no key for the {role} among {quote(list(record))}; expected "
        + (f"{quote(wanted)}." if wanted else f"one of {', '.join(usual)}, or `{option}`.")
    )


def _show(text: str, entity: EntitySpan) -> str:
    shown = quote(text[entity.start : entity.end])
    return f"{shown} ({entity.start} to {entity.end}, {entity.label})"
