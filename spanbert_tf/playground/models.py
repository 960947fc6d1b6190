"""Models as the page has them: texts in, a part of a page out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Any

from spanbert_tf.export.analyzer import by_name, load_tasks
from spanbert_tf.export.answers_in_html import bars, html_of
from spanbert_tf.export.loading import load_with_heads
from spanbert_tf.export.text_task import TextTask
from spanbert_tf.handles import PRETRAINING_TASK, AnyHandle, Handle, default_encoder, find
from spanbert_tf.ready_models import ready_models
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer

LONGEST_TEXT = 100_000  # characters
MASK = "[MASK]"

AnyHandles = Sequence[AnyHandle] | Mapping[str, AnyHandle]


@dataclass(frozen=True)
class Model:
    """A model of the page.

    Attributes:
        name: By which people know it.
        task: Its task, a key of `spanbert_tf.tasks.TASKS`.
        asked: Names of the texts that it takes.
        answer: Makes HTML of what it answers for these texts; a `ValueError` says why it does not
            take them.
    """

    name: str
    task: str
    asked: tuple[str, ...]
    answer: Callable[..., str]

    @property
    def title(self) -> str:
        """What people give models of this form, in words."""
        return "Masks" if self.task == PRETRAINING_TASK else " and ".join(self.asked).capitalize()


def ask(models: Sequence[Model], texts: Sequence[str | None]) -> list[str]:
    """Asks models of one form the same texts.

    Args:
        models: The models, one at least.
        texts: As many as they take.

    Returns:
        A part of a page for each model: its name as a heading, and what it answers, or, where it
        does not take the texts, why not.

    Raises:
        ValueError: A text is empty or too long, or no model takes them.
    """
    given = [text or "" for text in texts]
    for name, text in zip(models[0].asked, given, strict=True):
        if not text.strip():
            raise ValueError(f"The {name} is empty: write one first.")
        if len(text) > LONGEST_TEXT:
            raise ValueError(
                f"The {name} has {len(text):,} characters; {LONGEST_TEXT:,} at most are read."
            )
    parts = []
    refusals: dict[str, ValueError] = {}
    for model in models:
        try:
            answer = model.answer(*given)
        except ValueError as error:
            refusals[model.name] = error
            answer = f"<p>{escape(str(error))}</p>"
        parts.append(f"<h4>{escape(model.name)}</h4>\n{answer}")
    if all(model.name in refusals for model in models):
        raise ValueError("\n".join(f"{name}: {error}" for name, error in refusals.items()))
    return parts


def load_models(handles: AnyHandles = (), trust: bool = False) -> dict[str, Model]:
    """Loads models; the default encoder and adapters of it share its weights.

    Args:
        handles: Tasks as `load_task` takes them, and encoders with heads of pretraining, each by
            the name of its folder; or a dictionary of them.  None at all: the ready models, and the
            default encoder if it has such heads.
        trust: As for `load_task`.

    Returns:
        The models by name, tasks before encoders.

    Raises:
        ValueError: Two have one name; there is nothing to load; or see `load_task`.
        FileNotFoundError, ConnectionError, ImportError, OSError: As `load_task`.
    """
    found = {name: find(handle) for name, handle in by_name(handles or _by_default()).items()}
    if not found:
        raise ValueError(
            "there are no ready models, and no default encoder that fills masks: name a model"
        )
    encoders: dict[str, Any] = {}
    filling = {
        name: _load_filling(name, handle, encoders)
        for name, handle in found.items()
        if handle.task == PRETRAINING_TASK
    }
    others = {name: handle for name, handle in found.items() if name not in filling}
    tasks = load_tasks(others, trust, encoders)
    finder = next((task for task in tasks.values() if hasattr(task, "find_entities")), None)
    return {name: _of_task(name, task, finder) for name, task in tasks.items()} | filling


def by_form(models: Iterable[Model]) -> list[list[Model]]:
    """Models that take the same texts together."""
    return _together(models, lambda model: model.title)


def comparable(models: Iterable[Model]) -> list[list[Model]]:
    """Models of the same task together, two at least."""
    of_tasks = _together(models, lambda model: model.task)
    return [of_task for of_task in of_tasks if len(of_task) > 1]


def _together(models: Iterable[Model], key: Callable[[Model], str]) -> list[list[Model]]:
    groups: dict[str, list[Model]] = {}
    for model in models:
        groups.setdefault(key(model), []).append(model)
    return list(groups.values())


def _by_default() -> dict[str, AnyHandle]:
    try:
        encoder = find(default_encoder())
    except ModuleNotFoundError:  # There is none; the package that has one has no heads in it.
        return {**ready_models()}
    filling = [encoder] if encoder.task == PRETRAINING_TASK else []
    return {**ready_models(), **by_name(filling)}


def _of_task(name: str, task: TextTask, finder: TextTask | None) -> Model:
    of = task.task_class
    takes_finder = "entities" in {field.name for field in fields(of.asking_cls)}

    def answer(*texts: str) -> str:
        # Without marks of their own, texts have their entities found.
        is_marked = "<e1" in texts[0] or finder is None
        options = {"entities": finder} if takes_finder and not is_marked else {}
        return html_of(texts[-1], task(*texts, **options))

    return Model(name, task.task, of.asked, answer)


def _load_filling(name: str, handle: Handle, encoders: dict[str, Any]) -> Model:
    pretrainer, tokenizer = load_with_heads(handle)
    assert isinstance(pretrainer, SpanBertPretrainer)  # noqa: S101 - by the handle's task
    encoders[handle.path] = pretrainer.backbone, tokenizer

    def answer(text: str) -> str:
        parts = []
        for fillings in pretrainer.fill_spans(text):
            masks = " ".join([MASK] * len(fillings[0].token_ids))
            parts += [f"<p>{masks}</p>", bars((one.text, one.score) for one in fillings)]
        return "\n".join(parts)

    return Model(name, PRETRAINING_TASK, ("text",), answer)
