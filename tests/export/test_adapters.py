"""Adapters: a task beside its encoder, refused on any other; several on one encoder."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

import spanbert_tf
from spanbert_tf import (
    SpanBertTextClassifier,
    SpanBertTextClassifierPreprocessor,
    SpanBertTokenClassifier,
    SpanBertTokenClassifierPreprocessor,
    SpanBertTokenizer,
    load_adapter,
    load_backbone,
    load_task,
    merge_lora,
    save_adapter,
)
from spanbert_tf.data.readers.tables import Example
from spanbert_tf.export import encoder_identity
from spanbert_tf.models.lora import lora_layers
from spanbert_tf.settings import FineTuning
from spanbert_tf.training import Interrupted, finetune
from tests.layer_checks import randomize

TEXTS = ["The snowman melts.", "a fine film, and not dull", "bad", "", "music was very loud " * 6]
NAMES = ("text", "entities")
SETTINGS = FineTuning(epochs=3, batch_size=8, learning_rate=2e-2, sequence_length=16, lora_rank=3)


@pytest.fixture(scope="module")
def encoder(backbone, tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "tiny" / "1"
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


def adapted_task(name: str, encoder: Path, seed: int = 0, **options: Any) -> Any:
    """A task whose every variable that may be trained has moved, by whatever training."""
    backbone, tokenizer = load_backbone(encoder)
    backbone.enable_lora(3)
    if name == "text":
        preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, 32, buckets=[16, 32])
        task = SpanBertTextClassifier(
            backbone, None, preprocessor, class_names=["dull", "fine"], **options
        )
    else:
        preprocessor = SpanBertTokenClassifierPreprocessor(tokenizer, 12, overlap=3)
        task = SpanBertTokenClassifier(backbone, ["PER", "LOC"], preprocessor, crf=True)
    generator = np.random.default_rng(seed)
    for variable in task.trainable_variables:
        variable.assign(variable + 0.3 * generator.standard_normal(variable.shape))
    return task


@pytest.fixture(scope="module")
def tasks(encoder) -> dict[str, Any]:
    return {name: adapted_task(name, encoder, seed=1) for name in NAMES}


@pytest.fixture(scope="module")
def adapters(tasks, encoder, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    for name, task in tasks.items():
        save_adapter(task, folder / name, encoder)
    return {name: folder / name for name in tasks}


def answers(task: Any) -> list[Any]:
    """Answers for `TEXTS`, op by op, as most tasks here answer once: a graph takes seconds."""
    tf.config.run_functions_eagerly(True)
    try:
        return task.answer_texts(TEXTS)
    finally:
        tf.config.run_functions_eagerly(False)


def figures(answers: list[Any]) -> list[Any]:
    """Answers as words and numbers."""
    return [
        [(e.entity_group, e.start, e.end, e.score) for e in answer]
        if isinstance(answer, list)
        else (answer.label, *answer.probabilities.values())
        for answer in answers
    ]


def assert_same(answers: list[Any], expected: list[Any], atol: float = 1e-5) -> None:
    for one, other in zip(figures(answers), figures(expected), strict=True):
        flat, flat_expected = (keras.tree.flatten(each) for each in (one, other))
        assert len(flat) == len(flat_expected)
        for a, b in zip(flat, flat_expected, strict=True):
            assert a == (pytest.approx(b, abs=atol) if isinstance(b, float) else b)


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_it_did_in_a_fresh_object(name, tasks, adapters, encoder):
    expected = answers(tasks[name])
    again = load_adapter(adapters[name])
    assert type(again) is type(tasks[name])
    assert again.decoder == tasks[name].decoder
    rows = [*again.preprocessor.row_settings, "buckets"]
    one, other = (task.preprocessor.get_config() for task in (again, tasks[name]))
    assert {name: one[name] for name in rows} == {name: other[name] for name in rows}
    np.testing.assert_array_equal(figures(answers(again))[0], figures(expected)[0])
    assert_same(answers(load_task(adapters[name], encoder)), expected, atol=0)
    # Far from what the encoder would say without what was trained in it.
    plain = type(again)(
        load_backbone(encoder)[0],
        preprocessor=again.preprocessor,
        **{k: v for k, v in again.get_config().items() if k not in ("backbone", "preprocessor")},
    )
    for new, old in zip(plain.weights[-2:], again.weights[-2:], strict=True):
        new.assign(old)
    assert figures(answers(plain)) != figures(expected)


def test_answers_as_it_did_in_a_fresh_process(tasks, adapters, tmp_path):
    script = (
        "import json, sys, spanbert_tf\n"
        "from tests.export.test_adapters import figures\n"
        "texts, *paths = json.loads(sys.argv[1])\n"
        "print(json.dumps([figures(spanbert_tf.load_task(p)(texts)) for p in paths]))\n"
    )
    arguments = json.dumps([TEXTS, *map(str, adapters.values())])
    root = str(Path(spanbert_tf.__file__).parents[1])
    outcome = subprocess.run(
        [sys.executable, "-c", script, arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    for found, task in zip(json.loads(outcome.stdout), tasks.values(), strict=True):
        expected = json.loads(json.dumps(figures(answers(task))))
        for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
            assert a == (pytest.approx(b, abs=1e-6) if isinstance(b, float) else b)


def test_two_adapters_and_the_bare_encoder_share_one_memory(tasks, adapters, encoder, features):
    pair = load_backbone(encoder)
    backbone, _ = pair
    bare = backbone(features)["sequence_output"].numpy()
    before = {weight.path: weight.numpy().copy() for weight in backbone.weights}
    flags = [weight.trainable for weight in backbone.weights]
    loaded = {name: load_adapter(adapters[name], pair) for name in NAMES}
    other_text = adapted_task("text", encoder, seed=2)
    save_adapter(other_text, adapters["text"].parent / "other", encoder)
    loaded["other"] = load_adapter(adapters["text"].parent / "other", pair)

    for name, task in {**tasks, "other": other_text}.items():
        assert_same(answers(loaded[name]), answers(task), atol=0)
    of_base = {weight.path: weight.value for weight in backbone.weights}
    for task in loaded.values():
        shared = [w for w in task.backbone.weights if w.value is of_base.get(w.path)]
        own = [w for w in task.backbone.weights if w.value is not of_base.get(w.path)]
        # Two layers of four dense ones: two factors and a bias of each are its own.
        assert len(own) == 2 * 4 * 3
        assert len(shared) + 2 * 4 == len(backbone.weights)
        assert {id(v) for v in task.backbone.trainable_variables} == {id(v) for v in own}
    own = [
        {id(w.value) for w in t.weights} - set(map(id, of_base.values())) for t in loaded.values()
    ]
    assert not own[0] & own[1]
    assert not own[0] & own[2]

    # Training one of them changes nothing of the others.
    loaded["other"].fit(TEXTS[:3], ["dull", "fine", "dull"], epochs=2, verbose=0)
    assert figures(answers(loaded["other"])) != figures(answers(other_text))
    for name in NAMES:
        assert_same(answers(loaded[name]), answers(tasks[name]), atol=0)
    np.testing.assert_array_equal(backbone(features)["sequence_output"], bare)
    for weight in backbone.weights:
        np.testing.assert_array_equal(weight, before[weight.path])
    assert [weight.trainable for weight in backbone.weights] == flags


def test_other_encoders_are_refused(adapters, encoder, tokenizer, tmp_path):
    other, _ = load_backbone(encoder)
    bias = other.transformer_layers[1].output_dense.bias
    bias.assign(bias + 1e-6)
    with pytest.raises(ValueError, match=r"another encoder: expected .*tiny.1 \(weights \w+.*got"):
        load_adapter(adapters["text"], (other, tokenizer))
    randomize(other, seed=9)
    other.save_to_preset(str(tmp_path / "other"))
    tokenizer.save_to_preset(str(tmp_path / "other"))
    with pytest.raises(ValueError, match="another encoder"):
        load_task(adapters["text"], tmp_path / "other")
    cased = SpanBertTokenizer(tokenizer.get_vocabulary(), lowercase=False)
    with pytest.raises(ValueError, match="another encoder"):
        load_adapter(adapters["text"], (load_backbone(encoder)[0], cased))
    other.enable_lora(2)
    with pytest.raises(ValueError, match="has an adapter"):
        load_adapter(adapters["text"], (other, tokenizer))


def test_what_is_no_adapter_and_what_needs_none(adapters, encoder):
    with pytest.raises(ValueError, match="is a Keras preset; expected an adapter"):
        load_adapter(encoder)
    with pytest.raises(ValueError, match="an encoder, which has no task"):
        load_task(encoder)


def test_damage_is_refused(adapters, encoder, tmp_path):
    def damaged(name: str, change: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(adapters["text"], folder)
        tensors = load_file(folder / "adapter.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter.safetensors")
        return folder

    lora_a = "encoder/transformer_layer_0/attention/qkv_dense/lora_kernel_a"
    cases = [
        ("missing", lambda t: t.pop(lora_a), f"missing: {lora_a}"),
        ("missing_head", lambda t: t.pop("head/0/kernel"), "missing: head/0/kernel"),
        ("extra", lambda t: t.update(more=np.zeros(2, "float32")), "unknown: more"),
        ("nan", lambda t: t[lora_a].__setitem__((0, 0), np.nan), f"{lora_a}: infinite, or no"),
        ("shape", lambda t: t.update({lora_a: np.zeros((3, 3), "float32")}), "got .3, 3."),
        ("dtype", lambda t: t.update({lora_a: np.zeros((14, 3), "int32")}), "got int32"),
    ]
    for name, change, message in cases:
        with pytest.raises(ValueError, match=rf"(?s)damaged.*{message}"):
            load_adapter(damaged(name, change), encoder)

    folder = damaged("truncated", lambda tensors: None)
    file = folder / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match="damaged"):
        load_adapter(folder, encoder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"without adapter\.safetensors"):
        load_adapter(folder, encoder)

    folder = damaged("unlisted", lambda tensors: tensors.pop(lora_a))
    description = json.loads((folder / "adapter.json").read_text())
    description["lora"]["variables"].remove(lora_a.removeprefix("encoder/"))
    (folder / "adapter.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=f"missing: {lora_a}"):
        load_adapter(folder, encoder)
    del description["lora"]["rank"]
    (folder / "adapter.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"adapter\.json: rank is missing"):
        load_adapter(folder, encoder)


def test_what_cannot_be_written_is_refused(tasks, encoder, tmp_path):
    task = adapted_task("text", encoder)
    with pytest.raises(ValueError, match="`dtype` must be one of"):
        save_adapter(task, tmp_path / "a", encoder, dtype="int8")
    task.output_dense.bias.assign([1e5, 0.0])
    with pytest.raises(ValueError, match="written as float16:\n  head/3/bias: infinite"):
        save_adapter(task, tmp_path / "a", encoder, dtype="float16")
    gamma = task.backbone.transformer_layers[0].output_layer_norm.gamma
    gamma.assign(gamma + 1.0)
    with pytest.raises(ValueError, match=r"not adapted from .*differs in:\n.*norm/gamma"):
        save_adapter(task, tmp_path / "a", encoder)
    with pytest.raises(ValueError, match=r"no adapter: call `backbone\.enable_lora"):
        save_adapter(merge_lora(task), tmp_path / "a", encoder)
    assert not (tmp_path / "a").exists()
    save_adapter(tasks["text"], tmp_path / "a", encoder)
    with pytest.raises(FileExistsError):
        save_adapter(tasks["text"], tmp_path / "a", encoder)
    save_adapter(tasks["text"], tmp_path / "a", encoder, overwrite=True)


def test_another_layer_that_was_trained_is_kept(encoder, tmp_path):
    task = adapted_task("text", encoder)
    norm = task.backbone.transformer_layers[0].output_layer_norm
    norm.trainable = True
    norm.gamma.assign(norm.gamma * 3.0)
    save_adapter(task, tmp_path / "a", encoder)
    pair = load_backbone(encoder)
    again = load_adapter(tmp_path / "a", pair)
    assert_same(answers(again), answers(task), atol=0)
    own = again.backbone.transformer_layers[0].output_layer_norm.gamma
    assert own.value is not pair[0].transformer_layers[0].output_layer_norm.gamma.value


@pytest.mark.parametrize("name", NAMES)
def test_float16_is_close_at_half_the_size(name, tasks, adapters, encoder, tmp_path):
    save_adapter(tasks[name], tmp_path / "half", encoder, dtype="float16")
    again = load_adapter(tmp_path / "half")
    assert_same(answers(again), answers(tasks[name]), atol=5e-3)
    whole, half = (
        sum(t.nbytes for t in load_file(folder / "adapter.safetensors").values())
        for folder in (adapters[name], tmp_path / "half")
    )
    assert half * 2 == whole


def test_only_what_was_trained_is_written(tasks, adapters):
    task = tasks["text"]
    tensors = load_file(adapters["text"] / "adapter.safetensors")
    assert sum(t.size for t in tensors.values()) == sum(
        int(np.prod(v.shape)) for v in task.trainable_variables
    )


def test_the_encoder_is_found_by_what_the_adapter_says(
    tasks, encoder, backbone, tokenizer, tmp_path, monkeypatch
):
    shutil.copytree(encoder, tmp_path / "encoders" / "mine" / "1")
    monkeypatch.chdir(tmp_path)
    save_adapter(tasks["text"], "adapters/a", "encoders/mine/1")
    described = json.loads(Path("adapters/a/adapter.json").read_text())["encoder"]
    assert (described["handle"], described["name"]) == ("encoders/mine/1", "mine/1")
    expected = answers(tasks["text"])
    assert_same(answers(load_adapter("adapters/a")), expected, atol=0)
    # Moved together, and called from elsewhere: seen from the adapter's folder.
    shutil.copytree("encoders", "adapters/a/encoders")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert_same(answers(load_adapter("../adapters/a")), expected, atol=0)
    shutil.rmtree("../adapters/a/encoders")
    with pytest.raises(FileNotFoundError, match="which is not there; tried encoders/mine/1"):
        load_adapter("../adapters/a")
    # Of the default encoder's name.
    default = tmp_path / "encoders" / "mine" / "1"
    monkeypatch.setattr(encoder_identity, "default_encoder", lambda: default)
    assert_same(answers(load_adapter("../adapters/a")), expected, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_merged_it_answers_the_same(name, tasks, features):
    merged = merge_lora(tasks[name])
    assert type(merged) is type(tasks[name])
    assert merged is not tasks[name]
    assert_same(answers(merged), answers(tasks[name]))
    backbone = tasks[name].backbone
    again = merge_lora(backbone)
    np.testing.assert_allclose(
        again(features)["sequence_output"], backbone(features)["sequence_output"], atol=1e-5
    )
    assert len(again.trainable_weights) == len(again.weights) == len(backbone.weights) - 2 * 4 * 2
    assert merge_lora(merged) is merged
    assert merge_lora(again) is again


def test_merging_keeps_float32_weights_under_a_mixed_policy(encoder):
    backbone, _ = load_backbone(encoder, "mixed_bfloat16")
    backbone.enable_lora(2)
    randomize(backbone, seed=4)
    layer = backbone.transformer_layers[0].intermediate_dense
    kernel, a, b = (w.numpy() for w in layer.weights if w.name != "bias")
    merged = merge_lora(backbone).transformer_layers[0].intermediate_dense.kernel
    np.testing.assert_allclose(merged, kernel + a @ b, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_a_quantized_encoder_is_refused(encoder):
    backbone, _ = load_backbone(encoder)
    backbone.enable_lora(2)
    backbone.transformer_layers[0].output_dense.quantize("int8")
    with pytest.raises(ValueError, match="merge its adapter before `quantize`"):
        merge_lora(backbone)


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_task_answers_the_same(name, adapters, tasks, tmp_path):
    task = load_adapter(adapters[name])
    spanbert_tf.export_task(task, tmp_path / "1")
    assert_same(answers(load_task(tmp_path / "1")), answers(tasks[name]))
    task.save_to_preset(str(tmp_path / "preset"))
    assert_same(answers(load_task(tmp_path / "preset")), answers(tasks[name]))


def test_an_exported_encoder_comes_back(tasks, tokenizer, features, tmp_path):
    backbone = tasks["text"].backbone
    spanbert_tf.export_encoder(backbone, tokenizer, tmp_path / "1")
    expected = backbone(features)["sequence_output"]
    again, _ = load_backbone(tmp_path / "1")
    np.testing.assert_allclose(again(features)["sequence_output"], expected, atol=1e-5)


@pytest.mark.slow
def test_litert_answers_the_same(adapters, tasks, tokenizer, tmp_path):
    for name in NAMES:
        spanbert_tf.export_litert(load_adapter(adapters[name]), tmp_path / name)
        assert_same(answers(load_task(tmp_path / name)), answers(tasks[name]), atol=1e-4)
    backbone = tasks["text"].backbone
    spanbert_tf.export_litert_encoder(backbone, tokenizer, tmp_path / "encoder")
    spanbert_tf.export_litert_encoder(merge_lora(backbone), tokenizer, tmp_path / "merged")
    one, other = (
        spanbert_tf.load_litert(tmp_path / name).encode_text(TEXTS)
        for name in ("encoder", "merged")
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def make_examples(rows: int) -> list[Example]:
    generator = np.random.default_rng(0)
    words = ["the", "snow", "film", "story", "plot", "music"]
    return [
        Example(
            " ".join([*generator.choice(words, 4).tolist(), ["bad", "good"][row % 2]]),
            None,
            ["negative", "positive"][row % 2],
            row + 1,
            "train.tsv",
        )
        for row in range(rows)
    ]


class StopAt(keras.callbacks.Callback):
    """Presses Ctrl-C in the second step of an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, 1):
            raise KeyboardInterrupt


