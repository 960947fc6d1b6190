"""A learnt vocabulary: of the size asked for, the same each time, and with no unknown word."""

import sys

import pytest

from spanbert_tf.data.corpus.vocabulary_training import train_vocabulary
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.models.marked_text_preprocessor import SpanBertRelationExtractorPreprocessor
from spanbert_tf.tokenization.normalization import SPECIAL_TOKENS
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

TEXT = "\n".join(
    [
        "The caf\u00e9's LOWER lowest widest newer windows - e.g. 1,234.5 (newest!).",
        "",
        "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u3002",
        "\u0130stanbul, \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
        "na\u00efve \U0001f600 [MASK] ##ing",
        "lower newest lowest lower newer widest",
    ]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    pytest.importorskip("tokenizers")
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("lowercase", [False, True])
def test_no_word_of_the_text_is_unknown(path, lowercase):
    vocabulary = train_vocabulary([path], 150, lowercase=lowercase)
    tokenizer = SpanBertTokenizer(vocabulary, lowercase=lowercase)
    assert len(vocabulary) == len({*vocabulary}) <= 150
    assert tuple(vocabulary[:5]) == SPECIAL_TOKENS
    ids = tokenizer(TEXT.splitlines())
    assert tokenizer.unk_token_id not in ids.flat_values.numpy()
    # Frequent words are pieces of their own, and those of two scripts are never joined.
    assert {"lower", "newer"} <= {*vocabulary}
    assert "\u5929" in vocabulary
    assert not any("\u5929" in piece.removeprefix("##")[1:] for piece in vocabulary)
    assert ("\u00e9" in vocabulary) != lowercase


def test_the_same_each_time_and_of_the_size_asked_for(path):
    least = len(train_vocabulary([path], 150, least_count=1000, unused=6))  # no longer pieces
    vocabularies = [train_vocabulary([path], least + 7, unused=6) for _ in range(5)]
    assert len(vocabularies[0]) == least + 7
    assert vocabularies == [vocabularies[0]] * 5
    with pytest.raises(DataError, match=f"`size` must be at least {least}, .* but is {least - 1}"):
        train_vocabulary([path], least - 1, unused=6)


def test_unused_pieces_are_reserved_for_marks_of_entities(path):
    """A twentieth of the pieces, at most 99, unless they are counted out."""
    for size, options, expected in ((150, {}, 7), (4000, {}, 99), (150, {"unused": 4}, 4)):
        vocabulary = train_vocabulary([path], size, **options)
        assert vocabulary[5 : 5 + expected] == [f"[unused{n}]" for n in range(expected)]
        assert not any("unused" in piece for piece in vocabulary[5 + expected :])
    marks = SpanBertRelationExtractorPreprocessor(SpanBertTokenizer(vocabulary)).marks()
    assert marks.tolist() == [[[5, 6], [7, 8]]]
    vocabulary = train_vocabulary([path], 150, unused=0)
    with pytest.raises(ValueError, match=r"pieces \[unused\.\.\.\], but the vocabulary has 0"):
        SpanBertRelationExtractorPreprocessor(SpanBertTokenizer(vocabulary))
    with pytest.raises(ValueError, match="`unused` must be at least 0, but is -1"):
        train_vocabulary([path], 150, unused=-1)


def test_no_text(path, tmp_path):
    (tmp_path / "a.txt").write_text("\n\u200b\n")
    with pytest.raises(DataError, match="there is no text"):
        train_vocabulary([tmp_path], 100)


def test_without_tokenizers(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'spanbert-tf\[vocabulary\]'"):
        train_vocabulary([path], 100)
