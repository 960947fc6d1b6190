"""Probabilities of relations, and the entities that they are between, to answers.

Letters: b texts, r rows, c relations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.entity_marks import read_spans
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.features import PROBABILITIES
from spanbert_tf.models.decoding import Decoder

ROLES = ("head", "tail")


@dataclass(frozen=True)
class Mention:
    """An entity that a relation is about.

    Attributes:
        word: Its characters in the text.
        start: Its first character.
        end: The character after its last one.
        entity_group: Name of its type; empty where none is known.
    """

    word: str
    start: int
    end: int
    entity_group: str = ""


@dataclass(frozen=True)
class Relation:
    """The relation between two entities of a text.

    Attributes:
        label: Name of the most probable relation.
        score: Its probability, 0 to 1.
        head: The first entity.
        tail: The second entity.
    """

    label: str
    score: float
    head: Mention
    tail: Mention

    def __str__(self) -> str:
        return f"{self.head.word} | {self.label} | {self.tail.word}  {self.score:.3f}"


@dataclass(frozen=True)
class RelationDecoder(Decoder):
    """Names the most probable relation between the two entities of each row.

    Attributes:
        class_names: Names of the relations, in the order of their probabilities.
        negative: The one of entities that are in no relation; `None`: there is none such.
    """

    class_names: tuple[str, ...]
    negative: str | None = None

    @property
    def have_direction(self) -> bool:
        """Whether the names say which entity is which, as `Cause-Effect(e2,e1)` does."""
        return any(name.endswith("(e2,e1)") for name in self.class_names)

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[Relation]:
        """One answer a text, of `probabilities`, float `[r, c]`; columns are as `serve` has them.

        It is `serve`, a batch being all texts: finding the best of a row is nothing that would be
        faster in NumPy.
        """
        strings = [tf.constant(column, tf.string) for column in columns]
        served = self.serve({PROBABILITIES.name: decoded[PROBABILITIES.name]}, rows, strings)
        return self.served({name: of.numpy() for name, of in served.items()})

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """`label`, string `[b]`; `score`, float32; of head and tail the characters and the type.

        These are `head`, string `[b]`, `head_start` and `head_end`, int32 `[b]`, and `head_group`,
        string `[b]`; the same for `tail`.  Columns are text, head and tail.
        """
        text, *entities = columns
        probabilities = decoded[PROBABILITIES.name]
        served = {
            "label": tf.gather(tf.constant(self.class_names), tf.argmax(probabilities, axis=-1)),
            "score": tf.reduce_max(probabilities, axis=-1),
        }
        for role, column in zip(ROLES, entities, strict=True):
            starts, ends, groups = read_spans(column)
            served |= {
                role: tf.strings.substr(text, starts, ends - starts, unit="UTF8_CHAR"),
                f"{role}_start": starts,
                f"{role}_end": ends,
                f"{role}_group": groups,
            }
        return served

    def served(self, outputs: dict[str, np.ndarray]) -> list[Relation]:
        """One answer a text."""
        mentions = [
            [
                Mention(word.decode(), int(start), int(end), group.decode())
                for word, start, end, group in zip(
                    *(outputs[f"{role}{of}"] for of in ("", "_start", "_end", "_group")),
                    strict=True,
                )
            ]
            for role in ROLES
        ]
        return [
            Relation(label.decode(), float(score), head, tail)
            for label, score, head, tail in zip(
                outputs["label"], outputs["score"], *mentions, strict=True
            )
        ]
