"""Goes on pretraining an encoder by span selection, beside spans and the span boundary objective.

    python span_selection.py PRESET OUTPUT [--questions 40000] [--learning-rate 1e-4]

Rows are `[CLS] query [SEP] passage [SEP]` with segments 0 and 1, as in question answering; queries
are sentences of enwiki with a blank, passages hold what fills it (`_cloze_questions.py`).  Three
losses are added: the cross-entropy of the answer's first and last piece, of a dense layer that is
then thrown away; and, of a twentieth of the row's pieces, in masked spans, those of the masked
language model and of the span boundary objective, so that the heads stay what they are.

PRESET is a pretrainer's.  AdamW with BERT's settings, batches of 32, warm-up over a tenth of the
steps, mixed bfloat16, no dropout.  The pretrainer is written to OUTPUT every ten minutes, and at
the end.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Questions are encoded as the benchmark that judges encoders does it.
sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[2] / "benchmarks"))

import keras
import numpy as np
import tensorflow as tf
from _cloze_questions import cloze_questions, read_articles
from _extractive_qa import WINDOW, encode
from _support import data_folder, machine
from keras import ops

from spanbert_tf import SpanBertPretrainer, SpanBertTokenizer, SpanMasking
from spanbert_tf.atomic_files import atomic_folder
from spanbert_tf.data.batching.pipeline import BucketedBatches
from spanbert_tf.data.corpus.blocks import starts_word
from spanbert_tf.data.readers.questions import Question
from spanbert_tf.features import PADDING_MASK, SPAN_FEATURES, TOKEN_IDS
from spanbert_tf.layers.kernels.cross_entropy import cross_entropy
from spanbert_tf.layers.kernels.gathering import take_positions
from spanbert_tf.layers.pretraining_heads import span_targets
from spanbert_tf.models.optimizers import default_optimizer
from spanbert_tf.training.schedules import WarmUpLinearDecay

BATCH, BUDGET, WARMUP = 32, 0.05, 0.1
NUM_BUCKETS = 8  # A shape more is half a second of XLA.
SAVE_MINUTES, LOG_STEPS = 10, 25
LOSSES = ("select", "mlm", "sbo")


def make_questions(count: int, seed: int) -> list[Question]:
    """Makes so many questions from all articles alike, in random order."""
    generator = np.random.default_rng(seed)
    files = sorted((data_folder() / "pretrain_en").glob("*.txt.gz"))
    articles = list(read_articles(files))
    # Not every article has as many, so a few more are asked for.
    most = -(-count * 5 // (4 * len(articles)))
    questions = [q for article in articles for q in cloze_questions(article, generator, most)]
    return [questions[number] for number in generator.permutation(len(questions))[:count]]


class Selection:
    """A pretrainer with a head for selection, and the step that trains both."""

    def __init__(self, pretrainer: SpanBertPretrainer, schedule: Any) -> None:
        self.pretrainer = pretrainer
        self.head = keras.layers.Dense(
            2, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02), dtype="float32"
        )
        self.head.build((None, None, pretrainer.backbone.hidden_dim))
        self.variables = [*pretrainer.trainable_variables, *self.head.trainable_variables]
        self.optimizer = default_optimizer(schedule)
        self.optimizer.build(self.variables)

    def losses(self, features: dict[str, Any], targets: Any) -> list[Any]:
        """The three losses of a batch, means over their targets."""
        backbone = self.pretrainer.backbone
        inputs = {name: features[name] for name in backbone.input}
        states = backbone(inputs, training=True)["sequence_output"]
        logits = ops.transpose(self.head(states), (0, 2, 1))  # [b, 2, s]
        logits -= 1e9 * (1.0 - ops.cast(features[PADDING_MASK.name], "float32"))[:, None, :]
        select = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)

        positions = features["mask_positions"]
        spans = [features[feature.name] for feature in SPAN_FEATURES]
        boundary = span_targets(*spans, ops.shape(positions)[1])
        left, right = (take_positions(states, at) for at in (boundary.left, boundary.right))
        masked = self.pretrainer.mlm_head(take_positions(states, positions), training=True)
        of_span = self.pretrainer.sbo_head(left, right, boundary.offsets, training=True)
        return [
            ops.mean(select),
            _mean_loss(masked, features["mask_ids"], features["mask_weights"]),
            _mean_loss(of_span, boundary.ids, boundary.weights),
        ]

    @tf.function(autograph=False, reduce_retracing=True)
    def step(self, features: dict[str, tf.Tensor], targets: tf.Tensor) -> list[tf.Tensor]:
        """Updates all weights; gives the losses."""
        with tf.GradientTape() as tape:
            losses = self.losses(features, targets)
            loss = sum(losses)
        gradients = tape.gradient(loss, [variable.value for variable in self.variables])
        self.optimizer.apply(gradients, self.variables)
        return losses


def _mean_loss(logits: Any, ids: Any, weights: Any) -> Any:
    flat = ops.reshape(logits, (-1, logits.shape[-1]))
    losses, _ = cross_entropy(flat, ops.reshape(ids, (-1,)))
    weights = ops.reshape(weights, (-1,))
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)


def make_batches(
    questions: list[Question], tokenizer: SpanBertTokenizer, max_targets: int, seed: int
) -> tuple[tf.data.Dataset, int, int]:
    """Makes masked batches; gives also how many there are, and their tokens."""
    vocabulary = tokenizer.get_vocabulary()
    marked = SpanBertTokenizer(
        vocabulary,
        tokenizer.lowercase,
        special_tokens_in_strings=True,
        added_tokens=tokenizer.added_tokens,
    )
    batches = BucketedBatches.from_rows(
        encode(questions, marked),
        tokenizer=marked,
        sequence_length=WINDOW,
        batch_size=BATCH,
        num_buckets=NUM_BUCKETS,
        seed=seed,
    )
    masking = SpanMasking(
        len(vocabulary),
        tokenizer.mask_token_id,
        tokenizer.special_token_ids,
        budget=BUDGET,
        max_targets=max_targets,
    )
    is_start = tf.constant(starts_word(vocabulary), tf.int32)

    def mask(number: tf.Tensor, batch: Any) -> Any:
        features, targets = batch
        starts = tf.gather(is_start, features[TOKEN_IDS.name]) * features[PADDING_MASK.name]
        seeds = tf.stack([tf.constant(seed, tf.int32), tf.cast(number, tf.int32)])
        return masking({**features, "word_starts": starts}, seed=seeds), targets

    dataset = batches.dataset().enumerate().map(mask).prefetch(2)
    return dataset, len(batches.plan()), int(batches.lengths.sum())


def save(pretrainer: SpanBertPretrainer, output: Path) -> None:
    with atomic_folder(output, overwrite=True) as folder:
        pretrainer.save_to_preset(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--questions", type=int, default=40_000)
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="the peak")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    print(machine("tensorflow", "keras"), flush=True)
    keras.utils.set_random_seed(arguments.seed)
    pretrainer = SpanBertPretrainer.from_preset(
        str(arguments.preset), dtype="mixed_bfloat16", dropout=0.0
    )
    questions = make_questions(arguments.questions, arguments.seed)
    tokenizer = pretrainer.preprocessor.tokenizer
    dataset, steps, tokens = make_batches(
        questions, tokenizer, pretrainer.max_targets, arguments.seed
    )
    print(f"{len(questions):,} questions, {tokens:,} tokens, {steps:,} steps", flush=True)
    schedule = WarmUpLinearDecay(arguments.learning_rate, steps, round(WARMUP * steps))
    selection = Selection(pretrainer, schedule)
    begun = saved = time.monotonic()
    losses: list[np.ndarray] = []
    for number, (features, targets) in enumerate(dataset, 1):
        losses.append(np.array([float(x) for x in selection.step(features, targets)]))
        if number % LOG_STEPS == 0 or number == steps:
            shown = zip(LOSSES, np.mean(losses[-LOG_STEPS:], axis=0), strict=True)
            line = ", ".join(f"{name} {value:.3f}" for name, value in shown)
            speed = tokens * number / steps / (time.monotonic() - begun)
            print(f"step {number}: {line}; {speed:,.0f} tokens/s", flush=True)
        if time.monotonic() - saved > SAVE_MINUTES * 60:
            save(pretrainer, arguments.output)
            saved = time.monotonic()
    save(pretrainer, arguments.output)


if __name__ == "__main__":
    main()
