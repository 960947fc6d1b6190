"""The units of answering a file: what is asked, its parts, and the folder that they go to.

    manifest.json      the model, the input, the options, and how many records each part has
    part-000000.jsonl  a JSON object a record, as `spanbert-tf predict --json` gives it

Files are written under another name and renamed: a part that has its name is whole.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spanbert_tf.atomic_files import atomic_file
from spanbert_tf.data.corpus.shards import file_sha256
from spanbert_tf.data.readers.file_parts import Place, read_parts
from spanbert_tf.data.readers.lines import DataError, FilePart
from spanbert_tf.data.resumed_folders import MANIFEST, differences_of, writing
from spanbert_tf.export.task_loading import load_task
from spanbert_tf.export.text_task import TextTask, answers_to_json
from spanbert_tf.handles import AnyHandle, Handle, find
from spanbert_tf.json_values import finite
from spanbert_tf.models.text_batches import Columns
from spanbert_tf.settings import AskedColumns
from spanbert_tf.start_up import without_info

FORMAT = 1
MOST_PARTS = 1_000_000


@dataclass(frozen=True)
class AskedModel:
    """A model, and what it was when the run began.

    Attributes:
        handle: The model that was found; or its handle, by which workers find it.
        sha256: As `sha256_of_model` gives it.
    """

    handle: AnyHandle
    sha256: str

    @classmethod
    def found(cls, handle: AnyHandle) -> "AskedModel":
        """Finds a model, as it is now."""
        found = find(handle)
        return cls(found, sha256_of_model(found))

    def load(self, trust: bool = False) -> TextTask:
        """Loads it.

        Raises:
            DataError: It is not the same any more.
            ValueError, OSError: As `load_task`.
        """
        found = find(self.handle)
        if (sha256 := sha256_of_model(found)) != self.sha256:
            raise DataError(
                f"{found.source}: another model than the one that the run began with: expected "
                f"files of SHA-256 {self.sha256}, found {sha256}."
            )
        return load_task(found, trust=trust)


@dataclass(frozen=True)
class Asked:
    """What is asked of which model; travels to workers.

    Attributes:
        model: The model.
        path: The file of texts.
        folder: Where the answers go.
        reading: How the file is read; all parts by the columns that the first one has.
        num_columns: How many texts a record has.
        options: How the model is asked: arguments of its task's verb.  One that is an `AskedModel`
            is loaded once.
        trust: As for `load_task`.
    """

    model: AskedModel
    path: Path
    folder: Path
    reading: AskedColumns
    num_columns: int
    options: tuple[tuple[str, Any], ...] = ()
    trust: bool = False


@dataclass(frozen=True)
class Manifest:
    """What a folder of answers is made of.

    Attributes:
        task: The model's task.
        model: The model, in words.
        model_sha256: As `sha256_of_model` gives it.
        input: The file of texts, in words.
        input_bytes: Its size.
        input_sha256: Of its bytes.
        options: How it is read and the model asked, by name; of a model its SHA-256.
        part_records: As in `AnsweredParts`.
        records: How many records each part has.
        complete: Whether all parts are there.
    """

    task: str
    model: str
    model_sha256: str
    input: str
    input_bytes: int
    input_sha256: str
    options: dict[str, Any]
    part_records: int
    records: tuple[int, ...]
    complete: bool = False

    def differences(self, other: "Manifest") -> list[str]:
        """Lists in words what is another than in `other`, wherever model and input lie."""
        mine, theirs = (
            {
                "task": of.task,
                "model": of.model_sha256,
                "input": of.input_sha256,
                "part_records": of.part_records,
                **of.options,
            }
            for of in (self, other)
        )
        # Another task has other options.
        return differences_of({name: mine.get(name) for name in mine | theirs}, mine | theirs)


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a folder of answers, complete or not.

    Raises:
        DataError: It is not one that this version reads.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            raise DataError(f"{path}: expected answers of format {FORMAT}.")
        parts = content.pop("parts")
        return Manifest(**content, records=tuple(part["records"] for part in parts))
    except DataError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f"{path}: not the manifest of answers to a file: {error!r}.") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest."""
    content = asdict(manifest)
    records = content.pop("records")
    parts = [
        {"name": part_path(folder, number).name, "records": count}
        for number, count in enumerate(records)
    ]
    with writing(folder, MANIFEST), atomic_file(folder / MANIFEST) as path:
        text = json.dumps({"format": FORMAT, **content, "parts": parts}, indent=1)
        path.write_text(text + "\n", "utf-8")


def sha256_of_model(found: Handle) -> str:
    """SHA-256 of the names and contents of a model's files; of what is no folder, its handle."""
    folder = Path(found.path)
    if not folder.is_dir():
        return found.path
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def handle_of(found: Handle) -> str:
    """What names a model on any machine that sees the same files."""
    return found.source if "://" in found.source else found.path


def part_path(folder: Path, number: int) -> Path:
    """The file of a part; names of up to `MOST_PARTS` are in the order of the parts."""
    return folder / f"part-{number:06d}.jsonl"


def is_answered(folder: Path, place: Place) -> bool:
    """Whether a part is there, with a line for each record."""
    try:
        with part_path(folder, place.number).open("rb") as file:
            blocks = iter(lambda: file.read(1 << 20), b"")
            return sum(block.count(b"\n") for block in blocks) == place.records
    except OSError:
        return False


def columns_of_part(of: Any, asked: Asked, place: Place, part: FilePart) -> Columns:
    """Reads the texts of a part.

    Args:
        of: The model's class.
        asked: What is asked.
        place: Where the part is.
        part: Its lines.

    Raises:
        DataError: A record cannot be read, or they are not what they were in the first part, or
            not as many as there were.
    """
    columns = of.read_asked(part, asked.reading)
    where = f"{part}, from line {part.first_line} on"
    if len(columns) != asked.num_columns:
        raise DataError(
            f"{where}: expected as many texts a record as in the first part, {asked.num_columns}, "
            f"found {len(columns)}."
        )
    if len(columns[0]) != place.records:
        raise DataError(
            f"{where}: changed while it was read: expected as many records as there were, "
            f"{place.records:,}, found {len(columns[0]):,}."
        )
    return columns


class PartWriter:
    """Answers parts; loads the model once.

    Args:
        asked: What is asked.

    Raises:
        DataError: A model is not the one any more that the run began with.
        ValueError, OSError: As `load_task`.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        with without_info():
            self.task = asked.model.load(asked.trust)
            self.options = {
                name: value.load() if isinstance(value, AskedModel) else value
                for name, value in asked.options
            }

    def write_all(self, places: Iterable[Place]) -> Iterator[Place]:
        """Answers parts of the file, one after the other, and gives each once it is written.

        Raises:
            DataError: The file is another than it was, a record cannot be read, or a part cannot be
                written.
            ValueError: The task refuses a text or an option.
        """
        for place, part in read_parts(self.asked.path, places):
            self._write(place, part)
            yield place

    def _write(self, place: Place, part: FilePart) -> None:
        columns = columns_of_part(self.task.task_class, self.asked, place, part)
        rows = answers_to_json(columns[0], self.task.ask(columns, **self.options))
        path = part_path(self.asked.folder, place.number)
        with (
            writing(self.asked.folder, path.name),
            atomic_file(path) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            for row in rows:
                text = json.dumps(finite(row), ensure_ascii=False, allow_nan=False)
                file.write(f"{text}\n")
