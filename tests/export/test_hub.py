"""Exported encoders and preprocessors, in a fresh process and in this one."""

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export import saved_model
from spanbert_tf.export.hub import export_encoder, export_preprocessor
from spanbert_tf.export.saved_model import custom_operations
from spanbert_tf.layers.kernels.onednn import softmax_sums_in_float32
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer
from tests.conftest import HAS_ONEDNN_BFLOAT16

# Nearly all of them wait for the exports and for the fresh process.
pytestmark = pytest.mark.slow

Arrays = dict[str, np.ndarray]
# What tensorflow-text 2.12, the one inside TF Serving, has of what the package may use.
ALLOWED = {
    "CaseFoldUTF8",
    "FastBertNormalize",
    "FastWordpieceTokenizeWithOffsets",
    "NormalizeUTF8",
    "RegexSplitWithOffsets",
    "WordpieceTokenizeWithOffsets",
}


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=0, atol=1e-6)


def by_hub_names(features: Arrays) -> dict[str, tf.Tensor]:
    names = {
        "token_ids": "input_word_ids",
        "segment_ids": "input_type_ids",
        "padding_mask": "input_mask",
    }
    return {names[ours]: tf.constant(tensor) for ours, tensor in features.items()}


def test_package_is_not_needed(in_fresh_process: Arrays):
    assert in_fresh_process["modules"].tolist() == []


def test_outputs_are_those_of_the_backbone(
    in_fresh_process: Arrays, backbone: SpanBertBackbone, features: Arrays
):
    expected = backbone(features)
    assert in_fresh_process["keys"].tolist() == [
        "default",
        "encoder_outputs",
        "pooled_output",
        "sequence_output",
    ]
    assert_close(in_fresh_process["sequence_output"], expected["sequence_output"])
    assert_close(in_fresh_process["pooled_output"], expected["pooled_output"])
    assert_close(in_fresh_process["default"], expected["pooled_output"])


def test_encoder_outputs_are_all_layers(in_fresh_process: Arrays, backbone: SpanBertBackbone):
    states = in_fresh_process["encoder_outputs"]
    assert states.shape == (2, 2, 8, 14)
    assert_close(states[-1], in_fresh_process["sequence_output"])
    last = backbone.transformer_layers[-1]
    mask = np.array([[1] * 8, [1] * 5 + [0] * 3])
    bias = np.where(mask, 0.0, -1e30)[:, None, None, :]
    assert_close(last(states[0], bias.astype("float32")), states[-1])


@pytest.mark.parametrize("form", ["", "_of_arrays", "_by_keywords"])
def test_three_tensors_give_the_embedding(in_fresh_process: Arrays, form: str):
    assert_close(in_fresh_process["embedding" + form], in_fresh_process["pooled_output"])


def test_hub_load_gives_the_same(in_fresh_process: Arrays):
    if "hub_is_missing" in in_fresh_process:
        pytest.skip(f"tensorflow_hub does not import: {in_fresh_process['hub_is_missing']}")
    assert_close(in_fresh_process["hub_embedding"], in_fresh_process["pooled_output"])


@pytest.mark.parametrize("form", ["dict", "tensors"])
def test_dropout_is_drawn_anew_in_each_call(in_fresh_process: Arrays, form: str):
    first, second = in_fresh_process[f"training_{form}"]
    assert np.abs(first - second).max() > 1e-3
    assert np.abs(first - in_fresh_process["pooled_output"]).max() > 1e-3


