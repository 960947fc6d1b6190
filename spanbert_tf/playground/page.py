"""The page, made with Gradio, which is imported when a page is made."""

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

from spanbert_tf.handles import PRETRAINING_TASK
from spanbert_tf.playground.models import AnyHandles, Model, ask, by_form, comparable, load_models

MOST_WAITING = 64  # clicks that wait for a model
LINES_OF_TEXT = 5

# What stands in the boxes at first, by the names of texts; what suits several tasks.
EXAMPLES = {
    "text": "Ada Lovelace met Charles Babbage in London. She was delighted with his engine.",
    "question": "Where did Ada Lovelace meet Charles Babbage?",
    "context": "Ada Lovelace met Charles Babbage in London. She was delighted with his engine.",
}
# By tasks, where all models of a box are for one that needs marks.
EXAMPLES_WITH_MARKS = {
    PRETRAINING_TASK: "Paris is the [MASK] [MASK] of France.",
    "relation-extraction": "The <e1>author</e1> wrote it with a <e2>typewriter</e2>.",
}
HINT_OF_MASKS = "Each [MASK] stands for one word piece."


def make_page(models: AnyHandles = (), trust: bool = False) -> Any:
    """Makes the page of some models: a tab for each form of texts, and one that compares.

    Args:
        models: As for `spanbert_tf.playground.models.load_models`.
        trust: As for `load_task`.

    Returns:
        A `gradio.Blocks`, not launched.

    Raises:
        ModuleNotFoundError: Gradio is not installed.
        ValueError, FileNotFoundError, ConnectionError, ImportError, OSError: As `load_models`.
    """
    gradio = _gradio()
    loaded = load_models(models, trust)
    with gradio.Blocks(title="spanbert_tf", analytics_enabled=False) as page:
        gradio.Markdown("# spanbert_tf")
        with gradio.Tabs():
            for of_form in by_form(loaded.values()):
                with gradio.Tab(of_form[0].title):
                    _ask_all(gradio, of_form)
            if tasks := comparable(loaded.values()):
                with gradio.Tab("Compare"), gradio.Tabs():
                    for of_task in tasks:
                        with gradio.Tab(of_task[0].task):
                            _ask_two(gradio, of_task)
    # Who calls the API waits in the queue too.
    return page.queue(max_size=MOST_WAITING, api_open=False)


def launch(
    models: AnyHandles = (),
    *,
    share: bool | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    trust: bool = False,
) -> Any:
    """Shows the page: in a notebook below the cell, which does not wait for it.

        from spanbert_tf.playground import launch
        launch(["entities_en", "sentiment_en"])
        launch({"small": "runs/small/preset", "large": "runs/large/preset"})

    Args:
        models: As for `spanbert_tf.playground.models.load_models`.
        share: Whether there is a public link to it too, through Gradio's servers: whoever has it
            may ask the models.  `None`: in a notebook that is hosted, such as Colab's.
        host: Address to listen at.
        port: Port to listen at.  `None`: the first from 7860 on that is free.
        trust: As for `load_task`.

    Returns:
        The `gradio.Blocks`; `local_url` and `share_url` say where it is, `close()` ends it.

    Raises:
        OSError: The port is taken; or as `make_page`.
        ModuleNotFoundError, ValueError, FileNotFoundError, ConnectionError, ImportError: As
            `make_page`.
    """
    page = make_page(models, trust)
    try:
        page.launch(
            share=share,
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,  # Node is not needed.
            run_history=False,
            enable_monitoring=False,
            footer_links=["api", "gradio"],
        )
    except OSError as error:
        if port is None:
            raise
        raise OSError(f"cannot listen at {host}:{port}; give another `port`") from error
    return page


def _ask_all(gradio: Any, models: Sequence[Model]) -> None:
    """Lays out texts, and the answers of all models, or of those that are chosen."""
    names = [model.name for model in models]
    boxes = _boxes(gradio, models)
    chosen = [gradio.CheckboxGroup(names, value=names, label="Models")] if len(names) > 1 else []
    button = gradio.Button("Answer", variant="primary")
    answers = gradio.HTML()

    def answer(*given: Any) -> str:
        wanted = given[len(boxes)] if chosen else names
        if not wanted:
            raise ValueError("No model is chosen.")
        asked = [model for model in models if model.name in wanted]
        return "\n".join(ask(asked, given[: len(boxes)]))

    _on(gradio, button, boxes, answer, [*boxes, *chosen], answers, models[0].title)


def _ask_two(gradio: Any, models: Sequence[Model]) -> None:
    """Lays out texts, and the answers of two models side by side."""
    by_name = {model.name: model for model in models}
    boxes = _boxes(gradio, models)
    button = gradio.Button("Compare", variant="primary", render=False)
    chosen, answers = [], []
    with gradio.Row():
        for side, model in zip(("Left", "Right"), models[:2], strict=True):
            chosen.append(gradio.Dropdown([*by_name], value=model.name, label=side))
    button.render()
    with gradio.Row():
        for _ in chosen:
            with gradio.Column():
                answers.append(gradio.HTML())

    def answer(*given: str) -> tuple[str, ...]:
        asked = [by_name[name] for name in given[len(boxes) :]]
        return tuple(ask(asked, given[: len(boxes)]))

    _on(gradio, button, boxes, answer, [*boxes, *chosen], answers, f"compare {models[0].task}")


def example_for(models: Sequence[Model]) -> list[str]:
    """Texts that models of one form take, to begin with."""
    tasks = {model.task for model in models}
    if len(tasks) == 1 and (with_marks := EXAMPLES_WITH_MARKS.get(tasks.pop())):
        return [with_marks]
    return [EXAMPLES.get(name, "") for name in models[0].asked]


def _boxes(gradio: Any, models: Sequence[Model]) -> list[Any]:
    """A box for each text; all but the last are short."""
    task, asked = models[0].task, models[0].asked
    return [
        gradio.Textbox(
            example,
            label=name.capitalize(),
            info=HINT_OF_MASKS if task == PRETRAINING_TASK else None,
            lines=LINES_OF_TEXT if name == asked[-1] else 1,
        )
        for name, example in zip(asked, example_for(models), strict=True)
    ]


def _on(
    gradio: Any,
    button: Any,
    boxes: Sequence[Any],
    answer: Callable[..., Any],
    inputs: list[Any],
    outputs: Any,
    name: str,
) -> None:
    """Has a click, and Enter in a box, ask for answers; errors are told on the page."""
    gradio.on(
        [button.click, *(box.submit for box in boxes)],
        partial(_told, gradio.Error, answer),
        inputs,
        outputs,
        api_name=name.lower().replace(" ", "_").replace("-", "_"),
        # All models share one, as they share cores.
        concurrency_limit=1,
        concurrency_id="models",
    )


def _told(error_class: Any, answer: Callable[..., Any], *given: Any) -> Any:
    """Answers; what is wrong with the texts is for whoever wrote them, not for the log."""
    try:
        return answer(*given)
    except ValueError as error:
        # Gradio takes messages for HTML, and they quote texts.
        raise error_class(escape(str(error)), print_exception=False) from error


def _gradio() -> Any:
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the playground needs the module {error.name!r}: pip install "
            "'spanbert-tf[playground]'",
            name=error.name,
        ) from error
    return gradio
