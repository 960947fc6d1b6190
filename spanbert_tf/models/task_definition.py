"""What each task says of itself; its file says no more.

Letters: n records.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.lines import AnySource
from spanbert_tf.data.readers.tables import read_texts, text_column_names, text_columns_of
from spanbert_tf.features import Feature
from spanbert_tf.metrics.reports import Report
from spanbert_tf.models.decoding import Decoder
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.settings import AskedColumns, Asking, FineTuning, Scoring


class TaskDefinition:
    """The names that a task gives its own meaning.

    What is said to need `decoder` alone asks nothing else of `self`, so that exports, which have no
    network in Keras, have it too: see `export.text_task.TextTask`.

    Attributes:
        task: Its name in Hugging Face's words; the key of `spanbert_tf.tasks.TASKS`.
        verb: The method by which people ask it.  Of the task it needs `answer_texts` and `decoder`
            alone, so that exports have it too.
        more_verbs: Other methods that need no more of the task than `verb` does.
        asking_cls: What else they may say: arguments of that method, options of `predict`.
        scoring_cls: How its answers are scored: more arguments of `answer_records`, options of
            `evaluate`.
        settings_cls: How it is fine-tuned.
        reading_cls: How its files are read: options of `read`.
        training_file: What one may be called, in the example that `finetune --help` shows.
        extra_inputs: What the network takes beside the encoder's features.
        signatures: Names of the texts that each signature of a SavedModel takes.
        apart: Names of the columns of records, where each text of a record is read on its own.
            `()`: the network reads all texts of a record together, as a signature names them.
        asked: Names of the texts that the verb takes, each an argument.
        blank: As little as can be asked, a text for each column of `serving_default`.  `None`:
            they may be empty.
        decoder_cls: The class of `decoder`.
        decoded: What `decode` gives: numbers from which a decoder makes answers.
        figures: The figures that `score` gives; the first tells which epoch is best.
        page_of: Makes a page of HTML of answers, where there is such a form.
        has_loop: Whether `decode` goes on until all rows are done, which LiteRT does not.
    """

    task: ClassVar[str]
    verb: ClassVar[str]
    more_verbs: ClassVar[tuple[str, ...]] = ()
    asking_cls: ClassVar[type[Asking]] = Asking
    scoring_cls: ClassVar[type[Scoring]] = Scoring
    settings_cls: ClassVar[type[FineTuning]]
    reading_cls: ClassVar[type]
    training_file: ClassVar[str]
    extra_inputs: ClassVar[tuple[Feature, ...]] = ()
    signatures: ClassVar[dict[str, tuple[str, ...]]] = {"serving_default": ("text",)}
    apart: ClassVar[tuple[str, ...]] = ()
    asked: ClassVar[tuple[str, ...]] = ("text",)
    blank: ClassVar[tuple[str, ...] | None] = None
    decoder_cls: ClassVar[type[Decoder]]
    decoded: ClassVar[tuple[Feature, ...]]
    figures: ClassVar[tuple[str, ...]]
    page_of: ClassVar[Any] = None
    has_loop: ClassVar[bool] = False

    # What a task says of its data.

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Any = None) -> list[Any]:
        """Reads records to train on or to be scored with; an error names file and line."""
        raise NotImplementedError

    @classmethod
    def head_arguments(cls, records: Sequence[Any], settings: Any) -> dict[str, Any]:
        """What training data and settings decide: arguments of the class, as JSON can hold them."""
        raise NotImplementedError

    @classmethod
    def figures_of(cls, head: dict[str, Any], records: Sequence[Any] = ()) -> tuple[str, ...]:
        """The figures that `score` gives of such a head, see `head_arguments`, on such records."""
        return cls.figures

    @classmethod
    def preprocessor_arguments(cls, settings: Any) -> dict[str, Any]:
        """What settings decide of the preprocessor."""
        return {"sequence_length": settings.sequence_length}

    @classmethod
    def strata(cls, records: Sequence[Any]) -> np.ndarray:
        """Numbers of the kinds of records that each part of the data shall have its share of."""
        return np.zeros(len(records), np.int32)

    def columns_of(self, records: Sequence[Any]) -> tuple[Columns, Any]:
        """The texts of records, and what is right of them, as `fit` takes both.

        It needs `decoder` alone.
        """
        raise NotImplementedError

    def check_records(self, records: Sequence[Any]) -> None:
        """Refuses records that the preprocessor has no room for, by file and line: none."""

    def make_targets(self, rows: Rows, columns: Columns, y: Any) -> dict[Feature, Any]:
        """What the network is to learn, of `y` as `fit` takes it."""
        raise NotImplementedError

    # What a task says of its answers.

    @property
    def scored_decoder(self) -> Any:
        """What makes the answers that `score` and `tune` are given; it needs `decoder` alone."""
        return self.decoder

    def given(self, answers: Sequence[Any], records: Sequence[Any]) -> list[Any]:
        """What people are told of records where the answers of `scored_decoder` are these.

        It needs `decoder` alone.
        """
        return list(answers)

    def score(self, answers: Sequence[Any], records: Sequence[Any]) -> dict[str, float]:
        """The figures that `figures_of` lists, by name, of what `scored_decoder` gave.

        It needs `decoder` alone.
        """
        raise NotImplementedError

    def report(self, answers: Sequence[Any], records: Sequence[Any]) -> Report:
        """What is behind the figures of the same; it needs `decoder` alone."""
        return Report()

    def has_confusions(self) -> bool:
        """Whether the report tells which label was taken for which; it needs `decoder` alone."""
        return False

    @classmethod
    def gold_of(cls, record: Any) -> Any:
        """What is right of a record, as JSON can hold it."""
        raise NotImplementedError

    def is_right(self, answer: Any, record: Any) -> bool | None:
        """Whether an answer that people are told is right, all of it; it needs `decoder` alone.

        `None`: one cannot say.
        """
        raise NotImplementedError

    def tune(self, answers: Sequence[Any], records: Sequence[Any]) -> None:
        """Chooses on validation data what gradients do not teach, such as a threshold: nothing."""

    @classmethod
    def rejects(cls, head: dict[str, Any]) -> bool:
        """Whether answers of such a head may be refused: of texts that belong to no class."""
        return False

    def check_rejection(self) -> None:
        """Refuses to tell texts that belong to no class, if each does; it needs `decoder` alone.

        Raises:
            ValueError: No answer may be refused.
        """
        raise ValueError(f"no text is out of scope for {self.task}; only for text-classification")

    def rejection(self, answers: Sequence[Any], outside: Sequence[Any]) -> dict[str, float]:
        """How well scores tell texts that belong to no class; it needs `decoder` alone.

        Args:
            answers: What `scored_decoder` made of texts that belong to a class.
            outside: Answers for texts that belong to none.
        """
        raise NotImplementedError

    def tune_rejection(self, answers: Sequence[Any], outside: Sequence[Any]) -> None:
        """Chooses, of the same, which answers are refused."""
        raise NotImplementedError

    @classmethod
    def read_asked(cls, path: AnySource, reading: Any = None) -> Columns:
        """Reads texts to answer for, by `AskedColumns`, see `read_texts`."""
        return text_columns_of(read_texts(path, **vars(reading or AskedColumns())))

    @classmethod
    def name_columns(cls, path: AnySource, reading: AskedColumns) -> AskedColumns:
        """Says by which columns `read_asked` reads a file, so that another is read by the same."""
        text, pair = text_column_names(path, **vars(reading))
        return replace(reading, text_column=text, pair_column=pair)

    # What a task says of its network.

    def begin_with(self, trained: Callable[[], Any], settings: Any) -> None:
        """Takes over what settings say, once it is made: nothing; its encoder has its weights.

        Args:
            trained: Loads the `TextTask` that the encoder is of; an error tells that it is of none.
            settings: How the task will be trained.
        """

    def decode(self, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """Turns the network's outputs into the numbers that `decoded` lists, by `keras.ops` alone.

        Keras, SavedModel and LiteRT share it.
        """
        raise NotImplementedError

    def decode_by(self, decoder: Any, outputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        """What `decode` gives for a decoder whose `in_network` fields may differ from the task's.

        Only for tasks whose decoders have such fields it differs from `decode`.
        """
        return self.decode(outputs, features)

    @property
    def decoder(self) -> Any:
        """What makes answers of these numbers."""
        raise NotImplementedError

    def compile_defaults(self) -> dict[str, Any]:
        """Loss and metrics where `compile` is told `"auto"`."""
        return {"loss": None, "metrics": None}
