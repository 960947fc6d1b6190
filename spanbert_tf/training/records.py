"""The records of a fine-tuning run: held out, and known again."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.settings import FineTuning
from spanbert_tf.training.splitting import stratified_split

# What a record says of where it was read.
_ORIGINS = ("line", "path")


def hold_out(
    of: type[SpanBertTask],
    settings: FineTuning,
    train: Sequence[Any],
    validation: Sequence[Any] | None,
) -> tuple[list[Any], list[Any]]:
    """Parts a validation set from the training records where none is given."""
    if validation is not None or not settings.validation_fraction:
        return list(train), list(validation or [])
    rows = stratified_split(of.strata(train), settings.validation_fraction, settings.seed)
    kept, held_out = ([train[row] for row in part] for part in rows)
    return kept, held_out


def digest(
    train: Sequence[Any], validation: Sequence[Any] | None, out_of_scope: Columns | None
) -> str:
    """A fingerprint of what is trained, validated and tuned on."""
    parts: list[Any] = [
        None if records is None else [_contents(record) for record in records]
        for records in (train, validation)
    ]
    parts += [] if out_of_scope is None else [out_of_scope]
    text = json.dumps(parts, default=lambda array: hashlib.sha256(array.tobytes()).hexdigest())
    return hashlib.sha256(text.encode()).hexdigest()


def _contents(record: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if name not in _ORIGINS}
