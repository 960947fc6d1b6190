"""fastcoref's own code as a side of a benchmark: texts to clusters, all cores, float32.

    fastcoref_side.py VOCABULARY TEXTS.json [--one]

A BERT of 6 layers x 384 under the head of its `FCoref`, as wide as the encoder, with random
weights.  Words are those of spaCy's English tokenizer, without the rest of a spaCy pipeline, which
`FCoref` would load and run too.
"""

import argparse
import json
import logging
import os
import tempfile
from pathlib import Path

import datasets
import spacy
import torch
import transformers
from _protocol import fastest, serve
from fastcoref import FCoref
from fastcoref.coref_models.modeling_fcoref import FCorefModel

PACKAGES = ("fastcoref", "torch", "transformers", "spacy")
TOKENS_OF_BATCH = (5_000, 10_000, 20_000)  # The second is the default.
# The head of the published model, but for its width.
HEAD = {"dropout_prob": 0.3, "max_segment_len": 512, "max_span_length": 30, "top_lambda": 0.25}
PRIOR = -100.0  # Log odds of a mention by which random links, of some tens, lead nowhere.


def make_resolver(vocabulary: str) -> FCoref:
    """One of random weights, by way of a checkpoint, which is all that fastcoref loads."""
    tokenizer = transformers.BertTokenizerFast(vocab_file=vocabulary, do_lower_case=True)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=6,
        num_attention_heads=12,
        hidden_size=384,
        intermediate_size=1536,
        coref_head={**HEAD, "ffnn_size": 384},
    )
    torch.manual_seed(0)
    model = FCorefModel(config)
    model.mention_start_classifier.bias.data.fill_(PRIOR)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return FCoref(folder, device="cpu", nlp=spacy.blank("en"), enable_progress_bar=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vocabulary", help="a file, one word piece a line")
    parser.add_argument("texts", help="a JSON file")
    parser.add_argument("--one", action="store_true", help="one text after the other")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    torch.set_num_threads(os.cpu_count() or 1)
    texts = json.loads(Path(arguments.texts).read_text("utf-8"))
    resolver = make_resolver(arguments.vocabulary)

    def resolve(tokens_of_batch: int) -> list:
        return [
            of.get_clusters(as_strings=False)
            for of in resolver.predict(texts, max_tokens_in_batch=tokens_of_batch)
        ]

    if arguments.one:
        serve(lambda: [resolver.predict(text).get_clusters(as_strings=False) for text in texts],
              *PACKAGES)  # fmt: skip
        return
    most = fastest(resolve, TOKENS_OF_BATCH)
    mentions = sum(len(cluster) for clusters in resolve(most) for cluster in clusters)
    serve(lambda: resolve(most), *PACKAGES, tokens_of_batch=most, mentions=mentions)


if __name__ == "__main__":
    main()
