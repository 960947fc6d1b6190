"""BERT's word pieces inside TensorFlow graphs, equal to Hugging Face's, with exact offsets.

Letters: n strings, p pieces of one string.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras_hub.tokenizers import Tokenizer

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.tokenization.added_tokens import (
    AddedToken,
    added_tokens_from,
    added_tokens_to_json,
    check_added_tokens,
)
from spanbert_tf.tokenization.joining import PieceJoiner
from spanbert_tf.tokenization.nesting import ids_from_python, shaped_like, strings_from_python
from spanbert_tf.tokenization.vocabulary import check_vocabulary, read_vocabulary
from spanbert_tf.tokenization.word_pieces import TokenizedText, WordPieceSplitter

__all__ = ["AddedToken", "SpanBertTokenizer", "TokenizedText", "read_vocabulary"]

VOCABULARY_FILE = "vocabulary.txt"
_SPECIAL_ATTRIBUTES = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
    "start_token": "[CLS]",
    "end_token": "[SEP]",
}


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertTokenizer(Tokenizer):
    """Turns text into BERT's word pieces, equal to Hugging Face's `BertTokenizerFast`.

    It runs eagerly, inside `tf.function`, `tf.data` and SavedModels.  The custom ops it leaves in a
    graph are tf-text's `FastBertNormalize` and `FastWordpieceTokenizeWithOffsets`, and
    `RegexSplitWithOffsets` where special or added tokens are recognised in strings.

    ```python
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "snow", "##man", "melt", "."]
    tokenizer = SpanBertTokenizer(vocabulary, lowercase=True)
    tokenizer("The snowman melt.")  # [5, 6, 7, 8, 9]
    tokenizer(["The snow.", "Frost"])  # [[5, 6, 9], [1]]
    pieces = tokenizer.tokenize_with_offsets("The snowman melt.")
    pieces.starts  # [0, 4, 8, 12, 16]
    pieces.ends  # [3, 8, 11, 16, 17]
    pieces.word_starts  # [True, True, False, True, True]
    tokenizer.detokenize([5, 6, 7, 8, 9])  # "the snowman melt ."
    ```

    Malformed UTF-8 is treated as U+FFFD is: left out.  A word of more than 100 characters is
    `[UNK]`.

    Args:
        vocabulary: Path of a file with one word piece a line, or the pieces themselves; `None` if
            `set_vocabulary` or `load_assets` follows.
        lowercase: Whether text is put in lower case and stripped of accents.
        special_tokens_in_strings: Whether `[MASK]`, `[CLS]`, `[SEP]`, `[PAD]` and `[UNK]` in a
            string become one token each.  If not, they are text like any other.
        added_tokens: Tokens of the vocabulary that are kept whole in strings, such as `[URL]`: each
            an `AddedToken`, or its content.
        **kwargs: Further arguments of a Keras layer.

    Call arguments:
        inputs: string, a scalar, `[n]`, any higher rank, or ragged; Python strings and lists too.

    Returns:
        int32 ids: `[p]` for a scalar, else ragged with one more axis than the input.

    Raises:
        ValueError: If a vocabulary is missing, empty, lacks a special or an added token or holds a
            piece twice; or if an added token cannot be looked for.
    """

    backbone_cls = SpanBertBackbone

    def __init__(
        self,
        vocabulary: str | os.PathLike | Iterable[str] | None = None,
        lowercase: bool = False,
        special_tokens_in_strings: bool = False,
        added_tokens: Sequence[AddedToken | str | Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        self.lowercase = lowercase
        self.special_tokens_in_strings = special_tokens_in_strings
        self.added_tokens = tuple(added_tokens_from(added_tokens))
        self.file_assets = [VOCABULARY_FILE]
        self.vocabulary: tuple[str, ...] | None = None
        self._saved_size: int | None = None
        for name, token in _SPECIAL_ATTRIBUTES.items():
            self._add_special_token(token, name)
        self.set_vocabulary(vocabulary)

    # Vocabulary.

    def set_vocabulary(self, vocabulary: str | os.PathLike | Iterable[str] | None) -> None:
        """Replaces the vocabulary by a file's, by a list of pieces, or by none.

        Args:
            vocabulary: As for the constructor.

        Raises:
            ValueError: As for the constructor.
        """
        if vocabulary is None:
            self.vocabulary = None
            return
        if isinstance(vocabulary, str | os.PathLike):
            pieces = read_vocabulary(vocabulary)
        else:
            pieces = list(vocabulary)
            check_vocabulary(pieces, lambda i: f"vocabulary[{i}]", "vocabulary")
        self.vocabulary = tuple(pieces)
        self._ids = {piece: i for i, piece in enumerate(pieces)}
        check_added_tokens(self.added_tokens, self._ids, self.lowercase)
        self._splitter = WordPieceSplitter(
            pieces, self.lowercase, self.special_tokens_in_strings, self.added_tokens
        )
        self._joiner = PieceJoiner(pieces, self._ids["[PAD]"])
        self._update_special_token_ids()

    def _pieces_or_error(self) -> tuple[str, ...]:
        if self.vocabulary is None:
            raise ValueError("this tokenizer has no vocabulary; pass one, or call set_vocabulary")
        return self.vocabulary

    def get_vocabulary(self) -> list[str]:
        """The word pieces; a piece's id is its place."""
        return list(self._pieces_or_error())

    def vocabulary_size(self) -> int:
        """How many word pieces there are."""
        return len(self._pieces_or_error())

    def id_to_token(self, id: int) -> str:
        """The word piece of an id.

        Raises:
            ValueError: If there is no such id.
        """
        size = self.vocabulary_size()
        if not 0 <= id < size:
            raise ValueError(f"expected an id from 0 to {size - 1}, got {id}")
        return self._pieces_or_error()[id]

    def token_to_id(self, token: str) -> int:
        """The id of a word piece.

        Raises:
            ValueError: If there is no such piece.
        """
        self._pieces_or_error()
        if token not in self._ids:
            raise ValueError(f"{token!r} is not in the vocabulary")
        return self._ids[token]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str | int]) -> int | list[int]:
        """Ids of word pieces, `unk_token_id` for those that the vocabulary lacks.

        Args:
            tokens: One word piece, or several.  What `tokenize` gives for one string are ids
                already and stay as they are, so that both calls in a row work as they do in
                Hugging Face's tokenizers, where `tokenize` gives strings.

        Returns:
            One id, or a list of them.
        """
        self._pieces_or_error()
        unknown = self._ids[_SPECIAL_ATTRIBUTES["unk_token"]]
        if isinstance(tokens, str):
            return self._ids.get(tokens, unknown)
        return [
            self._ids.get(token, unknown) if isinstance(token, str) else int(token)
            for token in tokens
        ]

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """Word pieces of ids.

        Args:
            ids: One id, or lists, arrays or tensors of them.

        Returns:
            One word piece, or (nested) lists of them.

        Raises:
            ValueError: If there is no such id.
        """
        if isinstance(ids, tf.RaggedTensor):
            ids = ids.to_list()
        elif hasattr(ids, "shape"):
            ids = keras.ops.convert_to_numpy(ids).tolist()
        if isinstance(ids, Iterable):
            return [self.convert_ids_to_tokens(item) for item in ids]
        return self.id_to_token(ids)

    # Keras and KerasHub saving.

    def save_assets(self, dir_path: str) -> None:
        """Writes the vocabulary into a folder."""
        text = "".join(f"{piece}\n" for piece in self._pieces_or_error())
        (Path(dir_path) / VOCABULARY_FILE).write_bytes(text.encode())

    def load_assets(self, dir_path: str) -> None:
        """Reads the vocabulary that `save_assets` wrote.

        Raises:
            ValueError: As for the constructor, or it is not as long as it was.
        """
        path = Path(dir_path) / VOCABULARY_FILE
        self.set_vocabulary(path)
        if self._saved_size not in (None, self.vocabulary_size()):
            raise ValueError(
                f"{path} has {self.vocabulary_size()} word pieces, but was saved with "
                f"{self._saved_size}: the copy is not complete, or another model's"
            )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, without the vocabulary, which travels as a file.

        Its size goes with them, by which `load_assets` sees that the file is whole.
        """
        added = added_tokens_to_json(self.added_tokens)
        size = {} if self.vocabulary is None else {"vocabulary_size": self.vocabulary_size()}
        return {
            **super().get_config(),
            "vocabulary": None,
            "lowercase": self.lowercase,
            "special_tokens_in_strings": self.special_tokens_in_strings,
            **({"added_tokens": added} if added else {}),
            **size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpanBertTokenizer":
        """Makes a tokenizer, without vocabulary, from its config."""
        config = dict(config)
        saved_size = config.pop("vocabulary_size", None)
        tokenizer = cls(**config)
        tokenizer._saved_size = saved_size
        return tokenizer

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        """The shape of the ids, for functional models."""
        return keras.KerasTensor((*inputs.shape, None), dtype=self.compute_dtype)

    # Text to pieces.

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Tokenizes, eagerly too, to tensors: KerasHub would make lists of ragged ones."""
        return self.tokenize(inputs)

    def tokenize(self, inputs: Any) -> Any:
        """What calling the tokenizer does: ids of the word pieces; see the class."""
        strings, flat = self._strings(inputs)
        with tf.device("cpu"):
            ids, row_splits = self._splitter.split(flat)
            return shaped_like(strings, ids, row_splits)

    def tokenize_with_offsets(self, inputs: Any, unit: str = "byte") -> TokenizedText:
        """Word pieces, where they stand in the original strings, and which begin a word.

        A piece reaches from its first to its last character; what normalisation removes between
        the two (accents, control characters) is within, what it removes around them is not.

        Args:
            inputs: As for the call.
            unit: `"byte"` of UTF-8, or `"character"` (code points, the indices of a Python `str`).

        Returns:
            `token_ids`, `starts`, `ends` and `word_starts`, each shaped as the call's ids.

        Raises:
            ValueError: If `unit` is another word.
        """
        if unit not in ("byte", "character"):
            raise ValueError(f'unit: expected "byte" or "character", got {unit!r}')
        strings, flat = self._strings(inputs)
        with tf.device("cpu"):
            pieces, row_splits = self._splitter.split_with_offsets(flat, unit)
            return TokenizedText(*(shaped_like(strings, x, row_splits) for x in pieces))

    def _strings(self, inputs: Any) -> tuple[Any, tf.Tensor]:
        """Strings as a tensor, plain or ragged, and the same in one axis."""
        self._pieces_or_error()
        if isinstance(inputs, tf.RaggedTensor | tf.Tensor):
            strings = inputs
        else:
            strings = strings_from_python(inputs)
        if strings.dtype != tf.string or strings.shape.rank is None:
            raise ValueError(f"expected strings of a known rank, got {strings}")
        if isinstance(strings, tf.RaggedTensor):
            return strings, tf.reshape(strings.flat_values, [-1])
        if not tf.executing_eagerly():
            # A signature takes tensors of any rank, and the operations below would end the process
            # at one that the graph was not made for.
            strings = tf.ensure_shape(strings, strings.shape)
        return strings, tf.reshape(strings, [-1])

    # Pieces to text.

    def detokenize(self, inputs: Any) -> Any:
        """Joins word pieces to strings, words separated by single spaces, padding left out.

        Args:
            inputs: int ids, `[p]`, `[n, p]` or `[n, (p)]`, of any higher rank too.

        Returns:
            string, one axis less than the input.
        """
        self._pieces_or_error()
        with tf.device("cpu"):
            ids = ids_from_python(inputs)
            single = ids.shape.rank == 1
            if single:
                ids = ids[None]
            if not isinstance(ids, tf.RaggedTensor):
                ids = tf.RaggedTensor.from_tensor(ids, ragged_rank=ids.shape.rank - 1)
            text = self._joiner.join(ids)
            return text[0] if single else text
