"""Pretrains MiniLM's encoder on one accelerator under JAX, and runs the ablation of schemes.

    python jax_exchange.py pack INPUT
    python jax_pretraining.py INPUT OUTPUT [--seconds 540] [--peaks 2e-4 5e-4 1e-3] [--quick]
    python jax_exchange.py preset OUTPUT
    python jax_exchange.py table OUTPUT

The second needs JAX and KerasHub, not TensorFlow, and can run on another machine; folders hold all
that travels.  It spends the seconds it is given as follows.

1. The start, MiniLM with new heads, answers questions (`benchmarks/extractive_qa.py` states how;
   here windows are of one padded length, in any order).
2. Each peak of the learning rate pretrains an encoder for a short while; the one whose encoder
   answers best is taken for all that follows.
3. The encoder: spans and the span boundary objective, for as many tokens as the time allows.
4. The ablation: from one start with each scheme, for the same number of tokens, with two seeds.

Every pretraining begins with heads alone, as they are new and MiniLM has never seen a [MASK]: a
twentieth of its steps at 1e-3.  Then all weights learn, the rate rising for a twentieth of the
steps and falling linearly to 0.  A step takes 128 rows of up to 256 tokens; no dropout.

Weights leave as float16.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[2]))  # Not installed there.

import _jax_training as training
import jax
import jax.numpy as jnp
import keras
import numpy as np
from _jax_training import FIGURES, Network, Rows, Training, Windows

from spanbert_tf.layers.masking.span_masking import SpanMasking

SCHEMES: dict[str, tuple[dict[str, Any], float]] = {
    "subword": ({"scheme": "subword", "replacement": "piece"}, 0.0),
    "whole word": ({"scheme": "whole_word", "replacement": "piece"}, 0.0),
    "spans": ({"scheme": "spans"}, 0.0),
    "spans + SBO": ({"scheme": "spans"}, 1.0),
}
OURS = "spans + SBO"
MAX_TARGETS = 10
BATCH, CALL_STEPS = 128, 50  # rows of a step, steps of a call
QUICK_BATCH, QUICK_CALL_STEPS = 4, 2
HEAD_RATE, HEADS_ALONE, WARMUP = 1e-3, 0.05, 0.05
QUESTION_BATCH, QUESTION_RATE, QUESTION_WARMUP, DROPOUT = 32, 1e-4, 0.1, 0.1
HELD_OUT_BATCHES = 8
SEEDS = 2
PARTS = 4  # files that the weights leave in
SPARE = 12  # seconds kept for writing


def warm_up_linear_decay(steps: int, peak: float, rising: int) -> np.ndarray:
    """Rates `[steps]` of the package's `WarmUpLinearDecay`, whose module needs TensorFlow."""
    number = np.arange(1, steps + 1)
    rising = max(rising, 1)
    return peak * np.minimum(number / rising, (steps + 1 - number) / (steps + 1 - rising))


def rates(steps: int, peak: float) -> np.ndarray:
    """Learning rates `[steps, 2]`, of the heads and of all else; see above."""
    alone = round(HEADS_ALONE * steps)
    both = warm_up_linear_decay(steps - alone, peak, round(WARMUP * steps))
    heads = np.concatenate([np.full(alone, HEAD_RATE), both])
    return np.stack([heads, np.concatenate([np.zeros(alone), both])], axis=1).astype("float32")


