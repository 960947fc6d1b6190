"""Text generation: what is learned, what is written, and the same in every format."""

import json
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from spanbert_tf import SpanBertBackbone, SpanBertTokenizer, load_task
from spanbert_tf.cli.main import main
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.text_pairs import TextPair
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from spanbert_tf.export.text_task import KerasTask
from spanbert_tf.features import GENERATED_IDS, GENERATED_SCORES
from spanbert_tf.layers.attention import attention_bias
from spanbert_tf.layers.next_pieces import NEVER
from spanbert_tf.models.graphs import asked_once
from spanbert_tf.models.optimizers import build_optimizer
from spanbert_tf.tasks.decoders.generated_texts import GeneratedText, TextWriter
from spanbert_tf.tasks.seq_2_seq_lm import (
    SpanBertSeq2SeqLM,
    SpanBertSeq2SeqLMPreprocessor,
    TextGeneration,
)
from tests.checkpoints.foreign_folders import write_checkpoint
from tests.layer_checks import as_numpy, randomize
from tests.served_tensors import CApi, assert_same_tensors

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = list("abcdefgh")
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{x}" for x in LETTERS), ".", ",", "'", "-", "s", "中"]
TEXTS = ["a b c.", "", "h", "中中 ab cd", "fed, cba - g", "z", "a" * 60]


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(VOCABULARY, lowercase=True)


def make_writer(tokenizer: SpanBertTokenizer, **options: Any) -> SpanBertSeq2SeqLM:
    keras.utils.set_random_seed(0)
    encoder = options.pop("encoder", {})
    # Rows without a piece, as published encoders have them.
    backbone = SpanBertBackbone(
        len(VOCABULARY) + 3, 2, 2, 16, 24, max_sequence_length=20, dropout=0.0, **encoder
    )
    length = 80 if encoder else 20
    options = {"num_layers": 2, "target_length": 10, "dropout": 0.0, **options}
    preprocessor = SpanBertSeq2SeqLMPreprocessor(tokenizer, sequence_length=length)
    return SpanBertSeq2SeqLM(backbone, preprocessor, **options)


def make_random(writer: SpanBertSeq2SeqLM) -> None:
    """Weights by which texts differ: of no piece's bias."""
    randomize(writer, seed=4, scale=0.9)
    bias = writer.text_decoder.logits_bias
    bias.assign(np.zeros(bias.shape))


@pytest.fixture(scope="module")
def writer(tokenizer: SpanBertTokenizer) -> SpanBertSeq2SeqLM:
    """One of random weights, that follows three texts."""
    writer = make_writer(tokenizer, search={"num_beams": 3, "no_repeat_ngram": 2})
    make_random(writer)
    return writer


def assert_same(found: list[Any], expected: list[Any]) -> None:
    found, expected = (
        [one for of in sides for one in (of if isinstance(of, list) else [of])]
        for sides in (found, expected)
    )
    assert [of.generated_text for of in found] == [of.generated_text for of in expected]
    np.testing.assert_allclose([of.score for of in found], [of.score for of in expected], atol=1e-4)


def test_few_texts_are_answered_as_many_and_as_one(writer: SpanBertSeq2SeqLM):
    few = writer.generate(TEXTS)
    assert [bool(answer.generated_text) for answer in few] == [bool(text) for text in TEXTS]
    assert few[1] == GeneratedText("", 0.0)
    assert len({answer.generated_text for answer in few}) > 3
    assert_same(writer.generate(TEXTS * 2), few * 2)
    assert_same([writer.generate(TEXTS[3])], few[3:4])
    best = writer.generate(TEXTS, num_answers=3)
    assert_same([answers[0] for answers in best], few)
    for answers in best:
        scores = [answer.score for answer in answers]
        assert scores == sorted(scores, reverse=True)
        assert len({answer.generated_text for answer in answers}) == len(answers)
    assert [len(answers) for answers in best] == [1 if text == "" else 3 for text in TEXTS]


