"""Makes the ready models anew: their data, the training, the adapter in float16, its figures.

    python recipes/adapters/remake.py entities_en [questions_en ...]

Run from the project's root.  What was stopped goes on where it was.  Data and runs go to
`runs/adapters`; the adapter to `saved_models/adapters`, beside its card; its figures on what it was
not trained on to `runs/adapters/NAME/figures.json`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import make_data

from spanbert_tf import load_adapter, save_adapter
from spanbert_tf.handles import bundled_minilm

ENCODER = "saved_models/spanbert_mini_en_uncased/1"
RUNS, MODELS = Path("runs/adapters"), Path("saved_models/adapters")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        task: Its task.
        options: Of `finetune`, which chooses all else.
        of_adapter: Further ones that are for an adapter alone.
        rank: Of the adapter.
        is_taught: Whether it also learns the vectors of MiniLM, which the encoder was before it was
            pretrained.
    """

    task: str
    options: str
    of_adapter: str = ""
    rank: int = 16
    is_taught: bool = False


RECIPES = {
    "sentiment_en": Recipe("text-classification", "--epochs 1 --pooling mean"),
    "intents_banking_en": Recipe("text-classification", "--epochs 10 --pooling mean"),
    "entities_en": Recipe("token-classification", "--crf --epochs 8"),
    "relations_en": Recipe("relation-extraction", "--epochs 5"),
    "questions_en": Recipe("question-answering", "--epochs 1"),
    "coreference_en": Recipe("coreference-resolution", "--epochs 4", "--learning-rate 1e-3"),
    "embeddings_en": Recipe(
        "text-embedding",
        "--epochs 1 --symmetric --sequence-length 256 --teacher-weight 10",
        "--lora-start teacher",
        rank=64,
        is_taught=True,
    ),
}

# How files are read.  OntoGUM has a few mentions that are in two clusters.
READING = {"coreference_en": ["--repair-clusters"]}


def spanbert_tf(*words: str | int | Path, **options: Any) -> str:
    """Runs a command of the package; what it prints, if `stdout` is a pipe."""
    command = [sys.executable, "-m", "spanbert_tf", *map(str, words)]
    return subprocess.run(command, check=True, text=True, **options).stdout


def make_files(name: str) -> Path:
    """Writes what a model is trained and scored on; gives the folder."""
    data = RUNS / name / "data"
    data.mkdir(parents=True, exist_ok=True)
    make_data.MAKERS[name](data)
    return data


def train(name: str, data: Path, output: Path, *options: str | int, adapter: bool = True) -> None:
    """Trains a model, as an adapter or whole."""
    recipe = RECIPES[name]
    (file,) = data.glob("train*")
    words = ["--task", recipe.task, "--train", file, "--encoder", ENCODER, "--output", output]
    words += recipe.options.split()
    if adapter:
        words += ["--lora-rank", recipe.rank, *recipe.of_adapter.split()]
    if recipe.is_taught:
        words += ["--teacher", bundled_minilm()]
    spanbert_tf("finetune", *words, *options)


def score(name: str, data: Path, model: Path) -> dict[str, Any]:
    """Figures of a model on each set that it is scored on."""
    figures = {}
    for test in sorted(data.glob("test_*")):
        words = ["evaluate", model, "--data", test, "--json", *READING.get(name, [])]
        figures[test.stem.removeprefix("test_")] = json.loads(
            spanbert_tf(*words, stdout=subprocess.PIPE)
        )
    return figures


def remake(name: str) -> None:
    """Makes one of them, and prints its figures."""
    data, run = make_files(name), RUNS / name
    adapter = run / "model" / "adapter"
    if not adapter.exists():
        train(name, data, run / "model")
    halve(adapter, MODELS / name)
    text = json.dumps(score(name, data, MODELS / name), indent=2)
    (run / "figures.json").write_text(text + "\n", "utf-8")
    print(text)


def halve(source: Path, target: Path) -> None:
    """Writes an adapter in float16; a card that lies in the folder stays."""
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / target.name
        save_adapter(load_adapter(source), half, ENCODER, dtype="float16")
        shutil.copytree(half, target, dirs_exist_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=RECIPES, metavar="MODEL", help="their names")
    for name in parser.parse_args().models:
        remake(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
