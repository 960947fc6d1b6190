"""The settings of a run, each with its explanation and its range.  Imports nothing heavy."""

from dataclasses import dataclass

from spanbert_tf.setting_fields import (
    ABOVE_0,
    NOT_BELOW_0,
    PART,
    PART_ABOVE_0,
    Range,
    Settings,
    at_least,
    below,
    setting,
)

POOLINGS = ("cls", "mean")
OBJECTIVES = ("mlm", "mlm+sbo")
SCHEMES = ("spans", "whole_word", "subword", "last_words")
REPLACEMENTS = ("span", "piece")
ROWS = ("padded", "packed")
TRAINABLE = ("all", "heads")
ATTENTIONS = ("dense", "bucketed")
LONG_POSITIONS = ("restart",)
QUOTINGS = ("double", "none")
# Tokens of a text that is read whole: bounds memory, at 35 KB each.
LONGEST_TEXT = 2**18
LITERT_WEIGHTS = ("float32", "float16", "int8")
VECTORS = ("float32", "int8", "bits", "bits+float32")


@dataclass(frozen=True)
class Asking(Settings):
    """How a task is asked, beside its texts: arguments of its verb that have a default."""


@dataclass(frozen=True)
class Scoring(Settings):
    """How a task is scored, beside its records: more arguments of its `answer_records`."""


@dataclass(frozen=True)
class FineTuning(Settings):
    """How a task is fine-tuned: what all tasks share."""

    epochs: int | None = setting(
        None,
        int,
        "passes over the training data; None: enough for 2,500 steps, but 2 to 20",
        at_least(1),
    )
    batch_size: int = setting(32, int, "rows in a training step", at_least(1))
    learning_rate: float | None = setting(
        None,
        float,
        "highest learning rate, reached after the warm-up; None: by the encoder's width, 2e-4 at "
        "384 and 5e-5 at 768, five times that for --lora-rank",
        ABOVE_0,
    )
    head_learning_rate: float | None = setting(
        None,
        float,
        "that of the new head; None: the encoder's if you give it, else five times the encoder's",
        ABOVE_0,
    )
    warmup_proportion: float = setting(
        0.1,
        float,
        "part of the steps in which the learning rate rises; it falls in the others",
        PART,
    )
    weight_decay: float = setting(
        0.01, float, "decoupled weight decay; biases and layer norms have none", NOT_BELOW_0
    )
    clip_norm: float = setting(1.0, float, "largest norm of a step's gradients", ABOVE_0)
    sequence_length: int = setting(128, int, "most tokens of a row", at_least(3))
    attention: str | None = setting(
        None,
        str,
        "dense, or bucketed for long texts, at a cost linear in their length; None: the encoder's",
        choices=ATTENTIONS,
    )
    block_size: int = setting(64, int, "tokens in a block of --attention bucketed", at_least(1))
    neighbors: int = setting(
        1,
        int,
        "blocks that a token sees beside its own with --attention bucketed, 0 or 1",
        Range("0 or 1", lambda x: x in (0, 1)),
    )
    long_positions: str | None = setting(
        None,
        str,
        "restart: rows may be longer than the encoder has positions, which start again",
        choices=LONG_POSITIONS,
    )
    lora_rank: int | None = setting(
        None,
        int,
        "train an adapter of this rank (LoRA) and the head, not the encoder's weights; None: all",
        at_least(1),
    )
    lora_start: str = setting(
        "zero",
        str,
        "what an adapter begins as: nothing, or what the teacher's encoder differs by, as far as "
        "--lora-rank allows",
        choices=("zero", "teacher"),
    )
    layers: int | None = setting(
        None,
        int,
        "layers of the encoder to begin with, evenly spaced, the last among them; None: all",
        at_least(1),
    )
    teacher: str | None = setting(
        None,
        str,
        "fine-tuned model of the same task to learn from, beside the labels: its folder, or handle",
        is_model=True,
    )
    teacher_temperature: float = setting(
        2.0, float, "what logits are divided by to compare them with the teacher's", ABOVE_0
    )
    dropout: float = setting(0.1, float, "part of the head's inputs dropped in training", PART)
    seed: int = setting(
        0, int, "seed of all that is random: the same seed, the same model", below(2**32, "2 ** 32")
    )
    validation_fraction: float = setting(
        0.1,
        float,
        "part of the training data held out if there is no validation file",
        Range("from 0 to 0.5", lambda x: 0 <= x <= 0.5),
    )
    monitor: str | None = setting(
        None, str, "figure that makes an epoch the best, or loss; None: the task's first"
    )
    patience: int | None = setting(
        None, int, "stop after this many epochs without a better one; None: go on", at_least(1)
    )
    dtype: str | None = setting(
        None, str, "dtype policy of the network, such as mixed_bfloat16; None: Keras's own"
    )