def test_greedy_texts_are_those_of_the_decoder_as_a_whole(writer: SpanBertSeq2SeqLM):
    """Without caches, each piece from a fresh look at all before it."""
    tokenizer, decoder = writer.preprocessor.tokenizer, writer.text_decoder
    features = writer.preprocessor(TEXTS[:1])
    memory = writer(features)["source_states"]
    bias = attention_bias(features["padding_mask"])
    never = np.isin(np.arange(len(VOCABULARY) + 3), [0, 1, 2, 4, *len(VOCABULARY) + np.arange(3)])
    ids, total = [tokenizer.cls_token_id], 0.0
    while len(ids) <= writer.target_length and ids[-1] != tokenizer.sep_token_id:
        # With pieces after it, which none before them sees.
        whole = np.array([[*ids, *[7] * (writer.target_length - len(ids))]])
        states = decoder(whole, memory, bias)[:, len(ids) - 1]
        scores = log_softmax(as_numpy(decoder.logits(states)))[0]
        ids.append(int(np.where(never, -np.inf, scores).argmax()))
        total += scores[ids[-1]]
    search = {"num_beams": 1, "no_repeat_ngram": 0, "length_penalty": 2.0}
    answer = writer.generate(TEXTS[0], **search)
    assert answer.score == pytest.approx(total / ((5 + len(ids) - 1) / 6) ** 2, abs=1e-4)
    pieces = [VOCABULARY[i].removeprefix("##") for i in ids[1:] if i != tokenizer.sep_token_id]
    assert answer.generated_text.replace(" ", "") == "".join(pieces)
    short = writer.generate(TEXTS[0], max_length=2, **search)
    assert short.generated_text.replace(" ", "") == "".join(pieces[:2])


def test_drawn_texts_depend_on_the_text_and_the_seed_alone(writer: SpanBertSeq2SeqLM):
    drawn = writer.generate(TEXTS, top_p=0.9, temperature=1.5, seed=3, num_answers=2)
    again = writer.generate(TEXTS[::-1] * 2, top_p=0.9, temperature=1.5, seed=3, num_answers=2)
    assert_same(again[: len(TEXTS)], drawn[::-1])
    other = writer.generate(TEXTS, top_p=0.9, temperature=1.5, seed=4, num_answers=2)
    assert [a[0].generated_text for a in other] != [a[0].generated_text for a in drawn]


def test_names_of_a_use(tokenizer: SpanBertTokenizer):
    """In Keras, and as exports have them: of the decoder that they keep."""
    writer = make_writer(tokenizer, use="summarization")
    assert SpanBertSeq2SeqLM.from_config(writer.get_config()).use == "summarization"
    for model in (writer, KerasTask(writer)):
        found = model.summarize(TEXTS[:2], max_length=4)
        assert_same(found, writer.generate(TEXTS[:2], max_length=4))
        with pytest.raises(
            ValueError, match="`translate` is for models with `use='translation'`, b"
        ):
            model.translate("a")
    stored = json.loads(json.dumps(writer.decoder.to_json()))
    assert TextWriter.from_json(stored) == writer.decoder
    del stored["use"]  # Exports of before have none.
    with pytest.raises(ValueError, match="but this one has none; `generate`"):
        TextWriter.from_json(stored).check_use("summarize", "summarization")
    with pytest.raises(ValueError, match=r"`use` must be one of .*, or None, but is 'poetry'"):
        make_writer(tokenizer, use="poetry")


def test_loss_is_the_mean_over_pieces(writer: SpanBertSeq2SeqLM):
    sources, targets = ["a b", "c", "d e f"], ["b a", "h g f e", ""]
    tokenizer, decoder = writer.preprocessor.tokenizer, writer.text_decoder
    losses, sizes = [], []
    for source, target in zip(sources, targets, strict=True):
        features = writer.preprocessor([source])
        pieces = [*tokenizer(target).numpy(), tokenizer.sep_token_id]
        before = np.array([[tokenizer.cls_token_id, *pieces]])
        bias = attention_bias(features["padding_mask"])
        states = decoder(before, writer(features)["source_states"], bias)
        logits = as_numpy(decoder.logits(states[0, :-1]))
        losses.append(-log_softmax(logits, axis=-1)[np.arange(len(pieces)), pieces].sum())
        sizes.append(len(pieces))
    expected = np.sum(losses) / np.sum(sizes)
    assert writer.evaluate(sources, targets, verbose=0) == pytest.approx(expected, rel=1e-4)
    weights = np.array([1.0, 0.5, 0.0])
    weighted = writer.evaluate(sources, targets, sample_weight=weights, verbose=0)
    expected = np.dot(losses, weights) / np.dot(sizes, weights)
    assert weighted == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_small_language_is_learned(tokenizer: SpanBertTokenizer):
    """Each letter becomes the next, in reverse order, in a vocabulary of its own."""
    following = dict(zip(LETTERS, "BCDEFGHI", strict=True))
    writer = make_writer(tokenizer, target_vocabulary=[*SPECIAL, *"BCDEFGHI"], num_layers=1)
    sources = [f"{a} {b}" for a in LETTERS for b in LETTERS]
    targets = [f"{following[b]} {following[a]}" for a in LETTERS for b in LETTERS]
    writer.compile(keras.optimizers.Adam(1e-2))
    writer.fit(sources, targets, batch_size=32, epochs=60, seed=1, verbose=0)
    answers = writer.generate(sources, num_beams=2)
    right = [a.generated_text == b for a, b in zip(answers, targets, strict=True)]
    assert np.mean(right) > 0.9


