"""Documents with coreference: columns, words and characters, their defects, and public data."""

import gzip
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.readers.coreference import CoreferenceText, read_coreference
from spanbert_tf.data.readers.lines import DataError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def found(document: CoreferenceText) -> list[list[str]]:
    return [[document.text[start:end] for start, end in one] for one in document.clusters]


CONLL_2012 = """\
#begin document (bc/cnn/00/cnn_0003); part 000
bc/cnn/00/cnn_0003   0   0     Ann   NNP  (TOP(S(NP*)   -   -   -   Ann_Lee   (PERSON)   (0)
bc/cnn/00/cnn_0003   0   1    lost   VBD         (VP*   -   -   -   Ann_Lee   *            -
bc/cnn/00/cnn_0003   0   2     her  PRP$         (NP*   -   -   -   Ann_Lee   *       (1|(0)
bc/cnn/00/cnn_0003   0   3    keys   NNS         *)))   -   -   -   Ann_Lee   *           1)
bc/cnn/00/cnn_0003   0   4      /.     .           *))  -   -   -   Ann_Lee   *            -

bc/cnn/00/cnn_0003   0   0     Did    VBD  (TOP(S*  do  01   1   -   *   (V*)    -
bc/cnn/00/cnn_0003   0   1     she    PRP     (NP*)  -   -   -   -   *     *    (0)
bc/cnn/00/cnn_0003   0   2      ?      .       *))   -   -   -   -   *     *      -

#end document
#begin document (bc/cnn/00/cnn_0003); part 001
bc/cnn/00/cnn_0003   1   0   Nothing   NN   (TOP*)   -   -   -   Bo   *   -

#end document
"""
TEXT = "Ann lost her keys. Did she?"


def test_conll_2012(tmp_path):
    first, second = read_coreference(write(tmp_path, "a.v4_gold_conll", CONLL_2012))
    assert first == CoreferenceText(
        text=TEXT,
        clusters=(((0, 3), (9, 12), (23, 26)), ((9, 17),)),
        name="bc/cnn/00/cnn_0003_0",
        genre="bc",
        line=1,
        path=str(tmp_path / "a.v4_gold_conll"),
    )
    assert found(first) == [["Ann", "her", "she"], ["her keys"]]
    assert (second.text, second.clusters, second.line) == ("Nothing", (), 13)
    assert second.name == "bc/cnn/00/cnn_0003_1"
    assert second.place.endswith("a.v4_gold_conll, line 13")


def test_speakers_of_conll_2012(tmp_path):
    first, second = read_coreference(write(tmp_path, "a.conll", CONLL_2012), speakers=True)
    assert first.text == f"Ann Lee: {TEXT}"
    assert found(first) == [["Ann", "her", "she"], ["her keys"]]
    assert first.clusters[0][0] == (9, 12)
    assert second.text == "Bo: Nothing"


def test_columns_of_litbank_and_gum(tmp_path):
    litbank = (
        "#begin document (9_a_brat); part 0\n9_a_brat\t0\t0\tNew\t_\t_\t_\t(0|(1\t\n"
        "9_a_brat\t0\t1\tYork\t_\t_\t_\t0)\t\n\n9_a_brat\t0\t0\tgrew\t_\t_\t_\t1)\t\n"
        "9_a_brat\t0\t1\t,\t_\t_\t_\t\t\n#end document\n"
    ).replace("\t\n", "\n")
    (document,) = read_coreference(write(tmp_path, "a.conll", litbank))
    assert (document.text, document.name, document.genre) == ("New York grew,", "9_a_brat_0", "")
    assert found(document) == [["New York"], ["New York grew"]]  # over the end of a sentence
    gum = (
        "# begin document GUM_news_iodine\n# a comment\n0\tKim\t(event-1(person-2-Kim_X)\n"
        "1\t#tag\t(1)(person-3-A-B\n2\tit\tevent-1)(person-2)person-3-A-B)\n3\t\t_\n4\t-\t-\n"
        "# end document\n"
    )
    (document,) = read_coreference(write(tmp_path, "b.conll", gum))
    assert (document.text, document.name) == ("Kim #tag it -", "GUM_news_iodine")
    assert document.genre == "news"
    # GUM's number names the cluster, whatever its type and name.
    assert found(document) == [["Kim", "it"], ["Kim #tag it", "#tag"], ["#tag it"]]


