"""`spanbert-tf export`: a task or an encoder as a SavedModel, or for LiteRT."""

from argparse import Namespace
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.cli.arguments import SOURCE_HELP, add_overwrite, check_files
from spanbert_tf.settings import LITERT_WEIGHTS, POOLINGS

SUMMARY = "write a SavedModel for TF Hub and TF Serving, or a model for LiteRT"
EXAMPLE = "spanbert-tf export presets/spanbert_base saved_models/spanbert_base/1"


def add_arguments(command: Any, words: list[str]) -> None:
    """Adds the command's options."""
    command.add_argument(
        "source", metavar="SRC", help=f"{SOURCE_HELP}; of a fine-tuned task: text in, answers out"
    )
    command.add_argument(
        "destination",
        metavar="DST",
        type=user_path,
        help="folder to write: NAME/VERSION to serve it",
    )
    command.add_argument(
        "--preprocessor",
        type=user_path,
        metavar="DST",
        help="also write the text preprocessor there",
    )
    command.add_argument(
        "--litert",
        choices=LITERT_WEIGHTS,
        help="write a model for LiteRT with such weights: the fastest on a CPU; float16 is half of "
        "the size, int8 a quarter and faster still, but less exact",
    )
    command.add_argument(
        "--pooling",
        choices=POOLINGS,
        default="mean",
        help="what an encoder's vector of a text is in LiteRT (default: mean)",
    )
    command.add_argument(
        "--serving-config",
        type=user_path,
        metavar="FOLDER",
        help="also write models.config, of all models beside DST, and batching_parameters there, "
        "for TF Serving",
    )
    add_overwrite(command)


def run(arguments: Namespace) -> dict[str, Any]:
    """Exports."""
    from spanbert_tf.export.hub import export_encoder, export_preprocessor
    from spanbert_tf.export.litert import export_litert, export_litert_encoder
    from spanbert_tf.export.loading import load_with_heads
    from spanbert_tf.export.serving import export_task
    from spanbert_tf.export.serving_config import (
        CONFIG_FILES,
        is_own,
        served_folders,
        write_serving_config,
    )
    from spanbert_tf.export.task_loading import load_task
    from spanbert_tf.handles import PRETRAINING_TASK, Kind, find
    from spanbert_tf.output_folders import check_outputs
    from spanbert_tf.tasks import FINE_TUNED_TASKS
    from spanbert_tf.tasks.pretrainer import SpanBertPretrainer

    destination, overwrite = arguments.destination, arguments.overwrite
    outputs = [each for each in (destination, arguments.preprocessor) if each is not None]
    check_outputs(outputs, overwrite, [arguments.source])
    config = arguments.serving_config
    if config is not None:
        if arguments.litert:
            raise ValueError("`serving_config` is for SavedModels, which `litert` does not write")
        served_folders(destination)
        for path in (config / name for name in CONFIG_FILES):
            check_files([path], [arguments.source, *outputs], overwrite or is_own(path))
    handle = find(arguments.source)
    if handle.task in FINE_TUNED_TASKS:
        if handle.kind not in (Kind.PRESET, Kind.HUGGING_FACE):  # Of the latter, embedders.
            raise ValueError(
                f"{arguments.source} is a {handle.kind} already; export the preset that it was "
                "made of"
            )
        model: Any = load_task(handle).model  # type: ignore[attr-defined]
        tokenizer = model.preprocessor.tokenizer
        kind = handle.task
        if arguments.litert:
            export_litert(model, destination, arguments.litert, overwrite)
        else:
            export_task(model, destination, overwrite)
    else:
        model, tokenizer = load_with_heads(handle)
        has_heads = handle.task == PRETRAINING_TASK
        kind = "encoder with pretraining heads" if has_heads else "encoder"
        if arguments.litert:
            kind = "encoder"
            backbone = model.backbone if isinstance(model, SpanBertPretrainer) else model
            options = (arguments.pooling, arguments.litert, overwrite)
            export_litert_encoder(backbone, tokenizer, destination, *options)
        else:
            export_encoder(model, tokenizer, destination, overwrite)
    result = {kind: str(destination)}
    if arguments.preprocessor:
        export_preprocessor(tokenizer, arguments.preprocessor, overwrite=overwrite)
        result["preprocessor"] = str(arguments.preprocessor)
    if config is not None:
        write_serving_config(destination, config)
        result["configuration of TF Serving"] = str(config)
    return result


def show(result: dict[str, Any]) -> str:
    """What was written, and where."""
    return "\n".join(f"wrote the {kind} to {path}" for kind, path in result.items())
