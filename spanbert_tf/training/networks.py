"""What a fine-tuning run trains: a new head on an encoder, and how its best state is written."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import keras

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.export.adapters import save_adapter
from spanbert_tf.export.encoder_identity import EncoderIdentity, identify
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.export.task_loading import load_task
from spanbert_tf.models.distillation import with_layers
from spanbert_tf.models.lora import merge_lora
from spanbert_tf.models.optimizers import default_optimizer
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.settings import FineTuning
from spanbert_tf.training.chosen_settings import choose_settings, what_was_chosen
from spanbert_tf.training.schedules import WarmUpLinearDecay

_log = logging.getLogger(__name__)

ADAPTER_FOLDER = "adapter"  # In the folder of the best epoch's preset.


def make_network(
    of: type[SpanBertTask], settings: Any, encoder: str | os.PathLike[str], head: dict[str, Any]
) -> tuple[Any, EncoderIdentity | None]:
    """Loads an encoder and puts a new head on it.

    Args:
        of: The task's class.
        settings: How it is trained, of the task's `settings_cls`.
        encoder: Any handle of an encoder.
        head: What the training data decides, see `SpanBertTask.head_arguments`.

    Returns:
        The task; and with `settings.lora_rank`, which adapts the encoder, what it was before, else
        `None`.

    Raises:
        ValueError: The encoder has not so many `settings.layers`; or see `load_backbone`.
    """
    keras.utils.set_random_seed(settings.seed)
    backbone, tokenizer = load_backbone(encoder, settings.dtype)
    identity = None
    if settings.lora_rank is not None:
        identity = identify(encoder, backbone, tokenizer)
    if settings.layers is not None:
        backbone = with_layers(backbone, settings.layers)
    backbone = _with_options(backbone, settings)
    if settings.lora_rank is not None:
        backbone.enable_lora(settings.lora_rank)
    model = of.with_new_head(backbone, tokenizer, head, settings)
    model.begin_with(partial(load_task, encoder), settings)
    return model, identity


def compile_network(model: Any, settings: Any, columns: Columns) -> Any:
    """Compiles a task to be trained on texts.

    Args:
        model: What `make_network` gave.
        settings: How it is trained.
        columns: The texts.

    Returns:
        The settings, of which nothing is left open, see `choose_settings`.
    """
    rows = model.rows_an_epoch(columns)
    chosen = choose_settings(settings, model.backbone.hidden_dim, rows)
    if chosen != settings:
        _log.info("chosen by the encoder and the data: %s", what_was_chosen(settings, chosen))
    rate, head_rate = chosen.learning_rate, chosen.head_learning_rate
    steps = -(-rows // chosen.batch_size) * chosen.epochs
    schedule = WarmUpLinearDecay(rate, steps, round(chosen.warmup_proportion * steps))
    optimizer = default_optimizer(schedule, chosen.weight_decay, chosen.clip_norm)
    if head_rate != rate:
        optimizer.speed_up(model.head_variables, head_rate / rate)
    model.compile(optimizer)
    return chosen


def write_network(model: Any, identity: EncoderIdentity | None, folder: Path) -> None:
    """Writes a task as a preset that loads like any other, and beside it its adapter.

    Args:
        model: The task.
        identity: What `make_network` gave with it.
        folder: An empty folder; an adapter goes to `ADAPTER_FOLDER` in it.
    """
    merge_lora(model).save_to_preset(str(folder))
    if identity is not None:
        save_adapter(model, folder / ADAPTER_FOLDER, identity)


def _with_options(backbone: SpanBertBackbone, settings: FineTuning) -> SpanBertBackbone:
    """The encoder, or one of the same weights with what the settings change in it."""
    options: dict[str, Any] = {"long_positions": settings.long_positions}
    if settings.attention is not None:
        options |= {
            "attention": settings.attention,
            "block_size": settings.block_size,
            "neighbors": settings.neighbors,
        }
    changed = {
        name: value
        for name, value in options.items()
        if value is not None and value != getattr(backbone, name)
    }
    if not changed:
        return backbone
    other = SpanBertBackbone.from_config({**backbone.get_config(), **changed})
    other.set_weights(backbone.get_weights())
    return other
