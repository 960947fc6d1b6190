"""Any handle to a fine-tuned task -> texts in, answers out."""

from typing import Any

from spanbert_tf.checkpoints.sentence_transformers import load_sentence_transformers
from spanbert_tf.export.adapters import AnyEncoder, load_adapter
from spanbert_tf.export.litert_loading import LiteRTEncoder, load_litert
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.export.serving import ServedTask
from spanbert_tf.export.text_task import KerasTask, TextTask
from spanbert_tf.handles import AnyHandle, Handle, Kind, find
from spanbert_tf.tasks import FINE_TUNED_TASKS, task_class
from spanbert_tf.tasks.text_embedder import SpanBertTextEmbedder

LONGEST_OF_ENCODERS = 256  # Tokens, of texts whose encoder says nothing of it.


def load_embedder(handle: AnyHandle | None, trust: bool = False) -> TextTask | LiteRTEncoder:
    """Loads what makes vectors of texts.

        embedder = spanbert_tf.load_embedder("runs/mine/preset")
        embedder.encode_text(["a", "b"])  # float32 [2, d], of length 1
        embedder.similarity("a", ["a", "b"])

    Args:
        handle: A text embedder in any format, a folder of sentence-transformers among them, see
            `load_task`; or any encoder, see `load_backbone`, of which the mean state of a text's
            first 256 tokens is taken.  `None`: the encoder to start from where none is named.
        trust: As for `load_task`.

    Returns:
        What has `encode_text` and `similarity` of `SpanBertTextEmbedder`; an encoder for LiteRT has
        the first alone, and its vectors are not scaled to length 1.

    Raises:
        ValueError: It is a task of another kind, or see `load_task` and `load_backbone`.
        FileNotFoundError, ConnectionError, ModuleNotFoundError, OSError: As `load_task`.
    """
    found = find(handle)
    if found.task == SpanBertTextEmbedder.task:
        return load_task(found, trust=trust)
    if found.task in FINE_TUNED_TASKS:
        raise ValueError(
            f"{found.source} is a model for {found.task}, whose answers are no vectors; expected "
            "an embedder or an encoder"
        )
    if found.kind is Kind.LITERT:
        return load_litert(found.path)
    backbone, tokenizer = load_backbone(found)
    length = min(LONGEST_OF_ENCODERS, backbone.max_sequence_length)
    preprocessor = SpanBertTextEmbedder.preprocessor_cls(tokenizer, sequence_length=length)
    return KerasTask(SpanBertTextEmbedder(backbone, preprocessor))


def load_task(
    handle: AnyHandle, encoder: AnyEncoder | None = None, trust: bool = False
) -> TextTask:
    """Loads a fine-tuned task, whatever format it is in.

        task = spanbert_tf.load_task("runs/reviews/saved_model/1")
        task("What a lovely film.").label

    Args:
        handle: The folder of a task's preset, SavedModel, LiteRT model or adapter, or its handle on
            a hub, see `spanbert_tf.handles.find`.
        encoder: Of an adapter its encoder, see `load_adapter`; not for the others.
        trust: Whether a SavedModel, which is a program, may have operations that exports of this
            package have not, such as those that write files.

    Returns:
        What is called with a string or a list of strings (or a tuple of such, where the task takes
        several texts at a time) and gives an answer or a list of answers.  Of a preset
        or an adapter, `task.model` is the Keras model.

    Raises:
        FileNotFoundError, ConnectionError, ModuleNotFoundError, OSError: As
            `spanbert_tf.handles.find`.
        ValueError: It holds an encoder alone; what is there is damaged, or its weights are NaN or
            infinite; a SavedModel has other operations and `trust` is false; or `encoder` is
            another than the adapter's, or given for what is no adapter.
    """
    found = find(handle)
    of = task_class_of(found)
    if encoder is not None and found.kind is not Kind.ADAPTER:
        raise ValueError(
            f"{found.source} is a {found.kind}, which has its encoder within: `encoder` is for an "
            f"{Kind.ADAPTER}"
        )
    loaders: dict[Kind, Any] = {
        Kind.PRESET: lambda: KerasTask(of.from_preset(found.path)),
        Kind.SAVED_MODEL: lambda: ServedTask(found.path, trust),
        Kind.LITERT: lambda: load_litert(found.path),
        Kind.ADAPTER: lambda: KerasTask(load_adapter(found, encoder)),
        Kind.HUGGING_FACE: lambda: KerasTask(load_sentence_transformers(found.path)),
    }
    return loaders[found.kind]()


def task_class_of(found: Handle) -> Any:
    """The class of a fine-tuned task that was found; its model is not loaded.

    Raises:
        ValueError: It holds an encoder alone.
    """
    if found.task not in FINE_TUNED_TASKS:
        what = "an encoder" if found.task is None else f"an encoder for {found.task}"
        raise ValueError(
            f"{found.source} is the {found.kind} of {what}, which has no task to answer for; "
            "`spanbert-tf finetune` makes one"
        )
    return task_class(found.task)
