"""Models that are damaged, not whole, hostile, or asked what they cannot answer: an error, always.

A silent answer of a random head, of a wrong vocabulary or of a row that a table has not would be
taken for a right one.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf

import spanbert_tf
from spanbert_tf import (
    SpanBertBackbone,
    SpanBertTextClassifier,
    SpanBertTokenizer,
    load_task,
)
from spanbert_tf.checkpoints.saved_models import restore_encoder
from spanbert_tf.export.litert import export_litert
from spanbert_tf.export.operations import callable_operations
from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.handles import find
from tests.checkpoints.foreign_folders import edit_json

pytestmark = pytest.mark.slow  # Nearly all of them wait for the exports.


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory, classifier: SpanBertTextClassifier) -> Path:
    path = tmp_path_factory.mktemp("damaged") / "preset"
    classifier.save_to_preset(str(path))
    return path


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory, classifier: SpanBertTextClassifier) -> Path:
    path = tmp_path_factory.mktemp("damaged") / "lite"
    export_litert(classifier, path)
    return path


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    def copy(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True))

    return copy


def refused(load: Callable[..., Any], folder: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        load(folder)
    assert "copy" in str(raised.value)  # It names the folder.


def edit_lines(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


# Presets.


def test_a_preset_without_the_weights_of_its_head(preset: Path, copy_of: Any):
    folder = copy_of(preset)
    (folder / "task.weights.h5").unlink()
    for load in (load_task, SpanBertTextClassifier.from_preset):
        refused(load, folder, r"not task\.weights\.h5.*not complete")
    # A new head is asked for, or none.
    assert SpanBertTextClassifier.from_preset(folder, num_classes=5).num_classes == 5
    assert isinstance(spanbert_tf.load_backbone(folder)[0], SpanBertBackbone)


@pytest.mark.parametrize(
    ("name", "dataset"),
    [("model.weights.h5", "layers/reversible_embedding"), ("task.weights.h5", "layers/dense")],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_preset_of_weights_that_are_no_numbers(
    name: str, dataset: str, bad: float, preset: Path, copy_of: Any
):
    folder = copy_of(preset)
    with h5py.File(folder / name, "r+") as file:
        file[f"{dataset}/vars/0"][3, 2] = bad
    refused(load_task, folder, "NaN or infinite: .*(embeddings|kernel)")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_layers", 1, "weights, but the model that config.json describes has"),
        ("num_layers", 10**6, "describes an encoder of"),
        ("intermediate_dim", 10**9, "describes an encoder of"),
        ("num_layers", "1", "num_layers: expected an integer from 1"),
        ("num_heads", -2, "num_heads: expected an integer from 1"),
        ("dropout", "a", "dropout: expected a number"),
        ("hidden_dim", None, "hidden_dim: expected an integer"),
    ],
)
def test_a_preset_of_other_sizes_than_its_weights(
    key: str, value: Any, message: str, preset: Path, copy_of: Any
):
    folder = copy_of(preset)
    config = json.loads((folder / "config.json").read_text())
    config["config"][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused(lambda path: SpanBertBackbone.from_preset(str(path)), folder, message)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"registered_name": 3}'),
        ("config.json", '{"registered_name": "a", "class_name": "SpanBertBackbone"}'),
        ("task.json", "[]"),
        ("task.json", '{"class_name": ["SpanBertTextClassifier"]}'),
        ("task.json", '{"class_name": "SpanBertTextClassifier"}'),
        ("model.weights.h5", "no weights"),
        ("task.weights.h5", "no weights"),
        ("assets/tokenizer/vocabulary.txt", "a\n"),
    ],
)
def test_a_preset_with_a_file_of_something_else(
    name: str, content: str, preset: Path, copy_of: Any
):
    folder = copy_of(preset)
    (folder / name).write_text(content)
    with pytest.raises((ValueError, OSError)):
        load_task(folder)


@pytest.mark.parametrize("lines", [slice(0, -1), slice(0, -9)])
def test_a_preset_whose_vocabulary_was_cut(lines: slice, preset: Path, copy_of: Any):
    folder = copy_of(preset)
    edit_lines(folder / "assets/tokenizer/vocabulary.txt", lambda pieces: pieces[lines])
    for load in (load_task, spanbert_tf.load_backbone, spanbert_tf.load_tokenizer):
        refused(load, folder, "word pieces, but was saved with 30")


# SavedModels.


def test_a_saved_model_of_other_sizes_or_pieces_than_its_weights(models: Path, copy_of: Any):
    folder = copy_of(models / "encoder" / "1")
    description = folder / "assets" / "encoder.json"
    whole = description.read_text()
    config = json.loads(whole)["backbone"]
    for changes, message in (
        ({"num_layers": 10**6}, "describes an encoder of"),
        ({"num_layers": 1}, "other weights in its variables"),
        ({"hidden_dim": "14"}, "hidden_dim: expected an integer"),
        ({"heads": 1}, r"not known: \['heads'\]"),
    ):
        edit_json(description, backbone={**config, **changes})
        refused(restore_encoder, folder, message)
    description.write_text(whole)
    edit_json(description, pretrainer={"max_targets": 0})
    refused(restore_encoder, folder, "span_boundary is missing; max_targets: expected")
    description.write_text(whole)
    edit_lines(folder / "assets" / "vocab.txt", lambda pieces: pieces[:-1])
    for load in (spanbert_tf.load_tokenizer, spanbert_tf.load_backbone):
        refused(load, folder, "29 word pieces, but the encoder has 30 embeddings")
    (folder / "variables" / "variables.index").write_bytes(b"no index")
    for load in (restore_encoder, spanbert_tf.load_tokenizer, spanbert_tf.load):
        refused(load, folder, "is not (the|a)")


def test_a_saved_model_of_weights_that_are_no_numbers(models: Path, tmp_path: Path):
    for name, load in (("encoder", spanbert_tf.load), ("classifier", load_task)):
        folder = tmp_path / f"copy_{name}"
        model = tf.saved_model.load(str(models / name / "1"))
        values = model.variables[0].numpy()
        values[3, 1] = np.nan
        model.variables[0].assign(values)
        shutil.copytree(models / name / "1", folder)
        # The graph as it was, other variables.
        checkpoint = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        tensors = {
            key: checkpoint.get_tensor(key) for key in checkpoint.get_variable_to_shape_map()
        }
        for key, tensor in tensors.items():
            if np.shape(tensor) == values.shape:
                tensors[key] = values
        names = sorted(tensors)
        tf.raw_ops.SaveV2(
            prefix=str(folder / "variables" / "variables"),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tensors[key] for key in names],
        )
        refused(load, folder, "NaN or infinite")
        if name == "encoder":
            refused(restore_encoder, folder, "NaN or infinite")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": {}}, "class_names is missing"),
        ({"decoder": {"class_names": [1, 2, 3]}}, "class_names: expected"),
        ({"decoder": {"class_names": ["a"]}}, "is not a SavedModel for text-class"),
        ({"decoder": {"class_names": ["a", "b", "c"], "more": 1}}, "more is unknown"),
        ({"decoder": 3}, "decoder: expected an object"),
        ({"task": 3}, "task: expected a string"),
    ],
)
def test_a_saved_model_that_says_something_else_of_its_task(
    change: dict[str, Any], message: str, models: Path, copy_of: Any
):
    folder = copy_of(models / "classifier" / "1")
    edit_json(folder / "assets" / "task.json", **change)
    with pytest.raises(ValueError, match=message):
        load_task(folder)


def test_a_saved_model_that_is_damaged(models: Path, copy_of: Any):
    folder = copy_of(models / "classifier" / "1")
    graph = folder / "saved_model.pb"
    for content in (b"", b"no graph", graph.read_bytes()[:2000]):
        graph.write_bytes(content)
        refused(load_task, folder, "is not a SavedModel, or damaged")


class Writer(tf.Module):
    """A model that writes a file when it is asked."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.size(text)
        # In a branch, and so in a function of its own.
        tf.cond(count > 0, lambda: tf.io.write_file(self.path, text[0]), tf.no_op)
        return {"probabilities": tf.ones([count, 2]) / 2}


