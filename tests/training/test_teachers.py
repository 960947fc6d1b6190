"""Fine-tuning runs with a teacher, of fewer layers, and on texts without labels."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenClassifier,
    SpanBertTokenClassifierPreprocessor,
    SpanBertTokenizer,
    export_litert,
    load_task,
)
from spanbert_tf.cli.main import main
from spanbert_tf.data.readers.entities import EntitySpan, TaggedText
from spanbert_tf.data.readers.tables import Example
from spanbert_tf.settings import FineTuning, TextClassification
from spanbert_tf.tasks import task_class
from spanbert_tf.tasks.token_classifier import TokenClassification
from spanbert_tf.training import Interrupted, finetune
from spanbert_tf.training.networks import make_network
from tests.layer_checks import as_numpy, randomize

LETTERS = [*"abcdefgh"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
SETTINGS = FineTuning(
    epochs=2, batch_size=8, learning_rate=5e-3, sequence_length=12, layers=1, dropout=0.0
)


def make_texts(count: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(LETTERS, 5)) for _ in range(count)]


def examples(count: int = 16) -> list[Example]:
    return [
        Example(text, None, "pos" if "a" in text else "neg", number, "train.tsv")
        for number, text in enumerate(make_texts(count), start=1)
    ]


def make_backbone(tokenizer: SpanBertTokenizer) -> SpanBertBackbone:
    keras.utils.set_random_seed(0)
    size = len(tokenizer.get_vocabulary()), 3, 2, 16, 24
    return SpanBertBackbone(*size, dropout=0.0, max_sequence_length=16)


def decide(task: Any) -> None:
    """Gives a task random weights, by which texts and words have all kinds of answers."""
    randomize(task, seed=3)
    outputs = task.predict(make_texts(50), verbose=0)
    logits = outputs["logits"][:, 1:6].reshape(250, -1) if isinstance(outputs, dict) else outputs
    kernel, bias = task.output_dense.get_weights()
    scale = 2 / logits.std(axis=0)
    task.output_dense.set_weights([scale * kernel, scale * (bias - logits.mean(axis=0))])


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Presets of random weights, which answer in ways of their own."""
    folder = tmp_path_factory.mktemp("teachers")
    tokenizer = SpanBertTokenizer(VOCABULARY)
    other = SpanBertTokenizer([*VOCABULARY[:-2], "h", "g"])

    def classes(tokenizer: SpanBertTokenizer, *names: str, **options: Any) -> Any:
        preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, 12)
        backbone = make_backbone(tokenizer)
        return SpanBertTextClassifier(
            backbone, preprocessor=preprocessor, class_names=names, **options
        )

    tags = SpanBertTokenClassifierPreprocessor(tokenizer, sequence_length=12)
    tasks = {
        "classes": classes(tokenizer, "pos", "neg", "odd"),
        "sets": classes(tokenizer, "pos", "neg", activation="sigmoid"),
        "others": classes(tokenizer, "pos", "bad"),
        "pieces": classes(other, "pos", "neg"),
        "tags": SpanBertTokenClassifier(make_backbone(tokenizer), ["LOC", "PER"], tags),
        "paths": SpanBertTokenClassifier(make_backbone(tokenizer), ["LOC", "PER"], tags, crf=True),
    }
    for name, task in tasks.items():
        decide(task)
        task.save_to_preset(str(folder / name))
    make_backbone(tokenizer).save_to_preset(str(folder / "encoder"))
    tokenizer.save_to_preset(str(folder / "encoder"))
    return folder


def with_teacher(teachers: Path, name: str = "classes", **changes: Any) -> FineTuning:
    return replace(SETTINGS, teacher=str(teachers / name), **changes)


