"""What is behind a handle, whatever its format: texts in, answers out, by the same call."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from types import MethodType
from typing import Any

import numpy as np

from spanbert_tf.foreign_files import Schema, table, text
from spanbert_tf.metrics.reports import Report
from spanbert_tf.models.answering import Assessment, columns_of_task, readable_assertions
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.tasks import task_class

# What a task's class does with `decoder` alone, and so in every format.
_OF_DECODER = (
    *("columns_of", "given", "score", "report", "has_confusions", "is_right"),
    *("check_rejection", "rejection"),
)

# What `description_of` gives.
DESCRIPTION: Schema = {"task": text(required=True), "decoder": table(required=True)}


class TextTask:
    """A task that answers for texts.

    It is called as the task's own verb is, such as `classify`, with the same arguments, and gives
    an answer for a string and a list of answers for a list of strings.  Where the verb takes
    several texts, a tuple of them is taken too.

    Args:
        description: What `description_of` gave, as it was read again.

    Attributes:
        task: Name of the task, a key of `spanbert_tf.tasks.TASKS`.
        task_class: Its class.
        columns_of, given, score, report, has_confusions, is_right, check_rejection, rejection: As
            those of the class.
    """

    columns_of: Callable[[Sequence[Any]], tuple[Columns, Any]]
    given: Callable[[Sequence[Any], Sequence[Any]], list[Any]]
    score: Callable[[Sequence[Any], Sequence[Any]], dict[str, float]]
    report: Callable[[Sequence[Any], Sequence[Any]], Report]
    has_confusions: Callable[[], bool]
    is_right: Callable[[Any, Any], bool]
    check_rejection: Callable[[], None]
    rejection: Callable[[Sequence[Any], Sequence[Any]], dict[str, float]]

    def __init__(self, description: dict[str, Any]) -> None:
        self.task = description["task"]
        self.task_class = task_class(self.task)
        self._decoder = self.task_class.decoder_cls.from_json(description["decoder"])
        # The task's own methods: of its object they need what is here too.
        verb = self.task_class.verb
        for name in (verb, *self.task_class.more_verbs, *_OF_DECODER):
            setattr(self, name, MethodType(getattr(self.task_class, name), self))
        self._ask = getattr(self, verb)

    @property
    def decoder(self) -> Any:
        """What makes answers of what the network decided."""
        return self._decoder

    def __call__(self, *texts: Any, **options: Any) -> Any:
        """Answers for texts, as the task's verb does.

        Raises:
            TypeError: A text is missing, or not a string.
            ValueError: There are not as many texts in each column, or not so many columns as the
                task takes.
        """
        if len(texts) == 1 < len(self.task_class.asked) and isinstance(texts[0], tuple):
            texts = texts[0]
        return self._ask(*texts, **options)

    def ask(self, columns: Columns, **options: Any) -> list[Any]:
        """Answers for columns of texts, as the class's `read_asked` gives them, one a row.

        Args:
            columns: One list of texts a column.
            **options: Arguments of the task's verb.

        Raises:
            TypeError, ValueError: As `__call__`.
        """
        # What one answer is for: one text or a pair, or several texts, as question and context.
        is_asked = len(columns) == len(self.task_class.asked)
        return self(*(columns if is_asked else [tuple(columns)]), **options)

    def answer_texts(self, x: Any, batch_size: int | None = None, **options: Any) -> Any:
        """Answers for texts, or columns of them, see `SpanBertTask.answer_texts`.

        Args:
            x: A string, or a list of strings, or a tuple of such.
            batch_size: Not used: each format has a size of its own.
            **options: Fields of `decoder` that this call has otherwise, such as `top_k`.

        Raises:
            TypeError: A text is not a string.
            ValueError: See `__call__`; an option is for models in Keras alone; or a field by which
                the network decides shall be another than it was exported with.
        """
        columns, is_one = columns_of_task(self.task_class, x)
        if unknown := options.keys() - {field.name for field in fields(self.decoder)}:
            raise ValueError(
                f"`{min(unknown)}` is for models in Keras, presets and adapters: this one, a "
                f"{type(self).__name__}, takes no more than texts"
            )
        decoder = replace(self.decoder, **options)
        fixed = self.decoder.of_network()
        for name, value in decoder.of_network().items():
            if value != fixed[name]:
                raise ValueError(
                    f"`{name}` is a part of an export, here {fixed[name]}, and cannot be {value}: "
                    "ask the preset, or export it anew"
                )
        with readable_assertions():
            answers = self.answer_columns(columns, decoder)
        return answers[0] if is_one else answers

    def answer_columns(self, columns: Columns, decoder: Any) -> list[Any]:
        """Answers for columns of texts, all of one length, as a decoder makes them."""
        raise NotImplementedError

    def answer_tensors(self, x: Any) -> dict[str, np.ndarray]:
        """What a SavedModel's signature gives for texts, one at least, in one batch.

        Args:
            x: A list of strings, or a tuple of such, as many as a signature of the task takes.

        Returns:
            Arrays `[b, ...]` by name, strings as bytes: the same of every format.

        Raises:
            TypeError, ValueError: As `answer_texts`.
        """
        columns, _ = columns_of_task(self.task_class, x)
        with readable_assertions():
            return self.tensors_of_columns(columns)

    def tensors_of_columns(self, columns: Columns) -> dict[str, np.ndarray]:
        """The same of columns that are checked."""
        raise NotImplementedError

    def assess(
        self, records: Sequence[Any], out_of_scope: Columns | None = None, **scoring: Any
    ) -> dict[str, float]:
        """Scores the task on records, as its class reads them; exports have no loss."""
        return self.answer_records(records, out_of_scope, **scoring).figures

    def answer_records(
        self, records: Sequence[Any], out_of_scope: Columns | None = None, **scoring: Any
    ) -> Assessment:
        """Scores the task, and keeps what it answered.

        Args:
            records: As the task's `read` gives them.
            out_of_scope: As for `SpanBertTask.assess`.
            **scoring: Fields of the task's `scoring_cls`; for models in Keras alone.

        Raises:
            ValueError: A record has what the task does not know, such as a label; it is named.  Or
                an export is to be scored in another way than it answers.
        """
        if asked := [name for name, value in scoring.items() if value]:
            raise ValueError(
                f"`{asked[0]}` is for models in Keras, presets and adapters: this one, a "
                f"{type(self).__name__}, is scored by what it answers for texts"
            )
        if out_of_scope is not None:
            self.check_rejection()
        columns, _ = self.columns_of(records)
        decoder = self.task_class.scored_decoder.fget(self)
        with readable_assertions():
            if self.task_class.apart:
                by_column = [self.answer_columns([column], decoder) for column in columns]
                answers: list[Any] = list(zip(*by_column, strict=True))
            else:
                answers = self.answer_columns(columns, decoder)
            outside = out_of_scope and self.answer_columns(out_of_scope, decoder)
        figures = self.score(answers, records)
        if outside is not None:
            figures |= self.rejection(answers, outside)
        return Assessment(figures, answers)

    def answer_nothing(self) -> None:
        """Answers for an empty text: a file that is damaged fails when it is loaded, not later."""
        of = self.task_class
        blank = of.blank or [""] * len(of.signatures["serving_default"])
        self.answer_columns([[x] for x in blank], self.decoder)


class KerasTask(TextTask):
    """A task in Keras.

    Args:
        model: The task.

    Attributes:
        model: The task: a KerasHub task to train on, export or save.
    """

    def __init__(self, model: SpanBertTask) -> None:
        super().__init__(description_of(model))
        self.model = model

    @property
    def decoder(self) -> Any:
        """The model's, whose thresholds may have been tuned since."""
        return self.model.decoder

    def answer_texts(self, x: Any, batch_size: int | None = None, **options: Any) -> Any:
        """Answers for texts, see `SpanBertTask.answer_texts`."""
        return self.model.answer_texts(x, batch_size, **options)

    def tensors_of_columns(self, columns: Columns) -> dict[str, np.ndarray]:
        """Runs the graph that an export has."""
        return self.model.answer_tensors(columns)

    def answer_records(
        self, records: Sequence[Any], out_of_scope: Columns | None = None, **scoring: Any
    ) -> Assessment:
        """Scores the task, its loss included, see `SpanBertTask.answer_records`."""
        return self.model.answer_records(records, out_of_scope=out_of_scope, **scoring)


def description_of(task: SpanBertTask) -> dict[str, Any]:
    """What an export says of its task, as JSON can hold it.

    Raises:
        ValueError: The task has no preprocessor, so that it cannot take text.
    """
    if task.preprocessor is None:
        raise ValueError(f"the {task.task} task has no preprocessor, so it cannot take text")
    return {"task": task.task, "decoder": task.decoder.to_json()}


def answers_to_json(texts: Sequence[str], answers: Sequence[Any]) -> list[dict[str, Any]]:
    """Each text with what its answer is made of; several answers in a list."""
    return [
        {"text": text, "answers": [asdict(one) for one in answer]}
        if isinstance(answer, list)
        else {"text": text, **fields_of(answer)}
        for text, answer in zip(texts, answers, strict=True)
    ]


def fields_of(answer: Any) -> dict[str, Any]:
    """What an answer is made of, as JSON can hold it: of an array its numbers as `vector`."""
    return {"vector": answer.tolist()} if hasattr(answer, "tolist") else asdict(answer)
