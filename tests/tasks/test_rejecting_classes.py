"""The most probable classes of a text, and texts that have none of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import SpanBertTextClassifier
from spanbert_tf.tasks.decoders.classes import Candidate, ClassDecoder, LabelSet, Prediction
from tests.tasks.test_text_classifier import make_classifier

NAMES = ("a", "b", "c")
ROWS = np.array([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75], [0.5, 0.375, 0.125]], "float32")


def answers(decoder: ClassDecoder) -> list:
    return decoder.answers({"probabilities": ROWS}, None, ())


def test_a_text_below_the_score_has_no_label():
    decoder = ClassDecoder(NAMES, min_score=0.5)
    assert [answer.label for answer in answers(decoder)] == ["b", "c", "a"]
    decoder = ClassDecoder(NAMES, min_score=0.6)
    first, second, _ = answers(decoder)
    assert first == Prediction(None, 0.5, {"a": 0.25, "b": 0.5, "c": 0.25})
    assert str(first) == "(none of these)  0.500"
    assert (second.label, second.score) == ("c", 0.75)
    served = decoder.serve({"probabilities": tf.constant(ROWS)}, None, ())  # type: ignore[arg-type]
    assert served["label"].numpy().tolist() == [b"", b"c", b""]
    assert served["score"].numpy().tolist() == [0.5, 0.75, 0.5]
    assert decoder.served({name: of.numpy() for name, of in served.items()}) == answers(decoder)


def test_several_candidates_come_in_order():
    first, _, third = answers(ClassDecoder(NAMES, top_k=3))
    assert first == [Candidate("b", 0.5), Candidate("a", 0.25), Candidate("c", 0.25)]
    assert third == [Candidate("a", 0.5), Candidate("b", 0.375), Candidate("c", 0.125)]
    # Of what is rejected the candidates follow.
    first, second, _ = answers(ClassDecoder(NAMES, top_k=2, min_score=0.6))
    assert first == [Candidate(None, 0.5), Candidate("b", 0.5)]
    assert second == [Candidate("c", 0.75), Candidate("a", 0.125)]
    sets = answers(ClassDecoder(NAMES, (0.9, 0.9, 0.9), top_k=2))
    assert sets[0] == [Candidate("b", 0.5), Candidate("a", 0.25)]


def test_answers_are_made_anew_by_other_thresholds():
    told = answers(ClassDecoder(NAMES, min_score=0.6))
    assert ClassDecoder(NAMES).anew(told) == answers(ClassDecoder(NAMES))
    sets = answers(ClassDecoder(NAMES, (0.9, 0.9, 0.9)))
    assert [of.labels for of in sets] == [(), (), ()]
    anew = ClassDecoder(NAMES, (0.25, 0.375, 0.5)).anew(sets)
    assert anew[0] == LabelSet(("b", "a"), {"a": 0.25, "b": 0.5, "c": 0.25})
    assert [of.labels for of in anew] == [("b", "a"), ("c",), ("a", "b")]


@pytest.mark.parametrize("fields", [{}, {"min_score": 0.25}, {"thresholds": (0.5, 0.25, 0.75)}])
def test_it_travels_as_json(fields: dict):
    decoder = ClassDecoder(NAMES, **fields)
    written = json.loads(json.dumps(decoder.to_json()))
    assert set(written) == {"class_names", *fields}
    assert ClassDecoder.from_json(written) == decoder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top_k": 0}, "`top_k` must be from 1 to 3, the number of classes, but is 0"),
        ({"top_k": 4}, "`top_k` must be from 1 to 3"),
        ({"min_score": 1.5}, "`min_score` must be from 0 to 1"),
        ({"min_score": float("nan")}, "`min_score` must be from 0 to 1"),
        ({"min_score": 0.5, "thresholds": (0.5,) * 3}, "for classes that exclude one another"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ClassDecoder(NAMES, **fields)


def test_the_score_is_tuned_and_kept(tmp_path: Path):
    classifier = make_classifier(class_names=["x", "y", "z"])
    generator = np.random.default_rng(0)
    kernel = classifier.output_dense.kernel
    kernel.assign(generator.standard_normal(kernel.shape))
    inside, outside = ["good a b", "bad c", "so d e f", "a"], ["g h", "good bad", "b b b b"]
    figures = classifier.tune_min_score(inside, outside)
    assert classifier.min_score == figures["out_of_scope_min_score"]
    scores = [[one.score for one in classifier.classify(of)] for of in (inside, outside)]
    kept, rejected = (np.mean(np.array(of) >= classifier.min_score) for of in scores)
    assert figures["out_of_scope_balanced_accuracy"] == pytest.approx((kept + 1 - rejected) / 2)
    assert figures["rejected_in_scope"] == pytest.approx(1 - kept)
    assert figures["rejected_out_of_scope"] == pytest.approx(1 - rejected)

    classifier.min_score = 0.999
    classifier.save_to_preset(str(tmp_path / "preset"))
    again = SpanBertTextClassifier.from_preset(str(tmp_path / "preset"))
    assert again.min_score == 0.999
    for few in ("a", ["a"] * 9):  # In the graph, and in NumPy.
        told = again.classify(few)
        assert (told if few == "a" else told[0]).label is None
        told = again.classify(few, min_score=0)
        assert (told if few == "a" else told[0]).label in ("x", "y", "z")
    assert again.classify("a", top_k=2)[0].label is None
    # What is out of scope is another matter for other classes.
    renewed = SpanBertTextClassifier.from_preset(str(tmp_path / "preset"), num_classes=2)
    assert renewed.min_score is None

    with pytest.raises(ValueError, match="found 4 and 0"):
        classifier.tune_min_score(inside, [])
    assert classifier.min_score == 0.999
    several = make_classifier(activation="sigmoid")
    with pytest.raises(ValueError, match="only where classes exclude one another"):
        several.tune_min_score(inside, outside)
    with pytest.raises(ValueError, match="for classes that exclude one another"):
        make_classifier(activation="sigmoid", min_score=0.5)
