"""`spanbert-tf finetune`: a task on an encoder, from your own files."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import (
    ENCODER_HELP,
    add_overwrite,
    add_settings,
    flag_of,
    read_out_of_scope,
    read_unlabelled,
    settings_from,
    show_example,
    value_of,
)
from spanbert_tf.cli.showing import BAR, figures_in_a_row, progress, say
from spanbert_tf.settings import TextClassification, TextColumns
from spanbert_tf.start_up import import_tensorflow
from spanbert_tf.tasks import DEFAULT_TASK, FINE_TUNED_TASKS, task_class

SUMMARY = "fine-tune a task, by default text classification, on your own files"
EXAMPLE = "spanbert-tf finetune --train reviews.tsv --output runs/reviews"

# Where the preset goes in the output folder.  Text classification keeps the name it had first.
PRESET_FOLDERS = {DEFAULT_TASK: "classifier"}
PRESET_FOLDER = "preset"


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options; those of the settings are the task's."""
    settings_class, reading_class, example = _of_task(value_of(words, "--task") or DEFAULT_TASK)
    show_example(command, example)
    command.add_argument(
        "--task",
        choices=FINE_TUNED_TASKS,
        default=DEFAULT_TASK,
        help=f"what to learn (default: {DEFAULT_TASK}); --task NAME --help shows its options",
    )
    data = command.add_argument_group("data (.gz is fine)")
    data.add_argument("--train", type=user_path, metavar="FILE", help="what to learn from")
    data.add_argument(
        "--unlabelled",
        type=user_path,
        metavar="FILE",
        help="texts to learn from too, or in place of --train, .txt or as for predict: the answers "
        "of --teacher are their labels",
    )
    command.set_defaults(parser=command)
    data.add_argument(
        "--validation", type=user_path, metavar="FILE", help="default: a part of the training file"
    )
    data.add_argument("--test", type=user_path, metavar="FILE", help="scored once, at the end")
    data.add_argument(
        "--out-of-scope",
        type=user_path,
        metavar="FILE",
        help="texts that belong to no class, .txt or as for predict: with the validation data they "
        "decide how probable a class must be, else the answer is none of these",
    )
    data.add_argument(
        "--folds", type=int, metavar="K", help="cross-validate in K folds and keep no model"
    )
    model = command.add_argument_group("model")
    model.add_argument("--encoder", metavar="SRC", help=f"{ENCODER_HELP}; or --teacher's own")
    model.add_argument(
        "--output", type=user_path, metavar="FOLDER", help="default: runs/NAME-OF-TRAINING-FILE"
    )
    model.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard logs into the output folder"
    )
    add_overwrite(model)
    model.add_argument(
        "--resume",
        action="store_true",
        help="begin nothing anew: there must be a run that was stopped",
    )
    add_settings(command, reading_class, "how files are read")
    add_settings(command, settings_class)


def run(arguments: Namespace) -> dict[str, Any]:
    """Fine-tunes and exports, or cross-validates."""
    from spanbert_tf.handles import default_encoder
    from spanbert_tf.training.checkpoints import Interrupted
    from spanbert_tf.training.cross_validation import cross_validate
    from spanbert_tf.training.fine_tuning import finetune
    from spanbert_tf.training.progress import EpochLines
    from spanbert_tf.training.teachers import encoder_of_teacher

    first = arguments.train or arguments.unlabelled
    if first is None:
        arguments.parser.error("the following arguments are required: --train")
    of = task_class(arguments.task)
    settings = settings_from(of.settings_cls, arguments)
    reading = settings_from(of.reading_cls, arguments)
    outside = arguments.out_of_scope and read_out_of_scope(of, arguments.out_of_scope, reading)
    train, validation, test = (
        path and of.read(path, reading)
        for path in (arguments.train, arguments.validation, arguments.test)
    )
    unlabelled = arguments.unlabelled and read_unlabelled(of, arguments.unlabelled, reading)
    encoder = arguments.encoder
    if encoder is None and settings.teacher is not None:
        encoder = encoder_of_teacher(of, settings.teacher)
    encoder = encoder or default_encoder()
    if arguments.folds is not None:
        _refuse_without_use(arguments)
        with progress() as verbose:
            crossed = cross_validate(
                settings,
                train,
                arguments.folds,
                encoder=encoder,
                task=arguments.task,
                verbose=verbose,
            )
        return {
            "folds": crossed.folds,
            "mean": crossed.mean,
            "std": crossed.std,
            "table": str(crossed),
        }

    output = arguments.output or Path("runs") / first.name.split(".")[0]
    folder = PRESET_FOLDERS.get(arguments.task, PRESET_FOLDER)
    served = output / "saved_model" / "1"
    adapter = output / "adapter" if settings.lora_rank is not None else None
    try:
        with progress() as verbose:
            tuned = finetune(
                settings,
                train or [],
                validation,
                encoder=encoder,
                output=output / folder,
                task=arguments.task,
                test=test,
                out_of_scope=outside,
                unlabelled=unlabelled,
                saved_model=served,
                adapter=adapter,
                overwrite=arguments.overwrite,
                resume=arguments.resume,
                tensorboard=output / "tensorboard" if arguments.tensorboard else None,
                callbacks=[] if verbose == BAR else [EpochLines(say)],
                verbose=verbose,
            )
    except Interrupted as interrupted:
        raise KeyboardInterrupt(
            f"{interrupted}\nTo go on, give the same command with --resume."
        ) from None
    return {
        folder: str(output / folder),
        "task": arguments.task,
        "saved_model": str(served),
        "adapter": adapter and str(adapter),
        "train_size": tuned.train_size,
        "validation_size": tuned.validation_size,
        "best_epoch": tuned.best_epoch,
        "validation": tuned.validation,
        "test_size": len(test or ()),
        "test": tuned.test,
    }


def show(result: dict[str, Any]) -> str:
    """How a run went, and what to do with its model."""
    if "table" in result:
        return result["table"]
    lines = [f"trained on {result['train_size']:,}; best epoch: {result['best_epoch']}"]
    for part in ("validation", "test"):
        if result[part]:
            figures = figures_in_a_row(result[part])
            lines.append(f"{part}, {result[f'{part}_size']:,}: {figures}")
    folder = PRESET_FOLDERS.get(result["task"], PRESET_FOLDER)
    texts = task_class(result["task"]).asked
    if result["adapter"]:
        lines.append(f"what was learned, for its encoder (adapter): {result['adapter']}")
    return "\n".join(
        [
            *lines,
            f"to train on or export (Keras preset): {result[folder]}",
            f"text in, answers out (SavedModel): {result['saved_model']}",
            "ask it:",
            " ".join(["  spanbert-tf predict", result["saved_model"], *['"..."'] * len(texts)]),
        ]
    )


def _refuse_without_use(arguments: Namespace) -> None:
    names = ("validation", "test", "out_of_scope", "unlabelled", "resume", "tensorboard")
    useless = [flag_of(name) for name in names if getattr(arguments, name)]
    if useless:
        raise ValueError(
            f"--folds cross-validates on --train alone and keeps no model: leave out "
            f"{', '.join(useless)}"
        )


def _of_task(task: str) -> tuple[type, type, str]:
    """Settings, reading options and an example of a task; those of the default without imports."""
    if task == DEFAULT_TASK or task not in FINE_TUNED_TASKS:
        return TextClassification, TextColumns, EXAMPLE
    import_tensorflow()
    of = task_class(task)
    file = Path(of.training_file)
    example = f"spanbert-tf finetune --task {task} --train {file} --output runs/{file.stem}"
    return of.settings_cls, of.reading_cls, example
