"""Runs the benchmarks one after the other and writes what they print to benchmarks/RESULTS.md.

    python benchmarks/run_all.py [--quick] [--only NAME ...] [--resume]

Each script's output is kept in benchmarks/records/ as soon as it ends, and the results are written
anew from all that is there: what ran is not lost if a later script fails, and `--only` takes some
figures again without the others.  `--quick` gives an idea of speed and padding in under five
minutes, in runs/benchmarks/RESULTS.md; pretraining, accuracies, tokenizers, imports and plots are
left out.  `--resume` keeps what each training of a comparison gave in
benchmarks/records/NAME.jsonl until the comparison is whole, so that it can be stopped and gone on
with, by a clone too once that file is committed.

Exits with 1 if a script failed; missed goals are results.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from _support import machine

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
QUICK, FULL = "quick", "full"
PACKAGES = ("tensorflow", "keras", "keras-hub")
GOAL_LINE = re.compile(
    r"(?P<claim>.+?): (?P<measured>[^:]+), goal (?P<goal>[^:]+): "
    r"(?P<outcome>met|missed|not measured)$"
)


@dataclass(frozen=True)
class Benchmark:
    """A script and its arguments.

    Attributes:
        name: Of the script, without `.py`; with a dot and a word behind it where one script has
            several runs: `question_answering.speed`.
        full: Arguments of the full run.
        quick: Arguments of the quick run.  `None`: it has none.
        resumes: Whether it takes `--resume`.
    """

    name: str
    full: str = ""
    quick: str | None = None
    resumes: bool = False

    @property
    def script(self) -> str:
        """Its path."""
        return f"benchmarks/{self.name.partition('.')[0]}.py"


ENCODERS = "--encoders minilm saved_models/spanbert_mini_en_uncased/1"
CROSSNER = (
    "--data crossner/ai crossner/literature crossner/music crossner/politics crossner/science"
    " --epochs 20 --batch-size 16 --adapter"
)
# In the order of the results; the claims on speed come first.
BENCHMARKS = (
    Benchmark("encoder_forward", quick="--rounds 3"),
    Benchmark("text_vectors", quick="--texts 30 --default-texts 3 --rounds 1"),
    Benchmark("search", quick="--vectors 20000 --rounds 1"),
    Benchmark("one_sentence", quick="--rounds 3 --calls 20"),
    Benchmark("finetune_sst2", quick="--rounds 1 --stretch 2"),
    Benchmark("long_text", quick="--rounds 1 --tokens 512 2048 --batches"),
    Benchmark("documents", "--reviews 1000 --folds 2"),
    Benchmark("padding", quick=""),
    Benchmark("pretraining_step"),
    Benchmark("step_profile"),
    Benchmark("pretraining_pipeline"),
    Benchmark("pretraining_memory"),
    Benchmark("tokenizer"),
    Benchmark("import_time"),
    Benchmark("pretraining_kills"),
    Benchmark("killed_commands"),
    Benchmark("extractive_qa", ENCODERS),
    Benchmark("question_answering.training", "--only training", resumes=True),
    Benchmark("question_answering.squad2", "--only squad2", resumes=True),
    Benchmark("question_answering.speed", "--only speed long"),
    Benchmark("token_classification", resumes=True),
    Benchmark("token_classification.crossner", CROSSNER, resumes=True),
    Benchmark("entity_inference"),
    Benchmark("relation_extraction", resumes=True),
    Benchmark("coreference", resumes=True),
    Benchmark("coreference.general", "--general", resumes=True),
    Benchmark("coreference.lengths", "--lengths"),
    Benchmark("coreference.speed", "--speed"),
    Benchmark("generation"),
    Benchmark("serving.clients", "--only clients --minutes 60"),
    Benchmark("serving.fastapi", "--only fastapi"),
    Benchmark("sst2_accuracy", ENCODERS),
    Benchmark("default_recipes", resumes=True),
    Benchmark("text_embedding", "--only sts banking77 questions"),
    Benchmark("text_embedding.training", "--only training"),
    Benchmark("smaller_models"),
    Benchmark("adapters", resumes=True),
    Benchmark("plots"),
)


@dataclass(frozen=True)
class Record:
    """One run of a script.

    Attributes:
        command: As one types it.
        began: Date and time, UTC.
        machine: Processor, cores and versions.
        seconds: How long it ran.
        exit_code: 0; 1 if a goal was missed or it failed.
        output: What it printed.
    """

    command: str
    began: str
    machine: str
    seconds: float
    exit_code: int
    output: str

    @property
    def goals(self) -> list[dict[str, str]]:
        """What the script said of its goals: `claim`, `measured`, `goal`, `outcome` of each."""
        found = (GOAL_LINE.match(line.strip()) for line in self.output.splitlines())
        return [match.groupdict() for match in found if match]

    @property
    def failed(self) -> bool:
        """Whether it ended by something else than a missed goal."""
        return self.exit_code not in (0, 1) or (self.exit_code == 1 and "missed" not in self.output)


def run(benchmark: Benchmark, mode: str, kept: Path | None = None) -> Record:
    """Runs a script, shows what it prints as it does, and keeps it; `kept` is for `--resume`."""
    arguments = (benchmark.quick if mode == QUICK else benchmark.full).split()
    command = " ".join(["python", benchmark.script, *arguments])
    arguments += [] if kept is None else ["--resume", str(kept)]
    print(f"\n$ {command}", flush=True)
    began = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    start = time.perf_counter()
    lines = []
    with subprocess.Popen(
        [sys.executable, benchmark.script, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    seconds = round(time.perf_counter() - start, 1)
    return Record(command, began, machine(*PACKAGES), seconds, process.returncode, "".join(lines))


def write(path: Path, text: str) -> None:
    """Writes a file so that there is the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def read_records(folder: Path) -> dict[str, Record]:
    paths = ((benchmark.name, folder / f"{benchmark.name}.json") for benchmark in BENCHMARKS)
    return {
        name: Record(**json.loads(path.read_text("utf-8"))) for name, path in paths if path.exists()
    }


