"""The settings of a run, each with its explanation.  Imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

MONITORS = ("val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1")
POOLINGS = ("cls", "mean")
OBJECTIVES = ("mlm", "mlm+sbo")
SCHEMES = ("spans", "whole_word", "subword", "last_words")
REPLACEMENTS = ("span", "piece")
ROWS = ("padded", "packed")
TRAINABLE = ("all", "heads")
ATTENTIONS = ("dense", "bucketed")
LONG_POSITIONS = ("restart",)
LITERT_WEIGHTS = ("float32", "int8")


def _setting(default: Any, of: type, explanation: str, choices: Sequence[str] = ()) -> Any:
    metadata = {"type": of, "help": explanation} | ({"choices": choices} if choices else {})
    return field(default=default, metadata=metadata)


def _check_ranges(settings: Any, ranges: dict[str, tuple[bool, str]]) -> None:
    for setting in fields(settings):
        fits, expected = ranges.get(setting.name, (True, ""))
        if not fits:
            value = getattr(settings, setting.name)
            raise ValueError(f"`{setting.name}` must be {expected}, but is {value!r}.")


@dataclass(frozen=True)
class FineTuning:
    """How a classifier is fine-tuned.

    Each field explains itself to the command line: `field.metadata`, of `dataclasses.fields`, has
    its `type`, `help` and, where they are few, its `choices`.

    Raises:
        ValueError: A setting is out of its range.
    """

    epochs: int = _setting(3, int, "passes over the training texts")
    batch_size: int = _setting(32, int, "texts in a training step")
    learning_rate: float = _setting(5e-5, float, "highest learning rate, reached after the warm-up")
    warmup_proportion: float = _setting(
        0.1, float, "part of the steps in which the learning rate rises; it falls in the others"
    )
    weight_decay: float = _setting(
        0.01, float, "decoupled weight decay; biases and layer norms have none"
    )
    clip_norm: float = _setting(1.0, float, "largest norm of a step's gradients")
    sequence_length: int = _setting(128, int, "most tokens of a text that are read")
    attention: str | None = _setting(
        None,
        str,
        "dense, or bucketed for long texts, at a cost linear in their length; None: the encoder's",
        ATTENTIONS,
    )
    block_size: int = _setting(64, int, "tokens in a block of --attention bucketed")
    neighbors: int = _setting(
        1, int, "blocks that a token sees beside its own with --attention bucketed, 0 or 1"
    )
    long_positions: str | None = _setting(
        None,
        str,
        "restart: texts may be longer than the encoder has positions, which start again",
        LONG_POSITIONS,
    )
    pooling: str = _setting(
        "cls", str, "what stands for a text: the state of its [CLS], or the mean state", POOLINGS
    )
    dropout: float = _setting(0.1, float, "part of the head's inputs dropped in training")
    seed: int = _setting(0, int, "seed of all that is random: the same seed, the same model")
    validation_fraction: float = _setting(
        0.1, float, "part of the training texts held out if there is no validation file"
    )
    monitor: str = _setting("val_accuracy", str, "what makes an epoch the best", MONITORS)
    patience: int | None = _setting(
        None, int, "stop after this many epochs without a better one; None: go on"
    )
    dtype: str | None = _setting(
        None, str, "dtype policy of the network, such as mixed_bfloat16; None: Keras's own"
    )

    def __post_init__(self) -> None:
        checks = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "warmup_proportion": (0 <= self.warmup_proportion < 1, "from 0 to below 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or above"),
            "clip_norm": (self.clip_norm > 0, "above 0"),
            "sequence_length": (self.sequence_length >= 3, "at least 3"),
            "attention": (self.attention in (None, *ATTENTIONS), f"one of {ATTENTIONS}, or None"),
            "block_size": (self.block_size >= 1, "at least 1"),
            "neighbors": (self.neighbors in (0, 1), "0 or 1"),
            "long_positions": (
                self.long_positions in (None, *LONG_POSITIONS),
                f"one of {LONG_POSITIONS}, or None",
            ),
            "pooling": (self.pooling in POOLINGS, f"one of {POOLINGS}"),
            "dropout": (0 <= self.dropout < 1, "from 0 to below 1"),
            "seed": (0 <= self.seed < 2**32, "from 0 to below 2 ** 32"),
            "validation_fraction": (0 <= self.validation_fraction <= 0.5, "from 0 to 0.5"),
            "monitor": (self.monitor in MONITORS, f"one of {MONITORS}"),
            "patience": (self.patience is None or self.patience >= 1, "at least 1, or None"),
        }
        _check_ranges(self, checks)


@dataclass(frozen=True)
class Pretraining:
    """How an encoder is pretrained: what its weights after each step depend on.

    Fields explain themselves as those of `FineTuning` do.

    Raises:
        ValueError: A setting is out of its range.
    """

    steps: int = _setting(10_000, int, "updates of the weights")
    token_budget: int = _setting(
        16_384, int, "most tokens of a batch, padding counted, over all workers"
    )
    accumulation: int = _setting(1, int, "batches whose gradients make up one step")
    learning_rate: float = _setting(1e-4, float, "highest learning rate, reached after the warm-up")
    warmup_proportion: float = _setting(
        0.05, float, "part of the steps in which the learning rate rises; it falls in the others"
    )
    weight_decay: float = _setting(
        0.01, float, "decoupled weight decay; biases and layer norms have none"
    )
    clip_norm: float = _setting(1.0, float, "largest norm of a step's gradients")
    dropout: float | None = _setting(
        None, float, "rate while the encoder is pretrained; None: the encoder's own"
    )
    objective: str = _setting(
        "mlm+sbo", str, "masked language model, with or without span boundaries", OBJECTIVES
    )
    trainable: str = _setting(
        "all", str, "what learns: all, or new heads alone on an encoder that is trained", TRAINABLE
    )
    scheme: str = _setting("spans", str, "what is masked", SCHEMES)
    mask_budget: float = _setting(0.15, float, "part of the word pieces that are masked")
    span_end: float = _setting(0.2, float, "probability that a span ends after a word")
    max_words: int = _setting(10, int, "most words of a span")
    replacement: str = _setting(
        "span", str, "what is masked alike: drawn once a span or a piece", REPLACEMENTS
    )
    max_targets: int = _setting(20, int, "most pieces of a span that its boundaries predict")
    rows: str = _setting(
        "padded", str, "one block a row, padded, or several that do not see each other", ROWS
    )
    num_buckets: int = _setting(8, int, "padded lengths that batches may have")
    shards_in_memory: int = _setting(8, int, "shards in memory, and shuffled, at a time")
    validation_shards: int = _setting(1, int, "last shards of the corpus, held out")
    seed: int = _setting(0, int, "seed of all that is random: the same seed, the same encoder")
    dtype: str | None = _setting(
        None, str, "dtype policy of the network, such as mixed_bfloat16; None: Keras's own"
    )

    def __post_init__(self) -> None:
        at_least_1 = [
            *("steps", "token_budget", "accumulation", "max_words", "max_targets"),
            *("num_buckets", "shards_in_memory"),
        ]
        ranges = {
            **{name: (getattr(self, name) >= 1, "at least 1") for name in at_least_1},
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "warmup_proportion": (0 <= self.warmup_proportion < 1, "from 0 to below 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or above"),
            "clip_norm": (self.clip_norm > 0, "above 0"),
            "dropout": (
                self.dropout is None or 0 <= self.dropout < 1,
                "from 0 to below 1, or None",
            ),
            "objective": (self.objective in OBJECTIVES, f"one of {OBJECTIVES}"),
            "trainable": (self.trainable in TRAINABLE, f"one of {TRAINABLE}"),
            "scheme": (self.scheme in SCHEMES, f"one of {SCHEMES}"),
            "mask_budget": (0 < self.mask_budget <= 1, "above 0 and 1 at most"),
            "span_end": (0 < self.span_end <= 1, "above 0 and 1 at most"),
            "replacement": (self.replacement in REPLACEMENTS, f"one of {REPLACEMENTS}"),
            "rows": (self.rows in ROWS, f"one of {ROWS}"),
            "validation_shards": (self.validation_shards >= 0, "0 or above"),
            "seed": (0 <= self.seed < 2**31, "from 0 to below 2 ** 31"),
        }
        _check_ranges(self, ranges)


@dataclass(frozen=True)
class Bookkeeping:
    """What a pretraining run writes and when; it may change when a run goes on.

    Fields explain themselves as those of `FineTuning` do.

    Raises:
        ValueError: A setting is out of its range.
    """

    log_steps: int = _setting(50, int, "steps from one line of figures to the next")
    validation_steps: int = _setting(1000, int, "steps from one validation to the next")
    validation_batches: int = _setting(50, int, "most batches of a validation")
    checkpoint_steps: int = _setting(1000, int, "steps from one checkpoint to the next")
    checkpoint_minutes: float = _setting(
        30, float, "minutes after which a checkpoint is written in any case"
    )
    keep: int = _setting(3, int, "checkpoints that are kept, the last ones")

    def __post_init__(self) -> None:
        ranges = {
            setting.name: (getattr(self, setting.name) > 0, "above 0") for setting in fields(self)
        }
        _check_ranges(self, ranges)
