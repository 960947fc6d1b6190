"""Any handle to a fine-tuned task -> texts in, answers out."""

from typing import Any

from spanbert_tf.export.litert_loading import load_litert
from spanbert_tf.export.serving import ServedTask
from spanbert_tf.export.text_task import KerasTask, TextTask
from spanbert_tf.handles import AnyHandle, Kind, find
from spanbert_tf.tasks import FINE_TUNED_TASKS, task_class


def load_task(handle: AnyHandle) -> TextTask:
    """Loads a fine-tuned task, whatever format it is in.

        task = spanbert_tf.load_task("runs/reviews/saved_model/1")
        task("What a lovely film.").label

    Args:
        handle: The folder of a task's preset, SavedModel or LiteRT model, or its handle on a hub,
            see `spanbert_tf.handles.find`.

    Returns:
        What is called with a string or a list of strings (or a tuple of such, where the task takes
        several texts at a time) and gives an answer or a list of answers.  Of a preset,
        `task.model` is the Keras model.

    Raises:
        FileNotFoundError, ConnectionError, ModuleNotFoundError, OSError: As
            `spanbert_tf.handles.find`.
        ValueError: It holds an encoder alone, or what is there is damaged.
    """
    found = find(handle)
    if found.task not in FINE_TUNED_TASKS:
        what = "an encoder" if found.task is None else f"an encoder for {found.task}"
        raise ValueError(
            f"{found.source} is the {found.kind} of {what}, which has no task to answer for; "
            "`spanbert-tf finetune` makes one"
        )
    loaders: dict[Kind, Any] = {
        Kind.PRESET: lambda: KerasTask(task_class(str(found.task)).from_preset(found.path)),
        Kind.SAVED_MODEL: lambda: ServedTask(found.path),
        Kind.LITERT: lambda: load_litert(found.path),
    }
    return loaders[found.kind]()