@pytest.mark.slow
def test_texts_without_labels_bring_a_student_near_to_its_teacher(teachers: Path, tmp_path: Path):
    teacher = load_task(teachers / "classes").model
    texts = make_texts(64)
    settings = with_teacher(teachers, epochs=6, layers=2, validation_fraction=0, learning_rate=2e-2)
    result = finetune(
        settings,
        [],
        unlabelled=[texts],
        encoder=teachers / "classes",
        output=tmp_path / "out",
        verbose=0,
    )
    assert (result.train_size, result.validation_size) == (64, 0)
    student = SpanBertTextClassifier.from_preset(str(tmp_path / "out"))
    assert student.backbone.num_layers == 2
    # All of the teacher's classes, though it may never have answered one, in its order.
    assert student.class_names == ("pos", "neg", "odd")
    of = task_class("text-classification")
    filled = TextClassification(**vars(settings))
    fresh, _ = make_network(
        of, filled, str(teachers / "classes"), {"class_names": ["pos", "neg", "odd"]}
    )

    def distance(task: Any) -> float:
        ours, theirs = (keras.ops.softmax(x.predict(texts, verbose=0)) for x in (task, teacher))
        return float(np.abs(as_numpy(ours) - as_numpy(theirs)).mean())

    assert distance(student) < 0.9 * distance(fresh)


def test_a_teachers_answers_are_labels_like_others(teachers: Path):
    texts, of = ["a b", "c"], task_class("text-classification")
    answers = load_task(teachers / "sets")(texts)
    assert [(of.text, of.pair, of.label) for of in of.answered([texts, ["d", "e"]], answers)] == [
        ("a b", "d", answers[0].labels),
        ("c", "e", answers[1].labels),
    ]
    one = load_task(teachers / "classes")(texts)
    read = of.answered([texts], [one[0], replace(one[1], label=None)])
    assert [(of.text, of.pair, of.label) for of in read] == [("a b", None, one[0].label)]
    tags = load_task(teachers / "tags")
    texts = make_texts(9)
    found = task_class("token-classification").answered([texts], tags(texts))
    assert [of.text for of in found] == texts
    spans = [[(e.start, e.end, e.label) for e in of.entities] for of in found]
    assert spans == [[(e.start, e.end, e.entity_group) for e in answer] for answer in tags(texts)]
    assert any(spans)


