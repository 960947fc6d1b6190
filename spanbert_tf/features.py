"""The tensors that travel between stages: name, dtype, padding and meaning, written once.

Pipelines pad with `pad_value`, models make their `keras.Input`s from `name` and `dtype`, exports
name their signatures after them, and tests read all of it.

Letters: b batch, s sequence, H hidden, c classes, g given spans, t masked pieces of a row, p spans
of a row, m pieces of a span or mentions of a row, n candidates of a row, k best answers of a row, o
pieces of a text that is written.
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

    @property
    def is_of_tokens(self) -> bool:
        """Whether it is a number for each token, padding counted."""
        return self.shape == "bs"


TOKEN_IDS = Feature("token_ids", "int32", "bs", None, "word piece ids, [CLS] first, [SEP] last")
SEGMENT_IDS = Feature("segment_ids", "int32", "bs", 0, "0 in the first segment, 1 in the second")
PADDING_MASK = Feature("padding_mask", "int32", "bs", 0, "1 at a token, 0 at padding")

# What every encoder takes, in the order of the positional call form.
ENCODER_FEATURES = (TOKEN_IDS, SEGMENT_IDS, PADDING_MASK)

LABELS = Feature("labels", "int32", "b", None, "number of each row's class")
LABEL_SETS = Feature("labels", "float32", "bc", None, "1 at the classes that a row has")
VECTORS = Feature("vectors", "float32", "bH", None, "vector of each text")
# Of records that are several texts: k of them.
TEXT_NUMBERS = Feature(
    "text_numbers",
    "int32",
    "bn",
    None,
    "a number for each text and one for their topic, the same for equal ones",
)
SIMILARITIES = Feature("similarities", "float32", "b", None, "how alike two texts are, 0 to 1")
TEACHER_VECTORS = Feature("teacher_vectors", "float32", "bkH", None, "another model's vectors")
PROBABILITIES = Feature("probabilities", "float32", "bc", None, "probability of each class")

WORD_STARTS = Feature("word_starts", "int32", "bs", 0, "1 where a piece is the first of its word")

TAGS = Feature("tags", "int32", "bs", 0, "number of the tag of each word, at its first piece")
TAG_SCORES = Feature("tag_scores", "float32", "bs", 0, "probability of each tag")

ENTITY_STARTS = Feature(
    "entity_starts", "int32", "b2", 0, "places of the first marks of head and tail"
)
# The spans of a context's window that answer a question best, and how they compare with no answer.
ANSWER_TOKENS = Feature(
    "answer_tokens", "int32", "b2", 0, "first and last token of the answer, [CLS] twice for none"
)
ANSWER_SPANS = Feature(
    "answer_spans", "int32", "bk2", None, "first and last piece of the context, of the best answers"
)
ANSWER_SCORES = Feature(
    "answer_scores", "float32", "bk", None, "log odds of each answer against none in the window"
)
NO_ANSWER_SCORES = Feature(
    "no_answer_scores", "float32", "b", None, "log probability of no answer in the window"
)

# Mentions of a text and what each refers to.  Candidates are all that may be one, the best of each
# part of the text; past the last one of a row scores are hopeless.
GOLD_MENTIONS = Feature(
    "gold_mentions", "int32", "bm3", -1, "first and last token of each mention, and its cluster"
)
MENTION_SPANS = Feature(
    "mention_spans", "int32", "bn2", 0, "first and last piece of each candidate, in order"
)
MENTION_SCORES = Feature(
    "mention_scores", "float32", "bn", -(2 * 10**9), "log odds that a candidate is a mention"
)
ANTECEDENTS = Feature(
    "antecedents", "int32", "bn", -1, "number of the candidate that each is best linked to, or -1"
)
LINK_SCORES = Feature(
    "link_scores", "float32", "bn", -(2 * 10**9), "log odds of that link against none"
)

# Texts that a decoder writes of a row, and the one that it shall write.  -1 is past their ends.
TARGET_IDS = Feature("target_ids", "int32", "bo", -1, "pieces of the text to learn, [SEP] last")
GENERATED_IDS = Feature(
    "generated_ids", "int32", "bko", -1, "pieces of the likeliest texts, the best first, [SEP] last"
)
GENERATED_SCORES = Feature(
    "generated_scores", "float32", "bk", None, "log probability of each, by its length"
)

# Of rows that hold several blocks, each read as if it stood alone.
POSITION_IDS = Feature(
    "position_ids", "int32", "bs", 0, "a token's place in its block, which begins at each 0"
)

GIVEN_SPANS = Feature(
    "given_spans", "int32", "bg2", 0, "[start, end) of spans to mask first; empty ones are padding"
)

# What masking adds: targets of the masked language model, named as KerasHub names them, and those
# of the span boundary objective.  A slot of weight 0 is unused and holds zeros.
MASK_POSITIONS = Feature("mask_positions", "int32", "bt", 0, "where the masked pieces stand")
MASK_IDS = Feature("mask_ids", "int32", "bt", 0, "the ids that stood there")
MASK_WEIGHTS = Feature("mask_weights", "float32", "bt", 0, "1 at a target, 0 at an unused slot")
SPAN_BOUNDARIES = Feature(
    "span_boundaries", "int32", "bp2", 0, "positions of the pieces before and after each span"
)
SPAN_IDS = Feature("span_ids", "int32", "bpm", 0, "the ids that stood in each span, from its start")
SPAN_WEIGHTS = Feature("span_weights", "float32", "bpm", 0, "1 at a target, 0 at an unused slot")

MASKED_LM_FEATURES = (MASK_POSITIONS, MASK_IDS, MASK_WEIGHTS)
SPAN_FEATURES = (SPAN_BOUNDARIES, SPAN_IDS, SPAN_WEIGHTS)

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