def run(encoder: Path, folder: Path, settings: FineTuning = SETTINGS, **options: Any) -> Any:
    options = {"adapter": folder / "adapter", "verbose": 0, **options}
    return finetune(
        settings, make_examples(64), encoder=encoder, output=folder / "preset", **options
    )


@pytest.mark.slow
def test_fine_tuning_writes_an_adapter_and_resumes(encoder, tmp_path):
    result = run(encoder, tmp_path / "straight", saved_model=tmp_path / "straight" / "saved" / "1")
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    folder = tmp_path / "straight"
    assert sorted(path.name for path in folder.iterdir()) == ["adapter", "preset", "saved"]
    assert not (folder / "preset" / "adapter").exists()
    expected = answers(result.model)
    for part in ("adapter", "preset", "saved/1"):
        assert_same(answers(load_task(folder / part)), expected)
    assert len(result.model.backbone.weights) == len(load_backbone(encoder)[0].weights)
    plain, trained = load_backbone(encoder)[0], load_adapter(folder / "adapter").backbone
    for weight in plain.weights:
        of_adapter = next(w for w in trained.weights if w.path == weight.path)
        assert np.array_equal(weight, of_adapter) == (not weight.path.endswith("dense/bias"))

    with pytest.raises(Interrupted, match="stopped after 1 of 3"):
        run(encoder, tmp_path / "stopped", callbacks=[StopAt(1)])
    with pytest.raises(ValueError, match="lora_rank: 3 then, 2 now"):
        run(encoder, tmp_path / "stopped", replace(SETTINGS, lora_rank=2), resume=True)
    resumed = run(encoder, tmp_path / "stopped", resume=True)
    assert resumed.history == result.history
    tensors = (
        load_file(tmp_path / name / "adapter" / "adapter.safetensors")
        for name in ("straight", "stopped")
    )
    one, other = tensors
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_the_adapter_is_of_the_best_epoch(encoder, tmp_path):
    # The more is learned, the worse for labels that are swapped: an early epoch is the best.
    swapped = {"negative": "positive", "positive": "negative"}
    validation = [replace(of, label=swapped[of.label]) for of in make_examples(16)]
    settings = replace(SETTINGS, monitor="loss")
    result = run(encoder, tmp_path, settings, validation=validation)
    assert result.best_epoch < len(result.history)
    expected = answers(result.model)
    assert_same(answers(load_task(tmp_path / "adapter")), expected)
    assert_same(answers(load_task(tmp_path / "preset")), expected)


