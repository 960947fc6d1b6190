"""Question answering: trained by one recipe here and in transformers; speed and memory of answers.

    python benchmarks/question_answering.py [--only training squad2 speed long] [--seeds 3]
        [--rate 1e-4] [--limit N]

- `training`: one epoch of `qa/new_wiki`, then the answerable questions of `qa/squad2_articles`.
- `squad2`: one epoch of `qa/new_wiki` and 19 articles of `qa/squad2_articles`, the threshold of no
  answer chosen on a 20th, then all questions of the other five.
- `speed`: a question and a context of 700 words; 500 questions over 100 contexts.
- `long`: a context of up to 50,000 words, each size in a process of its own.

Ours is `finetune` on the shipped encoder, theirs `BertForQuestionAnswering` on MiniLM, which that
encoder started from, both with windows of 256 tokens that share 96, batches of 32 windows of like
length, AdamW, warm-up over a tenth of the steps, linear decay, clipping at 1; what they answer is
scored by the same call.  Tokens a second are real ones, without padding, of the training alone.
The pipeline is what transformers 4 had, restated, as transformers 5 has none; both sides read
windows of 384 tokens that share 128 there, its defaults.  `--limit` takes so many questions.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _extractive_qa import (
    BATCH_SIZE,
    LEARNING_RATE,
    STRIDE,
    TEST_FILE,
    TRAIN_FILE,
    WINDOW,
    columns_of,
    judge,
    sample,
)
from _peers import Peer, peers_python
from _recipes import Runs, add_resume
from _support import (
    Goal,
    data_folder,
    linearity,
    machine,
    median_ratio,
    peak_megabytes,
    peak_of_process,
    report_goals,
    time_in_turn,
)

from spanbert_tf import (
    SpanBertQuestionAnswerer,
    SpanBertQuestionAnswererPreprocessor,
    export_litert,
    export_task,
    load_backbone,
    load_task,
)
from spanbert_tf.data.readers.questions import Question, read_questions
from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.metrics.answers import answer_figures

PREDICTION_BATCH = 64
PIPELINE_WINDOW, PIPELINE_STRIDE = 384, 128
TEST_ARTICLES, VALIDATION_ARTICLES = 5, 1
WORDS = 700
LONG_WORDS = (10_000, 20_000, 30_000, 40_000, 50_000)
OURS, THEIRS = "ours", "transformers"


def ours(
    train: list[Question], validation: list[Question], test: list[Question], rate: float, seed: int
) -> tuple[dict[str, float], float]:
    """Figures on the test questions and real tokens a second of the training of this package."""
    result = judge(
        default_encoder(), train, test, validation=validation, seed=seed, learning_rate=rate
    )
    return result.figures, result.tokens_per_second


def theirs(
    train: list[Question], validation: list[Question], test: list[Question], rate: float, seed: int
) -> tuple[dict[str, float], float]:
    """The same of transformers on PyTorch."""
    import torch
    from peers._question_answering import QuestionAnswerer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    answerer = QuestionAnswerer(bundled_minilm(), WINDOW, STRIDE, seed)
    windows = answerer.windows(*columns_of(train))
    spans = [question.target for question in train]
    seconds, tokens = answerer.train(windows, spans, rate, BATCH_SIZE, seed)

    def figures(questions: list[Question], threshold: float) -> dict[str, float]:
        answers, none = answerer.answers(*columns_of(questions), PREDICTION_BATCH)
        gold = [[text for text, _ in question.answers] for question in questions]
        return answer_figures(answers, gold, none, threshold)

    threshold = figures(validation, np.inf)["best_f1_threshold"] if validation else np.inf
    return figures(test, threshold), tokens / seconds


def compare(
    name: str,
    train: list[Question],
    validation: list[Question],
    test: list[Question],
    arguments: argparse.Namespace,
) -> dict[str, np.ndarray]:
    """Trains both sides under each seed in turn; F1, EM and tokens a second, `[seeds, 3]` each."""
    print(
        f"{name}: {len(train)} questions to train on, {len(validation)} to choose the threshold "
        f"on, {len(test)} to answer, rate {arguments.rate:.0e}"
    )
    print(f"  {'side':<14}{'seed':>4}{'EM':>8}{'F1':>8}{'tokens/s':>10}  others", flush=True)
    results: dict[str, list[tuple[float, ...]]] = {OURS: [], THEIRS: []}
    runs = Runs(arguments.resume)
    for seed in range(arguments.seeds):
        for side, run in ((OURS, ours), (THEIRS, theirs)):
            of_run = partial(run, train, validation, test, arguments.rate, seed)
            figures, speed = runs(f"{name}, {side}, seed {seed}", of_run)
            f1, em = figures["f1"], figures["exact_match"]
            results[side].append((f1, em, speed))
            others = ", ".join(
                f"{key} {value:.2f}"
                for key, value in figures.items()
                if key not in ("f1", "exact_match")
            )
            print(f"  {side:<14}{seed:>4}{em:>8.2f}{f1:>8.2f}{speed:>10,.0f}  {others}", flush=True)
    return {side: np.array(of) for side, of in results.items()}


def training(arguments: argparse.Namespace) -> list[Goal]:
    train = read_questions(data_folder() / "qa" / TRAIN_FILE)
    test = [one for one in read_questions(data_folder() / "qa" / TEST_FILE) if one.answers]
    train, test = (sample(part, arguments.limit) for part in (train, test))
    figures = compare("qa/new_wiki", train, [], test, arguments)
    f1 = {side: of[:, 0].mean() for side, of in figures.items()}
    speed = median_ratio(figures[OURS][:, 2], figures[THEIRS][:, 2])
    return [
        Goal("one epoch of qa/new_wiki, F1", f1[OURS], 69.9, "{:.2f}"),
        Goal(
            "one epoch of qa/new_wiki, F1 less transformers'", f1[OURS] - f1[THEIRS], 10, "{:+.2f}"
        ),
        Goal("one epoch of qa/new_wiki, real tokens a second of training", speed, 1.8),
    ]


def squad2(arguments: argparse.Namespace) -> list[Goal]:
    """Articles are told apart by their place in the file, the last ones held out."""
    path = data_folder() / "qa" / TEST_FILE
    articles = json.loads(path.read_text("utf-8"))["data"]
    number_of = {
        qa["id"]: number
        for number, article in enumerate(articles)
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    }
    held_out = len(articles) - TEST_ARTICLES
    parts: dict[str, list[Question]] = {"train": [], "validation": [], "test": []}
    for question in read_questions(path):
        number = number_of[question.id]
        part = "test" if number >= held_out else "train"
        part = "validation" if held_out - VALIDATION_ARTICLES <= number < held_out else part
        parts[part].append(question)
    parts["train"] += read_questions(data_folder() / "qa" / TRAIN_FILE)
    train, validation, test = (sample(part, arguments.limit) for part in parts.values())
    figures = compare("SQuAD 2.0", train, validation, test, arguments)
    gain = figures[OURS][:, 0].mean() - figures[THEIRS][:, 0].mean()
    return [Goal("SQuAD 2.0, F1 less transformers'", gain, 8, "{:+.2f}")]


def make_answerer() -> SpanBertQuestionAnswerer:
    """One with a new head: what it answers is of no interest, how fast it does is."""
    backbone, tokenizer = load_backbone(default_encoder())
    preprocessor = SpanBertQuestionAnswererPreprocessor(tokenizer, PIPELINE_WINDOW, PIPELINE_STRIDE)
    return SpanBertQuestionAnswerer(backbone, preprocessor)


def speed(arguments: argparse.Namespace) -> list[Goal]:
    questions = read_questions(data_folder() / "qa" / TEST_FILE)
    of_context: dict[str, list[str]] = {}
    for one in questions:
        of_context.setdefault(one.context, []).append(one.question)
    pairs = [
        (question, context)
        for context, asked in [item for item in of_context.items() if len(item[1]) >= 5][:100]
        for question in asked[:5]
    ][: arguments.limit]
    words = " ".join(of_context).split()[:WORDS]
    workloads = {
        f"a question and {WORDS} words": ([questions[0].question], [" ".join(words)]),
        f"{len(pairs)} questions": tuple(map(list, zip(*pairs, strict=True))),
    }
    answerer = make_answerer()
    goals = []
    python = peers_python("transformers")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_task(answerer, folder / "1")
        export_litert(answerer, folder / "litert")
        tasks = {
            "ours, Keras": answerer.answer,
            "ours, SavedModel": load_task(folder / "1"),
            "ours, LiteRT": load_task(folder / "litert"),
        }
        for workload, columns in workloads.items():
            file = folder / "questions.json"
            file.write_text(json.dumps(columns), "utf-8")
            sides: dict[str, Callable[[], object]] = {
                side: lambda task=task, columns=columns: task(*columns)
                for side, task in tasks.items()
            }
            if python:
                sides |= {
                    f"transformers, {way}": Peer(
                        "question_answering_side.py",
                        *(bundled_minilm(), file, way, PIPELINE_WINDOW, PIPELINE_STRIDE),
                        python=python,
                    )
                    for way in ("pipeline", "batched")
                }
            is_one = len(columns[0]) == 1
            seconds = time_in_turn(sides, 30 if is_one else 3, 3 if is_one else 1)
            for side, of_rounds in seconds.items():
                print(
                    f"{workload:<28}{side:<24}{np.median(of_rounds) * 1e3:>12,.1f} ms", flush=True
                )
            goals += speed_goals(workload, seconds, is_one)
    return goals


def speed_goals(workload: str, seconds: dict[str, np.ndarray], is_one: bool) -> list[Goal]:
    """What the fastest of our ways must reach."""
    fastest = min(
        (side for side in seconds if side.startswith(OURS)), key=lambda s: np.median(seconds[s])
    )

    def ratio(way: str) -> float | None:
        peer = seconds.get(f"transformers, {way}")
        return None if peer is None else median_ratio(peer, seconds[fastest])

    if is_one:
        pipeline = ratio("pipeline")
        part = None if pipeline is None else 1 / pipeline
        return [Goal(f"{workload}, {fastest}, p50 against the pipeline", part, 0.4, at_most=True)]
    return [
        Goal(f"{workload}, {fastest}, against the pipeline", ratio("pipeline"), 3),
        Goal(f"{workload}, {fastest}, against batches in transformers", ratio("batched"), 1.4),
    ]


def answer_long(words: int) -> tuple[float, float]:
    """Answers a question of a context of so many words; peaks before and after, in MB."""
    contexts = dict.fromkeys(
        one.context for one in read_questions(data_folder() / "qa" / TEST_FILE)
    )
    of_file = " ".join(contexts).split()
    context = " ".join(of_file[number % len(of_file)] for number in range(words))
    answerer = make_answerer()
    answerer.answer("Who?", "Ada.")
    before = peak_megabytes()
    answerer.answer("When did the oil crisis begin?", context)
    return before, peak_megabytes()


def long(arguments: argparse.Namespace) -> list[Goal]:
    print(f"{'words':>8}{'before, MB':>12}{'peak, MB':>10}", flush=True)
    sizes = LONG_WORDS if arguments.limit is None else LONG_WORDS[:2]
    peaks = []
    for words in sizes:
        before, peak = peak_of_process(__file__, words)
        peaks.append(peak)
        print(f"{words:>8,}{before:>12,.0f}{peak:>10,.0f}", flush=True)
    squared = linearity(sizes, peaks)
    return [
        Goal("a long context, peak memory linear in words, R^2", squared, 0.99, "{:.4f}"),
        Goal(
            f"a context of {sizes[-1]:,} words, peak above the loaded model, MB",
            peaks[-1] - before,
            1500,
            "{:,.0f}",
            at_most=True,
        ),
    ]


PARTS = {"training": training, "squad2": squad2, "speed": speed, "long": long}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--limit", type=int, help="so many questions, to try it")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    add_resume(parser)
    arguments = parser.parse_args()
    if arguments.one:
        print(*answer_long(arguments.one))
        return 0
    print(machine("tensorflow", "keras", "torch", "transformers"))
    return report_goals([goal for part in arguments.only for goal in PARTS[part](arguments)])


if __name__ == "__main__":
    sys.exit(main())
