"""Texts to answers, by whatever runs the network: Keras or LiteRT."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.data.batching.rows import Rows, concat_rows
from spanbert_tf.data.batching.texts import TEXTS_A_CALL, list_of_strings
from spanbert_tf.features import TOKEN_IDS, Feature
from spanbert_tf.models.text_batches import TOKEN_BUDGET, Columns, text_columns

# So many texts are one batch, padded to the longest; more are sorted by length, which takes some
# milliseconds before the first is answered.
FEW_TEXTS = 8


@dataclass(frozen=True)
class Assessment:
    """What a task reached on records whose right answers are known.

    Attributes:
        figures: By name.
        answers: What the task's `scored_decoder` made of each record.
    """

    figures: dict[str, float]
    answers: list[Any]


def columns_of_task(of: Any, x: Any) -> tuple[Columns, bool]:
    """Columns of texts for a task, and whether there is but one text in each.

    Args:
        of: The task's class.
        x: A string, or a list, array or tensor of them, or a tuple of such.

    Raises:
        TypeError: A text is not a string.
        ValueError: There are not as many texts in each column, or not so many columns as the task
            takes.
    """
    columns, is_one = as_columns(x)
    columns = [list_of_strings(column) for column in columns]
    if len(columns) not in map(len, of.signatures.values()):
        expected = " or ".join(" and ".join(names) for names in of.signatures.values())
        raise ValueError(f"{of.task} takes {expected}, but got {len(columns)} texts at a time.")
    check_columns(columns)
    return columns, is_one


def as_columns(x: Any) -> tuple[Columns, bool]:
    """Columns of texts, and whether there is but one text in each.

    Raises:
        TypeError: `x` is made of something else.
    """
    parts = x if isinstance(x, tuple) else (x,)
    if all(isinstance(part, str | bytes) for part in parts):
        return [[part] for part in parts], True
    columns = text_columns(x)
    if columns is None:
        raise TypeError(f"expected a string or a list of strings, got {x!r:.200}")
    return columns, False


@contextmanager
def readable_assertions() -> Iterator[None]:
    """Makes a `ValueError` of what a graph asserts of its texts, in the assertion's words."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        said = re.search(r"assertion failed: \[(.*?)\]", error.message)
        if said is None:
            raise
        raise ValueError(said[1]) from error


def in_steps(
    run: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    features: dict[str, tf.Tensor],
    decoded: Sequence[Feature],
) -> dict[str, tf.Tensor]:
    """Runs as many rows at a time as have 8,192 tokens, within a graph: a long text has many.

    Args:
        run: What is decided of rows, tensors `[r, ...]` by name.
        features: Tensors `[r, s]` by name.
        decoded: Describes what `run` gives.

    Returns:
        What `run` gives of all rows.
    """
    count, length = tf.unstack(tf.shape(features[TOKEN_IDS.name]))
    step = tf.maximum(TOKEN_BUDGET // length, 1)
    specs = {of.name: tf.RaggedTensorSpec([None] * len(of.shape), of.dtype, 0) for of in decoded}
    outputs = tf.map_fn(
        lambda begin: run({name: of[begin : begin + step] for name, of in features.items()}),
        tf.range(0, count, step),
        fn_output_signature=specs,
        parallel_iterations=1,
    )
    return {name: of_steps.values for name, of_steps in outputs.items()}


def rows_of_texts(columns: Sequence[Sequence[str]], preprocessor: Any) -> Rows:
    """Makes rows of texts, a chunk at a time, which bounds the tokenizer's memory.

    Args:
        columns: One list of texts a column.
        preprocessor: Its `rows` makes rows of string tensors.

    Raises:
        TypeError: A text is not a string.
        ValueError: Columns differ in length, or the preprocessor refuses a text.
    """
    names = ["texts", "pairs", *(f"columns[{number}]" for number in range(2, len(columns)))]
    listed = [list_of_strings(column, name) for name, column in zip(names, columns, strict=False)]
    check_columns(listed)
    count = len(listed[0])
    length = preprocessor.sequence_length
    parts = []
    for begin in range(0, max(count, 1), TEXTS_A_CALL):
        chunk = slice(begin, begin + TEXTS_A_CALL)
        with readable_assertions():
            rows = preprocessor.rows(*(tf.constant(column[chunk], tf.string) for column in listed))
        # What a row has no room for need not be kept until it is packed.
        cut = tuple(segment[:, :length] for segment in rows.segments)
        parts.append(replace(rows, segments=cut))
    return concat_rows(parts)


def cut_rows(
    outputs: dict[str, Any], lengths: np.ndarray, decoded: Sequence[Feature]
) -> dict[str, Any]:
    """Parts what a network decided of one batch into what it decided of each row.

    Args:
        outputs: Arrays by name.
        lengths: int `[r]`, tokens of each row.
        decoded: Describes the arrays: those with a number for each token are cut to the row's.

    Returns:
        As `BucketedBatches.outputs_of_rows`.
    """
    return {
        spec.name: [row[:n] for row, n in zip(outputs[spec.name], lengths, strict=True)]
        if spec.is_of_tokens
        else outputs[spec.name]
        for spec in decoded
    }


def check_columns(columns: Sequence[Sequence[str]]) -> None:
    """Checks that there are as many texts in each column.

    Raises:
        ValueError: There are not.
    """
    if len({len(column) for column in columns}) > 1:
        sizes = " and ".join(str(len(column)) for column in columns)
        raise ValueError(f"expected as many texts in each column, but there are {sizes}.")


class MakesAnswers(Protocol):
    """What makes answers of what a network decided: a `Decoder`, for one."""

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[Any]:
        """See `Decoder.answers`."""


def answer_rows(
    rows: Rows,
    columns: Sequence[Sequence[str]],
    make_batches: Callable[[Rows], BucketedBatches],
    run: Callable[[Any], dict[str, np.ndarray]],
    decoded: Sequence[Feature],
    decoder: MakesAnswers,
) -> list[Any]:
    """Answers for rows, in batches of like length.

    Args:
        rows: The rows.
        columns: The texts that they are of.
        make_batches: Groups them, unshuffled.
        run: What the network decides of a batch, arrays by name.
        decoded: Describes these arrays.
        decoder: Makes answers of them.

    Returns:
        One answer a text, in their order.
    """
    if not columns[0]:
        return []
    return decoder.answers(decide_rows(rows, make_batches, run, decoded), rows, columns)


def decide_rows(
    rows: Rows,
    make_batches: Callable[[Rows], BucketedBatches],
    run: Callable[[Any], dict[str, np.ndarray]],
    decoded: Sequence[Feature],
) -> dict[str, Any]:
    """What the network decides of each row, as decoders take it; arguments as `answer_rows`."""
    batches = make_batches(rows)
    return batches.outputs_of_rows(map(run, batches.first_epoch()), decoded)
