"""Span masking of one row, in plain Python: the law as a loop, the oracle of the fast layer."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from spanbert_tf.layers.masking.span_sampling import draws_for
from tests.layers.masking.threefry import threefry

Row = dict[str, list]

# Where the counters of each use of random bits begin.
SPAN, TOKEN, GIVEN = 0, 2**28, 2**30


def float_below(word: int, limit: int) -> int:
    return int(np.float32(int(word) >> 8) * np.float32(2.0**-24) * np.float32(limit))


def length_of(word: int, p: float, max_words: int) -> int:
    """The length whose share of the unit interval holds the number."""
    shares = [p * (1 - p) ** number for number in range(max_words)]
    bounds = np.round(np.cumsum(shares)[:-1] / sum(shares) * 2**24)
    return 1 + int((int(word) >> 8 >= bounds).sum())


def mask_row(ids: list, tokens: int, starts: list, seed: list[int], **options: Any) -> Row:
    """Masks a row as `SpanMasking` would; its random pieces must be uniform.

    Args:
        ids: The row, padding and all.
        tokens: How many of them are not padding.
        starts: 1 at the first piece of a word.
        seed: Two numbers of the key and one of the counter.
        **options: Arguments of `SpanMasking`, all of them, and `given_spans`.
    """
    special = {*options["special_token_ids"], options["mask_token_id"]}
    maskable = [position for position in range(tokens) if ids[position] not in special]
    first_pieces = [
        position
        for position in maskable
        if options["scheme"] == "subword" or starts[position] or position - 1 not in maskable
    ]
    if options["scheme"] == "last_words":
        last = first_pieces[-options["last_words"] :]
        masked = [position for position in maskable if position >= last[0]]
    else:
        goal = math.ceil(options["budget"] * len(maskable))
        masked = []
        most_draws = draws_for(len(ids), options["budget"])
        for start, words, end in draws(maskable, first_pieces, seed, options, most_draws):
            if len(masked) >= goal:
                break
            if start in masked:
                continue
            masked += one_span(start, words, end, maskable, first_pieces, masked, goal)
        # A given span may leave the rest of a word whose first piece it masks: no draw gets there.
        left = [position for position in maskable if position not in masked]
        masked += left[: goal - len(masked)]
    return row_targets(ids, tokens, sorted(masked), seed, special, options)


def draws(
    maskable: list, first_pieces: list, seed: list[int], options: dict, most_draws: int
) -> Iterator[tuple[int, float, float]]:
    """Start, words and end of each draw."""
    if not maskable:
        return
    if options["scheme"] == "given":
        given = options["given_spans"]
        keys, _ = threefry(seed[:2], GIVEN + np.arange(len(given)), seed[2])
        for _, number in sorted((int(key) >> 8, number) for number, key in enumerate(keys)):
            if given[number][0] < given[number][1]:
                yield given[number][0], math.inf, given[number][1]
    single = options["scheme"] in ("whole_word", "subword")
    anchors = first_pieces if single else maskable
    for number in range(most_draws):
        word = threefry(seed[:2], np.array([SPAN + number]), seed[2])[:, 0]
        anchor = anchors[float_below(word[0], len(anchors))]
        start = max(position for position in first_pieces if position <= anchor)
        max_words = 1 if single else options["max_words"]
        yield start, length_of(word[1], options["p"], max_words), math.inf


def one_span(
    start: int,
    words: float,
    end: float,
    maskable: list,
    first_pieces: list,
    masked: list,
    goal: int,
) -> list:
    """The pieces that a draw adds to those masked."""
    new: list[int] = []
    position, begun = start, 0
    while position in maskable and position < end and len(masked) + len(new) < goal:
        begun += position in first_pieces or position == start
        if begun > words:
            break
        if position not in masked:
            new.append(position)
        position += 1
    return new


def row_targets(
    ids: list, tokens: int, masked: list, seed: list[int], special: set, options: dict
) -> Row:
    spans: list[list[int]] = []
    for position in masked:
        if spans and spans[-1][-1] == position - 1:
            spans[-1].append(position)
        else:
            spans.append([position])
    plain = [token for token in range(options["vocabulary_size"]) if token not in special]
    new_ids, slot = list(ids), 0
    for number, span in enumerate(spans):
        for position in span:
            of_slot = threefry(seed[:2], np.array([TOKEN + slot]), seed[2])[:, 0]
            of_span = threefry(seed[:2], np.array([TOKEN + number]), seed[2])[:, 0]
            chance = of_span if options["replacement"] == "span" else of_slot
            share = (int(chance[0]) >> 8) / 2**24
            if share < 0.8:
                new_ids[position] = options["mask_token_id"]
            elif share < 0.9:
                new_ids[position] = plain[float_below(of_slot[1], len(plain))]
            slot += 1
    whole = [span for span in spans if span[0] > 0 and span[-1] + 1 < tokens]
    return {
        "token_ids": new_ids,
        "mask_positions": masked,
        "mask_ids": [ids[position] for position in masked],
        "span_boundaries": [(span[0] - 1, span[-1] + 1) for span in whole],
        "span_ids": [[ids[i] for i in span[: options["max_targets"]]] for span in whole],
    }
