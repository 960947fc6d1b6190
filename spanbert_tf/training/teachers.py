"""Teachers of fine-tuning runs: what may be one, and what a run has of it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from spanbert_tf.export.adapters import encoder_of
from spanbert_tf.export.task_loading import load_embedder, load_task
from spanbert_tf.export.text_task import KerasTask
from spanbert_tf.handles import AnyHandle, Kind, find
from spanbert_tf.models.distillation import check_teacher, taught
from spanbert_tf.models.lora import adapt_to, merge_lora
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.task_definition import ANSWERS, LOGITS
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.settings import FineTuning

# Those that load as networks in Keras, which can be asked in each step.
_IN_KERAS = (Kind.PRESET, Kind.ADAPTER)


def load_teacher(of: type[SpanBertTask], handle: AnyHandle) -> Any:
    """Loads what a task may learn from.

    Args:
        of: The task's class.
        handle: Any handle of a model that does the task; where it is asked in each step of
            training, of a preset or an adapter.  Embedders also learn from plain encoders.

    Returns:
        A `TextTask`.

    Raises:
        ValueError: The task has no teachers, or this is none of its; see also `load_task`.
        FileNotFoundError, ConnectionError, ModuleNotFoundError, OSError: As `load_task`.
    """
    if of.teaching is None:
        raise ValueError(f"`teacher` is not for {of.task}, which learns from its data alone.")
    if of.teaching == ANSWERS:
        return load_embedder(handle)
    found = find(handle)
    if found.task != of.task:
        raise ValueError(
            f"expected a teacher that does {of.task}, but {found.source} is "
            + (f"a model for {found.task}" if found.task else "an encoder without a head")
        )
    if found.kind not in _IN_KERAS:
        raise ValueError(
            f"{found.source} is a {found.kind}, but a teacher for {of.task} is asked in each step "
            f"of training: expected a {' or an '.join(_IN_KERAS)}"
        )
    return load_task(found)


def encoder_of_teacher(of: type[SpanBertTask], handle: AnyHandle) -> str | None:
    """The encoder to start from where only a teacher is named: its own, or that of its adapter.

    `None`: any will do, as the teacher only answers for texts.
    """
    if of.teaching != LOGITS:
        return None
    found = find(handle)
    return (encoder_of(found) if found.kind is Kind.ADAPTER else found).path


class Teacher:
    """What a run has of its teacher; where it has none, all stays as it is.

    Args:
        of: The task's class.
        settings: Those of the run.

    Raises:
        ValueError: It is none for the task; see `load_teacher` for this and others.
    """

    def __init__(self, of: type[SpanBertTask], settings: FineTuning) -> None:
        self.of = of
        self.temperature = settings.teacher_temperature
        self.task = None if settings.teacher is None else load_teacher(of, settings.teacher)

    def records(self, records: Any) -> Any:
        """Records with what the teacher answers for their texts, where the task learns that."""
        if self.task is None or not records:
            return records
        return self.of.taught(records, self.task)

    def answered(self, unlabelled: Columns | None) -> list[Any]:
        """Records of texts whose labels are the teacher's answers.

        Args:
            unlabelled: Columns of texts, or `None`: there are none.

        Raises:
            ValueError: There is no teacher, or the task does not learn so.
        """
        if unlabelled is None:
            return []
        if self.task is None:
            raise ValueError("`unlabelled` texts need a `teacher`, whose answers are their labels.")
        self.of.answered([[] for _ in unlabelled], [])  # A task that cannot says so at once.
        return self.of.answered(unlabelled, self.task.ask(unlabelled))

    def head(self, head: dict[str, Any]) -> dict[str, Any]:
        """A head of the teacher's classes, in the teacher's order.

        Args:
            head: What the training data decides, see `SpanBertTask.head_arguments`.

        Raises:
            ValueError: The data has a class that the teacher has not.
        """
        name = self.of.taught_classes
        if self.task is None or name is None:
            return head
        known = list(getattr(self.task.model, name) or ())
        if unknown := [each for each in head[name] if each not in known]:
            raise ValueError(
                f"the training data has {', '.join(unknown)}, which the teacher does not know; "
                f"expected its classes: {', '.join(known) or 'it has no names for them'}"
            )
        return {**head, name: known}

    def start(self, student: Any, lora_start: str) -> None:
        """Sets the adapter of a task to what the teacher's encoder differs by, if it is to be so.

        Args:
            student: A task whose encoder has an adapter.
            lora_start: See `FineTuning`.

        Raises:
            ValueError: The teacher is no network in Keras, or see `adapt_to`.
        """
        if lora_start != "teacher":
            return
        if not isinstance(self.task, KerasTask):
            raise ValueError(
                "`lora_start` is 'teacher', which takes one that loads in Keras: a preset, an "
                "adapter, or for embedders an encoder."
            )
        adapt_to(student.backbone, merge_lora(self.task.model).backbone)

    def lesson(self, student: Any) -> AbstractContextManager[None]:
        """That in which a task is trained, see `models.distillation.taught`.

        Raises:
            ValueError: See `check_teacher`.
        """
        if self.task is None or self.of.teaching != LOGITS:
            return nullcontext()
        check_teacher(student, self.task.model)
        return taught(student, self.task.model, self.temperature)