def test_a_saved_model_is_a_program(tmp_path: Path):
    folder, written = tmp_path / "model", tmp_path / "written"
    tf.saved_model.save(Writer(written), str(folder))
    (folder / "assets").mkdir(exist_ok=True)
    task = {"task": "text-classification", "decoder": {"class_names": ["a", "b"]}}
    (folder / "assets" / "task.json").write_text(json.dumps(task))
    assert "WriteFile" in callable_operations(folder)
    for load in (load_task, spanbert_tf.load):
        with pytest.raises(CheckpointError, match=r"a program .*WriteFile.*pass trust=True"):
            load(folder)
    assert not written.exists()
    # Whoever trusts it gets what it does.
    assert load_task(folder, trust=True)("text").label == "a"
    assert written.read_text() == "text"


def test_what_saves_variables_may_not_be_called_as_the_model(tmp_path: Path):
    """Every SavedModel has these operations, where TensorFlow does not run them."""
    module = tf.Module()
    module.variable = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def save(path: tf.Tensor) -> tf.Tensor:
        tf.raw_ops.SaveV2(
            prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[module.variable]
        )
        return path

    module.save = save
    tf.saved_model.save(module, str(tmp_path / "model"))
    with pytest.raises(CheckpointError, match="SaveV2"):
        spanbert_tf.load(tmp_path / "model")


# LiteRT.


