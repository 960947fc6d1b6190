"""Texts to learn, as pieces with their ends."""

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf.data.batching.target_texts import target_ids, too_long

END = 9


def letters(texts: tf.Tensor) -> tf.RaggedTensor:
    """A piece for each letter, `a` being 1."""
    bytes_of = tf.strings.bytes_split(texts)
    return bytes_of.with_values(tf.io.decode_raw(bytes_of.values, tf.uint8)[:, 0] - 96)


def test_ends_and_padding():
    ids = target_ids(["abc", "", "abcdefg", "abcdefgh"], 4, letters, END, most=12)
    assert ids.dtype == tf.int32
    assert ids.to_list() == [
        [1, 2, 3, END, -1, -1, -1, -1],
        [END] + [-1] * 7,
        [1, 2, 3, 4, 5, 6, 7, END],
        [1, 2, 3, 4, 5, 6, 7, 8, END, -1, -1, -1],
    ]
    assert target_ids(np.array(["ab"], object), 1, letters, END, most=3).to_list() == [[1, 2, END]]


def test_what_is_no_target():
    with pytest.raises(ValueError, match=r"`y`\[1\] must have at most 2 word pieces"):
        target_ids(["ab", "abc"], 2, letters, END, most=3)
    with pytest.raises(ValueError, match="`y` has 1 texts, but there are 2"):
        target_ids(["ab"], 2, letters, END, most=3)
    with pytest.raises(TypeError, match=r"`y`\[0\] must be a string, but is 3"):
        target_ids([3], 1, letters, END, most=3)
    assert too_long(["ab", "abc", "a", "abcd"], letters, 2).tolist() == [1, 3]
