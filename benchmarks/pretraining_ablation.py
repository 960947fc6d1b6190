"""What masking spans and the span boundary objective bring: the paper's ablation, made small.

    python benchmarks/pretraining_ablation.py [--steps 150] [--seeds 2] [--questions 2500]
        [--folder runs/ablation]

From the same start, the MiniLM weights with new heads, an encoder is pretrained on enwiki for equal
numbers of tokens with each scheme: word pieces (`subword`), whole words, spans, and spans with the
span boundary objective.  It is judged by the held-out loss of its masked language model, under its
own masks and under those of word pieces, and by extractive question answering
(`extractive_qa.py`).  Seeds change the order of the text, the masks, the new heads and the order of
the questions; `none` is the start itself.

What is done is kept in the folder: the same command goes on where it was stopped.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _extractive_qa import LEARNING_RATE, EncodedQuestions, encode, judge, read_questions
from _support import data_folder, machine

from spanbert_tf import SpanBertBackbone, SpanBertPretrainer
from spanbert_tf.atomic import atomic_file
from spanbert_tf.convert import bundled_minilm, load_hugging_face
from spanbert_tf.corpus_commands import make_tokenizer
from spanbert_tf.data.corpus import prepare_corpus
from spanbert_tf.data.preparation import Preparation
from spanbert_tf.settings import Bookkeeping, Pretraining
from spanbert_tf.training.pretraining import pretrain
from spanbert_tf.training.pretraining_start import make_batches
from spanbert_tf.training.steps import Steps, figures
from spanbert_tf.training.workers import Workers
from spanbert_tf.vocabulary import read_vocabulary

DTYPE = "mixed_bfloat16"
SCHEMES: dict[str, dict[str, Any]] = {
    "subword": {"scheme": "subword", "objective": "mlm", "replacement": "piece"},
    "whole word": {"scheme": "whole_word", "objective": "mlm", "replacement": "piece"},
    "spans": {"scheme": "spans", "objective": "mlm"},
    "spans + SBO": {"scheme": "spans", "objective": "mlm+sbo"},
}
START = "none"
VALIDATION_BATCHES = 25


def make_corpus(folder: Path) -> Path:
    """Prepares enwiki with the vocabulary of MiniLM; what is there already stays."""
    prepare_corpus(
        [data_folder() / "pretrain_en"],
        folder / "corpus",
        read_vocabulary(bundled_minilm() / "vocab.txt"),
        make_tokenizer,
        lowercase=True,
        settings=Preparation(sequence_length=256, shard_bytes=4 * 2**20),
    )
    return folder / "corpus"


def pretrained(corpus: Path, output: Path, scheme: str, steps: int, seed: int) -> Path:
    """Pretrains, or goes on with it, and gives the preset."""
    preset = output / "preset"
    if not preset.exists():
        settings = Pretraining(
            **SCHEMES[scheme],
            **{"steps": steps, "token_budget": 8192, "learning_rate": 5e-4, "seed": seed},
            **{"warmup_proportion": 0.1, "dropout": 0.0, "max_targets": 10, "dtype": DTYPE},
        )
        each = Bookkeeping(checkpoint_steps=50, validation_steps=steps, keep=1)
        write = lambda line: print(f"  {line}", file=sys.stderr, flush=True)  # noqa: E731
        encoder = bundled_minilm()
        pretrain(settings, corpus, encoder=encoder, output=output, bookkeeping=each, write=write)
    return preset


def held_out_losses(corpus: Path, preset: Path, scheme: str) -> dict[str, float]:
    """Losses on the held-out shard: under the encoder's own masks, and under those of pieces."""
    pretrainer = SpanBertPretrainer.from_preset(str(preset), dtype=DTYPE)
    pretrainer.compile()
    losses = {}
    for name, masks in (("own", scheme), ("subword", "subword")):
        settings = Pretraining(
            **SCHEMES[masks] | {"objective": SCHEMES[scheme]["objective"]},
            **{"token_budget": 8192, "max_targets": 10},
        )
        _, validation = make_batches(settings, corpus, pretrainer, Workers(), False)
        assert validation is not None
        held_out = validation.dataset(endless=False).take(VALIDATION_BATCHES)
        steps = Steps(pretrainer, Workers(), held_out.element_spec)
        logs = figures(steps.validate(held_out), pretrainer.objectives)
        losses[f"mlm_{name}"] = logs["mlm_loss"]
        if name == "own" and "sbo_loss" in logs:
            losses["sbo"] = logs["sbo_loss"]
    return losses


def measure(
    arguments: argparse.Namespace,
    corpus: Path,
    questions: tuple[EncodedQuestions, EncodedQuestions],
    scheme: str,
    seed: int,
) -> dict[str, float]:
    """Pretrains one encoder and judges it; takes what an earlier call has kept."""
    output = arguments.folder / f"{scheme.replace(' ', '_')}-{seed}"
    kept = arguments.folder / f"{output.name}.json"
    key = {"steps": arguments.steps, "questions": arguments.questions}
    if kept.exists():
        known = json.loads(kept.read_text())
        if known["key"] == key:
            return known["result"]
    begun = time.monotonic()
    result: dict[str, float] = {}
    if scheme == START:
        backbone, _ = load_hugging_face(bundled_minilm(), dtype=DTYPE)
    else:
        preset = pretrained(corpus, output, scheme, arguments.steps, seed)
        result |= held_out_losses(corpus, preset, scheme)
        backbone = SpanBertBackbone.from_preset(str(preset), dtype=DTYPE)
    judged = asdict(judge(backbone, *questions, seed, LEARNING_RATE))
    result |= {"em": judged["exact_match"], "f1": judged["f1"]}
    result["minutes"] = (time.monotonic() - begun) / 60
    with atomic_file(kept) as path:
        path.write_text(json.dumps({"key": key, "result": result}))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150, help="of 8,192 tokens each")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--questions", type=int, default=2500)
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"), flush=True)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    corpus = make_corpus(arguments.folder)
    tokenizer = make_tokenizer(read_vocabulary(corpus / "vocab.txt"), True)
    train, test = (
        encode(read_questions(data_folder() / "qa" / name, arguments.questions), tokenizer)
        for name in ("new_wiki_v1.0.json", "squad2_articles.json")
    )
    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(arguments.seeds):
        for scheme in (START, *SCHEMES):
            result = measure(arguments, corpus, (train, test), scheme, seed)
            results.setdefault(scheme, []).append(result)
            shown = ", ".join(f"{name} {value:.3f}" for name, value in result.items())
            print(f"{scheme}, seed {seed}: {shown}", flush=True)
    columns = ("mlm_own", "mlm_subword", "sbo", "em", "f1", "minutes")
    print(
        f"\n{arguments.steps * 8192 / 1e6:.1f} M tokens each, {arguments.questions} questions; "
        f"mean (and range) of {arguments.seeds} seeds"
    )
    print(f"{'scheme':<14}" + "".join(f"{name:>18}" for name in columns))
    for scheme, of_seeds in results.items():
        print(f"{scheme:<14}" + "".join(f"{_cell(of_seeds, name):>18}" for name in columns))


def _cell(results: list[dict[str, float]], name: str) -> str:
    values = [result[name] for result in results if name in result]
    return f"{np.mean(values):.3f} ({np.ptp(values):.3f})" if values else ""


if __name__ == "__main__":
    main()
