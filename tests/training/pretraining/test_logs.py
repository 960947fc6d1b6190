"""What a pretraining run shows of its texts."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spanbert_tf.settings import Pretraining
from spanbert_tf.training.pretraining.logs import example_gaps
from spanbert_tf.training.pretraining.start import make_batches
from spanbert_tf.training.pretraining.workers import Workers
from tests.data.corpora import TOKENIZER, prepare, random_documents, read_blocks, write_documents


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    # Documents of a few words are short blocks: rows of 64 tokens hold several of them.
    documents = random_documents(40, most_lines=1, most_words=12)
    path = write_documents(folder / "texts.txt", documents)
    prepare([path], folder / "corpus", sequence_length=64, shard_bytes=1 << 20)
    return folder / "corpus"


@pytest.mark.parametrize("rows", ["padded", "packed"])
def test_gaps_are_in_texts_of_one_block(corpus: Path, rows: str):
    settings = Pretraining(rows=rows, token_budget=256, validation_shards=0)
    of = SimpleNamespace(tokenizer=TOKENIZER)
    pretrainer = SimpleNamespace(preprocessor=of, max_targets=20)
    batches, _ = make_batches(settings, corpus, pretrainer, Workers(), skip_bad_shards=False)
    if rows == "packed":
        assert np.diff(batches.plan().row_splits).max() > 2
    blocks = read_blocks(corpus, "shard-00000-00000")
    # [CLS] is one of the 48 tokens that are shown.
    texts = {TOKENIZER.detokenize([block[:47]]).numpy()[0].decode() for block in blocks}
    examples = example_gaps(batches, pretrainer)
    assert 2 <= len(examples) <= 4
    filled = [re.sub(r"\[MASK\]( \[MASK\])*", truth, text) for text, truth in examples]
    assert texts.issuperset(filled)
    assert len({*filled}) == len(filled)
    for text, truth in examples:
        assert text.count("[MASK]") == len(TOKENIZER(truth))