def test_fine_tuning_refuses_before_any_work(encoder, tmp_path):
    with pytest.raises(ValueError, match=r"`adapter` needs `settings\.lora_rank`"):
        run(encoder, tmp_path, replace(SETTINGS, lora_rank=None))
    (tmp_path / "adapter").mkdir()
    with pytest.raises(FileExistsError):
        run(encoder, tmp_path)


@pytest.mark.slow
def test_adapters_keep_what_fine_tuning_changed_in_the_encoder(encoder, tmp_path):
    settings = replace(
        SETTINGS,
        epochs=1,
        sequence_length=60,
        attention="bucketed",
        block_size=8,
        neighbors=0,
        long_positions="restart",
        dtype="mixed_bfloat16",
    )
    result = run(encoder, tmp_path, settings)
    again = load_adapter(tmp_path / "adapter")
    config = again.backbone.get_config()
    assert (config["attention"], config["long_positions"]) == ("bucketed", "restart")
    assert again.backbone.compute_dtype == "float32"
    assert_same(answers(again), answers(result.model), atol=0.05)


def test_rounded_weights_are_known_as_those_of_their_encoder(encoder, tokenizer, tmp_path):
    backbone, _ = load_backbone(encoder, "bfloat16")
    backbone.enable_lora(2)
    preprocessor = SpanBertTextClassifierPreprocessor(tokenizer, 32)
    task = SpanBertTextClassifier(backbone, 2, preprocessor)
    save_adapter(task, tmp_path / "a", encoder)
    again = load_adapter(tmp_path / "a")
    assert again.backbone.variable_dtype == "float32"
    assert_same(answers(again), answers(task), atol=0.05)


def test_an_encoder_of_its_own_becomes_what_a_shared_one_stays_apart_from(
    encoder: Path, tmp_path: Path
):
    save_adapter(adapted_task("text", encoder), tmp_path / "adapter", encoder)
    shared, tokenizer = load_backbone(encoder)
    on_shared = load_adapter(tmp_path / "adapter", (shared, tokenizer)).backbone
    own = load_adapter(tmp_path / "adapter").backbone
    assert lora_layers(own)
    assert not lora_layers(shared)
    for ours, other in zip(own.weights, on_shared.weights, strict=True):
        assert (ours.path, ours.trainable) == (other.path, other.trainable)
        np.testing.assert_array_equal(ours, other)
