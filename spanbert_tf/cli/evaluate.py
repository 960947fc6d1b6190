"""`spanbert-tf evaluate`: the figures of a fine-tuned task or a pretrainer on data."""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import atomic_file, user_path
from spanbert_tf.cli.arguments import (
    MODEL_HELP,
    add_settings,
    check_files,
    flags_of,
    read_out_of_scope,
    settings_from,
    task_of_model,
)
from spanbert_tf.cli.showing import figures_in_a_row
from spanbert_tf.settings import Pretraining, TextColumns
from spanbert_tf.start_up import without_info
from spanbert_tf.tasks import FINE_TUNED_TASKS, task_class

SUMMARY = "score a fine-tuned task on labelled data, or a pretrainer on a corpus"
EXAMPLE = "spanbert-tf evaluate runs/reviews/classifier --data test.tsv"

# What decides how a corpus is masked, of the settings of pretraining.
_MASKING = (
    *("token_budget", "scheme", "budget", "p", "max_words", "replacement"),
    *("rows", "num_buckets", "seed", "dtype"),
)
_FILES = ("--out-of-scope", "--confusions", "--output", "--teacher")


@dataclass(frozen=True)
class Evaluated:
    """What was measured.

    Attributes:
        count: Number of records, or of tokens.
        of: What these are.
        figures: By name.
        report: A `Report` of a task, or `None`.
        written: Files that were written.
    """

    count: int
    of: str
    figures: dict[str, float]
    report: Any = None
    written: Sequence[Path] = ()


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options; how the data is read is for the model's task to say."""
    command.add_argument("model", metavar="MODEL", help=f"{MODEL_HELP}; or a pretrainer's")
    command.add_argument(
        "--data",
        type=user_path,
        required=True,
        metavar="FILE",
        help="labelled data; of a pretrainer the folder that `spanbert-tf prepare` wrote",
    )
    task = task_of_model(
        words[1:],
        ["--data", *_FILES, "--shards", *flags_of(TextColumns), *flags_of(Pretraining)],
        lambda of: [of.reading_cls, of.scoring_cls],
    )
    if task is not None and task not in FINE_TUNED_TASKS:
        command.add_argument(
            "--shards", type=int, metavar="N", help="take the last N of the corpus (default: all)"
        )
        add_settings(command, Pretraining, "how the corpus is masked", _MASKING)
        return
    command.add_argument(
        "--trust", action="store_true", help="load a SavedModel whatever its operations"
    )
    command.add_argument(
        "--out-of-scope",
        type=user_path,
        metavar="FILE",
        help="texts that belong to no class, .txt or as for predict: how well the best class's "
        "probability tells them from the others",
    )
    command.add_argument(
        "--output",
        type=user_path,
        metavar="ROWS.jsonl",
        help="write a line for each record: its texts, what is right, the answer, and whether both "
        "agree",
    )
    command.add_argument(
        "--confusions",
        type=user_path,
        metavar="PICTURE",
        help="draw which label was taken for which, as .png or .svg; needs matplotlib",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace these files if they exist"
    )
    add_settings(
        command, task_class(task).reading_cls if task else TextColumns, "how the file is read"
    )
    if task:
        from spanbert_tf.models.task_definition import ANSWERS

        if task_class(task).teaching == ANSWERS:
            command.add_argument(
                "--teacher",
                metavar="MODEL",
                help="score by how near answers are to those of this model, a handle or a folder",
            )
        add_settings(command, task_class(task).scoring_cls, f"how a task of {task} is scored")


def run(arguments: Namespace) -> Evaluated:
    """Scores."""
    from spanbert_tf.handles import find

    found = find(arguments.model)
    if found.task is not None and found.task not in FINE_TUNED_TASKS:
        from spanbert_tf.training.pretraining.evaluation import evaluate_pretrainer

        settings = settings_from(Pretraining, arguments)
        figures = evaluate_pretrainer(found, arguments.data, settings, arguments.shards)
        return Evaluated(int(figures.pop("tokens")), "tokens", figures)

    from spanbert_tf.cli.confusion_picture import check_picture, draw_confusions
    from spanbert_tf.export.task_loading import load_task

    inputs = [found.path, arguments.data, arguments.out_of_scope]
    check_files([arguments.output, arguments.confusions], inputs, arguments.overwrite)
    with without_info():
        task = load_task(found, trust=arguments.trust)
    of = task.task_class
    if arguments.out_of_scope is not None and of.rejects({}):
        task.check_rejection()
    if arguments.confusions is not None:
        if not task.has_confusions():
            raise ValueError(
                f"`confusions` are of labels, one a record; the answers of this {of.task} are none"
            )
        check_picture(arguments.confusions)
    reading = settings_from(of.reading_cls, arguments)
    outside = arguments.out_of_scope and read_out_of_scope(of, arguments.out_of_scope, reading)
    records = of.read(arguments.data, reading)
    if getattr(arguments, "teacher", None) is not None:
        from spanbert_tf.training.teachers import load_teacher

        records = of.taught(records, load_teacher(of, arguments.teacher))
    scoring = vars(settings_from(of.scoring_cls, arguments))
    assessed = task.answer_records(records, out_of_scope=outside, **scoring)
    report = task.report(assessed.answers, records)
    written = []
    if arguments.output is not None:
        with atomic_file(arguments.output) as path, path.open("w", encoding="utf-8") as file:
            for row in _rows(task, assessed.answers, records):
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        written.append(arguments.output)
    if arguments.confusions is not None:
        draw_confusions(report, arguments.confusions)
        written.append(arguments.confusions)
    return Evaluated(len(records), "texts", assessed.figures, report, written)


def to_json(result: Evaluated) -> dict[str, Any]:
    """Figures, and what is behind them."""
    report = {} if result.report is None else {"report": result.report.to_json()}
    return {result.of: result.count, **result.figures, **report}


def show(result: Evaluated) -> str:
    """Figures and on how many texts, then the tables."""
    parts = [f"{result.count:,} {result.of}: {figures_in_a_row(result.figures)}"]
    if result.report is not None and str(result.report):
        parts.append(str(result.report))
    if result.written:
        parts.append("\n".join(f"wrote {path}" for path in result.written))
    return "\n\n".join(parts)


def _rows(task: Any, answers: Sequence[Any], records: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """A dictionary a record, of its texts by name, `gold`, `answer` and `right`."""
    of = task.task_class
    columns, _ = task.columns_of(records)
    forms = [of.apart[: len(columns)]] if of.apart else of.signatures.values()
    (names,) = (names for names in forms if len(names) == len(columns))
    told = task.given(answers, records)
    for record, answer, *texts in zip(records, told, *columns, strict=True):
        yield {
            **dict(zip(names, texts, strict=True)),
            "gold": of.gold_of(record),
            "answer": [*map(asdict, answer)] if isinstance(answer, list) else asdict(answer),
            "right": task.is_right(answer, record),
        }
