"""Readers of entities: each form, every defect with file and line, and the public files."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbert_tf.data.readers.entities import EntitySpan, TaggedText, read_entities
from spanbert_tf.data.readers.lines import DataError


def write(folder, name, content):
    path = folder / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def found(text: TaggedText) -> list[tuple[str, str]]:
    """The entities as a person reads them."""
    return [(text.text[one.start : one.end], one.label) for one in text.entities]


ADA = [("Ada Lovelace", "PER"), ("London", "LOC")]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conll", "Ada\tB-PER\nLovelace\tI-PER\nsaw\tO\nLondon\tB-LOC\n"),
        ("a.IOB", "\ufeffAda I-PER\r\nLovelace I-PER\r\nsaw O\r\nLondon I-LOC\r\n\r\n"),
        ("a.bmes", "Ada B-PER\nLovelace E-PER \nsaw O\nLondon S-LOC"),
        (
            "a.txt",
            "Ada NNP B-NP B-PER\nLovelace NNP I-NP I-PER\nsaw V O O\nLondon NNP B-NP B-LOC\n",
        ),
        ("a.tsv", "B-PER\tAda\nI-PER\tLovelace\nO\tsaw\nB-LOC\tLondon\n"),
        (
            "a.iob2",
            "1\tAda\tB-PER\t-\tx\n2\tLovelace\tI-PER\t-\tx\n3\tsaw\tO\t-\t-\n4\tLondon\tB-LOC\t-\tx",
        ),
        (
            "a.jsonl",
            '{"text": "Ada Lovelace saw London", "entities": [{"start": 17, "end": 23, '
            '"label": "LOC"}, {"start": 0, "end": 12, "label": "PER"}]}\n',
        ),
        (
            "a.json",
            '\n{"sentence": "Ada Lovelace saw London", "label": [[0, 12, "PER"], [17, 23, "LOC"]]}',
        ),
        (
            "a.jsonl",
            '{"tokens": ["Ada", "Lovelace", "saw", "London"], "ner_tags": ["B-PER", "I-PER", "O", '
            '"B-LOC"]}',
        ),
    ],
)
def test_forms_agree(tmp_path, name, content, suffix):
    path = write(tmp_path, name + suffix, content)
    (text,) = read_entities(path)
    assert text.text == "Ada Lovelace saw London"
    assert text.entities == (EntitySpan(0, 12, "PER"), EntitySpan(17, 23, "LOC"))
    assert text.path == str(path)
    assert text.line == 1 + content.startswith("\n")
    assert text.words in (None, ((0, 3), (4, 12), (13, 16), (17, 23)))
    assert (text.words is None) == ("start" in content or "[[" in content)


def test_sentences_lines_comments_and_words_that_look_like_comments(tmp_path):
    content = (
        "-DOCSTART-\tO\n\n# newdoc id = 1\n# sent_id = 1\n# text = a\tb\n#\tO\n#one\tB-TAG\n"
        "\t\n  \n#begin document\ntwo\tO\n-DOCSTART- -X- O\nthree\tO\n\n\n# the end\n"
    )
    texts = read_entities(write(tmp_path, "a.conll", content))
    assert [(text.text, text.line) for text in texts] == [("# #one", 6), ("two", 11), ("three", 13)]
    assert found(texts[0]) == [("#one", "TAG")]


def test_comments_of_files_with_spaces(tmp_path):
    content = (
        "# sent_id = 1\n# text = three\n# = O O\n#x NN O B-TAG\none NN O O\n\n# newpar\n"
        "#begin document (x);\n# a remark here !\ntwo NN O O\n"
    )
    texts = read_entities(write(tmp_path, "a.conll", content))
    # `# = O O` has the columns of a word, of which one is a tag, and is no `# key = value`.
    assert [text.text for text in texts] == ["# #x one", "two"]


def test_a_file_of_nothing_but_number_signs(tmp_path):
    assert read_entities(write(tmp_path, "a.tsv", "#\tO\n"))[0].text == "#"
    with pytest.raises(DataError, match="holds no words"):
        read_entities(write(tmp_path, "b.tsv", "# sent_id = 1\n"))


def test_white_space_of_other_kinds_is_a_word(tmp_path):
    path = write(tmp_path, "a.txt", "a O\n\u3000 O\n\xa0 O\nb\u2028 O\n")
    assert read_entities(path)[0].words == ((0, 1), (2, 3), (4, 5), (6, 8))


def test_tags_of_a_type_with_hyphens_and_dots(tmp_path):
    path = write(tmp_path, "a.tsv", "x\tB-creative-work\ny\tB-PER.NOM\n")
    assert found(read_entities(path)[0]) == [("x", "creative-work"), ("y", "PER.NOM")]


def test_columns_can_be_named(tmp_path):
    path = write(tmp_path, "a.txt", "x y O B-A -\nx z O I-A -\n")
    for word, tag in ((1, 3), (None, 3)):
        (text,) = read_entities(path, word_column=word, tag_column=tag)
        assert found(text) == [("y z" if word else "x x", "A")]
    with pytest.raises(DataError, match=r"line 1: .* found that 2, 3 do among the columns 0 to 4"):
        read_entities(path)
    with pytest.raises(DataError, match=r"`tag_column` from 0 to 4, or -1 for the last .* found 5"):
        read_entities(path, tag_column=5)
    with pytest.raises(DataError, match="`word_column` from 0 to 4"):
        read_entities(path, word_column=-2)
    with pytest.raises(DataError, match="column 3 cannot hold both words and tags"):
        read_entities(path, word_column=3, tag_column=3)
    with pytest.raises(DataError, match=r"line 1: expected a tag .* in column 4, found '-'"):
        read_entities(path, tag_column=-1)
    last = write(tmp_path, "b.txt", "O x\nB-A y\n")
    assert read_entities(last, word_column=-1)[0].text == "x y"
    with pytest.raises(DataError, match="column 1 cannot hold both"):
        read_entities(last, word_column=-1, tag_column=1)


def test_a_column_of_numbers_is_an_index_only_if_it_counts(tmp_path):
    index = "1\tin\tO\n2\t1984\tO\n\n1\tx\tO\n"
    assert [t.text for t in read_entities(write(tmp_path, "a.tsv", index))] == ["in 1984", "x"]
    from_zero = "0\tin\tO\n1\t1984\tO\n"
    assert read_entities(write(tmp_path, "b.tsv", from_zero))[0].text == "in 1984"
    years = "1984\tx\tO\n1985\tx\tO\n"
    assert read_entities(write(tmp_path, "c.tsv", years))[0].text == "1984 1985"
    no_other = "1\tO\n2\tO\n"
    assert read_entities(write(tmp_path, "d.tsv", no_other))[0].text == "1 2"


def test_the_text_of_a_comment_places_the_words(tmp_path):
    content = (
        "# text = Born in St. John's, 1901.\n1\tBorn\tO\n2\tin\tO\n3\tSt.\tB-LOC\n4\tJohn\tI-LOC\n"
        "5\t's\tI-LOC\n6\t,\tO\n7\t1901\tO\n8\t.\tO\n\n"
        "# text = Vámonos al mar\n1-2\tVámonos\t_\n1\tVamos\tO\n2\tnos\tO\n3-4\tal\t_\n3\ta\tO\n"
        "4\tel\tB-X\n4.1\tempty\t_\n5\tmar\tI-X\n\n"
        "1\tno\tO\n2\ttext\tO\n\n# text = more than that\n1\tmore\tO\n"
    )
    texts = read_entities(write(tmp_path, "a.iob2", content))
    assert [text.text for text in texts] == [
        "Born in St. John's, 1901.",
        "Vamos nos a el mar",  # the words are not in the text, and are joined
        "no text",
        "more",
    ]
    assert found(texts[0]) == [("St. John's", "LOC")]
    assert found(texts[1]) == [("el mar", "X")]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("我 在 北京", "我在北京"),
        ("我 用 TensorFlow 和 Keras 。", "我用 TensorFlow 和 Keras 。"),
        ("東京 へ 、 行く", "東京へ、行く"),
        ("서울 에서", "서울 에서"),
        ("𠀀 𠀁", "𠀀𠀁"),
        ("买 i P h o n e 5 。", "买iPhone5。"),  # characters, not words
        ("a b c", "a b c"),
    ],
)
def test_words_are_joined_as_their_script_does(tmp_path, words, text):
    words = words.split(" ")
    record = {"text": words, "label": ["O"] * (len(words) - 1) + ["B-X"]}
    lines = "".join(f"{word}\t{tag}\n" for word, tag in zip(*record.values(), strict=True))
    for name, content in (("a.jsonl", json.dumps(record)), ("a.conll", lines)):
        (read,) = read_entities(write(tmp_path, name, content))
        assert read.text == text
        assert [text[start:end] for start, end in read.words] == words
        assert found(read) == [(words[-1], "X")]


def test_json_keys(tmp_path):
    records = [
        {
            "text": "Ada Lovelace",
            "tokens": [{"id": 1}],
            "spans": [{"start": 0, "end": 3, "type": "A"}],
        },
        {
            "text": "Ada Lovelace",
            "entities": [{"start": 0, "end": 3, "entity_group": "A", "score": 1}],
        },
        {"text": "Ada Lovelace", "labels": [[0, 3, "A"]]},
        {"tokens": ["Ada", "Lovelace"], "labels": ["B-A", "O"]},
        {"words": ["Ada", "Love", "lace"], "text": "Ada Lovelace", "tags": ["B-A", "O", "O"]},
        {"text": "Ada Lovelace", "entities": [{"start": 0, "end": 3, "entity": " A "}]},
    ]
    texts = read_entities(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, records))))
    assert [(text.text, found(text)) for text in texts] == [("Ada Lovelace", [("Ada", "A")])] * 6
    assert [text.line for text in texts] == [1, 2, 3, 4, 5, 6]
    named = write(tmp_path, "b.jsonl", '{"a": "x", "b": ["B-X"], "c": ["y"], "d": [[0, 1, "Y"]]}')
    assert found(read_entities(named, "a", "d")[0]) == [("x", "Y")]
    assert found(read_entities(named, "c", "b")[0]) == [("y", "X")]


def test_texts_without_entities_are_read(tmp_path):
    for name, content in (
        ("a.jsonl", '{"text": "nothing", "entities": []}'),
        ("a.conll", "nothing\tO\n"),
        ("b.jsonl", '{"tokens": ["nothing"], "tags": ["O"]}'),
    ):
        (text,) = read_entities(write(tmp_path, name, content))
        assert (text.text, text.entities) == ("nothing", ())


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.conll", "a B-X\nb I-X\n\nc O\nd I-X\n", 5),
        ("a.conll", "a B-X\nb I-Y\n", 2),
        ("a.conll", "a S-X\nb B-X\nc I-X\nd E-X\n\ne E-X\n", 6),
        ("a.conll", "a S-X\nb B-X\nc E-X\n\nd O\ne B-X\nf O\n", 6),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["B-X", "I-Y"]}', 1),
    ],
)
def test_illegal_moves_are_errors_or_repaired(tmp_path, name, content, line):
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=rf"line {line}: at the word .*`repair_tags`") as caught:
        read_entities(path)
    assert str(path) in str(caught.value)
    repaired = read_entities(path, repair_tags=True)
    assert len(found(repaired[-1])) >= 1


def test_the_scheme_is_told_from_the_whole_file(tmp_path):
    path = write(tmp_path, "a.conll", "a I-X\nb I-X\nc B-X\n\nd O\ne I-Y\n")
    assert [found(text) for text in read_entities(path)] == [
        [("a b", "X"), ("c", "X")],
        [("e", "Y")],
    ]
    path = write(tmp_path, "b.conll", "a O\nb I-X\n\nc B-X\n")
    with pytest.raises(DataError, match=r"line 2: at the word 'b' \(2 of 2\).*look like IOB2"):
        read_entities(path)


def spans(*items, text="New York"):
    return json.dumps({"text": text, "entities": items})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.conll", "", "the file holds no words"),
        ("a.conll", "\n \n-DOCSTART- O\n\n", "the file holds no words"),
        ("a.jsonl", "\n", "the file holds no texts"),
        ("a.conll", "word\n", "line 1: expected a word and its tag, parted .* found 'word'"),
        ("a.conll", "a\tO\n\nb\tO\n\nc\n", "line 5: expected 2 columns parted by tabs, .* found 1"),
        ("a.conll", "a\tO\nb\tX\tO\n", "line 2: expected 2 columns .* found 3: 'b"),
        ("a.conll", "a O\nb  O\nc x O\n", "line 3: expected 2 columns parted by spaces"),
        ("a.conll", "a\tO\n\tO\n", "line 2: the word is empty"),
        ("a.conll", "a\tO\nb\tO\nc\tPER\n", "line 3: expected a tag .* in column 1, found 'PER'"),
        (
            "a.conll",  # one misspelt tag does not make the chunks the tags
            "a NN B-NP B-X\nb NN I-NP I-X\nc NN I-NP B_X\n",
            "line 3: expected a tag .* in column 3, found 'B_X'",
        ),
        ("a.tsv", "text\tlabel\ngood\t1\n", "line 1: expected one column of tags .* none does"),
        ("a.conll", b"a\tO\n\xff\tO\n", "line 2: not UTF-8"),
        ("a.conll", "a\tO\n".encode("utf-16-le"), "line 1: a NUL byte"),
        ("a.csv", "a,O\n", "expected a file named .jsonl, .json, .conll"),
        ("a.jsonl", "[]", r"line 1: expected an object, found \[\]"),
        (
            "a.jsonl",
            '{"text": "a"}',
            r"line 1: no key for the entities among \['text'\]; .*ner_tags",
        ),
        ("a.jsonl", '{"entities": []}', "no key for the text among .*`text_column`"),
        ("a.jsonl", '{"entities": ["O"]}', "no key for the words among .* one of tokens, words"),
        ("a.jsonl", '{"text": "a", "label": "pos"}', "expected a list of entities, found 'pos'"),
        ("a.jsonl", '{"text": "a", "label": null}', "expected a list of entities, found None"),
        (
            "a.jsonl",
            '{"text": "a b", "tags": ["O", "O"]}',
            "expected a list of words, as there are",
        ),
        ("a.jsonl", '{"text": 3, "entities": []}', "line 1: expected a text, found 3"),
        ("a.jsonl", spans(text=" "), "line 1: the text is empty"),
        ("a.jsonl", spans([0, 3]), r"line 1: expected an entity as integers .* found \[0, 3\]"),
        ("a.jsonl", spans(["0", 3, "X"]), "expected an entity as integers"),
        ("a.jsonl", spans([0.0, 3, "X"]), "expected an entity as integers"),
        ("a.jsonl", spans([False, 3, "X"]), "expected an entity as integers"),
        ("a.jsonl", spans([0, 3, 7]), "expected an entity as integers"),
        ("a.jsonl", spans({"start": 0, "end": 3}), "a string under label, type, entity_group"),
        ("a.jsonl", spans({"end": 3, "label": "X"}), "expected an entity as integers"),
        ("a.jsonl", spans([0, 3, " "]), "line 1: the label of .* is empty"),
        ("a.jsonl", spans([0, 9, "X"]), r"0 <= start < end <= 8, .* found \[0, 9, 'X'\]"),
        ("a.jsonl", spans([-1, 3, "X"]), "0 <= start < end <= 8"),
        ("a.jsonl", spans([3, 3, "X"]), "0 <= start < end <= 8"),
        (
            "a.jsonl",
            spans([4, 8, "Y"], [0, 8, "X"]),
            r"'New York' \(0 to 8, X\) and 'York' \(4 to 8, Y\) share characters",
        ),
        ("a.jsonl", spans([0, 5, "X"], [4, 8, "X"]), "share characters"),
        ("a.jsonl", spans([0, 8, "X"], [0, 8, "Y"]), "share characters"),
        ("a.jsonl", spans([0, 3, "X"], [0, 3, "X"]), r"'New' \(0 to 3, X\) .* are the same"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}', "each of the 1 words, found 2 tags"),
        ("a.jsonl", '{"tokens": [], "tags": []}', "line 1: the list of words is empty"),
        (
            "a.jsonl",
            '{"tokens": ["a", ""], "tags": ["O", "O"]}',
            "line 1, word 2: expected a string",
        ),
        ("a.jsonl", '{"tokens": [5], "tags": ["O"]}', "line 1, word 1: expected a string"),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": [3]}', "word 1: expected a tag .* found 3"),
        (
            "a.jsonl",
            '{"tokens": ["a"], "ner_tags": ["PER"]}',
            "word 1: expected a tag .* found 'PER'",
        ),
    ],
)
def test_defects(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        read_entities(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_columns_of_the_other_kind_of_file_are_refused(tmp_path):
    words = write(tmp_path, "a.conll", "a\tO\n")
    with pytest.raises(
        DataError, match="`text_column` is for JSON lines, but the file is one of o"
    ):
        read_entities(words, text_column="text")
    lines = write(tmp_path, "a.jsonl", '{"text": "a", "entities": []}')
    with pytest.raises(DataError, match="`tag_column` is for one word a line, but the file is one"):
        read_entities(lines, tag_column=0)
    with pytest.raises(DataError, match=r"no key for the entities among .* expected 'body'"):
        read_entities(lines, label_column="body")
    with pytest.raises(DataError, match="there is no such file"):
        read_entities(tmp_path / "b.conll")


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1),
            st.sampled_from(["O", "B-X", "B-Y"]),
        ),
        min_size=1,
    )
)
def test_both_forms_of_words_agree_on_any_words(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round")
    words, tags = zip(*rows, strict=True)
    record = json.dumps({"tokens": words, "tags": tags})
    lines = "".join(f"{number}\t{word}\t{tag}\n" for number, (word, tag) in enumerate(rows))
    (first,) = read_entities(write(folder, "a.jsonl", record))
    (second,) = read_entities(write(folder, "a.conll", lines), word_column=1, tag_column=2)
    assert (first.text, first.entities, first.words) == (second.text, second.entities, second.words)
    assert [first.text[start:end] for start, end in first.words] == list(words)
    assert [one.label for one in first.entities] == [tag[2:] for tag in tags if tag != "O"]


PUBLIC = [
    ("wnut17/train.conll", 3394, 62_730, 1975, 6),
    ("wnut17/dev.conll", 1009, 15_733, 836, 6),
    ("weibo_ner/dev.json", 270, 14_509, 389, 8),
    ("uner_english/en_ewt-ud-dev.iob2", 2001, 25_149, 966, 3),
    ("uner_chinese/zh_gsdsimp-ud-train.iob2", 3997, 98_616, 6118, 3),
    ("uner_chinese/zh_gsdsimp-ud-dev.iob2", 500, 12_663, 753, 3),
    ("crossner/ai/train.txt", 100, 3782, 532, 14),
    ("crossner/ai/dev.txt", 350, 10_919, 1549, 14),
    ("crossner/literature/train.txt", 100, 3782, 541, 12),
    ("crossner/literature/dev.txt", 400, 14_503, 2130, 12),
    ("crossner/music/train.txt", 100, 3909, 648, 13),
    ("crossner/music/dev.txt", 380, 15_591, 2679, 13),
    ("crossner/politics/train.txt", 200, 8384, 1304, 9),
    ("crossner/politics/dev.txt", 541, 24_624, 3482, 9),
    ("crossner/science/train.txt", 200, 7100, 1075, 17),
    ("crossner/science/dev.txt", 450, 16_139, 2538, 17),
]


def check_words(text: TaggedText):
    starts, ends = ({word[side] for word in text.words} for side in (0, 1))
    for one in text.entities:
        assert one.start in starts
        assert one.end in ends
    ends_before = [0, *(end for _, end in text.words)]
    for (start, end), before in zip(text.words, ends_before, strict=False):
        assert text.text[start:end].strip()
        assert not text.text[before:start].strip()
    assert not text.text[ends_before[-1] :].strip()


@pytest.mark.parametrize(("name", "sentences", "words", "entities", "labels"), PUBLIC)
def test_public_files(shared_data, name, sentences, words, entities, labels):
    texts = read_entities(shared_data / name)
    assert len(texts) == sentences
    assert sum(len(text.words) for text in texts) == words
    assert sum(len(text.entities) for text in texts) == entities
    assert len({one.label for text in texts for one in text.entities}) == labels
    for text in texts:
        check_words(text)


def test_public_files_have_these_entities(shared_data):
    texts = read_entities(shared_data / "uner_chinese" / "zh_gsdsimp-ud-train.iob2")
    lines = (shared_data / "uner_chinese" / "zh_gsdsimp-ud-train.iob2").read_text("utf-8")
    originals = [line[9:] for line in lines.split("\n") if line.startswith("# text = ")]
    assert [text.text for text in texts] == originals
    texts = read_entities(shared_data / "wnut17" / "train.conll")
    assert found(texts[0]) == [("Empire State Building", "location"), ("ESB", "location")]
    assert any(text.text.startswith("#") for text in texts)


def test_weibo_has_illegal_tags(shared_data):
    path = shared_data / "weibo_ner" / "train.json"
    with pytest.raises(DataError, match=r"line 34: at the word '小'.* look like BIOS"):
        read_entities(path)
    texts = read_entities(path, repair_tags=True)
    assert len(texts) == 1350
    assert sum(len(text.entities) for text in texts) == 1895
    for text in texts:
        check_words(text)
