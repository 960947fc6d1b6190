"""`spanbert-tf pretrain`: an encoder on a prepared corpus."""

from argparse import Namespace
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import SOURCE_HELP, add_settings, settings_from
from spanbert_tf.cli.showing import say
from spanbert_tf.settings import Pretraining, RunOptions

SUMMARY = "pretrain an encoder on a prepared corpus, or go on with a run that was stopped"
EXAMPLE = "spanbert-tf pretrain corpus --encoder spanbert_mini --output runs/mini"


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    command.add_argument(
        "corpus", metavar="CORPUS", type=user_path, help="what `spanbert-tf prepare` wrote"
    )
    command.add_argument(
        "--encoder",
        required=True,
        metavar="SRC",
        help=f"where to start: {SOURCE_HELP}; or the name of a size, such as spanbert_mini, for "
        "new weights",
    )
    command.add_argument(
        "--output",
        type=user_path,
        required=True,
        metavar="FOLDER",
        help="folder of the run; one that is there is gone on with",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="throw away the run that is in the folder"
    )
    command.add_argument(
        "--skip-bad-shards", action="store_true", help="leave out shards that are damaged"
    )
    command.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard logs into the output folder"
    )
    add_settings(command, Pretraining)
    add_settings(command, RunOptions, "run options (may change when a run goes on)")


def run(arguments: Namespace) -> dict[str, Any]:
    """Pretrains an encoder and exports it with its heads."""
    from spanbert_tf.training.checkpoints import Interrupted
    from spanbert_tf.training.pretraining import pretrain
    from spanbert_tf.training.pretraining.workers import Workers

    workers = Workers.from_environment()  # Before TensorFlow computes anything.
    served_folder = arguments.output / "saved_model" / "1"
    try:
        trained = pretrain(
            settings_from(Pretraining, arguments),
            arguments.corpus,
            encoder=arguments.encoder,
            output=arguments.output,
            run_options=settings_from(RunOptions, arguments),
            saved_model=served_folder,
            overwrite=arguments.overwrite,
            skip_bad_shards=arguments.skip_bad_shards,
            tensorboard=arguments.tensorboard,
            write=say,
            workers=workers,
        )
    except Interrupted as interrupted:
        raise KeyboardInterrupt(f"{interrupted}\nTo go on, give the same command again.") from None
    return {
        "preset": str(trained.folder),
        "saved_model": str(served_folder) if workers.is_chief else None,
        "worker": workers.index,
        "steps": trained.steps,
        "tokens": trained.tokens,
        "validation": trained.history[-1] if trained.history else None,
    }


def show(result: dict[str, Any]) -> str:
    """How a run ended, and what to do with its encoder."""
    if not result["saved_model"]:
        return f"worker {result['worker']} is done; worker 0 has written the encoder."
    lines = [f"{result['steps']:,} steps, {result['tokens']:,} tokens"]
    if result["validation"]:
        figures = {n: v for n, v in result["validation"].items() if n not in ("step", "padding")}
        lines.append("held out: " + ", ".join(f"{name} {v:.4f}" for name, v in figures.items()))
    return "\n".join(
        [
            *lines,
            f"pretrainer (Keras preset): {result['preset']}",
            f"encoder with .mlm and .sbo (SavedModel): {result['saved_model']}",
            "fine-tune it:",
            f"  spanbert-tf finetune --encoder {result['preset']} --train my.tsv",
        ]
    )
