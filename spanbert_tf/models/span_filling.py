"""The best fillings of runs of [MASK], from probabilities that do not see each other.

Letters: b batch, t masks of a row, n masks of a run, k fillings, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from spanbert_tf.data.batching.bucketing import default_buckets
from spanbert_tf.data.batching.packing import pack_segments
from spanbert_tf.tokenization.tokenizer import SpanBertTokenizer

TEXTS_A_CALL = 16  # Computed at once.

# Features and positions, int32 `[b, t]`, to log-probabilities `[b, t, V]`.
LogProbabilities = Callable[[dict[str, Any], Any], Any]


@dataclass(frozen=True)
class Filling:
    """One way to fill a run of adjacent [MASK]s.

    Attributes:
        text: The pieces, joined to words.
        score: Probability of the pieces: the product of the probability of each in its place.
        token_ids: The pieces' ids, one a [MASK].
    """

    text: str
    score: float
    token_ids: tuple[int, ...]


def mask_runs(token_ids: Sequence[int], mask_token_id: int) -> list[range]:
    """Finds the runs of adjacent masks.

    Args:
        token_ids: Ids of one text.
        mask_token_id: Id of [MASK].

    Returns:
        The positions of each run.

    Example:
        With 4 for [MASK], `[2, 4, 4, 7, 4, 3]` has the runs `range(1, 3)` and `range(4, 5)`.
    """
    runs: list[range] = []
    for position, token in enumerate(token_ids):
        if token != mask_token_id:
            continue
        if runs and runs[-1].stop == position:
            runs[-1] = range(runs[-1].start, position + 1)
        else:
            runs.append(range(position, position + 1))
    return runs


def best_combinations(log_probabilities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k choices, one of each place, of the largest sums, exactly.

    The k best sums of the first places and the k best choices of the next one hold between them
    the k best of both together, so one place after the other is put in.

    Args:
        log_probabilities: float `[n, c]`, the c best choices of each place, best first, c at
            least the lesser of k and all choices there are.
        k: How many combinations.

    Returns:
        Choices, int `[k, n]`, and their sums, float64 `[k]`, best first; fewer where there are
        not k.

    Example:
        `[[-1, -2], [-1, -4]]` with k = 3 has the choices `[[0, 0], [1, 0], [0, 1]]` and the sums
        `[-2, -3, -5]`.
    """
    choices, sums = np.zeros((1, 0), int), np.zeros(1)
    for place in log_probabilities.astype("float64"):
        all_sums = sums[:, None] + place[None, :k]
        best = np.argsort(-all_sums, axis=None, kind="stable")[:k]
        before, choice = np.unravel_index(best, all_sums.shape)
        choices = np.column_stack([choices[before], choice])
        sums = all_sums[before, choice]
    return choices, sums


def fill_texts(
    texts: Sequence[str],
    top_k: int,
    *,
    tokenizer: SpanBertTokenizer,
    sequence_length: int,
    log_probabilities: LogProbabilities,
) -> list[list[list[Filling]]]:
    """Fills each run of adjacent `[MASK]`s in texts; see `SpanBertPretrainer.fill_spans`.

    Args:
        texts: The texts.
        top_k: How many fillings a run.
        tokenizer: One for which `[MASK]` in a string is one token.
        sequence_length: The most tokens a row may have, special tokens counted.
        log_probabilities: What computes them.

    Returns:
        For each text, for each of its runs, the fillings, best first.

    Raises:
        ValueError: A text has no `[MASK]` or too many tokens, or `top_k` is below 1.
    """
    if top_k < 1:
        raise ValueError(f"`top_k` must be at least 1; received {top_k}")
    texts = list(texts)
    rows = tokenizer(texts).to_list() if texts else []
    limit = sequence_length - 2
    for text, row in zip(texts, rows, strict=True):
        if tokenizer.mask_token_id not in row:
            raise ValueError(f"there is no [MASK] to fill in {text!r:.200}")
        if len(row) > limit:
            raise ValueError(f"a text may have {limit} tokens, but {len(row)} has {text!r:.80}")

    is_special = np.isin(np.arange(tokenizer.vocabulary_size()), tokenizer.special_token_ids)
    candidates = min(top_k, int((~is_special).sum()))
    answers: list[list[list[Filling]]] = []
    for begin in range(0, len(rows), TEXTS_A_CALL):
        part = rows[begin : begin + TEXTS_A_CALL]
        features = pack_segments(
            [tf.ragged.constant(part, tf.int32, ragged_rank=1)],
            sequence_length=sequence_length,
            start_token_id=tokenizer.cls_token_id,
            end_token_id=tokenizer.sep_token_id,
            pad_token_id=tokenizer.pad_token_id,
            buckets=default_buckets(sequence_length),
        )
        features = {name: ops.convert_to_tensor(value) for name, value in features.items()}
        runs = [mask_runs(row, tokenizer.mask_token_id) for row in part]
        scores = log_probabilities(features, ops.convert_to_tensor(_positions(runs)))
        # Embeddings may be more than the pieces, rounded up.
        scores = ops.where(
            ops.convert_to_tensor(is_special), -np.inf, scores[..., : len(is_special)]
        )
        scores, ids = (ops.convert_to_numpy(x) for x in ops.top_k(scores, candidates))
        for number, row_runs in enumerate(runs):
            ends = np.cumsum([len(run) for run in row_runs])
            slots = [slice(end - len(run), end) for run, end in zip(row_runs, ends, strict=True)]
            answers.append(
                [_fillings(scores[number, s], ids[number, s], top_k, tokenizer) for s in slots]
            )
    return answers


def _positions(runs: Sequence[Sequence[range]]) -> np.ndarray:
    """Positions of the masks of each row, int32 `[b, t]`, padded with zeros."""
    # [CLS] stands before each row.
    of_rows = [[i + 1 for run in row_runs for i in run] for row_runs in runs]
    positions = np.zeros((len(of_rows), max(map(len, of_rows))), "int32")
    for row, of_row in enumerate(of_rows):
        positions[row, : len(of_row)] = of_row
    return positions


def _fillings(
    scores: np.ndarray, ids: np.ndarray, top_k: int, tokenizer: SpanBertTokenizer
) -> list[Filling]:
    """The best fillings of one run, of the best scores and ids of each place, `[n, k]`."""
    choices, sums = best_combinations(scores, top_k)
    chosen = np.take_along_axis(ids, choices.T, axis=1).T.tolist()
    texts = [text.decode() for text in tokenizer.detokenize(tf.constant(chosen)).numpy()]
    return [
        Filling(text, float(np.exp(total)), tuple(pieces))
        for text, total, pieces in zip(texts, sums, chosen, strict=True)
    ]
