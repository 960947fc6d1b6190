"""A file of texts -> a folder of answers, by a run that may be stopped at any moment."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from spanbert_tf.atomic_files import locked, tidy, user_path
from spanbert_tf.data.corpus.shards import file_sha256
from spanbert_tf.data.readers.delimited import written_as
from spanbert_tf.data.readers.file_parts import Place, check_unchanged, find_parts, read_parts
from spanbert_tf.data.readers.lines import DataError, reading, suffix_of
from spanbert_tf.data.resumed_folders import open_folder
from spanbert_tf.export.task_loading import task_class_of
from spanbert_tf.handles import AnyHandle, Handle, find
from spanbert_tf.output_folders import check_places
from spanbert_tf.prediction.answer_parts import (
    MOST_PARTS,
    Asked,
    AskedModel,
    Manifest,
    PartWriter,
    columns_of_part,
    handle_of,
    is_answered,
    part_path,
    read_manifest,
    write_manifest,
)
from spanbert_tf.settings import AnsweredParts, AskedColumns, Asking

# Answers parts, and gives each once it is there.
Work = Callable[[Asked, list[Place]], Iterator[Place]]


@dataclass(frozen=True)
class AnsweredCounts:
    """What there is of a file's answers.

    Attributes:
        records: Records of all parts.
        parts: Number of the parts.
        reused: How many of them were there already.
    """

    records: int = 0
    parts: int = 0
    reused: int = 0


def answer_here(asked: Asked, places: list[Place]) -> Iterator[Place]:
    """Answers parts in this process, one after the other."""
    yield from PartWriter(asked).write_all(places)


def answer_file(
    model: AnyHandle,
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    settings: AnsweredParts | None = None,
    reading_options: AskedColumns | None = None,
    asking: Asking | None = None,
    trust: bool = False,
    work: Work = answer_here,
    progress: Callable[[AnsweredCounts], None] | None = None,
) -> AnsweredCounts:
    """Answers for the texts of a file, part by part, in bounded memory.

        answer_file("entities_en", "news.jsonl.gz", "answers")

    Each part is a file of a line a record, a JSON object as `spanbert-tf predict --json` gives it;
    parts and lines are in the order of the input.  Killed at any moment, the same call goes on: it
    makes only the parts that are not there.

    Args:
        model: A fine-tuned task, as `load_task` takes it.
        path: A `.jsonl`, `.tsv` or `.csv` file, or one whose lines are texts, plain or `.gz`; see
            `find_parts`.
        folder: Where the answers go: a new or empty folder, or one that holds them in part.
        settings: How the file is cut into parts.
        reading_options: Which columns hold texts, and how the file is written.
        asking: How the model is asked, such as `top_k`: the `asking_cls` of its task's class.
        trust: As for `load_task`.
        work: Who answers: this process, or `beam.answer_with_beam` with its runner.
        progress: Called with the counts so far, once for the parts that were there already and
            after each part that is made.

    Returns:
        The counts of the whole file.

    Raises:
        DataError: The file cannot be read or changes meanwhile, `folder` holds something else, or
            answers of another model, to another file or other options, or cannot be written.
            Finished parts stay.
        ValueError: The model is a plain encoder, or refuses an option or a text; or `folder` is,
            holds or lies in what is read.
        BlockingIOError: Another process writes the folder.
        OSError: As `load_task`.
    """
    settings, columns = settings or AnsweredParts(), reading_options or AskedColumns()
    path, folder = user_path(path), user_path(folder).absolute()
    found = find(model)
    of = task_class_of(found)
    options = _options_of(asking or of.asking_cls())
    models = [value for value in options.values() if isinstance(value, Handle)]
    check_places([folder], [*(each.path for each in (found, *models)), path])
    delimiter, quoting = written_as(path, columns.delimiter, columns.quoting)
    places = find_parts(path, settings.part_records, delimiter, columns.quoting)
    # As it is for all parts, so that what was found is told once.
    columns = replace(columns, delimiter=delimiter, quoting=quoting)
    if len(places) > MOST_PARTS:
        raise DataError(
            f"{path}: {len(places):,} parts; expected at most {MOST_PARTS:,}: give a higher "
            "`part_records`."
        )
    ((_, first),) = read_parts(path, places[:1])
    columns = of.name_columns(first, columns)
    asked = Asked(
        model=AskedModel.found(found),
        path=path.absolute(),
        folder=folder,
        reading=columns,
        num_columns=len(of.read_asked(first, columns)),
        options=tuple(
            (name, AskedModel.found(value) if isinstance(value, Handle) else value)
            for name, value in options.items()
        ),
        trust=trust,
    )
    # All of it, before hours of work.
    for place, part in read_parts(path, places):
        columns_of_part(of, asked, place, part)
    manifest = _manifest_of(of.task, found, asked, settings, places)
    with locked([folder]):
        open_folder(
            folder,
            "a set of answers",
            lambda: read_manifest(folder).differences(manifest),
            lambda: write_manifest(folder, manifest),
        )
        return _complete(asked, manifest, places, work, progress)


def _options_of(asking: Asking) -> dict[str, Any]:
    """How a model is asked, by name; models that this takes are found."""
    return {
        of.name: find(value) if of.metadata["is_model"] and value is not None else value
        for of in fields(asking)
        for value in [getattr(asking, of.name)]
    }


def _manifest_of(
    task: str, found: Handle, asked: Asked, settings: AnsweredParts, places: list[Place]
) -> Manifest:
    path = asked.path
    options = {
        name: value.sha256 if isinstance(value, AskedModel) else value
        for name, value in asked.options
    }
    with reading(path, lambda: 0):
        sha256 = file_sha256(path)
    check_unchanged(path, places[0])
    return Manifest(
        task=task,
        model=handle_of(found),
        model_sha256=asked.model.sha256,
        input=str(path),
        input_bytes=places[0].file_bytes,
        input_sha256=sha256,
        options={"input_format": suffix_of(path), **asdict(asked.reading), **options},
        part_records=settings.part_records,
        records=tuple(place.records for place in places),
    )


def _complete(
    asked: Asked,
    manifest: Manifest,
    places: list[Place],
    work: Work,
    progress: Callable[[AnsweredCounts], None] | None,
) -> AnsweredCounts:
    """Makes the parts that are not there."""
    folder = asked.folder
    missing = [place for place in places if not is_answered(folder, place)]
    reused = len(places) - len(missing)
    counts = AnsweredCounts(
        sum(manifest.records) - sum(place.records for place in missing), reused, reused
    )
    if progress is not None and reused:
        progress(counts)
    if missing:
        write_manifest(folder, manifest)  # No longer complete, if it was.
        for place in work(asked, missing):
            counts = replace(counts, records=counts.records + place.records, parts=counts.parts + 1)
            if progress is not None:
                progress(counts)
    for place in missing:
        if not is_answered(folder, place):
            raise DataError(
                f"{part_path(folder, place.number)}: is not there, though a worker said that it "
                "is: all workers must see the folder of this machine under the same path."
            )
    check_unchanged(asked.path, places[0])
    write_manifest(folder, replace(manifest, complete=True))
    tidy(folder)
    return AnsweredCounts(sum(manifest.records), len(places), reused)
