"""KerasHub as a side of a benchmark, in the project's own environment.

Each subcommand is a workload; the benchmark of the same claim says what it is.
"""

import argparse

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from _protocol import serve
from _texts import read_texts

PACKAGES = ("keras-hub",)
BASE = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072}


def forward(arguments: argparse.Namespace) -> None:
    """A forward pass of an encoder of BERT's base size over random word pieces."""
    backbone = keras_hub.models.BertBackbone(
        arguments.vocabulary, **BASE, dtype=arguments.dtype, dropout=0.1
    )
    shape = (arguments.batch, arguments.length)
    token_ids = np.random.default_rng(0).integers(0, arguments.vocabulary, shape, np.int32)
    features = {
        "token_ids": tf.constant(token_ids),
        "segment_ids": tf.zeros(shape, tf.int32),
        "padding_mask": tf.ones(shape, tf.int32),
    }
    function = tf.function(backbone)
    serve(lambda: function(features), *PACKAGES)


def vectors(arguments: argparse.Namespace) -> None:
    """Mean-pooled vectors of texts by `predict`, with the defaults of library and preset.

    These pad each text to 512 tokens, in batches of 32.
    """
    backbone = keras_hub.models.BertBackbone.from_preset(arguments.checkpoint)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(arguments.checkpoint)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer)
    mean = keras.layers.GlobalAveragePooling1D()(
        backbone.output["sequence_output"], mask=backbone.input["padding_mask"]
    )
    model = keras.Model(backbone.input, mean)
    texts = read_texts(arguments.texts)

    def run() -> np.ndarray:
        return model.predict(preprocessor(texts), verbose=0)

    np.save(arguments.vectors, run())
    serve(run, *PACKAGES, batch_size=32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for run in (forward, vectors):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        if run is forward:
            for name in ("--batch", "--length", "--vocabulary"):
                command.add_argument(name, type=int, required=True)
            command.add_argument("--dtype", default="float32")
        else:
            command.add_argument("checkpoint")
            command.add_argument("texts", help="a JSON file")
            command.add_argument("vectors", help="the .npy file to write")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
