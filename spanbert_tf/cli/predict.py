"""`spanbert-tf predict`: what a fine-tuned task answers for texts."""

from argparse import Namespace
from dataclasses import asdict
from functools import partial
from typing import Any

from spanbert_tf.atomic_files import atomic_file, user_path
from spanbert_tf.cli.arguments import (
    MODEL_HELP,
    add_runner,
    add_settings,
    add_trust,
    check_files,
    check_runner,
    flags_of,
    settings_from,
    task_of_model,
)
from spanbert_tf.cli.showing import counted, one_line, say, shown
from spanbert_tf.settings import AnsweredParts, AskedColumns
from spanbert_tf.start_up import without_info
from spanbert_tf.tasks import FINE_TUNED_TASKS, task_class

SUMMARY = "answer for texts with a fine-tuned task"
EXAMPLE = 'spanbert-tf predict runs/reviews/saved_model/1 "What a lovely film."'

# Options that take a value.
_VALUES = ("--input", "--html", "--output", "--runner", "--runner-option")

# A text, and its answer or answers.
Answered = tuple[str, Any]
# Of answers that went to a folder, the folder and how many there are.
Result = list[Answered] | dict[str, Any]


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options; those of asking are the model's task's."""
    command.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    command.add_argument(
        "texts",
        metavar="TEXT",
        nargs="*",
        help="texts to answer for; for question-answering each question followed by its context",
    )
    command.add_argument(
        "--input",
        metavar="FILE",
        help="texts, one a line, or .tsv, .csv or .jsonl; - reads lines of standard input; for "
        "question-answering .tsv, .csv or .jsonl with question and context, or SQuAD's .json",
    )
    add_settings(
        command, AskedColumns, "how the file is read; questions and contexts are texts too"
    )
    command.add_argument(
        "--html",
        type=user_path,
        metavar="FILE",
        help="also write the answers as a page in colours; for coreference-resolution",
    )
    command.add_argument("--overwrite", action="store_true", help="replace that page if it exists")
    command.add_argument(
        "--output",
        type=user_path,
        metavar="FOLDER",
        help="where the answers to --input, a file, go part by part, a line of "
        "JSON for each record; one that has some of the parts is completed by the same command",
    )
    add_settings(command, AnsweredParts, "parts of --output")
    add_runner(command)
    add_trust(command)
    with_value = [*_VALUES, *flags_of(AskedColumns), *flags_of(AnsweredParts)]
    task = task_of_model(words[1:], with_value, lambda of: [of.asking_cls])
    if task in FINE_TUNED_TASKS:
        add_settings(command, task_class(task).asking_cls, f"how a task of {task} is asked")


def run(arguments: Namespace) -> Result:
    """Answers, into memory or a folder."""
    if bool(arguments.texts) == bool(arguments.input):
        arguments.parser.error("give texts as words of the command, or a file with --input")
    if arguments.output is not None:
        return _answer_parts(arguments)
    if arguments.runner or arguments.runner_option:
        arguments.parser.error("--runner answers a file into a folder: give --output")
    if settings_from(AnsweredParts, arguments) != AnsweredParts():
        arguments.parser.error("--part-records is for the parts of a folder: give --output")
    from spanbert_tf.export.task_loading import load_task
    from spanbert_tf.models.graphs import asked_once

    with without_info():
        task = load_task(arguments.model, trust=arguments.trust)
    of = task.task_class
    if arguments.html and of.page_of is None:
        arguments.parser.error(f"--html: answers of {of.task} have no form in colours")
    check_files([arguments.html], [arguments.model, arguments.input], arguments.overwrite)
    columns = _columns(arguments, of)
    with asked_once():
        answers = task.ask(columns, **vars(settings_from(of.asking_cls, arguments)))
    if arguments.html:
        with atomic_file(arguments.html) as file:
            file.write_text(of.page_of(answers), "utf-8")
    return list(zip(columns[0], answers, strict=True))


def to_json(result: Result) -> Any:
    """Each text with what its answer is made of, several answers in a list; of a folder, counts."""
    from spanbert_tf.export.text_task import answers_to_json

    if isinstance(result, dict):
        return result

    return answers_to_json([text for text, _ in result], [answer for _, answer in result])


def show(result: Result) -> str:
    """An answer before each text, of several a line each after it; of a folder, what it holds."""
    if isinstance(result, dict):
        return (
            f"{counted(result['records'], 'record')} in {counted(result['parts'], 'part')} "
            f"({result['reused']:,} were there already): {result['answers']}"
        )
    lines = []
    result = [(text, shown(answer)) for text, answer in result]
    width = max((len(str(a)) for _, a in result if not isinstance(a, list)), default=0)
    for text, answer in result:
        if isinstance(answer, list):
            lines += [one_line(text), *(f"  {one}" for one in answer)]
        else:
            lines.append(f"{answer!s:<{width}}  {one_line(text)}")
    return "\n".join(lines)


def _answer_parts(arguments: Namespace) -> dict[str, Any]:
    """Answers a file part by part, in this process or by a Beam runner."""
    if arguments.texts or arguments.html or arguments.overwrite:
        arguments.parser.error(
            "--output answers the file of --input: leave out texts, --html and --overwrite"
        )
    check_runner(arguments)
    from spanbert_tf.export.task_loading import task_class_of
    from spanbert_tf.handles import find
    from spanbert_tf.prediction.answered_file import answer_file

    found = find(arguments.model)
    how: dict[str, Any] = {"progress": _show_progress}
    if arguments.runner:
        from spanbert_tf.prediction.beam import answer_with_beam

        of_runner = {"runner": arguments.runner, "options": arguments.runner_option}
        how = {"work": partial(answer_with_beam, **of_runner)}
    try:
        counts = answer_file(
            found,
            arguments.input,
            arguments.output,
            settings=settings_from(AnsweredParts, arguments),
            reading_options=settings_from(AskedColumns, arguments),
            asking=settings_from(task_class_of(found).asking_cls, arguments),
            trust=arguments.trust,
            **how,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Parts that are whole stay; the same command goes on.") from None
    return {"answers": str(arguments.output), **asdict(counts)}


def _show_progress(counts: Any) -> None:
    say(f"{counted(counts.parts, 'part')}, {counted(counts.records, 'record')}")


def _columns(arguments: Namespace, of: Any) -> list[Any]:
    texts = arguments.texts
    if not texts:
        return of.read_asked(arguments.input, settings_from(AskedColumns, arguments))
    if len(texts) % len(of.asked):
        arguments.parser.error(f"give {' and '.join(of.asked)} in turn; there are {len(texts)}")
    return [texts[place :: len(of.asked)] for place in range(len(of.asked))]
