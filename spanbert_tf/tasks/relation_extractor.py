"""Relation extraction: texts with two entities in, the relation between them out.

Letters: b batch, s sequence, H hidden, c relations.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops
from keras_hub.models import Task

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.data.batching.entity_pairs import (
    all_pairs,
    columns_of_pairs,
    given_pairs,
    marked_pairs,
)
from spanbert_tf.data.batching.labels import number_labels, number_tensor
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.batching.texts import as_str
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.data.readers.relations import RelationExample, negative_label, read_relations
from spanbert_tf.features import ENTITY_STARTS, LABELS, PROBABILITIES, Feature
from spanbert_tf.layers.entity_vectors import EntityVectors
from spanbert_tf.metrics.relations import FIGURES, relation_report, relation_scores
from spanbert_tf.metrics.reports import Report
from spanbert_tf.models.answering import as_columns
from spanbert_tf.models.encoder_task import check_fit
from spanbert_tf.models.marked_text_preprocessor import (
    MARKINGS,
    SpanBertRelationExtractorPreprocessor,
)
from spanbert_tf.models.task import SpanBertTask
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.setting_fields import Settings, setting
from spanbert_tf.settings import Asking, FineTuning
from spanbert_tf.tasks.decoders.relations import Relation, RelationDecoder

__all__ = [
    "RelationExtraction",
    "SpanBertRelationExtractor",
    "SpanBertRelationExtractorPreprocessor",
]


@dataclass(frozen=True)
class RelationExtraction(FineTuning):
    """How a relation extractor is fine-tuned."""

    marking: str = setting(
        "around",
        str,
        "marks around the two entities, which tell their types where they are known; or types, "
        "which stand in the entities' place",
        choices=tuple(MARKINGS),
    )


@dataclass(frozen=True)
class RelationColumns(Settings):
    """Where JSON lines have texts, entities and relations; `None`: it is found."""

    text_column: str | None = setting(None, str, "key of the text, in JSON lines")
    head_column: str | None = setting(None, str, "key of the first entity")
    tail_column: str | None = setting(None, str, "key of the second entity")
    label_column: str | None = setting(None, str, "key of the relation")


@dataclass(frozen=True)
class RelationAsking(Asking):
    """How a relation extractor is asked."""

    entities: str | None = setting(
        None,
        str,
        "folder or handle of a token classifier, which finds the entities; None: the texts have "
        "them marked, <e1>Ada</e1> met <e2>Bo</e2>",
        is_model=True,
    )


@keras.saving.register_keras_serializable("spanbert_tf")
class SpanBertRelationExtractor(SpanBertTask, Task):
    """Names the relation between two entities of a text.

    What stands for the entities are the states at their first marks, of head and tail side by side,
    with a linear layer on them (Baldini Soares et al., 2019, "entity start").

    `fit` takes texts whose entities are marked, `<e1>Ada</e1> met <e2>Bo</e2>`, or the columns that
    the preprocessor takes, and for each text the name or the number of the relation.

    Args:
        backbone: A `SpanBertBackbone`.
        class_names: Names of the relations, c of them.
        preprocessor: A `SpanBertRelationExtractorPreprocessor`, or `None` for features that are
            preprocessed already.
        negative: The name of those that are in no relation, which figures leave out and `extract`
            does not tell of entities that it found.  `None`: there is none such.
        dropout: Rate of dropout before the logits.
        **kwargs: `name`, `trainable`, `compile`.

    Returns:
        Logits, float32 `[b, c]`.

    Raises:
        ValueError: There are fewer than two `class_names` or one is there twice, `negative` is none
            of them, or backbone and preprocessor do not fit each other.
    """

    backbone_cls = SpanBertBackbone
    preprocessor_cls = SpanBertRelationExtractorPreprocessor

    task = "relation-extraction"
    verb = "extract"
    settings_cls = RelationExtraction
    reading_cls = RelationColumns
    training_file = "relations.jsonl"
    asking_cls = RelationAsking
    extra_inputs = (ENTITY_STARTS,)
    signatures: ClassVar = {"serving_default": ("text", "head", "tail")}
    blank = ("a b", "0:1", "2:3")
    decoder_cls = RelationDecoder
    decoded = (PROBABILITIES,)
    figures = FIGURES

    def __init__(
        self,
        backbone: SpanBertBackbone,
        class_names: Sequence[str],
        preprocessor: Any = None,
        negative: str | None = None,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if len(class_names) < 2 or len(set(class_names)) < len(class_names):
            raise ValueError(
                f"`class_names` must be two or more different names, but are {list(class_names)}."
            )
        if negative is not None and negative not in class_names:
            raise ValueError(f"`negative` must be one of `class_names`, but is {negative!r}.")
        check_fit(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.class_names = tuple(class_names)
        self.negative = negative
        self.dropout = dropout
        self.entity_vectors = EntityVectors(dtype=backbone.dtype_policy, name="entity_vectors")
        self.output_dropout = keras.layers.Dropout(
            dropout, dtype=backbone.dtype_policy, name="output_dropout"
        )
        self.output_dense = keras.layers.Dense(
            len(class_names),
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="logits",
        )
        starts = keras.Input((2,), dtype=ENTITY_STARTS.dtype, name=ENTITY_STARTS.name)
        states = backbone(backbone.input)["sequence_output"]
        logits = self.output_dense(self.output_dropout(self.entity_vectors(states, starts)))
        super().__init__(
            inputs={**backbone.input, ENTITY_STARTS.name: starts}, outputs=logits, **kwargs
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[RelationExample]:
        """Reads texts with two entities and their relation, see `read_relations`."""
        return read_relations(path, **vars(reading or RelationColumns()))

    @classmethod
    def head_arguments(cls, records: Sequence[RelationExample], settings: Any) -> dict[str, Any]:
        """The relations, the types of entities, and what settings say of the head."""
        names = sorted({record.label for record in records})
        if len(names) < 2:
            where = records[0].path if records else "no texts"
            raise DataError(f"{where}: expected at least two different relations, found {names}.")
        if settings.marking == "types":
            for record in records:
                if not (record.head.label and record.tail.label):
                    raise DataError(
                        f"{record.place}: an entity has no type, which `marking='types'` needs."
                    )
        types = {span.label for record in records for span in (record.head, record.tail)}
        return {
            "class_names": names,
            "negative": negative_label(names),
            "entity_types": sorted(types - {""}),
            "dropout": settings.dropout,
        }

    @classmethod
    def preprocessor_arguments(cls, settings: Any) -> dict[str, Any]:
        """How long rows are, and how entities are marked."""
        return {"sequence_length": settings.sequence_length, "marking": settings.marking}

    @classmethod
    def with_new_head(
        cls, backbone: Any, tokenizer: Any, head: dict[str, Any], settings: Any
    ) -> Any:
        """Makes an extractor; the types of entities are for the preprocessor."""
        head = dict(head)
        types = head.pop("entity_types")
        arguments = {**cls.preprocessor_arguments(settings), "entity_types": types}
        return cls(backbone, preprocessor=cls.preprocessor_cls(tokenizer, **arguments), **head)

    @classmethod
    def strata(cls, records: Sequence[RelationExample]) -> np.ndarray:
        """Each record's relation."""
        _, numbers = np.unique([record.label for record in records], return_inverse=True)
        return numbers

    def columns_of(self, records: Sequence[RelationExample]) -> tuple[Columns, Any]:
        """Texts, heads and tails, and the number of each relation."""
        numbers = {name: number for number, name in enumerate(self.decoder.class_names)}
        for record in records:
            if record.label not in numbers:
                raise DataError(
                    f"{record.place}: unknown relation {record.label!r}; expected one of "
                    f"{', '.join(numbers)}."
                )
        pairs = [(record.text, record.head, record.tail) for record in records]
        labels = np.array([numbers[record.label] for record in records], np.int32)
        return columns_of_pairs(pairs), labels

    def encode(self, columns: Columns, y: Any = None, sample_weight: Any = None) -> Rows:
        """Makes rows; of a single column the entities are marked."""
        if len(columns) == 1:
            columns = columns_of_pairs(marked_pairs([*map(as_str, columns[0])]))
        return super().encode(columns, y, sample_weight)

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """`y` as `fit` takes it: names or numbers of relations."""
        numbers = number_labels(y, len(self.class_names), self.class_names)
        return {LABELS: number_tensor("y", numbers, len(columns[0]))}

    def compile_defaults(self) -> dict[str, Any]:
        """Cross-entropy of the relations, and `accuracy`."""
        return {
            "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        }

    def score(self, answers: Sequence[Relation], records: Sequence[Any]) -> dict[str, float]:
        """The figures of SemEval-2010 task 8 and of TACRED, see `metrics.relations`."""
        gold = [record.label for record in records]
        return relation_scores(gold, [answer.label for answer in answers], self.decoder.negative)

    def report(self, answers: Sequence[Relation], records: Sequence[Any]) -> Report:
        """Each relation, and the most frequent confusions."""
        gold = [record.label for record in records]
        return relation_report(gold, [answer.label for answer in answers], self.decoder.negative)

    def has_confusions(self) -> bool:
        """They are of relations."""
        return True

    @classmethod
    def gold_of(cls, record: RelationExample) -> str:
        """The relation."""
        return record.label

    def is_right(self, answer: Relation, record: RelationExample) -> bool:
        """Whether the relation is right, its direction included."""
        return answer.label == record.label

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """Probabilities, float32 `[b, c]`."""
        return {PROBABILITIES.name: ops.softmax(ops.cast(outputs, "float32"))}

    @property
    def decoder(self) -> RelationDecoder:
        """What names relations."""
        return RelationDecoder(self.class_names, self.negative)

    def extract(self, texts: Any, entities: Any = None, batch_size: int | None = None) -> Any:
        """Names the relations between entities of texts.

            extractor.extract("<e1>Ada</e1> met <e2>Bo</e2>.")
            extractor.extract("Ada met Bo.", [((0, 3), (8, 10))])
            extractor.extract("Ada met Bo.", "runs/entities/preset")

        Args:
            texts: A string, or a list of strings.
            entities: `None`: two entities are marked in each text.  Or pairs, for a string a list
                of them, for several texts a list of such lists: head and tail, each
                `(start, end)`, `(start, end, type)` or an entity that a token classifier found.  Or
                a token classifier, loaded, or its folder or handle, see `load_task`: then all pairs
                of the entities that it finds in a text are looked at, in both orders unless the
                relations' names have a direction, `(e2,e1)`.
            batch_size: Rows in a batch, one row a pair.  `None`: as many as have 8,192 tokens.

        Returns:
            A list of `Relation` for a string, a list of such for several.  Of pairs that are marked
            or given one each, in their order, in characters of the text without the marks; of
            entities that were found those that are in a relation, all but `negative`.

        Raises:
            ValueError: Marks or pairs are not what is described here, or two entities have more
                tokens than a row.
        """
        (columns, is_one), finder = as_columns(texts), _finder(entities)
        if len(columns) != 1:
            raise ValueError(f"expected one column of texts, got {len(columns)}.")
        strings = [*map(as_str, columns[0])]
        if entities is None:
            pairs = [[pair] for pair in marked_pairs(strings)]
        elif finder is not None:
            pairs = all_pairs(strings, finder(strings), self.decoder.have_direction)
        else:
            pairs = given_pairs(strings, [entities] if is_one else entities)
        rows = columns_of_pairs(pair for of in pairs for pair in of)
        answers = iter(self.answer_texts(tuple(rows), batch_size) if rows[0] else [])
        unsaid = [self.decoder.negative] if finder is not None else []
        relations = [
            [relation for relation in (next(answers) for _ in of) if relation.label not in unsaid]
            for of in pairs
        ]
        return relations[0] if is_one else relations

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_names": list(self.class_names),
            "negative": self.negative,
            "dropout": self.dropout,
        }


def _finder(entities: Any) -> Any:
    """What finds entities in texts; `None` for what is no model."""
    source: Any = "this one"
    if isinstance(entities, str | os.PathLike):
        # By its public name: what loads all tasks cannot be imported by one of them.
        from spanbert_tf import load_task

        source, entities = entities, load_task(entities)
    finder = getattr(entities, "find_entities", None)
    if finder is None and hasattr(entities, "task"):
        raise ValueError(
            f"`entities` must be a token classifier, but {source} is for {entities.task}."
        )
    return finder
