"""Files for TensorFlow Serving, read again by its messages, which are declared here anew."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow.core.framework import tensor_pb2

from spanbert_tf.cli.main import main
from spanbert_tf.export import warm_up
from spanbert_tf.export.serving_config import is_own, served_folders, write_serving_config
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifier

PACKAGE = "tensorflow.serving"
STRING, BYTES, INT64, MESSAGE = 9, 12, 3, 11
OPTIONAL, REPEATED = 1, 3


def message_classes(messages: dict[str, list[tuple]]) -> Any:
    """Classes of messages of proto3: names, and of each field its name, number, type and label."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(
        name="messages.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, label in fields:
            field = message.field.add(name=field_name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = MESSAGE, f".{PACKAGE}.{kind}"
            else:
                field.type = kind
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{PACKAGE}.{name}")
    )


def requests(folder: Path) -> list[tuple[str, dict[str, str]]]:
    """Signature and inputs of each request; a map is a repeated message of a key and a value."""
    classes = message_classes(
        {
            "PredictionLog": [("predict_log", 6, "PredictLog", OPTIONAL)],
            "PredictLog": [("request", 1, "PredictRequest", OPTIONAL)],
            "PredictRequest": [
                ("model_spec", 1, "ModelSpec", OPTIONAL),
                ("inputs", 2, "Input", REPEATED),
            ],
            "ModelSpec": [("name", 1, STRING, OPTIONAL), ("signature_name", 3, STRING, OPTIONAL)],
            "Input": [("key", 1, STRING, OPTIONAL), ("value", 2, BYTES, OPTIONAL)],
        }
    )
    read = []
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(path)):
        request = classes("PredictionLog").FromString(record.numpy()).predict_log.request
        inputs = {}
        for entry in request.inputs:
            tensor = tf.make_ndarray(tensor_pb2.TensorProto.FromString(entry.value))
            assert tensor.shape == (1,)
            inputs[entry.key] = tensor[0].decode()
        read.append((request.model_spec.signature_name, inputs))
    return read


@pytest.mark.slow
def test_each_signature_is_warmed_at_each_length(models: Path, classifier: SpanBertTextClassifier):
    folder = models / "classifier" / "1"
    read = requests(folder)
    assert {name: set(inputs) for name, inputs in read} == {
        "serving_default": {"text"},
        "pairs": {"text", "pair"},
    }
    served = tf.saved_model.load(str(folder))
    for name, inputs in read:
        outputs = served.signatures[name](**{n: tf.constant([x]) for n, x in inputs.items()})
        assert np.isfinite(outputs["probabilities"]).all()
    lengths = {"serving_default": set(), "pairs": set()}
    for name, inputs in read:
        columns = [tf.constant([inputs[n]]) for n in classifier.signatures[name]]
        rows = classifier.preprocessor.rows(*columns)
        lengths[name].add(classifier.preprocessor.pack(rows)["token_ids"].shape[1])
    for name, columns in classifier.signatures.items():
        texts = [[" ".join("a" * count)] + [""] * (len(columns) - 1) for count in range(45)]
        rows = [
            classifier.preprocessor.rows(*map(tf.constant, zip(of, strict=True))) for of in texts
        ]
        padded = {classifier.preprocessor.pack(of)["token_ids"].shape[1] for of in rows}
        assert len(padded) > 4
        assert lengths[name] == padded


def test_lengths_of_messages_may_need_several_bytes():
    assert [warm_up._varint(x) for x in (0, 127, 128, 300)] == [
        *(b"\x00", b"\x7f", b"\x80\x01", b"\xac\x02")
    ]


def test_configuration(tmp_path: Path):
    models = tmp_path / 'my "models"'
    for name in ("reviews/1", "reviews/2", "entities/7", "notes/drafts"):
        (models / name).mkdir(parents=True)
        (models / name / "saved_model.pb").touch()
    write_serving_config(models / "new" / "1", tmp_path / "config", 16, 2.5)
    classes = message_classes(
        {
            "ModelServerConfig": [("model_config_list", 1, "ModelConfigList", OPTIONAL)],
            "ModelConfigList": [("config", 1, "ModelConfig", REPEATED)],
            "ModelConfig": [
                ("name", 1, STRING, OPTIONAL),
                ("base_path", 2, STRING, OPTIONAL),
                ("model_platform", 4, STRING, OPTIONAL),
            ],
            "BatchingParameters": [
                ("max_batch_size", 1, "Int64Value", OPTIONAL),
                ("batch_timeout_micros", 2, "Int64Value", OPTIONAL),
                ("max_enqueued_batches", 3, "Int64Value", OPTIONAL),
                ("num_batch_threads", 4, "Int64Value", OPTIONAL),
            ],
            "Int64Value": [("value", 1, INT64, OPTIONAL)],
        }
    )
    text = (tmp_path / "config" / "models.config").read_text("utf-8")
    configs = text_format.Parse(text, classes("ModelServerConfig")()).model_config_list.config
    assert [(of.name, of.base_path, of.model_platform) for of in configs] == [
        (name, str(models / name), "tensorflow") for name in ("entities", "new", "reviews")
    ]
    text = (tmp_path / "config" / "batching_parameters").read_text("utf-8")
    batching = text_format.Parse(text, classes("BatchingParameters")())
    assert (batching.max_batch_size.value, batching.batch_timeout_micros.value) == (16, 2500)
    assert batching.num_batch_threads.value >= 1
    with pytest.raises(ValueError, match="expected a folder NAME/VERSION"):
        served_folders(models / "reviews")
    with pytest.raises(ValueError, match="expected a folder NAME/VERSION"):
        served_folders(Path("/1"))


def test_files_that_are_ours_to_replace(tmp_path: Path):
    models, batching = tmp_path / "models.config", tmp_path / "batching_parameters"
    assert not is_own(models)
    write_serving_config(tmp_path / "new" / "1", tmp_path)
    assert is_own(models)
    assert is_own(batching)
    write_serving_config(tmp_path / "new" / "1", tmp_path, max_batch_size=64)
    assert not is_own(batching)  # Somebody has tuned it.
    models.write_bytes(b"\xff mine")
    assert not is_own(models)


@pytest.mark.slow
def test_export_with_a_configuration(
    classifier: SpanBertTextClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    preset, model = tmp_path / "preset", tmp_path / "models" / "mine" / "1"
    classifier.save_to_preset(str(preset))
    config = tmp_path / "config"
    words = ["export", str(preset), str(model), "--serving-config", str(config)]
    assert main([*words, "--litert", "int8"]) == 1
    assert "`--serving-config` is for SavedModels" in capsys.readouterr().err
    assert main([*words[:2], str(model.parent / "v1"), *words[3:]]) == 1
    assert "expected a folder NAME/VERSION" in capsys.readouterr().err
    write_serving_config(model, config)
    tuned = (config / "batching_parameters").read_text()
    (config / "batching_parameters").write_text("mine")
    assert main(words) == 1
    assert "batching_parameters exists" in capsys.readouterr().err
    (config / "batching_parameters").write_text(tuned)
    (config / "models.config").write_text("model_config_list {\n}\n")  # Of no models yet.
    assert main(words) == 0
    assert f'base_path: "{model.parent}"' in (tmp_path / "config" / "models.config").read_text()
    assert requests(model)
    assert main([*words, "--overwrite"]) == 0
    (tmp_path / "config" / "models.config").write_text("mine")
    assert main([*words[:2], str(model.parent / "2"), *words[3:]]) == 1
    assert "models.config exists" in capsys.readouterr().err
    assert (tmp_path / "config" / "models.config").read_text() == "mine"
