"""The recipe that makes pairs of a text and its lead sentence of articles."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

RECIPE = ROOT / "recipes" / "lead_sentences" / "make_data.py"
MOST_WORDS = 60

LEAD = "Oak Ford (c. 1200, St. Ann's) is a town on the Wend. "
BODY = (
    "It was founded by J. R. Tarrow, a weaver of the U.S. Navy. Its mill burned down in 1742. "
    "Nobody was hurt! The town built a second one of stone",
    "Each winter the river freezes, and the people of all the villages around skate down to the "
    "market in Stoneford to sell what they have made.",
)


@pytest.fixture(scope="module")
def recipe() -> dict:
    return runpy.run_path(str(RECIPE))


def test_sentences_end_where_a_reader_ends_them(recipe: dict):
    sentences = recipe["sentences"]
    assert sentences(LEAD + "It has 900 people.") == [LEAD.strip(), "It has 900 people."]
    assert sentences(BODY[0]) == [
        "It was founded by J. R. Tarrow, a weaver of the U.S. Navy.",
        "Its mill burned down in 1742.",
        "Nobody was hurt!",
    ]
    assert sentences("He lived in the U.S.") == ["He lived in the U.S."]
    assert sentences("A heading") == sentences("") == []


def test_pair_is_the_rest_of_an_article_and_its_lead(recipe: dict):
    article = [LEAD + "What follows in this paragraph is in neither.", *BODY]
    whole = " ".join([*recipe["sentences"](BODY[0]), BODY[1]])
    assert recipe["pair_of"](article, MOST_WORDS) == (whole, LEAD.strip())
    count = len(whole.split())
    assert recipe["pair_of"](article, count) == (whole, LEAD.strip())
    longer = [*article, "This sentence has no room."]
    assert recipe["pair_of"](longer, count) == (whole, LEAD.strip())


@pytest.mark.parametrize(
    ("article", "reason"),
    [
        ([LEAD], "fewer than 40 words"),
        ([LEAD, BODY[0]], "fewer than 40 words"),
        (["A heading", LEAD, *BODY], "no whole sentence"),
        (["A town. " + LEAD, *BODY], "no whole sentence of 5 words"),
        (["known to all as Oak Ford, is a town.", *BODY], "no whole sentence"),
        (["Spring 1200) is a town on the Wend.", *BODY], "no whole sentence"),
        ([LEAD, LEAD, *BODY], "the lead sentence stands in the source"),
    ],
)
def test_articles_are_left_out_for_a_reason(recipe: dict, article: list[str], reason: str):
    assert reason in recipe["pair_of"](article, 2 * MOST_WORDS)


def test_baselines_score_what_they_take(recipe: dict):
    """ROUGE-L by hand: of 3, 9 and 12 words, 3 are the lead's."""
    first, others, rest = "Oak is old. ", "Elm is new. Ash is tall. ", "Yew is low."
    found = recipe["baselines"]([(first + others + rest, first.strip())])
    assert found["lead-1"]["rouge_l"] == pytest.approx(100)
    assert found["lead-3"]["rouge_l"] == pytest.approx(200 * 3 / (9 + 3))
    assert found["copy"]["rouge_l"] == pytest.approx(200 * 3 / (12 + 3))


@pytest.mark.slow
def test_an_article_is_in_one_part_whatever_else_is_read(tmp_path: Path):
    articles = ["\n".join([f"Town number {n} lies on a river. More.", *BODY]) for n in range(90)]
    articles += [articles[0].replace("skate", "walk"), f"A heading\n{BODY[1]}"]
    long = f"Town{' very' * 70} far lies on a river."
    articles.append("\n".join([long, *BODY]))

    def parts(name: str, articles: list[str]) -> tuple[dict[str, str], str]:
        file, folder = tmp_path / f"{name}.txt", tmp_path / name
        file.write_text("\n\n".join(articles) + "\n", "utf-8")
        command = [sys.executable, str(RECIPE), str(file), str(folder)]
        run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        found: dict[str, str] = {}
        for path in folder.iterdir():
            for line in path.read_text("utf-8").splitlines():
                pair = json.loads(line)
                assert pair["target"] not in pair["source"]
                assert found.setdefault(pair["target"], path.stem) == path.stem
        return found, run.stdout

    all_of, said = parts("all", articles)
    assert len(all_of) == 90
    assert set(all_of.values()) == {"train", "validation", "test"}
    for reason in ("same lead sentence", "no whole sentence", "more than 63 word pieces"):
        (line,) = (line for line in said.splitlines() if reason in line)
        assert line.split()[0] == "1"
    assert [line.split()[0] for line in said.splitlines()[-3:]] == ["copy", "lead-3", "lead-1"]
    few, _ = parts("few", articles[40:60])
    assert few.items() <= all_of.items()
