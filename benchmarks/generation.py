"""Translation: multi30k, English to German, here and in transformers, trained at the same time.

    python benchmarks/generation.py [--minutes 90] [--seed 0] [--pairs N]

Both sides are 3 + 3 layers x 256, post-norm, with a joint vocabulary of 8,000 cased pieces learned
on the training texts, and begin with random weights: ours is `SpanBertSeq2SeqLM`, theirs
`EncoderDecoderModel` of two BERTs on PyTorch, whose decoder has BERT's own dense layer before the
logits and shares its embedding with the encoder.  Batches of 64 pairs of like length, AdamW,
warm-up and then the inverse square root of the step, label smoothing 0.1, dropout 0.1, clipping at
1.  Each side trains for the same minutes, at the same time as the other, in a process of its own on
half of the cores; then they write in turn, each on its half.  Scores are sacrebleu's, cased, on the
validation texts as they are written.  Tokens a second are pieces of both texts in training, pieces
written in generation, without padding and special tokens; theirs is batched and sorted by length,
too.  `--pairs` takes so many.
"""

import argparse
import gzip
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _recipes import shuffled_batches
from _support import Goal, data_folder, machine, report_goals

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertSeq2SeqLM,
    SpanBertSeq2SeqLMPreprocessor,
    SpanBertTokenizer,
)
from spanbert_tf.data.corpus.vocabulary_training import train_vocabulary
from spanbert_tf.metrics.generation import generation_scores
from spanbert_tf.models.optimizers import default_optimizer

PIECES, LAYERS, HEADS, HIDDEN, INTERMEDIATE = 8000, 3, 4, 256, 1024
SOURCE_LENGTH, TARGET_LENGTH = 64, 64
BATCH_SIZE, RATE, WARM_UP, SMOOTHING, DROPOUT = 64, 1e-3, 1000, 0.1, 0.1
GENERATION_BATCH, BEAMS, LENGTH_PENALTY = 64, 5, 0.6
BLEU_GOAL, TRAINING_GOAL, GENERATION_GOAL = 33.0, 2.0, 2.0

Texts = tuple[list[str], list[str]]


@dataclass
class Side:
    """One side once it is trained.

    Attributes:
        speed: Tokens a second of its training.
        translate: Texts to texts, with so many beams.
    """

    speed: float
    translate: Callable[[list[str], int], list[str]]


def read(part: str, pairs: int | None) -> Texts:
    """English and German texts."""
    folder = data_folder() / "multi30k"
    english, german = (
        gzip.decompress((folder / f"{part}.{language}.gz").read_bytes()).decode().splitlines()
        for language in ("en", "de")
    )
    return english[:pairs], german[:pairs]


def learn_vocabulary(texts: Texts) -> list[str]:
    """Word pieces of both languages."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.txt"
        file.write_text("\n".join([*texts[0], *texts[1]]), "utf-8")
        return train_vocabulary([file], PIECES)


@keras.saving.register_keras_serializable("benchmarks")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule of Vaswani et al. (2017), which needs no number of steps."""

    def __call__(self, step: Any) -> Any:
        """Gives the learning rate of a step, counted from 0."""
        return RATE * rate_factor(keras.ops.cast(step, "float32") + 1.0, keras.ops.minimum)


def rate_factor(step: Any, least: Callable[[Any, Any], Any]) -> Any:
    return least(step / WARM_UP, (WARM_UP / step) ** 0.5)


class Clock(keras.callbacks.Callback):
    """Stops the training when its time is over."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.steps = 0
        self.begun = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the clock."""
        self.steps += 1
        if time.perf_counter() - self.begun > self.seconds:
            self.model.stop_training = True