def test_mentions_may_cross_and_lie_in_their_own_cluster(tmp_path):
    lines = ["(1(2(1", "1)", "2)", "1)"]
    rows = "".join(f"{n}\tw{n}\t{cell}\n" for n, cell in enumerate(lines))
    (document,) = read_coreference(
        write(tmp_path, "a.conll", f"# begin document a\n{rows}# end document\n")
    )
    # What closes first was opened last.
    assert found(document) == [["w0 w1", "w0 w1 w2 w3"], ["w0 w1 w2"]]
    crossing = {"text": "a b c", "clusters": [[[0, 3]], [[2, 5]]]}
    (document,) = read_coreference(write(tmp_path, "a.jsonl", json.dumps(crossing)))
    assert document.clusters == (((0, 3),), ((2, 5),))


def test_json_lines_of_words(tmp_path):
    record = {
        "doc_key": "nw/a_0",
        "sentences": [["Ann", "lost", "her", "keys"], ["Did", "she", "?"]],
        "clusters": [[[5, 5], [2, 2], [0, 0]], [[2, 3]], [[3, 4]]],
        "speakers": [["Ann", "Ann", "Ann", "Ann"], ["-", "Bo", "Bo"]],
    }
    path = write(tmp_path, "a.jsonlines", f"\n{json.dumps(record)}\n\n")
    (document,) = read_coreference(path)
    assert document.text == "Ann lost her keys Did she?"
    assert found(document) == [["Ann", "her", "she"], ["her keys"], ["keys Did"]]
    assert (document.name, document.genre, document.line) == ("nw/a_0", "nw", 2)
    (document,) = read_coreference(path, speakers=True)
    assert document.text == "Ann: Ann lost her keys Did Bo: she?"
    assert found(document) == [["Ann", "her", "she"], ["her keys"], ["keys Did"]]
    del record["speakers"]
    path = write(tmp_path, "b.json", json.dumps({**record, "genre": "mail", "clusters": []}))
    (document,) = read_coreference(path, speakers=True)
    assert (document.text, document.clusters) == ("Ann lost her keys Did she?", ())
    assert document.genre == "mail"


def test_json_lines_of_texts(tmp_path):
    records = [
        {"text": " Ann lost her\tkeys ", "clusters": [[[10, 13]], [[10, 18], [1, 4]]], "id": 7},
        {"text": "none", "clusters": [], "name": "x", "genre": None},
        {"text": "a", "clusters": [[], [[0, 1]]]},
    ]
    content = "\n".join(map(json.dumps, records)).encode()
    documents = read_coreference(write(tmp_path, "a.jsonl.gz", gzip.compress(content)))
    assert [document.text for document in documents] == [record["text"] for record in records]
    assert [document.clusters for document in documents] == [
        (((1, 4), (10, 18)), ((10, 13),)),
        (),
        (((0, 1),),),
    ]
    assert [document.name for document in documents] == ["7", "x", ""]


