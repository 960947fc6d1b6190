"""Seconds and peak memory of one text of some length, in a process that does nothing else.

python benchmarks/_long_text_point.py bucketed|dense|longformer TOKENS
"""

import sys

import numpy as np
from _support import peak_megabytes
from long_text import make_encoder, make_token_ids
from peers._protocol import time_each

RUNS, WARM_UPS = 5, 2


def main() -> None:
    side, tokens = sys.argv[1], int(sys.argv[2])
    if side == "longformer":
        from peers.longformer_side import make_longformer

        encode = make_longformer()
    else:
        encode = make_encoder(side)
    token_ids = make_token_ids(1, tokens)
    seconds = time_each(lambda: encode(token_ids), WARM_UPS + RUNS)
    print(np.median(seconds[WARM_UPS:]), peak_megabytes())


if __name__ == "__main__":
    main()
