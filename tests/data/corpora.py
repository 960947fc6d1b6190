"""Small corpora for the tests of preparation and of what follows it."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from spanbert_tf.data.corpus.preparation import prepare_corpus
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

LETTERS = "abcdefgh"
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *("cab", "bad", "##ed"),
]
TOKENIZER = SpanBertTokenizer(VOCABULARY)


def reuse_tokenizer(vocabulary, lowercase):
    """Makes the same tokenizer each time: it takes longer to make than a small corpus."""
    assert vocabulary == VOCABULARY
    assert not lowercase
    return TOKENIZER


def end_process(vocabulary, lowercase):
    """Ends the process that wants a tokenizer, as a lack of memory would."""
    os._exit(1)


def random_documents(count, seed=0, most_lines=5, most_words=30):
    """Documents, lists of lines of words of one to six letters."""
    rng = np.random.default_rng(seed)

    def line():
        words = ("".join(rng.choice([*LETTERS], rng.integers(1, 7))) for _ in range(most_words))
        return " ".join([*words][: rng.integers(1, most_words + 1)])

    return [[line() for _ in range(rng.integers(1, most_lines + 1))] for _ in range(count)]


def write_documents(path, documents):
    """Writes documents as text, parted by blank lines."""
    path.write_text("\n\n".join("\n".join(lines) for lines in documents) + "\n")
    return path


def prepare(paths, folder, workers=1, progress=None, **settings):
    """Prepares a corpus with the small vocabulary, in blocks of 16 tokens and small shards."""
    return prepare_corpus(
        paths,
        folder,
        VOCABULARY,
        reuse_tokenizer if workers == 1 else SpanBertTokenizer,
        settings=CorpusSettings(**{"sequence_length": 16, "shard_bytes": 1000} | settings),
        workers=workers,
        progress=progress,
    )


def contents(folder):
    """The bytes of each file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def read_blocks(folder, name):
    """Reads the blocks of a shard, by another way than the package."""
    records = tf.data.TFRecordDataset(str(folder / f"{name}.tfrecord"))
    examples = map(tf.train.Example.FromString, records.as_numpy_iterator())
    return [[*example.features.feature["token_ids"].int64_list.value] for example in examples]


def pieces(lines):
    """Ids of the pieces of a document."""
    return [piece for line in lines for piece in TOKENIZER(line).numpy().tolist()]