def summary(records: dict[str, Record]) -> list[str]:
    lines = ["| script | claim | goal | measured | |", "|---|---|---|---|---|"]
    for name, record in records.items():
        anchor = name.replace(".", "")  # As GitHub makes one of a heading.
        link = f"[{name}](#{anchor})"
        for goal in record.goals:
            outcome = goal["outcome"] if goal["outcome"] == "met" else f"**{goal['outcome']}**"
            lines.append(
                f"| {link} | {goal['claim']} | {goal['goal']} | {goal['measured']} | {outcome} |"
            )
        if record.failed:
            lines.append(f"| {link} | | | exit code {record.exit_code} | **failed** |")
    return lines


def results(records: dict[str, Record], mode: str) -> str:
    """The results as Markdown."""
    option = " --quick" if mode == QUICK else ""
    machines = sorted({record.machine for record in records.values()})
    lines = [
        "# Results of the benchmarks",
        "",
        f"Written by `python benchmarks/run_all.py{option}`.  Ratios are medians over rounds in",
        "which the sides take turns; they travel from machine to machine, absolute figures do not.",
        "",
        *(f"- {one}" for one in machines),
        "",
        *summary(records),
    ]
    for name, record in records.items():
        lines += ["", f"## {name}", "", f"{record.began}, {record.seconds:.0f} s"]
        if len(machines) > 1:
            lines += ["", record.machine]
        lines += ["", "```", f"$ {record.command}", record.output.rstrip(), "```"]
    plots = sorted((FOLDER / "plots").glob("*.png")) if mode == FULL else []
    if plots:
        lines += ["", "## Plots"]
        for path in plots:
            lines += ["", f"![{path.stem.replace('_', ' ')}](plots/{path.name})"]
    return "\n".join(lines) + "\n"


def main() -> int:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under five minutes")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=names)
    parser.add_argument("--resume", action="store_true", help="go on with comparisons of trainings")
    arguments = parser.parse_args()

    mode = QUICK if arguments.quick else FULL
    home = ROOT / "runs" / "benchmarks" if mode == QUICK else FOLDER
    folder, output = home / "records", home / "RESULTS.md"
    begun = time.perf_counter()
    failed = []
    for benchmark in BENCHMARKS:
        if benchmark.name not in arguments.only or (mode == QUICK and benchmark.quick is None):
            continue
        kept = folder / f"{benchmark.name}.jsonl"
        resumes = arguments.resume and benchmark.resumes
        record = run(benchmark, mode, kept if resumes else None)
        write(folder / f"{benchmark.name}.json", json.dumps(asdict(record), indent=2))
        write(output, results(read_records(folder), mode))
        if record.failed:
            failed.append(benchmark.name)
        elif resumes:
            kept.unlink(missing_ok=True)
    print(f"\n{output.relative_to(ROOT)}, {time.perf_counter() - begun:.0f} s")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
