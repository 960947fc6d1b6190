"""The batch and the encoder's size that the benchmarks of a pretraining step share."""

import numpy as np

LENGTH, TARGETS, SPANS, SPAN_PIECES = 128, 20, 10, 20
LAYERS, HEADS, HIDDEN, INTERMEDIATE, VOCABULARY = 4, 4, 256, 1024, 28_996

Arrays = dict[str, np.ndarray]


def make_features(rows: int) -> Arrays:
    """Makes masked features of full rows of random pieces, 10 spans of 2 pieces masked in each."""
    token_ids = np.random.default_rng(0).integers(0, VOCABULARY, (rows, LENGTH), "int32")
    starts = 4 + 12 * np.arange(SPANS, dtype="int32")
    positions = np.tile(np.stack([starts, starts + 1], 1).reshape(1, TARGETS), (rows, 1))
    mask_ids = np.take_along_axis(token_ids, positions, 1)
    span_ids = np.zeros((rows, SPANS, SPAN_PIECES), "int32")
    span_ids[..., :2] = mask_ids.reshape(rows, SPANS, 2)
    return {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": np.ones_like(token_ids),
        "mask_positions": positions,
        "mask_ids": mask_ids,
        "mask_weights": np.ones((rows, TARGETS), "float32"),
        "span_boundaries": np.tile(np.stack([starts - 1, starts + 2], 1), (rows, 1, 1)),
        "span_ids": span_ids,
        "span_weights": np.tile((np.arange(SPAN_PIECES) < 2).astype("float32"), (rows, SPANS, 1)),
    }