def test_the_encoders_embedding_is_shared(writer: SpanBertSeq2SeqLM):
    embedding = writer.backbone.token_embedding.embeddings
    assert writer.text_decoder.token_embedding.embeddings is embedding
    assert all(variable is not embedding for variable in writer.head_variables)
    assert sum(variable is embedding for variable in writer.trainable_variables) == 1
    names = {variable.path.split("/")[-2] for variable in writer.head_variables}
    assert {"query_dense", "key_value_dense", "qkv_dense", "text_decoder"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_presets_and_files_have_all_of_it(tokenizer: SpanBertTokenizer, own: bool, tmp_path: Path):
    """A preset of the encoder's vocabulary; a `.keras` file with another."""
    options = {"target_vocabulary": [*SPECIAL, "Ja", "Nein", "##s"]} if own else {}
    writer = make_writer(tokenizer, search={"num_beams": 2, "min_length": 2}, **options)
    make_random(writer)
    if own:
        build_optimizer(writer)
        writer.save(tmp_path / "writer.keras")
        loaded = keras.models.load_model(tmp_path / "writer.keras")
    else:
        writer.save_to_preset(str(tmp_path))
        loaded = keras_hub.models.Seq2SeqLM.from_preset(str(tmp_path))
    assert type(loaded) is SpanBertSeq2SeqLM
    assert loaded.get_config()["search"] == writer.get_config()["search"]
    assert_same(loaded.generate(TEXTS), writer.generate(TEXTS))


@pytest.mark.slow
def test_saved_model_answers_as_keras(writer: SpanBertSeq2SeqLM, tmp_path: Path, c_api: CApi):
    export_task(writer, tmp_path / "1")
    served = load_task(tmp_path / "1")
    assert served.task == "text2text-generation"
    assert_same(served(TEXTS), writer.generate(TEXTS))
    outputs = served.answer_tensors(TEXTS)
    assert_same_tensors(c_api(tmp_path / "1", text=TEXTS), outputs, atol=1e-5)
    assert_same(served(TEXTS, num_answers=2), writer.generate(TEXTS, num_answers=2))
    with pytest.raises(ValueError, match="`num_beams` is a part of an export, here 3"):
        served(TEXTS, num_beams=4)
    with pytest.raises(ValueError, match="exports for LiteRT cannot"):
        export_litert(writer, tmp_path / "litert")


def test_documents_of_bucketed_attention(tokenizer: SpanBertTokenizer):
    encoder = {"attention": "bucketed", "block_size": 8, "long_positions": "restart"}
    writer = make_writer(tokenizer, encoder=encoder)
    make_random(writer)
    long = " ".join(np.random.default_rng(0).choice(LETTERS, 70))
    few = writer.generate([long, "a b"])
    with asked_once():
        assert_same(writer.generate([long, "a b"]), few)
    assert_same(writer.generate([long, "a b"] * 5), few * 5)
    assert few[0].score != writer.generate([long[:30], "a b"])[0].score


def test_spacing_in_python_and_in_the_graph():
    pieces = [
        "a",
        "man",
        "'",
        "s",
        "hat",
        ",",
        "3",
        ".",
        "5",
        "T",
        "-",
        "Shirt",
        "(",
        ")",
        "##chen",
    ]
    vocabulary = (*SPECIAL, *pieces, "中", "文", "…", "##", "!")
    number = {piece: place for place, piece in enumerate(vocabulary)}
    texts = {
        "a man ' s hat , a T - Shirt ( 3 . 5 ) ! [SEP]": "a man's hat, a T-Shirt (3.5)!",
        "##chen man ##chen … [SEP]": "chen manchen…",
        "3 . 5 . 3 , 3 [SEP]": "3.5.3,3",
        "中 文 a 中 , 3 [SEP]": "中文a中, 3",
        "## a ' man [SEP]": "## a ' man",
        "[SEP]": "",
    }
    ids = np.full((len(texts), 1, 17), -1, np.int32)
    for row, text in enumerate(texts):
        of_text = [number[piece] for piece in text.split()]
        ids[row, 0, : len(of_text)] = of_text
    decoded = {GENERATED_IDS.name: ids, GENERATED_SCORES.name: np.full((len(texts), 1), -1.0)}
    decoder = TextWriter(vocabulary=vocabulary)
    answers = decoder.answers(decoded, None, ())
    assert [answer.generated_text for answer in answers] == list(texts.values())
    tensors = {name: tf.constant(of, of.dtype) for name, of in decoded.items()}
    outputs = decoder.serve(tensors, None, ())
    assert decoder.served({name: x.numpy() for name, x in outputs.items()}) == answers
    assert TextWriter.from_json(json.loads(json.dumps(decoder.to_json()))) == decoder
    # Where there is no text there is no answer.
    decoded[GENERATED_SCORES.name][0] = NEVER
    assert decoder.answers(decoded, None, ())[0] == GeneratedText("", 0.0)


def test_what_cannot_be(writer: SpanBertSeq2SeqLM, tokenizer: SpanBertTokenizer):
    for options, message in (
        ({"num_answers": 4}, "`num_answers` must be at most `num_beams`, 3, but is 4"),
        ({"num_beams": 40}, "`num_beams` must be at most 22, the number of word pieces"),
        ({"max_length": 11}, "`max_length` must be at most 10, the task's `target_length`"),
        ({"min_length": 10}, "`min_length` must be below 10, the most pieces of a text"),
        ({"top_p": 2.0}, "`top_p` must be above 0 and 1 at most"),
    ):
        with pytest.raises(ValueError, match=message):
            writer.generate("a", **options)
    with pytest.raises(TypeError, match="temprature"):
        writer.generate("a", temprature=1.0)
    with pytest.raises(ValueError, match=r"`y`\[0\] must have at most 9 word pieces"):
        writer.fit(["a"], ["a b c d e f g h a b"])
    with pytest.raises(DataError, match=r"a.tsv, line 7: expected a target of at most 9 word pie"):
        writer.assess([TextPair("a", "b" * 20, 7, "a.tsv")])
    with pytest.raises(ValueError, match="`sampler` is not used"):
        writer.compile(sampler="beam")
    with pytest.raises(ValueError, match="`label_smoothing` must be from 0 to below 1"):
        make_writer(tokenizer, label_smoothing=1.0)


@pytest.mark.slow
def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any):
    """Fine-tuned with an adapter, evaluated, and asked alike in all formats."""
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "hf")
    rows = "".join(f"w{i} w{i + 1}\tw{i + 1}\n" for i in range(1, 5)) * 5
    Path("train.tsv").write_text(f"source\ttarget\n{rows}")
    fast = "--epochs 1 --batch-size 4 --sequence-length 8 --target-length 6 --decoder-layers 1"
    command = (
        f"finetune --task text2text-generation --train train.tsv --encoder hf --output P {fast}"
    )
    more = "--lora-rank 2 --num-beams 2 --use translation"
    assert main([*command.split(), *more.split()]) == 0
    assert "validation, 2: bleu" in capsys.readouterr().out

    answers = []
    for model in ("P/saved_model/1", "P/adapter"):
        assert main(["predict", model, "w1 w2", "w3", "--num-answers", "2", "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0][0]["text"] == "w1 w2"
    assert len(answers[0][0]["answers"]) == 2
    served, adapted = ([GeneratedText(**x) for of in one for x in of["answers"]] for one in answers)
    assert_same(served, adapted)
    assert_same([load_task("P/saved_model/1").translate("w3")], served[2:3])

    assert (
        main(["evaluate", "P/saved_model/1", "--data", "train.tsv", "--output", "rows.jsonl"]) == 0
    )
    assert "20 texts: bleu" in capsys.readouterr().out
    row = json.loads(Path("rows.jsonl").read_text().splitlines()[0])
    assert row["text"] == "w1 w2"
    assert row["gold"] == "w2"
    assert row["right"] == (row["answer"]["generated_text"] == "w2")


def test_settings_have_those_of_the_search():
    assert TextGeneration(num_beams=3).num_beams == 3
    with pytest.raises(ValueError, match="`target_length` must be at least 2"):
        TextGeneration(target_length=1)
