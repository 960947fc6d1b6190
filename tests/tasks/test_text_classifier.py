"""The text classifier: preprocessing, the head, `fit` and `predict` on strings, presets."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenizer,
)
from spanbert_tf.models.optimizers import build_optimizer

LETTERS = list("abcdefgh")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "good", "bad", "so", "##so"]
CLS, SEP, A, B, GOOD, BAD = 2, 3, 5, 6, 13, 14


def make_preprocessor(sequence_length: int = 32, **options) -> SpanBertTextClassifierPreprocessor:
    tokenizer = SpanBertTokenizer(VOCABULARY)
    return SpanBertTextClassifierPreprocessor(tokenizer, sequence_length, **options)


def make_classifier(num_layers: int = 1, dtype=None, **options) -> SpanBertTextClassifier:
    backbone = SpanBertBackbone(
        len(VOCABULARY), num_layers, 2, 16, 24, max_sequence_length=32, dtype=dtype
    )
    options.setdefault("preprocessor", make_preprocessor())
    options.setdefault("class_names", ["negative", "positive"])
    return SpanBertTextClassifier(backbone, **options)


def make_texts(rows: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Letters with one word among them that tells the label."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, rows).tolist()
    texts = []
    for label in labels:
        words = generator.choice(LETTERS, generator.integers(0, 20)).tolist()
        words.insert(generator.integers(0, len(words) + 1), ["bad", "good"][label])
        texts.append(" ".join(words))
    return texts, labels


def fit(classifier: SpanBertTextClassifier, *data, **options) -> keras.callbacks.History:
    return classifier.fit(*data, **{"batch_size": 8, "verbose": 0, **options})


@pytest.fixture(scope="module")
def trained() -> SpanBertTextClassifier:
    """A classifier that has learned `make_texts`."""
    keras.utils.set_random_seed(0)
    classifier = make_classifier()
    classifier.compile(keras.optimizers.Adam(1e-2))
    fit(classifier, *make_texts(160), epochs=6, batch_size=16)
    return classifier


# Preprocessing.


def test_preprocessor_gives_what_the_docstring_says():
    features = make_preprocessor()(["good a", "b"])
    ids = features["token_ids"].numpy()
    assert ids.tolist() == [[CLS, GOOD, A, SEP, 0, 0, 0, 0], [CLS, B, SEP, 0, 0, 0, 0, 0]]
    assert features["padding_mask"].numpy().tolist() == (ids != 0).astype(int).tolist()
    assert features["segment_ids"].numpy().sum() == 0
    assert {feature.dtype for feature in features.values()} == {tf.int32}


def test_preprocessor_joins_pairs():
    preprocessor = make_preprocessor()
    pair = (["good", "a"], ["b", ""])
    features = preprocessor(pair)
    assert features["token_ids"].numpy()[:, :6].tolist() == [
        [CLS, GOOD, SEP, B, SEP, 0],
        [CLS, A, SEP, SEP, 0, 0],
    ]
    assert features["segment_ids"].numpy()[0, :6].tolist() == [0, 0, 0, 1, 1, 0]
    labelled, labels = preprocessor(pair, [1, 0])
    np.testing.assert_array_equal(labelled["token_ids"], features["token_ids"])
    assert labels.numpy().tolist() == [1, 0]


@pytest.mark.parametrize(
    "strings",
    [
        ["good a", "b"],
        np.array(["good a", "b"]),
        np.array([b"good a", b"b"]),
        np.array(["good a", "b"], object),
        tf.constant(["good a", "b"]),
    ],
    ids=["list", "unicode", "bytes", "object", "tensor"],
)
def test_preprocessor_takes_strings_in_any_form(strings):
    preprocessor = make_preprocessor()
    expected = [[CLS, GOOD, A, SEP], [CLS, B, SEP, 0]]
    assert preprocessor(strings)["token_ids"].numpy()[:, :4].tolist() == expected
    features, labels, weights = preprocessor(strings, np.array([0, 1]), np.array([0.5, 1.0]))
    assert features["token_ids"].numpy()[:, :4].tolist() == expected
    assert labels.numpy().tolist() == [0, 1]
    assert weights.numpy().tolist() == [0.5, 1.0]
    first, second = preprocessor((strings, strings))["token_ids"].numpy()[:, 3:6].tolist()
    assert (first, second) == ([SEP, GOOD, A], [B, SEP, 0])


def test_preprocessor_pads_to_the_smallest_bucket():
    long = " ".join(["a"] * 12)
    preprocessor = make_preprocessor(sequence_length=32)
    assert preprocessor(["a"])["token_ids"].shape == (1, 8)
    assert preprocessor(["a", long])["token_ids"].shape == (2, 16)
    assert preprocessor([long * 9])["token_ids"].shape == (1, 32)
    assert make_preprocessor(buckets=[10, 20])([long])["token_ids"].shape == (1, 20)
    assert make_preprocessor(buckets=[32])(["a"])["token_ids"].shape == (1, 32)


def test_preprocessor_pads_a_single_string_to_the_full_length():
    # So that `dataset.map(preprocessor).batch(2)` works, as it does with KerasHub's own.
    preprocessor = make_preprocessor()
    assert preprocessor("good")["token_ids"].shape == (32,)
    assert preprocessor(("good", "bad"))["segment_ids"].numpy()[3] == 1
    dataset = tf.data.Dataset.from_tensor_slices((["good", "a b"], [1, 0]))
    features, labels = next(iter(dataset.map(preprocessor).batch(2)))
    assert features["token_ids"].shape == (2, 32)
    assert labels.numpy().tolist() == [1, 0]


def test_preprocessor_is_the_same_in_tf_data_and_in_a_saved_model(tmp_path):
    preprocessor = make_preprocessor()
    texts, labels = make_texts(8)
    eager = preprocessor(texts)
    dataset = tf.data.Dataset.from_tensor_slices((texts, labels, [1.0] * 8)).batch(8)
    mapped, mapped_labels, weights = next(iter(dataset.map(preprocessor)))
    module = tf.Module()
    module.run = tf.function(preprocessor, input_signature=[tf.TensorSpec([None], tf.string)])
    module.preprocessor = preprocessor
    tf.saved_model.save(module, str(tmp_path))
    saved = tf.saved_model.load(str(tmp_path)).run(tf.constant(texts))
    for name, feature in eager.items():
        np.testing.assert_array_equal(mapped[name], feature)
        np.testing.assert_array_equal(saved[name], feature)
    assert mapped_labels.numpy().tolist() == labels
    assert weights.shape == (8,)


@pytest.mark.parametrize("wrong", [[1, 2], [None, "a"], [["a"], ["b"]], [3.5], {"text": "a"}])
def test_preprocessor_refuses_what_is_no_text(wrong):
    with pytest.raises(TypeError, match="expected strings"):
        make_preprocessor()(wrong)


def test_preprocessor_survives_its_config():
    preprocessor = make_preprocessor(24, buckets=[8, 24])
    again = SpanBertTextClassifierPreprocessor.from_config(preprocessor.get_config())
    again.tokenizer.set_vocabulary(VOCABULARY)
    assert (again.sequence_length, again.buckets) == (24, (8, 24))
    np.testing.assert_array_equal(again(["good"])["token_ids"], preprocessor(["good"])["token_ids"])


# The network.


def test_cls_head_is_what_bert_has():
    classifier = make_classifier(hidden_dim=5)
    features = classifier.preprocessor(["good a", "b"])
    state = classifier.backbone(features)["sequence_output"].numpy()[:, 0]
    expected = head_by_hand(classifier, state)
    np.testing.assert_allclose(classifier(features), expected, rtol=1e-5, atol=1e-6)
    assert expected.shape == (2, 2)


def test_mean_pooling_leaves_padding_out():
    classifier = make_classifier(pooling="mean")
    features = classifier.preprocessor(["good a", "b"])
    states = classifier.backbone(features)["sequence_output"].numpy()
    means = np.stack([states[0, :4].mean(0), states[1, :3].mean(0)])
    expected = head_by_hand(classifier, means)
    np.testing.assert_allclose(classifier(features), expected, rtol=1e-5, atol=1e-6)
    padded = {name: np.pad(feature, [(0, 0), (0, 7)]) for name, feature in features.items()}
    np.testing.assert_allclose(classifier(padded), expected, rtol=1e-5, atol=1e-6)


def head_by_hand(classifier: SpanBertTextClassifier, vectors: np.ndarray) -> np.ndarray:
    kernel, bias, out_kernel, out_bias = (weight.numpy() for weight in classifier.weights[-4:])
    return np.tanh(vectors @ kernel + bias) @ out_kernel + out_bias


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_logits_are_float32_under_mixed_precision(pooling):
    classifier = make_classifier(dtype="mixed_bfloat16", pooling=pooling)
    assert classifier.pooled_dense.compute_dtype == "bfloat16"
    assert classifier.predict(["good"], verbose=0).dtype == np.float32


def test_weight_decay_spares_biases_and_layer_norms():
    classifier = make_classifier()
    decayed = {
        variable.path.rsplit("/", 1)[-1]
        for variable in classifier.trainable_variables
        if classifier.optimizer._use_weight_decay(variable)
    }
    assert decayed == {"kernel", "embeddings", "position_embeddings", "segment_embeddings"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": None, "num_classes": 1}, "at least 2"),
        ({"class_names": ["only"]}, "at least 2"),
        ({"class_names": None}, "at least 2"),
        ({"class_names": ["a", "a"]}, "2 different names"),
        ({"class_names": ["a", "b"], "num_classes": 3}, "3 different names"),
        ({"pooling": "max"}, "`pooling`"),
        ({"preprocessor": make_preprocessor(64)}, "positions for 32 tokens"),
    ],
)
def test_unusable_heads_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_classifier(**options)


@pytest.mark.slow
def test_runs_on_jax(tmp_path, trained):
    pytest.importorskip("jax", reason="the JAX backend needs jax")
    trained.save_to_preset(str(tmp_path / "preset"))
    texts, _ = make_texts(5, seed=3)
    script = (
        "import sys, json, spanbert_tf\n"
        "c = spanbert_tf.SpanBertTextClassifier.from_preset(sys.argv[1])\n"
        "texts = json.loads(sys.argv[2])\n"
        "print(json.dumps(c.predict(texts, verbose=0).tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "preset"), json.dumps(texts)],
        env={"KERAS_BACKEND": "jax", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    logits = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(logits, trained.predict(texts, verbose=0), rtol=1e-4, atol=1e-5)


# `fit`, `evaluate`, `predict` and `classify` on strings.


def test_learns_and_evaluates(trained):
    texts, labels = make_texts(100, seed=1)
    figures = trained.evaluate(texts, labels, return_dict=True, verbose=0)
    assert set(figures) == {"loss", "accuracy", "precision", "recall", "f1"}
    assert figures["accuracy"] > 0.95

    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    predicted = trained.predict(texts, verbose=0).argmax(-1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predicted, average="binary"
    )
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert (figures["precision"], figures["recall"]) == pytest.approx((precision, recall))
    assert figures["f1"] == pytest.approx(f1)

    # By name, as a list of figures, and as a data set: the same.
    names = np.array(["negative", "positive"])[labels]
    as_list = trained.evaluate(np.array(texts), names, batch_size=7, verbose=0)
    assert sorted(as_list) == pytest.approx(sorted(figures.values()))
    dataset = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(9)
    assert trained.evaluate(dataset, return_dict=True, verbose=0) == pytest.approx(figures)


def test_predicts_in_the_order_of_the_texts(trained):
    texts, _ = make_texts(50, seed=2)
    texts[3] = ""
    logits = trained.predict(texts, batch_size=8, verbose=0)
    alone = np.concatenate([trained.predict_on_batch(trained.preprocessor([t])) for t in texts])
    np.testing.assert_allclose(logits, alone, rtol=1e-5, atol=1e-5)
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(7)
    np.testing.assert_allclose(trained.predict(dataset, verbose=0), logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(trained.predict(tf.constant(texts), 8, verbose=0), logits)


def test_classifies_with_names_and_probabilities(trained):
    answers = trained.classify(["good a b", "a bad", ""])
    assert [answer.label for answer in answers][:2] == ["positive", "negative"]
    for answer in answers:
        assert list(answer.probabilities) == ["negative", "positive"]
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.score == max(answer.probabilities.values())
    logits = trained.predict(["good a b"], verbose=0)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0]
    assert list(answers[0].probabilities.values()) == pytest.approx(expected.tolist(), rel=1e-5)


def test_no_texts_give_no_answers(trained):
    assert trained.predict([], verbose=0).shape == (0, 2)
    assert trained.classify([]) == []
    with pytest.raises(ValueError, match="no rows"):
        fit(trained, [], [])


def test_a_huge_text_is_answered_as_its_beginning(trained):
    begin = "good " + "a b c d " * 8
    huge = trained.classify([begin + "a b c d " * 125_000, "x" * 1_000_000])
    # A word of more than 100 characters is [UNK].
    for answer, expected in zip(huge, trained.classify([begin, "x" * 101]), strict=True):
        assert answer.label == expected.label
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert huge[0].label == "positive"


def test_one_string_gives_one_answer(trained):
    (expected,) = trained.classify(["good"])
    assert trained.classify("good") == expected
    with pytest.raises(TypeError, match="list of strings"):
        trained.classify(3)


@pytest.mark.parametrize(
    ("texts", "labels", "error", "message"),
    [
        (["a", "b"], ["positive", "neutral"], ValueError, r"`y`\[1\].*'neutral'"),
        (["a", "b"], [0, 2], ValueError, r"`y`\[1\] must be a label from 0 to 1, but is 2"),
        (["a", "b"], [0, -1], ValueError, "is -1"),
        (["a", "b"], [0.5, 1], ValueError, r"`y`\[0\] must be a label from 0 to 1, but is 0.5"),
        (["a", "b"], [1, np.nan], ValueError, r"`y`\[1\] must be a label .*but is nan"),
        (["a", "b"], [np.inf, 1], ValueError, "but is inf"),
        (["a", "b"], [0.0, 2.0], ValueError, r"`y`\[1\] must be a label .*but is 2"),
        (["a", "b"], [0], ValueError, "2 rows"),
        (["a", 3], [0, 1], TypeError, r"`texts`\[1\]"),
        ((["a", "b"], ["c"]), [0, 1], ValueError, "as many texts in each column"),
    ],
)
def test_fit_refuses_bad_data_before_training(trained, texts, labels, error, message):
    with pytest.raises(error, match=message):
        fit(trained, texts, labels)


def test_fit_refuses_what_has_no_names(trained):
    with pytest.raises(ValueError, match="class_names"):
        fit(make_classifier(class_names=None, num_classes=2), ["a"], ["positive"])
    dataset = tf.data.Dataset.from_tensor_slices((["a"], ["positive"])).batch(1)
    with pytest.raises(ValueError, match="must be integers"):
        fit(trained, dataset, batch_size=None)
    with pytest.raises(ValueError, match="leaves one side empty"):
        fit(trained, ["a"], [1], validation_split=0.1)


def test_fit_takes_what_keras_hub_takes():
    classifier = make_classifier()
    classifier.compile(run_eagerly=True)
    texts, labels = make_texts(12)
    pairs = (texts, texts)
    dataset = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(4)
    weights = np.ones(12)
    history = fit(classifier, texts, labels, validation_split=0.25).history
    assert {"loss", "accuracy", "val_loss", "val_f1"} <= set(history)
    fit(classifier, dataset, batch_size=None, validation_data=dataset)
    fit(classifier, texts, labels, sample_weight=weights, validation_data=(texts, labels, weights))
    fit(classifier, pairs, labels, validation_data=(pairs, labels), class_weight={0: 1.0, 1: 2.0})
    preprocessed = dataset.map(classifier.preprocessor)
    fit(classifier, preprocessed, batch_size=None)
    classifier.preprocessor = None
    fit(classifier, preprocessed, batch_size=None, validation_data=preprocessed)
    features = make_preprocessor(buckets=[32])(texts)
    fit(classifier, features, np.array(labels), shuffle=False)
    assert classifier.predict(features, verbose=0).shape == (12, 2)


def test_one_seed_gives_one_model():
    def run(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed)
        classifier = make_classifier()
        fit(classifier, *make_texts(24), epochs=2)
        return classifier.get_weights()

    first, again, other = run(1), run(1), run(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


# Presets.


def test_preset_keeps_everything(trained, tmp_path):
    folder = str(tmp_path / "preset")
    trained.save_to_preset(folder)
    texts, _ = make_texts(9, seed=4)
    expected = trained.predict(texts, verbose=0)
    for cls in (SpanBertTextClassifier, keras_hub.models.TextClassifier):
        loaded = cls.from_preset(folder)
        assert type(loaded) is SpanBertTextClassifier
        assert loaded.class_names == ("negative", "positive")
        assert loaded.preprocessor.sequence_length == 32
        np.testing.assert_array_equal(loaded.predict(texts, verbose=0), expected)


def test_preset_holds_no_optimizer(trained, tmp_path):
    # KerasHub writes its variables, twice the size of the model, among the head's.
    trained.save_to_preset(str(tmp_path))
    head = 16 * 16 + 16 + 16 * 2 + 2
    assert (tmp_path / "task.weights.h5").stat().st_size < 4 * head + 20_000
    import h5py

    with h5py.File(tmp_path / "task.weights.h5") as file:
        assert "optimizer" not in file


def test_preset_with_a_new_head(trained, tmp_path):
    folder = str(tmp_path)
    trained.save_to_preset(folder)
    for cls in (SpanBertTextClassifier, keras_hub.models.TextClassifier):
        loaded = cls.from_preset(folder, num_classes=3)
        assert (loaded.num_classes, loaded.class_names) == (3, None)
        assert loaded.classify(["good"])[0].label in {"0", "1", "2"}
    weights = zip(loaded.backbone.get_weights(), trained.backbone.get_weights(), strict=True)
    assert all(np.array_equal(new, old) for new, old in weights)
    renamed = SpanBertTextClassifier.from_preset(folder, class_names=["bad", "good"])
    assert renamed.classify(["good"])[0].label == "good"
    same_number = SpanBertTextClassifier.from_preset(folder, num_classes=2)
    assert same_number.class_names is None


def test_encoder_preset_makes_a_classifier(trained, tmp_path):
    trained.backbone.save_to_preset(str(tmp_path))
    trained.preprocessor.tokenizer.save_to_preset(str(tmp_path))
    preprocessor = SpanBertTextClassifierPreprocessor.from_preset(str(tmp_path), sequence_length=32)
    classifier = SpanBertTextClassifier.from_preset(
        str(tmp_path), class_names=["x", "y", "z"], preprocessor=preprocessor, pooling="mean"
    )
    assert (classifier.num_classes, classifier.pooling) == (3, "mean")
    weights = zip(classifier.backbone.get_weights(), trained.backbone.get_weights(), strict=True)
    assert all(np.array_equal(new, old) for new, old in weights)
    assert classifier.preprocessor.tokenizer.get_vocabulary() == VOCABULARY
    for answer in classifier.classify(["good", "a"]):
        assert list(answer.probabilities) == ["x", "y", "z"]
        assert answer.label in answer.probabilities


def test_saves_as_a_keras_file(tmp_path):
    classifier = make_classifier()
    build_optimizer(classifier)
    classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    texts, _ = make_texts(4, seed=5)
    expected = classifier.predict_on_batch(classifier.preprocessor(texts))
    answers = loaded.predict_on_batch(loaded.preprocessor(texts))
    np.testing.assert_array_equal(answers, expected)
    assert loaded.optimizer.get_config() == classifier.optimizer.get_config()
    assert not loaded.optimizer._use_weight_decay(loaded.output_dense.bias)
