"""The tensors that travel between stages: name, dtype, padding and meaning, written once.

Pipelines pad with `pad_value`, models make their `keras.Input`s from `name` and `dtype`, exports
name their signatures after them, and tests read all of it.  Letters: b batch, s sequence.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """One tensor that travels between stages.

    Attributes:
        name: Key of the tensor in a feature dictionary.
        dtype: Name of its dtype.
        shape: Letters of its axes, for messages and documentation.
        pad_value: What fills the positions after a row's end.  `None`: the padding token's id,
            which the vocabulary decides.
        meaning: One line for a reader.
    """

    name: str
    dtype: str
    shape: str
    pad_value: int | None
    meaning: str


TOKEN_IDS = Feature("token_ids", "int32", "bs", None, "word piece ids, [CLS] first, [SEP] last")
SEGMENT_IDS = Feature("segment_ids", "int32", "bs", 0, "0 in the first segment, 1 in the second")
PADDING_MASK = Feature("padding_mask", "int32", "bs", 0, "1 at a token, 0 at padding")

# What every encoder takes, in the order of the positional call form.
ENCODER_FEATURES = (TOKEN_IDS, SEGMENT_IDS, PADDING_MASK)

# Names of the same tensors outside this package.  They appear only at its borders.
HUGGING_FACE_NAMES = {
    "token_ids": "input_ids",
    "segment_ids": "token_type_ids",
    "padding_mask": "attention_mask",
}
TF_HUB_NAMES = {
    "token_ids": "input_word_ids",
    "segment_ids": "input_type_ids",
    "padding_mask": "input_mask",
}