def test_object_lists_variables_and_assets(
    in_fresh_process: Arrays, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    assert in_fresh_process["variables"] == len(backbone.variables)
    assert in_fresh_process["trainable_variables"] == len(backbone.trainable_variables)
    assert in_fresh_process["regularization_losses"] == 0
    assert str(in_fresh_process["vocabulary"]).split("\n") == [*tokenizer.get_vocabulary(), ""]
    assert in_fresh_process["do_lower_case"]
    assert in_fresh_process["signatures"].tolist() == ["serving_default", "tokens"]


def test_text_signature_tokenizes_packs_and_cuts(
    in_fresh_process: Arrays, backbone: SpanBertBackbone
):
    assert in_fresh_process["served_keys"].tolist() == [
        "default",
        "pooled_output",
        "sequence_output",
    ]
    snowman = [2, 5, 6, 7, 8, 9, 10, 3]  # [CLS] the snow ##man melt ##s . [SEP]
    film = [2, *([12, 13, 15, 11] * 10)[:38], 3]  # Cut to 40 tokens.
    expected = backbone(
        {
            "token_ids": np.array([snowman + [0] * 32, film], "int32"),
            "segment_ids": np.zeros((2, 40), "int32"),
            "padding_mask": np.array([[1] * 8 + [0] * 32, [1] * 40], "int32"),
        }
    )
    assert_close(in_fresh_process["served_sequence_output"], expected["sequence_output"])
    assert_close(in_fresh_process["served_pooled_output"], expected["pooled_output"])


@pytest.mark.slow
def test_long_texts_are_read_whole_where_asked(
    tmp_path: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    config = {**backbone.get_config(), "attention": "bucketed", "block_size": 8}
    long = SpanBertBackbone.from_config({**config, "long_positions": "restart"})
    long.set_weights(backbone.get_weights())
    export_encoder(long, tokenizer, tmp_path / "long", sequence_length=100)
    served = tf.saved_model.load(str(tmp_path / "long")).signatures["serving_default"]
    film = [2, *([12, 13, 15, 11] * 30)[:98], 3]  # Of 120 pieces, 98 and two special tokens.
    found = served(text=tf.constant(["a fine film, " * 30]))["sequence_output"]
    ids = np.array([film], "int32")
    expected = long(
        {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}
    )
    assert_close(found, expected["sequence_output"])


def test_longer_texts_than_positions_are_refused(
    tmp_path: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    with pytest.raises(ValueError, match="sequence_length=100, but the encoder has positions for"):
        export_encoder(backbone, tokenizer, tmp_path / "long", sequence_length=100)


def test_token_signature_gives_the_same(in_fresh_process: Arrays):
    assert_close(in_fresh_process["tokens_pooled_output"], in_fresh_process["pooled_output"])


def test_gradient_reaches_every_variable(models: Path, features: Arrays):
    encoder = tf.saved_model.load(str(models / "encoder" / "1"))
    with tf.GradientTape() as tape:
        states = encoder(by_hub_names(features), training=True)["sequence_output"]
        loss = tf.reduce_sum(states**3)
    variables = list(encoder.trainable_variables)
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None, variable.name
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name


def test_heads_of_a_pretrainer(
    in_fresh_process: Arrays, pretrainer: SpanBertPretrainer, features: Arrays
):
    states = np.asarray(pretrainer.backbone(features)["sequence_output"])
    masked = np.stack([states[0, [1, 6, 2]], states[1, [3, 0, 0]]])
    assert_close(in_fresh_process["mlm_logits"], pretrainer.mlm_head(masked))
    left = np.stack([states[0, [0, 4]], states[1, [0, 0]]])
    right = np.stack([states[0, [3, 7]], states[1, [4, 4]]])
    offsets = np.array([[1, 0], [2, 4]], "int32")
    assert_close(in_fresh_process["sbo_logits"], pretrainer.sbo_head(left, right, offsets))


def test_weights_of_heads_are_their_own(
    in_fresh_process: Arrays, pretrainer: SpanBertPretrainer, backbone: SpanBertBackbone
):
    """Four of the masked language model's transform and its bias; twice four, places and bias."""
    counts = {n: len(in_fresh_process[f"trainable_of_{n}"]) for n in ("encoder", "mlm", "sbo")}
    assert counts == {"encoder": len(backbone.trainable_variables), "mlm": 5, "sbo": 10}


def test_encoder_alone_has_no_heads(models: Path):
    encoder = tf.saved_model.load(str(models / "encoder" / "1"))
    assert not hasattr(encoder, "mlm")
    assert not hasattr(encoder, "sbo")


@pytest.mark.parametrize("name", ["encoder", "preprocessor", "classifier", "pretrained"])
def test_operations_are_those_of_tf_serving(models: Path, name: str):
    operations = custom_operations(models / name / "1")
    assert "FastWordpieceTokenizeWithOffsets" in operations
    assert operations <= ALLOWED


@pytest.mark.parametrize(
    ("name", "assets"),
    [("encoder", {"vocab.txt", "encoder.json"}), ("preprocessor", {"vocab.txt"})],
)
def test_folder_holds_a_saved_model_and_nothing_else(models: Path, name: str, assets: set[str]):
    folder = models / name / "1"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    variables = {"variables/variables.index", "variables/variables.data-00000-of-00001"}
    assets = {f"assets/{asset}" for asset in assets}
    assert files == {"saved_model.pb", "fingerprint.pb", *assets, *variables}
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_preprocessor_packs_single_sentences(in_fresh_process: Arrays):
    rows = [[2, 5, 6, 7, 8, 9, 10, 3, 0, 0, 0, 0], [2, 3] + [0] * 10]
    assert in_fresh_process["packed_input_word_ids"].tolist() == rows
    assert in_fresh_process["packed_input_mask"].tolist() == [[1] * 8 + [0] * 4, [1, 1] + [0] * 10]
    assert in_fresh_process["packed_input_type_ids"].tolist() == [[0] * 12] * 2
    assert in_fresh_process["preprocessor_served"].tolist() == rows
    assert in_fresh_process["single"].tolist() == rows


def test_preprocessor_tokenizes_with_offsets(in_fresh_process: Arrays):
    pieces = [[5, 6, 7, 8, 9, 10], [-1] * 6]
    assert in_fresh_process["pieces"].tolist() == pieces
    assert in_fresh_process["ids"].tolist() == pieces
    assert in_fresh_process["starts"].tolist() == [[0, 4, 8, 12, 16, 17], [-1] * 6]
    assert in_fresh_process["ends"].tolist() == [[3, 8, 11, 16, 17, 18], [-1] * 6]


def test_preprocessor_packs_pairs(in_fresh_process: Arrays):
    assert in_fresh_process["pair_input_word_ids"].tolist() == [
        [2, 5, 6, 7, 3, 5, 6, 3],
        [2, 3, 3, 0, 0, 0, 0, 0],
    ]
    assert in_fresh_process["pair_input_type_ids"].tolist() == [
        [0, 0, 0, 0, 0, 1, 1, 1],
        [0, 0, 1, 0, 0, 0, 0, 0],
    ]
    assert in_fresh_process["pair_input_mask"].tolist() == [[1] * 8, [1] * 3 + [0] * 5]


def test_preprocessor_packs_words(in_fresh_process: Arrays):
    assert in_fresh_process["of_words"].tolist() == [
        [2, 5, 6, 7, 3, 5, 6, 7, 3],
        [2, 3, 3, 0, 0, 0, 0, 0, 0],
    ]


def test_preprocessor_names_its_special_tokens(
    in_fresh_process: Arrays, tokenizer: SpanBertTokenizer
):
    special = {
        name.removeprefix("special_"): int(value)
        for name, value in in_fresh_process.items()
        if name.startswith("special_")
    }
    assert special == {
        "vocab_size": tokenizer.vocabulary_size(),
        "padding_id": 0,
        "unknown_id": 1,
        "start_of_sequence_id": 2,
        "end_of_segment_id": 3,
        "mask_id": 4,
    }


def test_half_precision_gives_float32(
    tmp_path: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer, features: Arrays
):
    half = SpanBertBackbone.from_config({**backbone.get_config(), "dtype": "mixed_bfloat16"})
    half.set_weights(backbone.get_weights())
    half.trainable = False  # A setting of this process, not of the model.
    export_encoder(half, tokenizer, tmp_path / "1")
    encoder = tf.saved_model.load(str(tmp_path / "1"))
    outputs = encoder(by_hub_names(features))
    assert {tensor.dtype for tensor in tf.nest.flatten(outputs)} == {tf.float32}
    expected = backbone(features)["sequence_output"]
    np.testing.assert_allclose(outputs["sequence_output"], expected, rtol=0, atol=0.1)
    assert len(encoder.trainable_variables) == len(backbone.trainable_variables)


def test_existing_folder_is_kept(models: Path, tokenizer: SpanBertTokenizer):
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export_preprocessor(tokenizer, models / "preprocessor" / "1")


def test_full_disk_leaves_the_old_model(
    tmp_path: Path, models: Path, tokenizer: SpanBertTokenizer, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "preprocessor" / "1"
    shutil.copytree(models / "preprocessor" / "1", path)

    def fill_the_disk(root: Any, folder: str, **kwargs: Any) -> None:
        (Path(folder) / "saved_model.pb").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tf.saved_model, "save", fill_the_disk)
        with pytest.raises(OSError, match="No space left"):
            export_preprocessor(tokenizer, path, sequence_length=9, overwrite=True)
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]
    assert tf.saved_model.load(str(path))(["snow"])["input_mask"].shape == (1, 12)

    # With room again, what TF Serving could not run is refused, and the rest replaces the old one.
    with monkeypatch.context() as patched:
        patched.setattr(saved_model, "SERVABLE_CUSTOM_OPS", frozenset({"FastBertNormalize"}))
        with pytest.raises(ValueError, match=r"lacks: \['FastWordpieceTokenizeWithOffsets'\]"):
            export_preprocessor(tokenizer, path, sequence_length=9, overwrite=True)
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]
    export_preprocessor(tokenizer, path, sequence_length=9, overwrite=True)
    assert tf.saved_model.load(str(path))(["snow"])["input_mask"].shape == (1, 9)


def test_tokenizer_of_another_model_is_refused(
    tmp_path: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    larger = SpanBertTokenizer([*tokenizer.get_vocabulary(), "more"])
    with pytest.raises(ValueError, match="31 pieces, more than the backbone's vocabulary_size=30"):
        export_encoder(backbone, larger, tmp_path / "1")


def test_too_short_sequences_are_refused(tmp_path: Path, tokenizer: SpanBertTokenizer):
    with pytest.raises(ValueError, match="sequence_length"):
        export_preprocessor(tokenizer, tmp_path / "1", sequence_length=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_softmax_of_bfloat16_is_left_in_float32(
    tmp_path: Path, backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer
):
    """Where it is served, no kernel may sum a softmax of bfloat16 in float32."""
    assert softmax_sums_in_float32("bfloat16") == HAS_ONEDNN_BFLOAT16
    half = SpanBertBackbone.from_config({**backbone.get_config(), "dtype": "mixed_bfloat16"})
    export_encoder(half, tokenizer, tmp_path / "1")
    model = saved_model_pb2.SavedModel.FromString((tmp_path / "1" / "saved_model.pb").read_bytes())
    functions = model.meta_graphs[0].graph_def.library.function
    nodes = [node for function in functions for node in function.node_def if node.op == "Softmax"]
    assert nodes
    assert {node.attr["T"].type for node in nodes} == {tf.float32.as_datatype_enum}
