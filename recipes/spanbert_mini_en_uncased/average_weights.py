"""Averages a pretrained encoder with the one that it was pretrained from (Wortsman et al., 2022).

    python average_weights.py ENCODER OUTPUT [--share 0.7]

ENCODER is the SavedModel of a pretrainer that started from MiniLM, OUTPUT the preset of one with
the averaged encoder, and with the heads as they were.  All weights are rounded to float16, so that
files compress to a little more than half; `spanbert-tf export OUTPUT ...` makes a SavedModel.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from spanbert_tf import load_backbone
from spanbert_tf.checkpoints.saved_models import restore_encoder
from spanbert_tf.handles import bundled_minilm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--share", type=float, default=0.7, help="of ENCODER")
    arguments = parser.parse_args()

    start, _ = load_backbone(bundled_minilm())
    pretrainer = restore_encoder(arguments.encoder)
    encoder = pretrainer.backbone
    for old, new in zip(start.trainable_variables, encoder.trainable_variables, strict=True):
        new.assign((1 - arguments.share) * old + arguments.share * new)
    for weight in pretrainer.trainable_variables:
        weight.assign(tf.cast(tf.cast(weight, "float16"), "float32"))
    pretrainer.save_to_preset(str(arguments.output))


if __name__ == "__main__":
    main()
