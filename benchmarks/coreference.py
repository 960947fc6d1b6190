"""Coreference: what this encoder gains over MiniLM, what general training adds, time and memory.

    python benchmarks/coreference.py                       # LitBank: ours and MiniLM, by seeds
    python benchmarks/coreference.py --general             # LitBank and GUM: by genre, and GAP
    python benchmarks/coreference.py --lengths             # 1,000 to 100,000 words in one text
    python benchmarks/coreference.py --speed               # texts to clusters, against fastcoref

Trained on LitBank's train part and tested on its dev part, by the same recipe from the encoder that
comes with the project and from MiniLM.  Thresholds are chosen on documents that are held out of the
training part, so dev decides nothing.  With `--general`, training has the parts of GUM that may be
in weights that ship too, by the rules of GUM itself or of OntoNotes (without clusters of one
mention); figures are those of each dev part by its genres.

With `--speed`, 12 texts of 500 to 3,000 words of LitBank are resolved in one call, and then one
after the other, here in each form of the model and by fastcoref's own code in a process of its own,
of an environment of its own (`peers/fastcoref_side.py`).  Both have 6 layers x 384, a head of that
width, and random weights by which hardly a mention is found, so joining clusters, done in Python on
both sides, takes no part.  The time is that from strings to clusters of characters: with fastcoref
it has spaCy's English tokenizer and the data set that `predict` makes, at the best of three sizes
of a batch, and not the rest of a spaCy pipeline, which it would run by default, nor the loading of
either side.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _peers import Peer, peers_python
from _recipes import Runs, add_resume
from _support import (
    MINILM,
    Goal,
    data_folder,
    encoder_source,
    linearity,
    machine,
    median_ratio,
    peak_megabytes,
    peak_of_process,
    report_goals,
    time_in_turn,
)

from spanbert_tf import export_litert, export_task, load_backbone, load_task
from spanbert_tf.data.readers.coreference import CoreferenceText, read_coreference
from spanbert_tf.handles import default_encoder
from spanbert_tf.settings import CoreferenceResolution
from spanbert_tf.training import finetune

TASK = "coreference-resolution"
OURS, PEER = "ours", "fastcoref"
LENGTHS = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 100_000)
GOALS = {"conll_f1": 0.68, "conll_f1_without_singletons": 0.62, "mentions_f1": 0.905}
GAIN_GOAL, GENERAL_GOAL = 0.03, 0.03
GAP_GOAL, GAP_RATIO_GOAL = 0.50, 0.95
SPEED_GOAL = 2.0
TEXTS_OF_SPEED, WORDS_OF_SPEED = 12, (500, 3_000)
FLAT_GOAL, R2_GOAL, KB_GOAL = 1.15, 0.99, 40.0


def read(*names: str, part: str) -> list[CoreferenceText]:
    """Documents of data sets, such as `litbank` and `gum/gum`.

    OntoGUM has a few mentions that are in two clusters.
    """
    folders = [data_folder() / name / part for name in names]
    return read_coreference(folders, repair_clusters=True)


def train(
    records: Sequence[CoreferenceText], encoder: str, seed: int, arguments: argparse.Namespace
) -> tuple[Any, float]:
    """A resolver, and the seconds of its training."""
    settings = CoreferenceResolution(
        epochs=arguments.epochs,
        learning_rate=arguments.rate,
        seed=seed,
        validation_fraction=arguments.held_out,
    )
    source = encoder_source(MINILM) if encoder == MINILM else default_encoder()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run = finetune(
            settings,
            records,
            task=TASK,
            encoder=source,
            output=Path(folder) / "preset",
            verbose=0,
        )
        return run.model, time.perf_counter() - begun


def compare_encoders(arguments: argparse.Namespace) -> list[Goal]:
    """LitBank, from both encoders."""
    records, dev = read("litbank", part="train"), read("litbank", part="dev")
    figures: dict[str, list[dict[str, float]]] = {}
    runs_of_all = Runs(arguments.resume)

    def run(side: str, seed: int) -> tuple[dict[str, float], float]:
        model, seconds = train(records, side, seed, arguments)
        return model.assess(dev), seconds

    for side in (OURS, MINILM):
        for seed in range(arguments.seeds):
            found, seconds = runs_of_all(f"{side}, seed {seed}", partial(run, side, seed))
            figures.setdefault(side, []).append(found)
            row = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
            print(f"litbank {side:<7} seed {seed}: {row}, {seconds:.0f} s", flush=True)
    means = {
        side: {name: float(np.mean([of[name] for of in runs])) for name in runs[0]}
        for side, runs in figures.items()
    }
    goals = [
        Goal(f"LitBank dev, {name}, mean of seeds", means[OURS][name], goal, "{:.4f}")
        for name, goal in GOALS.items()
    ]
    gain = means[OURS]["conll_f1"] - means[MINILM]["conll_f1"]
    return [*goals, Goal("LitBank dev, conll_f1 less that of MiniLM", gain, GAIN_GOAL, "{:+.4f}")]


def compare_training(arguments: argparse.Namespace) -> list[Goal]:
    """LitBank alone, and with GUM, by genres."""
    litbank = read("litbank", part="train")
    trainings = {
        "LitBank": litbank,
        "LitBank and GUM": litbank + read("gum/gum", part="train"),
        "OntoGUM": read("gum/ontogum", part="train"),
    }
    tests = {name: read(name, part="dev") for name in ("litbank", "gum/gum", "gum/ontogum")}

    def run(records: list[CoreferenceText]) -> dict[str, Any]:
        model, seconds = train(records, OURS, 0, arguments)
        rows = []
        for test, texts in tests.items():
            genres = sorted({text.genre for text in texts})
            for genre in ["all", *(genres if len(genres) > 1 else [])]:
                part = [text for text in texts if genre in ("all", text.genre)]
                rows.append((test, genre, len(part), model.assess(part)))
        return {"seconds": seconds, "rows": rows, "gap": gap_figures(model)}

    runs, onto, goals = Runs(arguments.resume), {}, []
    for name, records in trainings.items():
        found = runs(name, partial(run, records))
        print(f"{name}: {len(records)} documents, {found['seconds']:.0f} s")
        for test, genre, count, figures in found["rows"]:
            both = figures["conll_f1"], figures["conll_f1_without_singletons"]
            print(
                f"  {test:<12} {genre:<14} {count:3} documents, CoNLL F1 {both[0]:.4f}, without "
                f"singletons {both[1]:.4f}, mentions {figures['mentions_f1']:.4f}",
                flush=True,
            )
            if (test, genre) == ("gum/ontogum", "all"):
                onto[name] = both[1]
        gap = found["gap"]
        print("  GAP development:", ", ".join(f"{key} {of:.4f}" for key, of in gap.items()))
        if name == "LitBank and GUM":
            ratio = "GAP development, F1 of feminine to masculine"
            goals.append(Goal("GAP development, F1", gap["f1"], GAP_GOAL, "{:.4f}"))
            goals.append(Goal(ratio, gap["bias"], GAP_RATIO_GOAL))
    gain = max(onto["LitBank and GUM"], onto["OntoGUM"]) - onto["LitBank"]
    claim = "OntoGUM dev, conll_f1 of general training less that of LitBank alone"
    return [Goal(claim, gain, GENERAL_GOAL, "{:+.4f}"), *goals]


def gap_figures(model: Any) -> dict[str, float]:
    """GAP development, by clusters of the whole text."""
    from spanbert_tf.data.readers.gap import read_gap
    from spanbert_tf.metrics.gap import gap_scores

    examples = read_gap(data_folder() / "gap" / "gap-development.tsv")
    resolved = model.resolve([example.text for example in examples])
    clusters = [
        [[(mention.start, mention.end) for mention in cluster.mentions] for cluster in text]
        for text in resolved
    ]
    return gap_scores(clusters, examples)


def a_resolver() -> Any:
    """One of random head, whose time and memory are those of any other."""
    import keras

    from spanbert_tf.backbone import SpanBertBackbone
    from spanbert_tf.tasks.coreference_resolver import (
        SpanBertCoreferenceResolver,
        SpanBertCoreferenceResolverPreprocessor,
    )

    keras.utils.set_random_seed(0)
    dense, tokenizer = load_backbone(default_encoder())
    options = {"attention": "bucketed", "long_positions": "restart"}
    backbone = SpanBertBackbone.from_config({**dense.get_config(), **options})
    backbone.set_weights(dense.get_weights())
    preprocessor = SpanBertCoreferenceResolverPreprocessor(tokenizer)
    return SpanBertCoreferenceResolver(backbone, preprocessor)


def a_text(words: int) -> str:
    """So many words of LitBank."""
    text = " ".join(record.text for record in read("litbank", part="train")).split(" ")
    return " ".join(text[:words])


def one_length(words: int) -> None:
    """Prints the peak before a text is resolved, and after, in MB."""
    model = a_resolver()
    model.resolve(a_text(100))
    before = peak_megabytes()
    model.resolve(a_text(words))
    print(before, peak_megabytes())


def compare_lengths(rounds: int) -> list[Goal]:
    """Time a word, and memory, of ever longer texts."""
    model = a_resolver()
    texts = {words: a_text(words) for words in LENGTHS}
    pieces = {
        words: int(model.preprocessor.tokenizer([text]).row_lengths()[0])
        for words, text in texts.items()
    }
    seconds = {words: [] for words in LENGTHS}
    for _ in range(rounds):
        for words, text in texts.items():
            begun = time.perf_counter()
            model.resolve(text)
            seconds[words].append(time.perf_counter() - begun)
    rates, peaks, above = {}, [], []
    for words in LENGTHS:
        before, peak = peak_of_process(__file__, words)
        peaks.append(peak)
        above.append((peak - before) * 1024 / pieces[words])
        rates[words] = float(np.median(seconds[words])) / words
        print(
            f"{words:7,} words, {pieces[words]:7,} pieces: {rates[words] * 1e6:6.0f} us a word, "
            f"peak {peak:6,.0f} MB",
            flush=True,
        )
    long = [rate for words, rate in rates.items() if words >= 4_000]
    r2 = linearity([pieces[words] for words in LENGTHS], peaks)
    return [
        Goal("slowest to fastest time a word from 4,000 words on", max(long) / min(long),
             FLAT_GOAL, at_most=True),
        Goal("memory by length, R^2", r2, R2_GOAL, "{:.4f}"),
        Goal("memory of the longest text above the loaded model, KB a piece", above[-1], KB_GOAL,
             "{:.1f}", at_most=True),
    ]  # fmt: skip


def compare_speed(rounds: int) -> list[Goal]:
    """Texts to clusters against fastcoref: all in one call, and one after the other."""
    words = " ".join(record.text for record in read("litbank", part="train")).split(" ")
    sizes = np.linspace(*WORDS_OF_SPEED, TEXTS_OF_SPEED).astype(int)
    ends = np.cumsum(sizes)
    texts = [" ".join(words[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    model = a_resolver()
    mentions = sum(len(cluster.mentions) for text in model.resolve(texts) for cluster in text)
    print(f"{len(texts)} texts, {ends[-1]:,} words; ours finds {mentions} mentions in them")
    python = peers_python("fastcoref", of="-fastcoref")
    goals = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        export_task(model, folder / "served")
        export_litert(model, folder / "litert")
        forms = {
            "Keras": model,
            "SavedModel": load_task(folder / "served"),
            "LiteRT": load_task(folder / "litert"),
        }
        ways = {
            "in one call": lambda form: form.resolve(texts),
            "one after the other": lambda form: [form.resolve(text) for text in texts],
        }
        vocabulary, file = folder / "vocab.txt", folder / "texts.json"
        pieces = model.preprocessor.tokenizer.get_vocabulary()
        vocabulary.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")
        file.write_text(json.dumps(texts))
        for way, resolve in ways.items():
            sides: dict[str, Any] = {name: partial(resolve, form) for name, form in forms.items()}
            if python:
                options = ["--one"] if way == "one after the other" else []
                peer = Peer("fastcoref_side.py", vocabulary, file, *options, python=python)
                print(", ".join(f"{key}: {fact}" for key, fact in peer.facts.items()))
                sides[PEER] = peer
            seconds = time_in_turn(sides, rounds, warm_ups=1)
            if python:
                peer.close()
            for name, of in seconds.items():
                print(f"{way:<22}{name:<12}{ends[-1] / np.median(of):>8,.0f} words/s", flush=True)
            goals += [
                Goal(
                    f"{len(texts)} texts of 500 to 3,000 words to clusters, {way}, {name}, "
                    "against fastcoref",
                    median_ratio(seconds[PEER], seconds[name]) if python else None,
                    SPEED_GOAL,
                )
                for name in forms
            ]
    return goals


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--held-out", type=float, default=0.1, help="of training, for thresholds")
    parser.add_argument("--general", action="store_true")
    parser.add_argument("--lengths", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    add_resume(parser)
    arguments = parser.parse_args()
    if arguments.one:
        one_length(arguments.one)
        return 0
    print(machine("tensorflow", "keras"))
    if arguments.lengths:
        return report_goals(compare_lengths(arguments.rounds))
    if arguments.speed:
        return report_goals(compare_speed(arguments.rounds))
    if arguments.general:
        return report_goals(compare_training(arguments))
    return report_goals(compare_encoders(arguments))


if __name__ == "__main__":
    sys.exit(main())
