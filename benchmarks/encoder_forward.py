"""Forward pass of the encoder against KerasHub's BERT and transformers, in one run.

    python benchmarks/encoder_forward.py [--rounds 11] [--batch 8] [--length 128]

12 layers x 768, float32, the same token ids, nothing padded, all cores.  Each side runs as its
users run it at its best: the Keras models in a `tf.function`, transformers with SDPA attention
under `torch.inference_mode`.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_hub
import numpy as np
import tensorflow as tf
import torch
import transformers
from _support import machine, median_ratio, time_in_turn

from spanbert_tf import SpanBertBackbone

SIZE = {
    "vocabulary_size": 28_996,
    "num_layers": 12,
    "num_heads": 12,
    "hidden_dim": 768,
    "intermediate_dim": 3072,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    arguments = parser.parse_args()

    shape = (arguments.batch, arguments.length)
    token_ids = np.random.default_rng(0).integers(0, SIZE["vocabulary_size"], shape, np.int32)
    features = {
        "token_ids": tf.constant(token_ids),
        "segment_ids": tf.zeros(shape, tf.int32),
        "padding_mask": tf.ones(shape, tf.int32),
    }
    torch.set_num_threads(os.cpu_count() or 1)
    bert = transformers.BertModel(
        transformers.BertConfig(vocab_size=SIZE["vocabulary_size"], attn_implementation="sdpa"),
        add_pooling_layer=False,
    ).eval()
    input_ids = torch.tensor(token_ids, dtype=torch.long)
    attention_mask = torch.ones_like(input_ids)

    def run_transformers() -> None:
        with torch.inference_mode():
            bert(input_ids=input_ids, attention_mask=attention_mask)

    ours, hub = SpanBertBackbone(**SIZE), keras_hub.models.BertBackbone(**SIZE)
    sides = {
        "spanbert_tf": tf.function(ours),
        "KerasHub BertBackbone": tf.function(hub),
    }
    seconds = time_in_turn(
        {name: lambda f=function: f(features) for name, function in sides.items()}
        | {"transformers BertModel": run_transformers},
        arguments.rounds,
    )

    layers, hidden, tokens = SIZE["num_layers"], SIZE["hidden_dim"], token_ids.size
    flop = layers * (24 * tokens * hidden**2 + 4 * tokens * arguments.length * hidden)
    print(machine("tensorflow", "keras", "keras-hub", "torch", "transformers"))
    print(f"{'forward, 12 x 768, ' + str(shape):<34}{'ms':>8}{'GFLOP/s':>9}{'ours is faster':>16}")
    for name, values in seconds.items():
        ratio = (
            "" if name == "spanbert_tf" else f"{median_ratio(values, seconds['spanbert_tf']):.2f}x"
        )
        median = np.median(values)
        print(f"{name:<34}{median * 1e3:>8.1f}{flop / median / 1e9:>9.0f}{ratio:>16}")


if __name__ == "__main__":
    main()