def test_folders_and_lists_of_files(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "deeper/c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, name, json.dumps({"text": name, "clusters": []}))
    write(tmp_path, "notes.txt", "not read")
    assert [one.text for one in read_coreference(tmp_path)] == ["a.jsonl", "b.jsonl"]
    several = [tmp_path / "deeper", str(tmp_path / "a.jsonl")]
    assert [one.text for one in read_coreference(several)] == ["deeper/c.jsonl", "a.jsonl"]
    assert read_coreference([]) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: the folder holds no file named \.jsonl"):
        read_coreference(tmp_path / "empty")


def test_repeated_mentions_stay_in_the_larger_cluster(tmp_path):
    twice = {"text": "a b c d", "clusters": [[[0, 1], [2, 3]], [[4, 5], [0, 1], [6, 7]]]}
    path = write(tmp_path, "a.jsonl", json.dumps(twice))
    message = r"line 1: the mention 'a' \(0 to 1\) is given twice, in two of the clusters"
    with pytest.raises(DataError, match=message):
        read_coreference(path)
    (document,) = read_coreference(path, repair_clusters=True)
    assert found(document) == [["a", "c", "d"], ["b"]]
    within = {"text": "a b", "clusters": [[[0, 1]], [[2, 3], [2, 3]], [[0, 1]]]}
    path = write(tmp_path, "b.jsonl", json.dumps(within))
    with pytest.raises(DataError, match=r"'b' \(2 to 3\) is given twice, in one of the clusters"):
        read_coreference(path)
    (document,) = read_coreference(path, repair_clusters=True)
    assert found(document) == [["a"], ["b"]]  # nothing is left of the third cluster
    rows = "# begin document a\n0\tx\t(1)\n1\ty\t(2(1\n2\tz\t2)1)\n# end document\n"
    with pytest.raises(DataError, match=r"line 3: the mention 'y z' \(2 to 5\) is given twice"):
        read_coreference(write(tmp_path, "c.conll", rows))


def columns(*rows: str) -> str:
    lines = [f"{number}\t{row}" for number, row in enumerate(rows)]
    return "\n".join(["# begin document a", *lines, "# end document", ""])


def words(**changes) -> str:
    record = {"sentences": [["a", "b"]], "clusters": []}
    return json.dumps(record | changes)


def text(*clusters) -> str:
    return json.dumps({"text": "New York ", "clusters": list(clusters)})


DEFECTS = [
    ("a.txt", "", r"expected a file named \.jsonl, \.jsonlines, \.json or \.\.\.conll"),
    ("a.conll", "", "the file holds no document"),
    ("a.jsonl", "\n", "the file holds no document"),
    ("a.conll", "0\ta\t_\n", "line 1: expected `#begin document .* found '0"),
    ("a.conll", "#end document\n", "line 1: no document begins above"),
    ("a.conll", "#begin document x\n1\ta\t_\n", "line 1: 'x' has no `#end document`; the file may"),
    ("a.conll", "#begin document x\n# begin document y\n", "line 2: 'x', begun above, has no"),
    ("a.conll", columns(), "line 1: the text is empty"),
    ("a.conll", columns("a\t(1", "b\t_"), "line 2: .* cluster '1' that begins here does not close"),
    ("a.conll", columns("a\t(1(1", "b\t1)"), "line 2: the mention of the cluster '1' that begins"),
    ("a.conll", columns("a\t_", "b\t1)"), "line 3: a mention of the cluster '1' closes, but none"),
    ("a.conll", columns("a\t(1)1)"), "line 2: a mention of the cluster '1' closes"),
    ("a.conll", columns("a\t(1"), "line 2: .* does not close before the end of 'a'"),
    ("a.conll", columns("a\tNN"), "line 2: expected brackets of mentions .* found 'NN'"),
    ("a.conll", columns("a\t(1) (2)"), r"line 2: expected brackets .* found '\(1\) \(2\)'"),
    ("a.conll", columns("a\t()"), r"line 2: expected brackets .* found '\(\)'"),
    ("a.conll", columns("a\t(1)|-"), "line 2: expected brackets"),
    ("a.conll", columns("a\t_", "b"), "line 3: expected 3 columns, as above, found 2"),
    ("a.conll", columns("a"), "line 2: expected CoNLL-2012's columns"),
    ("a.conll", columns("a\tb\t_"), "line 2: expected CoNLL-2012's columns"),
    ("a.conll", columns("\t(1)"), "line 2: the word is empty"),
    ("a.conll", b"# begin document a\n0\t\xff\t_\n", "line 2: not UTF-8"),
    ("a.conll", "# begin document a\nx\ta\t_\n", "line 2: expected CoNLL-2012's columns"),
    ("a.jsonl", "[]", r"line 1: expected an object"),
    ("a.jsonl", "{}", "line 1: expected a string under 'text', or 'sentences', found None"),
    ("a.jsonl", '\n{"text": 3}', "line 2: expected a string under 'text'"),
    ("a.jsonl", '{"text": "a"}', "line 1: expected a list of clusters.* found None"),
    ("a.jsonl", '{"text": " ", "clusters": []}', "line 1: the text is empty"),
    ("a.jsonl", '{"text": "a", "clusters": [], "name": []}', r"a string under 'name', found \[\]"),
    ("a.jsonl", text([0, 3]), "line 1: expected a mention as two integers, found 0"),
    ("a.jsonl", text("ab"), r"expected a list of clusters, which .* found \['ab'\]"),
    ("a.jsonl", text([[0, 3, 1]]), r"two integers, found \[0, 3, 1\]"),
    ("a.jsonl", text([[False, 3]]), r"two integers, found \[False, 3\]"),
    ("a.jsonl", text([[0, 3.0]]), "two integers"),
    ("a.jsonl", text([[0, 10]]), r"0 <= start < end <= 9, .* found \[0, 10\]"),
    ("a.jsonl", text([[-1, 3]]), "0 <= start < end <= 9"),
    ("a.jsonl", text([[3, 3]]), "0 <= start < end <= 9"),
    ("a.jsonl", text([[3, 4]]), r"the mention \[3, 4\] is white space only"),
    ("a.jsonl", words(sentences=[]), "line 1: the text is empty"),
    ("a.jsonl", words(sentences=["a"]), "a list of sentences, which are lists of strings, .*'a'"),
    ("a.jsonl", words(sentences=[["a", 1]]), "list of sentences"),
    ("a.jsonl", words(sentences=[["a"], [" "]]), "line 1: the word 1 is empty"),
    ("a.jsonl", words(sentences={}), "list of sentences"),
    ("a.jsonl", words(clusters=[[[0, 2]]]), r"0 <= first <= last < 2, .* found \[0, 2\]"),
    ("a.jsonl", words(clusters=[[[1, 0]]]), "0 <= first <= last < 2"),
    ("a.jsonl", words(clusters=[[[0, 1]], [[0, 1]]]), "line 1: the mention 'a b' .* given twice"),
    ("a.jsonl", words(speakers=[["x"]]), "a speaker under 'speakers' for each word"),
    ("a.jsonl", words(speakers=[["x"], ["y"]]), "a speaker under 'speakers' for each word"),
    ("a.jsonl", words(speakers="x"), "lists of strings, under 'speakers'"),
]


@pytest.mark.parametrize(("name", "content", "message"), DEFECTS)
def test_defects(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        read_coreference(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_coreference(tmp_path / "a.conll")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.sampled_from(["", "a", "\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=12,
)
MENTIONS = st.lists(st.lists(st.lists(st.integers(-1, 6), max_size=3), max_size=3), max_size=3)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(max_size=6) | JSON,
        "sentences": st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=3) | JSON,
        "clusters": MENTIONS | JSON,
        "speakers": st.lists(st.lists(st.text(max_size=2), max_size=3), max_size=3) | JSON,
        "genre": JSON,
        "name": JSON,
    },
)
ROWS = ["0\tx\t_\n", "0\tx\t(1\n", "0\tx\t1)\n", "0\tx\t(2)(1)\n", "a 0 0 x (1) b (1\n"]
PIECES = st.sampled_from(
    [
        *(
            "#begin document (a); part 0\n",
            "# begin document\n",
            "#end document\n",
            "\n",
            "\t",
            " ",
        ),
        *("0", "1", "x", "(1", "1)", "(1)", "|", "(", ")", "_", "-", "person-1-A", "#", "²", "٣"),
        *("\r", "a\t", *ROWS),
    ]
)


def check_reading(path: Path):
    """A file is read, and then sound, or refused; nothing but a `DataError` is ever raised."""
    for options in ({}, {"speakers": True, "repair_clusters": True}):
        with suppress(DataError):
            check_documents(read_coreference(path, **options))


def check_documents(documents: list[CoreferenceText]):
    assert documents
    for document in documents:
        mentions = [mention for cluster in document.clusters for mention in cluster]
        assert len(set(mentions)) == len(mentions)
        assert all(document.text[start:end].strip() for start, end in mentions)
        assert all(cluster == tuple(sorted(cluster)) for cluster in document.clusters)
        assert document.clusters == tuple(sorted(document.clusters))
        assert all(document.clusters)


@settings(max_examples=200)
@given(st.lists(RECORDS | JSON, max_size=2))
def test_any_json_is_read_or_refused(tmp_path_factory, records):
    content = "\n".join(json.dumps(record) for record in records)
    check_reading(write(tmp_path_factory.mktemp("json"), "a.jsonl", content))


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=25), st.booleans())
def test_any_columns_are_read_or_refused(tmp_path_factory, pieces, whole):
    content = "".join(pieces)
    if whole:
        content = f"#begin document (a); part 0\n{content}\n#end document\n"
    check_reading(write(tmp_path_factory.mktemp("columns"), "a.conll", content))


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from(["a.conll", "a.jsonl", "a.conll.gz", "a.json.gz"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, name):
    check_reading(write(tmp_path_factory.mktemp("bytes"), name, content))


@settings(max_examples=100)
@given(st.data())
def test_columns_words_and_characters_say_the_same(tmp_path_factory, data):
    """One document, written in all three forms."""
    folder = tmp_path_factory.mktemp("forms")
    words_of = st.sampled_from(["Ann", "'s", ",", "(", "n't", "中", "-LRB-"])
    names = data.draw(st.lists(words_of, min_size=1))
    borders = st.tuples(*[st.integers(0, len(names) - 1)] * 2).map(sorted).map(tuple)
    spans = data.draw(st.lists(borders, unique=True, max_size=6))
    of = data.draw(st.lists(st.integers(0, 2), min_size=len(spans), max_size=len(spans)))
    given_clusters = [[s for s, n in zip(spans, of, strict=True) if n == k] for k in range(3)]
    record = {"doc_key": "a_0", "sentences": [names], "clusters": given_clusters}
    (by_words,) = read_coreference(write(folder, "a.jsonl", json.dumps(record)))
    by_characters = {"name": "a_0", "text": by_words.text, "clusters": by_words.clusters}
    (again,) = read_coreference(write(folder, "b.jsonl", json.dumps(by_characters)))
    assert (again.text, again.clusters) == (by_words.text, by_words.clusters)
    # A cluster's brackets close what was opened last, so that columns cannot say all: each mention
    # has a cluster of its own here.
    cells = [
        "|".join(
            [f"({number})" for number, span in enumerate(spans) if span == (n, n)]
            + [f"({number}" for number, (first, last) in enumerate(spans) if first == n < last]
            + [f"{number})" for number, (first, last) in enumerate(spans) if first < n == last]
        )
        for n in range(len(names))
    ]
    rows = "".join(f"a\t0\t{n}\t{names[n]}\t{cell or '-'}\n" for n, cell in enumerate(cells))
    content = f"#begin document (a); part 000\n{rows}#end document\n"
    (by_columns,) = read_coreference(write(folder, "a.conll", content))
    assert (by_columns.text, by_columns.name) == (by_words.text, "a_0")
    alone = sorted((mention,) for cluster in by_words.clusters for mention in cluster)
    assert by_columns.clusters == tuple(alone)


PUBLIC = [
    ("litbank/train", 68, 19_695, 5486, 3978),
    ("litbank/dev", 12, 3672, 980, 716),
    ("gum/gum/train", 128, 36_789, 19_234, 13_975),
    ("gum/gum/dev", 20, 5133, 2569, 1861),
    ("gum/ontogum/train", 128, 16_849, 3895, 7),
    ("gum/ontogum/dev", 20, 2365, 529, 0),
]


@pytest.mark.parametrize(("name", "documents", "mentions", "clusters", "singletons"), PUBLIC)
def test_public_files(shared_data, name, documents, mentions, clusters, singletons):
    read = read_coreference(shared_data / name, repair_clusters=name.startswith("gum/ontogum"))
    sizes = [len(cluster) for document in read for cluster in document.clusters]
    assert (len(read), sum(sizes), len(sizes)) == (documents, mentions, clusters)
    assert sizes.count(1) == singletons
    for document in read:
        for cluster in document.clusters:
            for start, end in cluster:
                assert document.text[start:end].strip() == document.text[start:end] != ""
    genres = Counter(document.genre for document in read)
    assert len(genres) == (10 if name.startswith("gum") else 1)
    assert ("news" in genres) is name.startswith("gum")


def test_public_files_have_these_clusters(shared_data):
    (document,) = read_coreference(
        shared_data / "litbank" / "dev" / "541_the_age_of_innocence_brat.conll"
    )
    assert document.name == "541_the_age_of_innocence_brat_0"
    assert document.text.startswith(
        "Book I I. On a January evening of the early seventies, Christine Nilsson was singing in "
        "Faust at the Academy of Music in New York."
    )
    assert found(document)[0][0] == "Christine Nilsson"
    assert found(document)[1][0] == "the Academy of Music in New York"
    message = r"GUM_bio_galois.conll, line 457: the mention 'confided' .* in two of the clusters"
    with pytest.raises(DataError, match=message):
        read_coreference(shared_data / "gum" / "ontogum" / "train")