def test_an_export_for_litert_that_is_damaged(lite: Path, copy_of: Any):
    folder = copy_of(lite)
    file = folder / "litert.json"
    whole = json.loads(file.read_text())
    for changes, message in (
        ({"preprocessor": {"sequence_length": 10**9}}, "sequence_length: expected an integer"),
        ({"preprocessor": {"sequence_length": "8"}}, "sequence_length: expected an integer"),
        ({"preprocessor": {"sequence_length": 8, "a": 1}}, "is not an export for LiteRT"),
        ({"lowercase": "true"}, "lowercase: expected true or false"),
        ({"decoder": {"class_names": ["a", "b"]}}, "is not an export for LiteRT"),
        ({"vocabulary": "0"}, "is not the vocabulary"),
        ({"task": None}, "width is missing"),
    ):
        file.write_text(json.dumps({**whole, **changes}))
        refused(spanbert_tf.load_litert, folder, message)
    file.write_text(json.dumps(whole))
    edit_lines(folder / "vocab.txt", lambda pieces: [*pieces, "more"])
    refused(spanbert_tf.load_litert, folder, r"31 word pieces\) is not the vocabulary")
    edit_lines(folder / "vocab.txt", lambda pieces: pieces[:-1])
    network = folder / "network.tflite"
    content = network.read_bytes()
    network.write_bytes(content[: len(content) // 2])
    refused(spanbert_tf.load_litert, folder, "is not a network of LiteRT")
    # Of each weight the bytes, of which the first number becomes NaN.
    kernel = spanbert_tf.load_litert(lite)  # It is whole.
    assert kernel("a fine film").label


def test_an_export_for_litert_of_weights_that_are_no_numbers(
    lite: Path, classifier: SpanBertTextClassifier, copy_of: Any
):
    folder = copy_of(lite)
    network = folder / "network.tflite"
    embeddings = classifier.backbone.token_embedding.get_weights()[0]
    content, row = network.read_bytes(), embeddings[7].tobytes()
    assert content.count(row) == 1
    network.write_bytes(content.replace(row, np.full_like(embeddings[7], np.nan).tobytes()))
    refused(spanbert_tf.load_litert, folder, "NaN or infinite")


# What a model cannot answer.


@pytest.mark.parametrize(
    ("name", "ids", "message"),
    [
        ("input_word_ids", [2, 30], "token_ids must be from 0 to 29"),
        ("input_word_ids", [2, -1], "token_ids must be from 0 to 29"),
        ("input_type_ids", [0, 2], "segment_ids must be from 0 to 1"),
        ("input_type_ids", [7, 0], "segment_ids must be from 0 to 1"),
        (None, [3] * 41, "at most max_sequence_length=40"),
    ],
)
def test_ids_that_a_table_has_no_row_for(
    name: str | None, ids: list[int], message: str, models: Path, backbone: SpanBertBackbone
):
    inputs = {
        of: tf.constant([ids if name in (of, None) else [1] * len(ids)])
        for of in ("input_word_ids", "input_mask", "input_type_ids")
    }
    if name is None:
        inputs["input_type_ids"] = tf.zeros_like(inputs["input_type_ids"])
    model = encoder_of(models)
    for call in (model, lambda inputs: model.signatures["tokens"](**inputs)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(inputs)
    features = {
        "token_ids": inputs["input_word_ids"],
        "segment_ids": inputs["input_type_ids"],
        "padding_mask": inputs["input_mask"],
    }
    with pytest.raises(ValueError, match=message):
        backbone(features)


_ENCODERS: dict[Path, Any] = {}


def encoder_of(models: Path) -> Any:
    """The exported encoder, loaded once."""
    if models not in _ENCODERS:
        _ENCODERS[models] = tf.saved_model.load(str(models / "encoder" / "1"))
    return _ENCODERS[models]


@pytest.mark.parametrize("name", ["encoder", "classifier", "preprocessor"])
def test_texts_of_another_rank(name: str, models: Path):
    """They would end the process, of TF Serving too."""
    serve = tf.saved_model.load(str(models / name / "1")).signatures["serving_default"]
    for text in (tf.constant("a"), tf.constant([["a"], ["b"]])):
        with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible with expected"):
            serve(text=text)
    assert serve(text=tf.constant(["a"]))


def test_handles_of_other_schemes_are_refused():
    for handle in ("gs://bucket/model", "s3://bucket/model", "file:///model", "nowhere://model"):
        with pytest.raises(ValueError, match=f"{handle}: handles begin with hf://"):
            find(handle)


def test_a_tokenizer_knows_how_many_pieces_were_saved(tokenizer: SpanBertTokenizer, tmp_path: Path):
    tokenizer.save_assets(str(tmp_path))
    again = SpanBertTokenizer.from_config(tokenizer.get_config())
    again.load_assets(str(tmp_path))
    assert again.get_vocabulary() == tokenizer.get_vocabulary()
    edit_lines(tmp_path / "vocabulary.txt", lambda pieces: pieces[:-1])
    with pytest.raises(ValueError, match="29 word pieces, but was saved with 30"):
        again.load_assets(str(tmp_path))
