"""The text embedder: its vectors, what it learns from, and the same in every format."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertTextEmbedder,
    SpanBertTextEmbedderPreprocessor,
    SpanBertTokenizer,
    load_embedder,
    load_task,
)
from spanbert_tf.cli.main import main
from spanbert_tf.data.batching.rows import trimmed
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.text_tuples import TextTuple
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.serving import export_task
from spanbert_tf.models.gradient_cache import cached_gradients
from spanbert_tf.models.random_state import seed_generators
from spanbert_tf.tasks.text_embedder import EmbeddingFiles, TextEmbedding
from spanbert_tf.training import finetune
from tests.layer_checks import randomize
from tests.served_tensors import CApi, assert_same_tensors

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
LENGTH, HIDDEN, WIDTH = 16, 8, 6
TEXTS = ["a b c", "", "d", "e f g h i j k l m n o p q r s t u v w", "z z"]
ANCHORS, POSITIVES = ["a b", "c", "d e f", "g"], ["h i", "j k l", "m", "j k l"]
PAIRS = [TextTuple(of) for of in zip(ANCHORS, POSITIVES, strict=True)]
SCORES = [0.1, 0.9, 0.4, 0.6]
SCORED = [replace(pair, score=score) for pair, score in zip(PAIRS, SCORES, strict=True)]


@pytest.fixture(scope="module")
def tokenizer() -> SpanBertTokenizer:
    return SpanBertTokenizer(VOCABULARY)


def make_backbone(dropout: float = 0.0, hidden: int = HIDDEN) -> SpanBertBackbone:
    keras.utils.set_random_seed(0)
    size = len(VOCABULARY), 1, 2, hidden, 12
    return SpanBertBackbone(*size, dropout=dropout, max_sequence_length=LENGTH)


def make_embedder(
    tokenizer: SpanBertTokenizer, dropout: float = 0.0, **options
) -> SpanBertTextEmbedder:
    """One of random weights; those of the same options are the same."""
    preprocessor = SpanBertTextEmbedderPreprocessor(tokenizer, LENGTH)
    embedder = SpanBertTextEmbedder(make_backbone(dropout), preprocessor, **options)
    randomize(embedder, seed=1)
    return embedder


@pytest.fixture(scope="module")
def embedder(tokenizer: SpanBertTokenizer) -> SpanBertTextEmbedder:
    """Tests do not change it."""
    return make_embedder(tokenizer, projection_dim=WIDTH, temperature=0.5)


def vector_by_hand(embedder: SpanBertTextEmbedder, text: str) -> np.ndarray:
    """Of a text alone, so that there is no padding to leave out."""
    pieces = [2, *(VOCABULARY.index(letter) for letter in text.split()), 3]
    ids = np.array([[*pieces[: LENGTH - 1], 3][: len(pieces)]], "int32")
    features = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": 0 * ids + 1}
    states = np.asarray(embedder.backbone(features)["sequence_output"])[0]
    vector = states.mean(axis=0)
    if embedder.projection is not None:
        kernel, bias = map(np.asarray, embedder.projection.get_weights())
        vector = vector @ kernel + bias
    return vector / np.linalg.norm(vector)


def test_vectors_are_means_of_states_projected_and_of_length_1(
    embedder: SpanBertTextEmbedder, tokenizer: SpanBertTokenizer
):
    expected = np.array([vector_by_hand(embedder, text) for text in TEXTS])
    vectors = embedder.encode_text(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert vectors.dtype == np.float32
    many = embedder.encode_text(TEXTS * 3)  # Sorted by length, in batches.
    np.testing.assert_allclose(many, np.tile(expected, (3, 1)), atol=1e-5)
    np.testing.assert_allclose(embedder.encode_text(TEXTS[0]), expected[0], atol=1e-5)
    np.testing.assert_allclose(embedder.predict(TEXTS, verbose=0), expected, atol=1e-5)
    assert embedder.encode_text([]).shape == (0, WIDTH)

    without = make_embedder(tokenizer)
    np.testing.assert_allclose(
        without.encode_text(TEXTS[:1])[0], vector_by_hand(without, TEXTS[0]), atol=1e-5
    )
    cut = embedder.encode_text(TEXTS, dimensions=2)
    first = expected[:, :2] / np.linalg.norm(expected[:, :2], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, first, atol=1e-5)
    with pytest.raises(ValueError, match="`dimensions` must be from 1 to 6"):
        embedder.encode_text(TEXTS, dimensions=7)


def test_similarities_are_cosines(embedder: SpanBertTextEmbedder):
    vectors = embedder.encode_text(TEXTS)
    expected = vectors @ vectors.T
    np.testing.assert_allclose(embedder.similarity(TEXTS, TEXTS), expected, atol=1e-5)
    row = embedder.similarity(TEXTS[0], 3 * vectors)
    np.testing.assert_allclose(row, expected[0], atol=1e-5)
    assert embedder.similarity("a b c", "d") == pytest.approx(expected[0, 2], abs=1e-5)
    with pytest.raises(ValueError, match="of one width, got 6 and 2"):
        embedder.similarity("a", np.ones((1, 2)))


@pytest.mark.slow
def test_losses_are_those_of_the_vectors(
    embedder: SpanBertTextEmbedder, tokenizer: SpanBertTokenizer
):
    embedder.compile()
    left, right = embedder.encode_text(ANCHORS), embedder.encode_text(POSITIVES)
    cosines = left @ right.T
    # The second and the last pair have the same text: no negatives of one another.
    is_known = np.eye(4, dtype=bool)
    is_known[[1, 3], [3, 1]] = True
    odds = np.exp(cosines / 0.5)
    ranking = -np.log(np.diag(odds) / (np.diag(odds) + np.where(is_known, 0, odds).sum(1)))
    loss = embedder.evaluate((ANCHORS, POSITIVES), verbose=0)
    assert loss == pytest.approx(ranking.mean(), rel=1e-4)
    weighted = embedder.evaluate(
        (ANCHORS, POSITIVES), sample_weight=np.array([1, 0, 0, 3.0]), verbose=0
    )
    assert weighted == pytest.approx((ranking[0] + 3 * ranking[3]) / 4, rel=1e-4)

    topics = ["x", "y", "x", "z"]  # Equal texts of two topics are no negatives either.
    is_known[[0, 2], [2, 0]] = True
    of_topics = -np.log(np.diag(odds) / (np.diag(odds) + np.where(is_known, 0, odds).sum(1)))
    loss = embedder.evaluate((ANCHORS, POSITIVES), topics, verbose=0)
    assert loss == pytest.approx(of_topics.mean(), rel=1e-4)

    loss = embedder.evaluate((ANCHORS, POSITIVES), SCORES, verbose=0)
    assert loss == pytest.approx(np.mean((np.diag(cosines) - SCORES) ** 2), rel=1e-4)
    assert embedder.assess(SCORED)["loss"] == pytest.approx(loss, rel=1e-4)

    teacher = np.random.default_rng(0).standard_normal((4, 2, WIDTH)).astype("float32")
    unit = teacher / np.linalg.norm(teacher, axis=2, keepdims=True)
    far = 1 - np.mean([(left * unit[:, 0]).sum(1), (right * unit[:, 1]).sum(1)])
    loss = embedder.evaluate((ANCHORS, POSITIVES), teacher, verbose=0)
    assert loss == pytest.approx(ranking.mean() + far, rel=1e-4)
    heeding = make_embedder(tokenizer, projection_dim=WIDTH, temperature=0.5, teacher_weight=3.0)
    heeding.compile()
    loss = heeding.evaluate((ANCHORS, POSITIVES), teacher, verbose=0)
    assert loss == pytest.approx(ranking.mean() + 3 * far, rel=1e-4)
    records = [
        replace(r, vectors=v, topic=t) for r, v, t in zip(PAIRS, teacher, topics, strict=True)
    ]
    assert embedder.assess(records)["loss"] == pytest.approx(of_topics.mean() + far, rel=1e-4)
    loss = embedder.evaluate(ANCHORS, teacher[:, 0], verbose=0)
    assert loss == pytest.approx(1 - (left * unit[:, 0]).sum(1).mean(), rel=1e-4)

    # Negatives of their own are candidates too.
    negatives = ["n", "o", "p", "q"]
    more = np.exp(left @ embedder.encode_text(negatives).T / 0.5).sum(1)
    is_known[[0, 2], [2, 0]] = False
    others = np.where(is_known, 0, odds).sum(1) + more
    loss = embedder.evaluate((ANCHORS, POSITIVES, negatives), verbose=0)
    assert loss == pytest.approx(-np.log(np.diag(odds) / (np.diag(odds) + others)).mean(), rel=1e-4)


def test_prefixes_of_vectors_have_losses_of_their_own(
    embedder: SpanBertTextEmbedder, tokenizer: SpanBertTokenizer
):
    options = {"projection_dim": WIDTH, "temperature": 0.5}
    nested = make_embedder(tokenizer, **options, dimensions=[2, 4, WIDTH])
    nested.compile()
    expected = 0.0
    for width in (2, 4, WIDTH):
        left, right = (nested.encode_text(x, dimensions=width) for x in (ANCHORS, POSITIVES))
        odds = np.exp(left @ right.T / 0.5)
        odds[[1, 3], [3, 1]] = 0
        expected -= np.log(np.diag(odds) / odds.sum(1)).mean()
    loss = nested.evaluate((ANCHORS, POSITIVES), verbose=0)
    assert loss == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="`dimensions` must be 6 at most"):
        make_embedder(tokenizer, **options, dimensions=[2, 7])


def test_batches_keep_the_texts_of_a_record_together(embedder: SpanBertTextEmbedder):
    texts = [f"{one} {two}" for one in "abcdef" for two in "uvwxyz"]
    others = [text[::-1] + " a" * (number % 5) for number, text in enumerate(texts)]
    rows = embedder.encode([texts, others], [""] * len(texts))
    seen = []
    for features, targets in embedder.training_batches(rows, 8, seed=3).dataset():
        ids = features["token_ids"].numpy()
        half = len(ids) // 2
        assert targets["text_numbers"].shape == (half, 3)
        for one, other in zip(ids[:half], ids[half:], strict=True):
            assert one[[1, 2]].tolist() == other[[2, 1]].tolist()
            seen.append(tuple(one[1:3].tolist()))
    assert len(set(seen)) == len(seen) == len(texts)


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 100])
def test_gradients_by_parts_are_those_of_the_whole_batch(tokenizer: SpanBertTokenizer, size: int):
    options = {"temperature": 0.5, "symmetric": True}
    whole, by_parts = (
        make_embedder(tokenizer, **options, micro_batch_size=part) for part in (None, size)
    )
    losses = []
    for one in (whole, by_parts):
        one.compile(keras.optimizers.SGD(0.1))
        history = one.fit((ANCHORS, POSITIVES), batch_size=4, epochs=2, seed=0, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for one, other in zip(whole.get_weights(), by_parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    before = make_embedder(tokenizer, **options).get_weights()
    moved = zip(before, whole.get_weights(), strict=True)
    assert max(np.abs(one - other).max() for one, other in moved) > 1e-3


def test_texts_of_a_record_are_padded_apart(tokenizer: SpanBertTokenizer, monkeypatch):
    """Questions are not as long as what answers them; what is learned stays the same."""
    questions, answers = ["a b", "c", "d e"], ["u v w x y z", "v w", "w x y"]
    apart, together = (make_embedder(tokenizer, temperature=0.5) for _ in range(2))
    monkeypatch.setattr(together, "train_step", super(type(together), together).train_step)
    seen = []
    embed = apart.backbone.checked_ids.call

    def record(ids: Any) -> Any:
        seen.append(tf.shape(ids))
        return embed(ids)

    for one in (apart, together):
        one.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    monkeypatch.setattr(apart.backbone.checked_ids, "call", record)
    losses = [
        one.fit((questions, answers), batch_size=3, epochs=2, seed=0, verbose=0).history["loss"]
        for one in (apart, together)
    ]
    assert {tuple(shape.numpy()) for shape in seen} == {(3, 4), (3, 8)}
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for one, other in zip(apart.get_weights(), together.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    # An evaluation has the batch as it is.
    expected = together.evaluate((questions, answers), verbose=0)
    assert apart.evaluate((questions, answers), verbose=0) == pytest.approx(expected, rel=1e-5)


def test_the_second_run_over_a_part_has_the_dropout_of_the_first(tokenizer: SpanBertTokenizer):
    embedder = make_embedder(tokenizer, dropout=0.5)
    rows = embedder.encode([ANCHORS])
    features = embedder.batches_of(rows).only_batch(in_row_order=True)
    states = [generator.value for generator in seed_generators(embedder)]
    assert states
    before = [state.numpy() for state in states]

    def loss_of(vectors: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(vectors[:2] * vectors[2:] ** 2)

    loss, gradients = cached_gradients(embedder, features, loss_of, 2, lambda loss: loss)
    after = [state.numpy() for state in states]
    # By hand: one tape over both parts, from the same state.
    for state, value in zip(states, before, strict=True):
        state.assign(value)
    variables = [variable.value for variable in embedder.trainable_variables]
    with tf.GradientTape() as tape:
        parts = [trimmed({name: of[at : at + 2] for name, of in features.items()}) for at in (0, 2)]
        vectors = [embedder(part, training=True) for part in parts]
        expected = loss_of(tf.concat(vectors, axis=0))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    by_hand = tape.gradient(expected, variables, unconnected_gradients="zero")
    for one, other in zip(gradients, by_hand, strict=True):
        np.testing.assert_allclose(one, tf.convert_to_tensor(other), atol=1e-5)
    for state, value in zip(states, after, strict=True):
        np.testing.assert_array_equal(state.numpy(), value)


@pytest.fixture(scope="module")
def exports(embedder: SpanBertTextEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    export_task(embedder, folder / "1")
    export_litert(embedder, folder / "lite")
    embedder.save_to_preset(str(folder / "preset"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1", "lite", "preset"])
def test_exports_give_the_same_vectors(embedder: SpanBertTextEmbedder, exports: Path, name: str):
    expected = embedder.encode_text(TEXTS)
    task = load_task(exports / name)
    assert task.task == "text-embedding"
    for vectors in (
        task(TEXTS),
        task.encode_text(TEXTS * 2)[:5],
        load_embedder(exports / name)(TEXTS),
    ):
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert task.similarity("a b c", "d") == pytest.approx(
        float(expected[0] @ expected[2]), abs=1e-5
    )
    short = embedder.encode_text(TEXTS, dimensions=2)
    np.testing.assert_allclose(task(TEXTS, dimensions=2), short, atol=1e-5)
    for records in (PAIRS, SCORED):
        figures = {**embedder.assess(records)}
        del figures["loss"]
        found = task.assess(records)
        assert {key: found[key] for key in figures} == pytest.approx(figures, abs=1e-6)


@pytest.mark.slow
def test_served_vectors_and_keras_hubs_classes(
    embedder: SpanBertTextEmbedder, exports: Path, c_api: CApi
):
    served = tf.saved_model.load(str(exports / "1")).signatures["serving_default"]
    outputs = served(text=tf.constant(TEXTS))
    expected = embedder.encode_text(TEXTS)
    np.testing.assert_allclose(outputs["vectors"], expected, atol=1e-5)
    assert_same_tensors(c_api(exports / "1", text=TEXTS), outputs, atol=1e-5)
    found = keras_hub.models.TextEmbedder.from_preset(str(exports / "preset"))
    assert isinstance(found, SpanBertTextEmbedder)
    assert found.get_config().keys() == embedder.get_config().keys()
    assert (found.temperature, found.projection_dim) == (0.5, WIDTH)
    np.testing.assert_array_equal(found.encode_text(TEXTS), expected)


@pytest.mark.slow
def test_the_command_line_embeds_and_scores(
    embedder: SpanBertTextEmbedder,
    exports: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    model = str(exports / "preset")
    assert main(["predict", model, "--json", "a b c", "d"]) == 0
    answers = json.loads(capsys.readouterr().out)
    expected = embedder.encode_text(["a b c", "d"])
    np.testing.assert_allclose([one["vector"] for one in answers], expected, atol=1e-5)
    assert main(["predict", model, "--dimensions", "2", "a b c"]) == 0
    assert capsys.readouterr().out.strip().endswith("... (2 numbers)  a b c")

    lines = [f"{a}\t{b}\n" for a, b in zip(ANCHORS, POSITIVES, strict=True)]
    (tmp_path / "pairs.tsv").write_text("anchor\tpositive\n" + "".join(lines))
    words = ["--data", str(tmp_path / "pairs.tsv"), "--output", str(tmp_path / "rows.jsonl")]
    assert main(["evaluate", model, *words]) == 0
    assert "among 3 different ones" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["text"], row["pair"], row["gold"]) for row in rows] == [
        (a, b, b) for a, b in zip(ANCHORS, POSITIVES, strict=True)
    ]
    ranks = [row["answer"]["rank"] for row in rows]
    assert [row["right"] for row in rows] == [rank == 1 for rank in ranks]
    assert embedder.assess(PAIRS)["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)))


def make_records(count: int, seed: int = 0) -> list[TextTuple]:
    """A letter in one text belongs to another letter in the other; the rest is noise."""
    generator = np.random.default_rng(seed)
    records = []
    for line in range(count):
        number = int(generator.integers(8))
        noise = generator.choice(LETTERS[16:], 4)
        texts = f"{noise[0]} {LETTERS[number]} {noise[1]}", f"{noise[2]} {LETTERS[8 + number]}"
        records.append(TextTuple(texts, None, str(number), line + 1, "made"))
    return records


@pytest.fixture(scope="module")
def encoder(tokenizer: SpanBertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    make_backbone().save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


FAST = {"learning_rate": 1e-2, "head_learning_rate": 1e-2, "sequence_length": LENGTH, "seed": 1}


@pytest.mark.slow
def test_finetune_learns_pairs_and_keeps_its_best(encoder: Path, tmp_path: Path):
    test = [replace(record, topic="") for record in make_records(400, seed=5)]
    # One of each: what stands in the one text tells the other.
    test = list({record.texts[0].split()[1]: record for record in test}.values())
    result = finetune(
        TextEmbedding(epochs=14, batch_size=32, dimensions="4", micro_batch_size=16, **FAST),
        make_records(320),
        validation=test,
        task="text-embedding",
        test=test,
        encoder=encoder,
        output=tmp_path / "preset",
        verbose=0,
    )
    assert set(result.validation) == {"recall_at_1", "mrr", "loss"}
    assert result.test["recall_at_1"] == max(of["val_recall_at_1"] for of in result.history) > 0.8
    kept = json.loads((tmp_path / "preset" / "metrics.json").read_text())
    assert kept["head"]["dimensions"] == [4]
    task = load_task(tmp_path / "preset")
    assert task.model.dimensions == (4,)
    near = task.similarity("q a r", ["s i", "t j", "u k", "v l"])
    assert near.argmax() == 0


@pytest.mark.slow
def test_a_teachers_vectors_are_learned(
    embedder: SpanBertTextEmbedder,
    encoder: Path,
    exports: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    generator = np.random.default_rng(0)
    lines = [" ".join(generator.choice(LETTERS, 3)) + "\n" for _ in range(120)]
    (tmp_path / "texts.txt").write_text("".join(lines))
    teacher = str(exports / "preset")
    read = SpanBertTextEmbedder.read(tmp_path / "texts.txt")
    expected = embedder.encode_text([record.texts[0] for record in read])
    of_teacher = SpanBertTextEmbedder.taught(read, load_embedder(teacher))
    np.testing.assert_allclose([record.vectors[0] for record in of_teacher], expected, atol=1e-5)
    of_others = float((expected[1:] * expected[:-1]).sum(1).mean())
    settings = TextEmbedding(
        epochs=12,
        batch_size=16,
        learning_rate=1e-2,
        projection_dim=WIDTH,
        sequence_length=LENGTH,
        teacher=teacher,
    )
    options = {"task": "text-embedding", "encoder": encoder, "verbose": 0}
    result = finetune(settings, read, output=tmp_path / "preset", **options)
    assert result.validation["teacher_similarity"] > max(0.9, of_others)
    assert result.train_size == 108
    # A teacher of another width is refused before anything is trained.
    with pytest.raises(ValueError, match="have 6 numbers, and those to be learned 5"):
        finetune(replace(settings, projection_dim=5), read, output=tmp_path / "no", **options)
    # Without a teacher there is nothing to score.
    words = ["evaluate", str(tmp_path / "preset"), "--data", str(tmp_path / "texts.txt")]
    assert main([*words, "--teacher", teacher, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["teacher_similarity"] > 0.9
    assert main(words) == 1
    assert "a text alone has nothing to be scored by" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_of_text_is_enough(encoder: Path, tmp_path: Path):
    generator = np.random.default_rng(0)
    (tmp_path / "texts").mkdir()
    documents = [" ".join(generator.choice(LETTERS[at : at + 3], 80)) for at in range(0, 24, 2)]
    (tmp_path / "texts" / "a.txt").write_text("\n\n".join(documents * 3))
    read = SpanBertTextEmbedder.read(tmp_path / "texts", EmbeddingFiles(span_characters=30))
    # 36 documents of 159 characters give two pairs each.
    assert len(read) == 72
    result = finetune(
        TextEmbedding(epochs=2, batch_size=8, symmetric=True, lora_rank=2, **FAST),
        read,
        adapter=tmp_path / "adapter",
        task="text-embedding",
        encoder=encoder,
        output=tmp_path / "preset",
        verbose=0,
    )
    assert set(result.validation) == {"recall_at_1", "mrr", "loss"}
    adapted = load_task(tmp_path / "adapter")(TEXTS)
    found = load_task(tmp_path / "preset").model
    np.testing.assert_allclose(found.encode_text(TEXTS), adapted, atol=1e-5)
    assert (found.symmetric, found.projection_dim) == (True, None)
    np.testing.assert_allclose(found.encode_text(TEXTS), result.model.encode_text(TEXTS), atol=1e-6)


def test_scores_decide_by_their_order(embedder: SpanBertTextEmbedder):
    cosines = np.diag(embedder.similarity(ANCHORS, POSITIVES))
    for sign in (1, -1):
        scores = (1 + sign * cosines) / 2
        records = [replace(r, score=float(s)) for r, s in zip(PAIRS, scores, strict=True)]
        assert embedder.assess(records)["spearman"] == pytest.approx(sign)
    assert embedder.figures_of({}, SCORED) == ("spearman",)
    answers = np.stack([embedder.encode_text(ANCHORS), embedder.encode_text(POSITIVES)], axis=1)
    told = embedder.given(list(answers), SCORED)
    np.testing.assert_allclose([one.similarity for one in told], cosines, atol=1e-5)
    assert [embedder.is_right(one, record) for one, record in zip(told, SCORED, strict=True)] == [
        None
    ] * 4


def test_any_encoder_embeds(encoder: Path, tokenizer: SpanBertTokenizer):
    plain = SpanBertTextEmbedder(make_backbone(), SpanBertTextEmbedderPreprocessor(tokenizer, 16))
    found = load_embedder(encoder)
    assert found.model.preprocessor.sequence_length == LENGTH
    np.testing.assert_allclose(found(TEXTS), plain.encode_text(TEXTS), atol=1e-6)
    records = SpanBertTextEmbedder.taught(PAIRS, found)
    np.testing.assert_allclose(
        [record.vectors[1] for record in records], plain.encode_text(POSITIVES), atol=1e-6
    )


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (["a"], None, "a text alone teaches nothing"),
        (["a"], ["x"], "a text alone teaches nothing"),
        ((["a"], ["b"]), [2.0], "scores from -1 to 1, of pairs"),
        ((["a"], ["b"], ["c"]), [0.5], "scores from -1 to 1, of pairs"),
        ((["a"], ["b"]), ["x", "y"], "`y` has the shape .2,., but there are 1 records"),
        ((["a"], ["b"]), np.ones((1, 3, 6)), r"expected vectors \[1, 2, 6\] as `y`, got"),
        (["a"], np.ones((1, 5)), "have 5 numbers, and those to be learned 6: `projection_dim` mu"),
        ((["a"], ["b"], ["c"], ["d"]), None, "one text to three at a time, got 4"),
        ((["a"], ["b", "c"]), None, "as many texts in each column"),
    ],
)
def test_what_teaches_nothing_is_refused(embedder: SpanBertTextEmbedder, x, y, message):
    embedder.compile()
    with pytest.raises(ValueError, match=message):
        embedder.fit(x, y, verbose=0)


def test_texts_are_read_on_their_own(embedder: SpanBertTextEmbedder):
    with pytest.raises(ValueError, match="text-embedding takes text, but got 2 texts"):
        embedder.encode_text((["a"], ["b"]))
    with pytest.raises(ValueError, match="an embedder reads each text on its own, but got 2"):
        embedder.preprocessor((["a"], ["b"]))
    with pytest.raises(ValueError, match="`predict` takes a list of texts, but got 2 columns"):
        embedder.predict((["a"], ["b"]))


def test_settings_are_checked():
    for dimensions in ("", "4,", "4,x", "0", "-1"):
        with pytest.raises(ValueError, match="`dimensions` must be numbers above 0"):
            TextEmbedding(dimensions=dimensions)
    texts = [TextTuple(("a",), vectors=np.ones((1, 4), "float32"))]
    head = SpanBertTextEmbedder.head_arguments
    assert head(texts, TextEmbedding())["dimensions"] == []
    with pytest.raises(ValueError, match="`dimensions` are learned from pairs"):
        head(texts, TextEmbedding(dimensions="2"))
    with pytest.raises(DataError, match="no texts"):
        head([], TextEmbedding())
    assert head(PAIRS, TextEmbedding(dimensions="2, 4"))["dimensions"] == [2, 4]
