"""Files of questions: both forms of SQuAD's JSON, JSON lines, tables; and what is wrong in them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.questions import (
    NEAR,
    Question,
    find_answer,
    read_asked,
    read_questions,
)

CONTEXT = "Ada 😀 met Bo in Paris."


def squad(*qas: dict[str, Any], context: Any = CONTEXT) -> str:
    qas = [{"id": f"q{n}", "question": "Who?", "answers": [], **qa} for n, qa in enumerate(qas)]
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]})


def answer(text: str, start: int) -> dict[str, Any]:
    return {"text": text, "answer_start": start}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_reads_both_versions_of_squad(tmp_path: Path, name: str):
    text = squad(
        {"answers": [answer("Bo", 10), answer("Ada", 0), answer("Ada", 0)]},
        {"answers": [], "is_impossible": True, "plausible_answers": [answer("Bo", 10)]},
        {"answers": [answer("Bo", 10)], "is_impossible": False},
    )
    path = write(tmp_path, name, text)
    questions = read_questions(path)
    assert [one.id for one in questions] == ["q0", "q1", "q2"]
    assert [one.line for one in questions] == [1, 2, 3]
    assert [one.target for one in questions] == [(0, 3), None, (10, 12)]
    assert questions[0].context[10:12] == "Bo"
    assert read_asked(path) == [["Who?"] * 3, [CONTEXT] * 3]


def test_reads_json_lines_of_datasets(tmp_path: Path):
    records = [
        {"id": "x", "question": "Who?", "context": CONTEXT, "title": "", "answers": answers}
        for answers in ({"text": ["Bo", "Ada"], "answer_start": [10, 0]},)
    ]
    records.append(
        {"question": "Whom?", "context": "c", "answers": {"text": [], "answer_start": []}}
    )
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, records)))
    assert read_questions(path) == [
        Question("Who?", CONTEXT, (("Bo", 10), ("Ada", 0)), "x", 1, str(path)),
        Question("Whom?", "c", (), "2", 2, str(path)),
    ]
    assert read_asked(path) == [["Who?", "Whom?"], [CONTEXT, "c"]]


def test_reads_tables_to_be_asked(tmp_path: Path):
    path = write(tmp_path, "a.tsv", "context\tquestion\nc 1\tq 1\n\tq 2\n")
    assert read_asked(path) == [["q 1", "q 2"], ["c 1", ""]]
    path = write(tmp_path, "b.csv", 'asked,about\nq,"a\nb"\n')
    assert read_asked(path, "asked", "about") == [["q"], ["a\nb"]]
    assert read_asked(path, "asked", "about", ",", "double") == [["q"], ["a\nb"]]
    with pytest.raises(DataError, match="no column 'question' among 'asked', 'about'"):
        read_asked(path)
    path = write(tmp_path, "c.tsv", "question\tcontext\nq\tc\n \tc\n")
    with pytest.raises(DataError, match=r"c.tsv, line 3: the question is empty"):
        read_asked(path)


def test_a_wrong_start_is_repaired_or_the_answer_left_out(tmp_path: Path):
    context = "Bo met Ada. " + "-" * 2 * NEAR + " Bo met Bo."
    path = write(
        tmp_path,
        "a.json",
        squad(
            {"answers": [answer("Ada", 5)]},  # 2 before
            {"answers": [answer("Bo", len(context) - 9), answer("Ada", 7)]},  # twice nearby
            {"answers": [answer("Bob", 0)]},  # nowhere
            {"answers": [answer("Ada", 190)]},  # too far
            context=context,
        ),
    )
    with pytest.warns(UserWarning, match="left out") as caught:
        questions = read_questions(path)
    (message,) = (str(one.message) for one in caught)
    assert "1 answers stand elsewhere nearby, where they are taken from ('q0')" in message
    assert "3 answers do not stand in the context where they should: left out" in message
    assert "('q1', 'q2', 'q3')" in message
    assert "2 questions have no other answer: left out" in message
    assert [(one.id, one.answers) for one in questions] == [
        ("q0", (("Ada", 7),)),
        ("q1", (("Ada", 7),)),
    ]


@given(st.text("ab ", min_size=1, max_size=30), st.data())
def test_an_answer_is_found_where_it_stands(context: str, data: st.DataObject):
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : data.draw(st.integers(start + 1, len(context)))]
    assert find_answer(context, text, start) == start
    elsewhere = data.draw(st.integers(-5, len(context) + 5))
    found = find_answer(context, text, elsewhere)
    places = [at for at in range(len(context)) if context.startswith(text, at)]
    if found is None:
        assert len(places) > 1
    else:
        assert found == (elsewhere if elsewhere in places else places[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (squad({"question": " "}), "question 'q0': expected a text as 'question', found ' '"),
        (squad({}, context=""), "question 'q0': expected a text as 'context', found ''"),
        (squad({"answers": None}), "question 'q0': expected a list of answers, found None"),
        (
            squad({"answers": [answer("Bo", "10")]}),
            "an integer 'answer_start', found 'Bo' and '10'",
        ),
        (squad({"answers": [{"text": "Bo"}]}), "found 'Bo' and None"),
        (squad({"answers": {"text": ["Bo"], "answer_start": []}}), "lists of one length"),
        (squad({"is_impossible": False}), "`is_impossible` is False, but there are 0 answers"),
        (
            squad({"is_impossible": True, "answers": [answer("Bo", 10)]}),
            "`is_impossible` is True, but there are 1 answers",
        ),
        (squad({"id": "x"}, {"id": "x"}), "question 'x': the id is that of an earlier question"),
        (squad(), "the file holds no question"),
        ('{"data": [{"paragraphs": {}}]}', "a list of objects as 'paragraphs'"),
        ("[]", "a list of objects as 'data'"),
        ("{", "malformed JSON"),
        (squad({"question": "\ud83d"}), "malformed JSON"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str):
    path = write(tmp_path, "bad.json", text)
    with pytest.raises(DataError, match=r"bad\.json.*"):
        read_questions(path)
    with pytest.raises(DataError) as raised:
        read_questions(path)
    assert message in str(raised.value)


def test_tables_have_no_answers(tmp_path: Path):
    path = write(tmp_path, "a.tsv", "question\tcontext\nq\tc\n")
    with pytest.raises(DataError, match=r"expected questions with answers in a file named \.json"):
        read_questions(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["new_wiki_v1.0.json", "squad2_articles.json"])
def test_reads_the_real_files_whole(shared_data: Path, name: str):
    path = shared_data / "qa" / name
    questions = read_questions(path)
    assert len(questions) == {"new_wiki_v1.0.json": 7938, "squad2_articles.json": 8767}[name]
    for question in questions:
        for text, start in question.answers:
            assert question.context.startswith(text, start)
