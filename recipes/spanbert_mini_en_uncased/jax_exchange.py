"""Packs what `jax_pretraining.py` needs, and makes a preset and a table of what it brings back.

    python jax_exchange.py pack INPUT
    python jax_exchange.py preset OUTPUT
    python jax_exchange.py table OUTPUT
    python jax_exchange.py losses INPUT [--encoder SAVED_MODEL]

`pack` prepares enwiki with MiniLM's vocabulary, in blocks of 256 tokens, and encodes the questions
that `benchmarks/extractive_qa.py` uses.  `preset` writes the encoder with its heads to
OUTPUT/preset, and `table` scores all answers as SQuAD 1.1 does.  `losses` measures an exported
pretrainer, by default the one that comes with the project, on the held-out blocks under spans that
are always the same.
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Questions are encoded as the benchmark that judges encoders does it.
sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[2] / "benchmarks"))

import numpy as np
import tensorflow as tf
from _extractive_qa import TEST_FILE, TRAIN_FILE, WINDOW, encode
from _support import data_folder

from spanbert_tf.checkpoints.convert import load_hugging_face_pretrainer
from spanbert_tf.checkpoints.saved_models import restore_encoder
from spanbert_tf.cli.prepare import make_tokenizer
from spanbert_tf.data.batching.pretraining import PretrainingBatches
from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.corpus.blocks import starts_word
from spanbert_tf.data.corpus.preparation import prepare_corpus
from spanbert_tf.data.corpus.settings import CorpusSettings
from spanbert_tf.data.readers.questions import Question, read_questions
from spanbert_tf.features import ANSWER_TOKENS
from spanbert_tf.handles import bundled_minilm, default_encoder
from spanbert_tf.layers.masking.span_masking import SpanMasking
from spanbert_tf.metrics.answers import answer_figures
from spanbert_tf.tasks.pretrainer import SpanBertPretrainer
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer
from spanbert_tf.tokenization.vocabulary import read_vocabulary

MAX_TARGETS = 10
HELD_OUT_SHARDS, HELD_OUT_ROWS = 1, 1024


def load_start() -> SpanBertPretrainer:
    return load_hugging_face_pretrainer(
        bundled_minilm(), "float32", span_boundary=True, max_targets=MAX_TARGETS
    )


def flat_rows(batches: PretrainingBatches) -> tuple[np.ndarray, np.ndarray]:
    """All rows of an epoch one behind the other, uint16, and their lengths."""
    ids, lengths = [], []
    for features, _ in batches.dataset(endless=False):
        is_token = features["padding_mask"].numpy() > 0
        ids.append(features["token_ids"].numpy()[is_token].astype("uint16"))
        lengths.append(is_token.sum(axis=1).astype("uint16"))
    return np.concatenate(ids), np.concatenate(lengths)


def questions_of(part: str) -> list[Question]:
    """The answerable questions of a part."""
    path = data_folder() / "qa" / {"train": TRAIN_FILE, "test": TEST_FILE}[part]
    return [question for question in read_questions(path) if question.answers]


def pack(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder.parent / "corpus"
    prepare_corpus(  # What is there already stays.
        [data_folder() / "pretrain_en"],
        corpus,
        read_vocabulary(bundled_minilm() / "vocab.txt"),
        make_tokenizer,
        lowercase=True,
        settings=CorpusSettings(sequence_length=WINDOW, shard_bytes=4 * 2**20),
    )
    start = load_start()
    tokenizer = start.preprocessor.tokenizer
    train, held_out = (
        PretrainingBatches(corpus, token_budget=2**18, shards=shards, tokenizer=tokenizer)
        for shards in (slice(None, -HELD_OUT_SHARDS), slice(-HELD_OUT_SHARDS, None))
    )
    train_ids, train_lengths = flat_rows(train)
    held_out_ids, held_out_lengths = (part for part in flat_rows(held_out))
    held_out_lengths = held_out_lengths[:HELD_OUT_ROWS]
    np.savez(
        folder / "corpus.npz",
        train_ids=train_ids,
        train_lengths=train_lengths,
        held_out_ids=held_out_ids[: held_out_lengths.sum(dtype="int64")],
        held_out_lengths=held_out_lengths,
        piece_counts=train.piece_counts,
        word_starts=np.asarray(starts_word(train.vocabulary)),
    )
    packed = {}
    for part in ("train", "test"):
        of_part = encode(questions_of(part), tokenizer)
        texts, contexts = (segment.to_list() for segment in of_part.segments)
        cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        rows = [[cls, *t, sep, *c, sep] for t, c in zip(texts, contexts, strict=True)]
        packed |= {
            f"{part}_ids": np.concatenate(rows).astype("uint16"),
            f"{part}_lengths": np.array([len(row) for row in rows], "uint16"),
            f"{part}_begins": np.array([len(text) + 2 for text in texts], "int32"),
            f"{part}_targets": of_part.targets[ANSWER_TOKENS].numpy(),
            f"{part}_numbers": of_part.records.numpy(),
        }
    np.savez(folder / "questions.npz", **packed)
    # Upper halves of float32, rounded to even: bfloat16, which NumPy's files do not know.
    np.savez(
        folder / "weights.npz",
        **{
            weight.path: _upper_half(np.asarray(weight))
            for weight in start.backbone.trainable_variables
        },
    )
    sizes = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim")
    config = start.backbone.get_config()
    (folder / "sizes.json").write_text(
        json.dumps(
            {
                "encoder": {name: config[name] for name in (*sizes, "max_sequence_length")},
                "sequence_length": WINDOW,
                "pad_token_id": tokenizer.pad_token_id,
                "mask_token_id": tokenizer.mask_token_id,
                "special_token_ids": [int(token) for token in tokenizer.special_token_ids],
            }
        )
    )


def _upper_half(values: np.ndarray) -> np.ndarray:
    bits = values.astype("float32").view("uint32")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("uint16")


def load_trained(output: Path) -> SpanBertPretrainer:
    """The pretrainer with the weights that came back."""
    flat = np.concatenate([np.load(path) for path in sorted(output.glob("weights-*.npy"))])
    values, begin = {}, 0
    for path, shape in json.loads((output / "shapes.json").read_text()).items():
        size = int(np.prod(shape))
        values[path] = flat[begin : begin + size].reshape(shape).astype("float32")
        begin += size
    pretrainer = load_start()
    for weight in pretrainer.trainable_variables:
        weight.assign(values[weight.path])
    return pretrainer


def scored(
    answers: dict[str, np.ndarray], questions: list[Question], rows: Rows
) -> tuple[float, float]:
    """Exact match and F1 of the best span among all windows of each question."""
    texts = [""] * len(questions)
    best = np.full(len(texts), -np.inf)
    before = rows.segments[0].row_lengths().numpy() + 2
    starts, ends = (rows.places[name].to_list() for name in ("starts", "ends"))
    for row, number in enumerate(rows.records.numpy()):
        if answers["score"][row] > best[number]:
            best[number] = answers["score"][row]
            first, last = (int(answers[key][row] - before[row]) for key in ("first", "last"))
            texts[number] = questions[number].context[starts[row][first] : ends[row][last]]
    figures = answer_figures(texts, [[text for text, _ in one.answers] for one in questions])
    return figures["exact_match"], figures["f1"]


def write_table(output: Path) -> None:
    """Prints what each encoder reached and what it cost."""
    vocabulary = read_vocabulary(bundled_minilm() / "vocab.txt")
    questions = questions_of("test")
    encoded = encode(questions, SpanBertTokenizer(vocabulary, lowercase=True))
    answers = np.load(output / "answers.npz")
    rows: dict[str, list[dict[str, float]]] = {}
    for record in json.loads((output / "records.json").read_text()):
        name = record["name"]
        figures = {
            "mlm_own": record.get("held_out", {}).get("mlm_loss"),
            "mlm_subword": record.get("held_out_subword", {}).get("mlm_loss"),
            "sbo": record.get("held_out", {}).get("sbo_loss") if "SBO" in name else None,
            "million tokens": record.get("tokens", 0) / 1e6 or None,
            "seconds": record.get("pretraining_seconds"),
        }
        figures = {name: value for name, value in figures.items() if value is not None}
        for seed in range(record["seed"], record["seed"] + len(record["piece_f1"])):
            of_seed = {key: answers[f"{name}/{seed}/{key}"] for key in ("score", "first", "last")}
            exact_match, f1 = scored(of_seed, questions, encoded)
            rows.setdefault(name, []).append({**figures, "EM": exact_match, "F1": f1})
    columns = ("million tokens", "seconds", "mlm_own", "mlm_subword", "sbo", "EM", "F1")
    print("mean over seeds, and their range")
    print(f"{'encoder':<22}{'seeds':>6}" + "".join(f"{column:>16}" for column in columns))
    for name, of_seeds in rows.items():
        cells = (_cell(of_seeds, column) for column in columns)
        print(f"{name:<22}{len(of_seeds):>6}" + "".join(f"{cell:>16}" for cell in cells))


def print_losses(packed: Path, encoder: Path) -> None:
    """Prints losses and accuracies of both objectives: means over their targets."""
    pretrainer = restore_encoder(encoder, dtype="mixed_bfloat16")
    tokenizer = pretrainer.preprocessor.tokenizer
    given = np.load(packed / "corpus.npz")
    rows = tf.RaggedTensor.from_row_lengths(given["held_out_ids"], given["held_out_lengths"])
    ids = tf.cast(rows, tf.int32).to_tensor(tokenizer.pad_token_id)
    mask = tf.sequence_mask(rows.row_lengths(), dtype=tf.int32)
    masking = SpanMasking(
        tokenizer.vocabulary_size(),
        tokenizer.mask_token_id,
        tokenizer.special_token_ids,
        random_token_weights=given["piece_counts"],
        max_targets=pretrainer.max_targets,
    )
    starts = tf.gather(tf.constant(given["word_starts"], tf.int32), ids) * mask
    features = {
        "token_ids": ids,
        "segment_ids": tf.zeros_like(ids),
        "padding_mask": mask,
        "word_starts": starts,
    }
    batches = tf.data.Dataset.from_tensor_slices(features).batch(32).enumerate()
    measure = tf.function(pretrainer.compute_losses)
    sums: Counter[str] = Counter()
    for number, batch in batches:
        sums.update(
            {
                name: float(value)
                for name, value in measure(masking(batch, seed=[0, int(number)])).items()
            }
        )
    print(f"{encoder}: {len(ids):,} held-out rows, {int(given['held_out_lengths'].sum()):,} tokens")
    for objective in ("mlm", "sbo"):
        loss, correct = (
            sums[f"{objective}_{figure}"] / sums[f"{objective}_weight"]
            for figure in ("loss_sum", "correct")
        )
        print(f"{objective}: loss {loss:.3f}, accuracy {correct:.1%}")


def _cell(rows: list[dict[str, float]], column: str) -> str:
    values = [row[column] for row in rows if column in row]
    return f"{np.mean(values):.2f} ({np.ptp(values):.2f})" if values else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("pack", "preset", "table", "losses"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", type=Path, default=default_encoder())
    arguments = parser.parse_args()
    if arguments.verb == "pack":
        pack(arguments.folder)
    elif arguments.verb == "preset":
        load_trained(arguments.folder).save_to_preset(str(arguments.folder / "preset"))
    elif arguments.verb == "table":
        write_table(arguments.folder)
    else:
        print_losses(arguments.folder, arguments.encoder)


if __name__ == "__main__":
    main()
