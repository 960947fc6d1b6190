"""Entities in Chinese, from the command line: Weibo, a Chinese vocabulary, and an export of it."""

import json
from pathlib import Path

import keras
import pytest

from spanbert_tf import SpanBertBackbone, SpanBertTokenClassifier, SpanBertTokenizer
from spanbert_tf.cli.main import main


@pytest.mark.slow
def test_weibo(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Two hundred steps of a small new network find more than one name in ten."""
    keras.utils.set_random_seed(0)
    tokenizer = SpanBertTokenizer(str(shared_data / "vocab" / "bert-base-chinese-vocab.txt"))
    backbone = SpanBertBackbone(tokenizer.vocabulary_size(), 1, 2, 32, 64)
    backbone.save_to_preset(str(tmp_path / "encoder"))
    tokenizer.save_to_preset(str(tmp_path / "encoder"))
    weibo, run = shared_data / "weibo_ner", tmp_path / "run"
    words = ["finetune", "--task", "token-classification", "--encoder", tmp_path / "encoder"]
    words += ["--train", weibo / "train.json", "--validation", weibo / "dev.json", "--output", run]
    words += ["--epochs", 4, "--learning-rate", "5e-3", "--repair-tags", "--json"]
    assert main([*map(str, words)]) == 0
    figures = json.loads(capsys.readouterr().out)["validation"]
    assert figures["f1"] > 0.1, figures

    lines = (weibo / "dev.json").read_text("utf-8").splitlines()[:40]
    texts = ["".join(json.loads(line)["text"]) for line in lines]
    assert main(["predict", str(run / "saved_model" / "1"), *texts, "--json"]) == 0
    served = json.loads(capsys.readouterr().out)
    found = SpanBertTokenClassifier.from_preset(str(run / "preset")).find_entities(texts)
    assert [[(e["start"], e["end"]) for e in one["answers"]] for one in served] == [
        [(entity.start, entity.end) for entity in of_text] for of_text in found
    ]
    pairs = [(text, entity) for text, of in zip(texts, found, strict=True) for entity in of]
    assert pairs
    assert all(text[entity.start : entity.end] == entity.word for text, entity in pairs)
