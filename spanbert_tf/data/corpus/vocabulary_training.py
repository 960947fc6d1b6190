"""A WordPiece vocabulary from a corpus, by Hugging Face's `tokenizers`."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from spanbert_tf.data.corpus.documents import corpus_files, read_documents
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.tokenization.normalization import CONTINUATION, SPECIAL_TOKENS

# Pieces `[unused...]`: as many as BERT's cased vocabulary has, a smaller one fewer.
MOST_UNUSED = 99
_SHARE_UNUSED = 20


def train_vocabulary(
    paths: Sequence[str | os.PathLike[str]],
    size: int = 30_000,
    *,
    lowercase: bool = False,
    least_count: int = 2,
    unused: int | None = None,
    settings: CorpusSettings | None = None,
) -> list[str]:
    """Learns a vocabulary for `SpanBertTokenizer`.

    Text is split into words by BERT's own rules.  Pairs of pieces that occur most often beside
    one another are joined until there are `size` pieces.  All the characters of the corpus are
    in, at a word's start and within: no word of it, up to 100 characters long, is unknown.

    Args:
        paths: Files, and folders of them, as `documents.corpus_files` takes them.
        size: How many pieces there shall be.  A small corpus has fewer.
        lowercase: Whether the tokenizer puts text in lower case and strips accents.
        least_count: How often a pair must occur to be joined.
        unused: How many pieces `[unused0]`, `[unused1]`, ... there shall be, which text never has:
            fine-tuning gives them a meaning, such as the marks of a relation's entities.  `None`:
            one of 20 pieces, at most 99.
        settings: How the files are read.

    Returns:
        The pieces: special tokens in BERT's order, unused ones, single characters, then longer
        ones, the most frequent first.

    Raises:
        DataError: A file cannot be read or is no text, there is no text, or the corpus has so many
            different characters that they need more than `size` pieces.
        ValueError: `unused` is negative.
        ModuleNotFoundError: `tokenizers` is not installed.
    """
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Training a vocabulary needs tokenizers: pip install 'spanbert-tf[vocabulary]'.",
            name="tokenizers",
        ) from error
    if unused is None:
        unused = min(size // _SHARE_UNUSED, MOST_UNUSED)
    if unused < 0:
        raise ValueError(f"`unused` must be at least 0, but is {unused}.")
    reserved = [*SPECIAL_TOKENS, *(f"[unused{number}]" for number in range(unused))]
    settings = settings or CorpusSettings()
    files = corpus_files(paths)

    def learn(size: int, first: Sequence[str]) -> list[str]:
        tokenizer = Tokenizer(models.WordPiece())
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            min_frequency=least_count,
            special_tokens=[*reserved, *first],
            continuing_subword_prefix=CONTINUATION,
            show_progress=False,
        )
        tokenizer.train_from_iterator(_lines(files, settings), trainer)
        ids = tokenizer.get_vocab()
        return sorted(ids, key=ids.__getitem__)

    # Of pairs that are equally frequent, the one whose pieces come first is joined; the trainer
    # by itself puts the characters within words in an order that differs from run to run.
    characters = sorted(learn(0, [])[len(reserved) :], key=lambda piece: (len(piece) > 1, piece))
    if not characters:
        raise DataError(f"{files[0]}: there is no text in the corpus, not a single word.")
    least = len(reserved) + len(characters)
    if least > size:
        raise DataError(
            f"`size` must be at least {least:,}, the number of special tokens, of {unused} unused "
            f"ones and of characters at the start of words and within, but is {size:,}."
        )
    return learn(size, characters)


def _lines(files: Sequence[Path], settings: CorpusSettings) -> Iterator[str]:
    for _, line in chain.from_iterable(read_documents(file, settings) for file in files):
        yield line.decode()
