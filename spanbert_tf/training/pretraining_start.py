"""What pretraining starts from: a network, and batches of a corpus."""

import os
from pathlib import Path
from typing import Any

from spanbert_tf.convert import load_hugging_face_pretrainer
from spanbert_tf.data.pretraining import PretrainingBatches
from spanbert_tf.data.shards import load_vocabulary, read_manifest
from spanbert_tf.hugging_face import CONFIG_FILE, is_preset, is_preset_of, read_config
from spanbert_tf.layers.span_masking import SpanMasking
from spanbert_tf.models.backbone import SIZES, SpanBertBackbone
from spanbert_tf.models.pretrainer import SpanBertPretrainer, SpanBertPretrainerPreprocessor
from spanbert_tf.restoring import is_saved_model, restore_encoder, restore_tokenizer
from spanbert_tf.settings import Pretraining
from spanbert_tf.tokenizer import SpanBertTokenizer
from spanbert_tf.training.workers import Workers


def load_pretrainer(
    settings: Pretraining, encoder: str | os.PathLike[str], corpus: str | os.PathLike[str]
) -> SpanBertPretrainer:
    """Loads an encoder, with heads that are new but for those that it has.

    Args:
        settings: Its dtype, objective and `max_targets` are the pretrainer's.
        encoder: See `pretrain`.
        corpus: The prepared corpus; a new encoder gets its vocabulary.

    Returns:
        The pretrainer, with a preprocessor.

    Raises:
        ValueError: The corpus has longer blocks than the encoder has positions, or the pretrainer
            that is to go on has another objective.
    """
    manifest = read_manifest(corpus)
    length = manifest.settings.sequence_length
    encoder = os.fspath(encoder)
    dtype: dict[str, Any] = {} if settings.dtype is None else {"dtype": settings.dtype}
    heads: dict[str, Any] = {
        "span_boundary": settings.objective == "mlm+sbo",
        "max_targets": settings.max_targets,
    }
    if encoder in SIZES:
        vocabulary = load_vocabulary(Path(corpus), manifest)
        tokenizer = SpanBertTokenizer(vocabulary, manifest.lowercase)
        backbone = SpanBertBackbone.from_preset(
            encoder,
            load_weights=False,
            vocabulary_size=len(vocabulary),
            max_sequence_length=max(512, length),
            **dtype,
        )
        pretrainer = _with_heads(backbone, tokenizer, heads)
    elif is_preset_of(Path(encoder), SpanBertPretrainer):
        pretrainer = SpanBertPretrainer.from_preset(encoder, **dtype)
        _check_heads(pretrainer, heads, encoder)
    elif (Path(encoder) / CONFIG_FILE).is_file() and is_preset(read_config(Path(encoder))):
        backbone = SpanBertBackbone.from_preset(encoder, **dtype)
        pretrainer = _with_heads(backbone, SpanBertTokenizer.from_preset(encoder), heads)
    elif is_saved_model(Path(encoder)):
        model = restore_encoder(encoder, settings.dtype)
        if isinstance(model, SpanBertPretrainer):
            pretrainer = model
            _check_heads(pretrainer, heads, encoder)
        else:
            pretrainer = _with_heads(model, restore_tokenizer(encoder), heads)
    else:
        pretrainer = load_hugging_face_pretrainer(encoder, settings.dtype, **heads)
    if length > pretrainer.backbone.max_sequence_length and not pretrainer.backbone.long_positions:
        raise ValueError(
            f"{corpus} has blocks of up to {length} tokens, but {encoder} has positions for "
            f"{pretrainer.backbone.max_sequence_length}: prepare it with "
            f"--sequence-length {pretrainer.backbone.max_sequence_length}."
        )
    return pretrainer


def _with_heads(
    backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer, heads: dict[str, Any]
) -> SpanBertPretrainer:
    preprocessor = SpanBertPretrainerPreprocessor(
        tokenizer, backbone.max_sequence_length, max_targets=heads["max_targets"]
    )
    return SpanBertPretrainer(backbone, preprocessor, **heads)


def _check_heads(pretrainer: SpanBertPretrainer, heads: dict[str, Any], where: str) -> None:
    for name, wanted in heads.items():
        found = getattr(pretrainer, name)
        if found != wanted:
            raise ValueError(
                f"{where} is a pretrainer with {name}={found}, but the settings say {wanted}."
            )


def make_batches(
    settings: Pretraining,
    corpus: str | os.PathLike[str],
    pretrainer: SpanBertPretrainer,
    workers: Workers,
    skip_bad_shards: bool,
) -> tuple[PretrainingBatches, PretrainingBatches | None]:
    """Makes the masked batches of a corpus that this worker trains on, and those held out.

    Raises:
        DataError, ValueError: See `PretrainingBatches`.
        ValueError: All shards would be held out.
    """
    tokenizer = pretrainer.preprocessor.tokenizer

    def read(shards: slice) -> PretrainingBatches:
        batches = PretrainingBatches(
            corpus,
            token_budget=settings.token_budget,
            num_buckets=settings.num_buckets,
            packing=settings.rows == "packed",
            seed=settings.seed,
            shards=shards,
            shards_in_memory=settings.shards_in_memory,
            part=(workers.index, workers.count),
            tokenizer=tokenizer,
            skip_bad_shards=skip_bad_shards,
        )
        masking = SpanMasking(
            tokenizer.vocabulary_size(),
            tokenizer.mask_token_id,
            tokenizer.special_token_ids,
            scheme=settings.scheme,
            budget=settings.mask_budget,
            p=settings.span_end,
            max_words=settings.max_words,
            replacement=settings.replacement,
            random_token_weights=batches.piece_counts,
            max_targets=settings.max_targets,
        )
        batches.transform = lambda features, seeds: masking(features, seed=seeds)
        return batches

    held_out = settings.validation_shards
    if not held_out:
        return read(slice(None)), None
    validation = read(slice(-held_out, None))
    shards = len(validation.manifest.shards)
    if held_out >= shards:
        raise ValueError(
            f"{os.fspath(corpus)} has {shards} shard{'s' * (shards > 1)}, and the last {held_out} "
            "are held out: none is left to train on. Train on all with --validation-shards 0, or "
            "prepare the corpus in more shards, with smaller --shard-bytes."
        )
    return read(slice(None, -held_out)), validation
