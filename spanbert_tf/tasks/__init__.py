"""One file a task, and the table of them.

Imports nothing heavy: the command line and the package's list of names read the table.
"""

from importlib import import_module
from typing import Any

# Hugging Face's word for a task, and its class.  The class of a preprocessor is beside it, under
# the same name and "Preprocessor".
TASKS = {
    "text-classification": "spanbert_tf.tasks.text_classifier.SpanBertTextClassifier",
    "token-classification": "spanbert_tf.tasks.token_classifier.SpanBertTokenClassifier",
    "relation-extraction": "spanbert_tf.tasks.relation_extractor.SpanBertRelationExtractor",
    "question-answering": "spanbert_tf.tasks.question_answerer.SpanBertQuestionAnswerer",
    "coreference-resolution": (
        "spanbert_tf.tasks.coreference_resolver.SpanBertCoreferenceResolver"
    ),
    "text2text-generation": "spanbert_tf.tasks.seq_2_seq_lm.SpanBertSeq2SeqLM",
    "text-embedding": "spanbert_tf.tasks.text_embedder.SpanBertTextEmbedder",
    "fill-mask": "spanbert_tf.tasks.pretrainer.SpanBertPretrainer",
}

DEFAULT_TASK = "text-classification"
# What `finetune` trains; the other is what `pretrain` does.
FINE_TUNED_TASKS = tuple(name for name in TASKS if name != "fill-mask")


def task_class(task: str) -> Any:
    """Imports the class of a task.

    Raises:
        ValueError: There is no such task.
    """
    if task not in TASKS:
        raise ValueError(f"`task` must be one of {', '.join(TASKS)}, but is {task!r}.")
    module, _, name = TASKS[task].rpartition(".")
    return getattr(import_module(module), name)


def task_of_class(class_name: str) -> str | None:
    """The task whose class has a name; `None` if it is none of ours."""
    for task, path in TASKS.items():
        if path.rpartition(".")[2] == class_name:
            return task
    return None