def ours(train: Texts, vocabulary: list[str], minutes: float, seed: int) -> Side:
    """This package's side."""
    keras.utils.set_random_seed(seed)
    tokenizer = SpanBertTokenizer(vocabulary)
    backbone = SpanBertBackbone(
        len(vocabulary),
        LAYERS,
        HEADS,
        HIDDEN,
        INTERMEDIATE,
        dropout=DROPOUT,
        max_sequence_length=SOURCE_LENGTH,
    )
    model = SpanBertSeq2SeqLM(
        backbone,
        SpanBertSeq2SeqLMPreprocessor(tokenizer, sequence_length=SOURCE_LENGTH),
        num_layers=LAYERS,
        target_length=TARGET_LENGTH,
        label_smoothing=SMOOTHING,
        dropout=DROPOUT,
        search={"length_penalty": LENGTH_PENALTY},
    )
    model.compile(default_optimizer(InverseSquareRoot()))
    clock = Clock(minutes * 60)
    begun = time.perf_counter()
    # Keras ends an epoch whose training stops, and none follows.
    model.fit(*train, batch_size=BATCH_SIZE, epochs=1000, callbacks=[clock], seed=seed, verbose=0)
    seconds = time.perf_counter() - begun
    rows = clock.steps * BATCH_SIZE
    pieces = sum(int(tokenizer(texts).row_lengths().numpy().sum()) for texts in train)

    def translate(texts: list[str], beams: int) -> list[str]:
        answers = model.generate(texts, batch_size=GENERATION_BATCH, num_beams=beams)
        return [answer.generated_text for answer in answers]

    return Side(pieces / len(train[0]) * rows / seconds, translate)


def theirs(train: Texts, vocabulary: list[str], minutes: float, seed: int) -> Side:
    """The same of transformers on PyTorch, at its best: batches of like length, fused AdamW."""
    import torch
    import transformers

    transformers.set_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.txt"
        file.write_text("".join(f"{piece}\n" for piece in vocabulary), "utf-8")
        tokenizer = transformers.BertTokenizerFast(str(file), do_lower_case=False)
    sizes = {
        "vocab_size": len(vocabulary),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": max(SOURCE_LENGTH, TARGET_LENGTH),
        "hidden_dropout_prob": DROPOUT,
        "attention_probs_dropout_prob": DROPOUT,
    }
    encoder = transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False)
    decoder = transformers.BertLMHeadModel(
        transformers.BertConfig(**sizes, is_decoder=True, add_cross_attention=True)
    )
    decoder.bert.embeddings.word_embeddings = encoder.embeddings.word_embeddings
    decoder.tie_weights()
    model = transformers.EncoderDecoderModel(encoder=encoder, decoder=decoder)
    special = {"pad": tokenizer.pad_token_id, "eos": tokenizer.sep_token_id}
    start = tokenizer.cls_token_id
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id = start
        config.pad_token_id, config.eos_token_id = special["pad"], special["eos"]

    ids = [
        tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        for texts, length in zip(train, (SOURCE_LENGTH, TARGET_LENGTH), strict=True)
    ]
    lengths = [len(row) for row in ids[0]]
    optimizer = torch.optim.AdamW(model.parameters(), RATE, eps=1e-8, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: rate_factor(n + 1, min))

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        tensors = [torch.tensor(row) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    model.train()
    tokens, epoch, begun = 0, 0, time.perf_counter()
    while time.perf_counter() - begun < minutes * 60:
        generator = np.random.default_rng([seed, epoch])
        for batch in shuffled_batches(lengths, BATCH_SIZE, generator):
            source, target = ([of[row] for row in batch] for of in ids)
            source_ids, labels = padded(source, special["pad"]), padded(target, special["pad"])
            logits = model(
                input_ids=source_ids,
                attention_mask=(source_ids != special["pad"]).long(),
                decoder_input_ids=labels[:, :-1],
            ).logits
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1),
                labels[:, 1:].flatten(),
                ignore_index=special["pad"],
                label_smoothing=SMOOTHING,
            ).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            tokens += sum(len(row) - 2 for row in (*source, *target))
            if time.perf_counter() - begun > minutes * 60:
                break
        epoch += 1
    seconds = time.perf_counter() - begun

    @torch.inference_mode()
    def translate(texts: list[str], beams: int) -> list[str]:
        model.eval()
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        written: dict[int, str] = {}
        for at in range(0, len(order), GENERATION_BATCH):
            numbers = order[at : at + GENERATION_BATCH]
            inputs = tokenizer(
                [texts[n] for n in numbers],
                truncation=True,
                max_length=SOURCE_LENGTH,
                padding=True,
                return_token_type_ids=False,
                return_tensors="pt",
            )
            found = model.generate(
                **inputs, num_beams=beams, do_sample=False, max_new_tokens=TARGET_LENGTH - 1
            )
            decoded = tokenizer.batch_decode(
                found, skip_special_tokens=True, clean_up_tokenization_spaces=True
            )
            written |= dict(zip(numbers, decoded, strict=True))
        return [written[number] for number in range(len(texts))]

    return Side(tokens / seconds, translate)