class Machine:
    """What stays on the accelerator from one run to the next: data and compiled programs."""

    def __init__(self, folder: Path, quick: bool) -> None:
        given = np.load(folder / "corpus.npz")
        weights = np.load(folder / "weights.npz")
        # Upper halves of float32, which is what bfloat16 is.
        self.start = {path: _from_upper_half(weights[path]) for path in weights.files}
        sizes = json.loads((folder / "sizes.json").read_text())
        self.network = Network(sizes["encoder"], MAX_TARGETS, dropout=0.0)
        self.answering_network = Network(sizes["encoder"], MAX_TARGETS, dropout=DROPOUT)
        self.rows = _rows(given["train_ids"], given["train_lengths"], sizes)
        self.held_out = _rows(given["held_out_ids"], given["held_out_lengths"], sizes)
        questions = np.load(folder / "questions.npz")
        self.train, self.test = (_windows(questions, part, sizes) for part in ("train", "test"))
        self.batch, self.steps_a_call = BATCH, CALL_STEPS
        if quick:
            self.batch, self.steps_a_call = QUICK_BATCH, QUICK_CALL_STEPS
        starts = jnp.asarray(given["word_starts"], "int32")
        self.maskings = {
            name: training.masking_call(
                SpanMasking(
                    sizes["encoder"]["vocabulary_size"],
                    sizes["mask_token_id"],
                    sizes["special_token_ids"],
                    random_token_weights=given["piece_counts"],
                    max_targets=MAX_TARGETS,
                    **options,
                ),
                starts,
            )
            for name, (options, _) in SCHEMES.items()
        }
        self.tokens_a_row = float(given["train_lengths"].mean())
        self.pretrain_call = training.pretraining_call(self.network)
        self.validate_call = training.validation_call(self.network)
        self.answer_call = training.answering_call(self.answering_network)
        self.predict_call = training.prediction_call(self.answering_network)
        held_out = np.arange(HELD_OUT_BATCHES * self.batch) % len(self.held_out.lengths)
        self.held_out_batches = held_out.reshape(HELD_OUT_BATCHES, self.batch)
        self.question_steps = 2 if quick else len(self.train.begins) // QUESTION_BATCH
        self.test_windows = 2 * self.batch if quick else len(self.test.begins)
        filled = np.arange(-(-self.test_windows // self.batch) * self.batch) % self.test_windows
        self.test_batches = filled.reshape(-1, self.batch).astype("int32")
        self.test_numbers = questions["test_numbers"][: self.test_windows]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda work: work(), [self._warm_pretraining, self._warm_answering]))

    def _warm_pretraining(self) -> None:
        state = Training.begin(self.network.values(self.start, 0))
        numbers = np.zeros((self.steps_a_call, self.batch), "int32")
        for name in SCHEMES:
            features = self._masked(name, self.rows, numbers, 0, 0)
        zeros = jnp.zeros((self.steps_a_call, 2))
        state, figures = self.pretrain_call(state, features, zeros, 1.0)
        self.held_out_figures(state.values, OURS)
        figures.block_until_ready()

    def _warm_answering(self) -> None:
        self.answers(self.network.values(self.start, 0), 0)

    def _masked(
        self, scheme: str, rows: Rows, numbers: np.ndarray, seed: int, first_step: int
    ) -> Any:
        steps = np.arange(first_step, first_step + len(numbers))
        seeds = np.stack([np.full_like(steps, seed), steps], axis=1).astype("int32")
        return self.maskings[scheme](rows, jnp.asarray(numbers, "int32"), seeds)

    def pretrain(self, scheme: str, steps: int, peak: float, seed: int, say: Any) -> list[Any]:
        """Pretrains from the start for a multiple of the steps of a call; gives the values."""
        generator = np.random.default_rng(seed)
        state = Training.begin(self.network.values(self.start, seed))
        schedule = rates(steps, peak)
        order = np.empty(0, "int64")
        begun, report = time.monotonic(), max(steps // self.steps_a_call // 10, 1)
        for call, first in enumerate(range(0, steps, self.steps_a_call), 1):
            wanted = self.steps_a_call * self.batch
            if len(order) < wanted:
                order = np.concatenate([order, generator.permutation(len(self.rows.lengths))])
            numbers, order = np.split(order, [wanted])
            features = self._masked(
                scheme, self.rows, numbers.reshape(-1, self.batch), seed + 1, first
            )
            state, figures = self.pretrain_call(
                state,
                features,
                schedule[first : first + self.steps_a_call],
                SCHEMES[scheme][1],
            )
            if call % report == 0:
                shown = np.asarray(figures).mean(axis=0)  # Waits.
                tokens = (first + self.steps_a_call) * self.batch * self.tokens_a_row
                speed = tokens / (time.monotonic() - begun)
                losses = ", ".join(
                    f"{name} {value:.3f}" for name, value in zip(FIGURES, shown, strict=True)
                )
                say(f"  step {first + self.steps_a_call}: {losses}; {speed:,.0f} tokens/s")
        jax.block_until_ready(state)
        return state.values

    def piece_f1(self, answers: dict[str, np.ndarray]) -> float:
        """F1 of pieces against the most frequent answer, in percent: strict, and quick to tell.

        A question whose best window lacks the answer counts as 0.
        """
        order = np.lexsort([-answers["score"], self.test_numbers])
        _, best = np.unique(self.test_numbers[order], return_index=True)
        best = order[best]
        begin, end = np.asarray(self.test.targets)[best].T
        first, last = answers["first"][best], answers["last"][best]
        shared = np.maximum(np.minimum(end, last) - np.maximum(begin, first) + 1, 0)
        return 100 * float(
            np.mean(np.where(begin > 0, 2 * shared / (end - begin + last - first + 2), 0))
        )

    def held_out_figures(self, values: list[Any], scheme: str) -> dict[str, float]:
        """`FIGURES` on held-out text, under the masks of a scheme, which are always the same."""
        features = self._masked(scheme, self.held_out, self.held_out_batches, 12345, 0)
        figures = np.asarray(self.validate_call(values, features))
        return dict(zip(FIGURES, map(float, figures), strict=True))

    def answers(self, values: list[Any], seed: int) -> dict[str, np.ndarray]:
        """Fine-tunes on questions and answers those of the test: best spans of its windows."""
        head = self.network.values({}, 1000 + seed)
        values = [
            fresh if path.startswith("span_logits") else value
            for path, value, fresh in zip(self.network.paths, values, head, strict=True)
        ]
        steps = self.question_steps
        numbers = np.random.default_rng(seed).permutation(len(self.train.begins))
        numbers = numbers[: steps * QUESTION_BATCH].reshape(steps, -1).astype("int32")
        schedule = warm_up_linear_decay(steps, QUESTION_RATE, round(QUESTION_WARMUP * steps))
        state, losses = self.answer_call(
            Training.begin(values),
            self.train,
            numbers,
            schedule.astype("float32"),
            np.int32(seed),
        )
        best = self.predict_call(state.values, self.test, self.test_batches)
        score, first, last = (np.asarray(x).reshape(-1)[: self.test_windows] for x in best)
        return {
            "score": score.astype("float32"),
            "first": first.astype("int16"),
            "last": last.astype("int16"),
            "loss": np.asarray(losses).mean(),
        }


def _from_upper_half(half: np.ndarray) -> np.ndarray:
    return (half.astype("uint32") << 16).view("float32")


def _padded(flat: np.ndarray, lengths: np.ndarray, sizes: dict[str, Any]) -> np.ndarray:
    is_token = np.arange(sizes["sequence_length"]) < lengths[:, None]
    ids = np.full(is_token.shape, sizes["pad_token_id"], "uint16")
    ids[is_token] = flat
    return ids


def _rows(flat: np.ndarray, lengths: np.ndarray, sizes: dict[str, Any]) -> Rows:
    return Rows(jnp.asarray(_padded(flat, lengths, sizes)), jnp.asarray(lengths))


def _windows(questions: Any, part: str, sizes: dict[str, Any]) -> Windows:
    names = ("ids", "lengths", "begins", "targets")
    flat, lengths, begins, targets = (questions[f"{part}_{name}"] for name in names)
    rows = _rows(flat, lengths, sizes)
    return Windows(rows, jnp.asarray(begins, "int32"), jnp.asarray(targets, "int32"))


class Results:
    """What is written as it comes: a log, answers and the weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.begun = time.monotonic()
        self.records: list[dict[str, Any]] = []
        self.answers: dict[str, np.ndarray] = {}

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun

    def say(self, line: str) -> None:
        """Prints a line and adds it to the log."""
        line = f"{self.seconds:6.1f} s  {line}"
        print(line, flush=True)
        with (self.folder / "log.txt").open("a") as file:
            file.write(line + "\n")

    def add(self, record: dict[str, Any], answers: list[dict[str, np.ndarray]]) -> None:
        """Writes what is known of an encoder, and its answers under one seed after the other."""
        for seed, of_seed in enumerate(answers):
            name = f"{record['name']}/{record['seed'] + seed}"
            self.answers |= {f"{name}/{key}": value for key, value in of_seed.items()}
        self.records.append(record)
        (self.folder / "records.json").write_text(json.dumps(self.records, indent=1))
        np.savez_compressed(self.folder / "answers.npz", **self.answers)
        self.say(json.dumps(record))

    def write_weights(self, network: Network, values: list[Any]) -> None:
        """Writes all weights as float16, in a few files."""
        flat = np.concatenate([np.asarray(v, "float16").reshape(-1) for v in values])
        for number, part in enumerate(np.array_split(flat, PARTS)):
            np.save(self.folder / f"weights-{number}.npy", part)
        shapes = {p: list(v.shape) for p, v in zip(network.paths, network.variables, strict=True)}
        (self.folder / "shapes.json").write_text(json.dumps(shapes))
        self.say("weights are written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--peaks", type=float, nargs="+", default=[2e-4, 5e-4, 1e-3])
    parser.add_argument("--quick", action="store_true", help="a few steps of each, to see it run")
    parser.add_argument("--trial-steps", type=int, default=600)
    parser.add_argument("--trials-only", action="store_true")
    parser.add_argument("--ablation-share", type=float, default=0.35, help="of the time after 2.")
    arguments = parser.parse_args()

    results = Results(arguments.output)
    device = jax.devices()[0]
    results.say(f"{device.device_kind}, JAX {jax.__version__}, Keras {keras.__version__}")
    machine = Machine(arguments.input, arguments.quick)
    results.say(
        f"compiled; {len(machine.rows.lengths):,} rows of {machine.tokens_a_row:.1f} tokens, "
        f"{machine.batch} a step; {len(machine.train.begins):,} windows to learn"
    )

    def judged(name: str, values: list[Any], seeds: int, first_seed: int = 0, **more: Any) -> float:
        begun = results.seconds
        answers = [machine.answers(values, first_seed + seed) for seed in range(seeds)]
        f1 = [machine.piece_f1(each) for each in answers]
        record = {"name": name, "seed": first_seed, "piece_f1": f1, **more}
        results.add({**record, "seconds": results.seconds - begun}, answers)
        return f1[0]

    def pretrained(
        name: str, scheme: str, steps: int, peak: float, seed: int
    ) -> tuple[list[Any], dict[str, Any]]:
        results.say(f"{name}: {scheme}, {steps} steps, peak {peak:g}, seed {seed}")
        begun = results.seconds
        values = machine.pretrain(scheme, steps, peak, seed, results.say)
        tokens = round(steps * machine.batch * machine.tokens_a_row)
        cost = {"tokens": tokens, "pretraining_seconds": results.seconds - begun}
        return values, {"steps": steps, "peak": peak, **cost}

    start = machine.network.values(machine.start, 0)
    judged("start", start, SEEDS)
    f1, step_seconds = {}, 0.0
    for peak in arguments.peaks:
        values, known = pretrained("trial", OURS, arguments.trial_steps, peak, 0)
        step_seconds = known["pretraining_seconds"] / arguments.trial_steps
        held_out = machine.held_out_figures(values, OURS)
        begun = results.seconds
        f1[peak] = judged(f"trial {peak:g}", values, 1, held_out=held_out, **known)
        judge_seconds = results.seconds - begun
    if arguments.trials_only:
        return

    def fitting(seconds: float) -> int:
        """Steps that fit in, as whole calls."""
        return max(int(seconds / step_seconds) // machine.steps_a_call, 1) * machine.steps_a_call

    peak = max(f1, key=lambda peak: f1[peak])
    left = arguments.seconds - results.seconds - SPARE
    of_ablation = arguments.ablation_share * left
    steps = fitting(left - of_ablation - SEEDS * judge_seconds)
    ablation_steps = fitting(of_ablation / (SEEDS * len(SCHEMES)) - judge_seconds)
    if arguments.quick:
        steps = ablation_steps = 2 * machine.steps_a_call
    values, known = pretrained("encoder", OURS, steps, peak, 0)
    results.write_weights(machine.network, values)
    held_out = machine.held_out_figures(values, OURS)
    judged("encoder", values, SEEDS, held_out=held_out, **known)

    for seed in range(SEEDS):
        for scheme in SCHEMES:
            values, known = pretrained("ablation", scheme, ablation_steps, peak, seed)
            own, pieces = (machine.held_out_figures(values, each) for each in (scheme, "subword"))
            figures = {"held_out": own, "held_out_subword": pieces}
            judged(f"ablation {scheme}", values, 1, seed, **figures, **known)
            if results.seconds > arguments.seconds - SPARE:
                results.say("the time is up")
                return
    results.say("done")


if __name__ == "__main__":
    main()
