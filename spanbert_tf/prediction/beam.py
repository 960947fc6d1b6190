"""Parts of a file answered by the workers of an Apache Beam runner.

The very same code answers, and the same files come out.  All workers read the file and write the
folder under the same paths: a file system that they share.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from spanbert_tf.data.readers.file_parts import Place
from spanbert_tf.data.runners import beam, pipeline_of
from spanbert_tf.handles import find
from spanbert_tf.prediction.answer_parts import (
    Asked,
    AskedModel,
    PartWriter,
    handle_of,
    is_answered,
)

# Each group of a `.gz` file's parts is reached by unpacking what is before it.
GROUPS_OF_PACKED = 32

_ONE_AT_A_TIME = threading.Lock()  # A model uses all cores by itself.


def answer_with_beam(
    asked: Asked, places: list[Place], runner: str = "DirectRunner", options: Sequence[str] = ()
) -> Iterator[Place]:
    """Answers parts, each by a worker; what works for `answer_file`.

    Args:
        asked: What is asked of which model.
        places: The parts.
        runner: As for `pipeline_of`.
        options: As for `pipeline_of`.

    Yields:
        The parts, once all of them are there.

    Raises:
        DataError, Exception: See `pipeline_of`.
    """
    asked = replace(
        asked,
        model=_for_workers(asked.model),
        options=tuple((name, _for_workers(value)) for name, value in asked.options),
    )
    with pipeline_of(runner, options) as pipeline:
        _ = (
            pipeline
            | "Parts" >> beam.Create(_groups(asked.path, places))
            | "Spread" >> beam.Reshuffle()
            | "Answer" >> beam.ParDo(_Answer(asked))
        )
    yield from places


def _for_workers(value: Any) -> Any:
    """An option as workers take it: a model of a hub each of them downloads."""
    if not isinstance(value, AskedModel):
        return value
    return replace(value, handle=handle_of(find(value.handle)))


def _groups(path: Path, places: list[Place]) -> list[list[tuple[int, ...]]]:
    """Parts that a worker answers in turn, as plain tuples."""
    is_packed = path.suffix.lower() == ".gz"
    size = -(-len(places) // GROUPS_OF_PACKED) if is_packed else 1
    tuples = [tuple(place) for place in places]
    return [tuples[begin : begin + size] for begin in range(0, len(tuples), size)]


class _Answer(beam.DoFn):
    """Answers the parts of a group that are not there yet: the runner may have begun it before."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    def process(self, group: list[tuple[int, ...]]) -> None:
        with _ONE_AT_A_TIME:
            places = [Place(*numbers) for numbers in group]
            missing = [place for place in places if not is_answered(self.asked.folder, place)]
            for _ in _writer(self.asked).write_all(missing):
                pass


@lru_cache(1)
def _writer(asked: Asked) -> PartWriter:
    """The model of a worker's process, which is loaded once."""
    return PartWriter(asked)
