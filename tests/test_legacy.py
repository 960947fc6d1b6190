"""The Keras 2 lane, in processes that never see Keras 3 layers, and its errors."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest

from spanbert_tf import legacy
from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export.hub import export_encoder
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxy"]

# Fine-tunes on "does token 20 occur", first with the encoder frozen.
SCRIPT = """
import json, sys
from spanbert_tf import legacy

addons = legacy.import_addons()
aliases = sorted(name for name in sys.modules if name.startswith("keras.src.engine"))

import numpy as np
import tensorflow as tf

generator = np.random.default_rng(1)
ids = generator.integers(5, 30, (96, 9), "int32")
ids[::2, 4] = 20
inputs = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": ids * 0}
labels = np.eye(2)[(ids == 20).any(axis=1).astype(int)]
report = {"aliases": aliases, "keras_hub": "keras_hub" in sys.modules}
for name, trainable in [("frozen", False), ("trained", True)]:
    encoder = legacy.keras2_encoder(sys.argv[1], trainable=trainable)
    features = {key: tf.keras.Input((None,), dtype="int32", name=key) for key in inputs}
    embedding = encoder(features)["default"]
    outputs = tf.keras.layers.Dense(2, activation="softmax")(embedding)
    model = tf.keras.Model(features, outputs)
    score = addons.metrics.F1Score(2, average="macro")
    model.compile(addons.optimizers.LAMB(0.02), "categorical_crossentropy", metrics=[score])
    weights = [weight for weight in encoder.weights if weight.dtype == tf.float32]
    before = [weight.numpy() for weight in weights]
    history = model.fit(inputs, labels, epochs=4, batch_size=16, shuffle=False, verbose=0)
    moved = [float(abs(w.numpy() - old).max()) for w, old in zip(weights, before)]
    report[name] = {"moved": moved, **history.history}
json.dump(report, sys.stdout)
"""


@pytest.mark.slow
def test_addons_fine_tune_an_exported_encoder(tmp_path: Path):
    # Looked for, not imported: here they would find Keras 3.
    for module in ("tensorflow_addons", "tensorflow_hub", "tf_keras", "pkg_resources"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is missing: pip install 'spanbert-tf[addons]'")
    keras.utils.set_random_seed(0)
    backbone = SpanBertBackbone(len(PIECES), 1, 2, 16, 24, max_sequence_length=12)
    export_encoder(backbone, SpanBertTokenizer(PIECES), tmp_path / "1")
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "1")],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["aliases"] == []
    assert not report["keras_hub"]
    trained, frozen = report["trained"], report["frozen"]
    assert len(trained["moved"]) == len(backbone.trainable_variables)
    assert min(trained["moved"]) > 0
    assert max(frozen["moved"]) == 0
    for history in (trained, frozen):
        assert history["loss"][-1] < history["loss"][0]
        assert all(0 <= score <= 1 for score in history["f1_score"])
    assert trained["loss"][-1] < frozen["loss"][-1]


@pytest.mark.parametrize("enter", [legacy.import_addons, lambda: legacy.keras2_encoder("anywhere")])
def test_lane_needs_its_variable(enter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    with pytest.raises(RuntimeError, match=r"TF_USE_LEGACY_KERAS=1, set before.*it is None"):
        enter()


def test_variable_set_too_late_is_named(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tf_keras")
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    with pytest.raises(RuntimeError, match="too late"):
        legacy.keras2_encoder("anywhere")


def test_addons_need_an_older_python(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    with pytest.raises(RuntimeError, match=r"for Python 3\.11 and older"):
        legacy.import_addons()


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs tf_keras.*pip install 'spanbert-tf\[addons\]'"
    ):
        legacy.keras2_encoder("anywhere")