SIDES = {"ours": ours, "transformers": theirs}


def answer(asked: Connection, name: str, train: Texts, *arguments: Any) -> None:
    """What a side's process does: trains, says how fast, and translates what it is sent."""
    if name != "ours":
        import torch
        import transformers

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        transformers.utils.logging.set_verbosity_error()
    side = SIDES[name](train, *arguments)
    asked.send(side.speed)
    with suppress(EOFError):  # Nobody asks any more.
        while True:
            texts, beams = asked.recv()
            begun = time.perf_counter()
            written = side.translate(texts, beams)
            asked.send((written, time.perf_counter() - begun))


def start(name: str, cores: set[int], *arguments: Any) -> Connection:
    """Starts a side's process on some cores, which it is born with; it ends with this one."""
    ours, its = multiprocessing.Pipe()
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    process = multiprocessing.get_context("spawn").Process(
        target=answer, args=(its, name, *arguments), daemon=True
    )
    process.start()
    os.sched_setaffinity(0, all_cores)
    its.close()  # So that the end of the process is the end of what it sends.
    return ours


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=90, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, help="the first ones alone, for a trial")
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras", "torch", "transformers", "sacrebleu"))
    train, validation = (read(part, arguments.pairs) for part in ("train", "val"))
    vocabulary = learn_vocabulary(train)
    tokenizer = SpanBertTokenizer(vocabulary)
    cores = sorted(os.sched_getaffinity(0))
    print(
        f"{len(train[0]):,} pairs to train on for {arguments.minutes:g} minutes, "
        f"{len(validation[0]):,} to translate, {len(vocabulary):,} pieces"
    )
    print(
        f"{'side':<14}{'training':>12}{'beams':>7}{'writing':>12}{'BLEU':>8}{'chrF':>8}  tokens/s",
        flush=True,
    )
    sides = {
        name: start(name, of, train, vocabulary, arguments.minutes, arguments.seed)
        for name, of in zip(SIDES, (set(cores[::2]), set(cores[1::2] or cores)), strict=True)
    }
    speeds = {(name, 0): side.recv() for name, side in sides.items()}
    bleu: dict[str, float] = {}
    for name, side in sides.items():
        for beams in (1, BEAMS):
            for _ in range(2):  # The first time it traces its graphs.
                side.send((validation[0], beams))
                texts, seconds = side.recv()
            speeds[name, beams] = int(tokenizer(texts).row_lengths().numpy().sum()) / seconds
            scores = generation_scores(texts, validation[1])
            bleu[name] = scores["bleu"]
            print(
                f"{name:<14}{speeds[name, 0]:>12,.0f}{beams:>7}{speeds[name, beams]:>12,.0f}"
                f"{scores['bleu']:>8.2f}{scores['chrf']:>8.2f}",
                flush=True,
            )
    ratios = [speeds["ours", of] / speeds["transformers", of] for of in (0, 1, BEAMS)]
    return report_goals(
        [
            Goal("multi30k en-de, BLEU with 5 beams", bleu["ours"], BLEU_GOAL, "{:.2f}"),
            Goal(
                "multi30k en-de, BLEU less that of transformers",
                bleu["ours"] - bleu["transformers"],
                0.0,
                "{:+.2f}",
            ),
            Goal("multi30k en-de, tokens a second of training", ratios[0], TRAINING_GOAL),
            Goal("multi30k en-de, tokens a second written, greedy", ratios[1], GENERATION_GOAL),
            Goal("multi30k en-de, tokens a second written, 5 beams", ratios[2], GENERATION_GOAL),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
