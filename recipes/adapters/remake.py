"""Makes the ready models anew: their data, the training, the adapter in float16, its figures.

    python recipes/adapters/remake.py entities_en [questions_en ...]

Run from the project's root.  What was stopped goes on where it was.  Data and runs go to
`runs/adapters`; the adapter to `saved_models/adapters`, beside its card; its figures on what it was
not trained on to `runs/adapters/NAME/figures.json`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import make_data

ENCODER = "saved_models/spanbert_mini_en_uncased/1"
RUNS, MODELS = Path("runs/adapters"), Path("saved_models/adapters")
RANK = 16

# Task and options of each; all else is what `finetune` chooses.
SETTINGS: dict[str, tuple[str, list[str]]] = {
    "sentiment_en": ("text-classification", ["--epochs", "1", "--pooling", "mean"]),
    "intents_banking_en": ("text-classification", ["--epochs", "10", "--pooling", "mean"]),
    "entities_en": ("token-classification", ["--crf", "--epochs", "8"]),
    "relations_en": ("relation-extraction", ["--epochs", "5"]),
    "questions_en": ("question-answering", ["--epochs", "1"]),
    "coreference_en": ("coreference-resolution", ["--epochs", "4", "--learning-rate", "1e-3"]),
}

# How files are read.  OntoGUM has a few mentions that are in two clusters.
READING = {"coreference_en": ["--repair-clusters"]}


def spanbert_tf(*words: str | int | Path, **options: Any) -> str:
    """Runs a command of the package; what it prints, if `stdout` is a pipe."""
    command = [sys.executable, "-m", "spanbert_tf", *map(str, words)]
    return subprocess.run(command, check=True, text=True, **options).stdout


def remake(name: str) -> None:
    """Makes one of them, and prints its figures."""
    task, options = SETTINGS[name]
    run, data = RUNS / name, RUNS / name / "data"
    data.mkdir(parents=True, exist_ok=True)
    make_data.MAKERS[name](data)
    (train,) = data.glob("train*")
    known = ["--task", task, "--train", train, "--encoder", ENCODER, "--output", run / "model"]
    adapter = run / "model" / "adapter"
    if not adapter.exists():
        spanbert_tf("finetune", *known, "--lora-rank", RANK, *options)
    halve(adapter, MODELS / name)
    figures = {}
    for test in sorted(data.glob("test_*")):
        answered = spanbert_tf(
            *("evaluate", MODELS / name, "--data", test, "--json", *READING.get(name, [])),
            stdout=subprocess.PIPE,
        )
        figures[test.stem.removeprefix("test_")] = json.loads(answered)
    (run / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    print(json.dumps(figures, indent=2))


def halve(source: Path, target: Path) -> None:
    """Writes an adapter in float16; a card that lies in the folder stays."""
    from spanbert_tf.start_up import import_tensorflow

    import_tensorflow()  # Without its lines on devices.
    from spanbert_tf import load_adapter, save_adapter

    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / target.name
        save_adapter(load_adapter(source), half, ENCODER, dtype="float16")
        shutil.copytree(half, target, dirs_exist_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=SETTINGS, metavar="MODEL", help="their names")
    for name in parser.parse_args().models:
        remake(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