class StopAt(keras.callbacks.Callback):
    """Presses Ctrl-C in the second epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_with_a_teacher_goes_on_to_the_same_weights(teachers: Path, tmp_path: Path):
    options: Any = {"encoder": teachers / "classes", "verbose": 0}
    settings = with_teacher(teachers, validation_fraction=0, dropout=0.1)
    straight = finetune(settings, examples(), output=tmp_path / "straight", **options)
    with pytest.raises(Interrupted, match="stopped after 1 of 2 epochs"):
        finetune(settings, examples(), output=tmp_path / "out", callbacks=[StopAt()], **options)
    with pytest.raises(FileExistsError, match=r"teacher: .*classes' then, None now"):
        finetune(replace(settings, teacher=None), examples(), output=tmp_path / "out", **options)
    resumed = finetune(settings, examples(), output=tmp_path / "out", **options)
    assert resumed.history == straight.history
    weights = zip(resumed.model.get_weights(), straight.model.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in weights)


@pytest.mark.slow
def test_tags_of_a_teacher(teachers: Path, tmp_path: Path):
    teacher = load_task(teachers / "tags").model
    texts = make_texts(63)
    changes: Any = {"epochs": 5, "layers": 2, "validation_fraction": 0, "learning_rate": 2e-2}
    settings = TokenClassification(**vars(with_teacher(teachers, "tags", **changes)))
    labelled = [TaggedText(texts[0], (EntitySpan(0, 1, "PER"),), None, 1, "train.conll")]
    options: Any = {"task": "token-classification", "encoder": teachers / "tags", "verbose": 0}
    run = finetune(settings, labelled, unlabelled=[texts], output=tmp_path / "out", **options)
    assert run.train_size == 64
    assert run.model.entity_groups == ("LOC", "PER")
    fresh, _ = make_network(
        type(teacher), settings, str(teachers / "tags"), {"entity_groups": ["LOC", "PER"]}
    )

    def agreement(task: Any) -> float:
        ours, theirs = (x.predict(texts, verbose=0)["tags"] for x in (task, teacher))
        words = teacher.preprocessor(texts)["word_starts"]
        return float((ours == theirs)[as_numpy(words)[:, : ours.shape[1]] > 0].mean())

    assert agreement(run.model) > agreement(fresh) + 0.05


@pytest.mark.slow
def test_the_command_line_makes_a_student_like_other_models(
    teachers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = [f"{of.text}\t{of.label}" for of in examples(20)]
    (tmp_path / "train.tsv").write_text("\n".join(["text\tlabel", *lines, ""]))
    (tmp_path / "more.txt").write_text("\n".join(make_texts(8, seed=2)) + "\n")
    # By its own encoder, of which two layers are left.
    words = ["finetune", "--train", tmp_path / "train.tsv", "--unlabelled", tmp_path / "more.txt"]
    words += ["--teacher", teachers / "classes", "--layers", 2, "--epochs", 1, "--batch-size", 8]
    words += ["--sequence-length", 12, "--output", tmp_path / "run", "--json"]
    assert main([*map(str, words)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["train_size"], result["validation_size"]) == (18 + 8, 2)
    # What is held out has labels of its own.
    kept = json.loads((tmp_path / "run" / "classifier" / "metrics.json").read_text())
    assert kept["settings"]["teacher"] == str(teachers / "classes")
    assert kept["head"]["class_names"] == ["pos", "neg", "odd"]
    preset = load_task(result["classifier"])
    assert preset.model.backbone.num_layers == 2
    texts = make_texts(3, seed=5)
    expected = [of.score for of in preset(texts)]
    export_litert(preset.model, tmp_path / "lite")
    for path in (result["saved_model"], tmp_path / "lite"):
        scores = [of.score for of in load_task(path)(texts)]
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    with pytest.raises(SystemExit):
        main(["finetune", "--task", "token-classification"])
    assert "required: --train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda of: with_teacher(of, "tags"),
            "does text-classification, but .*tags is a model for",
        ),
        (lambda of: with_teacher(of, "encoder"), "but .*encoder is an encoder without a head"),
        (lambda of: with_teacher(of, "nothing"), "nothing"),
        (
            lambda of: with_teacher(of, "others"),
            "has neg, which the teacher does not know; .*pos, b",
        ),
        (lambda of: with_teacher(of, "sets"), "`is_multi_label` must be .* True, but is False"),
        (lambda of: with_teacher(of, "pieces"), "the tokenizers of these two "),
        (lambda of: replace(SETTINGS, layers=4), "`layers` must be 3 at most, .* but is 4"),
        (
            lambda of: with_teacher(of, "nothing", lora_rank=2),  # Before the teacher is asked.
            "`layers` and `lora_rank` cannot be given together",
        ),
    ],
)
def test_what_cannot_teach_is_refused(
    make: Callable[[Path], FineTuning], message: str, teachers: Path, tmp_path: Path
):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        finetune(
            make(teachers),
            examples(),
            encoder=teachers / "encoder",
            output=tmp_path / "out",
            verbose=0,
        )
    assert [*tmp_path.iterdir()] == []


def test_what_does_not_learn_so_is_refused(teachers: Path, tmp_path: Path):
    options: Any = {"encoder": teachers / "encoder", "output": tmp_path / "out", "verbose": 0}
    settings = with_teacher(teachers)
    with pytest.raises(ValueError, match="`teacher` is not for relation-extraction, which learns"):
        finetune(settings, [], task="relation-extraction", **options)
    with pytest.raises(ValueError, match="`unlabelled` texts need a `teacher`"):
        finetune(SETTINGS, examples(), unlabelled=[["a"]], **options)
    tagged = [TaggedText("a b", (EntitySpan(0, 1, "PER"),), None, 1)]
    settings = with_teacher(teachers, "paths", validation_fraction=0)
    with pytest.raises(ValueError, match=r"`has_crf` must be .* True, but is False"):
        finetune(settings, tagged, task="token-classification", **options)
    embedder = with_teacher(teachers, "encoder")
    pairs = task_class("text-embedding")
    with pytest.raises(ValueError, match="`unlabelled` texts are not for text-embedding"):
        finetune(embedder, [], unlabelled=[["a"]], task=pairs.task, **options)
    with pytest.raises(ValueError, match="classes cannot be written"):
        finetune(with_teacher(teachers), examples(), **{**options, "output": teachers / "classes"})