@dataclass(frozen=True)
class TextClassification(FineTuning):
    """How a text classifier is fine-tuned.

    Beside `FineTuning`, not in the task's file: the command line shows it without TensorFlow.
    """

    pooling: str = setting(
        "cls",
        str,
        "what stands for a text: the state of its [CLS], or the mean state",
        choices=POOLINGS,
    )
    threshold: float | None = setting(
        None,
        float,
        "probability from which a text has a label, where texts may have several; None: for each "
        "label that of the highest F1 on the validation data",
        Range("above 0 and below 1", lambda x: 0 < x < 1),
    )


@dataclass(frozen=True)
class CoreferenceResolution(FineTuning):
    """How a coreference resolver is fine-tuned."""

    epochs: int = setting(8, int, "passes over the training texts", at_least(1))
    batch_size: int = setting(1, int, "chunks of documents in a training step", at_least(1))
    learning_rate: float = setting(
        3e-4, float, "highest learning rate, reached after the warm-up", ABOVE_0
    )
    head_learning_rate: float | None = setting(
        1e-3, float, "that of the new head; None: the encoder's", ABOVE_0
    )
    sequence_length: int = setting(
        LONGEST_TEXT, int, "most tokens that are read of a text", at_least(3)
    )
    attention: str | None = setting(
        "bucketed",
        str,
        "dense, or bucketed for long texts, at a cost linear in their length; None: the encoder's",
        choices=ATTENTIONS,
    )
    long_positions: str | None = setting(
        "restart",
        str,
        "restart: rows may be longer than the encoder has positions, which start again",
        choices=LONG_POSITIONS,
    )
    chunk_length: int = setting(
        1024, int, "most tokens of a chunk of a document, which is learned at a time", at_least(3)
    )
    chunks: int = setting(
        2, int, "chunks of each document in an epoch, at random places", at_least(1)
    )
    max_mention_length: int = setting(32, int, "most word pieces of a mention", at_least(1))
    window: int = setting(
        256, int, "candidates before a mention that it may be linked to", at_least(1)
    )
    dropout: float = setting(0.3, float, "part of the head's states dropped in training", PART)
    train_embeddings: bool = setting(
        False, bool, "also train the encoder's embeddings, which stay as they are without it"
    )


@dataclass(frozen=True)
class TableFormat(Settings):
    """How a file of columns is written; `None`: it is found."""

    delimiter: str | None = setting(
        None,
        str,
        "what parts the fields of TSV and CSV: a character, or tab; None: told from the header",
        Range(
            "one character, or tab",
            lambda x: x in ("tab", "\\t") or (len(x) == 1 and x not in '"\r\n'),
        ),
    )
    quoting: str | None = setting(
        None,
        str,
        "double: a field of TSV or CSV may stand in double quotes; none: quotes are characters "
        "like others; None: double in .csv, and in .tsv where its header has quotes",
        choices=QUOTINGS,
    )


@dataclass(frozen=True)
class AskedColumns(TableFormat):
    """Which columns of a file hold texts, and how it is written; `None`: it is found."""

    text_column: str | None = setting(None, str, "column of the texts")
    pair_column: str | None = setting(None, str, "column of the second texts")


