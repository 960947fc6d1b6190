"""What pretraining starts from: a network, and batches of a corpus."""

import os
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import user_path
from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.checkpoints.convert import load_hugging_face_pretrainer
from spanbert_tf.data.batching.pretraining import PretrainingBatches
from spanbert_tf.data.corpus.shards import Manifest, load_vocabulary, read_manifest
from spanbert_tf.export.loading import load_with_heads
from spanbert_tf.handles import CHECKPOINTS, AnyHandle, Handle, Kind, find
from spanbert_tf.layers.masking.span_masking import SpanMasking
from spanbert_tf.settings import Pretraining
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer, SpanBertPretrainerPreprocessor
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer
from spanbert_tf.training.pretraining.workers import Workers

MAX_TARGETS = 20  # Of a new head, where the settings do not say.


def load_pretrainer(
    settings: Pretraining, encoder: AnyHandle, corpus: str | os.PathLike[str]
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
        FileNotFoundError, ConnectionError, ImportError, OSError: See `spanbert_tf.handles.find`.
    """
    manifest = read_manifest(corpus)
    found = find(encoder)
    if found.kind is Kind.SIZE:
        return _new_pretrainer(settings, found.path, user_path(corpus), manifest)
    pretrainer = _trained_pretrainer(settings, found)
    check_length(pretrainer, corpus, found.source)
    return pretrainer


def check_length(
    pretrainer: SpanBertPretrainer, corpus: str | os.PathLike[str], source: str
) -> None:
    """Refuses a corpus whose blocks are longer than the encoder has positions."""
    length = read_manifest(corpus).settings.sequence_length
    positions = pretrainer.backbone.max_sequence_length
    if length > positions and not pretrainer.backbone.long_positions:
        raise ValueError(
            f"{corpus} has blocks of up to {length} tokens, but {source} has positions for "
            f"{positions}: prepare it with --sequence-length {positions}."
        )


def _heads(settings: Pretraining) -> dict[str, Any]:
    return {
        "span_boundary": settings.objective == "mlm+sbo",
        "max_targets": settings.max_targets or MAX_TARGETS,
    }


def _new_pretrainer(
    settings: Pretraining, size: str, corpus: Path, manifest: Manifest
) -> SpanBertPretrainer:
    vocabulary = load_vocabulary(corpus, manifest)
    backbone = SpanBertBackbone.from_preset(
        size,
        load_weights=False,
        vocabulary_size=len(vocabulary),
        max_sequence_length=max(512, manifest.settings.sequence_length),
        dtype=settings.dtype,
    )
    tokenizer = SpanBertTokenizer(vocabulary, manifest.lowercase)
    return _with_heads(backbone, tokenizer, _heads(settings))


def _trained_pretrainer(settings: Pretraining, encoder: Handle) -> SpanBertPretrainer:
    heads = _heads(settings)
    if encoder.kind in CHECKPOINTS:
        return load_hugging_face_pretrainer(encoder.path, settings.dtype, **heads)
    model, tokenizer = load_with_heads(encoder, settings.dtype)
    if isinstance(model, SpanBertPretrainer):
        if settings.max_targets is None:
            heads["max_targets"] = model.max_targets
        _check_heads(model, heads, encoder.source)
        return with_preprocessor(model, tokenizer)
    return _with_heads(model, tokenizer, heads)


def with_preprocessor(
    pretrainer: SpanBertPretrainer, tokenizer: SpanBertTokenizer
) -> SpanBertPretrainer:
    """Gives a pretrainer a preprocessor where its preset has a tokenizer alone."""
    if pretrainer.preprocessor is None:
        pretrainer.preprocessor = _preprocessor(
            pretrainer.backbone, tokenizer, pretrainer.max_targets
        )
    return pretrainer


def _with_heads(
    backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer, heads: dict[str, Any]
) -> SpanBertPretrainer:
    preprocessor = _preprocessor(backbone, tokenizer, heads["max_targets"])
    return SpanBertPretrainer(backbone, preprocessor, **heads)


def _preprocessor(
    backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer, max_targets: int
) -> SpanBertPretrainerPreprocessor:
    return SpanBertPretrainerPreprocessor(
        tokenizer, backbone.max_sequence_length, max_targets=max_targets
    )


def _check_heads(pretrainer: SpanBertPretrainer, heads: dict[str, Any], where: str) -> None:
    for name, wanted in heads.items():
        found = getattr(pretrainer, name)
        if found != wanted:
            raise ValueError(
                f"{where} is a pretrainer with {name}={found}, but the settings say {wanted}."
            )


def masked_batches(
    settings: Pretraining,
    corpus: str | os.PathLike[str],
    pretrainer: SpanBertPretrainer,
    shards: slice,
    part: tuple[int, int] = (0, 1),
    skip_bad_shards: bool = False,
) -> PretrainingBatches:
    """Makes the masked batches of some shards of a corpus.

    Args:
        settings: How rows are made and masked.
        corpus: The prepared corpus.
        pretrainer: Its tokenizer is the corpus's.
        shards: See `PretrainingBatches`.
        part: See `PretrainingBatches`.
        skip_bad_shards: See `PretrainingBatches`.

    Raises:
        DataError, ValueError: See `PretrainingBatches`.
    """
    tokenizer = pretrainer.preprocessor.tokenizer
    batches = PretrainingBatches(
        corpus,
        token_budget=settings.token_budget,
        num_buckets=settings.num_buckets,
        packing=settings.rows == "packed",
        seed=settings.seed,
        shards=shards,
        shards_in_memory=settings.shards_in_memory,
        part=part,
        tokenizer=tokenizer,
        skip_bad_shards=skip_bad_shards,
    )
    masking = SpanMasking(
        tokenizer.vocabulary_size(),
        tokenizer.mask_token_id,
        tokenizer.special_token_ids,
        scheme=settings.scheme,
        budget=settings.budget,
        p=settings.p,
        max_words=settings.max_words,
        replacement=settings.replacement,
        random_token_weights=batches.piece_counts,
        max_targets=pretrainer.max_targets,
    )
    batches.transform = lambda features, seeds: masking(features, seed=seeds)
    return batches


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

    def read(shards: slice) -> PretrainingBatches:
        part = (workers.index, workers.count)
        return masked_batches(settings, corpus, pretrainer, shards, part, skip_bad_shards)

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
