"""Tasks as SavedModels: text in, answers out, in TF Serving or any TensorFlow program.

Letters: b batch.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.atomic_files import user_path
from spanbert_tf.export.operations import check_operations
from spanbert_tf.export.saved_model import saved_model_folder
from spanbert_tf.export.text_task import DESCRIPTION, TextTask, description_of
from spanbert_tf.export.warm_up import write_warm_up
from spanbert_tf.foreign_files import check_finite, read_json, reading
from spanbert_tf.handles import SAVED_MODEL_TASK_FILE
from spanbert_tf.models.lora import merge_lora
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.tasks.text_classifier import SpanBertTextClassifier

TEXTS_A_CALL = 32  # given to a SavedModel at once


def export_task(task: SpanBertTask, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Writes a task as a SavedModel that takes text.

    It is used without this package: by TF Serving, or after `tf.saved_model.load(path)` in a
    process that has imported `tensorflow` and `tensorflow_text`.  It has

    - the signatures that the task's class names, each from strings `[b]` to dense tensors
      `[b, ...]`; `serving_default` is always among them,
    - `__call__`, with the same texts by position, which gives the same dictionary,
    - in `assets/task.json` the name of the task and what makes answers of these tensors, by which
      `load_task` gives them the form that Keras gives,
    - requests that TF Serving runs before it answers the first, see `warm_up`.

    Each batch is padded as the task's preprocessor pads: to the smallest of its buckets that holds
    the longest row.  Curl asks TF Serving like this:

        curl -d '{"inputs": {"text": ["A fine film."]}}' localhost:8501/v1/models/reviews:predict

    Args:
        task: A task with a preprocessor.
        path: The folder to make.  TF Serving wants `<name>/<version>`, such as
            `saved_models/reviews/1`.
        overwrite: Whether a folder that exists is replaced.  Until the new one is complete, the
            old one stays.

    Raises:
        FileExistsError, OSError: See `output_folder`.
        ValueError: The task has no preprocessor, or an activation that gives no probabilities; or
            the graph has an operation that TF Serving lacks.
    """
    description = description_of(task)
    task = merge_lora(task)
    writing = saved_model_folder(path, overwrite, task.weights)
    with tempfile.TemporaryDirectory() as assets, writing as folder:
        root = tf.train.Checkpoint()
        signatures = _signatures(task)
        root.__call__ = _call(signatures)
        # Not `variables`: the states of dropout's seeds differ from process to process.
        root.variables = [variable.value for variable in task.weights]
        file = Path(assets) / Path(SAVED_MODEL_TASK_FILE).name
        file.write_text(json.dumps(description, ensure_ascii=False, indent=2) + "\n", "utf-8")
        root.task_file = tf.saved_model.Asset(str(file))
        tf.saved_model.save(root, str(folder), signatures=signatures)
        write_warm_up(task, folder)


def export_classifier(
    classifier: SpanBertTextClassifier, path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Writes a text classifier as a SavedModel; see `export_task`.

    The signature `serving_default` takes `text`, string `[b]`, and gives `label`, string `[b]`, its
    probability `score`, float32 `[b]`, and all `probabilities`, float32 `[b, c]`; the signature
    `pairs` takes `text` and `pair`.  Classes without names are numbered from `"0"`.
    """
    export_task(classifier, path, overwrite)


def _signatures(task: SpanBertTask) -> dict[str, Any]:
    """Concrete functions of `task.serve`, by the names of the task's signatures."""
    serve = tf.function(task.serve, autograph=False)
    signatures = {}
    for name, columns in task.signatures.items():
        specs = [tf.TensorSpec([None], tf.string, column) for column in columns]
        signatures[name] = serve.get_concrete_function(*specs)
    return signatures


def _call(signatures: dict[str, Any]) -> Any:
    """One function of texts by position.

    Saving traces a function once more, so it only calls what has been traced already.
    """
    by_count = {len(of.structured_input_signature[0]): of for of in signatures.values()}
    call = tf.function(lambda *texts: by_count[len(texts)](*texts), autograph=False)
    for count in by_count:
        call.get_concrete_function(*[tf.TensorSpec([None], tf.string)] * count)
    return call


class ServedTask(TextTask):
    """An exported task, to be asked from Python.

    Args:
        path: The SavedModel's folder.
        trust: Whether it may hold operations that exports of this package have not, see
            `check_operations`.

    Raises:
        FileNotFoundError: There is no exported task.
        ValueError: It is damaged, its weights are NaN or infinite, or it is a program of other
            operations and `trust` is false.
    """

    def __init__(self, path: str | os.PathLike[str], trust: bool = False) -> None:
        # Registers the operations without which the SavedModel does not load.
        import tensorflow_text  # noqa: F401

        path = user_path(path)
        file = path / SAVED_MODEL_TASK_FILE
        if not file.is_file():
            raise FileNotFoundError(f"{path} is no exported task: it lacks {file}")
        super().__init__(read_json(file, DESCRIPTION))
        check_operations(path, trust)
        with reading(path, "a SavedModel"):
            self._model = tf.saved_model.load(str(path))
        variables = getattr(self._model, "variables", ())
        check_finite(((variable.name, variable) for variable in variables), path)
        with reading(path, f"a SavedModel for {self.task}"):
            self.answer_nothing()

    def answer_columns(self, columns: Columns, decoder: Any) -> list[Any]:
        """Answers for texts, some of like length at a time, so that little of it is padding."""
        records = list(zip(*columns, strict=True))
        order = sorted(range(len(records)), key=lambda number: sum(map(len, records[number])))
        answers: dict[int, Any] = {}
        for begin in range(0, len(order), TEXTS_A_CALL):
            numbers = order[begin : begin + TEXTS_A_CALL]
            outputs = self.tensors_of_columns([[column[n] for n in numbers] for column in columns])
            answers |= zip(numbers, decoder.served(outputs), strict=True)
        return [answers[number] for number in range(len(order))]

    def tensors_of_columns(self, columns: Columns) -> dict[str, np.ndarray]:
        """Calls a signature, a graph for any number of texts.

        The loaded object itself would be traced once more for each, nearly a second every time.
        """
        signatures = self.task_class.signatures.items()
        signature, names = next(of for of in signatures if len(of[1]) == len(columns))
        texts = (tf.constant(column, tf.string) for column in columns)
        outputs = self._model.signatures[signature](**dict(zip(names, texts, strict=True)))
        return {name: x.numpy() for name, x in outputs.items()}
