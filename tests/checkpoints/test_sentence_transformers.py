"""Folders of sentence-transformers: the vectors of `transformers` by hand, and both ways."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from spanbert_tf import (
    SpanBertTextEmbedder,
    load_embedder,
    load_task,
    save_sentence_transformers,
)
from spanbert_tf.checkpoints.sentence_transformers import load_sentence_transformers
from spanbert_tf.cli.main import main
from spanbert_tf.foreign_files import CheckpointError
from spanbert_tf.handles import Kind, bundled_minilm, find
from tests.checkpoints.fake_hub import FakeHub
from tests.checkpoints.foreign_folders import write_checkpoint
from tests.layer_checks import randomize

TEXTS = ["w1 w2w3 w5", "w4", "", "w2 w2 w7 w5 w1 w4 w2 w1 w1 w2 w5"]


def vectors_by_transformers(folder: Path, texts: list[str], length: int) -> np.ndarray:
    """What sentence-transformers computes, by transformers and NumPy alone."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state.numpy()
    modules = [module["path"] for module in json.loads((folder / "modules.json").read_text())]
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    mask = inputs["attention_mask"].numpy()[..., None]
    vectors = (states * mask).sum(1) / mask.sum(1)
    if pooling["pooling_mode_cls_token"]:
        vectors = states[:, 0]
    if "2_Dense" in modules:
        from safetensors.numpy import load_file

        dense = load_file(folder / "2_Dense" / "model.safetensors")
        vectors = vectors @ dense["linear.weight"].T + dense["linear.bias"]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small one, as the library writes it, without a linear layer."""
    folder = write_checkpoint(tmp_path / "small")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{name}"}
        for n, (path, name) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 6, "pooling_mode_cls_token": False}
    pooling |= {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    return folder


@pytest.mark.slow
def test_minilm_has_the_vectors_of_transformers():
    try:
        folder = bundled_minilm()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    found = find(folder)
    assert (found.kind, found.task) == (Kind.HUGGING_FACE, "text-embedding")
    embedder = load_embedder(folder)
    assert embedder.model.preprocessor.sequence_length == 256
    texts = ["A man is eating food.", "Someone eats.", "It rained all day in Paris." * 30]
    expected = vectors_by_transformers(folder, texts, 256)
    np.testing.assert_allclose(embedder.encode_text(texts), expected, atol=1e-5)
    assert embedder.similarity(texts[0], texts[1]) > embedder.similarity(texts[0], texts[2])


def test_a_folder_is_found_and_read(folder: Path):
    found = find(folder)
    assert (found.kind, found.task) == (Kind.HUGGING_FACE, "text-embedding")
    task = load_task(folder)
    assert task.model.preprocessor.sequence_length == 7
    np.testing.assert_allclose(task(TEXTS), vectors_by_transformers(folder, TEXTS, 7), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "width"), [("mean", None), ("cls", None), ("mean", 5)])
def test_there_and_back(folder: Path, tmp_path: Path, pooling: str, width: int | None):
    first = load_sentence_transformers(folder)
    embedder = SpanBertTextEmbedder(
        first.backbone, first.preprocessor, projection_dim=width, pooling=pooling
    )
    randomize(embedder, seed=2)
    save_sentence_transformers(embedder, tmp_path / "saved")
    expected = embedder.encode_text(TEXTS)
    theirs = vectors_by_transformers(tmp_path / "saved", TEXTS, 7)
    np.testing.assert_allclose(theirs, expected, atol=1e-5)
    again = load_sentence_transformers(tmp_path / "saved")
    np.testing.assert_allclose(again.encode_text(TEXTS), expected, atol=1e-6)
    assert (again.pooling, again.projection_dim) == (pooling, width)
    assert again.preprocessor.sequence_length == 7
    with pytest.raises(FileExistsError):
        save_sentence_transformers(embedder, tmp_path / "saved")
    save_sentence_transformers(embedder, tmp_path / "saved", overwrite=True)


@pytest.mark.slow
def test_an_export_keeps_the_pooling_and_the_linear_layer(folder: Path, tmp_path: Path):
    first = load_sentence_transformers(folder)
    embedder = SpanBertTextEmbedder(
        first.backbone, first.preprocessor, projection_dim=5, pooling="cls"
    )
    randomize(embedder, seed=2)
    saved, exported = tmp_path / "saved", tmp_path / "exported"
    save_sentence_transformers(embedder, saved)
    assert main(["export", str(saved), str(exported), "--litert", "float32"]) == 0
    vectors = load_task(exported).encode_text(TEXTS)
    np.testing.assert_allclose(vectors, embedder.encode_text(TEXTS), atol=1e-5)


def test_newer_names_of_pooling(folder: Path):
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert load_sentence_transformers(folder).pooling == "cls"


def test_the_hub_gives_the_modules_too(folder: Path, monkeypatch: pytest.MonkeyPatch):
    hub = FakeHub(folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    np.testing.assert_array_equal(load_task("hf://me/small")(TEXTS), load_task(folder)(TEXTS))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "{}", "modules.json: expected a list of objects"),
        ("modules.json", "[", "modules.json is not JSON, or damaged"),
        ("modules.json", "[{}]", "path is missing; type is missing"),
        ("modules.json", '[{"path": "../x", "type": "a.Transformer"}]', "outside of its folder"),
        ("modules.json", '[{"path": "", "type": "a.Transformer"}]', "expected Transformer and Po"),
        ("1_Pooling/config.json", '{"pooling_mode": "max"}', r"the mean or \[CLS\] for pooling"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}',
            r"got \['pooling_mode_mean_tokens', 'pooling_mode_max_tokens'\]",
        ),
        ("sentence_bert_config.json", '{"max_seq_length": 0}', "max_seq_length: expected"),
    ],
)
def test_what_cannot_be_equalled_is_refused(folder: Path, file: str, content: str, message: str):
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_sentence_transformers(folder)


def test_linear_layers_are_checked(folder: Path, tmp_path: Path):
    first = load_sentence_transformers(folder)
    embedder = SpanBertTextEmbedder(first.backbone, first.preprocessor, projection_dim=5)
    saved = tmp_path / "saved"
    save_sentence_transformers(embedder, saved)
    config = saved / "2_Dense" / "config.json"
    right = json.loads(config.read_text())
    assert right["out_features"] == 5
    config.write_text(json.dumps({**right, "activation_function": "torch.nn.Tanh"}))
    with pytest.raises(CheckpointError, match=r"expected no activation .* got 'torch.nn.Tanh'"):
        load_sentence_transformers(saved)
    config.write_text(json.dumps(right))
    shutil.copy(saved / "model.safetensors", saved / "2_Dense" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"expected a matrix linear\.weight"):
        load_sentence_transformers(saved)
    with pytest.raises(ValueError, match="the embedder has no preprocessor"):
        save_sentence_transformers(SpanBertTextEmbedder(first.backbone), tmp_path / "no")
