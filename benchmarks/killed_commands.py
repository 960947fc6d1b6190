"""Commands that are killed end, by the same command, with the files of one that nothing stopped.

    python benchmarks/killed_commands.py [--commands finetune pretrain] [--kills 30] [--seed 0]

Runs `spanbert-tf finetune` and `spanbert-tf pretrain`, tiny, to their end.  Then does so again and
again, ending each process by SIGKILL at a random moment between its start and the time that the
whole command takes: importing, reading, training, writing a checkpoint, or exporting.  The same
command goes on.  Whenever it ends by itself, all files must be those of the first run: every array
equal bit by bit, no hidden file left over.  Of SavedModels the variables and assets are compared,
as TensorFlow numbers the functions of their graphs by process.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from _support import machine
from pretraining_kills import COMMAND, prepare

import spanbert_tf

REVIEWS = Path(spanbert_tf.__file__).parent / "data" / "reviews"
FINISHED = "run is finished", "finished run"  # Killed after its last file, before it said so.


def words_of(command: str, encoder: Path, output: str) -> list[str]:
    """The words of a command line."""
    settings: dict[str, Any]
    if command == "finetune":
        words = ["finetune", "--train", str(REVIEWS / "train.tsv"), "--encoder", str(encoder)]
        words += ["--test", str(REVIEWS / "test.tsv")]
        settings = {"epochs": 4, "batch-size": 32, "sequence-length": 32}
    else:
        words = ["pretrain", "corpus", "--encoder", str(encoder)]
        settings = {"steps": 12, "token-budget": 512, "num-buckets": 1, "checkpoint-steps": 3}
        settings |= {"validation-steps": 6, "validation-batches": 2, "max-targets": 5}
    options = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    return [*COMMAND, *words, *options, "--output", output]


def make_encoder(folder: Path) -> Path:
    """Writes the preset of a new encoder of one layer, with the corpus' vocabulary."""
    from spanbert_tf.data.corpus.shards import load_vocabulary, read_manifest

    manifest = read_manifest(folder / "corpus")
    pieces = load_vocabulary(folder / "corpus", manifest)
    tokenizer = spanbert_tf.SpanBertTokenizer(pieces, manifest.lowercase)
    backbone = spanbert_tf.SpanBertBackbone(len(pieces), 1, 2, 16, 32, max_sequence_length=64)
    for each in (backbone, tokenizer):
        each.save_to_preset(str(folder / "encoder"))
    return folder / "encoder"


def contents(folder: Path) -> dict[str, Any]:
    """What is to be equal of all files below a folder, by path."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or "tensorboard" in name:
            continue
        if path.suffix == ".h5":
            found |= {f"{name}: {key}": value for key, value in _arrays(path).items()}
        elif path.name == "variables.index":
            found |= {f"{name}: {key}": x for key, x in _variables(path.with_suffix("")).items()}
        elif path.suffix == ".json":
            found[name] = json.loads(path.read_text())
            found[name].pop("date_saved", None)
        elif path.suffix == ".pb" or path.name.startswith("variables."):
            found[name] = None
        else:
            found[name] = path.read_bytes()
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: arrays.update(
                {name: item[()]} if isinstance(item, h5py.Dataset) else {}
            )
        )
    return arrays


def _variables(prefix: Path) -> dict[str, np.ndarray]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


def differences(ours: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of the files and arrays that are not in both, or not equal."""
    odd = sorted(ours.keys() ^ expected.keys())
    same = ours.keys() & expected.keys()
    return odd + [name for name in sorted(same) if not np.array_equal(ours[name], expected[name])]


def kill_at_random(command: str, folder: Path, encoder: Path, kills: int, seed: int) -> int:
    """Kills a command so many times, and gives the number of files and arrays that differ."""
    begun = time.monotonic()
    output = folder / command / "whole"
    subprocess.run(
        words_of(command, encoder, str(output)), cwd=folder, check=True, capture_output=True
    )
    seconds = time.monotonic() - begun
    expected = contents(output)
    print(f"{command}: {len(expected)} files and arrays in {seconds:.0f} s", flush=True)

    rng = np.random.default_rng(seed)
    run = killed = since = wrong = 0
    while killed < kills or since:
        output = folder / command / f"killed-{run}"
        process = subprocess.Popen(
            words_of(command, encoder, str(output)),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Once there were enough kills, the last run goes to its end.
        moment = rng.uniform(0, seconds) if killed < kills else None
        try:
            _, said = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed, since = killed + 1, since + 1
            continue
        if process.returncode == -signal.SIGKILL or (
            process.returncode and not any(words in said for words in FINISHED)
        ):
            raise RuntimeError(f"the command ended with {process.returncode}:\n{said[-2000:]}")
        differing = differences(contents(output), expected)
        hidden = [path.name for path in output.parent.rglob(".*")]
        print(f"killed {since} times, ended: {differing + hidden or 'the same files'}", flush=True)
        wrong += len(differing) + len(hidden)
        run, since = run + 1, 0
    minutes = (time.monotonic() - begun) / 60
    print(f"{command}: {killed} kills, {run} runs, {minutes:.0f} minutes: {wrong} differences")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = ("finetune", "pretrain")
    parser.add_argument("--commands", nargs="+", choices=commands, default=commands)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        encoder = make_encoder(folder)
        options = (folder, encoder, arguments.kills, arguments.seed)
        wrong = sum(kill_at_random(command, *options) for command in arguments.commands)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
