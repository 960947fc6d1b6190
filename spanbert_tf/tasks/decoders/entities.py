"""Tagged words to entities.

Letters: b texts of a batch, r rows, e entities of a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.texts import as_str
from spanbert_tf.features import TAG_SCORES, TAGS
from spanbert_tf.models.decoding import Decoder


@dataclass(frozen=True)
class Entity:
    """One entity of a text, as Hugging Face's pipelines give it.

    Attributes:
        entity_group: Name of its type, such as `PER`.
        score: Mean probability of the tags of its words, 0 to 1.
        word: Its characters in the text.
        start: Its first character.
        end: The character after its last one.
    """

    entity_group: str
    score: float
    word: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.entity_group}  {self.score:.3f}  {self.word}  ({self.start}-{self.end})"


@dataclass(frozen=True)
class EntityDecoder(Decoder):
    """Joins tagged words to entities, and the windows of a text to the text.

    Of words that two windows share, one window owns each, see `plan_windows`; an entity is taken
    from the window that owns its first word, which sees the rest of it in the overlap.  One that
    would begin within an entity of the window before is left out.

    Attributes:
        entity_groups: Names of the types.  Type k has the tags 2k + 1, which begins an entity, and
            2k + 2, which continues one; 0 is outside of any.
    """

    entity_groups: tuple[str, ...]

    lists: ClassVar = {"entity_group": "", "score": -1.0, "word": "", "start": -1, "end": -1}

    def answers(
        self, decoded: dict[str, Any], rows: Rows, columns: Sequence[Sequence[str]]
    ) -> list[list[Entity]]:
        """The entities of each text, of `tags` and `tag_scores`, `[r, (tokens)]`."""
        tags, scores = (
            np.concatenate([np.empty(0), *(row[1:-1] for row in decoded[name.name])])
            for name in (TAGS, TAG_SCORES)
        )
        places = {name: np.asarray(of.flat_values) for name, of in rows.places.items()}
        row_of = np.asarray(rows.places["starts"].value_rowids())
        found = np.flatnonzero((tags > 0) & places["word_starts"])
        begins = tags[found] % 2 == 1
        entity_of, firsts = np.cumsum(begins) - 1, found[begins]
        ends, totals, words = (
            np.zeros(len(firsts), int),
            np.zeros(len(firsts)),
            np.zeros(len(firsts)),
        )
        np.maximum.at(ends, entity_of, places["ends"][found])
        np.add.at(totals, entity_of, scores[found])
        np.add.at(words, entity_of, 1)

        records = np.asarray(rows.records)
        owned, row = places["owned"][firsts], row_of[firsts]
        last_ends = np.zeros(len(records) + 1, int)  # of each row's entities, that before it first
        np.maximum.at(last_ends, row[owned] + 1, ends[owned])
        last_ends[:-1][np.append(True, records[1:] != records[:-1])] = 0
        kept = owned & (places["starts"][firsts] >= last_ends[row])

        answers: list[list[Entity]] = [[] for _ in columns[0]]
        for entity in np.flatnonzero(kept):
            first = firsts[entity]
            record, start, end = (
                records[row[entity]],
                int(places["starts"][first]),
                int(ends[entity]),
            )
            text = as_str(columns[0][record])
            group = self.entity_groups[(int(tags[first]) - 1) // 2]
            score = float(totals[entity] / words[entity])
            answers[record].append(Entity(group, score, text[start:end], start, end))
        return answers

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """`entity_group` and `word`, string `[b, e]`, `score`, float32, `start` and `end`, int32.

        Past a text's last entity strings are empty and numbers -1.
        """
        lengths = rows.places["starts"].row_lengths()
        tags, scores = (
            tf.RaggedTensor.from_tensor(decoded[of.name][:, 1:], lengths).flat_values
            for of in (TAGS, TAG_SCORES)
        )
        places = {name: of.flat_values for name, of in rows.places.items()}
        row_of = tf.cast(rows.places["starts"].value_rowids(), tf.int32)
        found = tf.where((tags > 0) & places["word_starts"])[:, 0]
        begins = tf.gather(tags, found) % 2 == 1
        entity_of, firsts = tf.cumsum(tf.cast(begins, tf.int32)) - 1, tf.boolean_mask(found, begins)
        count = tf.size(firsts)
        ends = tf.math.unsorted_segment_max(tf.gather(places["ends"], found), entity_of, count)
        scores = tf.math.unsorted_segment_mean(tf.gather(scores, found), entity_of, count)

        owned, row = tf.gather(places["owned"], firsts), tf.gather(row_of, firsts)
        last_ends = tf.math.unsorted_segment_max(  # of each row's entities
            tf.boolean_mask(ends, owned), tf.boolean_mask(row, owned), tf.size(rows.records)
        )
        goes_on = tf.concat([[False], rows.records[1:] == rows.records[:-1]], axis=0)
        before = tf.where(goes_on, tf.roll(last_ends, 1, 0), 0)
        kept = owned & (tf.gather(places["starts"], firsts) >= tf.gather(before, row))

        firsts, ends = tf.boolean_mask(firsts, kept), tf.boolean_mask(ends, kept)
        starts = tf.gather(places["starts"], firsts)
        records = tf.gather(rows.records, tf.boolean_mask(row, kept))
        text = tf.gather(columns[0], records)
        word = tf.strings.substr(text, starts, ends - starts, unit="UTF8_CHAR")
        groups = tf.gather(tf.constant(self.entity_groups), (tf.gather(tags, firsts) - 1) // 2)
        entities = {
            "entity_group": groups,
            "score": tf.boolean_mask(scores, kept),
            "word": word,
            "start": starts,
            "end": ends,
        }
        texts = tf.cast(tf.size(columns[0]), tf.int64)
        return {
            name: tf.RaggedTensor.from_value_rowids(
                values, tf.cast(records, tf.int64), texts, validate=False
            ).to_tensor(self.lists[name])
            for name, values in entities.items()
        }

    def served(self, outputs: dict[str, np.ndarray]) -> list[list[Entity]]:
        """The entities of each text."""
        return [
            [
                Entity(group.decode(), float(score), word.decode(), int(start), int(end))
                for group, score, word, start, end in zip(*row, strict=True)
                if start >= 0
            ]
            for row in zip(*(outputs[name] for name in self.lists), strict=True)
        ]
