"""Words joined to texts as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.data.readers.words import detokenize


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", ""),
        ("Ann met Bo .", "Ann met Bo."),
        ("Ann 's car ( red ) did n't start .", "Ann's car (red) didn't start."),
        (
            "I 'm sure they 'LL come , Bo \u2019s friends too !",
            "I'm sure they'LL come, Bo\u2019s friends too!",
        ),
        ("“ Yes , ” she said ; [ laughs ]", "“Yes,” she said; [laughs]"),
        ("it costs $ 5 or 3 % ...", "it costs $5 or 3%..."),
        ('he said " no " -- a self - made man \' s', 'he said " no " -- a self - made man \' s'),
        ("-LRB- so -RRB- `` yes '' no /. -LSB- 1 -RSB- /?", '(so) "yes" no. [1]?'),
        ("可 蓝 说 、 好 。 TensorFlow 好", "可蓝说、好。 TensorFlow 好"),
        (". ' ) (", ". ') ("),
    ],
)
def test_words_are_joined_as_people_write_them(words, text):
    words = words.split(" ") if words else []
    joined, places = detokenize(words)
    assert joined == text
    plain = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "``": '"', "''": '"'}
    plain |= {"/.": ".", "/?": "?"}
    assert [joined[start:end] for start, end in places] == [plain.get(w, w) for w in words]


@given(st.lists(st.sampled_from(["a", "b c", ".", "'", "'s", "(", "“", "n't", "中", "。", " "])))
def test_nothing_but_single_spaces_parts_words(words):
    text, places = detokenize(words)
    assert [text[start:end] for start, end in places] == words
    ends = [0, *(end for _, end in places)]
    gaps = [text[end:start] for (start, _), end in zip(places, ends, strict=False)]
    assert set(gaps) <= {"", " "}
    assert not gaps or gaps[0] == ""
    assert ends[-1] == len(text)
