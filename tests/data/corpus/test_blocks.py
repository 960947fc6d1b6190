"""Blocks: every piece once, within its document and the limit, cut between words, full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.data.corpus.blocks import cut_blocks, starts_word


def cut(words, most):
    """Blocks as lists of letters; a document is a string, `b#` is a word of two pieces."""
    text = "".join(words)
    starts = np.array([letter != "#" for letter in text], bool)
    document_starts = np.cumsum([0, *map(len, words)])[:-1]
    ends = cut_blocks(starts, document_starts, most)
    assert ends.dtype == np.int64
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    ("documents", "most", "blocks"),
    [
        (["ab#c", "d"], 3, ["ab#", "c", "d"]),
        (["ab##", "d"], 3, ["a", "b##", "d"]),
        (["a####b"], 3, ["a##", "##b"]),
        (["ab####c"], 3, ["a", "b##", "##c"]),
        (["abc", "", "abc"], 3, ["abc", "abc"]),
        (["abc"], 1, ["a", "b", "c"]),
        (["", ""], 3, []),
        ([""], 3, []),
    ],
)
def test_examples(documents, most, blocks):
    assert cut(documents, most) == blocks


WORDS = st.integers(0, 6).map(lambda more: "a" + "#" * more)
DOCUMENTS = st.lists(st.lists(WORDS, max_size=12).map("".join), min_size=1, max_size=6)


@given(DOCUMENTS, st.integers(1, 9))
def test_blocks_partition_documents_at_words(documents, most):
    blocks = iter(cut(documents, most))
    for document in documents:
        rest = document
        while rest:
            block = next(blocks)
            assert 0 < len(block) <= most
            assert rest.startswith(block)
            rest = rest[len(block) :]
            if rest:
                # Nothing more fits: the next word is too long for what is left of the block.
                word = 1 + len(rest[1:]) - len(rest[1:].lstrip("#"))
                if rest[0] == "a":
                    assert len(block) + word > most
                else:
                    assert len(block) == most
                    assert block[0] == "#" or block.rstrip("#") == "a"
    assert next(blocks, None) is None


def test_a_limit_below_one():
    with pytest.raises(ValueError, match="`most_pieces` must be positive, but is 0"):
        cut_blocks(np.ones(3, bool), [0], 0)


def test_which_pieces_start_words():
    vocabulary = ["[PAD]", "a", "##a", "##", "#", "###"]
    assert starts_word(vocabulary).tolist() == [True, True, False, True, True, False]
