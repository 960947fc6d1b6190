"""Answers as parts of a page."""

import re

from spanbert_tf.export.answers_in_html import bars, html_of
from spanbert_tf.tasks.decoders.answers import Answer
from spanbert_tf.tasks.decoders.classes import LabelSet


def test_answer_is_marked_where_there_is_one():
    assert re.search(
        r"<p>&amp;  0\.500  \(2-3\)</p>\n<div [^>]*>a <span [^>]*>&amp;</span> b</div>",
        html_of("a & b", Answer("&", 0.5, 2, 3)),
    )
    none = html_of("a & b", Answer("", 0.5, 0, 0))
    assert "<p>(no answer)  0.500  (0-0)</p>" in none
    assert ">a &amp; b</div>" in none
    assert "<span" not in none


def test_bars_are_those_of_the_five_best_in_order():
    page = bars((name, number / 10) for number, name in enumerate("abcdef<"))
    assert re.findall(r"<div>(\D*?)</div>", page) == ["&lt;", "f", "e", "d", "c"]
    assert re.findall(r"width: (.*?)%", page) == ["60.0", "50.0", "40.0", "30.0", "20.0"]


def test_labels_have_bars_too():
    page = html_of("a", LabelSet(("x",), {"y": 0.25, "x": 0.75}))
    assert page.startswith("<p>x 0.750</p>")
    assert page.index("<div>x</div>") < page.index("<div>y</div>")
