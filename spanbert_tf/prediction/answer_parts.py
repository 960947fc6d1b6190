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
from spanbert_tf.export.text_task import answers_to_json
from spanbert_tf.handles import Handle
from spanbert_tf.json_values import finite
from spanbert_tf.settings import AskedColumns
from spanbert_tf.start_up import without_info

FORMAT = 1
MOST_PARTS = 1_000_000


@dataclass(frozen=True)
class Asked:
    """What is asked of which model; travels to workers.

    Attributes:
        model: Its handle, which every worker finds.
        path: The file of texts.
        folder: Where the answers go.
        reading: How the file is read.
        num_columns: How many texts a record has.
        options: How the model is asked: arguments of its task's verb.
        trust: As for `load_task`.
    """

    model: str
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
        options: How it is read and the model asked, by name.
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


class PartWriter:
    """Answers parts; loads the model once.

    Args:
        asked: What is asked.

    Raises:
        ValueError, OSError: As `load_task`.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        with without_info():
            self.task = load_task(asked.model, trust=asked.trust)

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
        columns = self.task.task_class.read_asked(part, self.asked.reading)
        where = f"{part}, the {place.records:,} records from line {part.first_line} on"
        if len(columns) != self.asked.num_columns:
            raise DataError(
                f"{where}: expected {self.asked.num_columns} texts a record, as the first part "
                f"has, found {len(columns)}."
            )
        if len(columns[0]) != place.records:
            raise DataError(f"{where}: changed while they were read, to {len(columns[0]):,}.")
        rows = answers_to_json(columns[0], self.task.ask(columns, **dict(self.asked.options)))
        path = part_path(self.asked.folder, place.number)
        with (
            writing(self.asked.folder, path.name),
            atomic_file(path) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            for row in rows:
                text = json.dumps(finite(row), ensure_ascii=False, allow_nan=False)
                file.write(f"{text}\n")
