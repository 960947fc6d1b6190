"""Several tasks on the same texts: all answers for a text in one object.

    analyzer = spanbert_tf.Analyzer(["adapters/entities", "adapters/sentiment"])
    analysis = analyzer("Ada was glad to be in Oslo.")
    analysis["entities"], analysis["sentiment"].label

What is shared: adapters of one encoder keep its weights in memory once.  What is not: each task
reads the text in its own windows and runs the encoder with its own adapter, as adapters change
every layer from the first on; so n tasks take the time of n.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from spanbert_tf.export.adapters import encoder_of, load_adapter
from spanbert_tf.export.answers_in_html import html_of
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.export.task_loading import load_task
from spanbert_tf.export.text_task import KerasTask, TextTask, fields_of
from spanbert_tf.handles import AnyHandle, Handle, Kind, find, without_revision
from spanbert_tf.json_values import finite


@dataclass(frozen=True)
class Analysis:
    """What several tasks answer for one text.

    Attributes:
        text: The text.
        answers: The answer of each task, by its name; `analysis[name]` is short for it.
    """

    text: str
    answers: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.answers[name]

    def to_json(self) -> dict[str, Any]:
        """The text and what each answer is made of, several answers in a list, as JSON has them."""
        answers = {
            name: [*map(fields_of, answer)] if isinstance(answer, list) else fields_of(answer)
            for name, answer in self.answers.items()
        }
        return {"text": self.text, "answers": finite(answers)}

    def to_html(self) -> str:
        """A part of a page: under the name of each task its answer, spans in colours."""
        parts = [
            f"<h4>{escape(name)}</h4>\n{html_of(self.text, answer)}"
            for name, answer in self.answers.items()
        ]
        return "<div>\n" + "\n".join(parts) + "\n</div>"

    def _repr_html_(self) -> str:
        return self.to_html()


class Analyzer:
    """Tasks of one text each, which answer for the same texts.

    Args:
        handles: Folders or handles of tasks of any format, see `load_task`; the name of each is
            that of its folder (of `reviews/1` it is `reviews`).  Or a dictionary of them, by names
            of your own.
        trust: As for `load_task`.

    Attributes:
        tasks: The tasks, by name.

    Raises:
        ValueError: There is none, two have one name, or one takes more than a text.
        FileNotFoundError, ConnectionError, ImportError, OSError: As `load_task`.
    """

    def __init__(
        self, handles: Sequence[AnyHandle] | Mapping[str, AnyHandle], trust: bool = False
    ) -> None:
        self.tasks = load_tasks(by_name(handles), trust)
        for name, task in self.tasks.items():
            asked = task.task_class.asked
            if len(asked) > 1:
                raise ValueError(
                    f"{name}: expected a task of one text, but {task.task} takes "
                    f"{' and '.join(asked)}"
                )
        if not self.tasks:
            raise ValueError("expected one task at least, got none")

    def __call__(self, texts: str | Sequence[str]) -> Any:
        """What all tasks answer: an `Analysis` for a string, a list of them for several.

        Raises:
            TypeError: A text is not a string.
            ValueError: A task does not take a text.
        """
        if isinstance(texts, str):
            return self([texts])[0]
        texts = list(texts)  # A tuple is one record to a task.
        answers = {name: task(texts) for name, task in self.tasks.items()}
        return [
            Analysis(text, {name: of[number] for name, of in answers.items()})
            for number, text in enumerate(texts)
        ]


def by_name(handles: Sequence[AnyHandle] | Mapping[str, AnyHandle]) -> dict[str, AnyHandle]:
    """Handles by the names of their folders; a dictionary has names already.

    Raises:
        ValueError: Two have one name.
    """
    named: dict[str, AnyHandle] = {}
    for name, handle in handles.items() if isinstance(handles, Mapping) else map(_named, handles):
        if name in named:
            raise ValueError(f"two tasks have the name {name!r}: give a dictionary of them")
        named[name] = handle
    return named


def load_tasks(
    handles: Mapping[str, AnyHandle], trust: bool = False, encoders: dict[str, Any] | None = None
) -> dict[str, TextTask]:
    """Loads tasks, adapters of one encoder on the same weights in memory.

    Args:
        handles: What `load_task` takes, by names.
        trust: As for `load_task`.
        encoders: Those in memory, a backbone and its tokenizer by the path of each; the encoders of
            adapters join them.

    Returns:
        The tasks by their names.

    Raises:
        ValueError, FileNotFoundError, ConnectionError, ImportError, OSError: As `load_task`.
    """
    encoders = {} if encoders is None else encoders
    return {name: _load(find(handle), encoders, trust) for name, handle in handles.items()}


def _named(handle: AnyHandle) -> tuple[str, AnyHandle]:
    source = handle.source if isinstance(handle, Handle) else os.fspath(handle)
    path = Path(without_revision(source)).absolute()
    return (path.parent if path.name.isdecimal() else path).name, handle


def _load(found: Handle, encoders: dict[str, Any], trust: bool) -> TextTask:
    """Loads a task; an adapter on the encoder that one before it has loaded."""
    if found.kind is not Kind.ADAPTER:
        return load_task(found, trust=trust)
    encoder = encoder_of(found)
    if encoder.path not in encoders:
        encoders[encoder.path] = load_backbone(encoder)
    return KerasTask(load_adapter(found, encoders[encoder.path]))
