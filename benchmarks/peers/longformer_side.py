"""transformers' Longformer as a side of a benchmark: encodes a batch of texts, all cores.

    longformer_side.py BATCH LENGTH

6 layers x 384, 12 heads, 30,522 word pieces, random weights; a token sees 64 tokens on each side,
the first token everything.
"""

import os
import sys
from collections.abc import Callable

import numpy as np
import torch
import transformers

VOCABULARY = 30_522
MOST_POSITIONS = 4096


def make_longformer() -> Callable[[np.ndarray], object]:
    """A function of token ids, int `[batch, length]`."""
    torch.set_num_threads(os.cpu_count() or 1)
    transformers.utils.logging.set_verbosity_error()
    config = transformers.LongformerConfig(
        vocab_size=VOCABULARY,
        num_hidden_layers=6,
        num_attention_heads=12,
        hidden_size=384,
        intermediate_size=1536,
        attention_window=128,
        max_position_embeddings=MOST_POSITIONS + 2,  # It counts from padding_idx + 1 = 2.
        pad_token_id=1,
    )
    model = transformers.LongformerModel(config, add_pooling_layer=False).eval()

    def run(token_ids: np.ndarray) -> object:
        input_ids = torch.tensor(np.maximum(token_ids, 2), dtype=torch.long)
        is_global = torch.zeros_like(input_ids)
        is_global[:, 0] = 1
        with torch.inference_mode():
            return model(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                global_attention_mask=is_global,
            )

    return run


def main() -> None:
    from _protocol import serve

    encode = make_longformer()
    shape = tuple(map(int, sys.argv[1:]))
    token_ids = np.random.default_rng(0).integers(0, VOCABULARY, shape, np.int32)
    serve(lambda: encode(token_ids), "torch", "transformers")


if __name__ == "__main__":
    main()
