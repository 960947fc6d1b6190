"""Classes by name and by example, against distances worked out here."""

import numpy as np
import pytest

from spanbert_tf import VectorClassifier
from tests.search.embedders import Constant, WordVectors

EXAMPLES = {
    "sport": ["the team won the match", "a goal in the last minute", "the runner won"],
    "music": ["the choir sang", "a song for the piano and the choir"],
}
TEXTS = ["who won the match", "piano song", "a runner sang"]


def test_the_nearest_class_mean():
    embedder = WordVectors()
    answers = VectorClassifier(embedder, EXAMPLES).classify(TEXTS)
    units = {
        text: vector / np.linalg.norm(vector)
        for text in [*TEXTS, *EXAMPLES["sport"], *EXAMPLES["music"]]
        for vector in embedder.encode_text([text]).astype(float)
    }
    for text, answer in zip(TEXTS, answers, strict=True):
        cosines = {}
        for name, examples in EXAMPLES.items():
            mean = np.mean([units[example] for example in examples], axis=0)
            cosines[name] = units[text] @ mean / np.linalg.norm(mean)
        assert answer.label == max(cosines, key=cosines.__getitem__)
        exps = {name: np.exp(20 * cosine) for name, cosine in cosines.items()}
        expected = {name: value / sum(exps.values()) for name, value in exps.items()}
        assert answer.probabilities == pytest.approx(expected, rel=1e-4)
        assert answer.score == pytest.approx(max(expected.values()), rel=1e-4)
    assert [answer.label for answer in answers[:2]] == ["sport", "music"]


def test_names_are_examples():
    classifier = VectorClassifier(WordVectors(), ["choir music", "football"])
    one = classifier.classify("loud music")
    assert one.label == "choir music"
    assert classifier.classify(["loud music"]) == [one]
    assert classifier.classify([]) == []
    same = VectorClassifier(WordVectors(), {"choir music": "choir music", "football": ["football"]})
    assert same.classify("loud music") == one


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("music", "`classes` must be a list or a dictionary, but is 'music'"),
        (["music"], r"at least two classes, each once, got \['music'\]"),
        (["music", "music"], "at least two classes, each once"),
        ({"a": ["x"], "b": []}, "the class 'b' has no examples"),
        ({"a": ["x"], "b": [3]}, r"classes\['b'\]`\[0\] must be a string, but is 3"),
    ],
)
def test_bad_classes(classes: object, message: str):
    with pytest.raises((TypeError, ValueError), match=message):
        VectorClassifier(WordVectors(), classes)


def test_bad_vectors():
    with pytest.raises(ValueError, match="the vector of text 1 is NaN"):
        VectorClassifier(Constant(np.array([[1.0], [np.nan]])), ["a", "b"])
    with pytest.raises(TypeError, match=r"`texts`\[1\] must be a string"):
        VectorClassifier(WordVectors(), ["a", "b"]).classify(["a", None])