@dataclass(frozen=True)
class AnsweredParts(Settings):
    """How a file that is answered is cut into parts."""

    part_records: int = setting(
        5000, int, "records of a part, fewer where they are long: it ends at 4 MB", at_least(1)
    )


@dataclass(frozen=True)
class TextColumns(AskedColumns):
    """The same of a file whose texts have labels."""

    label_column: str | None = setting(None, str, "column of the labels")
    label_separator: str | None = setting(
        None, str, "texts have several labels or none, with this between them, such as |"
    )
    label_columns: str | None = setting(
        None,
        str,
        "texts have several labels or none: names of columns, with commas between them, that have "
        "1 where the text has the label and 0 where not",
    )


@dataclass(frozen=True)
class Pretraining(Settings):
    """How an encoder is pretrained: what its weights after each step depend on."""

    steps: int = setting(10_000, int, "updates of the weights", at_least(1))
    token_budget: int = setting(
        16_384, int, "most tokens of a batch, padding counted, over all workers", at_least(1)
    )
    accumulation: int = setting(1, int, "batches whose gradients make up one step", at_least(1))
    learning_rate: float = setting(
        1e-4, float, "highest learning rate, reached after the warm-up", ABOVE_0
    )
    warmup_proportion: float = setting(
        0.05,
        float,
        "part of the steps in which the learning rate rises; it falls in the others",
        PART,
    )
    weight_decay: float = setting(
        0.01, float, "decoupled weight decay; biases and layer norms have none", NOT_BELOW_0
    )
    clip_norm: float = setting(1.0, float, "largest norm of a step's gradients", ABOVE_0)
    dropout: float | None = setting(
        None, float, "rate while the encoder is pretrained; None: the encoder's own", PART
    )
    objective: str = setting(
        "mlm+sbo",
        str,
        "masked language model, with or without span boundaries",
        choices=OBJECTIVES,
    )
    trainable: str = setting(
        "all",
        str,
        "what learns: all, or new heads alone on an encoder that is trained",
        choices=TRAINABLE,
    )
    scheme: str = setting("spans", str, "what is masked", choices=SCHEMES)
    budget: float = setting(0.15, float, "part of the word pieces that are masked", PART_ABOVE_0)
    p: float = setting(0.2, float, "probability that a span ends after a word", PART_ABOVE_0)
    max_words: int = setting(10, int, "most words of a span", at_least(1))
    replacement: str = setting(
        "span", str, "what is masked alike: drawn once a span or a piece", choices=REPLACEMENTS
    )
    max_targets: int | None = setting(
        None,
        int,
        "most pieces of a span that its boundaries predict; None: as many as the encoder's head "
        "does, or 20 of a new one",
        at_least(1),
    )
    rows: str = setting(
        "padded",
        str,
        "one block a row, padded, or several that do not see each other",
        choices=ROWS,
    )
    num_buckets: int = setting(8, int, "padded lengths that batches may have", at_least(1))
    shards_in_memory: int = setting(
        8, int, "shards in memory, and shuffled, at a time", at_least(1)
    )
    validation_shards: int = setting(1, int, "last shards of the corpus, held out", NOT_BELOW_0)
    seed: int = setting(
        0,
        int,
        "seed of all that is random: the same seed, the same encoder",
        below(2**31, "2 ** 31"),
    )
    dtype: str | None = setting(
        None, str, "dtype policy of the network, such as mixed_bfloat16; None: Keras's own"
    )


@dataclass(frozen=True)
class RunOptions(Settings):
    """What a pretraining run writes and when; it may change when a run goes on."""

    log_steps: int = setting(50, int, "steps from one line of figures to the next", ABOVE_0)
    validation_steps: int = setting(1000, int, "steps from one validation to the next", ABOVE_0)
    validation_batches: int = setting(50, int, "most batches of a validation", ABOVE_0)
    checkpoint_steps: int = setting(1000, int, "steps from one checkpoint to the next", ABOVE_0)
    checkpoint_minutes: float = setting(
        30, float, "minutes after which a checkpoint is written in any case", ABOVE_0
    )
    keep: int = setting(3, int, "checkpoints that are kept, the last ones", ABOVE_0)
